"""Guards: which lock a state is changed under, and which accesses go without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import Binary, Store
from auditor.finding import Severity
from auditor.project.accesses import Access, How, State
from auditor.project.locks import Lock
from auditor.project.project import Project
from auditor.project.sharing import Together
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.types import Instance

SPEAKING = frozenset({"__repr__", "__str__", "__del__", "__len__", "__bool__", "__contains__", "__getstate__"})
OWN_LOCKS = ("queue.", "asyncio.", "threading.", "multiprocessing.", "janus.", "_thread.")  # types that need no lock


class Breach(NamedTuple):
    """`access` goes without `lock`, under which `guarded` changes the same state. `site` is the line to mend: that of the
    access, or of the call of a helper that other callers (`caller`) run under the lock. `pause` is the suspension inside
    of a region of an asyncio lock. `plain`: more than one step, by all that is known."""

    lock: Lock
    access: Access
    guarded: Access
    site: tuple[FunctionNode, int]
    what: str
    harm: str
    severity: Severity
    plain: bool
    meeting: Together | None
    caller: tuple[FunctionNode, int] | None = None
    pause: int | None = None
    others: tuple[str, ...] = ()

    @property
    def rank(self) -> tuple[object, ...]:
        """The best shown one first, then by place."""
        shown = int(self.meeting.same) if self.meeting is not None else 0
        return (-shown, not self.plain, self.site[1], self.access.function.key, self.access.op)


def breaches(project: Project) -> Iterator[Breach]:
    """One breach for each lock and function that goes without it; `others` are further states that it touches so."""
    found: dict[tuple[Lock, FunctionNode], list[Breach]] = {}
    for breach in _breaches(project):
        found.setdefault((breach.lock, breach.site[0]), []).append(breach)
    for _, group in sorted(found.items(), key=lambda item: (item[0][0], item[0][1].key)):
        best = min(group, key=lambda b: b.rank)
        names = {b.access.state.name for b in group} - {best.access.state.name}
        yield best._replace(others=tuple(sorted(names)))


def _breaches(project: Project) -> Iterator[Breach]:
    sharing = project.sharing
    for state, guarded in sorted(_guarded(project).items()):
        lock = _lock(project, guarded)
        if lock is None:
            continue
        inside = [g for g in guarded if lock in sharing.held(g)]
        everything = [
            a for a in sharing.accesses.to(state) if not sharing.builds(a.function) and not of_tests(a.function.path)
        ]
        seen: set[FunctionNode] = set()
        for access in everything:
            if access.function.name in SPEAKING or _holds(project, access, lock) or not _near(project, access, lock):
                continue
            if _renewed(project, access, everything):
                continue
            for breach in _breach(project, lock, inside, everything, access):
                if breach.site[0] not in seen:
                    seen.add(breach.site[0])
                    yield breach


def _renewed(project: Project, access: Access, everything: list[Access]) -> bool:
    """Whether the function has put a new object there before: it is filling it."""
    flow = project.flow(access.function)
    return any(
        s.function is access.function
        and not s.rest
        and isinstance(s.function.body.ops[s.op], Store)
        and s.op < access.op
        and flow.dominates(flow.block_of(s.op), flow.block_of(access.op))
        for s in everything
        if s.how is How.WRITE
    )


def _guarded(project: Project) -> dict[State, list[Access]]:
    """Changes under a lock that excludes, by what they change."""
    sharing = project.sharing
    found: dict[State, list[Access]] = {}
    for function in project.functions():
        regions = project.locks.regions(function)
        entry = project.locks.entry(function)
        if not entry and not any(regions) or sharing.builds(function) or of_tests(function.path):
            continue
        for access in sharing.accesses.of(function):
            if access.how.changes and sharing.held(access):
                found.setdefault(access.state, []).append(access)
    return found


def _lock(project: Project, guarded: list[Access]) -> Lock | None:
    """The lock that most changes of a state are made under, of the state's own class or module."""
    counts: dict[Lock, int] = {}
    for access in guarded:
        for lock in project.sharing.held(access):
            if _own(project, lock, access.state):
                counts[lock] = counts.get(lock, 0) + 1
    return min(counts, key=lambda k: (-counts[k], k), default=None)


