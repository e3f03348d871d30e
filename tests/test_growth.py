"""How the work grows with the project, in counts and never in times; and that nothing in it is deep enough to end the recursion.

The generated projects are those of `benchmarks/growth.py`, which measures the same in seconds. Whatever an audited tree holds - a
chain of three thousand calls, a ring of imports - no rule may be lost over it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from auditor import engine
from auditor.facts.collect import read
from auditor.finding import Finding
from auditor.project.contention import Contention
from auditor.project.project import Project
from auditor.project.summaries import deepest_first, summaries
from auditor.project.suspension import Suspension
from auditor.rule import Rule
from auditor.workers import Pool
from benchmarks.growth import SHAPES, STRATA, Bench, Texts, lower

SMALL = 40  # call sites
FACTOR = 4
SLACK = 1.1  # of a linear part: what sorting costs
CONSTANT = 200  # calls that do not depend on the size
REST = 4  # functions in a last file that is not full


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


# --- linear ---------------------------------------------------------------------------------------------------------


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called and generators resumed while something runs."""
    count = 0

    def profile(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def counted(bench: Bench, texts: Texts) -> dict[str, int]:
    """The calls of each stratum, then of each rule, for one project."""
    project = bench.link(lower(texts, bench))
    counts = {name: calls_of(lambda ask=ask: ask(project)) for name, ask in STRATA.items()}  # type: ignore[misc]  # bound at once
    for rule in bench.rules:
        if type(rule).check_project is not Rule.check_project:
            counts[rule.id] = calls_of(lambda rule=rule: list(rule.check_project(project)))  # type: ignore[misc]  # bound at once
    return counts


@pytest.mark.parametrize("shape", SHAPES)
def test_the_calls_grow_with_the_project(shape: str, bench: Bench) -> None:
    """A part whose work grows with the square of the size makes sixteen times the calls in a project of four times the size."""
    small, large = (counted(bench, SHAPES[shape](size)) for size in (SMALL, FACTOR * SMALL))
    assert {name: (small[name], n) for name, n in large.items() if n > FACTOR * SLACK * small[name] + CONSTANT} == {}


def transfers(bench: Bench, texts: Texts, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, int]:
    """The evaluations of the fixpoints of one project: of suspension, of contention, and runs of the types over a function."""
    counts = {Suspension: 0, Contention: 0}
    for kind in (Suspension, Contention):
        plain = kind._transfer

        def counting(self: Any, node: Any, value: Any, kind: Any = kind, plain: Any = plain) -> Any:
            counts[kind] += 1
            return plain(self, node, value)

        monkeypatch.setattr(kind, "_transfer", counting)
    project = bench.link(lower(texts, bench))
    assert project.suspension
    assert project.locks.contention.contended is not None
    monkeypatch.undo()
    return counts[Suspension], counts[Contention], project.linked.runs


@pytest.mark.parametrize("shape", ["chain", "awaits", "classes", "siblings", "locks"])
def test_the_evaluations_of_the_fixpoints_grow_with_the_project(shape: str, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, four = (transfers(bench, SHAPES[shape](size), monkeypatch) for size in (100, 200, 400))
    for small, middle, large in zip(one, two, four, strict=True):
        assert large - middle <= 2 * (middle - small) * SLACK + REST


def test_a_chain_is_evaluated_once() -> None:
    """Callees come before callers, so that a summary without a ring needs one evaluation of each function."""
    size, evaluated = 3_000, []

    def transfer(node: int, value: Callable[[int], int]) -> int:
        evaluated.append(node)
        return value(node + 1) + 1 if node + 1 < size else 1

    found = summaries([0], lambda node: [node + 1] if node + 1 < size else [], transfer, 0, -1)
    assert found[0] == size
    assert evaluated == list(range(size))[::-1]


def test_what_is_remembered_is_computed_deepest_first_and_once() -> None:
    leads: Mapping[int, list[int]] = {0: [1, 2], 1: [3], 2: [3], 3: [0], 4: [0]}
    known: dict[int, int] = {}
    for node in deepest_first(4, leads.__getitem__, known.__contains__):
        known[node] = 1 + max((known.get(below, 0) for below in leads[node]), default=0)
    assert known == {3: 1, 1: 2, 2: 2, 0: 3, 4: 4}
    assert list(deepest_first(4, leads.__getitem__, known.__contains__)) == []


# --- deep -----------------------------------------------------------------------------------------------------------


IMPORTS = "import asyncio\nfrom concurrent.futures import ThreadPoolExecutor\n\n\n"


def _methods(lines: Iterator[str], *, head: str = "", last: str) -> Texts:
    return {"desk.py": IMPORTS + head + "\n".join([*lines, last]) + "\n"}


def hierarchy(size: int) -> Texts:
    """A line of classes whose step awaits that of the class before."""
    head = "class C0:\n    async def run(self):\n        await self.step()\n\n"
    head += "    async def step(self):\n        await asyncio.sleep(1)\n\n\n"
    lines = (f"class C{i + 1}(C{i}):\n    async def step(self):\n        await super().step()\n" for i in range(size))
    return _methods(lines, head=head, last="")


def nested_locks(size: int) -> Texts:
    """Methods that await one another while they hold the one lock."""
    lines = (f"    async def m{i}(self):\n        async with self.lock:\n            await self.m{i + 1}()\n" for i in range(size))
    head = "class A:\n    def __init__(self):\n        self.lock = asyncio.Lock()\n\n"
    return _methods(lines, head=head, last=f"    async def m{size}(self):\n        await asyncio.sleep(1)")


def lock_chain(size: int) -> Texts:
    """Locks behind one another: whether one is contended depends on all that follow."""
    made = "".join(f"        self.l{i} = asyncio.Lock()\n" for i in range(size + 1))
    step = "    async def m{0}(self):\n        async with self.l{0}:\n            async with self.l{1}:\n                pass\n"
    lines = (step.format(i, i + 1) for i in range(size))
    last = f"    async def m{size}(self):\n        async with self.l{size}:\n            await asyncio.sleep(1)"
    return _methods(lines, head=f"class A:\n    def __init__(self):\n{made}\n", last=last)


def owners(size: int) -> Texts:
    """Objects that build one another and hand a lock on."""
    step = (
        "class C{0}:\n    def __init__(self, lock):\n        self.lock = lock\n        self.child = C{1}(self.lock)\n\n"
        "    async def run(self):\n        async with self.lock:\n            await self.child.run()\n\n"
    )
    last = (
        f"class C{size}:\n    def __init__(self, lock):\n        self.lock = lock\n\n"
        "    async def run(self):\n        async with self.lock:\n            pass"
    )
    return _methods((step.format(i, i + 1) for i in range(size)), last=last)


def returned(size: int) -> Texts:
    """Functions that hand on what the next one gives: a lock."""
    lines = (f"def f{i}():\n    return f{i + 1}()\n\n" for i in range(size))
    last = f"def f{size}():\n    return LOCK\n\n\nasync def run():\n    async with f0():\n        await asyncio.sleep(1)"
    return _methods(lines, head="LOCK = asyncio.Lock()\n\n\n", last=last)


def properties(size: int) -> Texts:
    """Properties that read one another, in the test of a loop."""
    lines = (f"    @property\n    def p{i}(self):\n        return self.p{i + 1}\n" for i in range(size))
    last = f"    @property\n    def p{size}(self):\n        return 1\n\n    async def run(self):\n        while self.p0:\n            pass"
    return _methods(lines, head="class A:\n", last=last)


def executors(size: int) -> Texts:
    """A pool that is built at the end of a chain of awaits."""
    head = "class A:\n    async def run(self, queue):\n        while True:\n            await self.m0(await queue.get())\n\n"
    lines = (f"    async def m{i}(self, x):\n        await self.m{i + 1}(x)\n" for i in range(size))
    last = (
        f"    async def m{size}(self, x):\n        with ThreadPoolExecutor() as pool:\n"
        "            return await asyncio.get_running_loop().run_in_executor(pool, print)"
    )
    return _methods(lines, head=head, last=last)


def ring(size: int) -> Texts:
    """Functions and coroutines that call one another in a ring."""
    step = "def f{0}(x):\n    return f{1}(x)\n\n\nasync def a{0}(x):\n    await a{1}(x)\n    await asyncio.sleep(0)\n\n"
    lines = (step.format(i, (i + 1) % size) for i in range(size))
    return _methods(lines, last="async def run(x):\n    with f0(x):\n        await a0(x)")


def copies(size: int) -> Texts:
    """A coroutine that goes by very many names, and a name that is bound to what is made from it."""
    lines = (f"    a{i + 1} = a{i}\n    x = g(x)" for i in range(size))
    head = "async def g(x):\n    return x\n\n\nasync def run(x):\n    a0 = g(x)\n"
    return _methods(lines, head=head, last=f"    async with x:\n        await a{size}")


def reexports(size: int) -> Texts:
    """A name that is imported through very many files, by name and by star, and a ring of such files."""
    texts = {"p/__init__.py": "", f"p/m{size}.py": "def f():\n    return 1\n", f"p/s{size}.py": "def g():\n    return 1\n"}
    for i in range(size):
        texts[f"p/m{i}.py"] = f"from p.m{i + 1} import f\n"
        texts[f"p/s{i}.py"] = f"from p.s{i + 1} import *\n"
        texts[f"p/r{i}.py"] = f"from p.r{(i + 1) % size} import h\n"
        texts[f"p/t{i}.py"] = f"from p.t{(i + 1) % size} import *\n"
    imports = "from p.m0 import f\nfrom p.s0 import g\nfrom p.r0 import h\nfrom p.t0 import k\n"
    texts["p/main.py"] = imports + "\n\ndef run():\n    return f() + g() + h() + k()\n"
    return texts


def diamonds(size: int) -> Texts:
    """Classes of two bases that have one base, again and again: as many ways to the top as two to the power of their number."""
    step = "class A{0}(D{0}):\n    pass\n\n\nclass B{0}(D{0}):\n    pass\n\n\n"
    step += "class D{1}(A{0}, B{0}):\n    def step(self):\n        return {0}\n\n"
    lines = (step.format(i, i + 1) for i in range(size))
    return _methods(lines, head="class D0:\n    def step(self):\n        return 0\n\n\n", last=f"async def run():\n    D{size}().step()")


DEEP: Mapping[str, tuple[Callable[[int], Texts], int]] = {
    "chain of calls": (SHAPES["chain"], 3_000), "chain of awaits": (SHAPES["awaits"], 3_000), "line of classes": (hierarchy, 2_000),
    "subclasses": (SHAPES["siblings"], 1_000), "diamonds": (diamonds, 100), "nested locks": (nested_locks, 600),
    "chain of locks": (lock_chain, 300), "owners": (owners, 500), "returned": (returned, 600), "properties": (properties, 600),
    "executors": (executors, 600), "ring": (ring, 600), "copies": (copies, 800), "re-exports": (reexports, 300),
}  # fmt: skip


def judged(bench: Bench, texts: Texts) -> list[Finding]:
    """The findings of all rules; none of them may be lost, at the ordinary limit of recursion."""
    assert sys.getrecursionlimit() <= 1_000
    project = bench.link(lower(texts, bench))
    found, errors = engine.judge(project, bench.rules)
    assert errors == []
    return found


@pytest.mark.parametrize("name", DEEP)
def test_no_rule_is_lost_over_a_deep_project(name: str, bench: Bench) -> None:
    shape, size = DEEP[name]
    assert judged(bench, shape(size)) is not None


def test_what_stands_at_the_end_of_a_chain_is_found(bench: Bench) -> None:
    found = judged(bench, SHAPES["chain"](1_200))
    assert [(f.rule, f.path, len(f.proof)) for f in found if f.rule == "blocking-call-in-async"] == [
        ("blocking-call-in-async", "desk/main.py", 1_201)
    ]


def linked(bench: Bench, texts: Texts) -> Project:
    return bench.link(lower(texts, bench))


def test_a_name_is_found_through_any_number_of_files(bench: Bench) -> None:
    project = linked(bench, reexports(300))
    run = next(f for f in project.functions() if f.name == "run")
    targets = [sorted(t.function.name for t in result.targets) for _, result in sorted(project.calls(run).items())]
    assert targets == [["f"], ["g"], [], []]


def test_every_lock_of_a_chain_is_contended(bench: Bench) -> None:
    assert len(linked(bench, lock_chain(200)).locks.contention.contended) == 201


# --- nested sources -------------------------------------------------------------------------------------------------

NESTED = {
    "calls": "def run(f, x):\n    return " + "f(" * 1_500 + "x" + ")" * 1_500 + "\n",
    "attributes": "def run(x):\n    return x" + ".a()" * 1_000 + "\n",
    "sums": "def run(x):\n    return " + " + ".join(["x"] * 1_500) + "\n",
    "branches": "def run(x):\n    if not x:\n        x = 1\n" + "".join(f"    elif x == {i}:\n        x = run(x)\n" for i in range(900)),
    "displays": "X = " + "[" * 1_500 + "]" * 1_500 + "\n",
    "functions": "".join("    " * i + f"def f{i}():\n" for i in range(95)) + "    " * 95 + "return 1\n",
}
PLAIN = "import time\n\n\nasync def run():\n    time.sleep(1)\n"


@pytest.fixture(scope="module")
def answers() -> Mapping[str, Any]:
    """What a worker gives for each nested source, and for a plain one after them."""
    files = [(f"{name}.py", text.encode()) for name, text in NESTED.items()] + [("plain.py", PLAIN.encode())]
    return {answer.path: answer for answer in Pool("auditor.loader:handle", {"folders": [], "options": {}}, 1).run(files)}


@pytest.mark.parametrize("name", NESTED)
def test_a_nested_source_is_analysed_or_told(name: str, answers: Mapping[str, Any], bench: Bench) -> None:
    answer = answers[f"{name}.py"]
    if answer.payload is None:
        assert answer.loss.path == f"{name}.py"
        assert answer.loss.reason
        return
    programs = {path: read(path, answers[path].payload).program for path in (f"{name}.py", "plain.py")}
    found, errors = engine.judge(bench.link(programs), bench.rules)
    assert errors == []
    assert "blocking-call-in-async" in {f.rule for f in found if f.path == "plain.py"}
