"""`junit.xml`: one suite a target, one case a gate, so that any CI shows which one broke."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from streambench.analysis.gates import Result
from streambench.analysis.summary import Summary
from streambench.report.wording import findings_in_words, gate_sentence

# What XML 1.0 cannot hold, however it is escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(summary: Summary) -> str:
    """The gates as JUnit XML. An undecided gate is an error, since it has not shown that anything holds."""
    scenario = summary.header["scenario"]["name"]
    root = ET.Element("testsuites", name=f"streambench {scenario}")
    for name in summary.targets:
        gates = [gate for gate in summary.gates if gate.target == name]
        suite = ET.SubElement(
            root,
            "testsuite",
            name=f"{scenario}.{name}",
            tests=str(len(gates)),
            failures=str(sum(gate.result is Result.FAILED for gate in gates)),
            errors=str(sum(gate.result is Result.INCONCLUSIVE for gate in gates)),
            time=f"{summary.duration_s:.3f}",
        )
        for gate in gates:
            case = ET.SubElement(suite, "testcase", classname=f"{scenario}.{name}", name=gate.gate.expr)
            if gate.result is not Result.PASSED:
                kind = "failure" if gate.result is Result.FAILED else "error"
                problem = ET.SubElement(case, kind, message=gate_sentence(gate))
                problem.text = "\n".join(findings_in_words(summary))
    suite = ET.SubElement(
        root,
        "testsuite",
        name=f"{scenario}.generator",
        tests="1",
        failures="0",
        errors="0" if summary.generator["valid"] else "1",
        time=f"{summary.duration_s:.3f}",
    )
    case = ET.SubElement(suite, "testcase", classname=f"{scenario}.generator", name="the measurement is valid")
    if not summary.generator["valid"]:
        ET.SubElement(case, "error", message="; ".join(summary.generator["reasons"]))
    for element in root.iter():
        element.attrib = {name: _clean(value) for name, value in element.attrib.items()}
        element.text = _clean(element.text or "") or None
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
