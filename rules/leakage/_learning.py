"""What a project does to its models and to the rows they see: fits, uses, splits and scores, in the order of the program.

The questions for rules about splits. `stories(project)` gives one `Story` for each function that leads to a fit, a
split or a score and is not called by another one of them: the function and its `Event`s in program order, those of the
functions that it calls in their place, in terms of its own values. The project is interpreted once for all rules.

An event says what happened (`kind`), by which callable (`name`), where (`mark`, with the calls that lead there in
`calls`), to which model (`model`: one identity per object, `path`: its class), with which values by role:

    fit       X, y                    fit, fit_transform, partial_fit, fit_resample, ...; also `eval_set`
    use       X                       predict, transform, score, ... of a model
    split     whole, labels           train_test_split(whole, labels); a splitter's split(whole)
    validate  X, y                    cross_val_score and its like; GridSearchCV.fit is a fit of a model with `cv`
    score     given                   a metric: roc_auc_score(a, b) has several values of that role
    stated    arguments as the code states them: {"shuffle": "False", "cv": "5", "gap": "?"}

A value is a `State`. Of it,

    state.align   the way from the rows of its source to the rows that it has: a tuple of `Cut`. () are all rows; equal
                  tuples are the same rows; one that begins with the other is a part of it (`part_of`). A `Cut` has `how`
                  (slice with `lower` and `upper`, mask, dropna, head, tail, split with `key` train or test, ...), and the
                  place that makes it.
    state.parts   the reach of each source: `horizon(state)` is how many rows a label looks ahead (None: unknown form);
                  `fitted(state)` gives the step at which a model that was fitted on these rows changed the value.
    state.names   the columns that it was read from.

Nothing here reports: what is unknown stays unknown, and a rule that needs it is silent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.project.project import Project
from auditor.project.symbols import FunctionNode

from ._linear import ZERO, Linear
from ._reports import reports_of
from ._state import Cut, Event, Extent, Mark, State


class Story(NamedTuple):
    """A function that nobody of the project calls for its learning, and what happens when it runs."""

    function: FunctionNode
    events: tuple[Event, ...]


def stories(project: Project) -> Iterator[Story]:
    """The learning of a project, function by function, by path and place."""
    for function, events in reports_of(project).learning():
        yield Story(function, events)


def part_of(part: State, whole: State) -> bool:
    """Whether the rows of one value were taken from those of the other."""
    return part.align != whole.align and part.align[: len(whole.align)] == whole.align


def same_rows(one: State, other: State) -> bool:
    return one.align == other.align


def horizon(state: State) -> Linear | None:
    """How many rows a value looks ahead: 0 for a causal one, None if that is no number or form."""
    best = ZERO
    for part in state.parts:
        if part.extent is Extent.EXACT:
            if part.reach is None:
                return None
            if part.reach.covers(best):
                best = part.reach
            elif not best.covers(part.reach):
                return None
    return best


def splits(state: State) -> tuple[Cut, ...]:
    """The splits by which a value got its rows."""
    return tuple(cut for cut in state.align if cut.how == "split")


def fitted(state: State) -> Mark | None:
    """The step at which a model that had seen all of these rows changed the value, None for no such step."""
    for part in state.parts:
        if part.extent is Extent.SERIES:
            for mark in part.trail:
                if mark.until == "fit":
                    return mark
    return None
