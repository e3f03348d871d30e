"""What the model `leakage` says of library functions: the roles of `rules/_models/leakage.toml` and those of a team."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from auditor.project.models import ANY, Condition, Model, Models, Role
from auditor.project.project import Project

from ._linear import ZERO, Linear
from ._values import Literal, Number, Text

if TYPE_CHECKING:
    from ._calls import Arguments

NAME = "leakage"
FILE = Path(__file__).parent.parent / "_models" / f"{NAME}.toml"
FURTHER = ("leads", "whole", "warms", "begins")  # roles of what looks further than its row


class Roles:
    """The roles of library functions in one project."""

    def __init__(self, project: Project) -> None:
        known = project.models.model(NAME)
        if not known.packages:  # a project that was linked without the models of the rules
            known = Models().load([FILE]).model(NAME)
        self.model: Model = known

    @property
    def words(self) -> frozenset[str]:
        """Last names of the functions that look further than their row."""
        return frozenset(name for name in self.model.names(*FURTHER) if "*" not in name)

    def of(self, path: str, arguments: Arguments) -> Role | None:
        """The first role of a callee whose conditions its arguments meet; those without any come last."""
        known = self.model.roles(path)
        for role in sorted(known, key=lambda r: not r.when) if len(known) > 1 else known:
            holds = all(_holds(condition, arguments) for condition in role.when)
            if holds and not any(_holds(condition, arguments) for condition in role.unless):
                return role
        return None

    def of_method(self, name: str, arguments: Arguments) -> Role | None:
        """The role of a method by its name alone."""
        return self.of(f"{ANY}{name}", arguments)


def _holds(condition: Condition, arguments: Arguments) -> bool:
    value = arguments.get(-1 if condition.position is None else condition.position, condition.keyword)
    if value is None:
        return False
    if condition.equals is None and condition.above is None:
        return True
    if isinstance(value, Number) and not value.form.terms:
        number = value.form.constant
        return str(number) == condition.equals if condition.equals is not None else number > (condition.above or 0)
    text = value.pattern if isinstance(value, Text) else value.text if isinstance(value, Literal) else ""
    return condition.equals is not None and text == condition.equals


def reach_of(role: Role, arguments: Arguments) -> Linear | None:
    """How many rows a function with the role `leads` looks ahead; None if nobody knows."""
    entry = role.attributes
    times, plus, by = float(entry.get("times", 1)), float(entry.get("plus", 0)), int(entry.get("by", 1))
    given: Linear | None = ZERO
    if "position" in entry or "keyword" in entry:
        given = arguments.number(int(entry.get("position", -1)), str(entry.get("keyword", "")), entry.get("default"))
    if given is None:
        return None
    if not given.terms:
        return Linear(int(given.constant * times + plus) // by + int(entry.get("extra", 0)))
    return given + Linear(int(plus)) if times == 1 and by == 1 else None
