"""The vocabulary of harm: each function lets something run and says whether one certain thing happened.

All of it is scheduled and none of it left to chance: tasks meet at barriers, a market moves by its seed, what would
take for ever is given a time after which it counts as such.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any

BEAT_SECONDS = 0.01
STALL_SECONDS = 0.2
PATIENCE_SECONDS = 1.0
MEETING_SECONDS = 0.2


@dataclass(frozen=True)
class Harm:
    """Whether it happened, and what was seen. A busy machine can only make a `timed` one seem to have happened."""

    happened: bool
    seen: str
    timed: bool = False

    def __bool__(self) -> bool:
        return self.happened


async def stall(work: Awaitable[Any]) -> Harm:
    """The loop stood still for longer than 200 ms while the work was done: a heartbeat beside it missed its time."""
    gaps = [0.0]

    async def beat() -> None:
        last = monotonic()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now = monotonic()
            gaps.append(now - last)
            last = now

    heart = asyncio.create_task(beat())
    await asyncio.sleep(BEAT_SECONDS)
    await work
    await asyncio.sleep(2 * BEAT_SECONDS)
    heart.cancel()
    return Harm(max(gaps) > STALL_SECONDS, f"longest pause of the loop: {max(gaps):.2f} s", timed=True)


async def cancellation_ignored(work: Coroutine[Any, Any, Any], waiting: asyncio.Event) -> Harm:
    """The task of this work did not end as cancelled within a second. It sets `waiting` where it is to be hit."""
    task = asyncio.create_task(work)
    await asyncio.wait_for(waiting.wait(), PATIENCE_SECONDS)
    task.cancel()
    await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
    ended = "cancelled" if task.cancelled() else "ended with an answer" if task.done() else "still running"
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=BEAT_SECONDS)
    return Harm(ended != "cancelled", f"one second after its cancellation the task was: {ended}")


async def deadlock(work: Awaitable[Any]) -> Harm:
    """The work, which waits for nothing outside, was not done after a second."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await work
    except TimeoutError:
        return Harm(True, "still waiting after a second")
    return Harm(False, "done")


@dataclass
class Meeting:
    """A point at which tasks wait for each other, so that all of them have read before one of them writes.

    Where something keeps the others away (a lock), the one that came goes on after a moment.
    """

    expected: int
    arrived: int = 0
    _full: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> None:
        """Arrive, and go on when all have."""
        self.arrived += 1
        if self.arrived >= self.expected:
            self._full.set()
        try:
            async with asyncio.timeout(MEETING_SECONDS):
                await self._full.wait()
        except TimeoutError:
            self._full.set()

    def before(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The method with the meeting before it."""

        async def met(*arguments: Any) -> Any:
            await self.wait()
            return await method(*arguments)

        return met


@dataclass
class Handover:
    """Lets another thread do something in the middle of an iteration: `in_between` returns when it has, or cannot."""

    act: Callable[[], None]
    thread: threading.Thread | None = None

    def in_between(self) -> None:
        """Start the other thread once and give it time."""
        if self.thread is None:
            self.thread = threading.Thread(target=self.act)
            self.thread.start()
            self.thread.join(MEETING_SECONDS)


async def task_lost(start: Callable[[Coroutine[Any, Any, None]], None]) -> Harm:
    """A task that was started here and still had work was collected as garbage."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(str(context["message"])))
    done = []

    async def job() -> None:
        await asyncio.get_running_loop().create_future()
        done.append(True)

    start(job())
    await asyncio.sleep(0)
    gc.collect()
    alive = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in alive:
        task.cancel()
    await asyncio.gather(*alive, return_exceptions=True)
    return Harm(bool(complaints), complaints[0] if complaints else f"{len(alive)} task alive")


class Payload:
    """Pickled, it creates its marker when someone reads it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def executed(payload: Payload) -> Harm:
    """The payload was executed: its marker exists."""
    return Harm(payload.marker.exists(), f"marker {'found' if payload.marker.exists() else 'absent'}")


def changes_without_future(compute: Callable[[Any], Any], frame: Any, cuts: Iterable[int]) -> Harm:
    """Rows that exist either way are different when the rows after them are cut off."""
    whole = compute(frame)
    for cut in cuts:
        part = compute(frame.iloc[:cut])
        same = (part == whole.iloc[:cut]) | (part.isna() & whole.iloc[:cut].isna())
        if not same.all().all():
            row = int(same.all(axis=1).to_numpy().argmin())
            columns = [str(name) for name in same.columns[~same.iloc[row]]]
            return Harm(True, f"without the bars from {cut} on, row {row} has another {', '.join(columns)}")
    return Harm(False, "no row depends on a later one")


def better_than_chance(accuracy: float, margin: float = 0.1) -> Harm:
    """Directions of a random walk were foretold, which nobody can."""
    return Harm(accuracy > 0.5 + margin, f"accuracy {accuracy:.3f} where 0.5 is honest")


def growth(sizes: Sequence[int], step: str = "day") -> Harm:
    """A size measured step by step (day by day over a simulated week) never stopped growing."""
    grew = all(later > earlier for earlier, later in itertools.pairwise(sizes))
    return Harm(grew and len(sizes) > 1, f"size by {step}: {', '.join(map(str, sizes))}")


def left_open(handles: Mapping[str, bool]) -> Harm:
    """A handle (name -> closed) that nobody can reach any more is still open."""
    still = sorted(name for name, closed in handles.items() if not closed)
    return Harm(bool(still), f"open: {', '.join(still) or 'none'}")


def in_file(secret: str, path: Path) -> Harm:
    """A secret stands in a file in plain text."""
    text = path.read_text(encoding="utf-8")
    return Harm(secret in text, f"{text.count(secret)} times in {len(text.splitlines())} lines of {path.name}")


def drift(ours: Mapping[Any, Decimal], theirs: Mapping[Any, Decimal]) -> Harm:
    """Two exact amounts that must be the same are not, by however little."""
    keys = sorted({*ours, *theirs}, key=str)
    apart = {key: ours.get(key, Decimal(0)) - theirs.get(key, Decimal(0)) for key in keys}
    apart = {key: amount for key, amount in apart.items() if amount != 0}
    return Harm(bool(apart), f"differences: {apart or 'none'}")


def raised(call: Callable[[], Any], kind: type[BaseException]) -> Harm:
    """The call ended with an exception of this class."""
    try:
        call()
    except kind as exc:
        return Harm(True, f"{type(exc).__name__}: {exc}")
    return Harm(False, "no exception")
