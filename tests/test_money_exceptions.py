"""Exceptions as data against the interpreter, and the question which handler takes one."""

from __future__ import annotations

import builtins
import importlib
import tomllib
from pathlib import Path

import pytest

from auditor import engine, loader
from auditor.engine import Settings
from auditor.facts.codec import Program, encode
from auditor.facts.lower import lower
from auditor.facts.model import Call
from auditor.project.exceptions import Exceptions, short
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.source.module import SourceModule

RULES = loader.load()
STANDARD = [
    "asyncio.CancelledError", "asyncio.QueueEmpty", "asyncio.InvalidStateError", "decimal.InvalidOperation", "decimal.DivisionByZero",
    "decimal.FloatOperation", "decimal.Overflow", "decimal.Underflow", "json.JSONDecodeError", "sqlite3.OperationalError",
    "sqlite3.InterfaceError", "queue.Empty", "ssl.SSLError", "urllib.error.HTTPError", "http.client.HTTPException", "zlib.error",
    "binascii.Error", "csv.Error", "struct.error", "statistics.StatisticsError", "socket.gaierror", "configparser.Error",
]  # fmt: skip
BUILTIN = sorted(
    name for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__name__ == name and not issubclass(kind, Warning)
    and name not in ("ExceptionGroup", "Exception", "PythonFinalizationError")
)  # fmt: skip


def linked(text: str) -> Project:
    programs = {"bot.py": Program(encode(*lower(SourceModule.parse("bot.py", text))))}
    return engine.link(programs, Settings(RULES))


@pytest.fixture(scope="module")
def exceptions() -> Exceptions:
    return linked("").exceptions


def kind_of(path: str) -> type[BaseException]:
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, type)
    assert issubclass(found, BaseException)
    return found


@pytest.mark.parametrize("path", [*(f"builtins.{name}" for name in BUILTIN), *STANDARD])
def test_a_line_of_descent_is_that_of_the_interpreter(exceptions: Exceptions, path: str) -> None:
    told = {kind_of(name) for name in exceptions.line(path)}
    assert told | {BaseException} == {kind for kind in kind_of(path).__mro__ if issubclass(kind, BaseException)}


def test_other_names_are_one_class(exceptions: Exceptions) -> None:
    assert exceptions.proper("asyncio.TimeoutError") == "builtins.TimeoutError"
    assert exceptions.proper("socket.error") == "builtins.OSError"
    assert exceptions.line("asyncio.exceptions.TimeoutError") == exceptions.line("builtins.TimeoutError")


@pytest.mark.parametrize(("raised", "caught", "taken"), [
    ("decimal.InvalidOperation", "builtins.ValueError", False),
    ("decimal.InvalidOperation", "builtins.ArithmeticError", True),
    ("decimal.InvalidOperation", "builtins.ZeroDivisionError", False),
    ("decimal.DivisionByZero", "builtins.ZeroDivisionError", True),
    ("json.JSONDecodeError", "builtins.ValueError", True),
    ("ccxt.RequestTimeout", "ccxt.NetworkError", True),
    ("ccxt.NetworkError", "ccxt.ExchangeError", False),
    ("ccxt.NetworkError", "builtins.Exception", True),
    ("requests.ConnectionError", "builtins.ConnectionError", False),
    ("requests.ConnectionError", "builtins.OSError", True),
    ("decimal.InvalidOperation", "desk.OddNumber", None),
    ("desk.OddNumber", "builtins.ValueError", None),
])  # fmt: skip
def test_whether_a_handler_takes_an_exception(
    exceptions: Exceptions, raised: str, caught: str, taken: bool | None
) -> None:
    assert exceptions.derives(raised, caught) is taken


HANDLED = """
from decimal import Decimal, InvalidOperation
ERRORS = (ValueError, InvalidOperation)
class Odd(ArithmeticError): ...
def inner(x):
    try:
        return Decimal(x)
    except {named}:
        return None
"""


@pytest.mark.parametrize(("named", "taken", "doubtful"), [
    ("ValueError", False, False), ("(ValueError, TypeError)", False, False), ("ERRORS", True, False), ("ArithmeticError", True, False),
    ("Exception", True, False), ("Odd", False, False), ("unknown()", False, True), ("InvalidOperation", True, False),
])  # fmt: skip
def test_the_handler_of_an_operation(named: str, taken: bool, doubtful: bool) -> None:
    project = linked(HANDLED.format(named=named))
    function, rank = _construction(project)
    handler, unsure = project.exceptions.taker(function, rank, "decimal.InvalidOperation")
    assert (handler is not None, unsure) == (taken, doubtful)


def _construction(project: Project) -> tuple[FunctionNode, int]:
    function = next(f for f in project.functions() if f.name == "inner")
    return function, next(r for r, op in enumerate(function.body.ops) if isinstance(op, Call) and op.args)


def test_classes_of_the_project_and_tuples_are_named() -> None:
    project = linked(HANDLED.format(named="(Odd, *ERRORS)"))
    function, rank = _construction(project)
    assert project.exceptions.around(function, rank)[0].classes[0] is not None
    project = linked(HANDLED.format(named="ERRORS"))
    function, rank = _construction(project)
    assert [short(c) for c in project.exceptions.around(function, rank)[0].classes if c] == [
        "ValueError",
        "InvalidOperation",
    ]


def test_the_data_names_only_classes_that_it_knows() -> None:
    table = tomllib.loads((Path(__file__).parents[1] / "rules" / "_models" / "exceptions.toml").read_text("utf-8"))
    known = linked("").exceptions
    for entry in table["raises"]:
        for path in (*entry["classes"], *entry["habit"]):
            assert known.line(path), f"{path} has no line of descent"
        for raised in entry["classes"]:
            taken = [habit for habit in entry["habit"] if known.derives(raised, habit)]
            assert taken == [], f"{raised} is taken by what is called a mistake: {taken}"
