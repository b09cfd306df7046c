"""Scenario files: what they mean, and every mistake with its place and the nearest valid name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from streambench.analysis.sweep import Sweep
from streambench.dialects import load_dialect
from streambench.drivers.leaving import Leave
from streambench.errors import ConfigurationError, ExitCode
from streambench.load.executors.closed import ClosedPhase
from streambench.load.executors.open import OpenPhase
from streambench.load.executors.steps import StepsPhase
from streambench.load.executors.sweep import SweepPhase
from streambench.load.loading import bundled_scenarios, load_scenario
from streambench.load.prompts import DEFAULT_PROMPT
from streambench.load.scenario import Scenario
from streambench.load.schema import scenario_schema
from streambench.located import read_yaml

S = 1_000_000_000
MINIMAL = "target: {dialect: chat-stream, url: 'http://127.0.0.1:9/api'}\nload: {users: 1, streams: 1}\n"
SERVED = "serve: {openai: {}}\ntarget: {dialect: openai-chat, url: '${serve.openai}/v1/chat/completions'}\n"

Load = Callable[..., Scenario]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The scenario of a text, in a file `s.yaml`."""

    def make(text: str, *overrides: str, environ: Mapping[str, str] | None = None, **options: Any) -> Scenario:
        path = tmp_path / "s.yaml"
        path.write_text(text, "utf-8")
        return load_scenario(str(path), overrides=overrides, environ=environ or {}, **options)

    return make


@pytest.fixture(scope="module")
def schema() -> Any:
    """The schema of scenario files. It is compiled once: that takes a hundred times as long as asking it."""
    return jsonschema_rs.validator_for(scenario_schema())


