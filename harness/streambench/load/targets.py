"""The targets of a scenario file: where a system is, what it speaks, and what a request to it carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from streambench.dialects import Dialect, SetupStep, bundled_dialects, load_dialect
from streambench.dialects.milestones import read_milestones
from streambench.dialects.requests import read_setup_step
from streambench.dialects.schema import milestones_schema
from streambench.drivers.target import TargetSpec
from streambench.errors import ConfigurationError
from streambench.files import is_there
from streambench.load.fields import Field, Given, Nested, Section
from streambench.load.kinds import (
    HEADER_NAME,
    HEADER_VALUE,
    Choice,
    Integer,
    JsonObject,
    Plain,
    ScalarMap,
    Schema,
    Text,
    matches,
    pattern,
)
from streambench.load.secrets import SECRET_HEADERS
from streambench.load.values import Values
from streambench.located import Located, shown
from streambench.transport.target import Endpoint, Timeouts
from streambench.transport.urls import encoded_host
from streambench.wire.framings import FRAMINGS
from streambench.wire.limits import WireLimits

SUFFIXES = (".yaml", ".yml")
# Of a URL without a user, whose port is one; the loader's check is more exact, and says what is wrong.
_AUTHORITY = (
    r"(\[[0-9A-Fa-f:.%]+\]|[^\s/?#@:\[\]]+)(:\d{0,4}|:[1-5]\d{4}|:6[0-4]\d{3}|:65[0-4]\d\d|:655[0-2]\d|:6553[0-5])?"
)
_REST = r"([/?#].*)?"


def _url_of(*schemes: str) -> str:
    return f"({'|'.join(schemes)})://{_AUTHORITY}{_REST}"


class DialectName:
    """The name of a bundled dialect, or that of a file."""

    def read(self, node: Located, values: Values, what: str) -> str:
        """The name."""
        return values.text(node, what)

    def schema(self) -> Schema:
        """A bundled name, which editors complete, or something that looks like a file."""
        return {"anyOf": [{"enum": list(bundled_dialects())}, {"type": "string", "pattern": r"\.ya?ml$|/|\$\{"}]}

    def show(self, value: Any) -> str:
        """Never shown: a dialect has no default."""
        return ""


DIALECT: Field[str] = Field(
    "dialect",
    DialectName(),
    "the protocol: a [bundled dialect](dialects/) or a [dialect file](dialect-file.md), looked up in "
    "the scenario's folder first",
    "",
    required=True,
)
URL: Field[str] = Field(
    "url",
    Text((_url_of("https?", "wss?"),)),
    "`http(s)://`, for sockets also `ws(s)://`. The base URL if the dialect has a path, otherwise "
    "the endpoint itself. Percent-encoded as the URL standard says. Credentials do not belong in it: "
    "use `auth` or `headers`",
    "",
    required=True,
)
HEADERS: Field[dict[str, str]] = Field(
    "headers",
    ScalarMap("the header", HEADER_NAME, HEADER_VALUE),
    "request headers, by name; `accept-encoding` defaults to what browsers send: `gzip, deflate, br, zstd`",
    {},
    shown="",
)
QUERY: Field[dict[str, str]] = Field(
    "query", ScalarMap("the query's"), "query parameters to add to the URL, by name", {}, shown=""
)
BEARER = Field("bearer", Text((HEADER_VALUE,)), "sent as `Authorization: Bearer TOKEN`", None)
COOKIE = Field("cookie", Text((HEADER_VALUE,)), "sent as `Cookie: TEXT`", None)
AUTH_SECTION = Section("'auth'", BEARER, COOKIE)
AUTH: Field[Given | None] = Field(
    "auth",
    Nested(AUTH_SECTION, in_table=False),
    "`bearer: TOKEN` sends `Authorization: Bearer TOKEN`, `cookie: TEXT` sends `Cookie: TEXT`",
    None,
)
VARIABLES: Field[dict[str, str]] = Field(
    "variables",
    ScalarMap("the variable"),
    "values for the placeholders that the dialect or the setup uses, such as `{model: gpt-4o}`; "
    "`{user}` is set to `user-N`",
    {},
    shown="the dialect's",
)
EXTRA: Field[Mapping[str, Any]] = Field(
    "extra",
    JsonObject(),
    "fields to set in the request's JSON, such as `{temperature: 0}`; they replace fields of the "
    "same name, and nested objects are merged",
    {},
    shown="",
)
SETUP = Field(
    "setup",
    Plain({"type": "array", "items": {"$ref": "#/$defs/setup_step"}}),
    "steps that each user runs once before its first prompt, instead of the dialect's own: see [below](#setup)",
    None,
    shown="the dialect's",
)
MILESTONES: Field[Any] = Field(
    "milestones",
    Plain(milestones_schema()),
    "named moments of a reply, such as `{first_document: search_documents}`, in addition to the "
    "dialect's: [milestones](dialect-file.md#milestones)",
    None,
    shown="the dialect's",
)
UPSTREAM: Field[str | None] = Field(
    "upstream",
    Plain({"anyOf": [{"type": "null"}, pattern("none", "https?://.*")]}),
    "base URL of the fake upstream behind this target, which makes the measurement two-sided; `none`: one side only",
    None,
    shown="`${serve.openai}` if served, otherwise none",
)
UPSTREAM_TOKEN = Field(
    "upstream_token",
    Text((HEADER_VALUE,)),
    "the token given to `mock --admin-token`, for an upstream on another machine; write it as `${NAME}`",
    None,
    shown="none",
)
VERIFY = Field("verify", Plain({"type": ["boolean", "string"]}), "how certificates are checked", True)
TLS: Field[Given | None] = Field(
    "tls",
    Nested(Section("'tls'", VERIFY), in_table=False),
    "how certificates are verified: `verify: true`, `verify: false`, or `verify:` the path of a CA file",
    None,
    shown="`{verify: true}`",
)
HTTP = Field(
    "http",
    Integer(1, 2),
    "HTTP version: `1` or `2`; HTTP/2 is negotiated with ALPN over TLS, and used with prior knowledge without TLS",
    1,
)
PROXY: Field[str | None] = Field(
    "proxy",
    Plain({"anyOf": [{"type": "null"}, pattern(rf"http://([^\s/?#@]*@)?{_AUTHORITY}{_REST}")]}),
    "URL of an HTTP proxy, `http://[user:password@]host:port`",
    None,
    shown="none; the environment's proxy settings are not used",
)
STAMPS: Field[Any] = Field(
    "stamps",
    Choice(("auto", "kernel", "user")),
    "what timestamps arrivals: `kernel`, `user` (streambench itself), or `auto` (the kernel where "
    "possible): [stamps](../explanation/stamps.md)",
    "auto",
)
SECTION = Section(
    "a target",
    DIALECT,
    URL,
    HEADERS,
    QUERY,
    AUTH,
    VARIABLES,
    EXTRA,
    SETUP,
    MILESTONES,
    UPSTREAM,
    UPSTREAM_TOKEN,
    TLS,
    HTTP,
    PROXY,
    STAMPS,
)


@dataclass(frozen=True, slots=True)
class Target:
    """A target as the scenario names it; `${serve.…}` in its texts is filled when the servers run.

    `upstream` is the base URL of the fake upstream behind it, None where it is measured from one side only;
    `upstream_token` is what its admin routes ask for.
    """

    spec: TargetSpec
    upstream: str | None = None
    upstream_token: str | None = None

    @property
    def name(self) -> str:
        """The target's name in every report."""
        return self.spec.name

    @property
    def milestones(self) -> tuple[str, ...]:
        """The names of its milestones."""
        return tuple(milestone.name for milestone in self.spec.dialect.milestones)

    @property
    def two_sided(self) -> bool:
        """Whether its upstream says what it sent."""
        return self.upstream is not None

    def served_by(self, urls: Mapping[str, str]) -> Target:
        """The target with the started servers' URLs in place of `${serve.…}`."""

        def fill(text: str) -> str:
            for name, url in urls.items():
                text = text.replace(f"${{serve.{name}}}", url)
            return text

        spec = replace(
            self.spec.reached(
                url=fill(self.spec.endpoint.url),
                headers=tuple((name, fill(value)) for name, value in self.spec.endpoint.headers),
            ),
            variables={name: fill(value) for name, value in self.spec.variables.items()},
        )
        return replace(self, spec=spec, upstream=None if self.upstream is None else fill(self.upstream))


