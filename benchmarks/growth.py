"""How the cost of each stratum and each project rule grows with the project: generated projects of n, 2n and 4n call sites.

usage: python benchmarks/growth.py [--size 500] [--shape NAME ...] [--above 1.15] [--json FILE]

Each shape of project - chains of calls and of awaits through many files, wide fans, classes with inheritance, locks, queues - is
lowered once per size, and then linked and asked, part by part, in one process; CPU time, cyclic collector off. Printed are
the times of the smallest size, the ratios t(2n)/t(n) and t(4n)/t(2n), and the exponent log2(t(4n)/t(n))/2: 1 is linear, 2 is
quadratic. Parts below a fiftieth of a second at 4n are left out, since they measure nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from auditor import loader
from auditor.facts.codec import Program
from auditor.facts.collect import collect, read
from auditor.project.graph import Node
from auditor.project.models import Models
from auditor.project.project import Project
from auditor.project.stubs import Typeshed
from auditor.rule import Rule

Texts = dict[str, str]
PER_FILE = 20  # functions or classes in one file
LEAST = 0.02  # seconds at 4n, below which a part is not shown


# --- shapes ---------------------------------------------------------------------------------------------------------


def _files(items: Iterable[str], head: Callable[[int], str], last: str = "") -> Texts:
    """Items in files of a few, `part0.py`, `part1.py` and so on; `head` gives the first lines of a file by its number."""
    texts: Texts = {}
    pending: list[str] = []
    number = 0
    for item in items:
        pending.append(item)
        if len(pending) == PER_FILE:
            texts[f"desk/part{number}.py"] = head(number) + "\n".join(pending)
            pending, number = [], number + 1
    texts[f"desk/part{number}.py"] = head(number) + "\n".join(pending) + last
    texts["desk/__init__.py"] = ""
    return texts


def _next_file(count: int, name: str, *imports: str) -> Callable[[int], str]:
    """Imports the first item of the next file."""

    def head(number: int) -> str:
        following = (number + 1) * PER_FILE
        lines = list(imports)
        if following < count:
            lines.append(f"from desk.part{number + 1} import {name.format(following)}")
        return "\n".join(lines) + "\n\n"

    return head


def chain(count: int) -> Texts:
    """A chain of synchronous calls under one coroutine; the last one blocks."""
    items = [f"def f{i}(x):\n    return {f'f{i + 1}(x)' if i + 1 < count else 'time.sleep(x)'}\n" for i in range(count)]
    texts = _files(items, _next_file(count, "f{}", "import time"))
    texts["desk/main.py"] = "from desk.part0 import f0\n\n\nasync def run():\n    f0(1)\n"
    return texts


def awaits(count: int) -> Texts:
    """A chain of awaits; the last one suspends."""
    items = [
        f"async def f{i}(x):\n    return await {f'f{i + 1}(x)' if i + 1 < count else 'asyncio.sleep(x)'}\n"
        for i in range(count)
    ]
    texts = _files(items, _next_file(count, "f{}", "import asyncio"))
    texts["desk/main.py"] = (
        "import asyncio\nfrom desk.part0 import f0\n\n\nasync def main():\n    while True:\n        await f0(1)\n\n\nasyncio.run(main())\n"
    )
    return texts


def fan_out(count: int) -> Texts:
    """One coroutine that calls very many functions."""
    items = [f"def f{i}(x):\n    return x + {i}\n" for i in range(count)]
    texts = _files(items, lambda _: "")
    names = [f"from desk.part{i // PER_FILE} import f{i}" for i in range(count)]
    calls = [f"    x = f{i}(x)" for i in range(count)]
    texts["desk/main.py"] = "\n".join([*names, "", "", "async def run(x):", *calls]) + "\n"
    return texts


def fan_in(count: int) -> Texts:
    """Very many coroutines that call one function."""
    items = [f"async def f{i}(x):\n    await shared(x)\n    return helper(x)\n" for i in range(count // 2)]
    texts = _files(items, lambda _: "from desk.shared import helper, shared\n\n\n")
    texts["desk/shared.py"] = (
        "import asyncio\nimport time\n\n\nasync def shared(x):\n    await asyncio.sleep(x)\n\n\n"
        "def helper(x):\n    time.sleep(x)\n    return x\n"
    )
    return texts


def classes(count: int) -> Texts:
    """Families of ten classes behind one another; each overrides a step that the base runs."""
    items = []
    for i in range(count // 4):
        base = f"C{i - 1}" if i % 10 else "object"
        items.append(
            f"class C{i}({base}):\n    def __init__(self):\n        self.step = {i}\n        self.items = []\n\n    def run(self):\n"
            f"        self.one()\n        return self.two()\n\n    def one(self):\n        self.items.append(self.step)\n\n"
            f"    def two(self):\n        return len(self.items)\n"
        )

    def head(number: int) -> str:
        first = number * PER_FILE
        return f"from desk.part{number - 1} import C{first - 1}\n\n\n" if first % 10 and number else ""

    texts = _files(items, head)
    texts["desk/main.py"] = "from desk.part0 import C0\n\n\nasync def main(c: C0):\n    c.run()\n"
    return texts


def siblings(count: int) -> Texts:
    """One base with very many subclasses that override its step."""
    items = [
        f"class C{i}(Base):\n    async def step(self, x):\n        return await self.wait(x + {i})\n"
        for i in range(count // 2)
    ]
    texts = _files(items, lambda _: "from desk.base import Base\n\n\n")
    texts["desk/base.py"] = (
        "import asyncio\n\n\nclass Base:\n    async def run(self, x):\n        while True:\n            await self.step(x)\n\n"
        "    async def step(self, x):\n        return x\n\n    async def wait(self, x):\n        await asyncio.sleep(x)\n        return x\n"
    )
    return texts


def locks(count: int) -> Texts:
    """Objects with a lock each, which call one another while they hold it."""
    items = []
    number = count // 4
    for i in range(number):
        following = f"self.peer = C{i + 1}()" if (i + 1) % PER_FILE and i + 1 < number else "self.peer = None"
        items.append(
            f"class C{i}:\n    def __init__(self):\n        self.lock = asyncio.Lock()\n        self.total = 0\n"
            f"        {following}\n\n    async def add(self, x):\n        async with self.lock:\n"
            f"            total = self.total\n            await asyncio.sleep(x)\n            self.total = total + x\n"
            f"            if self.peer is not None:\n                await self.peer.add(x)\n\n"
            f"    async def run(self):\n        while True:\n"
            f"            asyncio.create_task(self.add(1))\n            await asyncio.sleep(1)\n"
        )
    return _files(items, lambda _: "import asyncio\n\n\n")


def queues(count: int) -> Texts:
    """Pairs of a producer and a consumer around a queue."""
    items = [
        f"class C{i}:\n    def __init__(self, sink):\n        self.queue = asyncio.Queue()\n        self.sink = sink\n\n"
        f"    async def on_tick(self, tick):\n        self.queue.put_nowait(tick)\n\n    async def drain(self):\n"
        f"        while True:\n            item = await self.queue.get()\n            await self.sink.insert(item)\n"
        for i in range(count // 4)
    ]
    return _files(items, lambda _: "import asyncio\n\n\n")


def branches(count: int) -> Texts:
    """Long functions: many branches, handlers and loops behind one another."""
    step = (
        "        try:\n            if x > {0}:\n                x = await self.get(x)\n"
        "            for y in range(x):\n                x += y\n"
        "        except ValueError:\n            x = {0}\n"
    )
    parts = 25
    items = []
    for i in range(max(1, count // (2 * parts))):
        body = "".join(step.format(k) for k in range(parts))
        items.append(
            f"class C{i}:\n    async def get(self, x):\n        return x\n\n    async def run(self, x):\n{body}        return x\n"
        )
    return _files(items, lambda _: "")


def long_function(count: int) -> Texts:
    """One function that holds all calls: branches and handlers behind one another."""
    lines = []
    for i in range(count // 2):
        lines.append(f"    if x > {i}:\n        x = helper(x)\n    else:\n        x = await other(x)\n")
    text = (
        "async def other(x):\n    return x\n\n\ndef helper(x):\n    return x\n\n\nasync def run(x):\n"
        + "".join(lines)
        + "    return x\n"
    )
    return {"desk/__init__.py": "", "desk/main.py": text}


SHAPES: Mapping[str, Callable[[int], Texts]] = {
    "chain": chain, "awaits": awaits, "fan_out": fan_out, "fan_in": fan_in, "classes": classes, "siblings": siblings, "locks": locks,
    "queues": queues, "branches": branches, "long_function": long_function,
}  # fmt: skip


# --- measuring ------------------------------------------------------------------------------------------------------

STRATA: dict[str, Callable[[Project], object]] = {
    "types": lambda project: project.linked,
    "callers": lambda project: [project.callers(f) for f in project.functions()],
    "graph": lambda project: [project.graph.runs(n) for f in project.functions() for n in project.receivers(f)],
    "operand types": lambda project: [project.types(f) for f in project.functions()],
    "suspension": lambda project: project.suspension,
    "contexts": lambda project: project.contexts,
    "awaitables": lambda project: project.awaitables,
    "lock regions": lambda project: [project.locks.regions(f) for f in project.functions()],
    "frames": lambda project: [project.locks.frames.of(Node(f, f.cls)) for f in project.functions()],
    "contention": lambda project: project.locks.contention.contended,
}
# Searches of a bounded number of steps: linear in the questions, once the project is larger than the bound.
SEARCHES: dict[str, Callable[[Project], object]] = {
    "roots of tasks": lambda project: [project.locks.tasks.roots(f) for f in project.functions()],
    "effects of calls": lambda project: [project.changes.of(f) for f in project.functions()],
}


class Bench:
    """What all sizes share: rules, models, and stubs that were parsed before."""

    def __init__(self) -> None:
        loaded = loader.load()
        self.rules = loader.make(loaded, {})
        self.models = Models().load(loaded.models)
        self.stubs = Typeshed.bundled()
        self.link(lower(chain(PER_FILE), self))  # parses the stubs

    def link(self, programs: dict[str, Program]) -> Project:
        return Project(programs, self.stubs, self.models)


def lower(texts: Texts, bench: Bench) -> dict[str, Program]:
    return {path: read(path, collect(path, text.encode(), bench.rules)).program for path, text in sorted(texts.items())}


def timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(texts: Texts, bench: Bench) -> dict[str, float]:
    """Seconds of each part for one project."""
    spent: dict[str, float] = {}
    programs: dict[str, Program] = {}
    spent["lowering"] = timed(lambda: programs.update(lower(texts, bench)))
    project = bench.link(programs)
    for name, ask in (STRATA | SEARCHES).items():
        spent[name] = timed(lambda ask=ask: ask(project))  # type: ignore[misc]  # bound at once
    for rule in bench.rules:
        if type(rule).check_project is not Rule.check_project:
            spent[rule.id] = timed(lambda rule=rule: list(rule.check_project(project)))  # type: ignore[misc]  # bound at once
    return spent


def grown(bench: Bench, shape: str, size: int) -> dict[str, tuple[float, float, float]]:
    """The seconds of each part at one, two and four times a size."""
    found: list[dict[str, float]] = []
    for factor in (1, 2, 4):
        found.append(measure(SHAPES[shape](size * factor), bench))
        gc.collect()
    return {name: (found[0][name], found[1][name], found[2][name]) for name in found[0]}


def exponent(times: tuple[float, float, float]) -> float:
    return math.log2(max(times[2], 1e-6) / max(times[0], 1e-6)) / 2


def run(options: argparse.Namespace) -> None:
    gc.disable()
    bench = Bench()
    written: dict[str, dict[str, list[float]]] = {}
    for shape in options.shape or SHAPES:
        times = grown(bench, shape, options.size)
        written[shape] = {name: [*t, exponent(t)] for name, t in times.items()}
        total = sum(t[2] for t in times.values())
        print(
            f"\n{shape}: {options.size}, {2 * options.size}, {4 * options.size} call sites; {total:.1f} s at the largest"
        )
        for name, t in times.items():
            if t[2] >= LEAST and exponent(t) >= options.above:
                low = max(t[0], 1e-6), max(t[1], 1e-6)
                print(f"  {name:34} {t[0]:7.3f} s   x{t[1] / low[0]:5.1f}  x{t[2] / low[1]:5.1f}   n^{exponent(t):.2f}")
    if options.json:
        Path(options.json).write_text(json.dumps(written, indent=2), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=500, help="call sites of the smallest project")
    parser.add_argument("--shape", action="append", choices=sorted(SHAPES))
    parser.add_argument("--above", type=float, default=0.0, help="show only parts with at least this exponent")
    parser.add_argument("--json")
    options = parser.parse_args()
    threading.stack_size(512 << 20)
    thread = threading.Thread(target=run, args=(options,))
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
