"""The chapter locks: grades, proofs and fixes that marks cannot say, and the harm of each page's example, executed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from linked import RULES, analysed

from auditor.finding import Confidence, Finding, Severity
from auditor.fix.edits import applied
from auditor.rule import example

PATIENCE = 0.25  # seconds after which something that should be done counts as hanging
LEVELS = {"bid": 1}


def findings(rule: str, text: str, **more: str) -> list[Finding]:
    """The findings in one text, with further modules by name."""
    files = {"bot.py": text, **{f"{name}.py": body for name, body in more.items()}}
    return analysed(rule, {path: body.encode() for path, body in files.items()})


def only(rule: str, text: str, **more: str) -> Finding:
    found = findings(rule, text, **more)
    assert len(found) == 1, [f"{f.path}:{f.line}: {f.message}" for f in found]
    return found[0]


def names(rule: str, section: str) -> SimpleNamespace:
    """What the example of a page defines, executed."""
    made: dict[str, Any] = {}
    exec(compile(example(getattr(RULES.pages[rule], section)), f"<{rule}>", "exec"), made)
    return SimpleNamespace(**made)


async def hangs(*jobs: Coroutine[Any, Any, Any]) -> int:
    """How many of the jobs are not done after a while; they are cancelled."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    _, pending = await asyncio.wait(tasks, timeout=PATIENCE)
    for task in pending:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return len(pending)


class Venue:
    """An exchange that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.sent: list[Any] = []

    async def send(self, order: Any) -> Any:
        self.asked.set()
        await self.answer.wait()
        self.sent.append(order)
        return order

    confirm = send


ORDER = SimpleNamespace(id=1, symbol="BTC", size=2, cost=3)


# --- the harm, executed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("section", "hanging"), [("bad", 1), ("good", 0)])
def test_a_task_that_takes_its_lock_again_never_ends(section: str, hanging: int) -> None:
    async def run() -> int:
        venue = Venue()
        venue.answer.set()
        return await hangs(names("lock-reentry", section).Desk(venue).submit(ORDER))

    assert asyncio.run(run()) == hanging


def test_a_thread_that_takes_its_lock_again_never_ends() -> None:
    lock = threading.Lock()
    with lock:
        assert not lock.acquire(timeout=PATIENCE)
    entrant = threading.RLock()
    with entrant:
        assert entrant.acquire(timeout=PATIENCE)
        entrant.release()


class Feed:
    """Counts who is inside of `snapshot` at the same time."""

    def __init__(self) -> None:
        self.inside = self.most = 0

    async def snapshot(self, symbol: str) -> dict[str, int]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0)
        self.inside -= 1
        return LEVELS


def _two_refreshes(book: Any) -> threading.Thread:
    """A loop in a thread, with two tasks that refresh."""

    async def both() -> None:
        await asyncio.gather(book.refresh("BTC"), book.refresh("ETH"), return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(both()), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(("section", "frozen"), [("bad", True), ("good", False)])
def test_a_thread_lock_across_an_await_stops_the_loop(section: str, frozen: bool) -> None:
    book = names("thread-lock-across-await", section).Book(Feed())
    thread = _two_refreshes(book)
    thread.join(PATIENCE if frozen else 5)
    assert thread.is_alive() is frozen
    if frozen:
        book._lock.release()  # from outside: only so does this thread end
        thread.join(5)
        assert not thread.is_alive()


def test_a_re_entrant_lock_lets_the_second_task_in() -> None:
    feed = Feed()
    book = names("thread-lock-across-await", "bad").Book(feed)
    book._lock = threading.RLock()
    _two_refreshes(book).join(5)
    assert feed.most == 2


@pytest.mark.parametrize(("section", "kept"), [("bad", True), ("good", False)])
def test_a_cancelled_task_keeps_the_lock(section: str, kept: bool) -> None:
    async def run() -> bool:
        venue = Venue()
        gate = names("lock-without-release", section).Gate(venue)
        job = asyncio.create_task(gate.send(ORDER))
        await venue.asked.wait()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        return bool(gate._lock.locked())

    assert asyncio.run(run()) is kept


RELEASES = """
import asyncio

class Limit:
    def __init__(self):
        self.slots = asyncio.Semaphore(1)
    async def run(self, job):
        {first}
        try:
            {second}
            await job()
        finally:
            self.slots.release()
