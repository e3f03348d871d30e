"""The table of demonstrations, filled by their decorator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from demonstrations.harms import Harm
from demonstrations.twins import Stage


@dataclass(frozen=True)
class Demonstration:
    """`faults` are (file below the fixture, rule id), as the marks have them; `run` gives the harm on a twin."""

    name: str
    module: str
    faults: tuple[tuple[str, str], ...]
    run: Callable[[Stage], Harm]


_ALL: list[Demonstration] = []


def demonstrates(path: str, *rules: str) -> Callable[[Callable[[Stage], Harm]], Callable[[Stage], Harm]]:
    """The function shows the faults of these rules in this file."""

    def keep(run: Callable[[Stage], Harm]) -> Callable[[Stage], Harm]:
        faults = tuple((f"trading/{path}", rule) for rule in rules)
        _ALL.append(Demonstration(run.__name__, run.__module__, faults, run))
        return run

    return keep


def demonstrations_of(module: str) -> list[Demonstration]:
    """Those of one module, in the order of their definition."""
    return [item for item in _ALL if item.module == module]
