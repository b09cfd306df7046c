"""The wording of figures and findings, the same on a terminal, in HTML, in Markdown and in JUnit."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streambench.analysis.claims import Claim
from streambench.analysis.encodings import REMEDY
from streambench.analysis.gates import VIOLATIONS, GateResult, Result
from streambench.analysis.milestones import PREFIX
from streambench.analysis.remedies import remedy
from streambench.analysis.suites import SuiteOutcome
from streambench.analysis.summary import Summary
from streambench.analysis.sweep import SweepOutcome
from streambench.analysis.tally import RuleCount
from streambench.analysis.target import TargetSummary
from streambench.analysis.verdicts import Verdict
from streambench.endings import ErrorClass
from streambench.findings import Axis
from streambench.record.transcript import FOLDER, file_name
from streambench.units import NS_PER_MS

# Of each target, what is shown first.
HEADLINE = ("ttfc", "burst_gap", "gap_max", "e2e", "qoe", "forward_lag")
NOTHING = "–"
MAX_SENTENCES = 6
MAX_NOTES = 2  # of a target: the report has them all
HELD_BACK = (Verdict.BATCHED, Verdict.BUFFERED, Verdict.LIKELY_BUFFERED)


def figure(value: float | str | None, unit: str) -> str:
    """A value with its unit: `812.4 ms`, `1.2%`, `37.5 per s`, `3`."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    if math.isinf(value):
        return "∞"
    match unit:
        case "ms":
            return f"{value:,.1f} ms" if abs(value) >= 0.05 or value == 0 else f"{value:.2g} ms"
        case "ratio":
            return f"{_percent(value).rstrip('0').rstrip('.')}%"
        case "factor":
            return f"{value:z.2f}"
        case "per s":
            return f"{value:,.1f} per s"
        case "count":
            return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
    return f"{value:g}"


def bare(value: float | None, unit: str) -> str:
    """A value for a table whose heading names the unit; the figures of a column have as many decimals."""
    if value is not None and unit == "ratio" and math.isfinite(value):
        return f"{_percent(value)}%"
    return NOTHING if value is None else figure(value, unit).removesuffix(" ms").removesuffix(" per s")


def _percent(value: float) -> str:
    return f"{100 * value:,.2f}" if abs(value) < 0.1 else f"{100 * value:,.1f}"


def plural(count: int, noun: str) -> str:
    """A number of things: `1 stream`, `1,500 streams`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def interval(result: GateResult) -> str:
    """The 95% interval of an observation, or nothing."""
    if result.ci95 is None:
        return ""
    low, high = result.ci95
    unit = result.gate.unit
    return f"{figure(low, unit).removesuffix(' ms').removesuffix(' per s')} to {figure(high, unit)}"


def gate_figures(result: GateResult) -> str:
    """What was observed for a gate, with its interval and n; the gate itself has the limit."""
    observed = f"observed {figure(result.observed, result.gate.unit)}"
    if result.ci95 is not None:
        observed += f" (95% CI {interval(result)})"
    return f"{observed}, n {result.n:,}"


def gate_sentence(result: GateResult) -> str:
    """What came of a gate: its figures, and the reason where it did not pass."""
    reason = "" if result.reason is None or result.result is Result.PASSED else f": {result.reason}"
    return gate_figures(result) + reason


def unmet_gate(result: GateResult, *, several: bool) -> str:
    """A gate that failed or was inconclusive, in one sentence."""
    what = "failed" if result.result is Result.FAILED else f"is {result.result}"
    return f"Gate {gate_title(result, several=several)} {what}: {gate_sentence(result)}."


def gate_title(result: GateResult, *, several: bool) -> str:
    """The gate as its author wrote it, with the target where it is meant for several; an implied one is marked."""
    prefix = f"{result.target}: " if several and result.gate.target is None else ""
    if result.gate.implied:
        prefix = f"{result.target}: " if several else ""
    return f"{prefix}{result.gate.expr}{' (always)' if result.gate.implied else ''}"


def headline(summary: Summary) -> str:
    """The run in one sentence."""
    targets = summary.targets.values()
    streams = sum(target.counts["started"] for target in targets)
    text = f"{plural(streams, 'stream')} on {plural(len(summary.targets), 'target')} in {summary.duration_s:.0f} s"
    failed = sum(gate.result is Result.FAILED for gate in summary.gates)
    undecided = sum(gate.result is Result.INCONCLUSIVE for gate in summary.gates)
    if not summary.generator["valid"]:
        text += ", measurement not valid"
    elif failed:
        text += f", {failed} of {plural(len(summary.gates), 'gate')} failed"
    elif undecided:
        text += f", {undecided} of {plural(len(summary.gates), 'gate')} inconclusive"
    elif summary.gates:
        text += f", all {plural(len(summary.gates), 'gate')} passed"
    for suite in summary.suites:
        text += f"; conformance of {suite.target}: {suite_counts(suite)}"
    if summary.interrupted:
        text += "; the run was interrupted"
    return text


def suite_counts(suite: SuiteOutcome) -> str:
    """The verdicts of a suite, counted."""
    return ", ".join(f"{count} {verdict}" for verdict, count in suite.verdicts.items())


def suite_sentence(suite: SuiteOutcome, case: Mapping[str, Any]) -> str:
    """A case that does not hold, and what to do."""
    said = f"{case['case']} {case['verdict']} on {suite.target}: {case.get('message', '')}".rstrip(": ")
    if case.get("got"):
        said += f" ({case['got']})"
    return f"{said}. {case.get('remedy', '')}".rstrip()


def verdict_sentence(target: TargetSummary, unmet: Sequence[GateResult] = ()) -> str:
    """What a target does with its upstream's stream, and how that shows; `unmet` are gates that wanted otherwise."""
    verdict = str(target.authenticity.verdict).replace("-", " ")
    gates = "".join(f", so gate {gate.gate.expr} {_result(gate)}" for gate in unmet)
    evidence = target.authenticity.evidence
    end = "" if evidence.endswith("?") else "."
    return f"{target.name}: {verdict}{gates}. {evidence[:1].upper()}{evidence[1:]}{end}{_compressed(target)}"


