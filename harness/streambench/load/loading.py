"""Scenario files, read and checked before any traffic: every mistake has its file, line, column and nearest name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from streambench.analysis.gates import Gate, GateError, parse_gate
from streambench.drivers.target import Timeouts
from streambench.errors import ConfigurationError, nearest
from streambench.load.scenario import SERVED, Scenario, Serve, Target
from streambench.load.targets import SUFFIXES, TargetReader
from streambench.load.values import Values
from streambench.load.workload import LoadReader, PromptReader
from streambench.located import Located, read_yaml
from streambench.units import NS_PER_S

MAX_FILE_BYTES = 1 << 20
TOP_KEYS = (
    "version",
    "name",
    "serve",
    "target",
    "targets",
    "prompts",
    "load",
    "timeouts",
    "gates",
    "seed",
    "stall_after",
    "reading_wpm",
)
TIMEOUT_KEYS = ("connect", "first_chunk", "idle", "total")
OPENAI_KEYS = ("profile", "seed", "tokens")
CHAT_KEYS = ("streaming", "db", "users", "rate_limit")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
    """The scenario of a file or of a bundled name.

    `overrides` are `path=value` texts that replace what the file says, `gates` are added to its own. Raises
    ConfigurationError.
    """
    path = _path_of(source)
    text = _read(path)
    root = read_yaml(text, str(path))
    for override in overrides:
        root = _overridden(root, override)
    digest = hashlib.sha256("\0".join([text, *overrides]).encode()).hexdigest()
    return _Loader(root, path, environ).load(digest, gates)


def read_scenario(text: str, name: str, *, environ: Mapping[str, str]) -> Scenario:
    """The scenario in `text`, which stands in no file; `name` is what errors call it."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return _Loader(read_yaml(text, name), Path(name), environ).load(digest, ())


