"""The servers and the processes of the corpus, one of each for all tests; this folder is on the path of imports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from desk import Jobs, Servers


@pytest.fixture(scope="session")
def jobs() -> Iterator[Jobs]:
    """Runs commands."""
    with Jobs() as jobs:
        yield jobs


@pytest.fixture(scope="session")
def servers(component: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Misbehave."""
    assert callable(component)
    component("openssl")
    with Servers(tmp_path_factory.mktemp("certificate")) as servers:
        yield servers
