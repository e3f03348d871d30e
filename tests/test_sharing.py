"""Shared state: accesses, claims, ways of tasks and threads, and the grades of the two rules that rest on them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from linked import MODELS, RULES, STUBS, analysed

from auditor.facts.collect import collect, read
from auditor.finding import Confidence, Finding, Severity
from auditor.project.accesses import How
from auditor.project.project import Project
from auditor.project.sharing import Same, State
from auditor.project.symbols import FunctionNode
from auditor.rule import example

ATOMICITY, LOCK = "await-atomicity", "inconsistent-lock"


def project(**texts: str) -> Project:
    """The linked project of some modules by name."""
    made = {f"{name}.py": text.encode() for name, text in texts.items()}
    return Project({path: read(path, collect(path, data, [])).program for path, data in made.items()}, STUBS, MODELS)


def function(made: Project, symbol: str) -> FunctionNode:
    return next(f for f in made.functions() if f.symbol == symbol)


def seen(made: Project, symbol: str) -> list[tuple[str, str, str]]:
    """(how, state, what is selected in it) for each access of a function."""
    found = made.sharing.accesses.of(function(made, symbol))
    return [(str(a.how), str(a.state), ".".join(map(_word, a.rest))) for a in found]


def _word(selected: Any) -> str:
    return selected if isinstance(selected, str) else f"[{selected.key}]"


def only(rule: str, text: str, **more: str) -> Finding:
    files = {"bot.py": text, **{f"{name}.py": body for name, body in more.items()}}
    found = analysed(rule, {path: body.encode() for path, body in files.items()}, {"likely": True})
    assert len(found) == 1, [f"{f.path}:{f.line}: {f.message}" for f in found]
    return found[0]


# --- accesses -------------------------------------------------------------------------------------------------------

BOOK = """
LEVELS = {}

class Book:
    def __init__(self):
        self.orders: dict[str, dict] = {}
        self.seen = set()
        self.count = 0
        self.last = None

    def touch(self, key):
        %s
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("self.count += 1", [("read", "Book.count", ""), ("write", "Book.count", "")]),
        ("return self.last", [("read", "Book.last", "")]),
        ("if self.last: pass", [("test", "Book.last", "")]),
        ("return key in self.seen", [("test", "Book.seen", "[key]")]),
        ("self.orders[key] = {}", [("resize", "Book.orders", "[key]")]),
        ("del self.orders['a']", [("resize", "Book.orders", "[a]")]),
        ("self.seen.add(key)", [("resize", "Book.seen", "[key]")]),
        ("self.orders.clear()", [("resize", "Book.orders", "")]),
        ("order = self.orders[key]; order['size'] = 0", [("read", "Book.orders", "[key]"), ("resize", "Book.orders", "[key].[size]")]),
        ("return list(self.orders.items())", [("snapshot", "Book.orders", "")]),
        ("return [o for o in self.orders.values()]", [("iterate", "Book.orders", "")]),
        ("return self.orders.get(key)", [("read", "Book.orders", "[key]")]),
        ("LEVELS[key] = 1", [("resize", "book.LEVELS", "[key]")]),
        ("self.touch(key)", []),
        ("own = {}; own[key] = 1", []),
    ],
)  # fmt: skip
def test_what_an_operation_does_with_state(line: str, expected: list[tuple[str, str, str]]) -> None:
    assert seen(project(book=BOOK % line), "Book.touch") == expected


def test_a_key_that_is_reckoned_still_changes_its_container() -> None:
    made = project(book=BOOK % "self.orders[len(self.orders)] = {}")
    changes = [a for a in made.sharing.accesses.of(function(made, "Book.touch")) if a.how is How.RESIZE]
    assert [(str(a.state), a.container) for a in changes] == [("Book.orders", ())]


def test_state_of_a_typed_object_belongs_to_its_class_whoever_changes_it() -> None:
    made = project(book=BOOK % "pass", desk="from book import Book\n\ndef reset(book: Book):\n    book.count = 0\n")
    writers = [a.function.symbol for a in made.sharing.writers(State("book.Book", "count"))]
    assert writers == ["reset"]


def test_what_only_the_constructor_runs_makes_the_object() -> None:
    text = """
class A:
    def __init__(self):
        self._load()

    def _load(self):
        self._read()

    def _read(self):
        self.x = 1

    def other(self):
        self.x = 2
"""
    made = project(a=text)
    assert made.sharing.builds(function(made, "A._read"))
    assert [a.function.name for a in made.sharing.writers(State("a.A", "x"))] == ["other"]


