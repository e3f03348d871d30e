"""What holds the loop and what grows: the examples of the pages do what their pages say, and every grade has its reason."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from linked import RULES, analysed

from auditor.finding import Confidence, Finding, Severity
from auditor.rule import example

BUSY, EXECUTOR, QUEUE, TASKS = "busy-loop", "executor-per-call", "unbounded-queue", "unbounded-task-creation"


def findings(rule: str, text: str, **others: str) -> list[Finding]:
    """The findings in one text, `bot.py`, beside other modules."""
    texts = {"bot.py": text, **{f"{name}.py": other for name, other in others.items()}}
    return analysed(rule, {path: content.encode() for path, content in texts.items()})


def only(rule: str, text: str, **others: str) -> Finding:
    found = findings(rule, text, **others)
    assert len(found) == 1, [f"{f.line}: {f.message}" for f in found]
    return found[0]


def grades(rule: str, text: str, **others: str) -> list[tuple[str, str]]:
    return [
        (f.severity.word, f.confidence.word)
        for f in findings(rule, text, **others)
        if f.severity is not None and f.confidence is not None
    ]


def page(rule: str, part: str, **names: Any) -> dict[str, Any]:
    """The names that an example of a page defines, after it has run."""
    space: dict[str, Any] = dict(names)
    exec(compile(example(getattr(RULES.pages[rule], part)), f"<{rule}: {part}>", "exec"), space)
    return space


# --- busy-loop ------------------------------------------------------------------------------------------------------


class Held(Exception):
    """Raised where nothing else could end a loop that holds the event loop."""


class Status(dict[str, str]):
    """A table that notices that it is looked at without end."""

    looks = 0

    def __getitem__(self, key: str) -> str:
        self.looks += 1
        if self.looks > 100_000:
            raise Held
        return super().__getitem__(key)


def turns_of_another_task(part: str) -> int:
    """How often a second task runs while the page's tracker waits for an order that is filled in part."""

    async def scene() -> int:
        tracker = page(BUSY, part)["Tracker"]()
        turns = 0
        if hasattr(tracker, "_status"):
            tracker._status = Status(order="partial")
        else:
            tracker._filled["order"] = asyncio.Event()

        async def other() -> None:
            nonlocal turns
            for _ in range(50):
                await asyncio.sleep(0)
                turns += 1
            if not hasattr(tracker, "_status"):
                tracker._filled["order"].set()

        beside = asyncio.create_task(other())
        try:
            await tracker.wait_for("order")
        except Held:
            beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)
        return turns

    return asyncio.run(scene())


def test_a_branch_without_a_pause_lets_nobody_run() -> None:
    assert turns_of_another_task("bad") == 0
    assert turns_of_another_task("good") == 50


LOOP = """
import asyncio, logging, threading, time
log = logging.getLogger(__name__)
class Desk:
    def __init__(self, gate: threading.Event, order):
        self._filled, self._gate, self._order, self._jobs = False, gate, order, []
        {start}
    def fill(self):
        self._filled = True
    async def wait(self, order):
        while {test}:
            {body}
"""


@pytest.mark.parametrize(
    ("changes", "grade"),
    [
        ({}, ("critical", "certain")),
        ({"test": "not self._gate.is_set()"}, ("high", "likely")),
        ({"test": "not order.done"}, ("high", "likely")),
        ({"start": "threading.Thread(target=self.fill).start()"}, ("high", "likely")),
        ({"body": "if self._order: continue\n            await asyncio.sleep(1)"}, ("high", "likely")),
        ({"body": "if self._order: await asyncio.sleep(1)"}, ("high", "possible")),
        ({"body": "await asyncio.sleep(1)"}, ("info", "possible")),
        ({"body": "log.info('waiting')"}, ("critical", "certain")),
        ({"body": "await self._order.changed()"}, None),
        ({"body": "self._order.look()"}, None),
        ({"body": "self.fill()"}, None),
        ({"body": "self._jobs.append(order)", "test": "len(self._jobs) < 9"}, None),
        ({"body": "time.sleep(1)"}, None),
    ],
)
def test_grades_of_a_loop(changes: dict[str, str], grade: tuple[str, str] | None) -> None:
    text = LOOP.format(**({"test": "not self._filled", "body": "pass", "start": "pass"} | changes))
    assert grades(BUSY, text) == ([] if grade is None else [grade])