class TargetReader:
    """Reads one target after the other."""

    def __init__(self, values: Values, timeouts: Timeouts, limits: WireLimits) -> None:
        self._values = values
        self._timeouts = timeouts
        self._limits = limits

    def read(self, name: str | None, node: Located) -> Target:
        """The target that `node` describes; `name` None: that of its dialect. Raises ConfigurationError."""
        given = SECTION.read(node, self._values)
        dialect = self._with_milestones(self._with_extra(self._dialect(given), given), given)
        headers = self._headers(given)
        setup = self._setup(given.get(SETUP), dialect)
        steps = dialect.setup if setup is None else setup
        variables = self._variables(given, dialect, steps)
        self._check_placeholders(given, dialect, steps, variables)
        endpoint = Endpoint(
            url=self._url(given, dialect),
            headers=tuple(headers.items()),
            tls_verify=self._tls(given),
            http=self._http(given, dialect),
            proxy=self._proxy(given.get(PROXY)),
            timeouts=self._timeouts,
            limits=self._limits,
            stamps=given[STAMPS],
        )
        spec = TargetSpec(name if name is not None else dialect.name, dialect, endpoint, variables, setup)
        return Target(spec, self._upstream(given.get(UPSTREAM)), self._upstream_token(given))

    def _dialect(self, given: Given) -> Dialect:
        node, name = given.at(DIALECT), given[DIALECT]
        if "/" in name or name.endswith(SUFFIXES):
            beside = self._values.path.parent / name
            if not is_there(beside) and not is_there(Path(name)):
                near = [item.name for suffix in SUFFIXES for item in beside.parent.glob(f"*{suffix}")]
                raise node.error(f"there is no dialect file {shown(name)}.", text=beside.name, valid=near)
            return load_dialect(str(beside if is_there(beside) else name))
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

    def _with_extra(self, dialect: Dialect, given: Given) -> Dialect:
        if EXTRA not in given:
            return dialect
        try:
            return dialect.with_fields(given[EXTRA])
        except ValueError as error:
            raise given.at(EXTRA).error(f"'extra' is not for {dialect.name}: {error}") from None

    def _with_milestones(self, dialect: Dialect, given: Given) -> Dialect:
        node = given.get(MILESTONES)
        if node is None:
            return dialect
        return replace(dialect, milestones=read_milestones(node, dialect.events, dialect.milestones))

    def _url(self, given: Given, dialect: Dialect) -> str:
        node, url = given.at(URL), given[URL]
        if not url.startswith("${serve."):
            allowed = FRAMINGS[dialect.transport].schemes
            try:
                parts = urlsplit(url)
                scheme, _ = parts.scheme, parts.port
                host = encoded_host(parts.hostname) if parts.hostname else ""
            except ValueError as error:
                raise node.error(f"this is not a valid URL: {error}") from None
            if parts.username is not None:
                raise node.error(
                    "credentials in a URL are not sent: use auth or headers, with values from the environment"
                )
            if scheme not in allowed or not host:
                raise node.error(
                    f"{dialect.name} needs a URL that begins with {' or '.join(f'{one}://' for one in allowed)}, "
                    f"not {self._values.secrets(url)!r}"
                )
        if QUERY not in given:
            return url
        pairs = given[QUERY]
        before, hash_sign, fragment = url.partition("#")
        return f"{before}{'&' if '?' in before else '?'}{urlencode(pairs)}{hash_sign}{fragment}"

    def _headers(self, given: Given) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, value in given[HEADERS].items():
            self._check_header(given.at(HEADERS).value[name], name, value)
            headers[name] = value
            if name.lower() in SECRET_HEADERS:
                self._values.secrets.add(value.removeprefix("Bearer "))
        auth = given[AUTH]
        if auth is None:
            return headers
        for field, header, prefix in ((BEARER, "Authorization", "Bearer "), (COOKIE, "Cookie", "")):
            credential = auth[field]
            if credential is not None:
                self._check_header(auth.at(field), field.name, credential)
                self._values.secrets.add(credential)
                headers[header] = f"{prefix}{credential}"
        return headers

    def _check_header(self, node: Located, name: str, value: str) -> None:
        if not (matches(HEADER_NAME, name) and matches(HEADER_VALUE, value)):
            raise node.error(f"{name!r} cannot be sent as a header: it holds a line break or a forbidden character")

    def _variables(self, given: Given, dialect: Dialect, setup: Sequence[SetupStep]) -> dict[str, str]:
        if VARIABLES in given:
            used = set(dialect.variables).union(*(step.request.placeholders() for step in (*setup, *dialect.steps)))
            given.at(VARIABLES).mapping("'variables'", sorted(used - {"prompt", "user"}))
        variables: dict[str, str] = given[VARIABLES]
        return dict(variables)

    def _check_placeholders(
        self, given: Given, dialect: Dialect, setup: Sequence[SetupStep], variables: Mapping[str, str]
    ) -> None:
        """What the requests need must have come from somewhere by then."""
        known = {"prompt", *dialect.with_defaults(variables)}
        missing: set[str] = set()
        for step in (*setup, *dialect.steps):
            missing |= step.request.placeholders() - known
            known |= set(step.capture)
        missing |= dialect.request.placeholders() - known
        for name in sorted(missing):
            place = given.get(VARIABLES) or given.get(SETUP) or given.at(DIALECT)
            raise place.error(f"{dialect.name} needs a value for {name!r}: give it in variables: {{{name}: …}}")

    def _setup(self, node: Located | None, dialect: Dialect) -> tuple[SetupStep, ...] | None:
        if node is None:
            return None
        return tuple(read_setup_step(item, dialect.transport, dialect.events) for item in node.sequence("'setup'"))

    def _upstream_token(self, given: Given) -> str | None:
        token = given[UPSTREAM_TOKEN]
        if token is not None:
            self._values.secrets.add(token)
        return token

    def _upstream(self, node: Located | None) -> str | None:
        if node is None:
            return "${serve.openai}" if "openai" in self._values.served else None
        if node.value is None or node.value == "none":
            return None
        url = self._values.text(node, "'upstream'")
        if not url.startswith(("http://", "https://", "${serve.")):
            raise node.error(f"'upstream' is the fake upstream's base URL, or none; not {self._values.secrets(url)!r}")
        return url.rstrip("/")

    def _tls(self, given: Given) -> bool | str:
        tls = given[TLS]
        verify = None if tls is None else tls.get(VERIFY)
        if verify is None:
            return True
        if isinstance(verify.value, bool):
            return verify.value
        path = Path(self._values.text(verify, "'verify'"))
        found = path if is_there(path) else self._values.path.parent / path
        if not is_there(found) or not found.is_file():
            raise verify.error(f"'verify' is true, false, or a CA file; there is no file {path}")
        return str(found)

    def _http(self, given: Given, dialect: Dialect) -> int:
        version = given[HTTP]
        if version == 2 and dialect.steps:
            raise given.at(HTTP).error(f"'http: 2' is for one request a prompt; {dialect.name} takes several")
        if version == 2 and dialect.is_socket:
            raise given.at(HTTP).error(f"'http: 2' is for SSE and NDJSON; {dialect.name} speaks {dialect.transport}")
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
