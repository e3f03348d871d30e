"""Whatever a file does to its worker: one answer per file, the others untouched, no signal in the parent."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from worker_handlers import parse

from auditor import workers
from auditor.finding import Loss
from auditor.worker import Limits, word
from auditor.workers import Answer, Pool, WorkersFailed

OBEY = "worker_handlers:obey"
PARSE = "worker_handlers:parse"
QUICK = Limits(cpu=0.5, cpu_per_mb=2.0, wall=40.0)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and limits are POSIX's")


def run(
    handler: str, items: list[tuple[str, bytes]], jobs: int = 2, limits: Limits = QUICK, options: Any = None
) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    for answer in Pool(handler, options, jobs, limits).run(iter(items)):
        assert answer.path not in answers, "a second answer"
        assert (answer.payload is None) != (answer.loss is None)
        answers[answer.path] = answer
    assert sorted(answers) == sorted(path for path, _ in items)
    return answers


def loss(answer: Answer) -> Loss:
    assert answer.loss is not None
    return answer.loss


@pytest.fixture(autouse=True)
def no_children_left() -> Iterator[None]:
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_answers_of_many_files() -> None:
    items = [(f"{n}.py", b"x" * n) for n in range(300)]
    answers = run(OBEY, items, options={"a": 1})
    assert answers["7.py"].payload == b"7.py:7:{'a': 1}"


def test_paths_are_bytes() -> None:
    name = os.fsdecode(b"\xff\n.py")
    assert run(OBEY, [(name, b"x")])[name].payload is not None


def test_items_are_taken_as_there_is_room() -> None:
    taken = 0

    def items() -> Iterator[tuple[str, bytes]]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield f"{number}.py", b"x" * 1000

    answers = Pool(OBEY, None, 1, QUICK).run(items())
    next(answers)
    assert taken < 100
    answers.close()  # type: ignore[attr-defined]  # it is a generator


DEATHS = {
    "segfault": (f"signal {int(signal.SIGSEGV)}", "SIGSEGV"),
    "abort": (f"signal {int(signal.SIGABRT)}", "SIGABRT"),
    "kill": (f"signal {int(signal.SIGKILL)}", "SIGKILL"),
    "exit": ("exit 3", "exit status 3"),
    "silent exit": ("exit 0", "exit status 0"),
    "memory": ("memory 3000000000", "of memory"),
    "nonsense": ("nonsense", "nonsense"),
}


@pytest.mark.parametrize("case", DEATHS)
def test_a_death_costs_one_file(case: str) -> None:
    order, words = DEATHS[case]
    innocent = [(f"{n}.py", b"x" * n) for n in range(60)]
    expected = {path: answer.payload for path, answer in run(OBEY, innocent).items()}
    answers = run(OBEY, [*innocent[:30], ("bad.py", order.encode()), *innocent[30:]])
    bad = loss(answers.pop("bad.py"))
    assert bad.reason == "limit"
    assert words in bad.detail
    assert {path: answer.payload for path, answer in answers.items()} == expected


def test_many_deaths() -> None:
    order = f"signal {int(signal.SIGSEGV)}".encode()
    items = [(f"{n}.py", order if n % 3 else b"x") for n in range(45)]
    answers = run(OBEY, items)
    assert sum(answer.loss is not None for answer in answers.values()) == 30


def test_a_file_that_dies_in_company_only_is_not_blamed(tmp_path: Path) -> None:
    marker = tmp_path / "died"
    answers = run(OBEY, [("a.py", b"x"), ("b.py", f"once {marker}".encode()), ("c.py", b"x")], jobs=1)
    assert marker.exists()
    assert answers["b.py"].payload == b"done"


def test_a_first_file_has_had_its_fresh_process(tmp_path: Path) -> None:
    marker = tmp_path / "died"
    answers = run(OBEY, [("b.py", f"once {marker}".encode())], jobs=1)
    assert loss(answers["b.py"]).reason == "limit"


def test_watchdog() -> None:
    begun = time.monotonic()
    answers = run(OBEY, [("a.py", b"sleep 60"), ("b.py", b"x")], limits=Limits(cpu=1.0, wall=1.0))
    assert time.monotonic() - begun < 20
    assert "no answer within 1 s" in loss(answers["a.py"]).detail
    assert answers["b.py"].payload is not None


def test_losses_of_the_handler() -> None:
    answers = run(OBEY, [("a.py", b"refuse why"), ("b.py", b"raise secret"), ("c.py", b"x")])
    assert answers["a.py"].loss == Loss("a.py", "language", "why")
    internal = loss(answers["b.py"])
    assert internal.reason == "internal"
    assert "KeyError" in internal.detail
    assert "secret" not in internal.detail


def test_workers_write_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report"
    answers = run(OBEY, [("a.py", f"write {target}".encode()), ("b.py", b"print")])
    assert loss(answers["a.py"]).reason == "internal"
    assert not target.exists() or target.stat().st_size == 0
    assert capfd.readouterr() == ("", "")


def test_large_files_run_one_at_a_time_and_do_not_stop_the_others() -> None:
    limits = Limits(large=1000)
    items = [(f"large{n}.py", b"x" * 5000) for n in range(4)] + [(f"{n}.py", b"x" * n) for n in range(100)]
    answers = run(OBEY, items, limits=limits)
    assert all(answer.loss is None for answer in answers.values())
    assert all(answer.loss is None for answer in run(OBEY, items, jobs=1, limits=limits).values())


def test_lists_begin_with_the_largest() -> None:
    items = [(f"{n}.py", b"x" * n) for n in (1, 5, 3)]
    assert [answer.path for answer in Pool(OBEY, None, 1).run(items)] == ["5.py", "3.py", "1.py"]


def test_signals_of_the_parent_are_its_own() -> None:
    seen: list[int] = []
    old = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        answers = run(OBEY, [("a.py", f"signal {int(signal.SIGTERM)}".encode()), ("b.py", b"x")])
    finally:
        signal.signal(signal.SIGTERM, old)
    assert "SIGTERM" in loss(answers["a.py"]).detail
    assert seen == []


def test_workers_that_never_start_are_our_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_may_fork", lambda: False)
    monkeypatch.setattr(workers, "KEPT_VARIABLES", (*workers.KEPT_VARIABLES, "AUDITOR_TEST_DIE_ON_IMPORT"))
    pool = Pool(OBEY, None, 1, QUICK)
    monkeypatch.setenv("AUDITOR_TEST_DIE_ON_IMPORT", "1")
    with pytest.raises(WorkersFailed, match="exit status 9"):
        list(pool.run([("a.py", b"x")]))


def test_unknown_handler() -> None:
    with pytest.raises(AttributeError):
        Pool("worker_handlers:nothing")
    with pytest.raises(ImportError):
        Pool("worker_nothing:nothing")


def test_spawned_workers_answer_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [*((f"{n}.py", b"x" * n) for n in range(20)), ("bad.py", f"signal {int(signal.SIGSEGV)}".encode())]
    forked = run(OBEY, items, options=[1])
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()  # a fork is not safe now
    try:
        assert not workers._may_fork()
        spawned = run(OBEY, items, options=[1])
    finally:
        stop.set()
        thread.join()
    assert spawned == forked


# ------------------------------------------------------------------------------------------------- hostile sources


def hostile_sources() -> dict[str, tuple[bytes, str]]:
    """Source -> the reason of its loss, empty if it must be analysed."""
    terms = " and ".join(["a"] * 8000)
    elifs = "if x:\n    pass\n" + "elif y:\n    pass\n" * 3000
    return {
        "and.py": (f"x = {terms}\n".encode(), ""),
        "plus.py": (("x = " + "+".join(["a"] * 600) + "\n").encode(), ""),
        "chain.py": (("x = a" + ".b()" * 300 + "\n").encode(), ""),
        "elif.py": (elifs.encode(), ""),
        "strings.py": (("x = (" + "\n".join(["'s'"] * 600) + ")\n").encode(), ""),
        "brackets.py": (b"x = " + b"[(" * 700, "limit"),
        "calls.py": (b"x = " + b"f(" * 1500, "limit"),
        "match.py": (b"match x:\n  case " + b"[" * 25 + b"]" * 25 + b":\n    pass\n", "limit"),
        "minus.py": (b"x = " + b"-" * 30_000 + b"1\n", "limit"),
        "rot13.py": (b"# coding: rot13\nk = 1\n", "encoding"),
        "utf16.py": (b"# coding: utf-16\nk = 1\n", "encoding"),
        "latin.py": (b"x = '\xe9'\n", "encoding"),
        "nul.py": (b"x = 1\x00\n", "syntax"),
        "py2.py": (b"print 'x'\n", "syntax"),
        "mixed.py": (b"x = 'a' b'b'\n", "syntax"),
        "open.py": (b"x = (1,\n", "syntax"),
        "indent.py": (("".join(" " * i + "if x:\n" for i in range(120)) + " " * 120 + "pass\n").encode(), "syntax"),
        "newer.py": (b"type X[T] = list[T]\ntry:\n    pass\nexcept A, B:\n    pass\n", ""),
        "hidden.py": (b"# coding: utf-7\n# +AAo-import pickle\n", ""),
    }


def test_hostile_sources_have_one_answer_each() -> None:
    sources = hostile_sources()
    harmless = [(f"good/{n}.py", f"def f{n}():\n    return {n}\n".encode()) for n in range(40)]
    expected = {path: answer.payload for path, answer in run(PARSE, harmless, limits=QUICK).items()}
    items = [*harmless, *((path, data) for path, (data, _) in sources.items())]
    random.Random(1).shuffle(items)
    answers = run(PARSE, items, limits=QUICK)
    assert "CPU time" in loss(answers["match.py"]).detail
    for path, (_, reason) in sources.items():
        answer = answers.pop(path)
        assert (answer.loss.reason if answer.loss else "") == reason, answer
    assert {path: answer.payload for path, answer in answers.items()} == expected
    assert None not in expected.values()


def parse_error(data: bytes) -> tuple[str, str]:
    with pytest.raises(Exception) as caught:
        parse("a.py", data, None)
    assert isinstance(caught.value, Exception)
    return word(caught.value, "a.py", data)


def test_words_name_the_place_and_hold_no_text_of_the_file() -> None:
    assert parse_error(b"x = 1\nx = (1,\n") == ("syntax", "syntax error, in line 3")
    assert parse_error(b"print 'x'\n") == ("syntax", "syntax error, in line 1; is this Python 2?")
    assert "unterminated" in parse_error(b"KEY = 'sk-secret\n")[1]
    for data in (b"KEY = 'sk-secret\n", b"sk_secret\xe2\x80\x8b = 1\n", b"f(key='sk-secret' 1)\n"):
        reason, detail = parse_error(data)
        assert reason == "syntax"
        assert "secret" not in detail
    assert word(RecursionError(), "a.py", b"")[0] == "limit"
