"""unawaited-coroutine, await-on-sync, dangling-task, swallowed-cancellation: grades and fixes that marks cannot say, and
the harm, executed: what happens with the Bad of each page and does not happen with its Good."""

from __future__ import annotations

import asyncio
import gc
import warnings
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from linked import RULES, analysed

from auditor import config, pipeline
from auditor.finding import Confidence, Finding, Severity
from auditor.fix.edits import applied
from auditor.pipeline import Request
from auditor.rule import example

UNAWAITED, SYNC, DANGLING, SWALLOWED = "unawaited-coroutine", "await-on-sync", "dangling-task", "swallowed-cancellation"


def findings(rule: str, text: str, **others: str) -> list[Finding]:
    """The findings in one text, `bot.py`, beside other modules."""
    texts = {"bot.py": text, **{f"{name}.py": other for name, other in others.items()}}
    return analysed(rule, {path: content.encode() for path, content in texts.items()})


def only(rule: str, text: str, **others: str) -> Finding:
    found = findings(rule, text, **others)
    assert len(found) == 1, [f"{f.line}: {f.message}" for f in found]
    return found[0]


def page(rule: str, part: str, **names: Any) -> dict[str, Any]:
    """The names that an example of a page defines, after it has run."""
    space: dict[str, Any] = {"log": SimpleNamespace(warning=lambda *_: None), **names}
    exec(compile(example(getattr(RULES.pages[rule], part)), f"<{rule}: {part}>", "exec"), space)
    return space


# --- unawaited-coroutine --------------------------------------------------------------------------------------------


def halted_after_a_drawdown(part: str) -> tuple[int, list[str]]:
    """(how often everything was cancelled, RuntimeWarnings) after a tick whose loss is over the limit."""
    cancelled: list[str] = []

    async def cancel_all_orders() -> None:
        cancelled.append("all")

    engine = page(UNAWAITED, part)["Engine"]()
    engine.guard.loss, engine.guard.limit = 1, 2
    engine.guard.venue = SimpleNamespace(cancel_all_orders=cancel_all_orders)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(engine.tick("order"))
        gc.collect()
    return len(cancelled), [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]


def test_a_coroutine_that_is_not_awaited_leaves_the_state_as_it_was() -> None:
    cancelled, told = halted_after_a_drawdown("bad")
    assert cancelled == 0
    assert told
    assert all("was never awaited" in message for message in told)
    assert halted_after_a_drawdown("good") == (1, [])


def test_an_order_behind_the_coroutine_makes_it_critical() -> None:
    text = """
class Desk:
    async def close(self): ...
    async def look(self): return 1
    async def sell_all(self): await self.step()
    async def step(self): await self.venue.create_order("BTC")
    def run(self):
        self.{name}()
"""
    grades = {name: only(UNAWAITED, text.format(name=name)).severity for name in ("close", "look", "sell_all")}
    assert grades == {"close": Severity.CRITICAL, "look": None, "sell_all": Severity.CRITICAL}


HIERARCHY = """
class Venue:
    async def ping(self): return 1
class Spot(Venue):
    {override}
def run(venue: Venue):
    venue.ping()
"""


@pytest.mark.parametrize(
    ("override", "confidence"),
    [
        ("pass", Confidence.CERTAIN),
        ("async def ping(self): return 2", Confidence.LIKELY),
        ("def ping(self): return 2", None),
    ],
)
def test_every_override_counts(override: str, confidence: Confidence | None) -> None:
    found = findings(UNAWAITED, HIERARCHY.format(override=override))
    assert [f.confidence for f in found] == ([] if confidence is None else [confidence])


@pytest.mark.parametrize(
    ("line", "mended"),
    [
        ("x = self.get()['a']", "x = (await self.get())['a']"),
        ("x = self.get().a", "x = (await self.get()).a"),
        ("if not self.get(): pass", "if not await self.get(): pass"),
        ("x = self.get() + 1", "x = await self.get() + 1"),
        ("a, b = self.get()", "a, b = await self.get()"),
    ],
)
def test_the_await_is_written_where_it_binds(line: str, mended: str) -> None:
    text = "class A:\n    async def get(self): return 1\n    async def run(self):\n        {}\n"
    fix = only(UNAWAITED, text.format(line)).fix
    assert fix is not None
    assert fix.applicability == "display"
    assert applied(text.format(line), list(fix.edits)) == text.format(mended)


def test_a_plain_function_gets_no_await() -> None:
    fix = only(UNAWAITED, "async def go(): ...\ndef run():\n    go()\n").fix
    assert fix is not None
    assert fix.edits == ()


def test_a_method_that_is_replaced_is_left_alone_but_not_for_the_sake_of_a_test() -> None:
    text = "class A:\n    async def go(self): ...\ndef run(a: A):\n    a.go()\n"
    replaced = "from bot import A\ndef set_up(a: A):\n    a.go = print\n"
    assert findings(UNAWAITED, text, setup=replaced) == []
    assert len(findings(UNAWAITED, text, test_bot=replaced)) == 1


