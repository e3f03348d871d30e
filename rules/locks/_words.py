"""How the rules of this chapter speak of branches, locks and roots."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.facts.model import OPERATORS, Body, Branch, Catch, Compare, Next
from auditor.finding import Step
from auditor.project.flow import describe, writes
from auditor.project.locks import Lock
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import Root


def condition(project: Project, function: FunctionNode, op: int, since: int | None) -> str:
    """Under what condition an operation runs, "" if it always does; `since` leaves out what was decided before."""
    flow = project.flow(function)
    block = flow.block_of(op)
    known = {b for b, _ in flow.guards(flow.block_of(since))} if since is not None else set()
    for branch, outcome in flow.guards(block):
        if branch not in known:
            return _branch(function, branch, outcome)
    current = block
    body = function.body
    while current >= 0:
        start = body.blocks[current].start
        if body.blocks[current].end > start and isinstance(body.ops[start], Catch) and (since is None or start > since):
            return f"the handler in line {function.at(start)[0]} runs"
        current = flow.dominators[current]
    return ""


def _branch(function: FunctionNode, branch: int, outcome: bool) -> str:
    body = function.body
    line = function.at(branch)[0]
    op = body.ops[branch]
    if isinstance(op, Next):
        return f"the loop in line {line} has an item"
    written = _test(body, op, branch) if isinstance(op, Branch) else ""
    if not written:
        return f"the test in line {line} {'holds' if outcome else 'fails'}"
    return f"`{written}` (line {line})" if outcome else f"not `{written}` (line {line})"


def _test(body: Body, op: Branch, branch: int) -> str:
    written = describe(body, op.test)
    if written:
        return written
    made = next((o for o in reversed(body.ops[:branch]) if op.test in writes(o)), None)
    if isinstance(made, Compare):
        left, right = describe(body, made.left), describe(body, made.right)
        if left and right:
            return f"{left} {OPERATORS[made.operator]} {right}"
    return ""


def made_step(project: Project, lock: Lock) -> Iterator[Step]:
    """Where a lock is made, if that is known."""
    for made in project.locks.made:
        if made.lock is not None and made.lock[:2] == lock[:2]:
            yield project.step(made.function, made.op, f"{made.kind} {lock} is made", lock.name)
            return


def root_step(project: Project, root: Root, what: str) -> Step:
    """Where a task or thread begins that runs `what`."""
    spawn = root.spawn
    if spawn is None:
        line, column = root.function.position()
        note = f"{root.function.name}() is run for each request, and with it {what}"
        return Step(root.function.path, line, column, note, root.function.name)
    how = {"task": "as a task", "thread": "in a thread", "executor": "in a thread of a pool"}.get(
        spawn.how, f"as a {spawn.how}"
    )
    many = ", again and again" if root.repeats else ""
    return project.step(
        spawn.site, spawn.op, f"{root.function.name}() is started {how}{many}, and with it {what}", root.function.name
    )
