"""Decimals that are made of floats, or meet them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

import libcst as cst

from seeding.site import Site
from seeding.source import Around, Injector, Source

FROM, MIXED = "decimal-from-float", "float-decimal-mixing"
ARITHMETIC = (cst.Add, cst.Subtract, cst.Multiply, cst.Divide)


def _digits(source: Source, node: cst.CSTNode) -> tuple[cst.SimpleString, str] | None:
    """Of `Decimal("0.1")` the string and what it says, if that is a plain number."""
    match node:
        case cst.Call(func=cst.Name(value="Decimal"), args=[cst.Arg(value=cst.SimpleString() as text, keyword=None)]):
            digits = text.raw_value.strip()
        case _:
            return None
    if not source.imports_from("decimal", "Decimal") or digits[:1] in "+-":
        return None
    try:
        return (text, digits) if Decimal(digits).is_finite() else None
    except InvalidOperation:
        return None


def _unquoted(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """`Decimal("0.1")` loses its quotes, where a float of the same digits is another number."""
    found = _digits(source, node)
    if found is None or not _fraction(found[1]) or Decimal(float(found[1])) == Decimal(found[1]):
        return
    edit = source.edit(*source.span(found[0]), found[1])
    yield Site(FROM, 'Decimal("0.1") -> Decimal(0.1)', source.function(around), (edit,))


def _fraction(digits: str) -> bool:
    """Whether the digits, unquoted, are a float and not an int."""
    return "." in digits or "e" in digits.lower()


def _operands(node: cst.CSTNode) -> Iterator[tuple[cst.BaseExpression, cst.BaseExpression]]:
    """Each side of an arithmetic operation with the other, which is no number that is written there."""
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, ARITHMETIC):
        for side, other in ((node.left, node.right), (node.right, node.left)):
            if not isinstance(other, cst.Integer | cst.Float | cst.SimpleString):
                yield side, other


def _mixed(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """`x * Decimal("0.1")` becomes `x * 0.1`."""
    for side, other in _operands(node):
        found = _digits(source, side)
        if found is not None:
            text = found[1] if _fraction(found[1]) else f"{found[1]}.0"
            yield _site(source, 'x * Decimal("0.1") -> x * 0.1', node, (side, other), text.encode(), around)


def _converted(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """`x * Decimal(str(y))` becomes `x * float(y)`."""
    for side, other in _operands(node):
        match side:
            case cst.Call(
                func=cst.Name(value="Decimal"),
                args=[cst.Arg(value=cst.Call(func=cst.Name(value="str"), args=[cst.Arg(value=inner, keyword=None)]))],
            ):
                start, end = source.outer(inner)
                text = b"float(" + source.data[start:end] + b")"
                yield _site(source, "x * Decimal(str(y)) -> x * float(y)", node, (side, other), text, around)


def _site(
    source: Source,
    name: str,
    operation: cst.CSTNode,
    sides: tuple[cst.BaseExpression, cst.BaseExpression],
    text: bytes,
    around: Around,
) -> Site:
    """The fault is the operation: it may begin on another line than the float."""
    edit, note = source.edit(*source.span(sides[0]), text), " ".join(source.text(sides[1]).decode().split())
    return Site(MIXED, name, source.function(around), (edit,), 0, f"beside {note[:60]}", source.span(operation))


INJECTORS = (
    Injector(FROM, 'Decimal("0.1") -> Decimal(0.1)', b"Decimal(", _unquoted),
    Injector(MIXED, 'x * Decimal("0.1") -> x * 0.1', b"Decimal(", _mixed),
    Injector(MIXED, "x * Decimal(str(y)) -> x * float(y)", b"Decimal(str(", _converted),
)
