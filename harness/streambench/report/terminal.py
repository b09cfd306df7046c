from __future__ import annotations
from pathlib import Path
from streambench.analysis.summary import Summary
def describe_run(summary: Summary, written: dict[str, Path], *, brief: bool) -> str:
    import json
    return json.dumps({k: {'auth': v.authenticity.to_json(), 'counts': v.counts,'err':v.errors,'ex':v.error_examples,'rules':[(r.rule,r.count,r.example.message) for r in v.rules]} for k, v in summary.targets.items()}, indent=1)+ "\n".join(f"{g.result} {g.target} {g.gate.expr} {g.observed} n={g.n}" for g in summary.gates)+str(summary.generator)+"\n"