def test_a_call_of_another_file_that_changes_the_state_is_seen() -> None:
    text = "from book import Book\nasync def run(book: Book):\n    while book.behind:\n        book.catch_up()\n"
    other = "class Book:\n    def __init__(self):\n        self.behind = 3\n    def catch_up(self):\n        {}\n"
    assert findings(BUSY, text, book=other.format("self.behind -= 1")) == []
    assert grades(BUSY, text, book=other.format("return self.behind")) == [("critical", "certain")]


ERROR = """
import asyncio
class Desk:
    async def run(self, venue):
        while True:
            try:
                {body}
            except {kind}:
                {handler}
    async def quiet(self, venue):
        await asyncio.sleep(1)
        await venue.poll()
"""


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, True),
        ({"body": "await venue.poll(); await asyncio.sleep(1)"}, True),
        ({"body": "await asyncio.sleep(1); await venue.poll()"}, False),
        ({"body": "await self.quiet(venue)"}, False),
        ({"kind": "TimeoutError"}, False),
        ({"handler": "await asyncio.sleep(1)"}, False),
        ({"handler": "break"}, False),
        ({"handler": "raise"}, False),
    ],
)
def test_an_error_path_without_a_pause(changes: dict[str, str], found: bool) -> None:
    text = ERROR.format(**({"body": "await venue.poll()", "kind": "Exception", "handler": "pass"} | changes))
    assert grades(BUSY, text) == ([("medium", "possible")] if found else [])


def test_an_error_path_never_gives_way() -> None:
    """What the rule takes for possible, executed: a callee that raises before it suspends."""

    async def scene() -> int:
        attempts = turns = 0

        async def poll() -> None:
            nonlocal attempts
            attempts += 1
            if attempts > 10_000:
                raise Held
            raise ConnectionError

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        space: dict[str, Any] = {}
        exec(ERROR.format(body="await venue.poll()", kind="ConnectionError", handler="pass"), space)
        beside = asyncio.create_task(other())
        with pytest.raises(Held):
            await space["Desk"]().run(SimpleNamespace(poll=poll))
        beside.cancel()
        return turns

    assert asyncio.run(scene()) == 0


# --- executor-per-call ----------------------------------------------------------------------------------------------


def pause_after_cancellation(part: str) -> float:
    """How long the loop stands still when the page's gateway is cancelled in the middle of a job of 0.4 s."""

    async def scene() -> float:
        gateway = page(EXECUTOR, part)["Gateway"](SimpleNamespace(send=lambda _: time.sleep(0.4)))
        task = asyncio.create_task(gateway.submit("order"))
        await asyncio.sleep(0.05)
        task.cancel()
        began = time.monotonic()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return time.monotonic() - began

    return asyncio.run(scene())


def test_leaving_the_block_joins_the_workers_on_the_loop() -> None:
    assert pause_after_cancellation("bad") > 0.2
    assert min(pause_after_cancellation("good") for _ in range(3)) < 0.2


POOL = """
import asyncio, time
from concurrent.futures import ThreadPoolExecutor
class Desk:
    def work(self): {work}
    {head} submit(self, order):
        {body}
    async def run(self, queue):
        while True:
            {call}
"""
WITH = "with ThreadPoolExecutor() as pool: return await asyncio.get_running_loop().run_in_executor(pool, self.work)"


