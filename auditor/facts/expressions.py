"""Expressions -> operations. Each method takes a node and gives the operand that holds its value.

Names stay symbolic; what is read through a path is read by the operation that uses it. Where an `await` follows in the
same expression, what stands before it is held in a temporary first: that is the value that Python has read.
"""

from __future__ import annotations

import ast
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import libcst as cst

from auditor.facts.builder import CODE, Builder
from auditor.facts.model import (
    COLLECTION, NONE, OPERATOR, Await, Binary, Bool, Branch, Call, Choose, Closure, Collect, Compare, Edge, Format,
    Iterate, Next, Opaque, Root, Select, Store, Table, Unary, Unpack, Yield,
)  # fmt: skip
from auditor.source.module import COMPREHENSIONS, Scope

if TYPE_CHECKING:
    from auditor.facts.lower import Lowering

STORE, UNARY, BINARY, COMPARE = CODE[Store], CODE[Unary], CODE[Binary], CODE[Compare]
CHOOSE, BOOL, COLLECT, TABLE, UNPACK = CODE[Choose], CODE[Bool], CODE[Collect], CODE[Table], CODE[Unpack]
FORMAT, CALL, AWAIT, YIELD, CLOSURE = CODE[Format], CODE[Call], CODE[Await], CODE[Yield], CODE[Closure]
ITERATE, NEXT, BRANCH, OPAQUE = CODE[Iterate], CODE[Next], CODE[Branch], CODE[Opaque]

BINARY_OPERATORS = {
    cst.Add: "+", cst.Subtract: "-", cst.Multiply: "*", cst.Divide: "/", cst.FloorDivide: "//", cst.Modulo: "%",
    cst.Power: "**", cst.MatrixMultiply: "@", cst.LeftShift: "<<", cst.RightShift: ">>", cst.BitAnd: "&",
    cst.BitOr: "|", cst.BitXor: "^",
    cst.AddAssign: "+", cst.SubtractAssign: "-", cst.MultiplyAssign: "*", cst.DivideAssign: "/",
    cst.FloorDivideAssign: "//", cst.ModuloAssign: "%", cst.PowerAssign: "**", cst.MatrixMultiplyAssign: "@",
    cst.LeftShiftAssign: "<<", cst.RightShiftAssign: ">>", cst.BitAndAssign: "&", cst.BitOrAssign: "|",
    cst.BitXorAssign: "^",
    cst.Equal: "==", cst.NotEqual: "!=", cst.LessThan: "<", cst.LessThanEqual: "<=", cst.GreaterThan: ">",
    cst.GreaterThanEqual: ">=", cst.Is: "is", cst.IsNot: "is not", cst.In: "in", cst.NotIn: "not in",
}  # fmt: skip
OPERATOR_OF = {cls: OPERATOR[word] for cls, word in BINARY_OPERATORS.items()}
_NAMED = {"True": ("bool", "True"), "False": ("bool", "False"), "None": ("none", "")}


