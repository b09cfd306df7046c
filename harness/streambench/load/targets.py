"""The targets of a scenario file: where a system is, what it speaks, and what a request to it carries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from streambench.dialects import Dialect, SetupStep, load_dialect
from streambench.dialects.requests import read_setup_step
from streambench.drivers.target import TargetSpec, Timeouts
from streambench.errors import ConfigurationError
from streambench.load.scenario import Target
from streambench.load.secrets import SECRET_HEADERS
from streambench.load.values import Values
from streambench.located import Located

SUFFIXES = (".yaml", ".yml")
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
SCHEMES = {
    "sse": ("http", "https"),
    "ndjson": ("http", "https"),
    "websocket": ("ws", "wss", "http", "https"),
    "socketio": ("http", "https", "ws", "wss"),
}


class TargetReader:
    """Reads one target after the other."""

    def __init__(self, values: Values, timeouts: Timeouts) -> None:
        self._values = values
        self._timeouts = timeouts

    def read(self, name: str | None, node: Located) -> Target:
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
            timeouts=self._timeouts,
            stamps=keys["stamps"].choice("'stamps'", ("auto", "kernel", "user")) if "stamps" in keys else "auto",  # type: ignore[arg-type]
        )
        return Target(spec, self._upstream(keys.get("upstream")))

    def _dialect(self, node: Located) -> Dialect:
        name = self._values.text(node, "'dialect'")
        if "/" in name or name.endswith(SUFFIXES):
            beside = self._values.path.parent / name
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
        url = self._values.text(node, "'url'")
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
                    f"not {self._values.secrets(url)!r}"
                )
        query = keys.get("query")
        if query is None:
            return url
        pairs = {
            name: self._values.scalar(item, f"the query's {name!r}") for name, item in query.mapping("'query'").items()
        }
        before, hash_sign, fragment = url.partition("#")
        return f"{before}{'&' if '?' in before else '?'}{urlencode(pairs)}{hash_sign}{fragment}"

    def _headers(self, keys: Mapping[str, Located]) -> dict[str, str]:
        headers: dict[str, str] = {}
        node = keys.get("headers")
        if node is not None:
            for name, item in node.mapping("'headers'").items():
                value = self._values.scalar(item, f"the header {name!r}")
                self._check_header(item, name, value)
                headers[name] = value
                if name.lower() in SECRET_HEADERS:
                    self._values.secrets.add(value.removeprefix("Bearer "))
        auth = keys.get("auth")
        if auth is not None:
            for name, item in auth.mapping("'auth'", AUTH_KEYS).items():
                value = self._values.text(item, f"'{name}'")
                self._check_header(item, name, value)
                self._values.secrets.add(value)
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
                given[name] = self._values.scalar(item, f"the variable {name!r}")
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
            return "${serve.openai}" if "openai" in self._values.served else None
        if node.value is None or node.value == "none":
            return None
        url = self._values.text(node, "'upstream'")
        if not url.startswith(("http://", "https://", "${serve.")):
            raise node.error(f"'upstream' is the fake upstream's base URL, or none; not {self._values.secrets(url)!r}")
        return url.rstrip("/")

    def _tls(self, node: Located | None) -> bool | str:
        if node is None:
            return True
        verify = node.mapping("'tls'", ("verify",)).get("verify")
        if verify is None:
            return True
        if isinstance(verify.value, bool):
            return verify.value
        path = Path(self._values.text(verify, "'verify'"))
        found = path if path.is_file() else self._values.path.parent / path
        if not found.is_file():
            raise verify.error(f"'verify' is true, false, or a CA file; there is no file {path}")
        return str(found)

    def _http(self, node: Located | None, dialect: Dialect) -> int:
        version = self._values.integer(node, "'http'", 1, 2, 1)
        if node is not None and version == 2 and dialect.is_socket:
            raise node.error(f"'http: 2' is for SSE and NDJSON; {dialect.name} speaks {dialect.transport}")
        return version

    def _proxy(self, node: Located | None) -> str | None:
        if node is None or node.value is None:
            return None
        url = self._values.text(node, "'proxy'")
        try:
            parts = urlsplit(url)
            is_proxy = parts.scheme == "http" and parts.hostname and parts.port != 0
        except ValueError:
            is_proxy = False
        if not is_proxy:
            raise node.error("'proxy' is the URL of an HTTP proxy, such as http://127.0.0.1:3128")
        if parts.password:
            self._values.secrets.add(parts.password)
        return url
