"""Objects of libraries that learn from rows, and the functions that split, validate and score: what they give, and the
events that they leave behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from auditor.project.models import Role

from . import _transfer as transfer
from ._linear import ZERO
from ._sinks import FITTING
from ._state import DATA, Cut, Event, Kind, State
from ._values import NOTHING, Items, Literal, Model, Number, Outside, Ref, Text, Value

if TYPE_CHECKING:
    from ._calls import Arguments
    from ._interpreter import Run

FITS = frozenset({"fit", "partial_fit", "fit_transform", "fit_predict", "fit_resample"})
PREDICTS = frozenset({
    "predict", "predict_proba", "decision_function", "predict_log_proba", "score", "fit_predict", "score_samples",
})  # fmt: skip
EVENTS = frozenset({"splits", "validates", "scores", "learns", "splitter"})
MAX_FITTED = 4


def learned(run: Run, role: Role, path: str, a: Arguments) -> Value | None:
    """The value of a callee that has to do with learning; None where it is none after all."""
    name = path.rpartition(".")[2]
    if role.name in ("learns", "splitter"):
        if not name[:1].isupper() and not name.startswith("make_"):
            return None
        parts = tuple(v for v in (*a.positional, *a.keywords.values()) if isinstance(v, Ref))
        return run.put(name, Model(path, (), stated(a), parts))
    if role.name == "splits":
        return split_apart(run, name, a)
    if role.name == "validates":
        values = (*roles(run, a, 1, "X"), *roles(run, a, 2, "y"))
        event(run, "validate", name, a, values, identity(run, a.get(0, "estimator")))
        return Literal("some")
    if role.name == "scores":
        given = tuple(("given", run.env.state(value)) for value in a.all() if has_rows(run, value))
        event(run, "score", name, a, given)
        return Literal("some")
    return None


def has_rows(run: Run, value: Value) -> bool:
    return bool(run.env.state(value).parts)


def roles(run: Run, a: Arguments, position: int, word: str) -> tuple[tuple[str, State], ...]:
    value = a.get(position, word)
    return () if value is None else ((word, run.env.state(value)),)


def stated(a: Arguments) -> tuple[tuple[str, str], ...]:
    """Keywords (and positions) as the code states them, `?` where it does not."""
    named = [*((str(rank), value) for rank, value in enumerate(a.positional)), *a.keywords.items()]
    return tuple(sorted((name, spelled(value)) for name, value in named))


def spelled(value: Value) -> str:
    if isinstance(value, Number):
        return str(value.form.constant) if not value.form.terms else "?"
    if isinstance(value, Text):
        return value.pattern
    if isinstance(value, Literal):
        return {"none": "None"}.get(value.kind, value.text or "?")
    return value.path if isinstance(value, Outside) else "?"


def identity(run: Run, value: Value | None) -> tuple[str, str]:
    """(identity, class) of a model."""
    cell = run.env.cell(value) if value is not None else None
    return (value.cell, cell.path) if isinstance(value, Ref) and isinstance(cell, Model) else ("", "")


def event(
    run: Run,
    kind: str,
    name: str,
    a: Arguments,
    values: tuple[tuple[str, State], ...],
    model: tuple[str, str] = ("", ""),
) -> None:
    run.event(Event(kind, name, run.here(name), *model, values, stated(a), (), run.function.key))


# --- models -----------------------------------------------------------------------------------------------------------


def model_method(run: Run, ref: Ref, cell: Model, name: str, a: Arguments) -> Value | None:
    """The value of a method of a model, with what it leaves in it."""
    if name == "split":
        return folds(run, a, (ref.cell, cell.path), cell)
    given = a.get(0, "X")
    if name in FITS and given is not None:
        fitting(run, name, a, (ref.cell, cell.path))
        seen = tuple(dict.fromkeys((*cell.fitted, run.env.state(given))))[:MAX_FITTED]
        cell = replace(cell, fitted=seen)
        run.env.cells[ref.cell] = cell
        if name in ("fit", "partial_fit"):
            return ref
    elif given is not None and name in FITTING | PREDICTS:
        event(run, "use", name, a, (("X", run.env.state(given)),), (ref.cell, cell.path))
    if given is None:
        return ref if name in ("set_params", "set_output") else None
    state = run.env.state(given)
    if name in PREDICTS:
        return DATA.with_(kind=Kind.ARRAY, align=state.align, sure=False)
    if name == "fit_resample":
        rows = transfer.unordered(state)
        return run.put(name, Items((rows, run.env.state(a.get(1, "y")))))
    if name in ("transform", "fit_transform", "inverse_transform"):
        return transformed(run, given, cell, name)
    return None


def transformed(run: Run, given: Value, cell: Model, name: str) -> Value:
    """Rows after a transformer: where it has seen all of them, each depends on the last one."""
    mark = run.here(f"{cell.name}.{name}", name)._replace(until="fit")

    def change(state: State) -> State:
        seen = any(state.align[: len(rows.align)] == rows.align for rows in cell.fitted)
        if seen and not any(cut.how == "split" and cut.key != "test" for cut in state.align):
            return transfer.every_row(state, transfer.STATISTIC, mark)
        return state

    frame = run.env.frame(given)
    if frame is not None:
        return change(frame.whole()).with_(kind=Kind.ARRAY, head=ZERO, short=ZERO)
    return change(run.env.state(given)).with_(kind=Kind.ARRAY)


def fitting(run: Run, name: str, a: Arguments, model: tuple[str, str]) -> None:
    """A fit, whatever it is called on."""
    values = [*roles(run, a, 0, "X"), *roles(run, a, 1, "y")]
    for pair in run.items(a.keywords.get("eval_set", NOTHING)) or []:
        shown = run.items(pair)
        values.append(("eval_set", run.env.state(shown[0] if shown else pair)))
    event(run, "fit", name, a, tuple(values), model)


# --- splits -----------------------------------------------------------------------------------------------------------


def split_apart(run: Run, name: str, a: Arguments) -> Value:
    """`train_test_split(a, b)` gives a_train, a_test, b_train, b_test."""
    whole = tuple(("whole" if rank == 0 else "labels", run.env.state(v)) for rank, v in enumerate(a.positional))
    event(run, "split", name, a, whole)
    found: list[Value] = []
    for rank, value in enumerate(a.positional):
        for key in ("train", "test"):
            found.append(part(run, value, Cut("split", key, site=site(run)), f"{rank}{key}"))
    return run.put(name, Items(tuple(found)))


def part(run: Run, value: Value, cut: Cut, word: str) -> Value:
    frame = run.env.frame(value)
    if frame is not None:
        return run.put(word, frame.each(lambda s: s.narrowed(cut)))
    state = run.env.state(value)
    return state.narrowed(cut) if state.parts else state


def site(run: Run) -> str:
    mark = run.here("split")
    return f"{mark.path}:{mark.line}:{mark.column}"


def folds(run: Run, a: Arguments, model: tuple[str, str], cell: Model) -> Value:
    """`splitter.split(X)`: pairs of row numbers, of the training part and of the test part."""
    values = tuple(("whole", run.env.state(v)) for v in a.positional[:1])
    run.event(Event("split", cell.name, run.here(cell.name), *model, values, cell.stated, (), run.function.key))
    pair = tuple(
        State((), Kind.POSITION, names=(key,), align=(Cut("split", key, site=site(run)),)) for key in ("train", "test")
    )
    return run.put("folds", Items((run.put("fold", Items(pair)),), exact=False))


def chosen_rows(state: State, key: State) -> State:
    """Rows by number, where a splitter gave the numbers."""
    return state.narrowed(key.align[-1]) if key.kind is Kind.POSITION and key.align else state

