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
Syntax of one file. Left out are a handler that ends every path with `raise` or with the end of the process, one that hands
the exception to a future, one around a bare `task.result()`, and one that a rebound `BaseException` makes look alike.
More than five handlers of one kind in a file are one finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import libcst as cst

from auditor.finding import Confidence as C
from auditor.finding import Edit, Finding, Fix, Severity, Step
from auditor.rule import Rule
from auditor.source.module import Scope, SourceModule
from auditor.source.nodes import descend

ORDER = re.compile(r"(create|place|submit|send|cancel|edit|replace|amend)_?(\w*_)?orders?\b|^(buy|sell|close_position)$")
LOG = frozenset({"debug", "info", "warning", "warn", "error", "exception", "critical", "log", "print"})
LEAVES = frozenset({"sys.exit", "os._exit", "os.abort", "exit", "quit"})
MOST = 5  # handlers of one kind in a file that are reported one by one
HANDED = frozenset({"set_exception"})  # methods that give the exception to whoever waits for it
OUTCOMES = frozenset({"result", "exception"})  # methods that tell how another task ended
Names = Mapping[str, str]  # local name -> dotted path
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
        kinds: dict[tuple[object, str], list[Finding]] = {}
        names = _imported(module)
        for scope in module.scopes:
            for node in scope.nodes(cst.Try, cst.TryStar):
                for handler in node.handlers:
                    if _catches_all(handler, scope) and not _excused(node, handler, names):
                        finding = self._finding(module, scope, node, handler)
                        kinds.setdefault((finding.severity, finding.message.rpartition(", ")[2]), []).append(finding)
        for group in kinds.values():
            yield from group if len(group) <= MOST else [_rolled_up(group)]

    def _finding(
        self, module: SourceModule, scope: Scope, node: cst.Try | cst.TryStar, handler: cst.ExceptHandler | cst.ExceptStarHandler
    ) -> Finding:
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

    def _proof(self, module: SourceModule, handler: cst.CSTNode, risky: tuple[Any, ...], what: str) -> Iterator[Step]:
        if risky:
            first = min(risky, key=lambda n: module.spans.table[id(n)][0])
            line, column, _, _ = module.location(first)
            if isinstance(first, cst.Await):
                yield Step(module.path, line, column, "this await can be cancelled", "await")
            else:
                name = _last(first.func)
                yield Step(module.path, line, column, f"the order call {name}() can be interrupted", name)
        line, column, _, _ = module.location(handler)
        yield Step(module.path, line, column, f"{what} takes it, and some path does not raise", "except")

    def _fix(self, module: SourceModule, handler: cst.ExceptHandler | cst.ExceptStarHandler) -> Fix:
        title = "Catch Exception, or the classes that the guarded call raises"
        if handler.type is not None:
            return Fix("display", title)
        line, column, _, _ = module.location(handler)
        return Fix("display", title, (Edit(module.path, line, column, line, column + len("except"), "except Exception"),))


def _rolled_up(group: list[Finding]) -> Finding:
    """Many handlers of one kind: one finding at the first, with a step for each of the others."""
    ordered = sorted(group, key=lambda f: (f.line, f.column))
    first = ordered[0]
    steps = tuple(Step(f.path, f.line, f.column, f"likewise in {f.symbol or 'the module'}", "except") for f in ordered[1:])
    return first.with_(message=f"{first.message}; {len(steps)} more handlers of this file do so", proof=(*first.proof, *steps))


def _excused(node: cst.Try | cst.TryStar, handler: cst.ExceptHandler | cst.ExceptStarHandler, names: Names) -> bool:
    """Whether nothing is lost: every path leaves, a future gets the exception, or it is the outcome of another task."""
    if _always_leaves(handler.body, names):
        return True
    name = handler.name.name.value if handler.name is not None and isinstance(handler.name.name, cst.Name) else ""
    for call in _own(handler.body):
        if not name or not isinstance(call, cst.Call) or _last(call.func) not in HANDED:
            continue
        if any(isinstance(a.value, cst.Name) and a.value.value == name for a in call.args):
            return True
    guarded = list(_statements(node.body))
    only = guarded[0].value if len(guarded) == 1 and isinstance(guarded[0], cst.Expr) else None
    return isinstance(only, cst.Call) and isinstance(only.func, cst.Attribute) and _last(only.func) in OUTCOMES and not only.args


def _catches_all(handler: cst.ExceptHandler | cst.ExceptStarHandler, scope: Scope) -> bool:
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


def _imported(module: SourceModule) -> Names:
    """What the imported names of a module stand for, by local name."""
    found: dict[str, str] = {}
    for scope in module.scopes:
        for node in scope.nodes(cst.Import, cst.ImportFrom):
            package = "" if isinstance(node, cst.Import) else f"{_dotted(node.module)}."
            for alias in () if isinstance(node.names, cst.ImportStar) else node.names:
                path = _dotted(alias.name)
                local = _dotted(alias.asname.name) if alias.asname is not None else path.partition(".")[0] if not package else path
                found[local] = f"{package}{path}" if alias.asname is not None or package else local
    return found


def _always_leaves(block: Any, names: Names) -> bool:
    """Whether every path through a block ends in `raise` of what was caught, or with the process."""
    return any(_leaves(statement, names) for statement in _statements(block))


def _statements(block: Any) -> Iterator[Any]:
    for statement in block.body:
        if isinstance(statement, cst.SimpleStatementLine):
            yield from statement.body
        else:
            yield statement


def _leaves(node: Any, names: Names) -> bool:
    match node:
        case cst.Raise():
            return node.exc is None or isinstance(node.exc, cst.Name)
        case cst.Expr(value=cst.Call(func=func)):
            first, _, rest = _dotted(func).partition(".")
            return ".".join(filter(None, (names.get(first, first), rest))) in LEAVES
        case cst.If():
            if node.orelse is None:
                return False
            other = node.orelse
            ends = _leaves(other, names) if isinstance(other, cst.If) else _always_leaves(other.body, names)
            return ends and _always_leaves(node.body, names)
        case cst.With():
            return _always_leaves(node.body, names)
        case cst.Try() | cst.TryStar():
            if node.finalbody is not None and _always_leaves(node.finalbody.body, names):
                return True
            return _always_leaves(node.body, names) and all(_always_leaves(h.body, names) for h in node.handlers)
        case _:
            return False


def _raises_other(block: Any) -> bool:
    """Whether the block ends by raising another exception."""
    statements = list(_statements(block))
    return bool(statements) and isinstance(statements[-1], cst.Raise)