class Expressions(Builder):
    """Lowering of the expressions of one function, whose scope is `scope`."""

    def __init__(self, lowering: Lowering, scope: Scope, origin: int) -> None:
        self.lowering = lowering
        self.scope = scope
        self.table_of_spans = lowering.spans
        self.resolved: dict[str, tuple[Root, str]] = {}
        self.children: list[int] = []
        self.is_generator = False
        super().__init__(origin)

    # --- where we are ---
    def at(self, node: cst.CSTNode) -> None:
        self.position = self.table_of_spans.get(id(node), self.position)

    def suspends(self, node: cst.CSTNode) -> bool:
        """Whether an await or yield stands inside `node`."""
        return self._holds(self.lowering.suspensions, node)

    def effects(self, node: cst.CSTNode) -> bool:
        """Whether a call, an await, a comprehension or an assignment expression stands inside `node`."""
        return self._holds(self.lowering.effects, node)

    def _holds(self, offsets: list[int], node: cst.CSTNode) -> bool:
        start, end = self.table_of_spans.get(id(node), self.position)
        index = bisect_left(offsets, start)
        return index < len(offsets) and offsets[index] < end

    # --- names ---
    def name(self, name: str) -> int:
        scope = self.scope
        if scope.kind != "comprehension":
            known = self.resolved.get(name)
            if known is None:
                known = self.resolved[name] = self.lowering.resolve(scope, name)
        else:
            known = self.lowering.resolve(scope, name)
        return self.place(*known)

    # --- expressions ---
    def value(self, node: cst.CSTNode) -> int:
        method = _EXPRESSIONS.get(type(node))
        if method is None:
            return self.opaque(node)
        return method(self, node)

    def values(self, nodes: Sequence[Any]) -> list[int]:
        """The operands of several expressions, evaluated in order."""
        operands: list[int] = []
        for rank, node in enumerate(nodes):
            operand = self.value(node)
            if self.lowering.suspensions and self._readable(operand) and any(map(self.suspends, nodes[rank + 1 :])):
                self.at(node)
                operand = self.hold(operand)
            operands.append(operand)
        return operands

    def _readable(self, operand: int) -> bool:
        place = self.places[operand]
        return bool(place.path) or place.root in (Root.CELL, Root.GLOBAL)

    def _name(self, node: cst.Name) -> int:
        literal = _NAMED.get(node.value)
        return self.const(*literal) if literal is not None else self.name(node.value)

    def _attribute(self, node: cst.Attribute) -> int:
        return self.extend(self.value(node.value), Select.ATTR, node.attr.value)

    def _subscript(self, node: cst.Subscript) -> int:
        base = self.value(node.value)
        if len(node.slice) == 1 and isinstance(node.slice[0].slice, cst.Index) and node.slice[0].slice.star is None:
            if self.suspends(node.slice[0]) and self._readable(base):
                base = self.hold(base)
            key = self.value(node.slice[0].slice.value)
        else:
            key = self._slices(node)
        place = self.places[key]
        if place.root is Root.CONST:
            return self.extend(base, Select.ITEM, place.name)
        return self.extend(base, Select.KEY, key)

    def _slices(self, node: cst.Subscript) -> int:
        keys: list[int] = []
        for element in node.slice:
            part = element.slice
            if isinstance(part, cst.Index):
                keys.append(self.value(part.value))
                continue
            bounds = [self.const("none") if x is None else self.value(x) for x in (part.lower, part.upper, part.step)]
            keys.append(self.temp())
            self.at(element)
            self.emit(COLLECT, keys[-1], COLLECTION["slice"], 3, *bounds)
        if len(keys) == 1:
            return keys[0]
        whole = self.temp()
        self.at(node)
        self.emit(COLLECT, whole, COLLECTION["tuple"], len(keys), *keys)
        return whole

    def _integer(self, node: cst.Integer) -> int:
        return self.const("int", node.value)

    def _float(self, node: cst.Float) -> int:
        return self.const("float", node.value)

    def _imaginary(self, node: cst.Imaginary) -> int:
        return self.const("complex", node.value)

    def _ellipsis(self, node: cst.Ellipsis) -> int:
        return self.const("ellipsis")

    def _string(self, node: cst.SimpleString) -> int:
        return self.const(*literal_text(node.value))

    def _concatenated(self, node: cst.ConcatenatedString) -> int:
        parts: list[Any] = []
        tail: Any = node
        while isinstance(tail, cst.ConcatenatedString):
            parts.append(tail.left)
            tail = tail.right
        operands = [self.value(part) for part in (*parts, tail)]
        constants = [self.places[o].name for o in operands if self.places[o].root is Root.CONST]
        if len(constants) == len(operands):
            kind = constants[0].kind  # type: ignore[union-attr]  # places of constants hold constants
            return self.const(kind, "".join(c.text for c in constants))  # type: ignore[union-attr]  # as above
        held = self.temp()
        self.at(node)
        self.emit(FORMAT, held, *operands)
        return held

    def _format(self, node: Any) -> int:
        parts: list[int] = []
        stack = list(reversed(node.parts))
        while stack:
            part = stack.pop()
            if hasattr(part, "expression"):
                parts.append(self.value(part.expression))
                stack.extend(reversed(part.format_spec or ()))
            else:
                parts.append(self.const("str", part.value))
        held = self.temp()
        self.at(node)
        self.emit(FORMAT, held, *parts)
        return held

    def _unary(self, node: cst.UnaryOperation) -> int:
        operand = self.value(node.expression)
        place = self.places[operand]
        kind = type(node.operator)
        if kind is cst.Minus and place.root is Root.CONST and place.name.kind in ("int", "float"):  # type: ignore[union-attr]  # a constant
            return self.const(place.name.kind, "-" + place.name.text)  # type: ignore[union-attr]  # a constant
        held = self.temp()
        self.at(node)
        word = {cst.Minus: "-", cst.Plus: "+", cst.Not: "not"}.get(kind, "~")
        self.emit(UNARY, held, OPERATOR[word], operand)
        return held

    def _binary(self, node: cst.BinaryOperation) -> int:
        chain = [node]  # a + b + c nests to the left: a loop, so that long sums need no stack
        while isinstance(chain[-1].left, cst.BinaryOperation):
            chain.append(chain[-1].left)
        left = self.value(chain[-1].left)
        for part in reversed(chain):
            if self._readable(left) and self.suspends(part.right):
                left = self.hold(left)
            right = self.value(part.right)
            held = self.temp()
            self.at(part)
            self.emit(BINARY, held, OPERATOR_OF[type(part.operator)], left, right, 0)
            left = held
        return left

    def _comparison(self, node: cst.Comparison) -> int:
        left = self.value(node.left)
        if len(node.comparisons) == 1:
            return self._compare(node, left, node.comparisons[0])
        result, done = self.temp(), self.block()
        for rank, part in enumerate(node.comparisons):
            right = self.value(part.comparator)
            if rank + 1 < len(node.comparisons) and self.places[right].root is not Root.CONST:
                right = self.hold(right)
            self.at(node)
            self.emit(COMPARE, result, OPERATOR_OF[type(part.operator)], left, right)
            left = right
            if rank + 1 < len(node.comparisons):
                further = self.block()
                self.emit(BRANCH, result, 0)
                self.fork(further, done)
                self.open(further)
        self.open(done)
        return result

    def _compare(self, node: cst.CSTNode, left: int, part: cst.ComparisonTarget) -> int:
        if self._readable(left) and self.suspends(part.comparator):
            left = self.hold(left)
        right = self.value(part.comparator)
        held = self.temp()
        self.at(node)
        operator = part.operator
        kind = type(operator)
        self.emit(COMPARE, held, OPERATOR_OF[kind], left, right)
        return held

    def _boolean(self, node: cst.BooleanOperation) -> int:
        chain = [node]
        while isinstance(chain[-1].left, cst.BooleanOperation):
            chain.append(chain[-1].left)
        held = self.value(chain[-1].left)
        for part in reversed(chain):
            word = OPERATOR["and" if isinstance(part.operator, cst.And) else "or"]
            if not self.effects(part.right):
                right = self.value(part.right)
                result = self.temp()
                self.at(part)
                self.emit(BOOL, result, word, held, right)
                held = result
                continue
            result, more, done = self.temp(), self.block(), self.block()
            self.at(part)
            self.emit(STORE, result, held)
            self.emit(BRANCH, held, 0)
            if word == OPERATOR["and"]:
                self.fork(more, done)
            else:
                self.fork(done, more)
            self.open(more)
            right = self.value(part.right)
            self.at(part)
            self.emit(STORE, result, right)
            self.open(done)
            held = result
        return held

    def _choose(self, node: cst.IfExp) -> int:
        result = self.temp()
        if not self.effects(node.body) and not self.effects(node.orelse):
            test, then, other = self.value(node.test), self.value(node.body), self.value(node.orelse)
            self.at(node)
            self.emit(CHOOSE, result, test, then, other)
            return result
        yes, no, done = self.block(), self.block(), self.block()
        self.condition(node.test, yes, no)
        for block, branch in ((yes, node.body), (no, node.orelse)):
            self.open(block)
            value = self.value(branch)
            self.at(branch)
            self.emit(STORE, result, value)
            self.close(Edge.FALL, done)
        self.open(done)
        return result

    def condition(self, node: cst.CSTNode, yes: int, no: int) -> None:
        """Branch to `yes` or `no`; `and`, `or`, `not` become control flow."""
        if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Not):
            self.condition(node.expression, no, yes)
        elif isinstance(node, cst.BooleanOperation):
            chain = [node]
            while isinstance(chain[-1].left, cst.BooleanOperation) and type(chain[-1].left.operator) is type(node.operator):
                chain.append(chain[-1].left)
            terms = [chain[-1].left, *(part.right for part in reversed(chain))]
            both = isinstance(node.operator, cst.And)
            for term in terms[:-1]:
                more = self.block()
                self.condition(term, more if both else yes, no if both else more)
                self.open(more)
            self.condition(terms[-1], yes, no)
        else:
            test = self.value(node)
            self.at(node)
            self.emit(BRANCH, test, 0)
            self.fork(yes, no)

    def _named(self, node: cst.NamedExpr) -> int:
        value = self.value(node.value)
        target = self._target_name(node.target)
        self.at(node)
        self.emit(STORE, target, value)
        return target

    def _target_name(self, node: Any) -> int:
        scope = self.scope
        while self.scope.kind == "comprehension" and self.scope.parent is not None:
            self.scope = self.scope.parent
        target = self.name(node.value)
        self.scope = scope
        return target

    def _elements(self, node: Any, kind: str) -> int:
        items = self.values([element.value for element in node.elements])
        starred = [rank for rank, element in enumerate(node.elements) if isinstance(element, cst.StarredElement)]
        held = self.temp()
        self.at(node)
        self.emit(COLLECT, held, COLLECTION[kind], len(items), *items, *starred)
        return held

    def _list(self, node: cst.List) -> int:
        return self._elements(node, "list")

    def _tuple(self, node: cst.Tuple) -> int:
        return self._elements(node, "tuple")

    def _set(self, node: cst.Set) -> int:
        return self._elements(node, "set")

    def _dict(self, node: cst.Dict) -> int:
        keys: list[int] = []
        values: list[int] = []
        for element in node.elements:
            keys.append(self.value(element.key) if isinstance(element, cst.DictElement) else NONE)
            values.append(self.value(element.value))
        held = self.temp()
        self.at(node)
        self.emit(TABLE, held, *keys, *values)
        return held

    def _call(self, node: cst.Call) -> int:
        callee = self.value(node.func)
        values = self.values([arg.value for arg in node.args])
        args: list[int] = []
        starred: list[int] = []
        keywords: list[int] = []
        for arg, operand in zip(node.args, values, strict=True):
            if arg.keyword is not None:
                keywords += (self.string(arg.keyword.value), operand)
            elif arg.star == "**":
                keywords += (self.string(""), operand)
            else:
                if arg.star == "*":
                    starred.append(len(args))
                args.append(operand)
        held = self.temp()
        self.at(node)
        self.emit(CALL, held, callee, len(args), len(starred), *args, *starred, *keywords)
        return held

    def _await(self, node: cst.Await) -> int:
        source = self.value(node.expression)
        held = self.temp()
        self.at(node)
        self.emit(AWAIT, held, source)
        self.split()
        return held

    def _yield(self, node: cst.Yield) -> int:
        self.is_generator = True
        delegate = isinstance(node.value, cst.From)
        if node.value is None:
            source = NONE
        else:
            source = self.value(node.value.item if isinstance(node.value, cst.From) else node.value)
        held = self.temp()
        self.at(node)
        self.emit(YIELD, held, source, int(delegate))
        self.split()
        return held

    def _lambda(self, node: cst.Lambda) -> int:
        return self.closure(node)

    def closure(self, node: Any, decorators: Sequence[int] = ()) -> int:
        """The function object that a def or lambda creates here."""
        self.defaults(node.params)
        held = self.temp()
        self.at(node)
        self.emit(CLOSURE, held, len(self.children), *decorators)
        self.children.append(id(node))
        return held

    def defaults(self, params: cst.Parameters) -> None:
        """Defaults are evaluated where the function is created."""
        for param in (*params.posonly_params, *params.params, *params.kwonly_params):
            if param.default is not None and self.effects(param.default):
                self.value(param.default)

    # --- comprehensions: loops over a fresh scope ---
    def _comprehension(self, node: Any) -> int:
        outer = self.scope
        inner = self.lowering.scope_of[id(node)]
        kind = {cst.ListComp: "list", cst.SetComp: "set", cst.GeneratorExp: "generator"}.get(type(node), "dict")
        held = self.temp()
        self.at(node)
        position = self.position
        if kind == "dict":
            self.emit(TABLE, held)
        else:
            self.emit(COLLECT, held, COLLECTION[kind], 0)
        source = self.value(node.for_in.iter)
        self.scope = inner
        done = self.block()
        self._clause(node, node.for_in, source, held, done)
        self.open(done)
        self.scope = outer
        self.position = position
        return held

    def _clause(self, node: Any, clause: cst.CompFor, source: int, held: int, done: int) -> None:
        """One `for` of a comprehension; `done` is where the exhausted iterator leads."""
        is_async = int(clause.asynchronous is not None)
        iterator, head, body = self.temp(), self.block(), self.block()
        self.at(clause.iter)
        self.emit(ITERATE, iterator, source, is_async)
        self.open(head)
        item = self.target_temp(clause.target)
        self.at(clause.target)
        self.emit(NEXT, item, iterator, is_async)
        self.fork(body, done)
        self.open(body)
        self.assign(clause.target, item)
        for test in clause.ifs:
            passed = self.block()
            self.condition(test.test, passed, head)
            self.open(passed)
        if clause.inner_for_in is not None:
            self._clause(node, clause.inner_for_in, self.value(clause.inner_for_in.iter), held, head)
            return
        if isinstance(node, cst.DictComp):
            key, value = self.value(node.key), self.value(node.value)
            slot = self.extend(held, Select.KEY, key)
        else:
            value = self.value(getattr(node, "elt", None) or node.value)
            slot = self.extend(held, Select.KEY, NONE)
        self.at(node)
        self.emit(STORE, slot, value)
        self.close(Edge.LOOP, head)

    # --- targets ---
    def target_temp(self, target: Any) -> int:
        """Where an item is received: the name itself if the target is one."""
        return self.name(target.value) if isinstance(target, cst.Name) else self.temp()

    def assign(self, target: Any, source: int) -> None:
        """`target = source`."""
        if isinstance(target, cst.Tuple | cst.List):
            stars = [rank for rank, e in enumerate(target.elements) if isinstance(e, cst.StarredElement)]
            parts = [self.target_temp(element.value) for element in target.elements]
            self.at(target)
            self.emit(UNPACK, source, stars[0] if stars else NONE, *parts)
            for element, part in zip(target.elements, parts, strict=True):
                if not isinstance(element.value, cst.Name):
                    self.assign(element.value, part)
            return
        if isinstance(target, cst.StarredElement):
            self.assign(target.value, source)
            return
        place = self.value(target)
        if place != source:
            self.emit(STORE, place, source)

    def opaque(self, node: cst.CSTNode) -> int:
        self.lowering.opaque += 1
        held = self.temp()
        self.at(node)
        self.emit(OPAQUE, 0, held)
        return held