def _path_of(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    bundled = bundled_scenarios()
    if source in bundled:
        return bundled[source]
    if source.endswith(SUFFIXES) or "/" in source:
        raise ConfigurationError(f"there is no file {source}", text=source, suggestion=nearest(path.stem, bundled))
    raise ConfigurationError(
        f"there is no scenario {source!r}: the bundled ones are {', '.join(bundled)}; a file of your own needs its "
        "path, ending in .yaml.",
        text=source,
        suggestion=nearest(source, bundled),
    )


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", path=str(path)) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigurationError(f"is larger than {MAX_FILE_BYTES:,} bytes", path=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError("is not UTF-8", path=str(path), line=line) from None


def _overridden(root: Located, override: str) -> Located:
    """The document with one value replaced: `load.users=50`, `targets.real.url=http://…`; lists count from 0."""
    place, equals, value_text = override.partition("=")
    if not equals:
        raise ConfigurationError(f"--set {override}: write it as PATH=VALUE, such as load.users=50", text=override)
    value = read_yaml(value_text or "''", f"--set {place}")

    def put(node: Located | None, keys: list[str]) -> Located:
        if not keys:
            return value
        key, rest = keys[0], keys[1:]
        if node is not None and isinstance(node.value, list):
            if not key.isdecimal() or int(key) >= len(node.value):
                raise ConfigurationError(f"--set {place}: the list has no item {key!r}", text=key)
            items = list(node.value)
            items[int(key)] = put(items[int(key)], rest)
            return replace(node, value=items)
        mapping = dict(node.value) if node is not None and isinstance(node.value, dict) else {}
        mapping[key] = put(mapping.get(key), rest)
        return replace(node if node is not None else value, value=mapping)

    return put(root, place.strip().split("."))


class _Loader:
    """Reads one document."""

    def __init__(self, root: Located, path: Path, environ: Mapping[str, str]) -> None:
        self._top = root.mapping("a scenario", TOP_KEYS)
        self._root = root
        self._path = path
        self._values = Values(path, environ)

    def load(self, digest: str, more_gates: Sequence[str]) -> Scenario:
        self._check_version()
        serve = self._serve()
        timeouts = self._timeouts()
        targets = self._targets(timeouts)
        has_upstream = any(target.two_sided for target in targets)
        sides = {target.name: target.two_sided for target in targets}
        return Scenario(
            name=self._name(),
            path=str(self._path),
            content_hash=digest,
            targets=targets,
            serve=serve,
            prompts=PromptReader(self._values, has_upstream=has_upstream).read(self._top.get("prompts")),
            load=LoadReader(self._values).read(self._top.get("load")),
            timeouts=timeouts,
            gates=(*self._gates(sides), *(_option_gate(text, sides) for text in more_gates)),
            seed=self._values.integer(self._top.get("seed"), "'seed'", 0, 2**63 - 1, 0),
            stall_after_ns=self._values.duration(self._top.get("stall_after"), "'stall_after'", NS_PER_S // 2),
            reading_wpm=self._values.number(self._top.get("reading_wpm"), "'reading_wpm'", 1, 10_000, 250.0),
            secrets=self._values.secrets,
        )

    def _check_version(self) -> None:
        node = self._top.get("version")
        if node is not None and node.value != 1:
            raise node.error(f"this is scenario version {node.value}; this streambench reads version 1")

    def _name(self) -> str:
        node = self._top.get("name")
        if node is None:
            return self._path.stem
        name = node.string("'name'")
        if _NAME.fullmatch(name) is None:
            raise node.error("a name is made of letters, digits, `.`, `_` and `-`: it becomes a folder", text=name)
        return name

    def _serve(self) -> Serve:
        node = self._top.get("serve")
        if node is None:
            return Serve()
        keys = node.mapping("'serve'", SERVED)
        self._values.served = set(keys)
        options: dict[str, dict[str, Any]] = {}
        for name, allowed in (("openai", OPENAI_KEYS), ("chat", CHAT_KEYS)):
            if name in keys:
                given = keys[name]
                options[name] = (
                    {}
                    if given.value is None
                    else {key: item.plain() for key, item in given.mapping(f"'serve.{name}'", allowed).items()}
                )
        if "chat" in options and "openai" not in options:
            raise node.key_error("chat", "the chat server needs its upstream: add openai: {} beside it")
        openai = keys.get("openai")
        if openai is not None and isinstance(openai.value, dict):
            for key, low, high in (("seed", 0, 2**63 - 1), ("tokens", 0, 100_000)):
                self._values.integer(openai.value.get(key), f"'{key}'", low, high, 0)
        chat = keys.get("chat")
        if chat is not None and isinstance(chat.value, dict):
            for key, item in chat.value.items():
                if key == "users":
                    for name, token in item.mapping("'users'").items():
                        self._values.scalar(token, f"the token of {name!r}")
                else:
                    self._values.scalar(item, f"'{key}'")
        return Serve(options.get("openai"), options.get("chat"))

    def _timeouts(self) -> Timeouts:
        node = self._top.get("timeouts")
        keys = node.mapping("'timeouts'", TIMEOUT_KEYS) if node is not None else {}
        default = Timeouts()
        return Timeouts(
            connect_ns=self._values.duration(keys.get("connect"), "'connect'", default.connect_ns),
            first_chunk_ns=self._values.duration(keys.get("first_chunk"), "'first_chunk'", default.first_chunk_ns),
            idle_ns=self._values.duration(keys.get("idle"), "'idle'", default.idle_ns),
            total_ns=self._values.duration(keys.get("total"), "'total'", default.total_ns),
        )

    def _targets(self, timeouts: Timeouts) -> tuple[Target, ...]:
        reader = TargetReader(self._values, timeouts)
        one, many = self._top.get("target"), self._top.get("targets")
        if one is not None and many is not None:
            raise self._root.key_error("targets", "there is either one 'target', or 'targets' with their names")
        if one is not None:
            return (reader.read(None, one),)
        if many is None:
            raise self._root.error("a scenario needs a 'target', or 'targets' with their names")
        named = many.mapping("'targets'")
        if not named:
            raise many.error("'targets' names no target")
        for name in named:
            if _NAME.fullmatch(name) is None:
                raise many.key_error(name, "a target's name is made of letters, digits, `.`, `_` and `-`")
        return tuple(reader.read(name, node) for name, node in named.items())

    def _gates(self, sides: Mapping[str, bool]) -> tuple[Gate, ...]:
        node = self._top.get("gates")
        if node is None or node.value is None:
            return ()
        gates: list[Gate] = []
        for item in node.sequence("'gates'"):
            if isinstance(item.value, dict):
                raise item.error("a gate is one text: put it in quotes, since it holds a colon")
            text = item.string("a gate")
            try:
                gates.append(parse_gate(text, sides))
            except GateError as error:
                located = item.error(str(error), text=error.text, at=error.at)
                located.suggestion = error.suggestion
                raise located from None
        return tuple(gates)


def _option_gate(text: str, sides: Mapping[str, bool]) -> Gate:
    try:
        return parse_gate(text, sides)
    except GateError as error:
        raise ConfigurationError(
            str(error), path=f"--gate {text!r}", column=error.at + 1, text=error.text, suggestion=error.suggestion
        ) from None
