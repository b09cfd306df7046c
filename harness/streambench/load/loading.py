"""Scenario files, read and checked before any traffic: every mistake has its file, line, column and nearest name."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from streambench.analysis.gates import GOODPUT as GOODPUT_METRICS
from streambench.analysis.gates import Gate, GateError, parse_gate
from streambench.analysis.sweep import Sweep
from streambench.dialects import bundled_dialects
from streambench.errors import ConfigurationError, nearest
from streambench.files import is_there, read_text
from streambench.load.bounds import read_limits
from streambench.load.conform import read_conform
from streambench.load.executors.sweep import check_conditions, sweep_in
from streambench.load.prompts import Prompts, read_prompts
from streambench.load.scenario import (
    CONFORM,
    GATES,
    GOODPUT,
    LIMITS,
    LOAD,
    MAX_NAME_CHARS,
    NAME,
    NAME_PATTERN,
    PROMPTS,
    READING_WPM,
    SECTION,
    SEED,
    SERVE,
    STALL_AFTER,
    TARGET,
    TARGETS,
    TIMEOUTS,
    VERSION,
    VERSION_NUMBER,
    Scenario,
    Source,
    name_of_file,
    read_timeouts,
)
from streambench.load.targets import SUFFIXES, Target, TargetReader
from streambench.load.values import Values
from streambench.load.waivers import ACCEPT, IGNORE, read_waivers
from streambench.located import Located, read_document, read_yaml, shown
from streambench.transport.target import Timeouts
from streambench.wire.limits import WireLimits

MAX_FILE_BYTES = 1 << 20
STANDARD_INPUT = ("-", "/dev/stdin")
MAX_INDEX_DIGITS = 6
MAX_DEPTH = 40


def bundled_scenarios() -> dict[str, Path]:
    """The scenarios that are shipped, by name: beside the package in the wheel, in `scenarios/` in the repository."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "scenarios", package.parents[1] / "scenarios"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def load_scenario(
    source: str, *, overrides: Sequence[str] = (), gates: Sequence[str] = (), environ: Mapping[str, str]
) -> Scenario:
    """The scenario of a file, of a bundled name, or of standard input (`-`).

    `overrides` are `path=value` texts that replace what the file says, `gates` are added to its own. Raises
    ConfigurationError.
    """
    if source in STANDARD_INPUT:
        path = Path("stdin")
        text = _standard_input()
    else:
        path = _path_of(source)
        text = read_text(path, MAX_FILE_BYTES)
    return read_source(Source(text, str(path), overrides, gates), environ=environ)


def read_source(source: Source, *, environ: Mapping[str, str]) -> Scenario:
    """The scenario that a source describes. Raises ConfigurationError."""
    root = _with_overrides(read_document(source.text, source.path, SECTION.what), source.overrides)
    digest = _digest(source.text, source.overrides)
    scenario = _Loader(root, Path(source.path), environ).load(digest, source.gates)
    return replace(scenario, source=source)


def read_scenario(text: str, name: str, *, overrides: Sequence[str] = (), environ: Mapping[str, str]) -> Scenario:
    """The scenario in `text`, which stands in no file; `name` is what errors call it."""
    return read_source(Source(text, name, overrides), environ=environ)


def _with_overrides(root: Located, overrides: Sequence[str]) -> Located:
    for override in overrides:
        root = _overridden(root, override)
    return root


def _digest(text: str, overrides: Sequence[str]) -> str:
    return hashlib.sha256("\0".join([text, *overrides]).encode("utf-8", "surrogatepass")).hexdigest()


def _standard_input() -> str:
    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ConfigurationError(f"is larger than {MAX_FILE_BYTES:,} bytes", path="stdin")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError("is not UTF-8", path="stdin") from None


def _path_of(source: str) -> Path:
    path = Path(source)
    if is_there(path):
        return path
    bundled = bundled_scenarios()
    if source in bundled:
        return bundled[source]
    here = [str(file) for file in path.parent.glob("*.yaml")]
    if source.endswith(SUFFIXES) or "/" in source:
        meant = nearest(source, here) or nearest(path.stem, bundled)
        raise ConfigurationError(f"there is no file {source}", text=source, suggestion=meant)
    if source in bundled_dialects():
        raise ConfigurationError(
            f"{source} is a dialect, not a scenario. Try `streambench probe URL --dialect {source}`, or name it in the "
            "target of a scenario",
            text=source,
        )
    raise ConfigurationError(
        f"there is no scenario {shown(source)}. The bundled ones are {', '.join(bundled)}; for a file of your own, "
        "give its path, ending in .yaml.",
        text=source,
        suggestion=nearest(source, bundled) or nearest(f"{source}.yaml", here),
    )


def _overridden(root: Located, override: str) -> Located:
    """The document with one value replaced: `load.users=50`, `targets.real.url=http://…`; lists count from 0."""
    place, equals, value_text = override.partition("=")
    if not equals:
        raise ConfigurationError(
            f"--set {shown(override)}: write it as PATH=VALUE, such as load.users=50", text=override
        )
    value = read_yaml(value_text or "''", f"--set {place}")

    def put(node: Located | None, keys: list[str]) -> Located:
        if not keys:
            return value
        key, rest = keys[0], keys[1:]
        if node is not None and isinstance(node.value, list):
            if not key.isdecimal() or len(key) > MAX_INDEX_DIGITS or int(key) >= len(node.value):
                raise ConfigurationError(f"--set {shown(place)}: the list has no item {shown(key)}", text=key)
            items = list(node.value)
            items[int(key)] = put(items[int(key)], rest)
            return replace(node, value=items)
        mapping = dict(node.value) if node is not None and isinstance(node.value, dict) else {}
        mapping[key] = put(mapping.get(key), rest)
        return replace(node if node is not None else value, value=mapping)

    keys = place.strip().split(".")
    if len(keys) > MAX_DEPTH:
        raise ConfigurationError(f"--set: the path has {len(keys):,} parts, more than the {MAX_DEPTH} of any scenario")
    return put(root, keys)