# --- claims ---------------------------------------------------------------------------------------------------------

CLAIMS = """
import asyncio

class A:
    def __init__(self):
        self.x = 0
        self.y = 0

    async def straight(self):
        self.x = 1

    async def first(self):
        self.x = 1
        await asyncio.sleep(0)
        self.y = 1

    async def outer(self):
        await self.straight()
        await self.first()
        self.x = 2
"""


def test_a_callee_runs_straight_through_to_its_first_suspension() -> None:
    made = project(a=CLAIMS)
    claims, outer = made.sharing.claims, function(made, "A.outer")
    assert [outer.at(op)[0] for op in claims.points(outer)] == [19]
    sides = [(e.state.name, outer.at(e.op)[0], claims.early(e), claims.late(e)) for e in claims.effects(outer)]
    assert sides == [("x", 18, True, False), ("x", 19, True, False), ("y", 19, False, True), ("x", 20, False, True)]


# --- ways -----------------------------------------------------------------------------------------------------------

WAYS = """
import asyncio
import threading

class Job:
    def __init__(self, store):
        self.store = store
        self.own = Part()
        self.n = 0

    async def run(self):
        self.n += 1
        self.own.step()
        self.store.step()

class Part:
    def __init__(self):
        self.k = 0

    def step(self):
        self.k += 1

%s
"""


SERVE = "async def main(job: Job, feed):\n    async for _ in feed:\n"


@pytest.mark.parametrize(
    ("start", "run", "part"),
    [
        ("async def main(jobs):\n    await asyncio.gather(*[job.run() for job in jobs])", None, None),
        (f"{SERVE}        asyncio.create_task(job.run())", Same.YES, Same.YES),
        ("async def main(job: Job):\n    for _ in range(3):\n        await asyncio.create_task(job.run())", None, None),
        ("async def main(job: Job):\n    await asyncio.gather(job.run(), job.run())", Same.YES, Same.YES),
        (f"{SERVE}        async with asyncio.TaskGroup() as group:\n            group.create_task(job.run())", None, None),
        ("async def main(stores):\n    await asyncio.gather(*[Job(s).run() for s in stores])", None, None),
    ],
)  # fmt: skip
def test_two_tasks_race_only_on_what_they_have_in_common(start: str, run: Same | None, part: Same | None) -> None:
    made = project(a=WAYS % start)
    for symbol, expected in (("Job.run", run), ("Part.step", part)):
        one = function(made, symbol)
        meeting = made.sharing.together(one, one)
        assert (meeting.same if meeting is not None else None) == expected, symbol


def test_the_parts_that_jobs_have_made_themselves_are_theirs() -> None:
    """Of `Job.run` in a loop over jobs: `own` is private to each, `store` may be one for all."""
    start = "async def main(jobs: list[Job]):\n    for job in jobs:\n        asyncio.create_task(job.run())"
    made = project(a=(WAYS % start).replace("def __init__(self, store)", "def __init__(self, store: Part)"))
    ways = made.sharing.ways
    found = {way.part: ways.many(way) for way in made.sharing.ways_to(function(made, "Part.step"))}
    assert Same.NO in found.values()
    assert not ways.given(next(c for c in made.symbols.classes() if c.name == "Job"), "own")
    assert ways.given(next(c for c in made.symbols.classes() if c.name == "Job"), "store")


def test_a_task_that_ends_with_its_group_does_not_meet_what_follows() -> None:
    text = """
import asyncio

class A:
    async def main(self):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.one())
        await self.two()
        asyncio.create_task(self.three())
        await self.two()

    async def one(self): ...
    async def two(self): await asyncio.sleep(0)
    async def three(self): ...

asyncio.run(A().main())
"""
    made = project(a=text)
    one, two, three = (function(made, f"A.{name}") for name in ("one", "two", "three"))
    assert made.sharing.together(one, two) is None
    assert made.sharing.together(three, two) is not None


def test_a_thread_class_a_timer_a_pool_and_a_log_handler_are_threads() -> None:
    text = """
import logging, threading
from concurrent.futures import ThreadPoolExecutor

class Pump(threading.Thread):
    def run(self): work()

class Handler(logging.Handler):
    def emit(self, record): work()

def start(pool: ThreadPoolExecutor):
    threading.Timer(1, work).start()
    pool.submit(work)

def work(): ...
"""
    made = project(a=text)
    starts = sorted(way.start.how for way in made.sharing.ways_to(function(made, "work")) if way.start.threaded)
    assert starts == ["executor", "handler", "handler", "thread"]


