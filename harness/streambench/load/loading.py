"""Scenario files, read and checked before any traffic: every mistake has its file, line, column and nearest name."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from streambench.analysis.gates import Gate, GateError, parse_gate
from streambench.dialects import Dialect, SetupStep, load_dialect
from streambench.dialects.loading import read_setup_step
from streambench.dialects.located import Located, describe, read_yaml
from streambench.drivers.target import TargetSpec, Timeouts
from streambench.errors import ConfigurationError, nearest
from streambench.load.scenario import DEFAULT_PROMPT, SERVED, Load, Phase, Prompt, Prompts, Scenario, Serve, Target
from streambench.load.secrets import SECRET_HEADERS, Secrets
from streambench.units import NS_PER_S, parse_duration_ns, parse_rate_per_s

SUFFIXES = (".yaml", ".yml")
MAX_FILE_BYTES = 1 << 20
MAX_PROMPTS = 100_000
MAX_USERS = 10_000
MAX_RATE_PER_S = 100_000.0
ARRIVALS = ("constant", "poisson", "gamma")

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
TARGET_KEYS = (
    "dialect",
    "url",
    "headers",
    "query",
    "auth",
    "variables",
    "setup",
    "upstream",
    "tls",
    "http",
    "proxy",
    "stamps",
)
AUTH_KEYS = ("bearer", "cookie")
PROMPT_COLUMNS = ("text", "prompt", "tokens")
PROMPT_KEYS = ("text", "file", "tokens", "profile", "faults")
PHASE_KEYS = ("users", "rate", "arrivals", "cv", "trace", "duration", "streams", "think", "max_active")
LOAD_KEYS = ("warmup", "phases")
TIMEOUT_KEYS = ("connect", "first_chunk", "idle", "total")
OPENAI_KEYS = ("profile", "seed", "tokens")
CHAT_KEYS = ("streaming", "db", "users", "rate_limit")
SCHEMES = {
    "sse": ("http", "https"),
    "ndjson": ("http", "https"),
    "websocket": ("ws", "wss", "http", "https"),
    "socketio": ("http", "https", "ws", "wss"),
}

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

T = TypeVar("T")


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
    """Reads one document. Environment values that are used become secrets."""

    def __init__(self, root: Located, path: Path, environ: Mapping[str, str]) -> None:
        self._top = root.mapping("a scenario", TOP_KEYS)
        self._root = root
        self._path = path
        self._environ = environ
        self._secrets = Secrets()
        self._served: set[str] = set()

    def load(self, digest: str, more_gates: Sequence[str]) -> Scenario:
        self._check_version()
        serve = self._serve()
        timeouts = self._timeouts()
        targets = self._targets(timeouts)
        sides = {target.name: target.two_sided for target in targets}
        return Scenario(
            name=self._name(),
            path=str(self._path),
            content_hash=digest,
            targets=targets,
            serve=serve,
            prompts=self._prompts(),
            load=self._load(),
            timeouts=timeouts,
            gates=(*self._gates(sides), *(_option_gate(text, sides) for text in more_gates)),
            seed=self._integer(self._top.get("seed"), "'seed'", 0, 2**63 - 1, 0),
            stall_after_ns=self._duration(self._top.get("stall_after"), "'stall_after'", NS_PER_S // 2),
            reading_wpm=self._number(self._top.get("reading_wpm"), "'reading_wpm'", 1, 10_000, 250.0),
            secrets=self._secrets,
        )

    # Values

    def _text(self, node: Located, what: str) -> str:
        """A text, with `${NAME}` from the environment in place; `${serve.…}` stays, it is known later."""
        text = node.string(what)

        def fill(match: re.Match[str]) -> str:
            name, has_default, default = match[1].partition(":-")
            if name.startswith("serve."):
                self._check_served(node, name, match.start(1))
                return match[0]
            if _VARIABLE.fullmatch(name) is None:
                raise node.error(f"{match[0]!r} names no environment variable", text=match[0], at=match.start())
            if name in self._environ:
                value = self._environ[name]
                self._secrets.add(value, match[0] if not has_default else f"${{{name}}}")
                return value
            if has_default:
                return default
            raise node.error(
                f"the environment variable {name} is not set: set it, or write ${{{name}:-default}}",
                text=name,
                at=match.start(),
            )

        return _REFERENCE.sub(fill, text)

    def _check_served(self, node: Located, name: str, at: int) -> None:
        served = name.removeprefix("serve.")
        if served in self._served:
            return
        if served in SERVED:
            raise node.error(f"{name} is used, but `serve` does not start it: add serve: {{{served}: {{}}}}", at=at)
        names = [f"serve.{one}" for one in SERVED]
        raise node.error(f"there is no {name}: `serve` starts {' and '.join(SERVED)}.", text=name, valid=names, at=at)

    def _read(self, node: Located, parse: Callable[[str], T], what: str) -> T:
        """A quantity in its own notation. A number is offered as text, so that `0` is a duration."""
        if isinstance(node.value, bool) or not isinstance(node.value, str | int | float):
            raise node.error(f"{what} is {describe(node.value)}, which is no quantity")
        text = self._text(node, what) if isinstance(node.value, str) else str(node.value)
        try:
            return parse(text)
        except ValueError as error:
            raise node.error(f"{what}: {error}", text=text) from None

    def _duration(self, node: Located | None, what: str, default: int) -> int:
        return default if node is None else self._read(node, parse_duration_ns, what)

    def _number(self, node: Located | None, what: str, low: float, high: float, default: float) -> float:
        if node is None:
            return default
        value = self._read(node, float, what)
        if not low <= value <= high:
            raise node.error(f"{what} lies between {low:g} and {high:g}", text=str(node.value))
        return value

    def _integer(self, node: Located | None, what: str, low: int, high: int, default: int) -> int:
        if node is None:
            return default

        def parse(text: str) -> int:
            try:
                return int(text)
            except ValueError:
                raise ValueError(f"{text!r} is not a whole number") from None

        value = self._read(node, parse, what)
        if not low <= value <= high:
            raise node.error(f"{what} lies between {low:,} and {high:,}", text=str(node.value))
        return value

    # Parts

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
        self._served = set(keys)
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
                self._integer(openai.value.get(key), f"'{key}'", low, high, 0)
        chat = keys.get("chat")
        if chat is not None and isinstance(chat.value, dict):
            for key, item in chat.value.items():
                if key == "users":
                    for name, token in item.mapping("'users'").items():
                        self._scalar(token, f"the token of {name!r}")
                else:
                    self._scalar(item, f"'{key}'")
        return Serve(options.get("openai"), options.get("chat"))

    def _timeouts(self) -> Timeouts:
        node = self._top.get("timeouts")
        keys = node.mapping("'timeouts'", TIMEOUT_KEYS) if node is not None else {}
        default = Timeouts()
        return Timeouts(
            connect_ns=self._duration(keys.get("connect"), "'connect'", default.connect_ns),
            first_chunk_ns=self._duration(keys.get("first_chunk"), "'first_chunk'", default.first_chunk_ns),
            idle_ns=self._duration(keys.get("idle"), "'idle'", default.idle_ns),
            total_ns=self._duration(keys.get("total"), "'total'", default.total_ns),
        )

    def _targets(self, timeouts: Timeouts) -> tuple[Target, ...]:
        one, many = self._top.get("target"), self._top.get("targets")
        if one is not None and many is not None:
            raise self._root.key_error("targets", "there is either one 'target', or 'targets' with their names")
        if one is not None:
            return (self._target(None, one, timeouts),)
        if many is None:
            raise self._root.error("a scenario needs a 'target', or 'targets' with their names")
        named = many.mapping("'targets'")
        if not named:
            raise many.error("'targets' names no target")
        for name in named:
            if _NAME.fullmatch(name) is None:
                raise many.key_error(name, "a target's name is made of letters, digits, `.`, `_` and `-`")
        return tuple(self._target(name, node, timeouts) for name, node in named.items())

    def _target(self, name: str | None, node: Located, timeouts: Timeouts) -> Target:
        keys = node.mapping("a target", TARGET_KEYS)
        for needed in ("dialect", "url"):
            if needed not in keys:
                raise node.error(f"a target needs {needed!r}")
        dialect = self._dialect(keys["dialect"])
        headers = self._headers(keys)
        setup = self._setup(keys.get("setup"), dialect)
        steps = dialect.setup if setup is None else setup
        variables = self._variables(keys.get("variables"), dialect, steps)
        self._check_placeholders(keys, dialect, steps, variables)
        spec = TargetSpec(
            name=name if name is not None else dialect.name,
            dialect=dialect,
            url=self._url(keys, dialect),
            headers=tuple(headers.items()),
            variables=variables,
            setup=setup,
            tls_verify=self._tls(keys.get("tls")),
            http=self._http(keys.get("http"), dialect),
            proxy=self._proxy(keys.get("proxy")),
            timeouts=timeouts,
            stamps=keys["stamps"].choice("'stamps'", ("auto", "kernel", "user")) if "stamps" in keys else "auto",  # type: ignore[arg-type]
        )
        return Target(spec, self._upstream(keys.get("upstream")))

    def _dialect(self, node: Located) -> Dialect:
        name = self._text(node, "'dialect'")
        if "/" in name or name.endswith(SUFFIXES):
            beside = self._path.parent / name
            return load_dialect(str(beside if beside.is_file() else name))
        try:
            return load_dialect(name)
        except ConfigurationError as error:
            if error.path is not None:
                raise
            raise ConfigurationError(
                error.reason,
                path=node.path,
                line=node.line,
                column=node.column,
                text=name,
                suggestion=error.suggestion,
            ) from None

    def _url(self, keys: Mapping[str, Located], dialect: Dialect) -> str:
        node = keys["url"]
        url = self._text(node, "'url'")
        if not url.startswith("${serve."):
            allowed = SCHEMES[dialect.transport]
            try:
                parts = urlsplit(url)
                scheme, host, _ = parts.scheme, parts.hostname, parts.port
            except ValueError as error:
                raise node.error(f"this is no URL: {error}") from None
            if parts.username is not None:
                raise node.error("the user in a URL is not sent: write it as auth or headers, from the environment")
            if scheme not in allowed or not host:
                raise node.error(
                    f"{dialect.name} needs a URL that begins with {' or '.join(f'{one}://' for one in allowed)}, "
                    f"not {self._secrets(url)!r}"
                )
        query = keys.get("query")
        if query is None:
            return url
        pairs = {name: self._scalar(item, f"the query's {name!r}") for name, item in query.mapping("'query'").items()}
        return f"{url}{'&' if '?' in url else '?'}{urlencode(pairs)}"

    def _scalar(self, node: Located, what: str) -> str:
        if isinstance(node.value, dict | list) or node.value is None:
            raise node.error(f"{what} must be a text or a number, not {describe(node.value)}")
        if isinstance(node.value, bool):
            return "true" if node.value else "false"
        return self._text(node, what) if isinstance(node.value, str) else str(node.value)

    def _headers(self, keys: Mapping[str, Located]) -> dict[str, str]:
        headers: dict[str, str] = {}
        node = keys.get("headers")
        if node is not None:
            for name, item in node.mapping("'headers'").items():
                value = self._scalar(item, f"the header {name!r}")
                self._check_header(item, name, value)
                headers[name] = value
                if name.lower() in SECRET_HEADERS:
                    self._secrets.add(value.removeprefix("Bearer "))
        auth = keys.get("auth")
        if auth is not None:
            for name, item in auth.mapping("'auth'", AUTH_KEYS).items():
                value = self._text(item, f"'{name}'")
                self._check_header(item, name, value)
                self._secrets.add(value)
                headers["Authorization" if name == "bearer" else "Cookie"] = (
                    f"Bearer {value}" if name == "bearer" else value
                )
        return headers

    def _check_header(self, node: Located, name: str, value: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or any(character < " " for character in value):
            raise node.error(f"{name!r} cannot be sent as a header: it holds a line break or a forbidden character")

    def _variables(self, node: Located | None, dialect: Dialect, setup: Sequence[SetupStep]) -> dict[str, str]:
        given: dict[str, str] = {}
        used = set(dialect.variables).union(*(step.request.placeholders() for step in setup))
        if node is not None:
            for name, item in node.mapping("'variables'", sorted(used - {"prompt", "user"})).items():
                given[name] = self._scalar(item, f"the variable {name!r}")
        return given

    def _check_placeholders(
        self, keys: Mapping[str, Located], dialect: Dialect, setup: Sequence[SetupStep], given: Mapping[str, str]
    ) -> None:
        """What the requests need must have come from somewhere by then."""
        known = {"prompt", *dialect.with_defaults(given)}
        missing: set[str] = set()
        for step in setup:
            missing |= step.request.placeholders() - known
            known |= set(step.capture)
        missing |= dialect.request.placeholders() - known
        for name in sorted(missing):
            place = keys.get("variables") or keys.get("setup") or keys["dialect"]
            raise place.error(f"{dialect.name} needs a value for {name!r}: give it in variables: {{{name}: …}}")

    def _setup(self, node: Located | None, dialect: Dialect) -> tuple[SetupStep, ...] | None:
        if node is None:
            return None
        return tuple(read_setup_step(item, dialect.transport, dialect.events) for item in node.sequence("'setup'"))

    def _upstream(self, node: Located | None) -> str | None:
        if node is None:
            return "${serve.openai}" if "openai" in self._served else None
        if node.value is None or node.value == "none":
            return None
        url = self._text(node, "'upstream'")
        if not url.startswith(("http://", "https://", "${serve.")):
            raise node.error(f"'upstream' is the fake upstream's base URL, or none; not {self._secrets(url)!r}")
        return url.rstrip("/")

    def _tls(self, node: Located | None) -> bool | str:
        if node is None:
            return True
        verify = node.mapping("'tls'", ("verify",)).get("verify")
        if verify is None:
            return True
        if isinstance(verify.value, bool):
            return verify.value
        path = Path(self._text(verify, "'verify'"))
        found = path if path.is_file() else self._path.parent / path
        if not found.is_file():
            raise verify.error(f"'verify' is true, false, or a CA file; there is no file {path}")
        return str(found)

    def _http(self, node: Located | None, dialect: Dialect) -> int:
        version = self._integer(node, "'http'", 1, 2, 1)
        if node is not None and version == 2 and dialect.is_socket:
            raise node.error(f"'http: 2' is for SSE and NDJSON; {dialect.name} speaks {dialect.transport}")
        return version

    def _proxy(self, node: Located | None) -> str | None:
        if node is None or node.value is None:
            return None
        url = self._text(node, "'proxy'")
        try:
            parts = urlsplit(url)
            is_proxy = parts.scheme == "http" and parts.hostname and parts.port != 0
        except ValueError:
            is_proxy = False
        if not is_proxy:
            raise node.error("'proxy' is the URL of an HTTP proxy, such as http://127.0.0.1:3128")
        if parts.password:
            self._secrets.add(parts.password)
        return url

    def _prompts(self) -> Prompts:
        node = self._top.get("prompts")
        if node is None:
            return Prompts()
        keys = node.mapping("'prompts'", PROMPT_KEYS)
        if "text" in keys and "file" in keys:
            raise node.key_error("file", "prompts have either a 'text' or a 'file'")
        tokens_node = keys.get("tokens")
        tokens = None if tokens_node is None else self._integer(tokens_node, "'tokens'", 0, 100_000, 0)
        if "file" in keys:
            prompts = self._prompt_file(keys["file"], tokens)
        elif "text" in keys:
            text = keys["text"]
            texts = text.value if isinstance(text.value, list) else [text]
            prompts = tuple(Prompt(self._text(item, "a prompt"), tokens) for item in texts)
            if not prompts:
                raise text.error("there is no prompt")
        else:
            prompts = (Prompt(tokens=tokens),)
        faults = keys["faults"].sequence("'faults'") if "faults" in keys else []
        orders = any(key in keys for key in ("tokens", "profile", "faults"))
        if orders and "openai" not in self._served and not self._names_upstream():
            first = next(key for key in ("tokens", "profile", "faults") if key in keys)
            raise node.key_error(
                first,
                f"'{first}' is ordered from the bundled upstream, and there is none: serve it, or name one in "
                "the target (upstream: URL)",
            )
        profile = keys["profile"].plain() if "profile" in keys else None
        return Prompts(prompts, profile, tuple(fault.plain() for fault in faults))

    def _names_upstream(self) -> bool:
        one, many = self._top.get("target"), self._top.get("targets")
        nodes = [one] if one is not None else list(many.value.values()) if many is not None else []
        return any(isinstance(node.value, dict) and "upstream" in node.value for node in nodes)

    def _file_beside(self, node: Located, name: str, what: str) -> tuple[Path, str]:
        """A file that the scenario names, in the working directory or beside the scenario, and its text."""
        path = Path(name) if Path(name).is_file() else self._path.parent / name
        try:
            return path, path.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise node.error(f"{what} cannot be read: {reason}", text=name) from None

    def _prompt_file(self, node: Located, tokens: int | None) -> tuple[Prompt, ...]:
        """A JSON Lines or CSV file; a row has `text` (or `prompt`) and, where wanted, `tokens`."""
        name = self._text(node, "'file'")
        path, content = self._file_beside(node, name, f"the prompts in {name}")
        rows: list[tuple[int, Any]] = []
        if path.suffix == ".csv":
            reader = csv.DictReader(io.StringIO(content, newline=""))
            rows = [(reader.line_num, row) for row in reader]
        else:
            for number, line in enumerate(content.split("\n"), 1):
                if line.strip():
                    try:
                        rows.append((number, json.loads(line)))
                    except ValueError as error:
                        raise ConfigurationError(f"is not JSON: {error}", path=str(path), line=number) from None
        prompts: list[Prompt] = []
        for number, row in rows[:MAX_PROMPTS]:
            row = {"text": row} if isinstance(row, str) else row
            text = None
            if isinstance(row, dict) and any(key in row for key in PROMPT_COLUMNS):
                text = row.get("text", row.get("prompt", DEFAULT_PROMPT))
            if not isinstance(text, str):
                raise ConfigurationError(
                    "a row is a text, or an object with `text` and, where wanted, `tokens`", path=str(path), line=number
                )
            length = row.get("tokens", tokens)
            try:
                prompts.append(Prompt(text, None if length in (None, "") else int(length)))
            except (TypeError, ValueError):
                raise ConfigurationError("`tokens` is a whole number", path=str(path), line=number) from None
        if not prompts:
            raise node.error(f"there are no prompts in {name}")
        return tuple(prompts)

    def _load(self) -> Load:
        node = self._top.get("load")
        if node is None:
            return Load()
        keys = node.mapping("'load'", (*LOAD_KEYS, *PHASE_KEYS))
        warmup_ns = self._duration(keys.get("warmup"), "'warmup'", 0)
        phases_node = keys.get("phases")
        if phases_node is None:
            if "trace" in keys and warmup_ns:
                raise node.key_error("warmup", "a trace has no rate to warm up with: put a phase with users before it")
            return Load((self._phase(node, {key: keys[key] for key in keys if key != "warmup"}),), warmup_ns)
        for key in PHASE_KEYS:
            if key in keys:
                raise node.key_error(key, f"{key!r} belongs into a phase, since there are phases")
        items = phases_node.sequence("'phases'")
        if not items:
            raise phases_node.error("there is no phase")
        phases = tuple(self._phase(item, item.mapping("a phase", PHASE_KEYS)) for item in items)
        if phases[0].trace_ns is not None and warmup_ns:
            raise node.key_error("warmup", "a trace has no rate to warm up with: put a phase with users before it")
        return Load(phases, warmup_ns)

    def _phase(self, node: Located, keys: Mapping[str, Located]) -> Phase:
        models = [key for key in ("users", "rate", "trace") if key in keys]
        if len(models) > 1:
            raise node.key_error(models[1], f"a phase has either {' or '.join(repr(model) for model in models)}")
        duration_ns = self._duration(keys.get("duration"), "'duration'", 0) or None
        streams_node = keys.get("streams")
        streams = None if streams_node is None else self._integer(streams_node, "'streams'", 1, 10**9, 1)
        if duration_ns is None and streams is None and "trace" not in keys:
            raise node.error("a phase needs an end: a 'duration' such as 20s, a number of 'streams', or both")
        max_active = self._integer(keys.get("max_active"), "'max_active'", 1, 100_000, 10_000)
        if "trace" in keys:
            self._only(node, keys, "users", ("think",))
            self._only(node, keys, "rate", ("arrivals", "cv"))
            return Phase(
                trace_ns=self._trace(keys["trace"]), duration_ns=duration_ns, streams=streams, max_active=max_active
            )
        if "rate" in keys:
            self._only(node, keys, "users", ("think",))
            arrivals = keys["arrivals"].choice("'arrivals'", ARRIVALS) if "arrivals" in keys else "constant"
            rate_from, rate_to = self._rate(keys["rate"])
            if max(rate_from, rate_to) > MAX_RATE_PER_S:
                raise keys["rate"].error(f"a rate is at most {MAX_RATE_PER_S:,.0f}/s")
            if rate_from != rate_to and duration_ns is None:
                raise keys["rate"].error("a ramp needs a 'duration'")
            return Phase(
                rate_from=rate_from,
                rate_to=rate_to,
                arrivals=arrivals,
                cv=self._number(keys.get("cv"), "'cv'", 0.01, 100, 1.0),
                duration_ns=duration_ns,
                streams=streams,
                max_active=max_active,
            )
        self._only(node, keys, "rate", ("arrivals", "cv", "max_active"))
        return Phase(
            users=self._integer(keys.get("users"), "'users'", 1, MAX_USERS, 1),
            duration_ns=duration_ns,
            streams=streams,
            think_ns=self._duration(keys.get("think"), "'think'", 0),
        )

    def _only(self, node: Located, keys: Mapping[str, Located], model: str, wrong: Sequence[str]) -> None:
        for key in wrong:
            if key in keys:
                raise node.key_error(key, f"{key!r} goes with {model!r}")

    def _rate(self, node: Located) -> tuple[float, float]:
        if isinstance(node.value, dict):
            keys = node.mapping("'rate'", ("from", "to"))
            for key in ("from", "to"):
                if key not in keys:
                    raise node.error(f"a ramp needs {key!r}, such as {{from: 5/s, to: 50/s}}")
            low, high = (self._read(keys[key], parse_rate_per_s, f"'{key}'") for key in ("from", "to"))
            if max(low, high) <= 0:
                raise node.error("the rate is 0")
            return low, high
        rate = self._read(node, parse_rate_per_s, "'rate'")
        if rate <= 0:
            raise node.error("the rate is 0")
        return rate, rate

    def _trace(self, node: Located) -> tuple[int, ...]:
        """Arrival times in seconds, the first column of a CSV file; they count from the first of them."""
        name = self._text(node, "'trace'")
        path, content = self._file_beside(node, name, f"the trace {name}")
        seconds: list[float] = []
        reader = csv.reader(io.StringIO(content, newline=""))
        for row in reader:
            if not row or not row[0].strip():
                continue
            try:
                second = float(row[0])
            except ValueError:
                if not seconds and reader.line_num == 1:
                    continue  # a heading
                second = math.nan
            if not math.isfinite(second):
                raise ConfigurationError(
                    "an arrival time is a number of seconds", path=str(path), line=reader.line_num, text=row[0]
                )
            seconds.append(second)
        if not seconds:
            raise node.error(f"the trace {name} holds no arrival")
        first = min(seconds)
        return tuple(sorted(round((second - first) * NS_PER_S) for second in seconds))

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