class _Loader:
    """Reads one document."""

    def __init__(self, root: Located, path: Path, environ: Mapping[str, str]) -> None:
        self._values = Values(path, environ)
        if isinstance(root.value, dict) and {"dialect", "grammar"} <= root.value.keys():
            raise root.key_error(
                "dialect",
                "this is a dialect, not a scenario. `streambench dialects check FILE` validates it; a scenario names "
                "it in a target: `target: {dialect: FILE, url: …}`",
            )
        self._given = SECTION.read(root, self._values)
        self._path = path
        self._milestones: dict[str, tuple[str, ...]] = {}

    def load(self, digest: str, more_gates: Sequence[str]) -> Scenario:
        """The scenario of the document, with more gates than its own. Raises ConfigurationError."""
        given = self._given
        if given[VERSION] != VERSION_NUMBER:
            raise given.at(VERSION).error(
                f"this is scenario version {given[VERSION]}; this streambench reads version {VERSION_NUMBER}"
            )
        serve = given[SERVE]  # before all that may name a server
        timeouts = read_timeouts(given[TIMEOUTS])
        targets = self._targets(timeouts, read_limits(given[LIMITS]))
        sides = {target.name: target.two_sided for target in targets}
        self._milestones = {target.name: target.milestones for target in targets}
        self._values.milestones = tuple(
            name for name in targets[0].milestones if all(name in target.milestones for target in targets)
        )
        load = given[LOAD]
        self._check_sweep(sweep_in(load.phases), sides)
        if load.leave is not None:
            leave = replace(load.leave, seed=given[SEED])
            targets = tuple(replace(target, spec=replace(target.spec, leave=leave)) for target in targets)
        prompts = given[PROMPTS]
        return Scenario(
            name=given[NAME] or name_of_file(self._path),
            path=str(self._path),
            content_hash=digest,
            targets=targets,
            serve=serve,
            prompts=Prompts()
            if prompts is None
            else read_prompts(prompts, self._values, has_upstream=any(sides.values())),
            load=load,
            timeouts=timeouts,
            gates=(
                *self._gates(sides),
                *(self._option_gate(text, sides) for text in more_gates),
            ),
            goodput=given[GOODPUT],
            waivers=read_waivers(given[ACCEPT], given[IGNORE], self._values, sides),
            conform=read_conform(given.get(CONFORM), self._path.parent),
            seed=given[SEED],
            stall_after_ns=given[STALL_AFTER],
            reading_wpm=given[READING_WPM],
            secrets=self._values.secrets,
        )

    def _targets(self, timeouts: Timeouts, limits: WireLimits) -> tuple[Target, ...]:
        reader = TargetReader(self._values, timeouts, limits)
        given = self._given
        one, many = given.get(TARGET), given.get(TARGETS)
        if one is not None and many is not None:
            raise given.node.key_error(TARGETS.name, "give either one 'target', or 'targets' with their names")
        if one is not None:
            return (reader.read(None, one),)
        if many is None:
            raise given.node.error("a scenario needs a 'target', or 'targets' with their names")
        named = many.mapping("'targets'")
        if not named:
            raise many.error("'targets' is empty: there is no target to run against")
        for name in named:
            if re.fullmatch(NAME_PATTERN, name) is None:
                raise many.key_error(
                    name, f"a target's name is made of up to {MAX_NAME_CHARS} letters, digits, `.`, `_` and `-`"
                )
        return tuple(reader.read(name, node) for name, node in named.items())

    def _check_sweep(self, sweep: Sweep | None, sides: Mapping[str, bool]) -> None:
        if sweep is None:
            return
        node = self._given.at(LOAD)
        if len(sides) > 1:
            raise node.error("a sweep has one target: give each of them a scenario of its own")
        check_conditions(node, sweep.until, two_sided=any(sides.values()))

    def _parsed(self, text: str, sides: Mapping[str, bool]) -> Gate:
        gate = parse_gate(text, sides, self._milestones)
        if gate.metric in GOODPUT_METRICS and GOODPUT not in self._given:
            raise GateError(
                "the scenario does not say what goodput is: give it the key 'goodput', such as "
                '"ttfc < 1s and gap_max < 200ms"',
                text.index(gate.metric),
                gate.metric,
            )
        return gate

    def _option_gate(self, text: str, sides: Mapping[str, bool]) -> Gate:
        try:
            return self._parsed(text, sides)
        except GateError as error:
            raise ConfigurationError(
                str(error), path=f"--gate {text!r}", column=error.at + 1, text=error.text, suggestion=error.suggestion
            ) from None

    def _gates(self, sides: Mapping[str, bool]) -> tuple[Gate, ...]:
        node = self._given.get(GATES)
        if node is None or node.value is None:
            return ()
        gates: list[Gate] = []
        for item in node.sequence("'gates'"):
            if isinstance(item.value, dict):
                raise item.error("a gate is one string: quote it, because it holds a colon")
            text = item.string("a gate")
            try:
                gates.append(self._parsed(text, sides))
            except GateError as error:
                located = item.error(str(error), text=error.text, at=error.at)
                located.suggestion = error.suggestion
                raise located from None
        return tuple(gates)