@pytest.mark.parametrize(
    ("changes", "grade"),
    [
        ({}, ("medium", "certain")),
        ({"work": "time.sleep(5)"}, ("high", "certain")),
        ({"work": "time.sleep(5)", "body": f"async with asyncio.timeout(1):\n            {WITH}"}, ("medium", "certain")),
        ({"body": WITH.replace("return await", "await") + "; pool.shutdown(wait=False)"}, ("medium", "likely")),
        ({"head": "def", "body": "with ThreadPoolExecutor() as pool: return list(pool.map(self.work, order))"}, ("low", "likely")),
        ({"head": "def", "body": "return ThreadPoolExecutor()"}, None),
        ({"head": "def", "body": "self.pool = ThreadPoolExecutor()"}, None),
        ({"head": "def", "call": "pass", "body": "with ThreadPoolExecutor() as pool: return list(pool.map(self.work, order))"}, None),
    ],
)
def test_grades_of_an_executor(changes: dict[str, str], grade: tuple[str, str] | None) -> None:
    parts = {"work": "pass", "head": "async def", "body": WITH, "call": "self.submit(await queue.get())"} | changes
    assert grades(EXECUTOR, POOL.format(**parts)) == ([] if grade is None else [grade])


def test_the_proof_leads_from_what_runs_again_and_again() -> None:
    parts = {"work": "time.sleep(5)", "head": "async def", "body": WITH, "call": "await self.submit(await queue.get())"}
    found = only(EXECUTOR, POOL.format(**parts))
    assert [step.name for step in found.proof] == ["run", "run", "submit", "job", "work", "join"]


# --- unbounded-queue ------------------------------------------------------------------------------------------------


class Silence(Exception):
    """The stream has no more messages."""


def waiting_items(part: str, messages: int) -> int:
    """The items that wait in the page's recorder when a burst has been read and nothing was written yet."""

    async def scene() -> int:
        left = messages

        class Socket:
            async def __aenter__(self) -> Socket:
                return self

            async def __aexit__(self, *_error: object) -> None:
                return None

            async def recv(self) -> str:
                nonlocal left
                if not left:
                    raise Silence
                left -= 1
                return "tick"

        source = example(getattr(RULES.pages[QUEUE], part)).replace("import websockets\n", "").replace("10_000", "100")
        space: dict[str, Any] = {"websockets": SimpleNamespace(connect=lambda _: Socket())}
        exec(source, space)
        recorder = space["Recorder"](None)
        reading = asyncio.create_task(recorder.read("url"))
        for _ in range(5):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return int(recorder._ticks.qsize())

    return asyncio.run(scene())


def test_a_queue_without_capacity_takes_the_whole_burst() -> None:
    assert [waiting_items("bad", n) for n in (1_000, 2_000)] == [1_000, 2_000]
    assert [waiting_items("good", n) for n in (1_000, 2_000)] == [100, 100]


PIPE = """
import asyncio, websockets
class {name}:
    def __init__(self, database, size):
        self._database = database
        self._items = asyncio.Queue({capacity})
    async def read(self, url):
        async with websockets.connect(url) as socket:
            while True:
                {put}
    async def write(self):
        while True:
            {take}
"""


@pytest.mark.parametrize(
    ("changes", "severity"),
    [
        ({}, "low"),
        ({"name": "TickStore"}, "medium"),
        ({"capacity": "maxsize=0"}, "low"),
        ({"capacity": "-1"}, "low"),
        ({"capacity": "size"}, None),
        ({"capacity": "maxsize=size"}, None),
        ({"capacity": "50"}, None),
        ({"put": "self._items.put_nowait(1)"}, "low"),
        ({"put": "if self._items.qsize() < 9: await self._items.put(await socket.recv())"}, None),
        ({"put": "await self._items.put(await socket.recv()); await self._items.join()"}, None),
        ({"take": "print(await self._items.get())"}, None),
        ({"take": "await asyncio.sleep(1)"}, None),
        ({"take": "await asyncio.sleep(1); print(await self._items.get())"}, None),
    ],
)
def test_grades_of_a_queue(changes: dict[str, str], severity: str | None) -> None:
    parts = {
        "name": "Store", "capacity": "", "put": "await self._items.put(await socket.recv())",
        "take": "await self._database.save(await self._items.get())",
    } | changes  # fmt: skip
    assert grades(QUEUE, PIPE.format(**parts)) == ([] if severity is None else [(severity, "possible")])