"""
INSIDE = RELEASES.format(first="pass", second="await self.slots.acquire()")
BEFORE = RELEASES.format(first="await self.slots.acquire()", second="pass")


@pytest.mark.parametrize(("text", "free"), [(INSIDE, True), (BEFORE, False)])
def test_a_release_of_what_was_not_obtained_lets_one_more_in(text: str, free: bool) -> None:
    made: dict[str, Any] = {}
    exec(text, made)

    async def run() -> bool:
        limit, busy = made["Limit"](), asyncio.Event()
        first = asyncio.create_task(limit.run(busy.wait))
        waiting = asyncio.create_task(limit.run(busy.wait))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        free = not limit.slots.locked()
        busy.set()
        await first
        return free

    assert asyncio.run(run()) is free
    assert len(findings("lock-without-release", text)) == int(free)


@pytest.mark.parametrize(("section", "hanging"), [("bad", 2), ("good", 0)])
def test_two_tasks_between_their_acquisitions_wait_for_each_other(section: str, hanging: int) -> None:
    async def run() -> int:
        venue = Venue()
        desk = names("lock-order-cycle", section).Desk(venue)
        desk.cash, desk.orders = 10, {}

        async def report() -> None:
            await venue.asked.wait()  # the other holds its first lock
            asyncio.get_running_loop().call_later(0.02, venue.answer.set)
            await desk.report()

        return await hangs(desk.fill(ORDER), report())

    assert asyncio.run(run()) == hanging


def test_the_wrong_protocol_raises() -> None:
    bad, good = (names("mixed-lock-kinds", s).Account() for s in ("bad", "good"))
    with pytest.raises(TypeError):
        asyncio.run(bad.credit(1))
    asyncio.run(good.credit(1))
    assert (bad._cash, good._cash) == (0, 1)

    thread_lock: Any = threading.Lock()

    async def wrong() -> None:
        async with thread_lock:
            pass

    with pytest.raises(TypeError):
        asyncio.run(wrong())


def test_locks_of_both_kinds_do_not_exclude_each_other() -> None:
    inside = threading.Barrier(2)  # passed only by two at the same time

    def threaded(lock: threading.Lock) -> None:
        with lock:
            inside.wait(5)

    async def task(lock: asyncio.Lock) -> None:
        async with lock:
            inside.wait(5)

    thread = threading.Thread(target=threaded, args=(threading.Lock(),))
    thread.start()
    asyncio.run(task(asyncio.Lock()))
    thread.join(5)
    assert not inside.broken


class Forbidden:
    """A lock that nobody may take."""

    def __enter__(self) -> None:
        raise AssertionError("it is taken")

    def __exit__(self, *exc: object) -> None:
        return None


def test_nothing_notices_that_an_unused_lock_is_gone() -> None:
    bad, good = (names("unused-lock", s).Ledger() for s in ("bad", "good"))
    for ledger in (bad, good):
        ledger._ledger_lock = Forbidden()
    bad.book("EUR", 1)
    assert bad._balances == {"EUR": 1}
    with pytest.raises(AssertionError, match="it is taken"):
        good.book("EUR", 1)


# --- grades ---------------------------------------------------------------------------------------------------------

REENTRY = """
import asyncio

class Desk:
    def __init__(self):
        self._lock = asyncio.Lock()
    async def outer(self, flag):
        async with self._lock:
            {call}
    async def inner(self, flag):
        {test}async with self._lock: return 1
    async def again(self, flag):
        if flag:
            await self.outer(flag)
"""


@pytest.mark.parametrize(
    ("call", "test", "confidence"),
    [
        ("await self.inner(flag)", "", Confidence.CERTAIN),
        ("await self.inner(flag)", "if not flag: return\n        ", Confidence.LIKELY),
        ("if flag: await self.inner(flag)", "", Confidence.LIKELY),
        ("await self.again(flag)", "", Confidence.POSSIBLE),
    ],
)
def test_a_condition_makes_a_second_acquisition_less_certain(call: str, test: str, confidence: Confidence) -> None:
    found = only("lock-reentry", REENTRY.format(call=call, test=test))
    assert found.confidence is confidence
    assert ("when" in found.message) is (confidence is not Confidence.CERTAIN)


def test_the_condition_is_named() -> None:
    text = REENTRY.format(call="if flag: await self.inner(flag)", test="")
    assert "when `flag` (line 9)" in only("lock-reentry", text).message


CHANGES: dict[str, Callable[[str], str]] = {
    "re-entrant": lambda t: (
        t.replace("asyncio.Lock()", "threading.RLock()").replace("async with", "with").replace("asyncio", "threading")
    ),
    "another lock": lambda t: t.replace("self._lock: return 1", "self._other: return 1").replace(
        "asyncio.Lock()", "asyncio.Lock(); self._other = asyncio.Lock()"
    ),
    "a task of its own": lambda t: t.replace(
        "await self.inner(flag)", "self.job = asyncio.create_task(self.inner(flag))"
    ),
    "no lock inside": lambda t: t.replace("async with self._lock: return 1", "return 1"),
    "two may be inside": lambda t: t.replace("asyncio.Lock()", "asyncio.Semaphore(2)"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_without_the_second_acquisition_there_is_no_finding(change: Callable[[str], str]) -> None:
    text = REENTRY.format(call="await self.inner(flag)", test="")
    assert len(findings("lock-reentry", text)) == 1
    assert change(text) != text
    assert findings("lock-reentry", change(text)) == []


ACROSS = """
import asyncio, threading

class Wire:
    def __init__(self, ws):
        self._lock = threading.{kind}()
        self._ws = ws
    async def send(self, msg):
        with self._lock:
            {wait}
    def start(self, msgs):
        self._jobs = [{spawn} for m in msgs]