def _compressed(target: TargetSummary) -> str:
    """Where text was held back and came compressed: that the one may be because of the other."""
    compressed = sum(target.encodings.values())
    if target.authenticity.verdict not in HELD_BACK or 2 * compressed < target.counts["completed"]:
        return ""
    return (
        f" The replies were compressed ({', '.join(target.encodings)}), which may be why: compare with "
        f"`streambench probe --encodings`. {REMEDY}"
    )


def findings_in_words(summary: Summary) -> list[str]:
    """What a reader must know, the worst first: why the run did not pass, then what each target does."""
    out = [f"The measurement is not valid: {reason}." for reason in _reasons(summary) if not summary.generator["valid"]]
    several = len(summary.targets) > 1
    if summary.sweep is not None:
        out.append(summary.sweep.sentence)
    for target in summary.targets.values():
        out += failures_in_words(target)
        if target.counts["dropped"]:
            out.append(f"{_those(target, 'dropped')} due but never started.")
        if target.counts["censored"]:
            out.append(f"{_those(target, 'censored')} still open at the end.")
        if target.resent:
            out.append(
                f"{target.name}: {plural(target.resent, 'request')} had to be sent twice, because the server closed a "
                "kept-alive connection without answering."
            )
        if target.counts["left"]:
            out.append(left_sentence(target))
        if target.clock_error_ns:
            out.append(
                f"The upstream of {target.name} has its own clock: comparisons with its writes may be off by "
                f"{figure(target.clock_error_ns / NS_PER_MS, 'ms')}."
            )
        out += broken_rules_in_words(target)
        if target.uncalled and not target.counts["completed"]:
            out.append(verdict_sentence(target))
        out += accepted_rules_in_words(target)
    out += removable_in_words(summary)
    out += [suite_sentence(suite, case) for suite in summary.suites for case in suite.bad]
    unmet = [gate for gate in summary.gates if gate.result is not Result.PASSED]
    out += [
        unmet_gate(gate, several=several) for gate in unmet if not _told_already(gate, summary.targets[gate.target])
    ]
    out += _verdicts([target for target in summary.targets.values() if target.counts["completed"]], unmet)
    out += [
        f"{good.good:,} of {good.finished:,} streams of {name} were good ({good.expr}): {good.share:.1%}, or "
        f"{good.per_s:,.3g} per second."
        for name, target in summary.targets.items()
        if (good := target.goodput) is not None and good.finished
    ]
    slow = first_text_comparison(summary)
    if slow is not None:
        out.append(slow)
    for target in summary.targets.values():
        out += notes_in_words(target)
    if summary.interrupted:
        out.append(f"The run was interrupted{_left_open(summary)}. It is judged by what was measured before that.")
    return out


