"""An audit made by hand: eight findings of all kinds, half of them with hostile text. For the tests of the writers."""

from __future__ import annotations

from auditor.finding import (
    Audit,
    Confidence,
    Coverage,
    Edit,
    Finding,
    Fix,
    Loss,
    Page,
    Refuted,
    Severity,
    Step,
    Suppression,
    ToolRun,
    Witness,
    order,
)

HOSTILE = (
    "`a` ``b`` | <script>alert(1)</script> <!-- x --> \x1b[31mred\x1b]8;;https://evil.example\x07 \u202egnp.exe "
    "@octocat #12 GH-1 a/b#3 :smile: https://evil.example/x ![i](https://evil.example/i.png) [l](javascript:1) "
    "\n::error file=x::pwned\n##[error]pwned ##vso[task.x]y &lt; ]]> \udc80 \u200b \u2028 \x85 {{x}} $a$ %0A \\"
)
HOSTILE_PATH = "bot/we`ird |<b>\u202e(x)%[y](z)\n::error::p\udce4th.py"

EXECUTOR = """import time


class Executor:
    async def submit(self, order):
        try:
            await self.venue.send(order)
        except NetworkError:
            self._retry(order)
            return
\tself.balance = balance
"""
RETRY = "import time\n\n\ndef _retry(order):\n    time.sleep(5)  # \x1b[31m ::error::x ##[error]y ``` <b>\n"


def page(rule: str, chapter: str, title: str, severity: Severity, **fields: object) -> Page:
    defaults: dict[str, object] = {
        "what": "Finds it.",
        "why": f"{title} costs money. More prose follows here.",
        "bad": "```python\nbad()\n```",
        "good": "```python\ngood()\n```",
        "limits": "None known.",
        "fix": "Write it as in Good.",
    }
    return Page(
        id=rule,
        chapter=chapter,
        title=title,
        severity=severity,
        confidence=Confidence.CERTAIN,
        **{**defaults, **fields},  # type: ignore[arg-type]
    )


PAGES = (
    page(
        "blocking-call-in-async",
        "async_safety",
        "Blocking call freezes the event loop",
        Severity.HIGH,
        why="While it sleeps no order, cancel or stop is processed on this loop. Everything waits.",
        cwe=(833,),
        effort="S",
    ),
    page(
        "await-atomicity",
        "locks",
        "State changes between a read and a write",
        Severity.CRITICAL,
        why="Two tasks both pass the check, and the position is doubled.",
        fix="Hold one lock around the read and the write.",
        cwe=(362, 367),
        effort="M",
    ),
    page("decimal-from-float", "money", "Decimal built from a float", Severity.HIGH, effort="L"),
    page("hardcoded-secret", "security", "Secret in the source", Severity.MEDIUM, cwe=(798,), effort="S"),
    page("god-class", "architecture", "Class with too many duties", Severity.LOW, effort="L"),
    page("no-rate-limit", "orders", "No limiter before the venue", Severity.MEDIUM),
    page("unbounded-queue", "resources", "Queue without a bound", Severity.MEDIUM),
)

CHAPTERS = {
    "async_safety": "What stops the event loop. Orders wait while it stands.",
    "locks": "State that several tasks write.",
    "money": "Arithmetic of prices and sizes.",
}


def _finding(rule: str, path: str, line: int, number: int, **fields: object) -> Finding:
    defaults: dict[str, object] = {
        "column": 5,
        "end_line": line,
        "end_column": 12,
        "severity": Severity.HIGH,
        "confidence": Confidence.CERTAIN,
        "message": f"message {number}",
        "witnesses": (Witness("auditor", rule),),
        "id": f"AUD-{number:012x}",
    }
    return Finding(rule=rule, path=path, line=line, **{**defaults, **fields})  # type: ignore[arg-type]


SLEEP = Step("bot/retry.py", 5, 5, "_retry() calls time.sleep: blocks", "time.sleep")

