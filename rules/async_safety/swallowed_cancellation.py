"""
Cancellation that is swallowed

## What it finds
A handler that takes `CancelledError` around an await that may suspend, after which the task goes on: a bare `except`,
`except BaseException`, `CancelledError` without `raise`, `suppress(CancelledError)`, and a `return`, `break` or `continue`
in `finally`.

## Why it matters
`task.cancel()` is how a bot stops a feed, a quote loop, a pending order. A task that swallows it lives on: shutdown hangs,
a replaced loop keeps sending orders beside its successor, and timeouts that work by cancellation never fire.

## Bad
```python
import asyncio


async def follow(feed, book):
    while True:
        try:
            await asyncio.sleep(1)
            book.update(feed.latest())
        except:
            log.warning("update failed")
```

## Good
Catch `Exception`, which a cancellation is not, or end the handler with `raise`.

```python
import asyncio


async def follow(feed, book):
    while True:
        try:
            await asyncio.sleep(1)
            book.update(feed.latest())
        except Exception:
            log.warning("update failed")
```

## Limits
An await whose callee is not known, or a `raise` on some other path of the handler, makes the finding only possible; so does
a loop that a flag of the object ends, since whoever cancels may set it. Left out are a handler after which the task ends,
also behind a clean-up, one in a function that stops or closes something, one around tasks that the function has cancelled
itself or whose handles it merely waits for, and one that hands the exception on.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.facts.model import NONE, Await, Call, Catch
from auditor.finding import Confidence, Edit, Finding, Fix, Severity, Step
from auditor.project.graph import last_name
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode
from auditor.project.uses import maker, uses_of
from auditor.rule import Rule

from ._afterwards import CLEANS, After, Point, afterwards, suspension_points
from ._cancellation import Taker, onward, raises, takers, within

WAITS = frozenset({"gather", "wait", "wait_for", "shield", "as_completed"})
KNOWS = frozenset({"uncancel", "cancelling"})  # a handler that asks so has thought of it
SHOWN = 4  # steps to the real suspension


class SwallowedCancellation(Rule):
    id = "swallowed-cancellation"
    severity = Severity.MEDIUM
    confidence = Confidence.LIKELY
    since = "0.1"
    effort = "S"
    cwe = (755,)
    implies = ("bare-except",)
    counterparts = {"ruff": {"E722": "near", "BLE001": "near"}}

    def check_project(self, project: Project) -> Iterator[Finding]:
        for function in project.functions():
            if not function.header.is_async or function.header.kind != "def" or not function.body.regions:
                continue
            found = list(takers(project, function))
            for taker in found:
                yield from _judged(project, function, taker, found)


def _judged(project: Project, function: FunctionNode, taker: Taker, others: list[Taker]) -> Iterator[Finding]:
    points = _guarded(project, function, taker, others)
    if not points or _excused(project, function, taker):
        return
    after = afterwards(project, function, taker, points)
    if after is not None:
        point = max(points, key=lambda p: (p.suspends, -p.op))
        yield _finding(project, function, taker, point, after)


# --- what is guarded ------------------------------------------------------------------------------------------------


def _guarded(project: Project, function: FunctionNode, taker: Taker, others: list[Taker]) -> list[Point]:
    """The awaits whose cancellation comes to a handler."""
    body, flow = function.body, project.flow(function)
    inner = [
        t for t in others if t.region != taker.region and within(body, t.region, taker.region) and not raises(body, t)
    ]
    found: list[Point] = []
    for point in suspension_points(project, function):
        block = flow.block_of(point.op)
        region = body.blocks[block].region
        if not within(body, region, taker.region) or any(within(body, region, t.region) for t in inner):
            continue
        if not _waits_for_other(project, function, taker, point.op):
            found.append(point)
    return found


def _waits_for_other(project: Project, function: FunctionNode, taker: Taker, op: int) -> bool:
    """Whether an await waits for a task that has a life of its own: its cancellation is not the one of this task. Where the
    handler takes more than CancelledError, the function must have cancelled the task itself."""
    step = function.body.ops[op]
    if not isinstance(step, Await):
        return False
    made = maker(function, step.src)
    call = function.body.ops[made] if made != NONE else None
    is_wait = isinstance(call, Call) and last_name(function, call) in WAITS
    if isinstance(call, Call) and (not is_wait or any(_is_coroutine(project, function, a) for a in call.args)):
        return False
    return taker.kind in ("named", "suppress") or _cancels(project, function, op)


def _is_coroutine(project: Project, function: FunctionNode, operand: int) -> bool:
    made = maker(function, operand)
    return (
        made != NONE
        and isinstance(function.body.ops[made], Call)
        and project.awaitables.coroutine(function, made) is not None
    )


def _cancels(project: Project, function: FunctionNode, op: int) -> bool:
    """Whether the function cancels something before an operation."""
    flow, body = project.flow(function), function.body
    block = flow.block_of(op)
    before = [r for n in flow.before(block) for r in range(body.blocks[n].start, body.blocks[n].end)]
    before += range(body.blocks[block].start, op)
    return any(isinstance(step := body.ops[r], Call) and "cancel" in last_name(function, step) for r in before)


def _excused(project: Project, function: FunctionNode, taker: Taker) -> bool:
    """Whether a handler has thought of it: it asks for the cancellation, or hands the exception on."""
    body = function.body
    if taker.kind in ("named", "suppress") and CLEANS.match(function.name):
        return True  # whoever stops something goes on with it
    if taker.kind in ("finally", "suppress"):
        return False
    inside = body.blocks[taker.start].region
    came, _ = onward(body, taker.start)
    ranks = [
        r
        for n in came
        if within(body, body.blocks[n].region, inside)
        for r in range(body.blocks[n].start, body.blocks[n].end)
    ]
    if any(isinstance(step := body.ops[r], Call) and last_name(function, step) in KNOWS for r in ranks):
        return True
    catch = body.ops[taker.op]
    if not isinstance(catch, Catch) or catch.dst == NONE:
        return False
    for use in uses_of(function, project.flow(function), taker.op):
        step = body.ops[use.op]
        if (
            use.how in ("kept", "returned", "raised")
            or isinstance(step, Call)
            and last_name(function, step) == "set_exception"
        ):
            return True
    return False


# --- the finding ----------------------------------------------------------------------------------------------------

WHAT = {
    "bare": "except:", "everything": "except BaseException", "named": "except CancelledError", "suppress": "suppress(CancelledError)",
    "finally": "a jump in finally",
}  # fmt: skip
NEXT = {
    "loop": "the endless loop goes on", "flag": "the loop goes on until its flag is set", "again": "the loop goes on",
    "await": "the task goes on to another await", "caller": "the caller goes on as if nothing had happened",
}  # fmt: skip


def _finding(project: Project, function: FunctionNode, taker: Taker, point: Point, after: After) -> Finding:
    anchor = taker.op if taker.op != NONE else point.op
    line, column, end_line, end_column = function.at(anchor)
    if taker.kind in ("bare", "everything", "named"):
        end_line, end_column = line, column + len("except")
    known = min(point.suspends, after.suspends) is Suspends.MAY and not raises(function.body, taker)
    sure = (
        Confidence.CERTAIN
        if after.kind == "loop"
        else Confidence.POSSIBLE
        if after.kind == "flag" and taker.kind != "bare"
        else Confidence.LIKELY
    )
    return Finding(
        rule=SwallowedCancellation.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{WHAT[taker.kind].rstrip(':')} swallows the cancellation of {function.name}(): {NEXT[after.kind]}",
        symbol=function.symbol,
        severity=Severity.HIGH if after.kind == "loop" else Severity.MEDIUM,
        confidence=sure if known else Confidence.POSSIBLE,
        proof=tuple(_steps(project, function, taker, point, after)),
        fix=_fix(function, taker),
    )  # fmt: skip


def _steps(project: Project, function: FunctionNode, taker: Taker, point: Point, after: After) -> Iterator[Step]:
    if point.suspends is Suspends.MAY:
        chain = project.suspension.witness(point.node, point.op)
        for rank, (node, op) in enumerate(chain[:SHOWN]):
            last = rank + 1 == len(chain)
            yield project.step(
                node.function,
                op,
                f"{node.function.name}() {'suspends here' if last else 'awaits what suspends'}{_path(project, node.function, op)}",
                node.function.name,
            )
    else:
        yield project.step(
            function, point.op, f"{function.name}() may suspend here; what it awaits is not known", function.name
        )
    anchor = taker.op if taker.op != NONE else point.op
    name = taker.kind if taker.kind in ("suppress", "finally") else "except"
    yield project.step(
        function,
        anchor,
        f"{WHAT[taker.kind].rstrip(':')} takes the CancelledError that is raised there, and some path does not raise it again",
        name,
    )
    where, op = after.site
    yield project.step(
        where,
        op,
        {"loop": "and the loop comes back to this await, without end"}.get(after.kind, NEXT[after.kind]),
        after.kind,
    )


def _path(project: Project, function: FunctionNode, op: int) -> str:
    step = function.body.ops[op]
    made = maker(function, step.src) if isinstance(step, Await) else NONE
    result = project.calls(function).get(made) if made != NONE else None
    if result is None or not result.externals:
        return ""
    return f": {canonical(result.externals[0])}"


def _fix(function: FunctionNode, taker: Taker) -> Fix:
    if taker.kind == "bare":
        line, column, _, _ = function.at(taker.op)
        return Fix(
            "display",
            "Catch Exception, which a cancellation is not",
            (Edit(function.path, line, column, line, column + len("except"), "except Exception"),),
        )
    titles = {
        "everything": "Catch Exception, or end the handler with raise", "named": "End the handler with raise",
        "suppress": "Let the cancellation through, or suppress it only around a task that was cancelled here",
        "finally": "Leave the finally part without a jump",
    }  # fmt: skip
    return Fix("display", titles[taker.kind])
