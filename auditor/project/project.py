"""The linked project: what rules put their questions to. Each question is computed once, on first use, and shared."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from auditor.facts.codec import Program
from auditor.project.callables import CallResult, Target
from auditor.project.link import Linked
from auditor.project.symbols import FunctionNode, Stubs, Symbols
from auditor.project.world import World

NO_CALLS: Mapping[int, CallResult] = {}


class Project:
    """All files, linked. `programs` maps posix paths to decoded facts; `stubs` gives the standard library."""

    def __init__(self, programs: Mapping[str, Program], stubs: Stubs | None = None) -> None:
        self.programs = programs
        self.symbols = Symbols(programs, stubs)

    @cached_property
    def linked(self) -> Linked:
        return Linked(self.symbols)

    @property
    def world(self) -> World:
        return self.linked.world

    def calls(self, function: FunctionNode) -> Mapping[int, CallResult]:
        """Every call of a function by the index of its operation."""
        return self.linked.results.get(function, NO_CALLS)


__all__ = ["CallResult", "Project", "Target"]
