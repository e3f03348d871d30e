"""Annotations -> `TypeExpr` trees, unresolved."""

from __future__ import annotations

import json
import re
from typing import Any

import libcst as cst

from auditor.facts.model import TypeExpr

DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")
UNKNOWN = TypeExpr("unknown")
MAX_DEPTH = 8


def type_expr(node: Any, depth: int = 0) -> TypeExpr:
    """The annotation as a tree; a string annotation is parsed, what cannot be read is `unknown`."""
    if depth > MAX_DEPTH:
        return UNKNOWN
    if isinstance(node, cst.Name):
        return TypeExpr("none") if node.value == "None" else TypeExpr("name", node.value)
    if isinstance(node, cst.Attribute):
        base = type_expr(node.value, depth + 1)
        return TypeExpr("name", f"{base.text}.{node.attr.value}") if base.kind == "name" else UNKNOWN
    if isinstance(node, cst.Subscript):
        args = tuple(
            type_expr(part.slice.value, depth + 1) if isinstance(part.slice, cst.Index) else UNKNOWN for part in node.slice
        )
        return TypeExpr("subscript", "", (type_expr(node.value, depth + 1), *args))
    if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.BitOr):
        return TypeExpr("union", "", (type_expr(node.left, depth + 1), type_expr(node.right, depth + 1)))
    if isinstance(node, cst.SimpleString):
        return _quoted(node, depth)
    if isinstance(node, cst.List | cst.Tuple):
        return TypeExpr("tuple", "", tuple(type_expr(e.value, depth + 1) for e in node.elements))
    if isinstance(node, cst.Integer):
        return TypeExpr("literal", node.value)
    if isinstance(node, cst.Ellipsis):
        return TypeExpr("literal", "...")
    return UNKNOWN


def _quoted(node: cst.SimpleString, depth: int) -> TypeExpr:
    text = node.value.strip("rRuUbB").strip("'\"").strip()
    if DOTTED.match(text):
        return TypeExpr("none") if text == "None" else TypeExpr("name", text)
    if len(text) > 300:
        return UNKNOWN
    try:
        return type_expr(cst.parse_expression(text), depth + 1)
    except Exception:  # noqa: BLE001 - a string that is no expression is no annotation; LibCST raises many classes
        return TypeExpr("literal", text)


def written(expr: TypeExpr) -> str:
    """The tree as JSON, for an operand."""
    return json.dumps(expr, separators=(",", ":"))


def read(text: str) -> TypeExpr:
    """The inverse of `written`."""

    def build(value: Any) -> TypeExpr:
        kind, word, args = value
        return TypeExpr(kind, word, tuple(build(arg) for arg in args))

    return build(json.loads(text))
