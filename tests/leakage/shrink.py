"""Makes a program smaller as long as something holds of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from leakage.operations import BY_NAME
from leakage.programs import Program, Step, can_hold, pruned, valid


def shrunk(program: Program, holds: Callable[[Program], bool], limit: int = 300) -> Program:
    """The smallest program that single reductions lead to and of which `holds` is true; `limit` tries at most."""
    tried = {program}
    again = True
    while again:
        again = False
        for smaller in reductions(program):
            if smaller in tried:
                continue
            if len(tried) >= limit:
                return program
            tried.add(smaller)
            if holds(smaller):
                program, again = smaller, True
                break
    return program


def reductions(program: Program) -> Iterator[Program]:
    """Programs that are one step smaller, the boldest first."""
    for candidate in _candidates(program):
        smaller = pruned(candidate)
        if smaller != program and valid(smaller):
            yield smaller


def _candidates(program: Program) -> Iterator[Program]:
    steps = program.steps
    for i in reversed(range(len(steps))):
        for j in _stand_ins(program, i):
            if i == len(steps) - 1:
                yield replace(program, steps=steps[: j + 1])
            else:
                yield replace(program, steps=tuple(_redirected(step, i, j) for step in steps))
    for i, step in enumerate(steps):
        for plainer in _plainer(step, steps):
            yield replace(program, steps=(*steps[:i], plainer, *steps[i + 1 :]))
    if program.sink != "loc":
        yield replace(program, sink="loc")


def _stand_ins(program: Program, i: int) -> Iterator[int]:
    """Earlier steps that may stand in place of a step: its inputs, then sources."""
    step = program.steps[i]
    if step.source:
        return
    last = i == len(program.steps) - 1
    sources = [j for j, other in enumerate(program.steps[:i]) if other.source]
    for j in dict.fromkeys((*step.inputs, *sources)):
        if not program.steps[j].source if last else program.steps[j].kind == step.kind:
            yield j


def _redirected(step: Step, old: int, new: int) -> Step:
    return replace(step, inputs=tuple(new if j == old else j for j in step.inputs))


def _plainer(step: Step, steps: tuple[Step, ...]) -> Iterator[Step]:
    """The same step in a plainer form, or with a smaller number."""
    if step.source:
        if step.operation not in ("close", "cat") and Step("close") not in steps:
            yield replace(step, operation="close")
        return
    if step.hook:
        yield replace(step, hook=0)
    if step.place != "here":
        yield replace(step, place="here")
    if step.number_form != "literal":
        yield replace(step, number_form="literal")
    for hold in ("inline", "local", "column"):
        if hold == step.hold:
            break
        if can_hold(hold, step, steps):
            yield replace(step, hold=hold)
    for number in sorted(BY_NAME[step.operation].numbers, key=lambda n: (abs(n), -n)):
        if (abs(number), -number) < (abs(step.number), -step.number):
            yield replace(step, number=number)