def _left_open(summary: Summary) -> str:
    """How many streams of a killed run have no record."""
    if not summary.killed:
        return ""
    if summary.open_at_kill is None:
        return ", with an unknown number of streams open"
    return f" while {plural(summary.open_at_kill, 'stream')} {_was(summary.open_at_kill)} open"


def left_sentence(target: TargetSummary) -> str:
    """How many users left a target's streams, and what its upstream saw of that."""
    text = f"Users left {plural(target.counts['left'], 'stream')} of {target.name} before the end"
    lags, wasted = target.distributions["cancel_lag"], target.distributions["wasted_tokens"]
    if not len(wasted):
        return f"{text}."
    told = f"; the upstream noticed {len(lags):,} of {len(lags) + lags.failures:,}"
    if len(lags):
        told += f", after {figure(lags.quantile(0.5), 'ms')} (p50)"
    return f"{text}{told}, and wrote {figure(float(wasted.values.sum()), 'count')} more chunks that nobody read."


def failures_in_words(target: TargetSummary) -> list[str]:
    """Why streams of a target failed: one sentence, or none where a broken rule says the same with its place."""
    if target.unreachable:
        return [f"{target.name} could not be reached: {_first_example(target)}."]
    if not target.counts["failed"] or _ending(target) is not None:
        return []
    finished = target.counts["completed"] + target.counts["failed"]
    failed = f"{target.name}: {target.counts['failed']:,} of {plural(finished, 'stream')} failed"
    advice = remedy(next(iter(target.errors), ""))
    return [f"{failed} ({_classes(target)}): {_first_example(target)}." + (f" {advice}" if advice else "")]


def broken_rules_in_words(target: TargetSummary) -> list[str]:
    """A sentence for each rule that a target broke, the most frequent first."""
    ending = _ending(target)
    return [rule_sentence(target, rule, failed_by_it=rule is ending) for rule in target.broken]


def accepted_rules_in_words(target: TargetSummary) -> list[str]:
    """What a target broke and may break, and how much of what was found is ignored."""
    out = [f"Accepted{_because(rule)}: {rule_sentence(target, rule)}" for rule in target.accepted]
    if target.ignored:
        names = ", ".join(dict.fromkeys(rule.rule for rule in target.ignored))
        count = sum(rule.count for rule in target.ignored)
        out.append(f"{target.name}: {plural(count, 'finding')} of ignored rules not counted: {names}.")
    return out


def notes_in_words(target: TargetSummary) -> list[str]:
    """What was noticed in a target's text and breaks no rule, the most frequent first."""
    notes = [rule for rule in target.notes if rule.axis == Axis.CONTENT]
    out = [
        f"Note: {plural(rule.streams, 'stream')} of {target.name}, {rule.rule}: {rule.example.message}"
        for rule in notes[:MAX_NOTES]
    ]
    if len(notes) > MAX_NOTES:
        out[-1] += f" The report has {plural(len(notes) - MAX_NOTES, 'more note')}."
    return out


def removable_in_words(summary: Summary) -> list[str]:
    """The waivers that nothing needs any more."""
    return [
        f"`{waiver.key}: {waiver.rule}`{f' of {waiver.target}' if waiver.target else ''} can be removed: this run "
        "found nothing of the kind."
        for waiver in summary.removable
    ]


def _because(rule: RuleCount) -> str:
    return f" ({rule.waiver.reason})" if rule.waiver is not None and rule.waiver.reason else ""


def _ending(target: TargetSummary) -> RuleCount | None:
    """The rule about an end that all failed streams broke: that they failed is the same fact, and told once."""
    return next(
        (
            rule
            for rule in target.rules
            if rule.axis == Axis.TERMINATION
            and rule.is_violation
            and rule.streams == target.counts["failed"]
            and len(target.errors) == 1
            and ErrorClass.ERROR_EVENT not in target.errors  # which says why itself
        ),
        None,
    )


