"""What is at stake when a coroutine does not run, is lost or is stopped: the order, the loop or the waiting task behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from auditor.facts.model import Call, Raise
from auditor.finding import Step
from auditor.project.graph import last_name
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode

ORDER = re.compile(
    r"_*(create|place|submit|send|cancel|edit|replace|amend|execute)_?(\w*_)?(orders?|all_orders)$|_*(buy|sell|close_position)$"
)
STOPS = re.compile(r"_*(cancel|close|stop|shutdown|disconnect|halt|flatten|liquidate)(_\w+)?$")
RESOLVES = frozenset({"set_result", "set_exception"})
DEPTH = 4  # calls that are followed to an order
Chain = tuple[tuple[FunctionNode, int], ...]


class Stake(NamedTuple):
    """`kind` is order, future or loop; `chain` are the calls that lead there, each in its function."""

    kind: str
    chain: Chain
    name: str


def order_below(project: Project, root: FunctionNode) -> Stake | None:
    """The shortest chain of calls from a function to one that places, changes or cancels an order."""
    return _search(project, root, ORDER.match, "order")


def future_below(project: Project, root: FunctionNode) -> Stake | None:
    """The place where a function resolves a future that someone waits for."""
    return _search(project, root, RESOLVES.__contains__, "future")


def endless(project: Project, function: FunctionNode) -> int | None:
    """The first operation of a loop that nothing leaves but an exception of what it calls; None if there is none."""
    flow = project.flow(function)
    blocks = function.body.blocks
    ends = [isinstance(function.body.ops[b.end - 1], Raise) if b.end > b.start else False for b in blocks]
    leaving = {n for n, block in enumerate(blocks) if ends[n] or any(target < 0 for _, target in block.edges)}
    for number in flow.order:
        inside = _normally_reached(function, number)
        if number in {t for n in inside for _, t in blocks[n].edges} and not inside & leaving:
            return min(blocks[n].start for n in inside if blocks[n].end > blocks[n].start)
    return None


def _normally_reached(function: FunctionNode, start: int) -> set[int]:
    """Blocks that a block reaches without an exception, itself included."""
    blocks = function.body.blocks
    seen, stack = {start}, [start]
    while stack:
        for _, target in blocks[stack.pop()].edges:
            if target >= 0 and target not in seen:
                seen.add(target)
                stack.append(target)
    return seen


def _search(project: Project, root: FunctionNode, wanted: Callable[[str], object], kind: str) -> Stake | None:
    level: list[tuple[FunctionNode, Chain]] = [(root, ())]
    seen = {root}
    for _ in range(DEPTH):
        following: list[tuple[FunctionNode, Chain]] = []
        for function, chain in level:
            for op, name, targets in _calls(project, function):
                if wanted(name):
                    return Stake(kind, (*chain, (function, op)), name)
                for target in targets:
                    if target not in seen:
                        seen.add(target)
                        following.append((target, (*chain, (function, op))))
        level = following
    return None


def _calls(project: Project, function: FunctionNode) -> Iterator[tuple[int, str, list[FunctionNode]]]:
    for op, result in sorted(project.calls(function).items()):
        call = function.body.ops[op]
        if isinstance(call, Call):
            yield op, last_name(function, call), list(dict.fromkeys(t.function for t in result.targets))


def steps_of(project: Project, stake: Stake) -> Iterator[Step]:
    """The proof that a stake is reached."""
    what = {"order": "an order call", "future": "someone waits for this future"}[stake.kind]
    for rank, (function, op) in enumerate(stake.chain):
        call = function.body.ops[op]
        name = last_name(function, call) if isinstance(call, Call) else ""
        last = rank + 1 == len(stake.chain)
        yield project.step(function, op, f"{function.name}() calls {name}(){': ' + what if last else ''}", name)
