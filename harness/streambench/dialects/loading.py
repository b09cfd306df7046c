"""Reads and checks dialect files: every mistake is found here, with its position, and none during a run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from streambench.dialects import naming
from streambench.dialects.conditions import Condition, read_condition
from streambench.dialects.dialect import Dialect, EventRule, TextMode
from streambench.dialects.invariants import read_invariants
from streambench.dialects.milestones import read_milestones
from streambench.dialects.naming import Candidates
from streambench.dialects.requests import (
    HTTP_KEYS,
    read_emit,
    read_headers,
    read_http_request,
    read_messages,
    read_setup_step,
)
from streambench.dialects.templates import RequestTemplate, SetupStep, placeholders
from streambench.errors import ConfigurationError
from streambench.files import read_text
from streambench.grammar import Automaton, GrammarError
from streambench.grammar.automaton import compile_parsed
from streambench.grammar.expression import Algebra
from streambench.grammar.notation import is_event_name, parse_grammar
from streambench.located import Located, read_document, shown
from streambench.paths import compile_path
from streambench.wire.framings import FRAMINGS

BUNDLED = Path(__file__).parent / "bundled"
SUFFIXES = (".yaml", ".yml")
MAX_FILE_BYTES = 1 << 20
BUILTIN_VARIABLES = ("prompt", "user")

TOP_KEYS = (
    "dialect",
    "version",
    "summary",
    "transport",
    "request",
    "path",
    "variables",
    "setup",
    "data",
    "name",
    "events",
    "grammar",
    "interrupt",
    "anywhere",
    "unknown",
    "empty",
    "invariants",
    "terminal",
    "milestones",
)
SCENARIO_KEYS = frozenset({"target", "targets", "serve", "load", "gates", "prompts"})
EVENT_KEYS = ("when", "of", "literal", "undispatched", "content", "mode", "by", "error", "tokens", "schema")

_T = TypeVar("_T")


def bundled_dialects() -> tuple[str, ...]:
    """The names of the dialects that are shipped, sorted."""
    return tuple(sorted(path.stem for path in BUNDLED.glob("*.yaml")))


def load_dialect(name_or_path: str) -> Dialect:
    """A bundled dialect by name, or one from a file.

    Raises ConfigurationError: unknown name, unreadable file, or any mistake in it with line and column.
    """
    is_path = "/" in name_or_path or name_or_path.endswith(SUFFIXES)
    if is_path:
        path = Path(name_or_path)
        return _load(path, _read(path))
    bundled = bundled_dialects()
    if name_or_path not in bundled:
        here = [path.name for path in Path().glob("*.yaml")]
        raise ConfigurationError(
            f"there is no dialect {shown(name_or_path)}. The bundled ones are {', '.join(bundled)}; for a file of your "
            "own, give its path, ending in .yaml.",
            text=name_or_path,
            suggestion=_nearest(name_or_path, bundled) or _nearest(f"{name_or_path}.yaml", here),
        )
    return _load_bundled(name_or_path)


@cache
def _load_bundled(name: str) -> Dialect:
    path = BUNDLED / f"{name}.yaml"
    return _load(path, _read(path))


def parse_dialect(text: str, path: Path) -> Dialect:
    """The dialect in `text`; `path` is where mistakes are said to be. Raises ConfigurationError."""
    return _load(path, text)


def _nearest(name: str, valid: Iterable[str]) -> str | None:
    from streambench.errors import nearest

    return nearest(name, valid)


def _read(path: Path) -> str:
    try:
        return read_text(path, MAX_FILE_BYTES)
    except ConfigurationError as error:
        error.reason = f"the dialect file {error.reason}"
        raise


def _load(path: Path, text: str) -> Dialect:
    return _Loader(read_document(text, str(path), "a dialect"), path).load()


class _Loader:
    """Reads one file, in the order in which its parts depend on each other."""

    def __init__(self, root: Located, path: Path) -> None:
        self._root = root
        self._file = path
        if isinstance(root.value, dict) and not SCENARIO_KEYS.isdisjoint(root.value) and "grammar" not in root.value:
            raise root.error(
                "this is a scenario, not a dialect: `streambench run FILE` runs it. A dialect describes a protocol's "
                "events and their grammar"
            )
        self._top = root.mapping("a dialect", TOP_KEYS)
        self._conditions: dict[str, Condition] = {}

    def load(self) -> Dialect:
        transport = self._need("transport").choice("'transport'", FRAMINGS)
        event_nodes = self._event_nodes()
        variants = self._variants(event_nodes)
        rules = {name: self._rule(name, node, event_nodes) for name, node in event_nodes.items()}
        self._inherit(rules, event_nodes)

        main, automaton = self._grammar("grammar", rules)
        interrupt, interrupt_automaton = self._optional_grammar("interrupt", rules)
        anywhere = self._anywhere(rules)
        terminal = self._terminal(automaton, rules)
        setup = self._setup(transport, rules)
        awaited = frozenset(step.wait_for for step in setup if step.wait_for is not None)
        self._check_reachable(event_nodes, automaton, interrupt_automaton, anywhere, awaited)
        interrupting = interrupt_automaton.first_names() if interrupt_automaton is not None else ()
        rules = {
            name: replace(rule, terminal=name in terminal, interrupts=name in interrupting, anywhere=name in anywhere)
            for name, rule in rules.items()
        }

        invariants = self._top.get("invariants")
        # What may come anywhere is beside the reply: a check on the event that it refines does not mean it.
        meant = {name: found - (anywhere - {name}) for name, found in variants.items()}
        checks = read_invariants(invariants, meant) if invariants is not None else ()
        milestones = self._top.get("milestones")
        variables = self._variables()
        steps, request = self._requests(transport, rules)
        self._check_placeholders(request, steps, setup, variables)
        return Dialect(
            name=self._need("dialect").string("'dialect'"),
            version=self._version(),
            summary=self._text("summary", main),
            transport=transport,
            source_path=self._file,
            request=request,
            steps=steps,
            setup=setup,
            variables=variables,
            events=rules,
            literals={rule.literal: rule for rule in rules.values() if rule.literal is not None},
            classify=self._classifier(rules, event_nodes, transport),
            alike=naming.alike(self._name_path(), self._conditions.values()),
            is_json=self._choice("data", ("json", "text"), "json") == "json",
            grammar=main,
            automaton=automaton,
            interrupt=interrupt,
            interrupt_automaton=interrupt_automaton,
            terminal=tuple(sorted(terminal)),
            needs_terminal=bool(terminal) and automaton.ends_are_final,
            anywhere=anywhere,
            unknown_is_violation=self._choice("unknown", ("fail", "info"), "fail") == "fail",
            may_be_empty=self._choice("empty", ("fail", "info"), "fail") == "info",
            checks=checks,
            milestones=() if milestones is None else read_milestones(milestones, rules),
        )

    # Scalars

    def _need(self, key: str) -> Located:
        if key not in self._top:
            raise self._root.error(f"a dialect needs {key!r}")
        return self._top[key]

    def _text(self, key: str, default: str) -> str:
        return self._top[key].string(f"{key!r}") if key in self._top else default

    def _choice(self, key: str, valid: tuple[str, ...], default: str) -> str:
        return self._top[key].choice(f"{key!r}", valid) if key in self._top else default

    def _version(self) -> int:
        node = self._need("version")
        if node.value.__class__ is not int or node.value != 1:
            raise node.error("this release reads dialect files of version 1")
        return 1

    # Events

    def _event_nodes(self) -> dict[str, Located]:
        node = self._need("events")
        events = node.mapping("'events'")
        if not events:
            raise node.error("'events' is empty: name the events of the protocol")
        for name in events:
            if not is_event_name(name):
                raise node.key_error(
                    name, f"{name!r} cannot be the name of an event: use letters, digits, and _ - . : /"
                )
        return {
            name: Located({}, item.path, item.line, item.column) if item.value is None else item
            for name, item in events.items()
        }

    def _variants(self, nodes: Mapping[str, Located]) -> dict[str, frozenset[str]]:
        """For each event, it and those that refine it; checks the `of` on the way."""
        variants = {name: {name} for name in nodes}
        events = self._top["events"]
        for name, node in nodes.items():
            of = node.mapping(f"event {name!r}", EVENT_KEYS).get("of")
            if of is None:
                continue
            base = of.string("'of'")
            if base not in nodes and self._is_named():
                # An event may refine a name that is not an event by itself.
                base_node = None
            elif base not in nodes or base == name:
                raise of.error(
                    f"there is no event {base!r} to refine.", text=base, valid=[n for n in nodes if n != name]
                )
            else:
                base_node = nodes[base].mapping(f"event {base!r}")
            if base_node is not None and "of" in base_node:
                raise of.error(f"{base!r} is itself a refinement: refine {base_node['of'].value!r} instead")
            if base_node is not None and "when" not in node.value:
                raise events.key_error(name, f"{name!r} refines {base!r}, so it needs 'when': what tells the two apart")
            if base in variants:
                variants[base].add(name)
        return {name: frozenset(found) for name, found in variants.items()}

    def _is_named(self) -> bool:
        return "name" in self._top

    def _rule(self, name: str, node: Located, nodes: Mapping[str, Located]) -> EventRule:
        keys = node.mapping(f"event {name!r}", EVENT_KEYS)
        if "when" in keys:
            self._conditions[name] = read_condition(keys["when"], f"'when' of {name!r}")
            if "of" not in keys and self._is_named() and "literal" not in keys:
                raise keys["when"].error(
                    f"'when' needs 'of' here: events are named by {self._top['name'].value!r}, so say which of those "
                    f"names {name!r} refines.",
                    valid=nodes,
                )
        literal = keys["literal"].string("'literal'") if "literal" in keys else None
        if literal is not None and ("when" in keys or "of" in keys):
            raise keys["literal"].error("a literal event has no JSON data, so 'when' and 'of' cannot be used with it")
        mode = TextMode(keys["mode"].choice("'mode'", list(TextMode)) if "mode" in keys else TextMode.DELTA)
        if "mode" in keys and "content" not in keys:
            raise keys["mode"].error("'mode' is about 'content', which is missing")
        content, error, tokens, by = (self._path(keys.get(key)) for key in ("content", "error", "tokens", "by"))
        if "by" in keys and "content" not in keys:
            raise keys["by"].error("'by' tells several texts apart, so it needs 'content'")
        if mode is TextMode.WHOLE and by[1] is None:
            raise keys["mode"].error("'mode: whole' needs 'by': which text it is that may have come in pieces")
        return EventRule(
            name=name,
            of=keys["of"].value if "of" in keys else None,
            condition=self._conditions[name].describe() if name in self._conditions else None,
            literal=literal,
            content=content[1],
            content_path=content[0],
            mode=mode,
            by=by[1],
            error=error[1],
            error_path=error[0],
            tokens=tokens[1],
            tokens_path=tokens[0],
            **self._schema(keys.get("schema")),
            undispatched=self._undispatched(keys.get("undispatched")),
        )

    def _undispatched(self, node: Located | None) -> bool:
        if node is None:
            return False
        if not isinstance(node.value, bool):
            raise node.error("'undispatched' takes true or false")
        if node.value and (not self._is_named() or self._top["name"].value != "sse.event"):
            raise node.error("'undispatched' needs 'name: sse.event': a block without data has no other name")
        return node.value

    def _path(self, node: Located | None) -> tuple[str | None, Any]:
        if node is None or node.value is None:  # null: a refinement has none although the event it refines does
            return None, None
        text = node.string("a path")
        try:
            return text, compile_path(text)
        except ValueError as error:
            raise node.error(str(error), text=text) from None

    def _schema(self, node: Located | None) -> dict[str, Any]:
        """The schema of an event, as it is written and compiled."""
        if node is None or node.value is None:
            return {}
        import jsonschema_rs

        schema = node.plain()
        if not isinstance(schema, (dict, bool)):
            raise node.error("'schema' must be a JSON Schema, so a mapping")
        try:
            validator = jsonschema_rs.validator_for(_of_objects(schema), retriever=_refuse_reference)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            place = _find(node, getattr(error, "instance_path", []))
            reason = str(error).split("\n", 1)[0]
            raise place.error(f"not a valid JSON Schema: {reason}") from None
        return {"schema": validator, "json_schema": schema}

    def _inherit(self, rules: dict[str, EventRule], nodes: Mapping[str, Located]) -> None:
        """A refinement has what the event it refines has, where it does not say otherwise."""
        for name, rule in rules.items():
            base = rules.get(rule.of) if rule.of is not None else None
            if base is None:
                continue
            own = nodes[name].value
            rules[name] = replace(
                rule,
                content=rule.content if "content" in own else base.content,
                content_path=rule.content_path if "content" in own else base.content_path,
                mode=rule.mode if "content" in own else base.mode,
                by=rule.by if "content" in own else base.by,
                error=rule.error if "error" in own else base.error,
                error_path=rule.error_path if "error" in own else base.error_path,
                tokens=rule.tokens if "tokens" in own else base.tokens,
                tokens_path=rule.tokens_path if "tokens" in own else base.tokens_path,
                schema=rule.schema if "schema" in own else base.schema,
                json_schema=rule.json_schema if "schema" in own else base.json_schema,
            )

    # Naming

    def _classifier(self, rules: Mapping[str, EventRule], nodes: Mapping[str, Located], transport: str) -> Any:
        groups = self._groups(rules, nodes)
        if "name" not in self._top:
            return self._by_conditions(groups, rules, nodes)
        node = self._top["name"]
        text = node.string("'name'")
        if text == naming.BY_KEY:
            return naming.by_key(groups)
        if text in naming.WIRE_NAMES:
            if naming.WIRE_NAMES[text] != transport:
                raise node.error(f"{text!r} is for the transport {naming.WIRE_NAMES[text]!r}, not {transport!r}")
            return naming.by_wire(groups)
        self._path(node)
        if text.partition(".")[0] in {known.partition(".")[0] for known in naming.WIRE_NAMES}:
            raise node.error(f"{text!r} is not known.", text=text, valid=naming.WIRE_NAMES)
        return naming.by_field(text, groups)

    def _name_path(self) -> str | None:
        """The path that events are named by, where it is one."""
        name = self._text("name", "")
        return name if name and name != naming.BY_KEY and name not in naming.WIRE_NAMES else None

    def _groups(self, rules: Mapping[str, EventRule], nodes: Mapping[str, Located]) -> dict[str, Candidates]:
        """Each event that refines nothing, with its refinements; refuses refinements that overlap."""
        bases = {rule.of or name for name, rule in rules.items() if rule.literal is None}
        groups: dict[str, Candidates] = {}
        for base in sorted(bases):
            members = [name for name, rule in rules.items() if rule.of == base and name in self._conditions]
            # Without a condition, an `of` only gives another name to what the wire calls `base`.
            aliases = [name for name, rule in rules.items() if rule.of == base and name not in self._conditions]
            if len(aliases) > 1:
                raise (
                    nodes[aliases[1]]
                    .value["of"]
                    .error(f"both {aliases[0]!r} and {aliases[1]!r} stand for {base!r}: tell them apart with 'when'")
                )
            self._check_apart(members, nodes)
            groups[base] = Candidates(
                rules[aliases[0]] if aliases else rules.get(base),
                tuple((self._conditions[name].compile(), rules[name]) for name in members),
            )
        return groups

    def _by_conditions(
        self, groups: Mapping[str, Candidates], rules: Mapping[str, EventRule], nodes: Mapping[str, Located]
    ) -> Any:
        conditional = [name for name in rules if name in groups and name in self._conditions]
        defaults = [name for name in rules if name in groups and name not in self._conditions]
        self._check_apart(conditional, nodes)
        if len(defaults) > 1:
            raise self._top["events"].key_error(
                defaults[1],
                f"without 'name', events are told apart by 'when', and only one can do without: {defaults[0]!r} and "
                f"{defaults[1]!r} both have none",
            )
        return naming.by_conditions(
            tuple((self._conditions[name].compile(), groups[name]) for name in conditional),
            groups[defaults[0]] if defaults else None,
        )

    def _check_apart(self, names: list[str], nodes: Mapping[str, Located]) -> None:
        for i, second in enumerate(names):
            for first in names[:i]:
                one, other = self._conditions[first], self._conditions[second]
                if not one.excludes(other):
                    raise (
                        nodes[second]
                        .value["when"]
                        .error(
                            f"one message could be both {first!r} and {second!r}: {one.describe()}, and "
                            f"{other.describe()}. Add a test to one of them that excludes the other"
                        )
                    )

    # Grammar

    def _grammar(self, key: str, rules: Mapping[str, EventRule]) -> tuple[str, Automaton]:
        node = self._need(key)
        text = node.string(f"{key!r}")
        algebra = Algebra()
        parsed = _located_grammar(node, lambda: parse_grammar(text, algebra))
        for use in parsed.all_uses():
            if use.name not in rules:
                raise node.error(
                    f"the {key} names {use.name!r}, which is not among the events.",
                    text=use.name,
                    valid=rules,
                    at=use.position,
                )
        return " ".join(re.sub(r"#[^\n]*", "", text).split()), _located_grammar(
            node, lambda: compile_parsed(parsed, algebra)
        )

    def _optional_grammar(self, key: str, rules: Mapping[str, EventRule]) -> tuple[str | None, Automaton | None]:
        if key not in self._top or self._top[key].value in (None, ""):
            return None, None
        text, automaton = self._grammar(key, rules)
        if automaton.accepting[0]:
            raise self._top[key].error("an interrupt needs at least one event: this one could be empty")
        if automaton.slices:
            raise self._top[key].error("an interrupt cannot have slices (each)")
        return text, automaton

    def _anywhere(self, rules: Mapping[str, EventRule]) -> frozenset[str]:
        if "anywhere" not in self._top:
            return frozenset()
        names: set[str] = set()
        for item in self._top["anywhere"].sequence("'anywhere'"):
            name = item.string("an event of 'anywhere'")
            if name not in rules:
                raise item.error(f"there is no event {name!r}.", text=name, valid=rules)
            names.add(name)
        return frozenset(names)

    def _terminal(self, automaton: Automaton, rules: Mapping[str, EventRule]) -> frozenset[str]:
        node = self._top.get("terminal")
        if node is None:
            return automaton.terminal_names()
        items = node.value if isinstance(node.value, list) else [node]
        names: set[str] = set()
        for item in items:
            name = item.string("'terminal'")
            if name not in rules:
                raise item.error(f"there is no event {name!r}.", text=name, valid=rules)
            states = automaton.targets.get(name)
            if states is None:
                raise item.error(f"no stream can end with {name!r}: the grammar never has it", text=name)
            if not any(automaton.accepting[state] for state in states):
                needed = " ".join(automaton.completion(min(states)))
                raise item.error(
                    f"the language is empty: a stream ends with {name!r}, but then the grammar still asks for {needed}"
                )
            for state in states:
                for following in automaton.first_names(state):
                    raise item.error(
                        f"a stream ends with {name!r}, so {following!r}, which the grammar has after it, can never come"
                    )
            names.add(name)
        return frozenset(names)

    def _check_reachable(
        self,
        nodes: Mapping[str, Located],
        automaton: Automaton,
        interrupt: Automaton | None,
        anywhere: frozenset[str],
        awaited: frozenset[str],
    ) -> None:
        used = automaton.names | anywhere | awaited | (interrupt.names if interrupt is not None else frozenset())
        for name in sorted(anywhere & (used - anywhere | automaton.names)):
            if name in automaton.names:
                raise self._top["anywhere"].error(
                    f"{name!r} may come anywhere, so the grammar should not place it as well"
                )
        refined = {node.value["of"].value for node in nodes.values() if "of" in node.value}
        for name in nodes:
            if name not in used and name not in refined:
                raise self._top["events"].key_error(
                    name,
                    f"{name!r} can never come: grammar, interrupt, anywhere and setup do without it",
                )

    # Requests

    def _variables(self) -> dict[str, str | None]:
        if "variables" not in self._top:
            return {}
        found: dict[str, str | None] = {}
        for name, item in self._top["variables"].mapping("'variables'").items():
            value = item.plain()
            if isinstance(value, (dict, list)):
                raise item.error(f"the variable {name!r} needs a plain value")
            found[name] = None if value is None else value if isinstance(value, str) else json.dumps(value)
        return found

    def _requests(
        self, transport: str, rules: Mapping[str, EventRule]
    ) -> tuple[tuple[SetupStep, ...], RequestTemplate]:
        """The HTTP requests of a prompt before its reply, and the request that brings it; on a socket maybe empty."""
        path = self._text("path", "")
        node = self._top.get("request")
        if node is None:
            return (), RequestTemplate(method="GET", path=path)
        if not isinstance(node.value, list):
            items = [node]
        elif not node.value:
            raise node.error("'request' is empty")
        else:
            items = node.value
        *before, last = items
        is_socket = FRAMINGS[transport].is_socket
        if is_socket and "path" in last.mapping("'request'"):
            steps = [read_setup_step(item, transport, rules) for item in items]
            request = RequestTemplate(path=path)
        else:
            steps = [read_setup_step(item, transport, rules) for item in before]
            request = self._request(transport, last, path)
        for step, item in zip(steps, items, strict=False):
            if not step.is_http:
                raise item.error("all steps of a request but the last are HTTP requests: they need 'path'")
        if steps and not path and not is_socket:
            raise node.error("a request in several steps needs the 'path' of its stream, at the top of the file")
        return tuple(steps), request

    def _request(self, transport: str, node: Located, path: str) -> RequestTemplate:
        framing = FRAMINGS[transport]
        if not framing.is_socket:
            return read_http_request(node.mapping("'request'", HTTP_KEYS), path, "POST", framing.accept)
        keys = node.mapping("'request'", (framing.says, "headers"))
        headers = read_headers(keys.get("headers"))
        return RequestTemplate(
            path=path, headers=headers, send=read_messages(keys.get("send")), emit=read_emit(keys.get("emit"))
        )

    def _setup(self, transport: str, rules: Mapping[str, EventRule]) -> tuple[SetupStep, ...]:
        node = self._top.get("setup")
        if node is None:
            return ()
        return tuple(read_setup_step(item, transport, rules) for item in node.sequence("'setup'"))

    def _check_placeholders(
        self,
        request: RequestTemplate,
        before: tuple[SetupStep, ...],
        setup: tuple[SetupStep, ...],
        variables: Mapping[str, str | None],
    ) -> None:
        known = {*BUILTIN_VARIABLES, *variables}
        steps = self._top["setup"].value if setup else []
        for step, node in zip(setup, steps, strict=True):
            self._check_known(step.request, node, known)
            known |= set(step.capture)
        for step in before:
            self._check_known(step.request, self._top["request"], known)
            known |= set(step.capture)
        self._check_known(request, self._top.get("request", self._root), known)

    def _check_known(self, request: RequestTemplate, node: Located, known: set[str]) -> None:
        for name in sorted(request.placeholders() - known):
            place = _find_text(node, name) or self._top.get("path") or node
            raise place.error(
                f"nothing gives {{{name}}} a value: capture it in setup, or list it under 'variables'.",
                text=name,
                valid=known,
            )


def _located_grammar(node: Located, make: Callable[[], _T]) -> _T:
    try:
        return make()
    except GrammarError as error:
        raise node.error(error.reason, at=error.position) from None


def _of_objects(schema: Any) -> Any:
    """A JSON Schema in which whatever has members must be an object.

    By the letter, `required` and `properties` say nothing of a value that is no object; whoever writes them in a
    dialect means that it is one.
    """
    if isinstance(schema, list):
        return [_of_objects(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: item if key in ("const", "enum", "required") else _of_objects(item) for key, item in schema.items()}
    if "type" not in inner and isinstance(inner.get("required", inner.get("properties")), (list, dict)):
        inner["type"] = "object"
    return inner


def _refuse_reference(uri: str) -> Any:
    raise ValueError(f"the schema refers to {uri}, and nothing is fetched: write it here")


def _find(node: Located, path: Iterable[str | int]) -> Located:
    """The value inside `node` at a path of keys and indexes, as far as it leads."""
    for segment in path:
        try:
            node = node.value[segment]
        except (LookupError, TypeError):
            return node
    return node


def _find_text(node: Located, variable: str) -> Located | None:
    """The text inside `node` that has the placeholder."""
    if isinstance(node.value, str):
        return node if variable in placeholders(node.value) else None
    items = node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else ()
    for item in items:
        found = _find_text(item, variable)
        if found is not None:
            return found
    return None
