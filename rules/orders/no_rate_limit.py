"""
Requests that nothing paces

## What it finds
A client of ccxt that is built with `enableRateLimit: False` (or has it switched off later) in a project that paces its
requests by nothing else.

## Why it matters
The venue answers with 429, then bans the key or the address for minutes. During a ban no stop is moved and no position can
be left.

## Bad
```python
import ccxt

client = ccxt.binance({"enableRateLimit": False})


def quotes(symbols):
    return [client.fetch_ticker(symbol) for symbol in symbols]
```

## Good
Leave the limiter of the client on: it is, where nothing is said.

```python
import ccxt

client = ccxt.binance({"enableRateLimit": True})


def quotes(symbols):
    return [client.fetch_ticker(symbol) for symbol in symbols]
```

## Limits
Only a literal False counts; a value from a configuration is not looked up. A limiter, a semaphore or a throttle anywhere in
the project's own modules that use the client is taken to pace it. Clients for public data in scripts are found as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from auditor.facts.model import NONE, Body, Call, Const, Root, Select, Store, Table
from auditor.finding import Confidence, Finding, Severity, Step
from auditor.project.flow import reads, writes
from auditor.project.graph import last_name
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.project.tasks import of_tests
from auditor.rule import Rule

OPTION = "enableRateLimit"
PACES = re.compile(r"(?i)throttl|rate_?limit|limiter|semaphore|pacer|token_?bucket|leaky|aiolimiter")


class NoRateLimit(Rule):
    id = "no-rate-limit"
    severity = Severity.MEDIUM
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (770, 799)
    models = ("exchange",)

    def check_project(self, project: Project) -> Iterator[Finding]:
        for function in project.functions():
            if of_tests(function.path):
                continue
            for op, built in _switched_off(project, function):
                if not _paced(project, function):
                    yield _finding(project, function, op, built)


def _switched_off(project: Project, function: FunctionNode) -> Iterator[tuple[int, int]]:
    """Operations that switch the limiter off: (operation, call that builds the client, NONE where it is done later)."""
    body = function.body
    for rank, step in enumerate(body.ops):
        if isinstance(step, Table) and any(
            _is_off(body, key, value) for key, value in zip(step.keys, step.values, strict=True)
        ):
            built = _builds(project, function, step.dst)
            if built != NONE:
                yield rank, built
        elif isinstance(step, Store) and _false(body, step.src):
            place = body.places[step.dst]
            if (
                len(place.path) == 1
                and place.path[0].kind is Select.ATTR
                and place.path[0].value == OPTION
                and _is_client(project, function, rank)
            ):
                yield rank, NONE


def _is_off(body: Body, key: int, value: int) -> bool:
    name = body.places[key].name if key != NONE else None
    return isinstance(name, Const) and name.text == OPTION and _false(body, value)


def _false(body: Body, operand: int) -> bool:
    literal = body.places[operand].name
    return isinstance(literal, Const) and literal.kind == "bool" and literal.text == "False"


def _builds(project: Project, function: FunctionNode, operand: int) -> int:
    """The call that builds a client from a dict, through names."""
    body = function.body
    wanted, grown = {operand}, True
    while grown:
        more = {
            step.dst
            for step in body.ops
            if isinstance(step, Store) and step.src in wanted and not body.places[step.dst].path
        }
        grown = bool(more - wanted)
        wanted |= more
    for rank in sorted(project.calls(function)):
        step = body.ops[rank]
        reached = isinstance(step, Call) and bool(wanted.intersection(reads(step)))
        if reached and project.exchange.built(function, rank) is not None:
            return rank
    return NONE


def _is_client(project: Project, function: FunctionNode, rank: int) -> bool:
    """Whether the name whose option is stored holds a client that this function, or its module, has built."""
    body = function.body
    step = body.ops[rank]
    target = body.places[writes(step)[0]]
    for scope in (function, function.module.functions[0]):
        for op in sorted(project.calls(scope)):
            call = scope.body.ops[op]
            if not isinstance(call, Call) or project.exchange.built(scope, op) is None:
                continue
            for other in scope.body.ops:
                if (
                    isinstance(other, Store)
                    and other.src == call.dst
                    and scope.body.places[other.dst].name == target.name
                ):
                    return target.root in (Root.LOCAL, Root.GLOBAL)
    return False


def _paced(project: Project, function: FunctionNode) -> bool:
    """Whether something of the project's own paces requests, in the module or in one that it imports."""
    modules = {function.module.path}
    for path, module in sorted(project.symbols.by_path.items()):
        if path in modules or any(
            fact.path.endswith(function.module.name.rpartition(".")[2]) for fact in module.facts.imports
        ):
            for each in module.functions:
                if PACES.search(each.name) or any(
                    isinstance(op, Call) and PACES.search(last_name(each, op)) for op in each.body.ops
                ):
                    return True
    return False


def _finding(project: Project, function: FunctionNode, op: int, built: int) -> Finding:
    line, column, end_line, end_column = function.at(op)
    flow = project.flow(function)
    return Finding(
        rule=NoRateLimit.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"the client of {function.name or 'the module'} sends without its limiter, and nothing else paces its requests",
        symbol=function.symbol,
        severity=Severity.HIGH if flow.loops(flow.block_of(op)) else Severity.MEDIUM,
        proof=tuple(_steps(project, function, op, built)),
    )  # fmt: skip


def _steps(project: Project, function: FunctionNode, op: int, built: int) -> Iterator[Step]:
    yield project.step(function, op, f"{OPTION} is False here", OPTION)
    if built != NONE:
        call = function.body.ops[built]
        name = last_name(function, call) if isinstance(call, Call) else ""
        yield project.step(function, built, f"{name or 'the client'} is built with it", name)
