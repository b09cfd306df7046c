"""The load of a scenario file: what users say, and the phases in which they say it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from streambench.errors import ConfigurationError
from streambench.load.scenario import DEFAULT_PROMPT, Load, Phase, Prompt, Prompts
from streambench.load.values import Values
from streambench.located import Located
from streambench.units import NS_PER_S, parse_rate_per_s

MAX_PROMPTS = 100_000
MAX_USERS = 10_000
MAX_RATE_PER_S = 100_000.0
ARRIVALS = ("constant", "poisson", "gamma")
PROMPT_COLUMNS = ("text", "prompt", "tokens")
PROMPT_KEYS = ("text", "file", "tokens", "profile", "faults")
PHASE_KEYS = ("users", "rate", "arrivals", "cv", "trace", "duration", "streams", "think", "max_active")
LOAD_KEYS = ("warmup", "phases")


class PromptReader:
    """Reads `prompts`. `has_upstream`: there is a fake upstream, from which replies can be ordered."""

    def __init__(self, values: Values, *, has_upstream: bool) -> None:
        self._values = values
        self._has_upstream = has_upstream

    def read(self, node: Located | None) -> Prompts:
        if node is None:
            return Prompts()
        keys = node.mapping("'prompts'", PROMPT_KEYS)
        if "text" in keys and "file" in keys:
            raise node.key_error("file", "prompts have either a 'text' or a 'file'")
        tokens_node = keys.get("tokens")
        tokens = None if tokens_node is None else self._values.integer(tokens_node, "'tokens'", 0, 100_000, 0)
        if "file" in keys:
            prompts = self._prompt_file(keys["file"], tokens)
        elif "text" in keys:
            text = keys["text"]
            texts = text.value if isinstance(text.value, list) else [text]
            prompts = tuple(Prompt(self._values.text(item, "a prompt"), tokens) for item in texts)
            if not prompts:
                raise text.error("there is no prompt")
        else:
            prompts = (Prompt(tokens=tokens),)
        faults = keys["faults"].sequence("'faults'") if "faults" in keys else []
        orders = any(key in keys for key in ("tokens", "profile", "faults"))
        if orders and not self._has_upstream:
            first = next(key for key in ("tokens", "profile", "faults") if key in keys)
            raise node.key_error(
                first,
                f"'{first}' is ordered from the bundled upstream, and there is none: serve it, or name one in "
                "the target (upstream: URL)",
            )
        profile = keys["profile"].plain() if "profile" in keys else None
        return Prompts(prompts, profile, tuple(fault.plain() for fault in faults))

    def _prompt_file(self, node: Located, tokens: int | None) -> tuple[Prompt, ...]:
        """A JSON Lines or CSV file; a row has `text` (or `prompt`) and, where wanted, `tokens`."""
        name = self._values.text(node, "'file'")
        path, content = self._values.file_beside(node, name, f"the prompts in {name}")
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


class LoadReader:
    """Reads `load`."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def read(self, node: Located | None) -> Load:
        if node is None:
            return Load()
        keys = node.mapping("'load'", (*LOAD_KEYS, *PHASE_KEYS))
        warmup_ns = self._values.duration(keys.get("warmup"), "'warmup'", 0)
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
        duration_ns = self._values.duration(keys.get("duration"), "'duration'", 0) or None
        streams_node = keys.get("streams")
        streams = None if streams_node is None else self._values.integer(streams_node, "'streams'", 1, 10**9, 1)
        if duration_ns is None and streams is None and "trace" not in keys:
            raise node.error("a phase needs an end: a 'duration' such as 20s, a number of 'streams', or both")
        max_active = self._values.integer(keys.get("max_active"), "'max_active'", 1, 100_000, 10_000)
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
                cv=self._values.number(keys.get("cv"), "'cv'", 0.01, 100, 1.0),
                duration_ns=duration_ns,
                streams=streams,
                max_active=max_active,
            )
        self._only(node, keys, "rate", ("arrivals", "cv", "max_active"))
        return Phase(
            users=self._values.integer(keys.get("users"), "'users'", 1, MAX_USERS, 1),
            duration_ns=duration_ns,
            streams=streams,
            think_ns=self._values.duration(keys.get("think"), "'think'", 0),
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
            low, high = (self._values.read(keys[key], parse_rate_per_s, f"'{key}'") for key in ("from", "to"))
            if max(low, high) <= 0:
                raise node.error("the rate is 0")
            return low, high
        rate = self._values.read(node, parse_rate_per_s, "'rate'")
        if rate <= 0:
            raise node.error("the rate is 0")
        return rate, rate

    def _trace(self, node: Located) -> tuple[int, ...]:
        """Arrival times in seconds, the first column of a CSV file; they count from the first of them."""
        name = self._values.text(node, "'trace'")
        path, content = self._values.file_beside(node, name, f"the trace {name}")
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
