"""blocking-call-in-async and bare-except: grades, proofs and fixes that marks cannot say, and the harm, executed."""

from __future__ import annotations

import ast
import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from linked import RULES, analysed

from auditor.finding import Confidence, Edit, Finding, Severity
from auditor.rule import example
from auditor.source.text import LineStarts

BLOCKING = "blocking-call-in-async"
BARE = "bare-except"


def findings(texts: dict[str, str] | str, rule: str = BLOCKING, **options: Any) -> list[Finding]:
    """The findings in one text or several, by place."""
    files = {"bot.py": texts} if isinstance(texts, str) else texts
    return analysed(rule, {path: text.encode() for path, text in files.items()}, options)


def only(texts: dict[str, str] | str, **options: Any) -> Finding:
    found = findings(texts, **options)
    assert len(found) == 1, [f"{f.path}:{f.line}: {f.message}" for f in found]
    return found[0]


def applied(text: str, edits: tuple[Edit, ...]) -> str:
    lines = LineStarts(text)
    for edit in sorted(edits, key=lambda e: (e.line, e.column), reverse=True):
        start, end = lines.offset(edit.line, edit.column), lines.offset(edit.end_line, edit.end_column)
        text = text[:start] + edit.text + text[end:]
    return text


# --- grades ---------------------------------------------------------------------------------------------------------

HIERARCHY = """
import time, sqlite3

class Venue:
    def ask(self): raise NotImplementedError

class Slow(Venue):
    def __init__(self): self.db = sqlite3.connect("x.db")
    def ask(self): {body}

class Quick(Venue):
    def ask(self): return 1

async def run(venue: Venue):
    return venue.ask()
"""

GRADES = {
    "a high primitive, called directly": (
        "import time\nasync def run():\n    time.sleep(1)\n", Severity.HIGH, Confidence.CERTAIN),
    "a high primitive behind typed calls": (
        "import time\ndef f(): g()\ndef g(): time.sleep(1)\nasync def run():\n    f()\n", Severity.HIGH, Confidence.CERTAIN),
    "a medium primitive": (
        "import pandas as pd\nasync def run():\n    return pd.read_csv('a.csv')\n", Severity.MEDIUM, Confidence.LIKELY),
    "a high primitive in one of two overrides": (HIERARCHY.format(body="time.sleep(1)"), Severity.HIGH, Confidence.LIKELY),
    "a medium primitive in one of two overrides": (
        HIERARCHY.format(body="self.db.commit()"), Severity.MEDIUM, Confidence.POSSIBLE),
    "a half second of cpu_percent": (
        "import psutil\nasync def run():\n    psutil.cpu_percent(0.5)\n", Severity.HIGH, Confidence.CERTAIN),
    "a tenth of a second of cpu_percent": (
        "import psutil\nasync def run():\n    psutil.cpu_percent(0.1)\n", Severity.MEDIUM, Confidence.LIKELY),
}  # fmt: skip


@pytest.mark.parametrize(("text", "severity", "confidence"), GRADES.values(), ids=GRADES)
def test_grades(text: str, severity: Severity, confidence: Confidence) -> None:
    found = only(text)
    assert (found.severity, found.confidence) == (severity, confidence)


def test_a_hierarchy_in_which_all_wait_is_certain() -> None:
    text = HIERARCHY.format(body="time.sleep(1)").replace("return 1", "time.sleep(2)")
    assert only(text).confidence is Confidence.CERTAIN


def test_small_files_are_an_option() -> None:
    text = "async def run():\n    return open('a.txt').read()\n"
    assert findings(text) == []
    assert only(text, low=True).severity is Severity.LOW


def test_the_gravest_primitive_of_a_line_is_told() -> None:
    text = "import time, pandas as pd\nasync def run():\n    return pd.read_csv(str(time.sleep(1)))\n"
    assert "time.sleep" in only(text).message


def test_a_main_coroutine_may_be_alone_on_its_loop() -> None:
    text = "import asyncio, time\nasync def main():\n    await asyncio.sleep(0)\n    time.sleep(1)\n"
    assert only(text).confidence is Confidence.CERTAIN
    assert only(text + "asyncio.run(main())\n").confidence is Confidence.LIKELY


def test_a_loop_inside_a_loop_is_left_to_nest_asyncio() -> None:
    text = "import asyncio\nasync def run(work):\n    return asyncio.run(work())\n"
    assert only(text).severity is Severity.HIGH
    assert findings("import nest_asyncio\nnest_asyncio.apply()\n" + text) == []


# --- proofs ---------------------------------------------------------------------------------------------------------

CHAIN = {
    "app.py": "from feed import Feed\n\nasync def tick(feed: Feed):\n    feed.update()\n    feed.update()\n",
    "feed.py": "from net import fetch as get\n\nclass Feed:\n    def update(self):\n        return self._pull()\n"
               "    def _pull(self):\n        return get('x')\n",
    "net.py": "import requests\n\ndef fetch(path):\n    return requests.get(path, timeout=3)\n",
}  # fmt: skip