def _classes(target: TargetSummary) -> str:
    return ", ".join(f"{error} {count}" for error, count in target.errors.items())


def _told_already(result: GateResult, target: TargetSummary) -> bool:
    """Whether what the target's streams did says all that a gate could add; the table of gates has its figures."""
    if result.gate.metric in (*VIOLATIONS, "streams.completed"):
        return True
    if result.gate.metric == "authenticity":
        return True  # beside the verdict, or because nothing was completed
    if result.gate.metric in ("error_rate", "streams.failed"):
        return bool(target.counts["failed"])
    return result.observed is None and result.gate.unreadable is None and not target.counts["completed"]


def _verdicts(targets: Sequence[TargetSummary], unmet: Sequence[GateResult]) -> list[str]:
    """A sentence for each target, or for each verdict where there are many targets and the gates held."""
    missed: dict[str, list[GateResult]] = {}
    for gate in unmet:
        if gate.gate.metric == "authenticity":
            missed.setdefault(gate.target, []).append(gate)
    single = [target for target in targets if target.name in missed or len(targets) <= MAX_SENTENCES]
    out = [verdict_sentence(target, missed.get(target.name, ())) for target in single]
    by_verdict: dict[str, list[str]] = {}
    for target in targets:
        if target in single:
            continue
        by_verdict.setdefault(str(target.authenticity.verdict), []).append(target.name)
    out += [f"{plural(len(names), 'target')} {verdict}: {', '.join(names)}." for verdict, names in by_verdict.items()]
    return out


def _result(gate: GateResult) -> str:
    return "failed" if gate.result is Result.FAILED else f"is {gate.result}"


def _those(target: TargetSummary, outcome: str) -> str:
    count = target.counts[outcome]
    return f"{target.name}: {plural(count, 'stream')} {_was(count)}"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def verdict_matrix(summary: Summary) -> tuple[list[str], list[tuple[str, list[str]]]] | None:
    """Verdicts as a table, where every target is named `row.column`: the columns, and each row with its cells."""
    pairs = [name.split(".") for name in summary.targets]
    if len(pairs) < 4 or any(len(pair) != 2 for pair in pairs):
        return None
    columns = list(dict.fromkeys(column for _, column in pairs))
    rows = list(dict.fromkeys(row for row, _ in pairs))

    def cell(row: str, column: str) -> str:
        target = summary.targets.get(f"{row}.{column}")
        return NOTHING if target is None else str(target.authenticity.verdict)

    return columns, [(row, [cell(row, column) for column in columns]) for row in rows]


def rule_sentence(target: TargetSummary, rule: RuleCount, *, failed_by_it: bool = False) -> str:
    """A broken rule, with one example: where it was, what came and what was expected.

    `failed_by_it`: the streams that broke it are those that failed.
    """
    example = rule.example
    where = f" at {example.place}" if example.place else ""
    got, expected = example.untold
    came = f" Got: {got}." if got else ""
    wanted = f" Expected: {' | '.join(expected)}." if expected else ""
    times = "" if rule.count == rule.streams else f", {plural(rule.count, 'time')} in all"
    streams = plural(rule.streams, "stream")
    if failed_by_it:
        finished = target.counts["completed"] + target.counts["failed"]
        streams = f"{rule.streams:,} of {plural(finished, 'stream')}, which failed ({_classes(target)})"
    return (
        f"{target.name}: {rule.rule} broken in {streams}{times}. In {rule.example_stream}{where}: "
        f"{example.message}{came}{wanted}"
    )


def check_command(summary: Summary, stream: Path) -> str:
    """The command that judges and draws a kept stream, as it is typed."""
    return " ".join(check_parts(summary, stream))


def check_parts(summary: Summary, stream: Path) -> list[str]:
    """The same command in the parts between which a line may break."""
    target = stream.stem.rpartition("-")[0]  # the number of the stream comes last (`file_name`)
    named = summary.header["targets"].get(target, {}).get("dialect_file")
    dialect = [] if named is None else [f"--dialect {shlex.quote(named)}"]
    return ["streambench check", shlex.quote(str(stream)), *dialect]


def transcript_of(summary: Summary, stream: str) -> Path | None:
    """The file in the run folder that holds a stream's bytes and stamps; None where it was not kept."""
    if summary.run.folder is None:
        return None
    path = summary.run.folder / FOLDER / file_name(stream)
    return path if path.is_file() else None