# --- await-on-sync --------------------------------------------------------------------------------------------------


def test_awaiting_what_is_no_awaitable_raises() -> None:
    def charge(part: str) -> Any:
        account = page(SYNC, part)["Account"]()
        account.rate, account.cash = 2, 10
        asyncio.run(account.charge(SimpleNamespace(size=3)))
        return account.cash

    with pytest.raises(TypeError, match="can't be used in 'await' expression"):
        charge("bad")
    assert charge("good") == 4


@pytest.mark.parametrize("body", ["await Plain()", "async with Plain(): pass", "async for _ in Plain(): pass"])
def test_every_form_raises_where_it_is_reported(body: str) -> None:
    text = f"class Plain: pass\nasync def run():\n    {body}\n"
    assert only(SYNC, text).line == 3
    space: dict[str, Any] = {}
    exec(text, space)
    with pytest.raises(TypeError):
        asyncio.run(space["run"]())


def test_a_handler_that_hides_the_error_is_named() -> None:
    text = "def f(): return 1\nasync def run():\n    try:\n        await f()\n    except Exception:\n        pass\n"
    found = only(SYNC, text)
    assert found.message.endswith("which the handler in line 5 hides")
    assert [step.line for step in found.proof] == [4, 1, 1, 5]


# --- dangling-task --------------------------------------------------------------------------------------------------


def pump_after_a_collection(part: str) -> bool:
    """Whether the pump of the page's feed is still there after a collection of garbage."""

    async def scene() -> bool:
        feed = page(DANGLING, part)["Feed"]()
        started: list[weakref.ref[Any]] = []

        async def read() -> None:
            task = asyncio.current_task()
            started.append(weakref.ref(task))
            del task
            await asyncio.get_running_loop().create_future()

        feed._read = read
        feed.start()
        await asyncio.sleep(0.01)
        gc.collect()
        alive = started[0]()
        if alive is not None:
            alive.cancel()
        return alive is not None

    def quiet(_loop: asyncio.AbstractEventLoop, _context: dict[str, Any]) -> None:
        """The loop tells of the destroyed task in the log."""

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(quiet)
    try:
        return loop.run_until_complete(scene())
    finally:
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_a_task_that_nothing_keeps_is_collected() -> None:
    assert not pump_after_a_collection("bad")
    assert pump_after_a_collection("good")


FEED = """
import asyncio
class Feed:
    def __init__(self):
        self.jobs: set[asyncio.Task] = set()
    def start(self, ready):
        {statement}
    async def go(self): ...
"""


@pytest.mark.parametrize(
    ("statement", "mended"),
    [
        (
            "asyncio.create_task(self.go())",
            "task = asyncio.create_task(self.go())\n        self.jobs.add(task)\n        task.add_done_callback(self.jobs.discard)",
        ),
        ("ready and asyncio.create_task(self.go())", None),
        ("if ready: asyncio.create_task(self.go())", None),
        ("task = 1; asyncio.create_task(self.go())", None),
    ],
)
def test_the_task_is_kept_in_the_set_that_the_object_has(statement: str, mended: str | None) -> None:
    found = findings(DANGLING, FEED.format(statement=statement))
    for finding in found:
        assert finding.fix is not None
        assert bool(finding.fix.edits) is (mended is not None)
        if mended is not None:
            assert applied(FEED.format(statement=statement), list(finding.fix.edits)) == FEED.format(statement=mended)
    assert len(found) == 1


def test_grades_of_a_lost_task() -> None:
    text = """
import asyncio
async def once(): ...
async def sell(venue): await venue.create_order(1)
def run(venue, loop: asyncio.AbstractEventLoop, other_loop):
    asyncio.create_task(once())
    asyncio.create_task(sell(venue))
    asyncio.create_task(once()).add_done_callback(print)
    asyncio.run_coroutine_threadsafe(once(), loop)
    other_loop.create_task(once())
"""
    assert [(f.severity, f.confidence) for f in findings(DANGLING, text)] == [
        (Severity.MEDIUM, Confidence.CERTAIN),
        (Severity.HIGH, Confidence.CERTAIN),
        (Severity.LOW, Confidence.CERTAIN),
        (Severity.INFO, Confidence.CERTAIN),
        (Severity.MEDIUM, Confidence.LIKELY),
    ]


def test_a_wrapper_is_reported_once_with_the_number_of_its_callers() -> None:
    text = "import asyncio\ndef spawn(job):\n    return asyncio.ensure_future(job)\n"
    other = "from bot import spawn\nasync def once(): ...\ndef run():\n    spawn(once())\n    spawn(once())\n"
    found = only(DANGLING, text, other=other)
    assert (found.path, found.line) == ("bot.py", 3)
    assert found.message == "The task that spawn() returns is kept by nothing, and 2 callers drop it"
    assert found.confidence is Confidence.LIKELY


# --- swallowed-cancellation -----------------------------------------------------------------------------------------


class Enough(Exception):
    """Ends the loop of the Bad example from inside its handler: nothing else does."""


