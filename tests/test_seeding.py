"""Seeded defects: the injectors put what they say where they say it, and the rules find it in the clean engine."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from seeding import INJECTORS, Site, Source, seed, sites_of
from seeding.site import batches

from auditor.cache import Cache
from benchmarks import seeded

ROOT = Path(__file__).resolve().parent.parent
CLEAN = ROOT / "fixtures" / "clean"
PER_INJECTOR = 8
# What is not found in the clean engine, by rule and file, with the reason. One that is found is to be taken out.
ONE_REGION = "no other region of the lock that guards the same state, or no second task is shown"
BOUNDED_ELSEWHERE = "nothing shows that what fills the queue outruns what empties it"
KNOWN_MISSES: dict[tuple[str, str], str] = {
    ("inconsistent-lock", "trading/exchange/limiter.py"): ONE_REGION,
    ("inconsistent-lock", "trading/ledger/store.py"): ONE_REGION,
    ("inconsistent-lock", "trading/monitoring/alerts.py"): ONE_REGION,
    ("inconsistent-lock", "trading/risk/manager.py"): ONE_REGION,
    ("unbounded-queue", "trading/logs.py"): BOUNDED_ELSEWHERE,
    ("unbounded-queue", "trading/monitoring/notifier.py"): BOUNDED_ELSEWHERE,
}
# One fault is two: a widened handler around an await also swallows the cancellation, a loop without its await does not pause,
# and a lock that one region less takes may be taken by nobody.
BOTH = ("came: swallowed-cancellation", "came: busy-loop", "came: unused-lock")

# Before and after, one pair for each injector; `§` marks the lines of the fault.
PAIRS = {
    "await asyncio.sleep -> time.sleep": (
        "import asyncio\n\nasync def wait(n):\n    x = await asyncio.sleep(n)\n    await asyncio.sleep(0)\n",
        "import time\nimport asyncio\n\nasync def wait(n):\n    x = time.sleep(n)  #§\n    await asyncio.sleep(0)\n",
    ),
    "except X: -> except:": (
        "def f():\n    try:\n        g()\n    except (A, B):\n        log()\n    try:\n        g()\n    except A:\n        raise\n",
        "def f():\n    try:\n        g()\n    except:  #§\n        log()\n    try:\n        g()\n    except A:\n        raise\n",
    ),
    "except X as e: -> except BaseException as e:": (
        "try:\n    g()\nexcept A as e:\n    log(e)\n",
        "try:\n    g()\nexcept BaseException as e:  #§\n    log(e)\n",
    ),
    "a helper of a coroutine sleeps": (
        '"""Doc."""\nimport os\n\nclass A:\n    async def run(self):\n        self._save()\n\n    def _save(self):\n'
        '        """Doc."""\n        os.x()\n',
        '"""Doc."""\nimport time\nimport os\n\nclass A:\n    async def run(self):\n        self._save()\n\n    def _save(self):\n'
        '        """Doc."""\n        time.sleep(0.5)  #§\n        os.x()\n',
    ),
    "asyncio.to_thread(f, x) -> f(x)": (
        "import asyncio, time\n\ndef save(a, b):\n    pass\n\nasync def run():\n    await asyncio.to_thread(save, 1, b=2)\n",
        "import asyncio, time\n\ndef save(a, b):\n    time.sleep(0.5)\n    pass\n\nasync def run():\n    save(1, b=2)  #§\n",
    ),
    ".shift(k) -> .shift(-k)": (
        "def populate_indicators(self, df):\n    df['a'] = df['b'].shift(2)\n",
        "def populate_indicators(self, df):\n    df['a'] = df['b'].shift(-2)  #§\n",
    ),
    "a feature column .shift(-1)": (
        "def build_features(df):\n    df['a'] = df['b'] / 2\n    df['c'] = df['b'].shift(1)\n    return df\n",
        "def build_features(df):\n    df['a'] = (df['b'] / 2).shift(-1)  #§\n    df['c'] = df['b'].shift(1)\n    return df\n",
    ),
    'Decimal("0.1") -> Decimal(0.1)': (
        'from decimal import Decimal\nA = Decimal("0.1")\nB = Decimal("0.5")\nC = Decimal("3")\n',
        'from decimal import Decimal\nA = Decimal(0.1)  #§\nB = Decimal("0.5")\nC = Decimal("3")\n',
    ),
    'x * Decimal("0.1") -> x * 0.1': (
        'from decimal import Decimal\nA = (x\n    - Decimal("3"))\nB = 2 * Decimal("0.1")\n',
        'from decimal import Decimal\nA = (x  #§\n    - 3.0)  #§\nB = 2 * Decimal("0.1")\n',
    ),
    "x * Decimal(str(y)) -> x * float(y)": (
        "from decimal import Decimal\nA = x * Decimal(str(y(1)))\n",
        "from decimal import Decimal\nA = x * float(y(1))  #§\n",
    ),
    "json.loads -> pickle.loads": (
        "import json\nA = json.loads(text, parse_float=str)\nB = json.loads('1')\n",
        "import pickle\nimport json\nA = pickle.loads(text)  #§\nB = json.loads('1')\n",
    ),
    "with self._lock: -> if True:": (
        "class A:\n    def f(self):\n        with self._lock:\n            g()\n",
        "class A:\n    def f(self):\n        if True:  #§\n            g()\n",
    ),
    "await self.f() -> self.f()": (
        "class A:\n    async def f(self): ...\n    async def g(self):\n        await self.f()\n        await self.h()\n",
        "class A:\n    async def f(self): ...\n    async def g(self):\n        self.f()  #§\n        await self.h()\n",
    ),
    "maxlen= is left out": ("a = deque(x, maxlen=(3))\n", "a = deque(x)  #§\n"),
    "maxsize= is left out": ("a = Queue(maxsize=3)\n", "a = Queue()  #§\n"),
    "timeout= is left out": ("a = s.get(u, timeout=3, headers=h)\n", "a = s.get(u, headers=h)  #§\n"),
    "x.close() -> pass": ("def f(x):\n    x.close()\n", "def f(x):\n    pass  #§\n"),
    "the answer of a cancel is dropped": (
        "async def f(x):\n    if not await x.cancel(1):\n        return\n    g()\n",
        "async def f(x):\n    await x.cancel(1)  #§\n    g()\n",
    ),
}


@cache
def engine_files() -> dict[str, bytes]:
    return seeded.read(CLEAN)


@cache
def engine_sites() -> tuple[Site, ...]:
    return tuple(sites_of([Source(path, data) for path, data in engine_files().items()], INJECTORS))


def test_every_injector_is_shown() -> None:
    assert set(PAIRS) == {injector.name for injector in INJECTORS}


@pytest.mark.parametrize("name", PAIRS)
def test_injector_puts_its_fault(name: str) -> None:
    before, after = PAIRS[name]
    injectors = [injector for injector in INJECTORS if injector.name == name]
    sites = [site for site in sites_of([Source("a.py", before.encode())], injectors) if site.injector == name]
    assert len(sites) == 1
    made = seed({"a.py": before.encode()}, sites)
    assert made.changed["a.py"].decode() == after.replace("  #§", "")
    wanted = {number for number, line in enumerate(after.splitlines(), 1) if line.endswith("#§")}
    assert made.faults(sites[0]) == {("a.py", line) for line in wanted}


def test_every_fault_of_the_engine_compiles() -> None:
    files = engine_files()
    assert len(engine_sites()) > 100
    for site in engine_sites():
        for path, data in seed(files, [site]).changed.items():
            ast.parse(data, path)


def test_lines_are_followed_through_a_batch() -> None:
    files = engine_files()
    for group in batches(engine_sites(), 40):
        made = seed(files, group)
        edited = {
            (edit.path, files[edit.path].count(b"\n", 0, edit.start) + 1) for site in group for edit in site.edits
        }
        for path, data in made.changed.items():
            old, new = files[path].split(b"\n"), data.split(b"\n")
            for number, line in enumerate(old[:-1], 1):
                # A line in front of which something was put is untouched itself.
                assert (path, number) in edited or new[made.line(path, number) - 1] == line


def test_faults_of_one_function_are_in_different_batches() -> None:
    groups = batches(engine_sites(), 40)
    assert sum(map(len, groups)) == len(engine_sites())
    assert all(len({site.function for site in group}) == len(group) <= 40 for group in groups)


def test_two_faults_in_one_place_are_refused() -> None:
    data = b'from decimal import Decimal\nA = x * Decimal("0.1")\n'
    sites = sites_of([Source("a.py", data)], INJECTORS)
    assert len(sites) == 2
    with pytest.raises(ValueError, match="two faults"):
        seed({"a.py": data}, sites)


def test_rules_find_what_was_put_into_the_engine(tmp_path: Path) -> None:
    """Each fault is found and shows its line, nothing else changes, and the known misses are still the only ones."""
    cache = Cache(str(tmp_path / "cache"))
    result = seeded.measure(engine_files(), seeded.spread(engine_sites(), PER_INJECTOR), cache, 60)
    cache.close()
    misses = {(site.rule, site.path) for tally in result.tallies.values() for site, _line in tally.misses}
    assert misses - set(KNOWN_MISSES) == set(), "missed"
    assert set(KNOWN_MISSES) - misses == set(), "found now: take it out of the known misses"
    assert [odd for odd in result.odd if not odd.startswith(BOTH)] == []
    assert sum(tally.found for tally in result.tallies.values()) >= 30