def _own(project: Project, lock: Lock, state: State) -> bool:
    """Whether the class that has the state has the lock as well, or the module."""
    if lock.owner == state.owner:
        return True
    classes = {c.dotted: c for c in project.symbols.classes() if c.dotted in (lock.owner, state.owner)}
    if len(classes) == 2:
        one, other = classes[lock.owner], classes[state.owner]
        return one in other.mro or other in one.mro
    return lock.owner == state.owner.rpartition(".")[0] and state.owner not in classes


def _holds(project: Project, access: Access, lock: Lock) -> bool:
    return any(k[:2] == lock[:2] for k in project.locks.at(access.function, access.op))


def _near(project: Project, access: Access, lock: Lock) -> bool:
    """Whether the function belongs to the class of the lock, or takes it elsewhere: others mean an object of their own."""
    method = project.sharing.ways.own(access.function)
    if access.ref.path and method is not None and access.ref.name == method.name and len(access.ref.path) == 1:
        return True
    return isinstance(access.ref.scope, str) or any(
        a.lock[:2] == lock[:2] for a in project.locks.acquisitions(access.function)
    )


def _breach(
    project: Project, lock: Lock, inside: list[Access], everything: list[Access], access: Access
) -> Iterator[Breach]:
    kind = _thread_breach(project, lock, inside, access) if not lock.kind.is_async else _task_breach(project, access)
    if kind is None:
        return
    what, harm, severity, plain = kind
    for guarded in sorted(inside, key=lambda g: (g.function is access.function, g.function.key, g.op)):
        pause = _pause(project, lock, guarded, everything) if lock.kind.is_async else None
        if lock.kind.is_async and pause is None:
            continue
        for site, caller in _sites(project, lock, access):
            meeting = _meeting(project, lock, guarded, site)
            if meeting is None and _apart(project, lock, guarded, site):
                continue
            yield Breach(lock, access, guarded, site, what, harm, severity, plain, meeting, caller, pause)
        return


def _thread_breach(
    project: Project, lock: Lock, inside: list[Access], access: Access
) -> tuple[str, str, Severity, bool] | None:
    """(what, harm, severity, plain) of an access without a thread lock; None where it is one harmless step."""
    function = access.function
    op = function.body.ops[access.op]
    value = _types(project, access)
    if any(name.startswith(OWN_LOCKS) for name in value):
        return None
    if access.how is How.RESIZE and not (isinstance(op, Store) and not access.rest):
        return "changes", "two threads change it at once, or one walks over it meanwhile", Severity.HIGH, True
    if access.how is How.WRITE and isinstance(op, Binary):
        return "counts on", "an update is lost when two threads read the old value", Severity.HIGH, True
    if (
        access.how is How.WRITE
        and isinstance(op, Store)
        and any(isinstance(g.function.body.ops[g.op], Binary) for g in inside)
    ):
        return "stores", "a thread that is counting writes its old value over it", Severity.MEDIUM, False
    if access.how is How.ITERATE and _resized(inside):
        return (
            "walks over",
            "it raises RuntimeError, or leaves items out, when a thread changes it meanwhile",
            Severity.MEDIUM,
            True,
        )
    if access.how is How.SNAPSHOT and value == {"collections.deque"} and _resized(inside):
        return (
            "copies",
            "the copy of a deque is one step only where the interpreter has one lock for all threads",
            Severity.MEDIUM,
            False,
        )
    if access.how in (How.TEST, How.READ) and _acts_inside(project, lock, access):
        return "tests", "what was tested may have changed by the time that the lock is taken", Severity.MEDIUM, True
    return None


def _resized(inside: list[Access]) -> bool:
    return any(g.how is How.RESIZE for g in inside)


