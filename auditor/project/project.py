"""The linked project: what rules put their questions to. Each question is computed once, on first use, and shared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from auditor.facts.codec import Program
from auditor.project.symbols import ClassNode, FunctionNode, Stubs, Symbols


class Target(NamedTuple):
    """A project function that a call may run. `receiver` is the class of the instance it is bound to, None for plain
    functions; `bound` says that the first parameter is filled by the receiver."""

    function: FunctionNode
    receiver: ClassNode | None
    bound: bool


class Resolution(NamedTuple):
    """What a call runs. `how` is typed (by imports and types), hierarchy (an override in a subclass is possible),
    convention (by a name) or unknown. `external` is the dotted path of a callee outside of the project, "" for none."""

    targets: tuple[Target, ...]
    external: str
    how: str


class Project:
    """All files, linked. `programs` maps posix paths to decoded facts."""

    def __init__(self, programs: Mapping[str, Program], stubs: Stubs | None = None) -> None:
        self.programs = programs
        self.symbols = Symbols(programs, stubs)

    def calls(self, function: FunctionNode) -> Mapping[int, Resolution]:
        """Every call of a function by the index of its operation; one that nothing is known of has how == unknown."""
        raise NotImplementedError
