"""An origin of a value as a record, and what is said of it: kinds, words, names that mean configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from auditor.facts.model import Const, Place, Root, Select
from auditor.finding import Step
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.types import Instance, Type

from ._flows import Site

CONFIGURED = re.compile(
    r"(^|_)(config|configuration|cfg|conf|settings?|options?|opts|args|params)\d*$|(Config|Configuration|Settings|Options)$"
)
URL = re.compile(r"(https?|ftp|s3|gs|hdfs|wasbs?|abfss?)://", re.IGNORECASE)
OUTSIDE_KINDS = frozenset({"network", "store", "local_store", "file", "argument", "environment", "configuration", "listing"})
PLAIN = frozenset({
    "builtins.int", "builtins.float", "builtins.bool", "builtins.complex", "decimal.Decimal", "datetime.datetime", "datetime.date",
    "datetime.timedelta", "datetime.time", "uuid.UUID", "builtins.range", "builtins.None",
})  # fmt: skip


class Origin(NamedTuple):
    """One origin. `kind`: literal, own, verified, checked (a check that is not proven), network, store, local_store, file,
    argument, environment, configuration, listing, temporary, parameter or unknown. `what` says it in words; `steps` lead
    from the source to the place; `doubts` counts what rests on a name or a convention; `inner` of a file: the origins of
    its path."""

    kind: str
    what: str
    steps: tuple[Step, ...] = ()
    doubts: int = 0
    inner: tuple[Origin, ...] = ()


class Frame(NamedTuple):
    """The call through which a function was entered for its result: its parameters are that call's arguments."""

    site: Site
    target: FunctionNode
    parent: Frame | None
    depth: int


def joined(origins: Iterable[Origin]) -> list[Origin]:
    """The origins without repetitions (the shortest way wins); literals count only where there is nothing else."""
    best: dict[tuple[object, ...], Origin] = {}
    for origin in origins:
        key = (origin.kind, origin.what, origin.steps[:1], origin.inner)
        if key not in best or len(origin.steps) < len(best[key].steps):
            best[key] = origin
    kept = list(best.values())
    return [o for o in kept if o.kind != "literal"] or kept


def hop(project: Project, origins: Iterable[Origin], function: FunctionNode, op: int, note: str, name: str) -> list[Origin]:
    """The origins with one more step."""
    step = project.step(function, op, note, name)
    return [o._replace(steps=(*o.steps, step)) for o in origins]


def public(path: str) -> str:
    """A callee's path as a reader knows it: `_pickle.loads` is `pickle.loads`."""
    return canonical(path).removeprefix("_").removeprefix("builtins.")


def plain(value: Type) -> bool:
    """Whether a value is a number, a date or nothing: such a value chooses no file and holds no code."""
    return bool(value) and all(isinstance(a, Instance) and isinstance(a.cls, str) and a.cls in PLAIN for a in value)


def configured(place: Place) -> str:
    """The name in a place that says configuration: of its root or of an attribute, not the last selector."""
    names = [str(place.name) if isinstance(place.name, str) else "", *(str(s.value) for s in place.path[:-1] if s.kind is Select.ATTR)]
    return next((n for n in names if CONFIGURED.search(n)), "")


def text_of(place: Place) -> str:
    if place.root in (Root.TEMP, Root.CONST):
        return place.name.text if isinstance(place.name, Const) else ""
    text = str(place.name).partition("'")[0]
    for kind, value in place.path:
        text += f".{value}" if kind is Select.ATTR else "[...]"
    return text


def who(function: FunctionNode) -> str:
    return f"{function.name}()" if function.index and function.header.kind in ("def", "lambda") else "the module"
