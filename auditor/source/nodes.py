"""The child table: for each LibCST node class, its significant children in source order.

Whitespace, punctuation and operator tokens (over 60 % of all nodes) carry no fact, so the walk never visits them. A test
compares the table with the installed LibCST: a class or a field that neither `FIELDS` nor `LAYOUT` knows fails there.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import libcst as cst

FIELDS = {
    "AnnAssign": "target annotation value", "Annotation": "annotation", "Arg": "keyword value", "AsName": "name",
    "Assert": "test msg", "Assign": "targets value", "AssignTarget": "target", "Attribute": "value attr",
    "AugAssign": "target value", "Await": "expression", "BinaryOperation": "left right",
    "BooleanOperation": "left right", "Break": "", "Call": "func args", "ClassDef": "decorators name type_parameters bases keywords body",
    "CompFor": "target iter ifs inner_for_in", "CompIf": "test", "Comparison": "left comparisons",
    "ComparisonTarget": "comparator", "ConcatenatedString": "left right", "Continue": "", "Decorator": "decorator", "Del": "target",
    "Dict": "elements", "DictComp": "key value for_in", "DictElement": "key value", "Element": "value", "Ellipsis": "",
    "Else": "body", "ExceptHandler": "type name body", "ExceptStarHandler": "type name body", "Expr": "value",
    "Finally": "body", "Float": "", "For": "target iter body orelse", "FormattedString": "parts",
    "FormattedStringExpression": "expression format_spec", "FormattedStringText": "", "From": "item",
    "FunctionDef": "decorators name type_parameters params returns body", "GeneratorExp": "elt for_in", "Global": "names",
    "If": "test body orelse", "IfExp": "body test orelse", "Imaginary": "", "Import": "names",
    "ImportAlias": "name asname", "ImportFrom": "module names", "IndentedBlock": "body", "Index": "value", "Integer": "",
    "Lambda": "params body", "LazyImport": "names", "LazyImportFrom": "module names", "List": "elements",
    "ListComp": "elt for_in", "Match": "subject cases", "MatchAs": "pattern name", "MatchCase": "pattern guard body",
    "MatchClass": "cls patterns kwds", "MatchKeywordElement": "key pattern", "MatchList": "patterns",
    "MatchMapping": "elements rest", "MatchMappingElement": "key pattern", "MatchOr": "patterns",
    "MatchOrElement": "pattern", "MatchSequenceElement": "value", "MatchSingleton": "value", "MatchStar": "name",
    "MatchTuple": "patterns", "MatchValue": "value", "Module": "body", "Name": "", "NameItem": "name",
    "NamedExpr": "target value", "Nonlocal": "names", "Param": "name annotation default", "ParamSpec": "name",
    "ParamStar": "", "Parameters": "posonly_params params star_arg kwonly_params star_kwarg", "Pass": "", "Raise": "exc cause",
    "Return": "value", "Set": "elements", "SetComp": "elt for_in", "SimpleStatementLine": "body",
    "SimpleStatementSuite": "body", "SimpleString": "", "Slice": "lower upper step", "StarredDictComp": "value for_in",
    "StarredDictElement": "value", "StarredElement": "value", "Subscript": "value slice", "SubscriptElement": "slice",
    "TemplatedString": "parts", "TemplatedStringExpression": "expression format_spec", "TemplatedStringText": "",
    "Try": "body handlers orelse finalbody", "TryStar": "body handlers orelse finalbody", "Tuple": "elements",
    "TypeAlias": "name type_parameters value", "TypeParam": "param default", "TypeParameters": "params",
    "TypeVar": "name bound", "TypeVarTuple": "name", "UnaryOperation": "expression", "While": "test body orelse",
    "With": "items body", "WithItem": "item asname", "Yield": "value",
}  # fmt: skip


def _table() -> dict[type, Callable[[Any], Any]]:
    table: dict[type, Callable[[Any], Any]] = {}
    for name, words in FIELDS.items():
        cls = getattr(cst, name, None)
        if cls is None:  # an older LibCST has no templated strings and no lazy imports
            continue
        names = tuple(n for n in reversed(words.split()) if n in cls.__dataclass_fields__)
        if len(names) > 1:
            table[cls] = operator.attrgetter(*names)
        elif names:
            table[cls] = _single(operator.attrgetter(names[0]))
        else:
            table[cls] = lambda _node: ()
    return table


def _single(get: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda node: (get(node),)


CHILDREN = _table()


def descend(node: cst.CSTNode) -> list[cst.CSTNode]:
    """All significant nodes below `node`, itself included, in source order. Does not stop at scopes."""
    found: list[cst.CSTNode] = []
    stack: list[Any] = [node]
    while stack:
        current = stack.pop()
        getter = CHILDREN.get(type(current))
        if getter is None:
            continue
        found.append(current)
        for value in getter(current):
            if type(value) is tuple or type(value) is list:
                stack.extend(reversed(value))
            else:
                stack.append(value)
    return found
