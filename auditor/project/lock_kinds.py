"""Kinds of locks: what they exclude, and by which paths the standard library knows them."""

from __future__ import annotations

import enum

from auditor.project.models import canonical
from auditor.project.types import Instance, Outside, Type


class Kind(enum.StrEnum):
    """What a lock excludes. A semaphore lets several in; a re-entrant lock lets its owner in again."""

    THREAD = "thread lock"
    THREAD_REENTRANT = "re-entrant thread lock"
    THREAD_SEMAPHORE = "thread semaphore"
    ASYNC = "asyncio lock"
    ASYNC_SEMAPHORE = "asyncio semaphore"
    PROCESS = "process lock"
    PROCESS_REENTRANT = "re-entrant process lock"

    @property
    def is_async(self) -> bool:
        return self in (Kind.ASYNC, Kind.ASYNC_SEMAPHORE)

    @property
    def excludes(self) -> bool:
        """Whether at most one is inside."""
        return self not in (Kind.THREAD_SEMAPHORE, Kind.ASYNC_SEMAPHORE)

    @property
    def reentrant(self) -> bool:
        """Whether its owner gets in again."""
        return self in (Kind.THREAD_REENTRANT, Kind.PROCESS_REENTRANT)


KINDS = {
    "threading.Lock": Kind.THREAD, "thread.lock": Kind.THREAD, "thread.allocate_lock": Kind.THREAD, "thread.LockType": Kind.THREAD,
    "threading.RLock": Kind.THREAD_REENTRANT, "thread.RLock": Kind.THREAD_REENTRANT, "threading.Condition": Kind.THREAD_REENTRANT,
    "threading.Semaphore": Kind.THREAD_SEMAPHORE, "threading.BoundedSemaphore": Kind.THREAD_SEMAPHORE,
    "asyncio.Lock": Kind.ASYNC, "asyncio.locks.Lock": Kind.ASYNC, "asyncio.Condition": Kind.ASYNC,
    "asyncio.locks.Condition": Kind.ASYNC, "asyncio.Semaphore": Kind.ASYNC_SEMAPHORE,
    "asyncio.locks.Semaphore": Kind.ASYNC_SEMAPHORE, "asyncio.BoundedSemaphore": Kind.ASYNC_SEMAPHORE,
    "asyncio.locks.BoundedSemaphore": Kind.ASYNC_SEMAPHORE, "multiprocessing.Lock": Kind.PROCESS,
    "multiprocessing.RLock": Kind.PROCESS_REENTRANT, "multiprocessing.synchronize.Lock": Kind.PROCESS,
    "multiprocessing.synchronize.RLock": Kind.PROCESS_REENTRANT,
}  # fmt: skip


def of_path(path: str) -> Kind | None:
    """The kind that a dotted path constructs."""
    return KINDS.get(canonical(path)) or KINDS.get(path.replace("_thread", "thread"))


def kind_at(path: str) -> Kind | None:
    """The kind whose method a dotted path is (`threading.Lock.acquire`)."""
    return of_path(path.rpartition(".")[0])


def kind_of(value: Type) -> Kind | None:
    """The kind of lock that a type is, None unless it is one kind for certain (None beside it is let through)."""
    kinds: set[Kind | None] = set()
    for atom in value:
        if isinstance(atom, Instance) and atom.cls == "builtins.None":
            continue
        path = (
            atom.cls
            if isinstance(atom, Instance) and isinstance(atom.cls, str)
            else atom.path
            if isinstance(atom, Outside)
            else ""
        )
        kinds.add(of_path(path))
    return next(iter(kinds)) if len(kinds) == 1 else None