def mistake(load: Load, text: str, *overrides: str, **options: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(text, *overrides, **options)
    assert caught.value.exit_code is ExitCode.USAGE
    return caught.value


# What a scenario means


def test_the_smallest_scenario(load: Load) -> None:
    scenario = load(MINIMAL)
    assert scenario.name == "s"
    (target,) = scenario.targets
    assert (target.name, target.two_sided, target.spec.endpoint.url) == ("chat-stream", False, "http://127.0.0.1:9/api")
    endpoint = target.spec.endpoint
    assert (endpoint.tls_verify, endpoint.http, endpoint.proxy, endpoint.stamps) == (True, 1, None, "auto")
    assert scenario.load.phases == (ClosedPhase(users=1, streams=1),)
    assert scenario.prompts.of_stream(7).text == DEFAULT_PROMPT
    assert scenario.timeouts.total_ns == 120 * S
    assert (scenario.gates, scenario.seed, scenario.stall_after_ns, scenario.reading_wpm) == ((), 0, S // 2, 250)


def test_a_scenario_with_everything(load: Load, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("a certificate")
    scenario = load("""\
version: 1
name: all-of-it
serve: {openai: {profile: openai-fast, seed: 3, tokens: 50}, chat: {users: {ada: token}}}
targets:
  real:
    dialect: chat-stream
    url: "${serve.chat}/api/chat/stream?streaming=real"
    query: {lang: de, n: 3, debug: true}
    headers: {x-trace: abc}
    auth: {bearer: tok-12345}
  other:
    dialect: openai-chat
    url: https://example.test/v1/chat/completions
    upstream: none
    auth: {cookie: session=abcdef}
    variables: {model: gpt-x}
    tls: {verify: ca.pem}
    http: 2
    proxy: http://u:secret-pass@127.0.0.1:3128
    stamps: user
prompts: {text: [one, two], tokens: 80, profile: {name: fixed}, faults: [stall]}
load:
  warmup: 2s
  phases:
    - {users: 20, duration: 20s, think: 0.5s}
    - {rate: 10/s, arrivals: gamma, cv: 2, streams: 7, max_active: 50}
    - {rate: {from: 5/s, to: 50/s}, duration: 1min}
timeouts: {connect: 1s, first_chunk: 2s, idle: 3s, total: 4s}
gates: [ttfc.p95 < 800ms, "real: authenticity == forwarded"]
seed: 42
stall_after: 250ms
reading_wpm: 300
""")
    real, other = scenario.targets
    assert real.spec.endpoint.url == "${serve.chat}/api/chat/stream?streaming=real&lang=de&n=3&debug=true"
    assert dict(real.spec.endpoint.headers) == {"x-trace": "abc", "Authorization": "Bearer tok-12345"}
    assert real.upstream == "${serve.openai}"
    assert other.upstream is None
    assert dict(other.spec.endpoint.headers) == {"Cookie": "session=abcdef"}
    assert other.spec.variables == {"model": "gpt-x"}
    assert other.spec.endpoint.tls_verify == str(tmp_path / "ca.pem")
    assert (other.spec.endpoint.http, other.spec.endpoint.stamps) == (2, "user")
    assert scenario.load.warmup_ns == 2 * S
    assert scenario.load.phases == (
        ClosedPhase(users=20, duration_ns=20 * S, think_ns=S // 2),
        OpenPhase(rate_from=10, rate_to=10, arrivals="gamma", cv=2, streams=7, max_active=50),
        OpenPhase(rate_from=5, rate_to=50, duration_ns=60 * S),
    )
    assert [prompt.text for prompt in scenario.prompts.prompts] == ["one", "two"]
    assert [scenario.prompts.of_stream(i).text for i in range(3)] == ["one", "two", "one"]
    assert (scenario.prompts.profile, scenario.prompts.faults) == ({"name": "fixed"}, ("stall",))
    assert real.spec.endpoint.timeouts.idle_ns == 3 * S
    assert [(gate.target, gate.metric) for gate in scenario.gates] == [(None, "ttfc"), ("real", "authenticity")]
    assert (scenario.seed, scenario.stall_after_ns, scenario.reading_wpm) == (42, S // 4, 300)
    assert scenario.serve.openai == {"profile": "openai-fast", "seed": 3, "tokens": 50}
    served = scenario.served_by({"openai": "http://h:1", "chat": "http://h:2"})
    assert served.targets[0].spec.endpoint.url.startswith("http://h:2/api/chat/stream?")
    assert served.targets[0].upstream == "http://h:1"
    shown = scenario.secrets("tok-12345 session=abcdef secret-pass")
    assert not any(secret in shown for secret in ("tok-12345", "abcdef", "secret-pass"))


@pytest.mark.parametrize("name", bundled_scenarios())
def test_bundled_scenarios_load_by_their_name_and_fit_the_schema(name: str, schema: Any) -> None:
    scenario = load_scenario(name, environ={})
    assert scenario.name == name
    document = read_yaml(Path(scenario.path).read_text("utf-8"), name).plain()
    assert list(schema.iter_errors(document)) == []


def test_merge_keys_and_anchors(load: Load) -> None:
    scenario = load("""\
target: {dialect: chat-stream, url: 'http://127.0.0.1:9/'}
load:
  phases:
    - &first {users: 2, duration: 5s, think: 1s}
    - {<<: *first, users: 9}
    - *first
""")
    users = [(phase.users, phase.duration_ns, phase.think_ns) for phase in scenario.load.phases]
    assert users == [(2, 5 * S, S), (9, 5 * S, S), (2, 5 * S, S)]


def test_the_content_hash_is_of_the_file_and_its_overrides(load: Load) -> None:
    one = load(MINIMAL).content_hash
    assert load(MINIMAL).content_hash == one
    assert load(MINIMAL + "# note\n").content_hash != one
    assert load(MINIMAL, "load.users=2").content_hash != one


# Environment and secrets


def test_the_environment_fills_texts_and_becomes_secret(load: Load) -> None:
    text = MINIMAL.replace("127.0.0.1:9", "${HOST_PORT}").replace("/api'", "/api?key=${KEY}&m=${MODE:-real}'")
    scenario = load(text, environ={"HOST_PORT": "h:8080", "KEY": "k-123456"})
    assert scenario.targets[0].spec.endpoint.url == "http://h:8080/api?key=k-123456&m=real"
    assert scenario.secrets(scenario.targets[0].spec.endpoint.url) == "http://${HOST_PORT}/api?key=${KEY}&m=real"


@pytest.mark.parametrize("value", ["Bearer tok-9876", "tok-9876"])
@pytest.mark.parametrize("header", ["Authorization", "cookie", "X-API-Key", "proxy-authorization"])
def test_credentials_in_headers_are_secret(load: Load, header: str, value: str) -> None:
    scenario = load(MINIMAL.replace("{dialect", f"{{headers: {{{header}: {value}}}, dialect"))
    assert "tok-9876" not in scenario.secrets(f"the header was {value}")


def test_a_variable_that_is_not_set_is_a_mistake(load: Load) -> None:
    error = mistake(load, MINIMAL.replace("127.0.0.1:9", "${NO_SUCH}"))
    assert "NO_SUCH" in error.reason
    assert error.line == 1
    assert load(MINIMAL.replace("127.0.0.1:9", "${NO_SUCH:-h:1}")).targets[0].spec.endpoint.url == "http://h:1/api"
    # Set and empty is set.
    (target,) = load(MINIMAL.replace("/api", "${NO_SUCH:-/x}"), environ={"NO_SUCH": ""}).targets
    assert target.spec.endpoint.url.endswith(":9")


def test_no_secret_is_in_an_error(load: Load) -> None:
    text = MINIMAL.replace("http://127.0.0.1:9/api", "${URL}")
    error = mistake(load, text, environ={"URL": "ftp://user:hunter22@host/"})
    assert "hunter22" not in str(error)
    bearer = MINIMAL.replace("{dialect", "{auth: {bearer: '${TOKEN}'}, dialect")
    assert "hunter22" not in str(mistake(load, bearer, environ={"TOKEN": "hunter22\n"}))


# Overrides


def test_values_are_replaced_from_the_command_line(load: Load) -> None:
    text = MINIMAL.replace("users: 1", "phases: [{users: 1, duration: 1s}, {rate: 1/s, duration: 1s}]").replace(
        ", streams: 1", ""
    )
    scenario = load(
        text, "load.phases.0.users=5", "load.phases.1.rate={from: 1/s, to: 2/s}", "name=other", "timeouts.idle=7s"
    )
    assert scenario.load.phases[0].users == 5
    assert (scenario.load.phases[1].rate_from, scenario.load.phases[1].rate_to) == (1, 2)
    assert scenario.name == "other"
    assert scenario.timeouts.idle_ns == 7 * S
    assert load(MINIMAL, "target.url=http://h:1/a=b").targets[0].spec.endpoint.url == "http://h:1/a=b"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("load.users", "PATH=VALUE"),
        ("load.usrs=3", "usrs"),
        ("load.users=two", "two"),
        ("lod.users=3", "lod"),
        ("gates.0=x", "x"),
        ("target.url=[", "not valid YAML"),
        ("seed=", "seed"),
    ],
)
def test_a_wrong_override_is_named(load: Load, override: str, said: str) -> None:
    error = mistake(load, MINIMAL + "gates: [ttfc.p95 < 1s]\n", override)
    assert said in str(error)


@pytest.mark.parametrize("index", ["7", "first", "²", "-1"])
def test_an_item_that_a_list_does_not_have(load: Load, index: str) -> None:
    error = mistake(load, MINIMAL + "gates: [ttfc.p95 < 1s]\n", f"gates.{index}=ttfc.p50 < 1s")
    assert index in str(error)


# Mistakes

T = "target: {dialect: chat-stream, url: 'http://127.0.0.1:9/'}\n"
L = "load: {users: 1, streams: 1}\n"


THREADS = "target: {dialect: thread-events, url: 'http://h/'}\n"
MISTAKES = [
    # keys and their values
    (T + "▸laod: {users: 1}\n", "Did you mean 'load'?"),
    (T + "load: {▸usres: 1, streams: 1}\n", "Did you mean 'users'?"),
    (T + "▸leave: {after: 3}\n", "it belongs in 'load'"),
    (T + "▸duration: 5s\n", "it belongs in a phase of 'load'"),
    (T + "load: {users: 1, streams: 1, ▸bearer: x}\n", "it belongs in 'auth'"),
    (
        "target: {dialect: chat-stream, ▸ulr: 'http://127.0.0.1:9/'}\nload: {users: 1, streams: 1}\n",
        "Did you mean 'url'?",
    ),
    (T + "load:\n  users: 1\n  streams: 1\n  ▸users: 2\n", "twice"),
    (T + "▸target: {dialect: chat-stream, url: 'http://127.0.0.1:9/'}\n", "twice"),
    ("target: {dialect: ▸chat-strem, url: 'http://h/'}\n", "Did you mean 'chat-stream'?"),
    ("target: {dialect: ▸./no-such.yaml, url: 'http://h/'}\n", "there is no dialect file"),
    (f"serve: {{openai: {{profile: ▸openai-fats}}}}\n{T}", "Did you mean 'openai-fast'?"),
    (f"serve: {{openai: {{profile: {{name: ▸fixd}}}}}}\n{T}", "Did you mean 'fixed'?"),
    (f"serve: {{openai: {{profile: ▸{{gap_ms: 3}}}}}}\n{T}", "needs a name"),
    ("target: ▸{dialect: chat-stream}\n", "'url'"),
    ("▸load: {users: 1, streams: 1}\n", "target"),
    (T + "▸targets: {a: {}}\n", "either"),
    ("targets: ▸{}\n", "no target"),
    ("targets: {▸'a b': {}}\n", "letters"),
    ("▸- a list\n", "mapping"),
    ("▸", "empty"),
    ("a: [1, 2\n▸", "not valid YAML"),
    ("version: ▸2\ntarget: {dialect: chat-stream, url: 'http://127.0.0.1:9/'}\n", "version 1"),
    ("name: ▸../up\ntarget: {dialect: chat-stream, url: 'http://127.0.0.1:9/'}\n", "folder"),
    (T + "seed: ▸!!python/object 1\n", "not allowed"),
    (T + "seed: ▸one\n", "whole number"),
    (T + "seed: ▸-1\n", "between"),
    (T + "reading_wpm: ▸nan\n", "between"),
    (T + "stall_after: ▸500\n", "unit"),
    (T + "stall_after: ▸1e999s\n", "not a duration"),
    (T + "timeouts: {▸idel: 3s}\n", "Did you mean 'idle'?"),
    (T + "timeouts: {idle: ▸true}\n", "true"),
    # targets
    ("target: {dialect: chat-stream, url: ▸'ftp://h/'}\n", "http://"),
    ("target: {dialect: chat-stream, url: ▸'http://h:99999/'}\n", "Port"),
    ("target: {dialect: chat-stream, url: ▸'http://[::1/'}\n", "URL"),
    ("target: {dialect: chat-stream, url: ▸'http://a b/'}\n", "not a host name"),
    ("target: {dialect: chat-stream, url: ▸'http://ada:pw-1234@h/'}\n", "auth"),
    ("target: {dialect: chat-stream, url: '${▸serve.chat}/'}\n", "serve"),
    ("serve: {openai: {}}\ntarget: {dialect: chat-stream, url: '${▸serve.chta}/'}\n", "serve.chat"),
    ("target: {dialect: chat-stream, url: 'http://127.0.0.1:9/', http: ▸3}\n", "between"),
    ("target: {dialect: chat-stream, url: 'http://127.0.0.1:9/', stamps: ▸kernal}\n", "Did you mean 'kernel'?"),
    ("target: {dialect: chat-stream, url: 'http://127.0.0.1:9/', proxy: ▸'socks5://h:1'}\n", "HTTP proxy"),
    ("target: {dialect: chat-stream, url: 'http://127.0.0.1:9/', proxy: ▸'http://[h'}\n", "HTTP proxy"),
    ("target: {dialect: chat-stream, url: 'http://127.0.0.1:9/', upstream: ▸'h:1'}\n", "base URL"),
    ("target: {dialect: chat-stream, url: 'http://127.0.0.1:9/', tls: {verify: ▸none.pem}}\n", "none.pem"),
    ("target: {dialect: chat-stream, url: 'http://127.0.0.1:9/', headers: {x: ▸\"a\\nb\"}}\n", "header"),
    ("target: {dialect: chat-stream, url: 'http://127.0.0.1:9/', headers: {'a b': ▸c}}\n", "header"),
    ("target: {dialect: chat-stream, url: 'http://127.0.0.1:9/', headers: {x: ▸[1]}}\n", "a list"),
    ("target: {dialect: chat-stream, url: 'http://127.0.0.1:9/', auth: {▸beerer: x}}\n", "Did you mean 'bearer'?"),
    ("target: {dialect: chat-stream, url: 'http://127.0.0.1:9/', variables: {▸modle: x}}\n", "modle"),
    # servers
    (T + "serve: {▸chat: {}}\n", "openai"),
    (T + "serve: {openai: {▸seeds: 1}}\n", "Did you mean 'seed'?"),
    (T + "serve: {openai: {seed: ▸x}}\n", "whole number"),
    (T + "serve: {openai: {}, chat: {users: ▸[ada]}}\n", "mapping"),
    (T + "serve: {openai: {}, chat: {users: {ada: ▸[x]}}}\n", "text"),
    (T + "serve: {openai: {}, chat: {db: ▸{}}}\n", "text"),
    (T + "serve: {▸opnai: {}}\n", "Did you mean 'openai'?"),
    (T + "serve: {▸app: uvicorn}\n", "command"),
    (T + "serve: {▸'a.b': {command: x}}\n", "letters"),
    (T + "serve: {app: {command: ▸[]}}\n", "empty"),
    (T + "serve: {app: {command: ▸'say \"x'}}\n", "words"),
    (T + "serve: {app: {command: x, ▸comand: y}}\n", "Did you mean 'command'?"),
    (T + "serve: {app: {command: x, cwd: ▸no-such-folder}}\n", "no folder"),
    (T + "serve: {app: {command: x, port: ▸0}}\n", "between"),
    (T + "serve: {app: {command: x, ready: {http: ▸health}}}\n", "/health"),
    (T + "serve: {app: {command: x, ready: {within: ▸30}}}\n", "unit"),
    (T + "serve: {app: {command: x, env: {A: '${▸serve.b}'}}, b: {command: y}}\n", "not yet"),
    (T + "serve: {app: {command: 'x ▸${PRT}'}}\n", "not set"),
    ("target: {dialect: chat-stream, url: 'http://h:▸${port}/'}\n", "not set"),
    # load
    (T + "load: ▸{users: 1}\n", "duration"),
    (T + "load: {users: ▸0, streams: 1}\n", "between"),
    (T + "load: {users: ▸2.5, streams: 1}\n", "whole number"),
    (T + "load: {users: 1, ▸rate: 1/s, streams: 1}\n", "either"),
    (T + "load: {rate: ▸10, streams: 1}\n", "10/s"),
    (T + "load: {rate: ▸0/s, streams: 1}\n", "0"),
    (T + "load: {rate: ▸inf/s, duration: 1s}\n", "not a rate"),
    (T + "load: {rate: ▸1e12/s, duration: 1s}\n", "at most"),
    (T + "load: {rate: ▸{from: 1/s, to: 1e12/s}, duration: 1s}\n", "at most"),
    (T + "load: {rate: ▸{from: 1/s}, duration: 1s}\n", "'to'"),
    (T + "load: {rate: ▸{from: 0/s, to: 0/s}, duration: 1s}\n", "0"),
    (T + "load: {rate: ▸{from: 1/s, to: 2/s}, streams: 5}\n", "duration"),
    (T + "load: {rate: 1/s, ▸think: 1s, streams: 1}\n", "users"),
    (T + "load: {users: 1, ▸arrivals: poisson, streams: 1}\n", "rate"),
    (T + "load: {rate: 1/s, arrivals: ▸possion, streams: 1}\n", "Did you mean 'poisson'?"),
    (T + "load: {▸users: 1, phases: [{users: 1, streams: 1}]}\n", "phase"),
    (T + "load: {phases: ▸[]}\n", "no phase"),
    (T + "load: {trace: ▸none.csv}\n", "none.csv"),
    (T + "load: {steps: ▸{users: [1, 2]}}\n", "'hold'"),
    (T + "load: {steps: {users: ▸[], hold: 1s}}\n", "empty"),
    (T + "load: {steps: {users: [1, ▸0], hold: 1s}}\n", "between"),
    (T + "load: {steps: {users: [1], hold: ▸0s}}\n", "longer than 0"),
    (T + "load: {steps: {users: [1], hold: ▸60}}\n", "unit"),
    (T + "load: {steps: {users: [1], ▸hodl: 1s}}\n", "Did you mean 'hold'?"),
    (T + "load: {steps: {users: [1], hold: 1s}, ▸duration: 5s}\n", "'users'"),
    (T + "load: {steps: {users: [1], hold: 1s}, ▸max_active: 5}\n", "'rate'"),
    (T + "load: {duration: ▸10}\n", "unit"),
    # leave
    (T + "load: {users: 1, streams: 1, leave: {after: ▸soon}}\n", "soon"),
    (T + "load: {users: 1, streams: 1, leave: {after: ▸0}}\n", "between"),
    (T + "load: {users: 1, streams: 1, leave: {after: ▸0s}}\n", "longer than 0"),
    (T + "load: {users: 1, streams: 1, leave: {after: ▸true}}\n", "first_text"),
    (T + "load: {users: 1, streams: 1, leave: {after: 2s, probability: ▸2}}\n", "between"),
    (T + "load: {users: 1, streams: 1, leave: ▸{probability: 1}}\n", "'after'"),
    (
        "target: {dialect: thread-events, url: 'http://h/'}\nload: {users: 1, streams: 1, leave: {after: ▸workflw}}\n",
        "Did you mean 'workflow'?",
    ),
    # milestones
    ("target: {dialect: chat-stream, url: 'http://h/', milestones: {first: ▸contnt}}\n", "Did you mean 'content'?"),
    ("target: {dialect: chat-stream, url: 'http://h/', milestones: {▸sent: content}}\n", "cannot be the name"),
    ("target: {dialect: chat-stream, url: 'http://h/', milestones: {a: {event: done, ▸of: sent}}}\n", "no key 'of'"),
    (THREADS + "gates: ['milestone.▸saves.p95 < 1s']\n", "Did you mean 'saved'?"),
    (T + "goodput: milestone.▸workflow < 1s\n", "not every target"),
    # gates
    (T + "gates:\n  - ttfc.p95 < 1s\n  - ▸ttcf.p95 < 1s\n", "Did you mean 'ttfc'?"),
    (T + "gates: ['chat-stream: ▸ttcf.p95 < 1s']\n", "Did you mean 'ttfc'?"),
    (T + 'gates: ["ttfc.p95 < ▸1"]\n', "unit"),
    (T + "gates: [▸authenticity == forwarded]\n", "upstream"),
    (T + "gates:\n  - ▸t: ttfc.p95 < 1s\n", "quote it"),
    (T + "gates: ▸ttfc.p95 < 1s\n", "list"),
    # accept and ignore
    (T + "accept:\n  - http.content-type\n  - ▸content.addd\n", "Did you mean 'content.added'?"),
    (T + "accept: [{rule: ▸sse.crfl}]\n", "Did you mean 'sse.crlf'?"),
    (T + "accept: [{rule: sse.crlf, target: ▸chatstream}]\n", "Did you mean 'chat-stream'?"),
    (T + "accept: [▸{reason: known}]\n", "'rule'"),
    (T + "accept: [{rule: sse.crlf, ▸because: x}]\n", "'because'"),
    (T + "accept: ▸sse.crlf\n", "list"),
    (T + "accept: [▸[sse.crlf]]\n", "a list"),
    (T + "ignore: [▸sse.crlf]\n", "reason"),
    (T + "ignore: [▸{rule: sse.crlf}]\n", "'reason'"),
    (T + "gates: [findings.▸content.addd == 0]\n", "Did you mean 'content.added'?"),
    # prompts
    (T + "prompts: {text: a, ▸file: b}\n", "either"),
    (T + "prompts: {text: ▸[]}\n", "no prompt"),
    (T + "prompts: {text: ▸{a: b}}\n", "text"),
    (T + "prompts: {▸tokens: 10}\n", "upstream"),
    (T + "prompts: {file: ▸none.jsonl}\n", "none.jsonl"),
]

# What no schema can know, and why. Every other mistake is refused by the schema too.
BEYOND_A_SCHEMA = {
    "users: 1\n  streams: 1\n  ▸users: 2": "a key that appears twice is gone when YAML has been read",
    "▸target: {dialect: chat-stream, url: 'http://127.0.0.1:9/'}\n": "the same, at the top",
    "!!python/object": "a tag is gone when YAML has been read",
    "a: [1, 2": "this is no YAML",
    "${▸serve.chat}": "which servers run is said in another place of the file",
    "${▸serve.chta}": "which servers run is said in another place of the file",
    "▸chatstream": "which targets there are",
    "no-such-folder": "whether a folder is there",
    'say "x': "a pattern does not count quotes",
    "${▸serve.b}": "what stands before what is no matter of a schema",
    "▸${PRT}": "what is in the environment",
    "▸${port}": "what is in the environment",
    "no-such.yaml": "whether a file is there",
    "none.pem": "whether a file is there",
    "none.csv": "whether a file is there",
    "none.jsonl": "whether a file is there",
    "modle": "the names are those of the dialect and of the setup",
    "1e12/s": "a pattern cannot tell which number is larger",
    "▸soon": "which milestones there are is said in another place of the file",
    "▸workflw": "which milestones there are is said in another place of the file",
    "▸saves": "which milestones there are is said in another place of the file",
    "▸contnt": "which events there are is said in the dialect",
    "milestone.▸workflow": "which milestones there are is said in another place of the file",
    "▸authenticity": "whether a target has an upstream is said in another place of the file",
    "{▸tokens: 10}": "whether a target has an upstream is said in another place of the file",
}


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_a_mistake_has_its_place_and_its_remedy(load: Load, text: str, said: str) -> None:
    """The place is where the mark stands."""
    before, _, _ = text.partition("▸")
    error = mistake(load, text.replace("▸", ""))
    assert (error.line, error.column) == (before.count("\n") + 1, len(before) - before.rfind("\n"))
    assert str(error).partition(":")[0].endswith("s.yaml")
    assert said in str(error)
    assert "pw-1234" not in str(error)


@pytest.mark.parametrize("text", [text for text, _ in MISTAKES])
def test_the_schema_refuses_what_the_loader_refuses(text: str, schema: Any) -> None:
    """An editor shows the mistake while it is being made."""
    if any(reason in text for reason in BEYOND_A_SCHEMA) or text == "▸":
        return
    document = read_yaml(text.replace("▸", ""), "s.yaml").plain()
    assert not schema.is_valid(document)


@pytest.mark.parametrize("place", BEYOND_A_SCHEMA)
def test_what_is_said_to_be_beyond_a_schema_is(place: str, schema: Any) -> None:
    texts = [text.replace("▸", "") for text, _ in MISTAKES if place in text]
    assert texts
    for text in texts:
        try:
            document = read_yaml(text, "s.yaml").plain()
        except ConfigurationError:
            continue  # not even YAML of ours
        assert schema.is_valid(document), text


@pytest.mark.parametrize(
    "more",
    [
        "load: {users: '5', streams: ' 7 '}",
        "load: {users: '${USERS}', duration: '${TIME}'}",
        "load: {duration: 0, streams: 1}",
        "load: {rate: 1.5e2 / min, duration: 1.5min, arrivals: gamma, cv: '2'}",
        "load: {rate: {from: 0/s, to: 5/s}, duration: 10s}",
        "load: {warmup: 1s, phases: [{users: 1, duration: 1s}, {rate: 1/h, streams: 1}]}",
        "load: {steps: {users: [25, 50], hold: 60s}, think: 500ms, warmup: 2s}",
        "load: {users: 1, streams: 1, leave: {after: 3}}",
        "load: {leave: {after: 1.5s, probability: 0.5}, warmup: 1s, phases: [{users: 1, streams: 1}]}",
        "load: {rate: 5/s, streams: 1, leave: {after: first_text, probability: '0.2'}}",
        "load: {users: 1, streams: 1, leave: {after: finished}}",
        "gates: []",
        "gates:",
        "gates: [milestone.finished.p95 < 2s, 'chat-stream: milestone.finished.reached >= 90%']",
        "goodput: milestone.finished < 1s and ttfc < 1s",
        "gates: ['violations.grammar == 0', 'ttfc.p99.9 <= 1.5 s, confidence 95%', 'e2e.max < 1min']",
        "gates: ['chat-stream: streams.completed >= 10', 'cadence.p50 > 10/s', 'error_rate == 0', ' ttfc.mean<1s ']",
        "gates: [findings.content.added == 0, 'chat-stream: findings.schema.EVENT <= 2']",
        "accept:",
        "accept: [http.content-type, {rule: schema.token, target: chat-stream, reason: known until 2.0}]",
        "ignore: [{rule: sse.crlf, reason: no client of ours minds}]",
        "timeouts: {idle: 0, total: 1h}",
        "serve: {openai: , chat: {users: {ada: 1}, rate_limit: 5/s, streaming: paced}}",
        "prompts: {text: [a, b]}",
        "serve: {app: {command: [node, server.js, 3], env: {A: 1, B: '${port}'}, cwd: ., ready: {http: /h}}}",
        "serve: {app: {command: 'x --port ${port}', port: 8000}, b: {command: y, env: {APP: '${serve.app}'}}}",
    ],
)
def test_the_schema_takes_what_the_loader_takes(load: Load, more: str, schema: Any) -> None:
    target = "target: {dialect: chat-stream, url: 'http://127.0.0.1:9/', milestones: {finished: done}}\n"
    text = f"{target}{more}\n"
    load(text, environ={"USERS": "3", "TIME": "4s"})
    errors = schema.iter_errors(read_yaml(text, "s.yaml").plain())
    assert [error.message for error in errors] == []


def test_a_target_adds_to_the_milestones_of_its_dialect(load: Load) -> None:
    scenario = load(
        "targets:\n"
        "  plain: {dialect: thread-events, url: 'http://h/'}\n"
        "  named:\n"
        "    dialect: thread-events\n"
        "    url: http://h/\n"
        "    milestones: {workflow: {event: workflow_status, from: saved}, answer: ai_response}\n"
        "load: {users: 1, streams: 1, leave: {after: saved, probability: 0.5}}\n"
        "gates: ['milestone.saved.p95 < 1s', 'named: milestone.answer.p95 < 1s']\n"
    )
    plain, named = scenario.targets
    assert plain.milestones == ("saved", "workflow")
    assert named.milestones == ("saved", "workflow", "answer")
    assert [milestone.since for milestone in named.spec.dialect.milestones] == ["intended", "saved", "intended"]
    assert load_dialect("thread-events").milestones == plain.spec.dialect.milestones
    assert plain.spec.leave == Leave(milestone="saved", probability=0.5)


def test_a_gate_in_a_block_is_found_on_its_line(load: Load) -> None:
    error = mistake(load, T + "gates:\n  - >-\n    ttcf.p95 < 1s\n")
    assert error.line == 4


def test_a_gate_of_the_command_line_is_pointed_at(load: Load) -> None:
    error = mistake(load, MINIMAL, gates=["ttcf.p95 < 1s"])
    assert "--gate" in str(error)
    assert error.suggestion == "ttfc"
    assert load(MINIMAL, gates=["ttfc.p95 < 1s"]).gates[0].metric == "ttfc"


def body(scenario: Scenario) -> Any:
    return json.loads(scenario.targets[0].spec.dialect.render_request({"prompt": "Hi", "user": "me"}).body)


def test_extra_fields_are_added_to_the_request(load: Load) -> None:
    text = "target: {dialect: openai-chat, url: 'http://h/', extra: %s}\n" + L
    extra = "{temperature: 0, model: mine, user: '{user}', key: '${KEY}', stream_options: {chunk_size: 2}}"
    sent = body(load(text % extra, environ={"KEY": "s3cret"}))
    assert {name: sent[name] for name in ("temperature", "model", "user", "key", "stream")} == {
        "temperature": 0,
        "model": "mine",
        "user": "me",
        "key": "s3cret",
        "stream": True,
    }
    assert sent["stream_options"] == {"include_usage": True, "chunk_size": 2}
    assert body(load(text % "{}"))["model"] == "gpt-4o-mini"


def test_extra_fields_of_messages_on_a_socket(load: Load) -> None:
    text = "target: {dialect: %s, url: 'ws://h/', extra: {message: {metadata: {a: 1}}}}\n" + L
    emitted = load(text % "chainlit").targets[0].spec.dialect.request.emit
    assert emitted is not None
    assert emitted[1][-1]["message"]["metadata"] == {"a": 1}
    assert emitted[1][-1]["message"]["output"] == "{prompt}"
    sent = load(text % "assistant-ws").targets[0].spec.dialect.request.send
    assert sent[-1]["message"] == {"metadata": {"a": 1}}


def test_extra_fields_need_an_object(load: Load, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "dialect: mine\nversion: 1\ntransport: sse\nrequest: {body: '{prompt}'}\n"
        "name: keys\nevents: {d: {content: d}}\ngrammar: d+\n"
    )
    error = mistake(load, "target: {dialect: ./mine.yaml, url: 'http://h/', extra: {a: 1}}\n" + L)
    assert "no JSON object" in str(error)


def test_a_dialect_that_wants_a_value_says_so_before_any_traffic(load: Load, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "dialect: mine\nversion: 1\ntransport: sse\nvariables: {room: null}\n"
        "request: {json: {room: '{room}', q: '{prompt}'}}\nname: keys\nevents: {d: {content: d}}\ngrammar: d+\n"
    )
    text = "target: {dialect: ./mine.yaml, url: 'http://h/'}\n" + L
    assert "room" in str(mistake(load, text))
    filled = load(text.replace("url", "variables: {room: kitchen}, url"))
    assert filled.targets[0].spec.variables == {"room": "kitchen"}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("no/such.yaml", "no file"),
        ("quickstrat", "Did you mean 'quickstart'?"),
        ("quickstrat.yaml", "Did you mean 'quickstart'?"),
        ("zzz", "bundled"),
    ],
)
def test_a_scenario_that_does_not_exist(source: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_scenario(source, environ={})
    assert said in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"name: x\nseed: \xff\n")
    with pytest.raises(ConfigurationError, match=r"s\.yaml:2: is not UTF-8"):
        load_scenario(str(path), environ={})
    path.write_bytes(b"a: b\n" * 300_000)
    with pytest.raises(ConfigurationError, match="larger"):
        load_scenario(str(path), environ={})


# Files of prompts and arrivals


@pytest.fixture
def prompts(load: Load, tmp_path: Path) -> Callable[..., list[tuple[str, int | None]]]:
    def read(name: str, content: str | bytes, more: str = "") -> list[tuple[str, int | None]]:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        scenario = load(f"{SERVED}prompts: {{file: {name}{more}}}\n{L}")
        return [(prompt.text, prompt.tokens) for prompt in scenario.prompts.prompts]

    return read


ReadPrompts = Callable[..., list[tuple[str, int | None]]]


def test_prompts_of_a_json_lines_file(prompts: ReadPrompts) -> None:
    content = '{"text": "one"}\n\n"two"\n{"prompt": "three", "tokens": 9}\n{"tokens": 3}\n'
    assert prompts("p.jsonl", content) == [("one", None), ("two", None), ("three", 9), (DEFAULT_PROMPT, 3)]
    assert prompts("p.jsonl", '"one"\n', ", tokens: 7") == [("one", 7)]


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0b", "\x1c"])
def test_only_a_newline_ends_a_line(prompts: ReadPrompts, separator: str) -> None:
    """Python's splitlines knows more line ends, and prompts scraped from the web hold them."""
    escaped = separator if separator > "\x1f" else f"\\u{ord(separator):04x}"
    assert prompts("p.jsonl", f'"a{escaped}b"\r\n"c"\n') == [(f"a{separator}b", None), ("c", None)]
    assert prompts("p.csv", f"text\na{separator}b\nc\n") == [(f"a{separator}b", None), ("c", None)]


def test_prompts_of_a_csv_file(prompts: ReadPrompts) -> None:
    content = 'text,tokens\n"Hello, you",12\n"two\nlines",\nplain,3\n'
    assert prompts("p.csv", content) == [("Hello, you", 12), ("two\nlines", None), ("plain", 3)]


def test_a_byte_order_mark_is_no_part_of_a_name(prompts: ReadPrompts) -> None:
    assert prompts("p.csv", b"\xef\xbb\xbftext\nhello\n") == [("hello", None)]
    assert prompts("p.jsonl", b'\xef\xbb\xbf"hello"\n') == [("hello", None)]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.jsonl", '"one"\n{"text": 3}\n', "p.jsonl:2"),
        ("p.jsonl", '"one"\n\n{oops\n', "p.jsonl:3"),
        ("p.jsonl", '{"text": "a", "tokens": "many"}\n', "p.jsonl:1"),
        ("p.jsonl", '{"txet": "a"}\n', "p.jsonl:1"),
        ("p.jsonl", "\n", "no prompts"),
        ("p.csv", "question\nhello\n", "p.csv:2"),
        ("p.csv", 'text,tokens\n"two\nlines",4\nx,many\n', "p.csv:4"),
        ("p.jsonl", b"\xff\n", "UTF-8"),
    ],
)
def test_a_mistake_in_a_prompt_file_has_its_line(
    prompts: ReadPrompts, name: str, content: str | bytes, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        prompts(name, content)


def test_a_server_of_ones_own(load: Load, tmp_path: Path) -> None:
    scenario = load(
        """\
serve:
  openai: {}
  app:
    command: uvicorn app:app --port ${port} --name "two words"
    env: {OPENAI_BASE_URL: "${serve.openai}/v1", SELF: "${serve.app}", KEY: "${KEY}"}
    ready: {http: /health, within: 5s}
target: {dialect: chat-stream, url: "${serve.app}/chat"}
""",
        environ={"KEY": "sk-123456"},
    )
    (command,) = scenario.serve.commands
    assert command.cwd == tmp_path
    assert scenario.targets[0].two_sided
    started = command.at(81, {"openai": "http://h:1", "app": "http://h:81"})
    assert started.words == ("uvicorn", "app:app", "--port", "81", "--name", "two words")
    assert started.env == {"PORT": "81", "OPENAI_BASE_URL": "http://h:1/v1", "SELF": "http://h:81", "KEY": "sk-123456"}
    assert (started.ready_path, started.within_ns) == ("/health", 5 * S)
    assert scenario.served_by({"app": "http://h:81"}).targets[0].spec.endpoint.url == "http://h:81/chat"
    assert "sk-123456" not in scenario.secrets("sk-123456")


def test_stairs_of_users(load: Load) -> None:
    (phase,) = load(T + "load: {steps: {users: [25, 50, '100'], hold: 60s}, think: 2s}\n").load.phases
    assert phase == StepsPhase((25, 50, 100), 60 * S, 2 * S)
    assert (phase.duration_ns, phase.most_at_once, phase.is_open) == (180 * S, 100, False)
    assert phase.describe() == "25, 50, 100 users, 2 s think time, 60 s each"


def test_a_sweep(load: Load) -> None:
    until = "ttfc.p95 < 1s and error_rate < 1%"
    (phase,) = load(T + f'load: {{sweep: {{rate: 60/min..200/s, until: "{until}"}}, arrivals: poisson}}\n').load.phases
    assert phase == SweepPhase(Sweep("rate", 1, 200, until, 0.05, 20 * S), arrivals="poisson")
    assert (phase.is_open, phase.duration_ns, phase.most_at_once) == (True, None, 1000)
    said = "sweep from 1 stream/s to 200 streams/s until ttfc.p95 < 1s and error_rate < 1%, 20 s a step"
    assert phase.describe() == said
    keys = "users: 2..500, until: e2e.p50 < 9s, hold: 5s, precision: 0.2"
    (phase,) = load(T + f"load: {{sweep: {{{keys}}}, think: 1s}}\n").load.phases
    assert phase == SweepPhase(Sweep("users", 2, 500, "e2e.p50 < 9s", 0.2, 5 * S), S)
    assert (phase.is_open, phase.most_at_once) == (False, 500)


@pytest.mark.parametrize(
    ("load_text", "said"),
    [
        ("{sweep: {users: 1..5}}", "needs 'until'"),
        ("{sweep: {until: ttfc.p95 < 1s}}", "either a 'rate'"),
        ("{sweep: {rate: 1/s..2/s, users: 1..2, until: ttfc.p95 < 1s}}", "either a 'rate'"),
        ("{sweep: {rate: 5/s, until: ttfc.p95 < 1s}}", "write it as 1/s..200/s"),
        ("{sweep: {rate: 5..9, until: ttfc.p95 < 1s}}", "is not a rate"),
        ("{sweep: {rate: 9/s..5/s, until: ttfc.p95 < 1s}}", "to a higher one"),
        ("{sweep: {users: 0..5, until: ttfc.p95 < 1s}}", "above 0"),
        ("{sweep: {users: 1..2e3, until: ttfc.p95 < 1s}}", "not a number of users"),
        ("{sweep: {users: 1..20000, until: ttfc.p95 < 1s}}", "at most 10,000"),
        ("{sweep: {users: 1..5, until: ttcf.p95 < 1s}}", "Did you mean 'ttfc'"),
        ("{sweep: {users: 1..5, until: forward_lag.p95 < 1s}}", "upstream's side"),
        ("{sweep: {users: 1..5, until: ttfc.p95 < 1s}, cv: 2}", "says nothing in a sweep over users"),
        ("{sweep: {rate: 1/s..5/s, until: ttfc.p95 < 1s}, think: 1s}", "says nothing in a sweep over a rate"),
        ("{sweep: {users: 1..5, until: ttfc.p95 < 1s}, users: 5}", "either"),
        ("{phases: [{sweep: {users: 1..5, until: ttfc.p95 < 1s}}, {users: 1, streams: 1}]}", "a run of its own"),
    ],
)
def test_a_mistake_in_a_sweep_has_its_remedy(load: Load, load_text: str, said: str) -> None:
    assert said in str(mistake(load, T + f"load: {load_text}\n"))


def test_a_sweep_has_one_target(load: Load) -> None:
    two = "targets: {a: {dialect: openai-chat, url: http://h/}, b: {dialect: openai-chat, url: http://h/}}\n"
    assert "one target" in str(mistake(load, two + "load: {sweep: {users: 1..5, until: ttfc.p95 < 1s}}\n"))


def test_arrivals_of_a_trace(load: Load, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeffseconds,note\n10.5,a\n10,b\n\n12.25,c\n", "utf-8")
    (phase,) = load(T + "load: {trace: t.csv, max_active: 5}\n").load.phases
    assert (phase.at_ns, phase.tokens) == ((0, S // 2, 9 * S // 4), None)
    (faster,) = load(T + "load: {trace: t.csv, speed: 10}\n").load.phases
    assert faster.at_ns == (0, S // 20, 9 * S // 40)
    assert (phase.max_active, phase.is_open) == (5, True)


@pytest.mark.parametrize(
    ("content", "said"),
    [("at\n1\ntwo\n", "t.csv:3"), ("at\n", "no arrival"), ("1\nnan\n", "t.csv:2"), ("1\ninf\n", "t.csv:2")],
)
def test_a_mistake_in_a_trace_has_its_line(load: Load, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    assert said in str(mistake(load, T + "load: {trace: t.csv}\n"))


@pytest.mark.parametrize("key", ["think: 1s", "arrivals: poisson", "cv: 2", "warmup: 1s"])
def test_what_a_trace_cannot_have(load: Load, tmp_path: Path, key: str) -> None:
    (tmp_path / "t.csv").write_text("1\n2\n")
    error = mistake(load, T + f"load: {{trace: t.csv, {key}}}\n")
    assert error.text == key.partition(":")[0]


def test_a_query_goes_before_the_fragment(load: Load) -> None:
    scenario = load("""\
target: {dialect: room-chat, url: "http://127.0.0.1:1/#/admin", query: {streaming: real}}
load: {streams: 1}
""")
    (target,) = scenario.targets
    assert target.spec.endpoint.url == "http://127.0.0.1:1/?streaming=real#/admin"


def test_goodput_is_defined_before_it_is_gated(load: Load) -> None:
    text = T + "load: {streams: 1}\ngates: [goodput > 1/s]\n"
    assert "does not say what goodput is" in str(mistake(load, text))
    assert load(text + "goodput: ttfc < 1s and gap_max < 200ms\n").goodput == "ttfc < 1s and gap_max < 200ms"
    error = mistake(load, text + "goodput: ttfc < 1s and gap < 200ms\n")
    assert (error.text, error.suggestion) == ("gap", "gap_max")


def test_a_ramp_leaves_time_for_all_users(load: Load) -> None:
    (phase,) = load(T + "load: {users: 4, duration: 10s, ramp_up: 5s}\n").load.phases
    assert phase.describe() == "4 users over 5 s, 10 s"
    assert mistake(load, T + "load: {users: 4, duration: 10s, ramp_up: 10s}\n").line == 2
