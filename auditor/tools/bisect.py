"""Per-file tools over many files: in chunks, and a chunk that kills the tool is halved until the guilty file is alone.

Takes a way to make a command and a way to read its outcome, gives what was read and the files that no run survived.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from auditor.tools.process import Batch, Command, Finished

GIVE_UP = 8
"""Crashes without one success after which the tool itself, not a file, is at fault."""

MOST_CRASHES = 200

Read = TypeVar("Read")


class Unreadable(Exception):
    """The outcome of a chunk says nothing (a signal, garbage); smaller chunks may."""


class Hopeless(Exception):
    """The outcome would be the same for any chunk: wrong usage, time limit, tool absent."""

    def __init__(self, why: str, command: Command, finished: Finished) -> None:
        super().__init__(why)
        self.why, self.command, self.finished = why, command, finished


@dataclass(frozen=True, slots=True)
class Chunks(Generic[Read]):
    """`read`: one value per chunk that succeeded, in the order of the files. `guilty`: files that crash the tool
    alone, with the ending in words."""

    read: tuple[Read, ...]
    guilty: tuple[tuple[str, str], ...] = field(default=())


def in_chunks(
    paths: Sequence[str],
    size: int,
    command_for: Callable[[Sequence[str]], Command],
    read: Callable[[Command, Finished, Sequence[str]], Read],
) -> Generator[Batch, tuple[Finished, ...], Chunks[Read]]:
    """Run all chunks. `read` raises Unreadable to have a chunk halved and Hopeless to end the run, which passes
    through; Hopeless is raised too when nothing succeeds."""
    waiting = [tuple(paths[start : start + size]) for start in range(0, len(paths), size)]
    done: dict[str, Read] = {}
    guilty: list[tuple[str, str]] = []
    crashes = 0
    while waiting:
        batch = tuple(command_for(chunk) for chunk in waiting)
        outcomes = yield batch
        halved: list[tuple[str, ...]] = []
        for chunk, command, finished in zip(waiting, batch, outcomes, strict=True):
            try:
                done[chunk[0]] = read(command, finished, chunk)
            except Unreadable as error:
                crashes += 1
                if (not done and crashes >= GIVE_UP) or crashes > MOST_CRASHES:
                    raise Hopeless(f"no way around the crashes of the tool: {error}", command, finished) from None
                if len(chunk) == 1:
                    guilty.append((chunk[0], f"{finished.words}; {error}"))
                else:
                    middle = len(chunk) // 2
                    halved += [chunk[:middle], chunk[middle:]]
        waiting = halved
    if guilty and not done:
        raise Hopeless("the tool did not survive a single file", batch[-1], outcomes[-1])
    order = {path: place for place, path in enumerate(paths)}
    read_in_order = tuple(done[first] for first in sorted(done, key=order.__getitem__))
    return Chunks(read_in_order, tuple(sorted(guilty)))
