"""The result of any edit is that of a cold run, byte for byte; and nothing but the input can be seen in a result."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from auditor import engine, loader
from auditor.cache import Cache
from benchmarks.replay import fingerprint

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "fixtures" / "clean"


@pytest.fixture(scope="module")
def rules() -> loader.Rules:
    return loader.load()


@pytest.fixture
def settings(tmp_path: Path, rules: loader.Rules) -> Iterator[engine.Settings]:
    cache = Cache(str(tmp_path / "cache"))
    yield engine.Settings(rules, cache=cache, jobs=1, project="edits")
    cache.close()


def sources() -> dict[str, bytes]:
    return {p.relative_to(TREE).as_posix(): p.read_bytes() for p in sorted(TREE.rglob("*.py"))}


def edits(data: dict[str, bytes], seed: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    """A chain of random edits: (what was done, the tree after it)."""
    pick = random.Random(seed)
    for _ in range(5):
        data = dict(data)
        path = pick.choice(sorted(p for p in data if data[p].strip()))
        text = data[path].decode()
        kind = pick.choice(["comment", "delete def", "rename def", "drop file", "move file", "swap constant", "add method", "unbase"])
        found = list(re.finditer(r"^( *)(async )?def (\w+)\(.*?(?=^\1\S|\Z)", text, re.MULTILINE | re.DOTALL))
        if kind == "comment":
            text = "# moved down\n\n" + text
        elif kind == "delete def" and found:
            match = pick.choice(found)
            text = text[: match.start()] + f"{match[1]}pass\n" + text[match.end() :]
        elif kind == "rename def" and found:
            name = pick.choice(found)[3]
            text = re.sub(rf"\b{name}\b", name + "_x", text)
        elif kind == "drop file":
            del data[path]
            yield f"{kind} {path}", data
            continue
        elif kind == "move file":
            data[path.replace(".py", "_moved.py")] = data.pop(path)
            yield f"{kind} {path}", data
            continue
        elif kind == "swap constant":
            text = re.sub(r"\breturn\b(?! *$)", "return None or", text, count=1, flags=re.MULTILINE)
        elif kind == "add method":
            text += "\n\nclass Added:\n    def run(self, value):\n        return value\n"
        else:
            text = re.sub(r"^class (\w+)\([^)]*\):", r"class \1:", text, count=1, flags=re.MULTILINE)
        data[path] = text.encode()
        yield f"{kind} {path}", data


@pytest.mark.parametrize("seed", [1, 2])
def test_an_incremental_result_is_the_cold_one(settings: engine.Settings, seed: int) -> None:
    data = sources()
    engine.analyse(data, settings)
    for number, (what, edited) in enumerate(edits(data, seed)):
        incremental = engine.analyse(edited, settings)
        cold = engine.analyse(edited, replace(settings, project=f"cold {number}"))
        assert fingerprint(incremental) == fingerprint(cold), what


def test_nothing_is_run_again_when_nothing_changed(settings: engine.Settings) -> None:
    data = sources()
    first = engine.analyse(data, settings)
    again = engine.analyse(data, settings)
    assert first.parsed == len(data)
    assert first.project.linked.runs > 0
    assert (again.parsed, again.project.linked.runs) == (0, 0)


def test_an_edit_of_one_body_runs_few_functions(settings: engine.Settings) -> None:
    data = sources()
    first = engine.analyse(data, settings)
    edited = dict(data)
    edited["trading/money.py"] = edited["trading/money.py"] + b"\n\ndef _added() -> int:\n    return 1\n"
    changed = engine.analyse(edited, settings)
    assert changed.parsed == 1
    assert 0 < changed.project.linked.runs < first.project.linked.runs


def test_a_damaged_store_is_a_miss(settings: engine.Settings) -> None:
    data = sources()
    cold = fingerprint(engine.analyse(data, settings))
    assert settings.cache is not None
    settings.cache.put(engine.TRACES, engine._traces_key(settings), b"damaged")
    assert fingerprint(engine.analyse(data, settings)) == cold


SCRIPT = """
import gc, json, random, sys
from pathlib import Path
from auditor import engine, loader
from benchmarks.replay import fingerprint
jobs, order, root = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
files = [p for p in sorted(root.rglob("*.py"))]
random.Random(order).shuffle(files)
data = {p.relative_to(root).as_posix(): p.read_bytes() for p in files}
print(fingerprint(engine.analyse(data, engine.Settings(loader.load(), jobs=jobs))))
"""


def test_processes_hash_seeds_and_file_order_leave_no_trace() -> None:
    seen: dict[str, list[str]] = {}
    for jobs, seed, order in ((1, "0", 1), (2, "1", 2), (1, "2", 3), (2, "3", 4), (2, "4", 5)):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(jobs), str(order), str(ROOT / "fixtures" / "cases")],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        seen.setdefault(run.stdout, []).append(json.dumps([jobs, seed, order]))
    assert len(seen) == 1, seen