# --- grades ---------------------------------------------------------------------------------------------------------

DECIDES = """
import asyncio

class Desk:
    def __init__(self, venue):
        self._venue = venue
        self._task = None

    async def ensure(self):
        if self._task is None:
            await asyncio.sleep(0)
            self._task = asyncio.create_task(self._venue.run())

%s
"""


def test_a_race_of_two_shown_tasks_is_likely_and_one_of_unknown_callers_only_possible() -> None:
    shown = "    async def serve(self, feed):\n        async for _ in feed:\n            asyncio.create_task(self.ensure())\n"
    found = only(ATOMICITY, DECIDES % shown)
    assert (found.severity, found.confidence) == (Severity.HIGH, Confidence.LIKELY)
    assert [step.name for step in found.proof] == ["read", "await", "write", "ensure"]
    found = only(ATOMICITY, DECIDES % "")
    assert (found.severity, found.confidence) == (Severity.INFO, Confidence.POSSIBLE)
    alone = "    async def serve(self):\n        while True:\n            await self.ensure()\n\nasyncio.run(Desk(None).serve())\n"
    assert analysed(ATOMICITY, {"bot.py": (DECIDES % alone).encode()}) == []


def test_by_default_no_race_is_more_than_possible() -> None:
    for rule in (ATOMICITY, LOCK):
        (found,) = analysed(rule, {"bot.py": example(RULES.pages[rule].bad).encode()})
        assert (found.severity, found.confidence) == (Severity.INFO, Confidence.POSSIBLE)


THREADED = """
    def start(self):
        threading.Thread(target=self.pump).start()

    def pump(self):
        self.add(1)

import asyncio

async def watch(marks: Marks):
    marks.worst()

async def main(marks: Marks):
    marks.start()
    await asyncio.gather(watch(marks), watch(marks))
"""


def test_a_thread_that_meets_the_loop_makes_a_missing_lock_likely() -> None:
    text = example(RULES.pages[LOCK].bad)
    alone = only(LOCK, text)
    assert (alone.severity, alone.confidence) == (Severity.INFO, Confidence.POSSIBLE)
    found = only(LOCK, text + THREADED)
    assert (found.severity, found.confidence) == (Severity.MEDIUM, Confidence.LIKELY)


# --- the harm, executed ---------------------------------------------------------------------------------------------


def names(rule: str, section: str) -> SimpleNamespace:
    made: dict[str, Any] = {}
    exec(compile(example(getattr(RULES.pages[rule], section)), f"<{rule}>", "exec"), made)
    return SimpleNamespace(**made)


@pytest.mark.parametrize(("section", "sent"), [("bad", 2), ("good", 1)])
def test_two_requests_for_one_pair_subscribe_it_once_or_twice(section: str, sent: int) -> None:
    class Socket:
        def __init__(self) -> None:
            self.sent: list[str] = []

        async def send(self, pair: str) -> None:
            await asyncio.sleep(0)
            self.sent.append(pair)

    async def requests() -> Any:
        for pair in ("BTC", "BTC"):
            yield pair

    async def run() -> list[str]:
        socket = Socket()
        feed = names(ATOMICITY, section).Feed(socket)
        await feed.serve(requests())
        await asyncio.gather(*feed._tasks)
        return socket.sent

    assert len(asyncio.run(run())) == sent


@pytest.mark.parametrize(("section", "fails"), [("bad", True), ("good", False)])
def test_a_walk_without_the_lock_meets_a_change(section: str, fails: bool) -> None:
    marks = names(LOCK, section).Marks()
    for price in (1, 2, 3):
        marks.add(price)
    threads: list[threading.Thread] = []

    class Observed(deque[int]):
        """Lets another thread add between two steps, as far as the lock allows it."""

        def __iter__(self) -> Any:
            for item in super().__iter__():
                yield item
                if not threads:
                    threads.append(threading.Thread(target=marks.add, args=(4,)))
                    threads[0].start()
                    threads[0].join(0.1)

    marks._prices = Observed(marks._prices)
    if fails:
        with pytest.raises(RuntimeError):
            marks.worst()
    else:
        assert marks.worst() == 1
    threads[0].join(2)
    assert not threads[0].is_alive()
