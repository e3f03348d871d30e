"""Edits of number literals: where a literal stands, how it is written as a Decimal, and the import that this needs.

Facts hold the positions of operations, not of operands; so a literal is edited only where the lengths of what stands
around it leave one place for it.
"""

from __future__ import annotations

from decimal import Decimal

from auditor.facts.model import OPERATORS, Binary, Call, Const, Root, Select
from auditor.finding import Edit
from auditor.project.flow import writes
from auditor.project.symbols import FunctionNode

MAX_WHOLE = 10**15


def as_decimal(text: str, name: str) -> str:
    """A literal as a Decimal with the digits as written; whole numbers without quotes."""
    value = Decimal(text.replace("_", ""))
    if value == value.to_integral_value() and abs(value) < MAX_WHOLE and "e" not in text.lower():
        return f"{name}({int(value)})"
    return f'{name}("{text}")'


def decimal_name(function: FunctionNode) -> tuple[str, tuple[Edit, ...]]:
    """How a file calls Decimal, with the import that it lacks."""
    module = function.module
    for (scope, local), bound in sorted((k, v) for k, v in module.bindings.items() if isinstance(v, tuple)):
        if scope == 0 and bound == ("decimal", "Decimal"):
            return local, ()
    for (scope, local), bound in sorted((k, v) for k, v in module.bindings.items() if isinstance(v, tuple)):
        if scope == 0 and bound == ("decimal", ""):
            return f"{local}.Decimal", ()
    top = [module.position(i.offset)[0] for i in module.facts.imports if i.function == 0 and i.path != "__future__"]
    line = min(top, default=module.facts.import_line)
    return "Decimal", (Edit(function.path, line, 1, line, 1, "from decimal import Decimal\n"),)


def operand_edit(function: FunctionNode, rank: int, operand: int, name: str) -> Edit | None:
    """The edit that makes the literal operand of a binary operation a Decimal."""
    op = function.body.ops[rank]
    text = _text(function, operand)
    if not isinstance(op, Binary) or not text:
        return None
    start, end = function.body.spans[rank]
    sign = len(OPERATORS[op.operator]) + 2 + op.inplace
    other = _length(function, op.left if operand == op.right else op.right, rank)
    if other is None or end - start - other - sign - len(text) not in _brackets(
        function, rank, op.left if operand == op.right else op.right
    ):
        return None
    if operand == op.right:
        return _edit(function, end - len(text), end, as_decimal(text, name))
    return _edit(function, start, start + len(text), as_decimal(text, name))


def argument_edit(function: FunctionNode, rank: int, written: str) -> Edit | None:
    """The edit that replaces the only argument, a literal, of a call."""
    op = function.body.ops[rank]
    if not isinstance(op, Call) or len(op.args) != 1 or op.keywords:
        return None
    text = _text(function, op.args[0])
    start, end = function.body.spans[rank]
    callee = _length(function, op.callee, rank)
    if not text or callee is None or end - start != callee + 2 + len(text):
        return None
    return _edit(function, start + callee + 1, end - 1, written)


def whole_call_edit(function: FunctionNode, rank: int, written: str) -> Edit:
    """The edit that replaces a call."""
    start, end = function.body.spans[rank]
    return _edit(function, start, end, written)


def _edit(function: FunctionNode, start: int, end: int, text: str) -> Edit:
    return Edit(function.path, *function.module.position(start), *function.module.position(end), text)


def _text(function: FunctionNode, operand: int) -> str:
    name = function.body.places[operand].name
    return name.text if isinstance(name, Const) and name.kind == "float" else ""


def _brackets(function: FunctionNode, rank: int, operand: int) -> tuple[int, ...]:
    """How many characters brackets around the other operand take: two are possible around another operation."""
    body = function.body
    made = next((body.ops[r] for r in range(rank - 1, -1, -1) if operand in writes(body.ops[r])), None)
    return (0, 2) if body.places[operand].root is Root.TEMP and isinstance(made, Binary) else (0,)


def _length(function: FunctionNode, operand: int, before: int) -> int | None:
    """How many characters an operand takes as written, None where that is not known."""
    body = function.body
    place = body.places[operand]
    if isinstance(place.name, Const):
        return len(place.name.text) + (2 if place.name.kind == "str" else 0)
    if place.root is Root.TEMP:
        if place.path:
            return None
        made = next((r for r in range(before - 1, -1, -1) if operand in writes(body.ops[r])), None)
        return body.spans[made][1] - body.spans[made][0] if made is not None else None
    length = len(str(place.name).partition("'")[0])
    for kind, value in place.path:
        if kind is Select.ATTR:
            length += 1 + len(str(value))
        elif isinstance(value, Const):
            length += 2 + len(value.text) + (2 if value.kind == "str" else 0)
        else:
            return None
    return length
