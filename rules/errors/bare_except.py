"""
Bare except

## What it finds
A handler without a class, or for `BaseException`, from which some path goes on instead of raising.

## Why it matters
It catches `KeyboardInterrupt`, `SystemExit` and `CancelledError` with everything else: a bot that cannot be stopped, a
task that lives on after it was cancelled, a typo that looks like a lost connection.

## Bad
```python
def refresh(client, book):
    try:
        book.update(client.snapshot())
    except:
        log.warning("refresh failed")
```

## Good
Catch `Exception`, or better the classes that the guarded call raises, and let the rest through.

```python
def refresh(client, book):
    try:
        book.update(client.snapshot())
    except Exception:
        log.warning("refresh failed")
```

## Limits
Syntax of one file. A handler that ends every path with `raise`, or with the end of the process, is left out; so is one
that a rebound `BaseException` makes look alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import libcst as cst

from auditor.finding import Edit, Finding, Fix, Severity, Step
from auditor.finding import Confidence as C
from auditor.rule import Rule
from auditor.source.module import Scope, SourceModule
from auditor.source.nodes import descend

ORDER = re.compile(r"(create|place|submit|send|cancel|edit|replace|amend)_?(\w*_)?orders?\b|^(buy|sell|close_position)$")
LOG = frozenset({"debug", "info", "warning", "warn", "error", "exception", "critical", "log", "print"})
LEAVES = frozenset({"sys.exit", "os._exit", "os.abort", "exit", "quit"})
NESTED = (cst.FunctionDef, cst.Lambda, cst.ClassDef)


class BareExcept(Rule):
    id = "bare-except"
    severity = Severity.MEDIUM
    confidence = C.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (396,)
    in_tests = False
    counterparts = {"ruff": {"E722": "merge", "S110": "near", "S112": "near"}, "bandit": {"B110": "near", "B112": "near"}}

    def check_module(self, module: SourceModule) -> Iterator[Finding]:
        for scope in module.scopes:
            for node in scope.nodes(cst.Try):
                for handler in node.handlers:
                    if _catches_all(handler, scope) and not _always_leaves(handler.body):
                        yield self._finding(module, scope, node, handler)

    def _finding(self, module: SourceModule, scope: Scope, node: cst.Try, handler: cst.ExceptHandler) -> Finding:
        line, column, _, _ = module.location(handler)
        what = "except:" if handler.type is None else "except BaseException"
        width = len("except") if handler.type is None else len(what)
        guarded = _own(node.body)
        awaits = [n for n in guarded if isinstance(n, cst.Await)]
        orders = [n for n in guarded if isinstance(n, cst.Call) and ORDER.search(_last(n.func))]
        silent = not any(isinstance(n, cst.Call) and _last(n.func) in LOG for n in _own(handler.body))
        converts = _raises_other(handler.body)
        grave = not converts and (bool(awaits) or bool(orders) or silent)
        loses = "also the cancellation of its task" if awaits else "also KeyboardInterrupt and SystemExit"
        end = "and turns it into another exception" if converts else "and goes on without a trace" if silent else "and goes on"
        return Finding(
            rule=self.id, path=module.path, line=line, column=column, end_line=line, end_column=column + width,
            message=f"{what.rstrip(':')} in {scope.symbol or 'the module'} catches everything, {loses}, {end}",
            symbol=scope.symbol,
            severity=Severity.LOW if converts else Severity.HIGH if grave else Severity.MEDIUM,
            proof=tuple(self._proof(module, handler, (*awaits, *orders), what)),
            fix=self._fix(module, handler),
        )  # fmt: skip

    def _proof(self, module: SourceModule, handler: cst.ExceptHandler, risky: tuple[Any, ...], what: str) -> Iterator[Step]:
        if risky:
            first = min(risky, key=lambda n: module.spans.table[id(n)][0])
            line, column, _, _ = module.location(first)
            note = "this await can be cancelled" if isinstance(first, cst.Await) else f"the order call {_last(first.func)}() can be interrupted"
            yield Step(module.path, line, column, note, "await" if isinstance(first, cst.Await) else _last(first.func))
        line, column, _, _ = module.location(handler)
        yield Step(module.path, line, column, f"{what} takes it, and some path does not raise", "except")

    def _fix(self, module: SourceModule, handler: cst.ExceptHandler) -> Fix:
        title = "Catch Exception, or the classes that the guarded call raises"
        if handler.type is not None:
            return Fix("display", title)
        line, column, _, _ = module.location(handler)
        return Fix("display", title, (Edit(module.path, line, column, line, column + len("except"), "except Exception"),))


def _catches_all(handler: cst.ExceptHandler, scope: Scope) -> bool:
    if handler.type is None:
        return True
    kinds = [e.value for e in handler.type.elements] if isinstance(handler.type, cst.Tuple) else [handler.type]
    return any(isinstance(k, cst.Name) and k.value == "BaseException" for k in kinds) and not _rebound(scope)


def _rebound(scope: Scope | None) -> bool:
    while scope is not None:
        if "BaseException" in scope.bound:
            return True
        scope = scope.parent
    return False


def _own(body: cst.CSTNode) -> list[cst.CSTNode]:
    """The nodes of a block that run when it runs: not those of functions that it only defines."""
    inner = {id(n) for d in descend(body) if isinstance(d, NESTED) for n in descend(d)}
    return [n for n in descend(body) if id(n) not in inner]


def _last(node: Any) -> str:
    return str(node.attr.value if isinstance(node, cst.Attribute) else node.value if isinstance(node, cst.Name) else "")


def _dotted(node: Any) -> str:
    if isinstance(node, cst.Attribute):
        return f"{_dotted(node.value)}.{node.attr.value}"
    return node.value if isinstance(node, cst.Name) else ""


def _always_leaves(block: Any) -> bool:
    """Whether every path through a block ends in `raise` of what was caught, or with the process."""
    return any(_leaves(statement) for statement in _statements(block))


def _statements(block: Any) -> Iterator[Any]:
    for statement in block.body:
        if isinstance(statement, cst.SimpleStatementLine):
            yield from statement.body
        else:
            yield statement


def _leaves(node: Any) -> bool:
    match node:
        case cst.Raise():
            return node.exc is None or isinstance(node.exc, cst.Name)
        case cst.Expr(value=cst.Call(func=func)):
            return _dotted(func) in LEAVES
        case cst.If():
            if node.orelse is None:
                return False
            other = node.orelse
            return _always_leaves(node.body) and (_leaves(other) if isinstance(other, cst.If) else _always_leaves(other.body))
        case cst.With():
            return _always_leaves(node.body)
        case cst.Try():
            if node.finalbody is not None and _always_leaves(node.finalbody.body):
                return True
            return _always_leaves(node.body) and all(_always_leaves(h.body) for h in node.handlers)
        case _:
            return False


def _raises_other(block: Any) -> bool:
    """Whether the block ends by raising another exception."""
    statements = list(_statements(block))
    return bool(statements) and isinstance(statements[-1], cst.Raise)