"""
SPAWN = "asyncio.create_task(self.send(m))"


@pytest.mark.parametrize(
    ("kind", "wait", "spawn", "confidence", "severity"),
    [
        ("Lock", "await asyncio.sleep(1)", SPAWN, Confidence.CERTAIN, Severity.CRITICAL),
        ("Lock", "await asyncio.sleep(1)", "m", Confidence.LIKELY, Severity.HIGH),
        ("Lock", "await self._ws.send(msg)", SPAWN, Confidence.POSSIBLE, Severity.HIGH),
        ("RLock", "await asyncio.sleep(1)", SPAWN, Confidence.LIKELY, Severity.HIGH),
    ],
)
def test_a_thread_lock_is_certain_with_a_witness_and_two_tasks(
    kind: str, wait: str, spawn: str, confidence: Confidence, severity: Severity
) -> None:
    found = only("thread-lock-across-await", ACROSS.format(kind=kind, wait=wait, spawn=spawn))
    assert (found.confidence, found.severity) == (confidence, severity)


LEAK = """
import asyncio, threading

class Gate:
    def __init__(self, venue):
        self._lock = {lock}
        self._venue = venue
    {define} run(self, order):
        {take}self._lock.acquire()
        {body}
        self._lock.release()
"""
ASYNC = {"lock": "asyncio.Lock()", "define": "async def", "take": "await "}
THREAD = {"lock": "threading.Lock()", "define": "def", "take": ""}


@pytest.mark.parametrize(
    ("shape", "body", "confidence"),
    [
        (ASYNC, "await asyncio.sleep(1)", Confidence.CERTAIN),
        (ASYNC, "await self._venue.send(order)", Confidence.LIKELY),
        (THREAD, "self._venue.send(order)", Confidence.LIKELY),
        (THREAD, "if order: return", Confidence.CERTAIN),
        (THREAD, "self.sent = order", None),
        (THREAD, "print(order)", None),
    ],
)
def test_a_way_out_decides_how_certain_a_kept_lock_is(
    shape: dict[str, str], body: str, confidence: Confidence | None
) -> None:
    found = findings("lock-without-release", LEAK.format(body=body, **shape))
    assert [f.confidence for f in found] == ([] if confidence is None else [confidence])


def test_the_fix_brackets_plain_statements_only() -> None:
    straight = LEAK.format(
        body="self._venue.send(order)\n        self.sent = (\n            order,\n        )", **THREAD
    )
    assert not only("lock-without-release", straight).fix.edits  # type: ignore[union-attr]  # it has a fix
    plain = LEAK.format(body="self._venue.send(order)\n        self.sent = 1", **THREAD)
    fix = only("lock-without-release", plain).fix
    assert fix is not None
    mended = applied(plain, list(fix.edits))
    assert "        with self._lock:\n            self._venue.send(order)\n            self.sent = 1\n" in mended
    assert "release" not in mended
    assert findings("lock-without-release", mended) == []


def test_an_unused_lock_is_graver_where_two_tasks_change_the_state() -> None:
    text = """
import asyncio

class Ledger:
    def __init__(self):
        self.{name} = asyncio.Lock()
        self.total = 0
    async def book(self, amount):
        self.total += amount
    def start(self, amounts):
        self.jobs = [{spawn} for a in amounts]
"""
    shared = only("unused-lock", text.format(name="_lock", spawn="asyncio.create_task(self.book(a))"))
    assert (shared.severity, shared.confidence) == (Severity.MEDIUM, Confidence.CERTAIN)
    alone = only("unused-lock", text.format(name="lock", spawn="a"))
    assert (alone.severity, alone.confidence) == (Severity.LOW, Confidence.LIKELY)


CYCLE = """
import threading

class Desk:
    def __init__(self):
        self.a, self.b = threading.Lock(), threading.Lock()
    def one(self):
        with self.a:
            with self.b: return 1
    def two(self):
        with self.b:
            with self.a: return 2
    def start(self):
        {start}
"""


def test_a_cycle_is_likely_with_two_roots() -> None:
    both = "threading.Thread(target=self.one).start(); threading.Thread(target=self.two).start()"
    assert only("lock-order-cycle", CYCLE.format(start=both)).confidence is Confidence.LIKELY
    assert only("lock-order-cycle", CYCLE.format(start="pass")).confidence is Confidence.POSSIBLE


def test_a_lock_is_followed_into_the_object_that_was_built_with_it() -> None:
    parts = """
class Ledger:
    def __init__(self, lock): self._guard = lock
    def post(self):
        with self._guard: return 1
"""
    text = """
import threading
from parts import Ledger

class Book:
    def __init__(self):
        self._lock = threading.Lock()
        self._ledger = Ledger({lock})
    def run(self):
        with self._lock:
            self._ledger.post()
"""
    assert only("lock-reentry", text.format(lock="self._lock"), parts=parts).line == 11
    assert findings("lock-reentry", text.format(lock="threading.Lock()"), parts=parts) == []
