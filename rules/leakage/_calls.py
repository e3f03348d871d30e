"""What a call does: of a method on rows or frames, of a library function, or of a function of the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.facts.model import Call, Place, Select

from . import _places as places
from . import _transfer as transfer
from ._estimators import FITS, event, fitting
from ._functions import by_role, function_call
from ._linear import Linear
from ._methods import method_call
from ._sinks import FEATURE, FITTING, SPLITTING, Sink
from ._state import UNKNOWN, Extent, Kind, Part, State
from ._values import (
    ANY,
    NOTHING,
    Callee,
    Frame,
    Group,
    Literal,
    Member,
    Model,
    Number,
    Outside,
    Ref,
    Table,
    Text,
    Type,
    Value,
    Window,
)  # fmt: skip

if TYPE_CHECKING:
    from ._interpreter import Run


@dataclass(frozen=True, slots=True)
class Arguments:
    """Evaluated arguments of a call."""

    positional: tuple[Value, ...]
    keywords: dict[str, Value]

    def get(self, position: int, keyword: str) -> Value | None:
        if keyword in self.keywords:
            return self.keywords[keyword]
        return self.positional[position] if 0 <= position < len(self.positional) else None

    def number(self, position: int, keyword: str, default: int | None = None) -> Linear | None:
        """An integer argument; its default where it is not given, None where it is not known."""
        value = self.get(position, keyword)
        if value is None:
            return None if default is None else Linear(default)
        return places.linear(value)

    def given(self, position: int, keyword: str) -> bool:
        """Whether the caller of the function decides an argument."""
        value = self.get(position, keyword)
        return isinstance(value, Number) and value.given

    def text(self, position: int, keyword: str, default: str = "") -> str:
        value = self.get(position, keyword)
        return value.pattern if isinstance(value, Text) else default

    def flag(self, keyword: str, *, default: bool = False, position: int = -1) -> bool | None:
        """A boolean argument; None where it is not known."""
        value = self.get(position, keyword)
        if value is None:
            return default
        if isinstance(value, Literal) and value.kind == "bool":
            return value.text == "True"
        return bool(value.form.constant) if isinstance(value, Number) and not value.form.terms else None

    def all(self) -> tuple[Value, ...]:
        return (*self.positional, *self.keywords.values())


def call(run: Run, op: Call) -> Value:
    """The value of a call operation."""
    positional: list[Value] = []
    for rank, operand in enumerate(op.args):
        value = run.value(operand)
        inner = run.items(value) if rank in op.starred else None
        positional.extend(inner if inner is not None else (value,))
    keywords = {name: run.value(operand) for name, operand in op.keywords if name}
    for name, operand in op.keywords:
        table = run.env.cell(run.value(operand)) if not name else None
        if isinstance(table, Table):
            keywords.update(table.entries)
    arguments = Arguments(tuple(positional), keywords)
    place = run.body.places[op.callee]
    if place.path and place.path[-1].kind is Select.ATTR:
        owner = Place(place.root, place.name, place.path[:-1])
        base = places.read(run, owner)
        name = str(place.path[-1].value)
        model_sink(run, base, name, arguments)
        if isinstance(base, Member) and base.name == "super":
            method = run.analysis.inherited(run.function, name)
            return (
                apply(run, Callee(method, base.base), arguments) if method is not None else unresolved(run, arguments)
            )
        found = method_call(run, owner, base, name, arguments)
        if found is not None:
            return found
        if name == "fit_transform" and arguments.positional:
            mark = run.here(name)._replace(until="fit")
            return transfer.every_row(run.env.state(arguments.positional[0]), transfer.STATISTIC, mark)
        role = run.analysis.roles.of_method(name, arguments)
        if role is not None and not isinstance(base, State) and run.env.frame(base) is None:
            return by_role(run, role, name, arguments)
        callee = places.attribute(run, base, name)
    else:
        callee = places.read(run, place)
    return apply(run, callee, arguments)


def apply(run: Run, callee: Value, arguments: Arguments) -> Value:
    """The value of calling `callee`."""
    if isinstance(callee, Callee):
        return run.analysis.call(run, callee, arguments.positional, arguments.keywords)
    if isinstance(callee, Outside):
        position = SPLITTING.get(callee.path.rpartition(".")[2])
        if position is not None:
            features_sink(run, callee.path.rpartition(".")[2], arguments, position)
        return function_call(run, callee.path, arguments)
    if isinstance(callee, Type):
        return run.analysis.create(run, callee.cls, arguments.positional, arguments.keywords)
    return resolved(run, arguments)


def resolved(run: Run, arguments: Arguments) -> Value:
    """A call that only the types of the project decide."""
    resolution = run.analysis.resolution(run.function, run.op)
    if resolution is None:
        return unresolved(run, arguments)
    if resolution.external:
        return function_call(run, resolution.external, arguments)
    if len(resolution.targets) == 1:
        target = resolution.targets[0]
        place = run.body.places[run.body.ops[run.op].callee]  # type: ignore[union-attr]  # only calls come here
        owner = places.read(run, Place(place.root, place.name, place.path[:-1])) if place.path else NOTHING
        return run.analysis.call(
            run, Callee(target.function, owner if target.bound else None), arguments.positional, arguments.keywords
        )
    return unresolved(run, arguments)


def unresolved(run: Run, arguments: Arguments) -> Value:
    """What nobody knows. Given a frame it may give one back: of that, only the prices are what they are called."""
    if any(run.env.frame(value) is not None for value in arguments.positional):
        return run.put("unknown", places.guessed_frame())
    return UNKNOWN


def model_sink(run: Run, base: Value, name: str, arguments: Arguments) -> None:
    """The features that a model is fitted on or predicts from."""
    if (
        name not in FITTING
        or isinstance(base, Window | Group)
        or run.env.frame(base) is not None
        or not arguments.all()
    ):
        return
    if not (isinstance(base, Ref) and isinstance(run.env.cell(base), Model)):
        place = run.body.places[run.body.ops[run.op].callee]  # type: ignore[union-attr]  # only calls come here
        model = (".".join(str(x) for x in (place.name, *(s.value for s in place.path[:-1]))), "")
        if name in FITS:
            fitting(run, name, arguments, model)
        elif not isinstance(base, Outside | State):
            event(run, "use", name, arguments, (("X", run.env.state(arguments.get(0, "X"))),), model)
    features_sink(run, name, arguments, 0)


def features_sink(run: Run, name: str, arguments: Arguments, position: int) -> None:
    """Features at `position` or `X=`, labels behind them or at `y=`."""
    run.label(arguments.get(position + 1, "y"))
    value = arguments.get(position, "X")
    frame = run.env.frame(value) if value is not None else None
    if frame is not None:
        target_sink(run, name, frame, arguments.get(position + 1, "y"))
    if isinstance(value, State) and value.kind in (Kind.SERIES, Kind.ARRAY) and value.short == Linear():
        run.sink(Sink(FEATURE, "X", value, run.here(f"given to {name} as features", name), run.function.key))
    elif frame is not None and frame.chosen:
        for column, state in frame.columns:
            run.sink(
                Sink(
                    FEATURE,
                    column,
                    state,
                    run.here(f'"{column}" is given to {name} as a feature', name),
                    run.function.key,
                )
            )


def target_sink(run: Run, name: str, frame: Frame, label: Value | None) -> None:
    """A column that a model has to predict and is given as well."""
    if not isinstance(label, State) or len(label.names) != 1 or frame.picked or label.kind is Kind.TOP:
        return
    word = label.names[0]
    held = frame.read(word)
    known = word in dict(frame.columns) or not frame.closed
    if word in frame.gone or not known or held.parts != label.parts or held.align != label.align or ANY in word:
        return
    mark = run.here(f'"{word}" is the label of {name}, and stands among its features', name)._replace(until="target")
    told = max(label.parts, key=lambda p: len(p.trail)) if label.parts else Part()
    part = Part(told.source, transfer.TARGET, Extent.SERIES, trail=told.trail).marked(mark)
    sure = label.sure and frame.default.sure
    run.sink(Sink(FEATURE, word, label.with_(parts=(part,), sure=sure), mark, run.function.key))
