"""Sharing: which state several tasks or threads have in common - who reads and changes it, under which locks, what is
claimed before a suspension, and which starts let two of them meet. One object of the project; rules ask it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.facts.model import NONE
from auditor.project.accesses import Access, Accesses, State
from auditor.project.claims import Claims, Effect
from auditor.project.locks import Lockset
from auditor.project.models import canonical
from auditor.project.summaries import deepest_first
from auditor.project.suspension import Suspends
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.ways import Same, Together, Way, Ways

if TYPE_CHECKING:
    from auditor.project.project import Project

BUILDING = frozenset({"__init__", "__post_init__", "__new__", "__del__", "__setstate__", "__init_subclass__"})


class Sharing:
    """Questions about shared state, each answered once."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.locks = project.locks
        self.accesses = Accesses(project, project.locks.references)
        self.claims = Claims(project, project.locks, self.accesses)
        self.ways = Ways(project, project.locks, self.accesses)
        self._builds: dict[FunctionNode, bool] = {}
        self._made: dict[State, tuple[str, ...]] = {}
        self._writers: dict[State, tuple[Access, ...]] = {}

    def writers(self, state: State) -> tuple[Access, ...]:
        """Changes of a state outside of the making of its object."""
        if state not in self._writers:
            self._writers[state] = tuple(
                a for a in self.accesses.to(state) if a.how.changes and not self.builds(a.function)
            )
        return self._writers[state]

    def builds(self, function: FunctionNode) -> bool:
        """Whether a function makes or ends its object, or is only called by what does: nobody else has the object then."""
        for current in deepest_first(function, self._callers, self._builds.__contains__):
            self._builds[current] = self._making(current)
        return self._builds[function]

    def _callers(self, function: FunctionNode) -> list[FunctionNode]:
        """The methods whose answers decide that of a method, outside of tests; none where it is decided without them."""
        if function.name in BUILDING or function.cls is None or self.ways.starts.of(function):
            return []
        return [c for c, _ in self.project.callers(function) if not of_tests(c.path)]

    def _making(self, function: FunctionNode) -> bool:
        if function.name in BUILDING or function.header.kind in ("module", "class"):
            return True
        cls, callers = function.cls, self._callers(function)
        return cls is not None and bool(callers) and all(_same_line(c.cls, cls) and self._builds.get(c, False) for c in callers)

    def made_by(self, state: State) -> tuple[str, ...]:
        """Paths of the calls of libraries whose results are stored as a state."""
        if state not in self._made:
            found: set[str] = set()
            for access in self.accesses.to(state):
                if access.how.changes and not access.rest and access.value != NONE:
                    for rank in self.locks.references.writers(access.function, access.value):
                        result = self.project.calls(access.function).get(rank)
                        found.update(canonical(path) for path in (result.externals if result is not None else ()))
            self._made[state] = tuple(sorted(found))
        return self._made[state]

    def alone(self, function: FunctionNode) -> bool:
        """Whether only tests run a function."""
        return of_tests(function.path)

    def held(self, access: Access) -> Lockset:
        """Locks that exclude others at an access: in its own regions and by all callers."""
        return frozenset(lock for lock in self.locks.at(access.function, access.op) if lock.kind.excludes)

    def together(self, one: FunctionNode, other: FunctionNode, at: int = NONE, other_at: int = NONE) -> Together | None:
        """The best evidence that two functions run at once on one object of theirs, at these operations if given."""
        return self.ways.together(
            one, self.ways.own(one), other, self.ways.own(other),
            (one, at) if at != NONE else None, (other, other_at) if other_at != NONE else None,
        )  # fmt: skip

    def ways_to(self, function: FunctionNode) -> tuple[Way, ...]:
        """The ways of tasks and threads to a function, with its own object."""
        return self.ways.to(function, self.ways.own(function))

    def suspends(self, function: FunctionNode, op: int) -> Suspends:
        """Whether an operation may let other tasks run."""
        return self.claims.points(function).get(op, Suspends.NEVER)


def _same_line(one: ClassNode | None, other: ClassNode) -> bool:
    return one is not None and (one in other.mro or other in one.mro)


__all__ = ["Access", "Effect", "Same", "Sharing", "State", "Together", "Way"]
