"""Inputs that the fuzzer (benchmarks/fuzz_wire.py) found: those that once broke a parser, and one of each kind."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
WIRES = sorted(path.stem for path in (Path(__file__).parent / "seeds").glob("*.txt"))


@pytest.fixture(scope="module")
def fuzzer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_wire", ROOT / "benchmarks" / "fuzz_wire.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("wire", WIRES)
def test_seeds_keep_the_fuzzers_property(wire: str, fuzzer: ModuleType) -> None:
    seeds = fuzzer.seeds_of(wire)
    assert seeds
    for seed in seeds:
        fuzzer.check(wire, seed)


def test_every_parser_has_seeds(fuzzer: ModuleType) -> None:
    assert sorted(fuzzer.PARSERS) == WIRES
