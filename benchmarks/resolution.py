"""How much the types stratum decides: share of calls, receivers and values resolved, and the causes of what is not.

usage: python benchmarks/resolution.py ROOT...
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from auditor import engine, loader
from auditor.facts.model import Call, Const, Root, Select
from auditor.project.flow import writes
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.types import UNKNOWN
from auditor.source.discover import discover, read


def cause(project: Project, function: FunctionNode, op: int) -> str:
    """Why a call is not resolved, by what its callee is taken from."""
    body = function.body
    call = body.ops[op]
    assert isinstance(call, Call)
    place = body.places[call.callee]
    last = f".{place.path[-1].value}()" if place.path and place.path[-1].kind is Select.ATTR else "()"
    if place.root is Root.CONST or isinstance(place.name, Const):
        return "a literal"
    if any(s.kind is not Select.ATTR for s in place.path):
        return "an item of a container of unknown type"
    params = {p.name for p in function.header.params}
    if place.root is Root.LOCAL and place.name in params:
        if len(place.path) <= 1:
            return "a parameter that no resolved call fills" if place.path else "a function passed as parameter"
        return "an attribute of a parameter or of self that nothing types"
    if place.root is Root.LOCAL:
        return "a local name bound to an unknown value"
    if place.root is Root.CELL:
        return "a captured name"
    if place.root is Root.TEMP:
        made = next((o for o in body.ops if place.name != 0 and call.callee in writes(o)), None)
        return "the result of an unresolved call or operator" if made is None else f"the result of {type(made).__name__.lower()}"
    return f"a global or imported name{last if last == '()' else ''}"


def main() -> None:
    for root in sys.argv[1:]:
        found = discover(root)
        data = {f.path: read(root, f) for f in found.files if f.path.endswith(".py")}
        project = engine.analyse(data, engine.Settings(loader.load())).project
        calls: Counter[str] = Counter()
        receivers: Counter[bool] = Counter()
        values: Counter[bool] = Counter()
        causes: Counter[str] = Counter()
        for function in project.functions():
            body = function.body
            for op, result in project.calls(function).items():
                call = body.ops[op]
                assert isinstance(call, Call)
                calls[result.how] += 1
                values[bool(result.type) and UNKNOWN not in result.type] += 1
                if body.places[call.callee].path:
                    receivers[result.how != "unknown"] += 1
                if result.how == "unknown":
                    causes[cause(project, function, op)] += 1
        total = sum(calls.values())
        shares = ", ".join(f"{how} {count / total:.1%}" for how, count in calls.most_common())
        print(f"{root}: {total:,} calls: {shares}")
        known, typed = receivers[True] / max(receivers.total(), 1), values[True] / max(values.total(), 1)
        print(f"  receivers resolved {known:.1%}, results with a known type {typed:.1%}")
        for what, count in causes.most_common(10):
            print(f"  {count:6} {what}")


if __name__ == "__main__":
    main()
