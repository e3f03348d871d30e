"""
Client built with credentials that may be missing

## What it finds
A client of a venue whose key or secret comes from an environment variable that may be missing or empty, with nothing that
stops the bot in that case, where orders are placed in the same module or in one that imports it.

## Why it matters
Public data works without a key, so the bot starts, warms up and looks healthy. It fails at its first order, or worse at its
first stop.

## Bad
```python
import os

import ccxt


def start(symbol):
    client = ccxt.binance({"apiKey": os.getenv("API_KEY"), "secret": os.getenv("API_SECRET")})
    return client.create_order(symbol, "market", "buy", 1)
```

## Good
Read what must be there with `os.environ[...]`, which raises at the start, or test it before the client is built.

```python
import os

import ccxt


def start(symbol):
    client = ccxt.binance({"apiKey": os.environ["API_KEY"], "secret": os.environ["API_SECRET"]})
    return client.create_order(symbol, "market", "buy", 1)
```

## Limits
Credentials from files, command lines and settings objects are not followed. Any test of the name, in whatever function of the
module, and any call that checks credentials silences the rule; whether it stops the bot is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from auditor.facts.model import NONE, Body, Branch, Call, Const, Root, Select, Store
from auditor.finding import Confidence, Finding, Severity, Step
from auditor.project.exchange import CLIENT, PLACE, Way
from auditor.project.flow import writes
from auditor.project.graph import last_name
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import of_tests
from auditor.rule import Rule

from ._chains import roots_of, steps

CHECKS = re.compile(
    r"(?i)check_?required|(check|verify|validate|require|ensure|assert)_?\w*(cred|key|secret|auth|env)|has_?cred"
)
SLOTS = ("key", "secret")


class UnvalidatedCredentials(Rule):
    id = "unvalidated-credentials"
    severity = Severity.MEDIUM
    confidence = Confidence.LIKELY
    since = "0.1"
    effort = "S"
    cwe = (1188, 252)
    models = ("exchange",)

    def check_project(self, project: Project) -> Iterator[Finding]:
        ways = [way for _, _, way in project.exchange.sites(PLACE)]
        for function in project.functions() if ways else ():
            if of_tests(function.path):
                continue
            for op in sorted(project.calls(function)):
                role = project.exchange.built(function, op)
                if role is None:
                    continue
                placed = next((way for way in ways if _near(project, function, way.hops[0][0])), None)
                if placed is None:
                    continue
                client = Way(CLIENT, ((function, op),), "", role.attributes)
                read = _may_be_missing(project, function, op, client)
                if read != NONE and not _is_checked(project, function):
                    yield _finding(project, function, op, read, placed)


def _near(project: Project, function: FunctionNode, other: FunctionNode) -> bool:
    """Whether an order is placed in the module that builds the client, in one that it imports, or in one that imports it."""
    one, two = function.module, other.module
    if one is two:
        return True
    paths = [{project.symbols.absolute(m, fact.path) for fact in m.facts.imports} for m in (one, two)]
    return any(path == two.name or path.startswith(f"{two.name}.") for path in paths[0]) or any(
        path == one.name or path.startswith(f"{one.name}.") for path in paths[1]
    )


def _may_be_missing(project: Project, function: FunctionNode, op: int, client: Way) -> int:
    """The read of the environment that gives a credential without being tested; NONE if there is none."""
    for slot in SLOTS:
        operand = project.arguments.operand(client, slot)
        read = _read(function.body, operand, op) if operand != NONE else NONE
        if read != NONE and not _is_tested(function, operand):
            return read
    return NONE


def _read(body: Body, operand: int, before: int) -> int:
    """The call of `os.getenv` or `os.environ.get` without a default that a value is."""
    for _ in range(4):
        makers = [rank for rank, step in enumerate(body.ops[:before]) if operand in writes(step)]
        step = body.ops[makers[-1]] if makers else None
        if isinstance(step, Store):
            operand = step.src
        elif isinstance(step, Call) and _asks_environment(body, step):
            return makers[-1]
        else:
            return NONE
    return NONE


def _asks_environment(body: Body, call: Call) -> bool:
    place = body.places[call.callee]
    names = [str(place.name), *(str(value) for kind, value in place.path if kind is Select.ATTR)]
    if names[-1] != "getenv" and not (names[-1] == "get" and "environ" in names):
        return False
    given = (*call.args[1:], *(value for name, value in call.keywords if name == "default"))
    defaults = [body.places[value].name for value in given]
    return all(isinstance(literal, Const) and (literal.kind == "none" or literal.text == "") for literal in defaults)


def _is_tested(function: FunctionNode, operand: int) -> bool:
    """Whether a function of the module tests the name that holds a credential."""
    place = function.body.places[operand]
    if place.root not in (Root.LOCAL, Root.GLOBAL) or place.path:
        return False
    for each in function.module.functions if place.root is Root.GLOBAL or function.index == 0 else (function,):
        for rank, step in enumerate(each.body.ops):
            if isinstance(step, Branch) and any(name == place.name for _, name in roots_of(each.body, step.test, rank)):
                return True
    return False


def _is_checked(project: Project, function: FunctionNode) -> bool:
    """Whether credentials are checked by a call, in the module or by the client itself."""
    for each in function.module.functions:
        if any(isinstance(step, Call) and CHECKS.search(last_name(each, step)) for step in each.body.ops):
            return True
    return False


def _finding(project: Project, function: FunctionNode, op: int, read: int, placed: Way) -> Finding:
    line, column, end_line, end_column = function.at(op)
    return Finding(
        rule=UnvalidatedCredentials.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{function.name or 'the module'}() builds a client with credentials that may be missing: it fails at the first order",
        symbol=function.symbol,
        proof=tuple(_steps(project, function, op, read, placed)),
    )  # fmt: skip


def _steps(project: Project, function: FunctionNode, op: int, read: int, placed: Way) -> Iterator[Step]:
    yield project.step(function, read, "the environment may not have it: the value is None or empty", "read")
    yield project.step(function, op, "the client is built with it, and nothing tests it", "client")
    yield from steps(project, placed)
