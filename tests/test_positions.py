"""Positions equal those of LibCST's own provider and of CPython's `ast`."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider

from auditor.source.positions import LineStarts, spans

FIXTURES = Path(__file__).parent.parent / "fixtures"
SNIPPETS = {
    "parentheses": "x = ((a), (b)(c), [d for e in (f)])\n",
    "decorated": "@a\n# why\n@b(1)\nasync def f(x: int = 1, *y, **z) -> None:\n    return\n",
    "class": "x = 1\n\n\n@a\nclass A(B):  # c\n    x = 1\n",
    "blocks": "if a:\n    pass\nelif b:\n    x; y\nelse:\n    z\n\n\n# end\n",
    "suites": "while 1: pass\nfor i in j: k; l;\n",
    "try": "try:\n    a\nexcept B as c:\n    d\nelse:\n    g\nfinally:\n    h\n",
    "try star": "try:\n    a\nexcept* E:\n    f\n",
    "imports": "from a import (\n    b as c,\n    d,\n)\nimport e.f\nfrom . import *\n",
    "strings": 'x = f\'{a!r:>{b}}\' \'c\' """d\n"""\n',
    "match": "match x:\n    case [1, *y] | {'a': b, **c}:\n        pass\n    case A(z=1):\n        pass\n",
    "no final newline": "x = 1\nif y:\n    z",
    "crlf": "def f():\r\n    return 1\r\n\r\n\r\nx = f()\r\n",
    "form feed": "x = 1\n\x0c\ny = '\u2028'; z = y\n",
    "wide": "x = '\U0001f600'; é = f(x)\n",
    "continuation": "x = a \\\n    .b \\\n    .c()\n",
    "empty": "",
    "only newline": "\n",
    "only comment": "# x",
    "walrus": "[y := f(x), y ** 2, *z, lambda a, /, b=1, *, c: (yield)]\n",
    "global": "def f():\n    global a, b\n    del c, d\n    assert e, g\n    raise H from i\n",
    "types": "x: int = 1\ny += 2\ntype Z[T] = list[T]\nwith a as b, c as d:\n    pass\n",
}


def fixture_texts() -> Iterator[str]:
    yield from SNIPPETS.values()
    for path in sorted(FIXTURES.rglob("*.py"))[:60]:
        yield path.read_bytes().decode("utf-8")


def test_equal_to_position_provider() -> None:
    compared = 0
    for text in fixture_texts():
        module = cst.parse_module(text)
        got = spans(module, text)
        assert got.exact, text
        lines = LineStarts(text)
        expected = MetadataWrapper(module, unsafe_skip_copy=True).resolve(PositionProvider)
        for node, where in expected.items():
            if id(node) in got.table:
                start, end = (lines.locate(offset) for offset in got.table[id(node)])
                assert (start, end) == (
                    (where.start.line, where.start.column + 1),
                    (where.end.line, where.end.column + 1),
                ), (type(node).__name__, text)
                compared += 1
    assert compared > 400


@pytest.mark.parametrize(
    "kind", [cst.Name, cst.Call, cst.FunctionDef, cst.IndentedBlock, cst.SimpleStatementLine, cst.Arg]
)
def test_nodes_that_facts_need_are_recorded(kind: type[cst.CSTNode]) -> None:
    text = "def f(x):\n    return g(x)\n"
    module = cst.parse_module(text)
    table = spans(module, text).table
    found: list[cst.CSTNode] = []
    stack: list[cst.CSTNode] = [module]
    while stack:
        node = stack.pop()
        stack += node.children
        if type(node) is kind:
            found.append(node)
    assert found
    assert all(id(node) in table for node in found)


def test_texts_that_do_not_round_trip_are_not_exact() -> None:
    text = 'x = f"{a!s  }"\ny = call(1)\n'
    module = cst.parse_module(text)
    assert module.code != text, "LibCST learnt to keep these blanks: find another example"
    got = spans(module, text)
    assert not got.exact
    statement = module.body[1]
    assert LineStarts(text).locate(got.table[id(statement)][0]) == (2, 1)


AST_KINDS: dict[type[ast.AST], type[cst.CSTNode]] = {
    ast.Call: cst.Call,
    ast.Await: cst.Await,
    ast.ExceptHandler: cst.ExceptHandler,
    ast.FunctionDef: cst.FunctionDef,
    ast.AsyncFunctionDef: cst.FunctionDef,
    ast.ClassDef: cst.ClassDef,
}


def ast_starts(text: str) -> dict[type[cst.CSTNode], list[tuple[int, int]]]:
    """Start lines and columns, as code points. Of decorated definitions the decorator, as in LibCST."""
    lines = text.split("\n")
    starts: dict[type[cst.CSTNode], list[tuple[int, int]]] = {}
    stack: list[ast.AST] = [ast.parse(text)]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.JoinedStr):
            continue  # before 3.12 positions inside are wrong
        stack += ast.iter_child_nodes(node)
        kind = AST_KINDS.get(type(node))
        if kind is not None:
            line, column = node.lineno, node.col_offset  # type: ignore[attr-defined]  # these six have them
            characters = len(lines[line - 1].encode()[:column].decode())
            starts.setdefault(kind, []).append((line, characters + 1))
    return {kind: sorted(places) for kind, places in starts.items()}


def cst_starts(text: str) -> dict[type[cst.CSTNode], list[tuple[int, int]]]:
    module = cst.parse_module(text)
    got = spans(module, text)
    lines = LineStarts(text)
    wanted = set(AST_KINDS.values())
    starts: dict[type[cst.CSTNode], list[tuple[int, int]]] = {}
    stack: list[cst.CSTNode] = [module]
    while stack:
        node = stack.pop()
        if isinstance(node, cst.FormattedString):
            continue
        stack += node.children
        if type(node) in wanted:
            start = got.table[id(node)][0]
            # LibCST begins a call's span where its expression does, inside of parentheses around that expression.
            begun = node
            while isinstance(begun, cst.Call | cst.Attribute | cst.Subscript):
                begun = begun.func if isinstance(begun, cst.Call) else begun.value
                start = min(start, got.table[id(begun)][0])
            starts.setdefault(type(node), []).append(lines.locate(start))
    return {kind: sorted(places) for kind, places in starts.items()}


@pytest.mark.parametrize(
    "name",
    [
        "asyncio/locks.py",
        "asyncio/tasks.py",
        "bisect.py",
        "decimal.py",
        "heapq.py",
        "queue.py",
        "sched.py",
        "shelve.py",
    ],
)
def test_equal_to_ast(name: str) -> None:
    text = (Path(sysconfig.get_path("stdlib")) / name).read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = ast_starts(text)
    assert cst_starts(text) == expected


def test_line_starts() -> None:
    text = "a\r\nb\rc\n\x0c\u2028d\x85e\n"
    lines = LineStarts(text)
    assert [lines.locate(text.index(letter)) for letter in "abcde"] == [(1, 1), (2, 1), (3, 1), (4, 3), (4, 5)]
    assert lines.locate(len(text)) == (5, 1)
    for offset in range(len(text) + 1):
        assert lines.offset(*lines.locate(offset)) == offset
    with pytest.raises(ValueError, match="outside"):
        lines.locate(len(text) + 1)
    with pytest.raises(ValueError, match="outside"):
        lines.offset(9, 1)