def _types(project: Project, access: Access) -> set[str]:
    """Paths of the classes that a state may hold, by its type and by what is stored there."""
    value = project.locks.references.type_of(access.function, access.ref)
    names = {a.cls for a in value if isinstance(a, Instance) and isinstance(a.cls, str) and a.cls != "builtins.None"}
    made = set(project.sharing.made_by(access.state))
    return made if "collections.deque" in made else names | made


def _acts_inside(project: Project, lock: Lock, access: Access) -> bool:
    """Whether the outcome of a test decides on taking the lock and changing the state, without another test inside."""
    sharing, function = project.sharing, access.function
    flow = project.flow(function)
    tests = sharing.claims.tested(function)
    branches = {b for b, accesses in tests.items() if access in accesses}
    for other in sharing.accesses.of(function):
        if (
            other.state != access.state
            or not other.how.changes
            or not _holds(project, other, lock)
            or other.rest != access.rest
        ):
            continue
        guards = {b for b, _ in flow.guards(flow.block_of(other.op))}
        again = any(a.state == access.state and _holds(project, a, lock) for b in guards for a in tests.get(b, ()))
        if branches & guards and not again:
            return True
    return False


def _task_breach(project: Project, access: Access) -> tuple[str, str, Severity, bool] | None:
    """The same for an asyncio lock: only a change can land inside of a region."""
    op = access.function.body.ops[access.op]
    if not access.how.changes:
        return None
    plain = isinstance(op, Binary) or access.how is How.RESIZE
    return "changes", "it lands between two steps of the guarded region", Severity.MEDIUM, plain


def _pause(project: Project, lock: Lock, guarded: Access, everything: list[Access]) -> int | None:
    """A suspension of a region between a reading of the state and its change."""
    claims, function = project.sharing.claims, guarded.function
    regions = project.locks.regions(function)
    ours = [h for h in regions[guarded.op] if h.lock[:2] == lock[:2]]
    if not ours:
        return None
    for pause in sorted(claims.points(function)):
        if not any(h in regions[pause] for h in ours) or guarded.op not in claims.after(function, pause):
            continue
        for read in everything:
            reads = read.function is function and not read.how.changes and any(h in regions[read.op] for h in ours)
            if reads and pause in claims.after(function, read.op):
                return pause
    return None


def _sites(
    project: Project, lock: Lock, access: Access
) -> Iterator[tuple[tuple[FunctionNode, int], tuple[FunctionNode, int] | None]]:
    """Where the lock is missing: the access, or those callers of a helper that do not hold it while others do."""
    function = access.function
    own = (function, access.op)
    if function.cls is None or not function.name.startswith("_") or function.name.startswith("__"):
        yield own, None
        return
    callers = [(c, op) for c, op in project.callers(function) if not of_tests(c.path)]
    holding = [(c, op) for c, op in callers if any(k[:2] == lock[:2] for k in project.locks.at(c, op))]
    if not holding:
        yield own, None
        return
    for caller, op in callers:
        if (caller, op) not in holding and not project.sharing.builds(caller) and caller is not function:
            yield (caller, op), holding[0]


def _meeting(project: Project, lock: Lock, guarded: Access, site: tuple[FunctionNode, int]) -> Together | None:
    """Two ways that meet; for a thread lock one of them comes in a thread."""
    sharing = project.sharing
    if lock.kind.is_async:
        return sharing.together(guarded.function, site[0])
    return sharing.ways.apart(guarded.function, sharing.ways.own(guarded.function), site[0], sharing.ways.own(site[0]))


def _apart(project: Project, lock: Lock, guarded: Access, site: tuple[FunctionNode, int]) -> bool:
    """Whether all that is known of both functions speaks against two of them at a time."""
    sharing = project.sharing
    one, other = sharing.ways_to(guarded.function), sharing.ways_to(site[0])
    if not one or not other:
        return lock.kind.is_async
    return True
