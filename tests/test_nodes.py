"""The child table knows every class and field of the installed LibCST, and the walk reaches all code."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import sysconfig
from collections import Counter
from pathlib import Path
from typing import Any

import libcst as cst
import pytest

from auditor.source.module import SourceModule
from auditor.source.nodes import CHILDREN, FIELDS, descend

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
FILES = ("functools.py", "asyncio/tasks.py", "contextlib.py", "bisect.py", "graphlib.py")

# Fields without code, in any class: whitespace and punctuation, by name.
LAYOUT = frozenset({
    "leading_whitespace", "trailing_comma", "lpar", "rpar", "lbracket", "rbracket", "lbrace", "rbrace", "colon", "comma",
    "semicolon", "dot", "equal", "star", "operator", "header", "footer", "body_header", "leading_lines",
    "trailing_whitespace", "lines_after_decorators", "empty_lines", "first_line", "separator", "indent", "kind",
})  # fmt: skip
# Fields that are plain values or tokens, in these classes only.
TOKENS = {
    "Name": "value", "Integer": "value", "Float": "value", "Imaginary": "value", "SimpleString": "value",
    "FormattedString": "start end", "FormattedStringText": "value", "FormattedStringExpression": "conversion",
    "TemplatedString": "start end", "TemplatedStringText": "value", "TemplatedStringExpression": "conversion",
    "For": "asynchronous", "With": "asynchronous", "CompFor": "asynchronous", "FunctionDef": "asynchronous",
    "ImportFrom": "relative", "LazyImportFrom": "relative", "Module": "encoding default_indent default_newline has_trailing_newline",
    "Slice": "first_colon second_colon", "Parameters": "posonly_ind",
}  # fmt: skip
# Classes of layout, operators and matchers' bases: no node of them holds code.
NO_CODE = (
    cst.BaseParenthesizableWhitespace, cst.BaseUnaryOp, cst.BaseBinaryOp, cst.BaseBooleanOp, cst.BaseCompOp,
    cst.BaseAugOp, cst.Asynchronous, cst.AssignEqual, cst.Colon, cst.Comma, cst.Comment, cst.Dot, cst.EmptyLine,
    cst.ImportStar, cst.LeftCurlyBrace, cst.LeftParen, cst.LeftSquareBracket, cst.Newline, cst.ParamSlash,
    cst.RightCurlyBrace, cst.RightParen, cst.RightSquareBracket, cst.Semicolon, cst.TrailingWhitespace, cst.BitOr,
)  # fmt: skip


def concrete() -> list[type]:
    """Every node class of the installed LibCST that a tree may hold."""
    found: list[type] = []
    pending: list[type] = [cst.CSTNode]
    while pending:
        cls = pending.pop()
        pending.extend(cls.__subclasses__())
        known = cls.__module__.startswith("libcst._nodes") and getattr(sys.modules[cls.__module__], cls.__name__, None) is cls
        if known and not inspect.isabstract(cls) and not cls.__name__.startswith(("Base", "_")):
            found.append(cls)
    return sorted(set(found), key=lambda cls: cls.__name__)


def unknown(cls: type) -> list[str]:
    """What the table does not account for in a class: itself, a field that it has no place for, or a field of the table
    that the class lacks."""
    if issubclass(cls, NO_CODE):
        return []
    if cls.__name__ not in FIELDS:
        return [cls.__name__]
    fields = {field.name for field in dataclasses.fields(cls)}
    children = set(FIELDS[cls.__name__].split())
    rest = fields - children - LAYOUT - set(TOKENS.get(cls.__name__, "").split())
    rest = {name for name in rest if not name.startswith("whitespace_")}
    return [f"{cls.__name__}.{name}" for name in sorted(rest | (children - fields))]


def test_the_table_accounts_for_every_class_and_field() -> None:
    classes = concrete()
    assert len(classes) > 150
    assert [name for cls in classes for name in unknown(cls)] == []


def test_every_entry_of_the_table_is_a_class_or_of_another_version() -> None:
    known = {cls.__name__ for cls in concrete()}
    later = {"LazyImport", "LazyImportFrom", "StarredDictComp", "TemplatedString", "TemplatedStringExpression", "TemplatedStringText"}
    assert set(FIELDS) - known <= later
    assert len(CHILDREN) == len(set(FIELDS) & known)


def test_an_unknown_class_or_field_is_seen() -> None:
    class Novel(cst.CSTNode):
        """A class that a later release might bring."""

    class Call(cst.Call):
        novelty: cst.Name | None = None

    Call = dataclasses.dataclass(frozen=True)(Call)  # type: ignore[misc]
    assert unknown(Novel) == ["Novel"]
    assert unknown(Call) == ["Call.novelty"]


class _Everything(cst.CSTVisitor):
    """Collects what LibCST itself visits."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if not isinstance(node, NO_CODE):
            self.found.append(node)
        return True


SNIPPETS = """
from __future__ import annotations
import a.b.c as d, e
from .f import (g as h, i)
@deco(1)
def fn(a, /, b: int = len('x'), *c: str, d, e=f(2), **g: dict[str, h]) -> list[i]:
    global gg, hh
    x: int = 3
    del x, y[0]
    assert a, f'{b!r:>{c}} {d=}'
    raise E from None
async def co():
    nonlocal_ = [await z async for z in w if q]
    async with m as n, p as q:
        yield ({**a, 'b': c, **d}, {*e, f})
    async for t in u:
        yield
    else:
        return (yield from v)
class K(Base[int], *more, metaclass=M):
    z = lambda s, t=u: s + t
    try:
        a[1:2, ::3, ...] = b if c else d
    except (E, F) as e:
        pass
    else:
        a = not -b ** ~c
    finally:
        a //= (b := c) < d <= e is not f
match a:
    case [1, b, *c] | {'k': d, **e} if f: pass
    case K(1, x=g) as h: pass
    case -1 | 2 + 3j | None | a.b: pass
while 1: break
"""
NEWER = "type T[A: int, *B, **C] = dict[A, B]\ndef fn[X: (int, str) = int](x: X) -> X: return x\nclass K[Y](Base[Y]): pass\n"
GROUPS = "try:\n    a()\nexcept* (E, F) as g:\n    b\n"


@pytest.mark.parametrize("source", [*FILES, SNIPPETS, NEWER, GROUPS])
def test_nothing_with_code_is_skipped(source: str) -> None:
    text = (LIBRARY / source).read_text() if source.endswith(".py") else source
    tree = cst.parse_module(text)
    everything = _Everything()
    tree.visit(everything)
    assert Counter(map(id, descend(tree))) == Counter(map(id, everything.found))

    module = SourceModule("file.py", text, tree)
    walked = [node for scope in module.scopes for nodes in scope.buckets.values() for node in nodes]
    reached = set(map(id, walked))
    assert len(reached) == len(walked), "a node was walked twice"
    reached |= named(everything.found)
    missed = {type(n).__name__ for n in everything.found if id(n) not in reached}
    assert missed <= {"Module", "Decorator", "Parameters", "Param", "ParamStar", "Annotation", "Arg", "CompFor", "CompIf"}


def named(nodes: list[Any]) -> set[int]:
    """Names that only name a definition, a parameter or the keyword of a base: they hold no code."""
    found: set[int] = set()
    for node in nodes:
        if isinstance(node, cst.FunctionDef | cst.ClassDef | cst.Param):
            found.add(id(node.name))
        if isinstance(node, cst.ClassDef):
            found.update(id(arg.keyword) for arg in node.keywords)
    return found
