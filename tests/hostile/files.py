"""Hostile files, one line each: the command that is given one, what it holds, and how the command must end.

`{file}` in the arguments is the path of the file; a content of None means that the arguments name a path themselves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

HALF = "\\ud83d"
LONG = "x" * 300
DIGITS = "9" * 5000
DEEP = "[" * 100_000
PASSED, USAGE, CONFORMANCE = 0, 2, 3


@dataclass(frozen=True)
class HostileFile:
    """`says` is a part of the message; `secret` what must not be printed."""

    name: str
    args: tuple[str, ...]
    content: str | bytes | None
    code: int | tuple[int, ...] = USAGE
    says: str = ""
    secret: str = ""
    suffix: str = ".yaml"

    @property
    def codes(self) -> tuple[int, ...]:
        return self.code if isinstance(self.code, tuple) else (self.code,)


TARGET = "{dialect: chat-stream, url: 'http://127.0.0.1:9/'}"


def scenario(**parts: str) -> str:
    """A scenario of JSON-like parts, one line each; what is given replaces the default of that name."""
    lines = {"target": TARGET, **parts}
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


RUN = ("run", "{file}", "-o", "out")
PASSWD = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon\n"
TOKEN = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"

SCENARIOS = [
    HostileFile("device", ("run", "/dev/zero"), None, says="it is a device"),
    HostileFile("folder", ("run", "/"), None, says="/"),
    HostileFile("long-path", ("run", LONG), None, says="there is no scenario"),
    HostileFile("long-path-of-a-file", ("run", LONG + ".yaml"), None, says="there is no file"),
    HostileFile("surrogate-in-a-path", ("run", "a\udc80.yaml"), None, says="there is no file"),
    HostileFile("passwords", RUN, PASSWD, says="must be a mapping", secret="root:x"),
    HostileFile("token", RUN, TOKEN, says="must be a mapping", secret=TOKEN),
    HostileFile("token-as-a-key", RUN, f"{TOKEN}{TOKEN}: 1", says="has no key", secret=TOKEN * 2),
    HostileFile("bytes", RUN, b"\xff\xfe\0\0", says="not UTF-8"),
    HostileFile("null-character", RUN, "a: \0", says="special characters"),
    HostileFile("two-megabytes", RUN, "#" * (2 << 20), says="larger than"),
    HostileFile("deep", RUN, DEEP, says="too deep"),
    HostileFile("deep-mapping", RUN, "{a: " * 5000, says="too deep"),
    HostileFile("aliases", RUN, "a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\n" + "".join(f"{x}: &{x} [*{y},*{y},*{y},*{y}]\n" for x, y in zip("defghijk", "cdefghij", strict=True)), says="too large"),
    HostileFile("cycle", RUN, "a: &a [*a]", says="too deep"),
    HostileFile("tag", RUN, "a: !!python/object/apply:os.system [id]", says=""),
    HostileFile("digits", RUN, scenario(seed=DIGITS), says=":2:7: a number of 5,000 characters"),
    HostileFile("digits-of-a-count", RUN, scenario(load=f"{{users: {DIGITS}, streams: 1}}"), says=":2:15:"),
    HostileFile("digits-as-text", RUN, scenario(seed=f"'{DIGITS}'"), says=":2:"),
    HostileFile("digits-of-a-duration", RUN, scenario(timeouts=f"{{total: '{DIGITS}s'}}"), says=":2:"),
    HostileFile("digits-in-a-duration", RUN, scenario(timeouts="{total: 99999999999999999999h}"), says=":2:"),
    HostileFile("infinite", RUN, scenario(reading_wpm=".inf"), says=":2:"),
    HostileFile("not-a-number", RUN, scenario(reading_wpm=".nan"), says=":2:"),
    HostileFile("half-a-character", RUN, scenario(prompts=f'{{text: "{HALF}"}}'), says="half a character"),
    HostileFile("half-a-character-as-a-key", RUN, f'"{HALF}": 1', says="half a character"),
    HostileFile("half-a-character-in-a-header", RUN, scenario(target=f'{{dialect: chat-stream, url: "http://a/", headers: {{a: "{HALF}"}}}}'), says="half a character"),
    HostileFile("long-name", RUN, scenario(name=LONG), says="up to 100 letters"),
    HostileFile("long-name-of-a-target", RUN, f"targets: {{{LONG}: {TARGET}}}", says="up to 100 letters"),
    HostileFile("name-of-a-folder-above", RUN, scenario(name="../../up"), says="it becomes a folder"),
    HostileFile("long-dialect", RUN, scenario(target=f"{{dialect: {LONG}, url: 'http://a/'}}"), says="there is no dialect"),
    HostileFile("long-path-of-a-dialect", RUN, scenario(target=f"{{dialect: ./{LONG}, url: 'http://a/'}}"), says="there is no dialect file"),
    HostileFile("dialect-is-passwords", RUN, scenario(target="{dialect: /etc/passwd, url: 'http://a/'}"), says="a dialect must be a mapping", secret="root:x"),
    HostileFile("dialect-is-a-device", RUN, scenario(target="{dialect: /dev/zero, url: 'http://a/'}"), says="device"),
    HostileFile("dialect-is-itself", RUN, scenario(target="{dialect: '{file}', url: 'http://a/'}"), says=""),
    HostileFile("dialect-with-a-null", RUN, scenario(target='{dialect: "./a\\0b", url: "http://a/"}'), says="there is no dialect file"),
    HostileFile("prompts-are-a-device", RUN, scenario(prompts="{file: /dev/zero}"), says="device"),
    HostileFile("prompts-are-passwords", RUN, scenario(prompts="{file: /etc/passwd}"), says="is not JSON", secret="root:x"),
    HostileFile("prompts-are-a-folder", RUN, scenario(prompts="{file: /}"), says="folder"),
    HostileFile("prompts-of-a-null", RUN, scenario(prompts='{file: "a\\0b"}'), says="no path"),
    HostileFile("trace-is-a-device", RUN, scenario(load="{trace: /dev/zero}"), says="device"),
    HostileFile("trace-is-passwords", RUN, scenario(load="{trace: /etc/passwd}"), says="number of seconds", secret="daemon"),
    HostileFile("ca-is-a-device", RUN, scenario(target="{dialect: chat-stream, url: 'https://a/', tls: {verify: /dev/zero}}"), says="there is no file"),
    HostileFile("ca-is-passwords", RUN, scenario(target="{dialect: chat-stream, url: 'https://127.0.0.1:9/', tls: {verify: /etc/passwd}}"), (USAGE, 5), secret="root:x"),
    HostileFile("url-with-a-line-break", RUN, scenario(target='{dialect: chat-stream, url: "http://a/\\r\\nX: y"}'), (USAGE, 5)),
    HostileFile("url-with-a-port-of-nothing", RUN, scenario(target="{dialect: chat-stream, url: 'http://a:99999/'}"), says="not a valid URL"),
    HostileFile("host-of-300-letters", RUN, scenario(target=f"{{dialect: chat-stream, url: 'http://{LONG}/'}}"), (USAGE, 5)),
    HostileFile("header-with-a-line-break", RUN, scenario(target='{dialect: chat-stream, url: "http://a/", headers: {a: "b\\r\\nc: d"}}'), says="cannot be sent"),
    HostileFile("gate-of-digits", RUN, scenario(gates=f"['ttfc.p95 < {DIGITS}ms']"), says=":2:"),
    HostileFile("gate-of-words", RUN, scenario(gates=f"['{LONG} < 1ms']"), says=":2:"),
    HostileFile("gate-half", RUN, scenario(gates=f'["{HALF}"]'), says="half a character"),
    HostileFile("pattern-that-explodes", ("check", "{file}", "--dialect", "{file}"), "", says=""),
    HostileFile("set-of-a-deep-path", (*RUN, "--set", "a." * 5000 + "b=1"), scenario(), says=""),
    HostileFile("set-of-an-index", (*RUN, "--set", f"gates.{DIGITS}=1"), scenario(gates="[a]"), says="has no item"),
    HostileFile("set-of-digits", (*RUN, "--set", f"seed={DIGITS}"), scenario(), says="a number of"),
]  # fmt: skip

PROMPTS = [
    HostileFile("deep", (), DEEP, suffix=".jsonl", says="is not JSON"),
    HostileFile("digits", (), f'{{"text": "a", "tokens": {DIGITS}}}', suffix=".jsonl", says="is not JSON"),
    HostileFile("exponent", (), '{"text": "a", "tokens": 1e400}', suffix=".jsonl", says="whole number"),
    HostileFile("many-tokens", (), '{"text": "a", "tokens": 100000000}', suffix=".jsonl", says="whole number"),
    HostileFile("half", (), f'"{HALF}"', suffix=".jsonl", says="half a character"),
    HostileFile("no-text", (), '{"text": [1]}', suffix=".jsonl", says="a row is a text"),
    HostileFile("long-field", (), "text\n" + "a" * 200_000, suffix=".csv", says="is not CSV"),
    HostileFile("null", (), "text\na\0b\n", suffix=".csv", code=(USAGE, 5)),
    HostileFile("large", (), "a" * (65 << 20), suffix=".csv", says="larger than"),
    HostileFile("quote", (), 'text\n"' + "a\n" * 100_000, suffix=".csv", says="is not CSV"),
]  # fmt: skip

TRACES = [
    HostileFile("long-field", (), "1\n" + "9" * 200_000, suffix=".csv", says="is not CSV"),
    HostileFile("exponent", (), "1e308\n-1e308\n", suffix=".csv", says="number of seconds"),
    HostileFile("infinite", (), "1\ninf\n", suffix=".csv", says="number of seconds"),
    HostileFile("not-a-number", (), "1\nnan\n", suffix=".csv", says="number of seconds"),
    HostileFile("rows", (), "1\n" * 1_000_001, suffix=".csv", says="more than 1,000,000 arrivals"),
    HostileFile("empty", (), "", suffix=".csv", says="no arrival"),
]  # fmt: skip

CHECK = ("check", "{file}", "--dialect")
DIALECT_HEAD = "dialect: x\nversion: 1\ntransport: sse\nrequest: {}\n"
DIALECTS = [
    HostileFile("device", ("dialects", "/dev/zero"), None, says="device"),
    HostileFile("passwords", ("dialects", "/etc/passwd"), None, says="a dialect must be a mapping", secret="root:x"),
    HostileFile("token", ("dialects", "{file}"), TOKEN, says="a dialect must be a mapping", secret=TOKEN),
    HostileFile("draft-from-a-device", ("dialects", "new", "/dev/zero"), None, says="larger than"),
    HostileFile("draft-from-a-line", ("dialects", "new", "{file}", "--wire", "ndjson"), "a" * (5 << 20), says="limit"),
    HostileFile("draft-from-the-deep", ("dialects", "new", "{file}", "--wire", "ndjson"), DEEP, (PASSED, USAGE)),
    HostileFile("draft-from-half", ("dialects", "new", "{file}", "--wire", "ndjson"), f'{{"a": "{HALF}", "{HALF}": 1}}', (PASSED, USAGE)),
    HostileFile("grammar-that-explodes", ("dialects", "{file}"), DIALECT_HEAD + "events: {a: {}, b: {}}\ngrammar: (a|b)* a" + " (a|b)" * 60, says=""),
    HostileFile("grammar-in-the-deep", ("dialects", "{file}"), DIALECT_HEAD + "events: {a: {}}\ngrammar: " + "(" * 5000 + "a" + ")" * 5000, says=""),
    HostileFile("events-by-thousands", ("dialects", "{file}"), DIALECT_HEAD + "events: {" + ",".join(f"e{i}: {{}}" for i in range(6000)) + "}\ngrammar: e1", (PASSED, USAGE)),
    HostileFile("schema-in-a-circle", ("dialects", "{file}"), DIALECT_HEAD + "events: {a: {schema: {$ref: '#'}}}\ngrammar: a", (PASSED, USAGE)),
    HostileFile("schema-of-another-file", ("dialects", "{file}"), DIALECT_HEAD + "events: {a: {schema: {$ref: 'file:///etc/passwd'}}}\ngrammar: a", says="", secret="root:x"),
    HostileFile("schema-with-a-slow-pattern", ("dialects", "{file}"), DIALECT_HEAD + "events: {a: {schema: {pattern: '(a+)+$'}}}\ngrammar: a", (PASSED, USAGE)),
    HostileFile("half-a-name", ("dialects", "{file}"), DIALECT_HEAD + f'events: {{"{HALF}": {{}}}}\ngrammar: a', says="half a character"),
    HostileFile("digits-of-a-version", ("dialects", "{file}"), f"dialect: x\nversion: {DIGITS}\n", says="a number of"),
    HostileFile("path-in-digits", ("dialects", "{file}"), DIALECT_HEAD + f"events: {{a: {{content: 'a.{DIGITS}'}}}}\ngrammar: a", says=""),
]  # fmt: skip

EVENT = 'data: {"content": "a"}\n\n'
CAPTURES = [
    HostileFile("device", ("check", "/dev/zero", "--dialect", "chat-stream"), None, CONFORMANCE),
    HostileFile("device-of-lines", ("check", "/dev/zero", "--dialect", "assistant-ws"), None, CONFORMANCE),
    HostileFile("folder", ("check", "/", "--dialect", "chat-stream"), None),
    HostileFile("half", (*CHECK, "chat-stream"), f'data: {{"content": "{HALF}", "x": "{HALF}"}}\n\n', CONFORMANCE),
    HostileFile("half-shown", (*CHECK, "chat-stream", "--events"), f'data: {{"content": "{HALF}", "x": "{HALF}"}}\n\n', CONFORMANCE),
    HostileFile("half-as-json", (*CHECK, "chat-stream", "--json"), f'data: {{"{HALF}": 1}}\n\n', CONFORMANCE),
    HostileFile("deep", (*CHECK, "chat-stream"), 'data: {"content": "a", "x": ' + "[" * 300 + "]" * 300 + "}\n\n", CONFORMANCE),
    HostileFile("deep-shown", (*CHECK, "chat-stream", "--events"), 'data: {"content": ' + "[" * 300 + "]" * 300 + "}\n\n", CONFORMANCE),
    HostileFile("abyss", (*CHECK, "chat-stream", "--events"), f'data: {{"content": {DEEP}}}\n\n', CONFORMANCE),
    HostileFile("digits", (*CHECK, "ollama", "--events"), f'{{"model":"m","created_at":"t","message":{{"role":"a","content":""}},"done":true,"eval_count":{DIGITS[:4000]}}}\n', (PASSED, CONFORMANCE)),
    HostileFile("empty-lines", (*CHECK, "chat-stream"), "\n" * (4 << 20), CONFORMANCE),
    HostileFile("one-line", (*CHECK, "chat-stream"), "data: " + "a" * (5 << 20), CONFORMANCE),
    HostileFile("packets", (*CHECK, "room-chat"), "42" + DEEP + "\n45" + DIGITS + '-["a"]\n', CONFORMANCE),
    HostileFile("escapes", (*CHECK, "chat-stream", "--events"), "data: " + json.dumps({"\x1b[2J\x07\u202e": "\x1b]0;x\x07"}) + "\n\n", CONFORMANCE),
]  # fmt: skip

HAR = ("check", "{file}", "--har", "--dialect")


def har(entry: object) -> str:
    return json.dumps({"log": {"entries": [entry]}})


def har_of(text: object, mime: object = "text/event-stream", **more: object) -> str:
    return har({"request": {"url": "http://a/"}, "response": {"content": {"mimeType": mime, "text": text}}, **more})


HARS = [
    HostileFile("device", ("check", "/dev/zero", "--har", "--dialect", "chat-stream"), None, says="larger than"),
    HostileFile("deep", (*HAR, "chat-stream"), DEEP, says="not JSON"),
    HostileFile("digits", (*HAR, "chat-stream"), f'{{"log": {DIGITS}}}', says="not JSON"),
    HostileFile("list", (*HAR, "chat-stream"), "[]", says="no log.entries"),
    HostileFile("entries-of-words", (*HAR, "chat-stream"), '{"log": {"entries": "abc"}}', says="no entry"),
    HostileFile("no-text", (*HAR, "chat-stream"), har_of(7), PASSED),
    HostileFile("half", (*HAR, "chat-stream"), har_of("data: \ud83d\n\n"), CONFORMANCE),
    HostileFile("huge-times", (*HAR, "chat-stream", "--json"), har_of(EVENT, time=10**400, timings={"wait": 10**400}), CONFORMANCE),
    HostileFile("infinite-times", (*HAR, "chat-stream", "--json"), har_of(EVENT, time=float("inf"), timings={"wait": float("nan")}), CONFORMANCE),
    HostileFile("escapes", (*HAR, "chat-stream"), har_of("x", "\x1b[2J\x07"), says="no entry"),
    HostileFile("url-of-brackets", (*HAR, "room-chat"), har({"request": {"url": "http://[/?transport=polling&sid=1"}}), says="no entry"),
    HostileFile("socket-of-nothing", (*HAR, "assistant-ws"), har({"_webSocketMessages": [None, 1, {}]}), PASSED),
]  # fmt: skip