def test_the_proof_goes_from_the_coroutine_to_the_primitive() -> None:
    found = only(CHAIN)
    steps = [(s.path, s.line, s.name) for s in found.proof]
    assert steps[:4] == [
        ("app.py", 4, "tick"), ("feed.py", 5, "update"), ("feed.py", 7, "_pull"), ("net.py", 4, "requests.get"),
    ]  # fmt: skip
    assert (found.path, found.line) == ("app.py", 4)
    assert "through 3 calls" in found.message


def test_a_second_call_to_the_same_primitive_is_a_step_of_the_first() -> None:
    assert [(s.path, s.line) for s in only(CHAIN).proof][4:] == [("app.py", 5)]


def test_the_shortest_chain_is_told() -> None:
    text = "import time\ndef far(): near()\ndef near(): time.sleep(1)\nasync def run():\n    [far(), near()]\n"
    assert [(s.line, s.name) for s in only(text).proof] == [(5, "run"), (3, "time.sleep")]


def test_the_order_of_files_does_not_show() -> None:
    assert findings(dict(reversed(CHAIN.items()))) == findings(CHAIN)


# --- fixes ----------------------------------------------------------------------------------------------------------

FIXED = {
    "import is added in front of the first": (
        "import time\n\nasync def run():\n    time.sleep(1)\n",
        "import asyncio\nimport time\n\nasync def run():\n    await asyncio.sleep(1)\n",
    ),
    "import is there": (
        "import asyncio\nimport time as t\nasync def run():\n    t.sleep(1)\n",
        "import asyncio\nimport time as t\nasync def run():\n    await asyncio.sleep(1)\n",
    ),
    "imported by name": (
        "from time import sleep as nap\nasync def run():\n    nap(1)\n",
        "import asyncio\nfrom time import sleep as nap\nasync def run():\n    await asyncio.sleep(1)\n",
    ),
    "behind the docstring and the future": (
        '"""Doc."""\nfrom __future__ import annotations\nimport time\nasync def run():\n    time.sleep(1)\n',
        '"""Doc."""\nfrom __future__ import annotations\nimport asyncio\nimport time\nasync def run():\n    await asyncio.sleep(1)\n',
    ),
    "not into a guarded import": (
        '"""Doc."""\ntry:\n    import time\nexcept ImportError:\n    raise\nasync def run():\n    time.sleep(1)\n',
        '"""Doc."""\nimport asyncio\ntry:\n    import time\nexcept ImportError:\n    raise\nasync def run():\n    await asyncio.sleep(1)\n',
    ),
    "in a comprehension": (
        "import asyncio\nimport time\nasync def run(xs):\n    return [time.sleep(x) for x in xs]\n",
        "import asyncio\nimport time\nasync def run(xs):\n    return [await asyncio.sleep(x) for x in xs]\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), FIXED.values(), ids=FIXED)
def test_a_sleep_is_awaited(before: str, after: str) -> None:
    fix = only(before).fix
    assert fix is not None
    assert fix.applicability == "safe"
    fixed = applied(before, fix.edits)
    assert fixed == after
    ast.parse(fixed)
    assert findings(fixed) == []


@pytest.mark.parametrize("text", [
    "import time\ndef f(): time.sleep(1)\nasync def run():\n    f()\n",
    "import time\ndef asyncio(): ...\nasync def run():\n    time.sleep(1)\n",
    "import asyncio, time\ndef tick(): time.sleep(1)\nasync def run():\n    asyncio.get_running_loop().call_soon(tick)\n",
    "import requests\nasync def run():\n    requests.get('x', timeout=1)\n",
], ids=["in a callee", "the name asyncio is taken", "in a callback", "another primitive"])  # fmt: skip
def test_no_edit_where_await_would_not_do(text: str) -> None:
    fix = only(text).fix
    assert fix is not None
    assert fix.applicability == "display"
    assert fix.edits == ()


# --- executed -------------------------------------------------------------------------------------------------------


async def largest_gap(work: Awaitable[object]) -> float:
    """The longest time, in seconds, between two beats of a task that beats every 10 ms while `work` runs."""
    gap, last = 0.0, time.perf_counter()

    async def beat() -> None:
        nonlocal gap, last
        while True:
            await asyncio.sleep(0.01)
            now = time.perf_counter()
            gap, last = max(gap, now - last), now

    heart = asyncio.create_task(beat())
    await asyncio.sleep(0.02)
    await work
    await asyncio.sleep(0.02)
    heart.cancel()
    return gap


class Venue:
    """A client that has sent what it was given."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send(self, order: str) -> None:
        self.sent.append(order)


def namespace(code: str, **names: Any) -> dict[str, Any]:
    made: dict[str, Any] = dict(names)
    exec(compile(code, "<example>", "exec"), made)
    return made


def test_bad_stalls_the_loop_and_good_does_not() -> None:
    page = RULES.pages["blocking-call-in-async"]
    gaps: dict[str, float] = {}
    for name, section in (("bad", page.bad), ("good", page.good)):
        venue = Venue()
        submit: Callable[..., Awaitable[object]] = namespace(example(section))["submit"]
        gaps[name] = asyncio.run(largest_gap(submit(venue, "order")))
        assert venue.sent == ["order"]
    assert gaps["bad"] > 0.2
    assert gaps["good"] < 0.2


def test_a_thread_keeps_the_loop_free_and_an_early_call_does_not() -> None:
    def pause() -> None:
        time.sleep(0.25)

    async def early() -> None:
        pause()
        await asyncio.get_running_loop().run_in_executor(None, time.time)

    async def handed() -> None:
        await asyncio.get_running_loop().run_in_executor(None, pause)

    assert asyncio.run(largest_gap(early())) > 0.2
    assert asyncio.run(largest_gap(handed())) < 0.2


FEED = """
import asyncio

async def feed(client, book):
    while client.open:
        try:
            book.append(await client.next())
        {handler}
            client.failures += 1
"""


class Stream:
    """Never delivers."""

    def __init__(self) -> None:
        self.open = True
        self.failures = 0

    async def next(self) -> str:
        await asyncio.sleep(10)
        return "tick"


@pytest.mark.parametrize(
    ("handler", "honoured"), [("except:", False), ("except BaseException:", False), ("except Exception:", True)]
)
def test_a_bare_except_keeps_a_cancelled_task_alive(handler: str, honoured: bool) -> None:
    text = FEED.format(handler=handler)
    assert bool(findings(text, BARE)) is not honoured

    async def cancelled() -> bool:
        stream = Stream()
        task = asyncio.create_task(namespace(text)["feed"](stream, []))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
        ended = task.cancelled()
        assert (stream.failures == 0) is ended
        stream.open = False
        task.cancel()
        await asyncio.wait([task], timeout=1)
        return ended

    assert asyncio.run(cancelled()) is honoured


class Interrupted:
    """A client during whose call Ctrl-C is pressed."""

    def snapshot(self) -> None:
        raise KeyboardInterrupt


class Log:
    def warning(self, text: str) -> None:
        self.text = text


def test_bad_takes_the_interrupt_and_good_lets_it_through() -> None:
    page = RULES.pages["bare-except"]
    namespace(example(page.bad), log=Log())["refresh"](Interrupted(), {})
    with pytest.raises(KeyboardInterrupt):
        namespace(example(page.good), log=Log())["refresh"](Interrupted(), {})


# --- bare-except: grades and fixes -----------------------------------------------------------------------------------

HANDLERS = {
    "logs": ("client.snapshot()", "except:", "log.warning('x')", Severity.MEDIUM),
    "silent": ("client.snapshot()", "except:", "pass", Severity.HIGH),
    "around an order": ("client.create_order('x')", "except:", "log.warning('x')", Severity.HIGH),
    "converts": ("client.snapshot()", "except:", "raise ValueError('x') from None", Severity.LOW),
    "by name": ("client.snapshot()", "except BaseException:", "log.warning('x')", Severity.MEDIUM),
}


@pytest.mark.parametrize(("body", "handler", "does", "severity"), HANDLERS.values(), ids=HANDLERS)
def test_grades_of_handlers(body: str, handler: str, does: str, severity: Severity) -> None:
    text = f"def run(client, log):\n    try:\n        {body}\n    {handler}\n        {does}\n"
    (found,) = findings(text, BARE)
    assert (found.severity, found.line) == (severity, 4)
    assert found.fix is not None
    if handler == "except:":
        assert applied(text, found.fix.edits) == text.replace("except:", "except Exception:")


def test_an_await_makes_it_grave_and_is_shown() -> None:
    text = "async def run(client, log):\n    try:\n        await client.next()\n    except:\n        log.warning('x')\n"
    (found,) = findings(text, BARE)
    assert found.severity is Severity.HIGH
    assert [(s.line, s.name) for s in found.proof] == [(3, "await"), (4, "except")]
    assert "cancellation" in found.message


def test_many_of_a_kind_are_one_finding() -> None:
    one = "def f{n}(client):\n    try:\n        client.ping()\n    except:\n        pass\n"
    found = findings("".join(one.format(n=n) for n in range(6)), BARE)
    assert len(found) == 1
    assert "5 more" in found[0].message
    assert len(found[0].proof) == 6
    assert len(findings("".join(one.format(n=n) for n in range(5)), BARE)) == 5