FINDINGS = (
    _finding(
        "blocking-call-in-async",
        "bot/executor.py",
        9,
        1,
        column=13,
        end_column=31,
        message="submit() blocks the event loop: it reaches time.sleep through 2 calls",
        proof=(Step("bot/executor.py", 9, 13, "coroutine submit() calls _retry()", "submit"), SLEEP),
        fix=Fix("safe", "await asyncio.sleep in an async _retry", (Edit("bot/executor.py", 9, 13, 9, 13, "await "),)),
        witnesses=(Witness("auditor", "blocking-call-in-async"), Witness("ruff", "ASYNC251")),
        symbol="Executor.submit",
        chapter="async_safety",
    ),
    _finding(
        "blocking-call-in-async",
        "bot/executor.py",
        7,
        2,
        message="cancel() blocks the event loop: it reaches time.sleep through 2 calls",
        proof=(Step("bot/executor.py", 7, 5, "coroutine cancel() calls _retry()"), SLEEP),
        symbol="Executor.cancel",
        chapter="async_safety",
        state="baselined",
    ),
    _finding(
        "await-atomicity",
        "bot/executor.py",
        11,
        3,
        column=2,
        end_column=14,
        severity=Severity.CRITICAL,
        confidence=Confidence.LIKELY,
        message="`Executor.submit` decides on `self.balance` before an await and writes it after",
        proof=(
            Step("bot/executor.py", 6, 9, "[A] reads self.balance", "read"),
            Step("bot/executor.py", 7, 13, "[A] awaits venue.send", "await"),
            Step("bot/executor.py", 6, 9, "[B] reads self.balance", "read"),
            Step("bot/executor.py", 11, 2, "[B] writes self.balance", "write"),
            Step("bot/executor.py", 11, 2, "[A] writes self.balance: the write of B is lost", "write"),
        ),
        symbol="Executor.submit",
        chapter="locks",
    ),
    _finding(
        "decimal-from-float",
        HOSTILE_PATH,
        1,
        4,
        end_column=900,
        message=HOSTILE,
        symbol=HOSTILE,
        chapter="money",
        fix=Fix("display", HOSTILE, (Edit(HOSTILE_PATH, 1, 1, 1, 2, HOSTILE),)),
        proof=(Step(HOSTILE_PATH, 1, 1, HOSTILE), Step("::error::x.py", 3, 1, "## [A] " + HOSTILE)),
    ),
    _finding(
        "hardcoded-secret",
        "bot/config.py",
        3,
        5,
        severity=Severity.MEDIUM,
        message="a literal of 40 characters (ghp_...) is a GitHub token",
        chapter="security",
    ),
    _finding(
        "god-class",
        "bot/executor.py",
        4,
        6,
        severity=Severity.LOW,
        message="class Executor has 41 methods",
        symbol="Executor",
        chapter="architecture",
    ),
    _finding(
        "no-rate-limit",
        "bot/retry.py",
        5,
        7,
        severity=Severity.MEDIUM,
        confidence=Confidence.POSSIBLE,
        message="no limiter found before venue.send",
        chapter="orders",
    ),
    _finding(
        "ruff/B006",
        "tests/t.py",
        2,
        8,
        severity=Severity.LOW,
        message="Do not use mutable data structures for argument defaults",
        witnesses=(Witness("ruff", "B006"),),
        chapter="external",
    ),
    _finding(
        "hardcoded-secret",
        "tests/t.py",
        9,
        9,
        severity=Severity.LOW,
        message="a literal is a key",
        chapter="security",
        state="suppressed",
    ),
)

COVERAGE = Coverage(
    complete=False,
    commit="0123456789abcdef0123456789abcdef01234567",
    found=6,
    analysed=5,
    lines=1402,
    skipped=(Loss("bot/broken.py", "syntax", HOSTILE),),
    excluded=(("research/**", "pyproject.toml", 12),),
    links_not_followed=1,
    calls={"resolved": 90, "unresolved": 10},
    awaits={"may": 41, "never": 7, "unknown": 12},
    dynamic={"getattr": 2, "exec": 0, "import": 1},
    suppressions=(
        Suppression(("hardcoded-secret",), "tests/t.py", 9, "a fake key | of the test", ("AUD-000000000009",), True),
        Suppression(("god-class",), HOSTILE_PATH, 3, HOSTILE),
    ),
    baseline={"path": "auditor-baseline.jsonl", "matched": 1, "stale": 0},
    assumptions=("model `Venue.peek` is said not to block",),
)

TOOLS = (
    ToolRun("auditor", "0.1.0", "partial", ("auditor", "scan", "."), 1, 6, 5, notes=("1 file lost (syntax)",)),
    ToolRun(
        "ruff",
        "0.17.5",
        "complete",
        ("<python>", "-m", "ruff", "check", "<stage>"),
        0,
        5,
        5,
        refuted=(Refuted("bot/retry.py", 5, "ASYNC251", "not-async", "only threads call it"),),
        metrics={"z": 1, "a": [1, 2]},
    ),
    ToolRun("mypy", "2.4.1", "failed", ("<python>", "-m", "mypy"), 2, 5, 0, notes=(HOSTILE,)),
    ToolRun("bandit", "1.9.4", "off"),
)

RISK = {
    "formula": 1,
    "points": 88.4,
    "score": 59,
    "level": "high",
    "lower_bound": True,
    "contributions": [
        {"rule": "await-atomicity", "path": "bot/executor.py", "n": 1, "points": 28.0},
        {"rule": "blocking-call-in-async", "path": "bot/executor.py", "n": 2, "points": 25.4},
        *({"rule": f"rule-{n}", "path": HOSTILE_PATH, "n": 1, "points": 3.5} for n in range(10)),
    ],
}

AUDIT = Audit(
    version="0.1.0",
    findings=tuple(sorted(FINDINGS, key=order)),
    tools=TOOLS,
    coverage=COVERAGE,
    risk=RISK,
    pages={item.id: item for item in PAGES},
    chapters=CHAPTERS,
    texts={"bot/executor.py": EXECUTOR, "bot/retry.py": RETRY, HOSTILE_PATH: HOSTILE + "\n"},
    contexts={"bot/executor.py": "production", "tests/t.py": "tests"},
    metrics={"directories": [{"path": "bot", "lines": 1200, "findings": 6, "coroutines": 3}, {"path": HOSTILE}]},
    argv=("auditor", "scan", "--output", "markdown=audit.md", HOSTILE),
    project=HOSTILE,
)

CLEAN = Audit(
    version="0.1.0",
    findings=(),
    tools=(ToolRun("auditor", "0.1.0", "complete", (), 0, 3, 3),),
    coverage=Coverage(found=3, analysed=3, lines=120),
    risk={"formula": 1, "points": 0.0, "score": 0, "level": "low", "lower_bound": False, "contributions": []},
    pages={item.id: item for item in PAGES},
    project="trading",
)