def test_one_object_is_one_finding() -> None:
    """A subclass that makes the queue of its base anew has the same queue."""
    put, take = "await self._items.put(await socket.recv())", "await self._database.save(await self._items.get())"
    base = PIPE.format(name="Store", capacity="", put=put, take=take)
    text = "import asyncio\nfrom base import Store\nclass Other(Store):\n    def __init__(self):\n        self._items = asyncio.Queue()\n"
    assert [f.path for f in findings(QUEUE, text, base=base)] == ["base.py"]


# --- unbounded-task-creation ----------------------------------------------------------------------------------------


def tasks_under_way(part: str, messages: int) -> int:
    """The tasks of the page's feed when a burst has come in and the venue has answered nothing."""

    async def scene() -> int:
        async def create_order(_tick: int) -> None:
            await asyncio.get_running_loop().create_future()

        async def ticks() -> Any:
            for number in range(messages):
                yield number

        feed = page(TASKS, part)["Feed"](SimpleNamespace(create_order=create_order))
        following = asyncio.create_task(feed.follow(ticks()))
        for _ in range(10):
            await asyncio.sleep(0)
        under_way = len(feed._tasks)
        for task in (following, *feed._tasks):
            task.cancel()
        await asyncio.gather(following, *feed._tasks, return_exceptions=True)
        return under_way

    return asyncio.run(scene())


def test_tasks_grow_with_the_burst() -> None:
    assert [tasks_under_way("bad", n) for n in (1_000, 2_000)] == [1_000, 2_000]
    assert [tasks_under_way("good", n) for n in (1_000, 2_000)] == [20, 20]


STREAM = """
import asyncio, aiohttp, websockets
class {name}:
    def __init__(self, session: aiohttp.ClientSession):
        self._session, self._slots, self._tasks = session, asyncio.Semaphore(5), set()
    async def follow(self, url, feed):
        {source}
            {body}
    async def handle(self, message):
        {job}
"""
SOCKET = "async with websockets.connect(url) as socket:\n          while True:"
RECEIVED = "self._tasks.add(asyncio.create_task(self.handle(await socket.recv())))"
KEPT = "self._tasks.add(asyncio.create_task(self.handle(message)))"


@pytest.mark.parametrize(
    ("changes", "grade"),
    [
        ({}, ("medium", "possible")),
        ({"name": "TickFeed"}, ("medium", "possible")),
        ({"name": "TickFeed", "source": SOCKET, "body": RECEIVED}, ("medium", "likely")),
        ({"source": SOCKET, "body": RECEIVED}, ("medium", "possible")),
        ({"job": "async with self._slots: await self._session.get(message)"}, ("info", "possible")),
        ({"job": "print(message)"}, None),
        ({"source": "for message in feed:"}, None),
        ({"body": "await asyncio.create_task(self.handle(message))"}, None),
        ({"body": f"await self._slots.acquire(); {KEPT}"}, None),
        ({"body": f"{KEPT}; await asyncio.sleep(1)"}, None),
        ({"body": f"{KEPT}\n            if message: await self._slots.acquire()"}, ("medium", "possible")),
    ],
)
def test_grades_of_tasks(changes: dict[str, str], grade: tuple[str, str] | None) -> None:
    parts = {
        "name": "Feed", "source": "async for message in feed:", "job": "await self._session.get(message)",
        "body": KEPT,
    } | changes  # fmt: skip
    assert grades(TASKS, STREAM.format(**parts)) == ([] if grade is None else [grade])


def test_tasks_of_one_source_are_one_finding() -> None:
    text = STREAM.format(name="Feed", source="async for message in feed:", job="await self._session.get(message)", body=f"{KEPT}; {KEPT}")
    found = only(TASKS, text)
    assert [step.line for step in found.proof].count(found.line) >= 3


def test_the_rules_are_declared_as_their_pages_say() -> None:
    declared = {rule: (RULES.rules[rule].severity, RULES.rules[rule].confidence) for rule in (BUSY, EXECUTOR, QUEUE, TASKS)}
    assert declared == {
        BUSY: (Severity.HIGH, Confidence.LIKELY),
        EXECUTOR: (Severity.MEDIUM, Confidence.CERTAIN),
        QUEUE: (Severity.LOW, Confidence.POSSIBLE),
        TASKS: (Severity.MEDIUM, Confidence.POSSIBLE),
    }
