"""Random strategies: a graph of operations, each with a place where its code stands and a way to keep its result.

A program is data, so that it can be written as text (`writing`), and be made smaller and still be a program (`shrink`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from leakage.operations import BY_NAME, OPERATIONS, SOURCES, Operation

ROWS = 26
"""How many rows of a short frame the lags and windows of one chain may use up."""

NUMBERS = (
    "literal", "constant", "setting", "attribute", "parameter", "config", "local", "sum", "negated", "property", "owner",
    "quotient", "looked up",
)  # fmt: skip
PLACES = (
    "here", "helper", "nested", "library", "method", "inherited", "static", "lambda", "closure", "object", "default", "piped",
)  # fmt: skip
HOLDS = (
    "inline", "local", "column", "f-string", "attribute", "assign", "assigned by lambda", "loc", "alias", "copy",
    "mapping", "tuple", "branch", "choice", "loop", "accumulated", "renamed", "joined", "filled in", "guarded",
    "mutated", "returned", "kept in a mapping", "kept in an object",
)  # fmt: skip
COLUMNS = frozenset({
    "column", "f-string", "assign", "assigned by lambda", "loc", "alias", "copy", "loop", "renamed", "joined", "filled in",
    "mutated", "returned",
})  # fmt: skip
"""Ways to keep a result that end in a column of the frame."""

FLAGGED = frozenset({"branch", "choice"})
"""Ways to keep a result only if a flag of the configuration is set."""

SINKS = ("loc", "where", "astype", "conditions", "tagged", "both sides")


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: `inputs` are earlier steps by position. A source has the name of a column and no inputs. `number`
    is the value of `a`, written as `number_form` says; the code stands at `place`, the result is kept by `hold` in
    `hook` 0 (indicators) or 1 (entries)."""

    operation: str
    inputs: tuple[int, ...] = ()
    number: int = 0
    number_form: str = "literal"
    place: str = "here"
    hold: str = "local"
    hook: int = 0

    @property
    def source(self) -> bool:
        return not self.inputs

    @property
    def kind(self) -> str:
        """The kind of the value that later steps read."""
        if self.source:
            return "c" if self.operation == "cat" else "s"
        gives = BY_NAME[self.operation].gives
        return "s" if gives == "a" and self.hold in COLUMNS else gives


@dataclass(frozen=True, slots=True)
class Program:
    """Steps in the order in which they run; the last one is the feature that decides the entries by `sink`."""

    steps: tuple[Step, ...]
    sink: str = "loc"

    @property
    def flagged(self) -> bool:
        """Whether it reads the flag of its configuration."""
        return any(step.hold in FLAGGED for step in self.steps)

    @property
    def operations(self) -> tuple[str, ...]:
        return tuple(step.operation for step in self.steps if not step.source)


def generate(seed: int) -> Program:
    """A random program; the same one for the same seed."""
    chance = random.Random(seed)
    while True:
        program = _drawn(chance)
        if program is not None:
            return program


def _drawn(chance: random.Random) -> Program | None:
    steps = [Step(name) for name in chance.sample(SOURCES, chance.randint(1, 3))]
    if chance.random() < 0.15:
        steps.append(Step("cat"))
    spent = [0] * len(steps)
    hook = 0
    for _ in range(chance.randint(2, 12)):
        operation = chance.choices(OPERATIONS, [o.weight for o in OPERATIONS])[0]
        inputs = _inputs(chance, operation, steps)
        if inputs is None:
            continue
        number = chance.choice(operation.numbers) if operation.numbers else 0
        rows = max(spent[i] for i in inputs) + abs(number) + operation.rows
        if rows > ROWS:
            continue
        if chance.random() < 0.12:
            hook = 1
        step = Step(operation.name, inputs, number, _number_form(chance, operation), _place(chance), "local", hook)
        steps.append(replace(step, hold=_hold(chance, step, steps)))
        spent.append(rows)
    return (
        pruned(Program(tuple(steps), chance.choice(SINKS)))
        if steps[-1].kind in "sba" and not steps[-1].source
        else None
    )


def _inputs(chance: random.Random, operation: Operation, steps: list[Step]) -> tuple[int, ...] | None:
    """Earlier steps of the right kinds, the newest first with a better chance."""
    chosen: list[int] = []
    for kind in operation.takes:
        fitting = [i for i, step in enumerate(steps) if step.kind == kind]
        fitting = [i for i in fitting if i not in chosen]
        if not fitting:
            return None
        chosen.append(fitting[-1] if chance.random() < 0.6 else chance.choice(fitting))
    return tuple(chosen)


def _number_form(chance: random.Random, operation: Operation) -> str:
    return chance.choice(NUMBERS) if operation.numbers and chance.random() < 0.5 else "literal"


def _place(chance: random.Random) -> str:
    return chance.choice(PLACES) if chance.random() < 0.4 else "here"


def _hold(chance: random.Random, step: Step, steps: list[Step]) -> str:
    hold = chance.choice(HOLDS) if chance.random() < 0.7 else "local"
    if hold in FLAGGED and any(other.hold in FLAGGED for other in steps):
        return "local"
    return hold if can_hold(hold, step, steps) else "local"


def can_hold(hold: str, step: Step, steps: list[Step] | tuple[Step, ...]) -> bool:
    """Whether the result of a step can be kept in a way."""
    gives = BY_NAME[step.operation].gives
    if gives == "n":
        return hold in ("inline", "local", "attribute", "mapping", "tuple", "kept in a mapping", "kept in an object")
    if hold in FLAGGED:
        return steps[step.inputs[0]].kind == gives
    if hold == "accumulated":
        return gives == "s" and steps[step.inputs[0]].kind == "s" and bool(BY_NAME[step.operation].numbers)
    if hold == "loop":
        return gives == "s" and bool(BY_NAME[step.operation].numbers)
    if hold in ("joined", "renamed", "filled in"):
        return gives == "s"
    return True


def valid(program: Program) -> bool:
    """Whether every input has the kind that its operation takes, no operation reads one value twice, and every result
    can be kept in its way; one branch at most, so that no two depend on each other."""
    steps = program.steps
    if sum(step.hold in FLAGGED for step in steps) > 1:
        return False
    for step in steps:
        if step.source:
            continue
        if len(set(step.inputs)) < len(step.inputs):
            return False
        if "".join(steps[j].kind for j in step.inputs) != BY_NAME[step.operation].takes or not can_hold(
            step.hold, step, steps
        ):
            return False
    return not steps[-1].source and steps[-1].kind in "sba"


def pruned(program: Program) -> Program:
    """Without the steps that the last one does not need; hooks never run backward."""
    needed = {len(program.steps) - 1}
    for i in range(len(program.steps) - 1, -1, -1):
        if i in needed:
            needed.update(program.steps[i].inputs)
    order = sorted(needed)
    place = {old: new for new, old in enumerate(order)}
    steps = [replace(program.steps[i], inputs=tuple(place[j] for j in program.steps[i].inputs)) for i in order]
    hook = 0
    for i, step in enumerate(steps):
        hook = max(hook, step.hook)
        steps[i] = replace(step, hook=hook if not step.source else 0)
    return replace(program, steps=tuple(steps))
