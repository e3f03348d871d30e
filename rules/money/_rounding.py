"""Whether a Decimal is rounded before anything else sees it: then it does not matter what stood in its last digits."""

from __future__ import annotations

from auditor.facts.model import NONE, Call, Root, Store
from auditor.project.flow import consumers, describe

from ._run import Run

ROUNDING = frozenset({"quantize", "round", "to_integral_value", "to_integral", "to_integral_exact", "normalize_step"})


def rounded(run: Run, rank: int) -> bool:
    """Whether what is built is rounded before anything else sees it."""
    body = run.body
    op = body.ops[rank]
    if not isinstance(op, Call) or op.dst == NONE:
        return False
    users = consumers(body, rank)
    methods = [
        r for r, other in enumerate(body.ops)
        if isinstance(other, Call) and (p := body.places[other.callee]).root is Root.TEMP and p.name == body.places[op.dst].name
        and len(p.path) == 1 and p.path[0].value in ROUNDING
    ]  # fmt: skip
    if methods:
        return True
    steps = [body.ops[u] for u in users if not isinstance(body.ops[u], Store)]
    calls = [step for step in steps if isinstance(step, Call)]
    return bool(steps) and len(calls) == len(steps) and all(_last(run, step) in ROUNDING for step in calls)


def _last(run: Run, call: Call) -> str:
    """The last name of a callee."""
    return describe(run.body, call.callee).rpartition(".")[2]
