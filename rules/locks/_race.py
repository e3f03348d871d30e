"""Steps of a proof that two tasks meet: where one lets go, and how both are started."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.facts.model import NONE, Await
from auditor.finding import Step
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.sharing import Together
from auditor.project.starts import Start
from auditor.project.suspension import Suspends
from auditor.project.symbols import FunctionNode

# Libraries whose coroutines wait for a timer, another task or the network.
WAITING = (
    "asyncio.", "anyio.", "trio.", "aiohttp.", "websockets.", "httpx.", "redis.", "asyncpg.", "aiosqlite.", "ccxt.", "motor.",
)  # fmt: skip


def pause_steps(project: Project, function: FunctionNode, op: int, certainty: Suspends) -> Iterator[Step]:
    """The suspension, down to where it really happens."""
    if certainty is not Suspends.MAY:
        yield project.step(
            function, op, "it awaits what is not in the sources: any other task may run meanwhile", "await"
        )
        return
    chain = project.suspension.witness(project.sharing.claims.node(function), op)
    for rank, (current, at) in enumerate(chain):
        who = "it" if rank == 0 else f"{current.function.name}()"
        name = "await" if rank == 0 else current.function.name
        if rank == len(chain) - 1:
            yield project.step(current.function, at, f"{who} suspends here: any other task may run meanwhile", name)
        else:
            yield project.step(current.function, at, f"{who} awaits {chain[rank + 1][0].function.name}()", name)


def really(project: Project, function: FunctionNode, op: int) -> bool:
    """Whether a suspension ends in something that is known to wait: an unknown library may run straight through."""
    current, at = project.suspension.witness(project.sharing.claims.node(function), op)[-1]
    step = current.function.body.ops[at]
    if not isinstance(step, Await):
        return any(a.op == at for a in project.locks.acquisitions(current.function))
    makers = project.locks.references.writers(current.function, step.src)
    found = [p for m in makers if (r := project.calls(current.function).get(m)) is not None for p in r.externals]
    return bool(found) and all(canonical(p).startswith(WAITING) for p in found)


def way_steps(project: Project, meeting: Together, one: FunctionNode, other: FunctionNode) -> Iterator[Step]:
    """How both come to be under way."""
    if meeting.many:
        yield start_step(project, meeting.first.start, f"{one.name}()", again=True)
        if other is not one:
            yield start_step(project, meeting.second.start, f"{other.name}()", again=True)
        return
    yield start_step(project, meeting.first.start, f"{one.name}()")
    yield start_step(project, meeting.second.start, f"{other.name}()")


HOWS = {
    "task": "as a task", "callback": "as a callback of the loop", "thread": "in a thread", "executor": "in a thread of a pool",
    "signal": "by a signal", "main": "as the main task", "registered": "by a library that it is handed to",
}  # fmt: skip


def start_step(project: Project, start: Start, what: str, again: bool = False) -> Step:
    """Where a task or thread begins that runs `what`."""
    name = start.target.name
    many = ", several at a time" if again else ""
    beside = "" if what == f"{name}()" else f", and with it {what}"
    if start.op == NONE:
        line, column = start.target.position()
        how = "for each request" if start.how == "route" else "by whichever thread calls it"
        return Step(start.target.path, line, column, f"{name}() is run {how}{many}{beside}", name)
    return project.step(
        start.site, start.op, f"{name}() is started {HOWS.get(start.how, 'for each request')}{many}{beside}", name
    )