def kept_streams(summary: Summary) -> list[Path]:
    """The transcripts in the run folder, in the order of their names."""
    return [] if summary.run.folder is None else sorted((summary.run.folder / FOLDER).glob("*.jsonl"))


def server_logs(summary: Summary) -> list[Path]:
    """What the user's own servers printed during the run, where they printed anything."""
    logs = [] if summary.run.folder is None else sorted(summary.run.folder.glob("serve-*.log"))
    return [log for log in logs if log.stat().st_size]


def broken_stream(summary: Summary) -> Path | None:
    """The transcript of the first stream that shows a broken rule; None where there is none."""
    for target in summary.targets.values():
        for rule in target.rules:
            if rule.is_violation:
                path = transcript_of(summary, rule.example_stream)
                if path is not None:
                    return path
    return None


def first_text_comparison(summary: Summary) -> str | None:
    """How much later the first text of a simulated stream comes than that of a forwarded one."""
    median: dict[str, float] = {}
    for name, target in summary.targets.items():
        ttfc = target.distributions["ttfc"]
        if len(ttfc):
            median[name] = ttfc.quantile(0.5)
    real = [n for n in median if summary.targets[n].authenticity.verdict is Verdict.FORWARDED]
    simulated = [n for n in median if summary.targets[n].authenticity.verdict in (Verdict.BUFFERED, Verdict.PACED)]
    if not real or not simulated:
        return None
    best, worst = min(real, key=median.__getitem__), max(simulated, key=median.__getitem__)
    return (
        f"Median time to first text: {median[best] / 1000:.2f} s ({best}), {median[worst] / 1000:.2f} s ({worst}): "
        f"{median[worst] / median[best]:.1f} times as long."
    )


def metric_heading(name: str, unit: str) -> str:
    """A metric's name with its unit, where the name does not say it."""
    return name if unit in ("ratio", "count", "factor") or name.endswith(("_ms", "_per_s")) else f"{name} ({unit})"


MILESTONE_HEADING = ("target", "milestone", "reached by", "p50", "p95", "p99")


def milestone_rows(summary: Summary) -> list[tuple[str, ...]]:
    """Of each target's milestones: how many of the completed streams came so far, and when, in ms."""
    return [
        (
            name,
            milestone.name,
            f"{target.reached(milestone):,} of {target.counts['completed']:,}",
            *(bare(values.quantile(q), values.unit) if len(values) else NOTHING for q in (0.5, 0.95, 0.99)),
        )
        for name, target in summary.targets.items()
        for milestone in target.milestones
        for values in (target.distributions[PREFIX + milestone.name],)
    ]


def _first_example(target: TargetSummary) -> str:
    """The reason of the most frequent error."""
    most = next(iter(target.errors), "")
    return (target.error_examples.get(most) or "no reason was given").rstrip(".")


def _reasons(summary: Summary) -> list[str]:
    return [str(reason) for reason in summary.generator["reasons"]]


SWEEP_HEADING = ("load", "verdict", "streams", "failed", "good/s", "conditions")


def sweep_rows(outcome: SweepOutcome) -> list[tuple[str, ...]]:
    """The loads of a sweep, each as a row under `SWEEP_HEADING`."""
    rows: list[tuple[str, ...]] = []
    for level in outcome.levels:
        conditions = [f"{gate.gate.expr.strip()}: {figure(gate.observed, gate.gate.unit)}" for gate in level.gates]
        counts = (f"{level.counts[name]:,}" for name in ("started", "failed"))
        told = level.reason or ", ".join(conditions)
        rows.append((outcome.sweep.show(level.load), level.verdict, *counts, f"{level.good_per_s:,.3g}", told))
    return rows


def claim_figure(value: float | None) -> str:
    """A measured value of a claim; its unit stands with the figure's name."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def claim_row(claim: Claim) -> tuple[str, ...]:
    """System, claim, figure, before, after, ratio and verdict of a claim."""
    measured = (claim_figure(value) for value in (claim.before, claim.after, claim.ratio))
    return (claim.system, claim.claim, claim.figure, *measured, claim.verdict)


CLAIM_HEADING = ("system", "claim", "figure, p50", "simulated", "real", "ratio", "")