class Over(Exception):
    """Raised by the log of the page's task, so that the test can end what a cancellation does not end."""


def honours_cancellation(part: str, seconds: float) -> bool:
    """Whether the page's task has ended within some time after it was cancelled."""

    async def scene() -> bool:
        names = page(SWALLOWED, part)
        watched = SimpleNamespace(over=False)

        def warning(_text: str) -> None:
            if watched.over:
                raise Over

        names["log"] = SimpleNamespace(warning=warning)
        feed, book = SimpleNamespace(latest=lambda: 1), SimpleNamespace(update=lambda _: None)
        task = asyncio.create_task(names["follow"](feed, book))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task], timeout=seconds)
        ended = task.done()
        watched.over = True
        task.cancel()  # falls into the same handler, whose log raises now
        await asyncio.gather(task, return_exceptions=True)
        return ended

    return asyncio.run(scene())


def test_a_swallowed_cancellation_is_not_honoured() -> None:
    assert not honours_cancellation("bad", 1.0)
    assert honours_cancellation("good", 1.0)


LOOP = """
import asyncio
class Feed:
    async def step(self): await asyncio.sleep(1)
    async def run(self, socket):
        while {test}:
            try:
                await {what}
            except {kind}:
                {body}
        await self.step()
"""


@pytest.mark.parametrize(
    ("changes", "grades"),
    [
        ({}, (Severity.HIGH, Confidence.CERTAIN)),
        ({"what": "socket.recv()"}, (Severity.HIGH, Confidence.POSSIBLE)),
        ({"test": "self.running", "kind": "BaseException"}, (Severity.MEDIUM, Confidence.POSSIBLE)),
        ({"body": "if self.debug: raise"}, (Severity.HIGH, Confidence.POSSIBLE)),
        ({"body": "break"}, (Severity.MEDIUM, Confidence.LIKELY)),
    ],
)
def test_grades_of_a_swallowed_cancellation(changes: dict[str, str], grades: tuple[Severity, Confidence]) -> None:
    parts = {"test": "True", "what": "self.step()", "kind": "asyncio.CancelledError", "body": "pass"} | changes
    found = only(SWALLOWED, LOOP.format(**parts))
    assert (found.severity, found.confidence) == grades


def test_the_proof_leads_from_the_suspension_to_what_goes_on() -> None:
    found = only(SWALLOWED, LOOP.format(test="True", what="self.step()", kind="BaseException", body="pass"))
    assert [(s.name, s.line) for s in found.proof] == [("run", 8), ("step", 4), ("except", 9), ("loop", 8)]


@pytest.mark.parametrize("shape", ["return 1", "break", "pass\n        self.n = 1"])
def test_a_shared_finally_part_is_left_where_it_was_entered_for(shape: str) -> None:
    """The handler returns: that a normal end of the same `finally` goes on says nothing of it."""
    text = f"""
import asyncio
class Feed:
    async def run(self):
        for _ in range(3):
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                {shape.partition(chr(10))[0]}
            finally:
                self.n = 1
"""
    assert bool(findings(SWALLOWED, text)) is (shape.startswith("pass"))


def test_a_handler_is_reported_once(tmp_path: Path) -> None:
    """A bare except around an await is a swallowed cancellation, and not a second finding."""
    (tmp_path / "bot.py").write_text(example(RULES.pages[SWALLOWED].bad), encoding="utf-8")
    audit = pipeline.run(Request(config.load([tmp_path]), tools=(), cache=None, jobs=1)).audit
    assert [f.rule for f in audit.findings] == [SWALLOWED]
    assert [f.line for f in findings("bare-except", example(RULES.pages[SWALLOWED].bad))] == [audit.findings[0].line]


KEPT_ELSEWHERE = """
import asyncio


class Feed:
    def start(self, loop):
        {before}
        asyncio.create_task(self._pump())

    async def _pump(self):
        while True:
            {wait}
"""


@pytest.mark.parametrize(
    ("before", "wait", "grades"),
    [
        ("pass", "await self._read()", (Severity.HIGH, Confidence.CERTAIN)),
        ("pass", "await asyncio.sleep(1)", (Severity.LOW, Confidence.POSSIBLE)),
        ("loop.set_task_factory(self._make)", "await self._read()", (Severity.LOW, Confidence.POSSIBLE)),
    ],
)
def test_a_task_that_the_loop_may_know(before: str, wait: str, grades: tuple[Severity, Confidence]) -> None:
    """A timer of the loop holds the task that sleeps, and a task factory can hold all of them."""
    found = only(DANGLING, KEPT_ELSEWHERE.format(before=before, wait=wait))
    assert (found.severity, found.confidence) == grades


def test_a_sleeping_task_is_not_collected() -> None:
    async def run() -> bool:
        ended = []

        async def nap() -> None:
            await asyncio.sleep(0.01)
            ended.append(True)

        asyncio.create_task(nap())  # noqa: RUF006 - what is shown
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0.05)
        return bool(ended)

    assert asyncio.run(run())