def literal_text(spelling: str) -> tuple[str, str]:
    """(kind, value) of a string literal; a literal that Python refuses keeps its spelling."""
    quote = spelling.find('"') if "'" not in spelling else min(i for i in (spelling.find('"'), spelling.find("'")) if i >= 0)
    prefix = spelling[:quote].lower()
    width = 3 if spelling[quote : quote + 3] in ('"""', "'''") else 1
    inner = spelling[quote + width : len(spelling) - width]
    kind = "bytes" if "b" in prefix else "str"
    if "\\" not in inner or "r" in prefix:
        return kind, inner
    try:
        value = ast.literal_eval(spelling)
    except (ValueError, SyntaxError, MemoryError):
        return kind, inner
    return kind, value if isinstance(value, str) else value.decode("latin-1")


_EXPRESSIONS: dict[type, Callable[[Any, Any], int]] = {
    cst.Name: Expressions._name, cst.Attribute: Expressions._attribute, cst.Subscript: Expressions._subscript,
    cst.Integer: Expressions._integer, cst.Float: Expressions._float, cst.Imaginary: Expressions._imaginary,
    cst.Ellipsis: Expressions._ellipsis, cst.SimpleString: Expressions._string,
    cst.ConcatenatedString: Expressions._concatenated, cst.FormattedString: Expressions._format,
    cst.UnaryOperation: Expressions._unary, cst.BinaryOperation: Expressions._binary,
    cst.Comparison: Expressions._comparison, cst.BooleanOperation: Expressions._boolean,
    cst.IfExp: Expressions._choose, cst.NamedExpr: Expressions._named, cst.List: Expressions._list,
    cst.Tuple: Expressions._tuple, cst.Set: Expressions._set, cst.Dict: Expressions._dict, cst.Call: Expressions._call,
    cst.Await: Expressions._await, cst.Yield: Expressions._yield, cst.Lambda: Expressions._lambda,
    **dict.fromkeys(COMPREHENSIONS, Expressions._comprehension),
}  # fmt: skip
if hasattr(cst, "TemplatedString"):
    _EXPRESSIONS[cst.TemplatedString] = Expressions._format
