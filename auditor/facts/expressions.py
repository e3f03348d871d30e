"""Expressions -> operations. Each method takes a node and gives the operand that holds its value.

Names stay symbolic; what is read through a path is read by the operation that uses it. Where a call, an await or an
assignment expression follows in the same expression and might change what was read, the value is held in a temporary
first: that is the value that Python has read. Two places are not held, because their names are facts: the callee of a
call, and, unless an await follows, the container of a subscript. And `a.b or f()` reads `a.b` twice, where Python reads
it once: in the test, so that it can be narrowed, and in the store of the result.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import libcst as cst

from auditor.facts.builder import CODE, MAX_PATH, Builder
from auditor.facts.literals import float_text, integer_text, literal_text, unescaped
from auditor.facts.model import (
    COLLECTION,
    NONE,
    OPERATOR,
    Await,
    Binary,
    Bool,
    Branch,
    Call,
    Choose,
    Closure,
    Collect,
    Compare,
    Const,
    Delete,
    Edge,
    Format,
    Iterate,
    Next,
    Opaque,
    Root,
    Select,
    Store,
    Table,
    Unary,
    Unpack,
    Yield,
)  # fmt: skip
from auditor.source.module import COMPREHENSIONS, Scope, all_parameters
from auditor.source.nodes import descend

if TYPE_CHECKING:
    from auditor.facts.lower import Lowering

STORE, UNARY, BINARY, COMPARE = CODE[Store], CODE[Unary], CODE[Binary], CODE[Compare]
CHOOSE, BOOL, COLLECT, TABLE, UNPACK = CODE[Choose], CODE[Bool], CODE[Collect], CODE[Table], CODE[Unpack]
FORMAT, CALL, AWAIT, YIELD, CLOSURE = CODE[Format], CODE[Call], CODE[Await], CODE[Yield], CODE[Closure]
ITERATE, NEXT, BRANCH, OPAQUE, DELETE = CODE[Iterate], CODE[Next], CODE[Branch], CODE[Opaque], CODE[Delete]

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
COMPREHENDED: dict[type, str] = {cst.ListComp: "list", cst.SetComp: "set", cst.GeneratorExp: "generator"}
UNARY_OPERATORS: dict[type, str] = {cst.Minus: "-", cst.Plus: "+", cst.Not: "not", cst.BitInvert: "~"}
_NAMED = {"True": ("bool", "True"), "False": ("bool", "False"), "None": ("none", "")}


class Expressions(Builder):
    """Lowering of the expressions of one function, whose scope is `scope`."""

    def __init__(self, lowering: Lowering, scope: Scope, origin: int) -> None:
        self.lowering = lowering
        self.scope = scope
        self.table_of_spans = lowering.spans
        self.resolved: dict[str, tuple[Root, str]] = {}
        self.children: dict[int, int] = {}  # id of a def, lambda or class -> its rank
        self.is_generator = False
        super().__init__(origin)

    # --- where we are ---
    def at(self, node: cst.CSTNode) -> None:
        self.position = self.table_of_spans.get(id(node), self.position)

    def suspends(self, node: cst.CSTNode) -> bool:
        """Whether an await or yield stands inside `node`."""
        return self._between(self.lowering.suspensions, node, node)

    def changes(self, node: cst.CSTNode) -> bool:
        """Whether a call, an await, a yield or an assignment expression stands inside `node`."""
        return self._between(self.lowering.changes, node, node)

    def _between(self, offsets: list[int], first: cst.CSTNode, last: cst.CSTNode) -> bool:
        table = self.table_of_spans
        index = bisect_left(offsets, table.get(id(first), self.position)[0])
        return index < len(offsets) and offsets[index] < table.get(id(last), self.position)[1]

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
        changes = self.lowering.changes
        if not changes or len(nodes) < 2 or not self._between(changes, nodes[0], nodes[-1]):
            return [self.value(node) for node in nodes]
        return self._ordered(nodes)

    def _ordered(self, nodes: Sequence[Any]) -> list[int]:
        changing = max((rank for rank, node in enumerate(nodes) if self.changes(node)), default=0)
        suspending = max((rank for rank, node in enumerate(nodes) if self.suspends(node)), default=0)
        operands: list[int] = []
        for rank, node in enumerate(nodes):
            operand = self.value(node)
            if rank < changing and self._stale(operand, rank < suspending):
                self.at(node)
                operand = self.hold(operand)
            operands.append(operand)
        return operands

    def kept(self, operand: int, node: cst.CSTNode, later: cst.CSTNode) -> int:
        """The operand of `node`, held in a temporary if evaluating `later` may change it."""
        place = self.places[operand]
        if not place.path and place.root in (Root.TEMP, Root.CONST):
            return operand
        if not self.changes(later) or not self._stale(operand, self.suspends(later)):
            return operand
        self.at(node)
        return self.hold(operand)

    def _stale(self, operand: int, suspends: bool) -> bool:
        """Whether a call, or a suspension, may change what the operand holds."""
        place = self.places[operand]
        if place.path or place.name in self.lowering.shared:
            return True
        return suspends and place.root in (Root.CELL, Root.GLOBAL)

    def _readable(self, operand: int) -> bool:
        place = self.places[operand]
        return bool(place.path) or place.root in (Root.CELL, Root.GLOBAL)

    def _name(self, node: cst.Name) -> int:
        literal = _NAMED.get(node.value)
        return self.const(*literal) if literal is not None else self.name(node.value)

    def _attribute(self, node: cst.Attribute) -> int:
        base = node.value
        operand = self._name(base) if type(base) is cst.Name else self.value(base)
        return self.extend(operand, Select.ATTR, node.attr.value)

    def _subscript(self, node: cst.Subscript) -> int:
        base = self.value(node.value)
        element = node.slice[0]
        if self._readable(base) and self._between(self.lowering.suspensions, element, node):
            base = self.hold(base)
        index = element.slice
        if len(node.slice) > 1 or type(index) is not cst.Index or type(element.comma) is cst.Comma or index.star:
            return self.extend(base, Select.KEY, self._slices(node))
        key = self.value(index.value)
        place = self.places[key]
        if place.root is Root.CONST:
            return self.extend(base, Select.ITEM, place.name)
        return self.extend(base, Select.KEY, key)

    def _slices(self, node: cst.Subscript) -> int:
        """The key of `x[a:b]`, `x[a, b]`, `x[*a]`."""
        nodes: list[Any] = []
        for element in node.slice:
            part: Any = element.slice
            if isinstance(part, cst.Index):
                nodes.append(part.value)
            else:
                nodes += (bound for bound in (part.lower, part.upper, part.step) if bound is not None)
        operands = iter(self.values(nodes))
        keys: list[int] = []
        starred: list[int] = []
        for rank, element in enumerate(node.slice):
            part = element.slice
            if isinstance(part, cst.Index):
                keys.append(next(operands))
                if part.star:
                    starred.append(rank)
                continue
            bounds = [self.const("none") if b is None else next(operands) for b in (part.lower, part.upper, part.step)]
            keys.append(self.temp())
            self.at(element)
            self.emit(COLLECT, keys[-1], COLLECTION["slice"], 3, *bounds)
        if len(keys) == 1 and not starred and not isinstance(node.slice[0].comma, cst.Comma):
            return keys[0]
        whole = self.temp()
        self.at(node)
        self.emit(COLLECT, whole, COLLECTION["tuple"], len(keys), *keys, *starred)
        return whole

    def _integer(self, node: cst.Integer) -> int:
        return self.const("int", integer_text(node.value))

    def _float(self, node: cst.Float) -> int:
        return self.const("float", float_text(node.value))

    def _imaginary(self, node: cst.Imaginary) -> int:
        return self.const("complex", float_text(node.value))

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
        operands = self.values([*parts, tail])
        constants = [cast(Const, self.places[o].name) for o in operands if self.places[o].root is Root.CONST]
        if len(constants) == len(operands):
            return self.const(constants[0].kind, "".join(c.text for c in constants))
        held = self.temp()
        self.at(node)
        self.emit(FORMAT, held, *operands)
        return held

    def _format(self, node: Any) -> int:
        raw = "r" in node.start.lower()
        found: list[Any] = []  # expressions, and constants as their text
        pending = list(reversed(node.parts))
        while pending:
            part = pending.pop()
            if not hasattr(part, "expression"):
                found.append(("str", unescaped(part.value.replace("{{", "{").replace("}}", "}"), raw=raw)))
                continue
            conversion = f"!{part.conversion}" if part.conversion else ""
            spec = part.format_spec
            if part.equal is not None:
                shown = cst.Module([]).code_for_node(part.with_changes(conversion=None, format_spec=None))
                found.append(("str", shown[1:-1]))
                conversion = conversion or ("!r" if spec is None else "")
            found.append(part.expression)
            inner = spec or ()
            if conversion or inner:
                text = "".join("{}" if hasattr(p, "expression") else unescaped(p.value, raw=raw) for p in inner)
                found.append(("spec", conversion + ":" + text if inner else conversion))
                pending += (p for p in reversed(inner) if hasattr(p, "expression"))
        operands = iter(self.values([item for item in found if type(item) is not tuple]))
        parts = [self.const(*item) if type(item) is tuple else next(operands) for item in found]
        held = self.temp()
        self.at(node)
        self.emit(FORMAT, held, *parts)
        return held

    def _unary(self, node: cst.UnaryOperation) -> int:
        operand = self.value(node.expression)
        place = self.places[operand]
        kind = type(node.operator)
        if kind is cst.Minus and isinstance(place.name, Const) and place.name.kind in ("int", "float"):
            text = place.name.text
            return self.const(place.name.kind, text[1:] if text[0] == "-" else "-" + text)
        held = self.temp()
        self.at(node)
        self.emit(UNARY, held, OPERATOR[UNARY_OPERATORS[kind]], operand)
        return held

    def _binary(self, node: cst.BinaryOperation) -> int:
        chain = [node]  # a + b + c nests to the left: a loop, so that long sums need no stack
        while type(chain[-1].left) is cst.BinaryOperation:
            chain.append(chain[-1].left)
        left = self.value(chain[-1].left)
        for part in reversed(chain):
            left = self.kept(left, part.left, part.right)
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
            left = self.kept(left, node, part.comparator)
            right = self.value(part.comparator)
            self.at(node)
            place = self.places[right]
            if rank + 1 < len(node.comparisons) and (place.path or place.root not in (Root.CONST, Root.TEMP)):
                right = self.hold(right)
            self.emit(COMPARE, result, OPERATOR_OF[type(part.operator)], left, right)
            left = right
            if rank + 1 < len(node.comparisons):
                further = self.block()
                self.emit(BRANCH, result, 0)
                self.fork(further, done)
                self.open(further)
        self.open(done)
        return result

    def _compare(self, node: cst.Comparison, left: int, part: cst.ComparisonTarget) -> int:
        left = self.kept(left, node.left, part.comparator)
        right = self.value(part.comparator)
        held = self.temp()
        self.at(node)
        self.emit(COMPARE, held, OPERATOR_OF[type(part.operator)], left, right)
        return held

    def _boolean(self, node: cst.BooleanOperation) -> int:
        chain = [node]
        while type(chain[-1].left) is cst.BooleanOperation:
            chain.append(chain[-1].left)
        held = self.value(chain[-1].left)
        for part in reversed(chain):
            word = OPERATOR["and" if isinstance(part.operator, cst.And) else "or"]
            if is_plain(part.right):
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
        if is_plain(node.body) and is_plain(node.orelse):
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

    def condition(self, node: Any, yes: int, no: int) -> None:
        """Branch to `yes` or `no`; `and`, `or`, `not` become control flow."""
        kind = type(node)
        if kind is cst.UnaryOperation and isinstance(node.operator, cst.Not):
            self.condition(node.expression, no, yes)
        elif kind is cst.BooleanOperation:
            chain = [node]
            while type(chain[-1].left) is cst.BooleanOperation and type(chain[-1].left.operator) is type(node.operator):
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
        nodes: list[Any] = []
        for element in node.elements:
            nodes += (element.key, element.value) if isinstance(element, cst.DictElement) else (element.value,)
        operands = iter(self.values(nodes))
        keys: list[int] = []
        values: list[int] = []
        for element in node.elements:
            keys.append(next(operands) if isinstance(element, cst.DictElement) else NONE)
            values.append(next(operands))
        held = self.temp()
        self.at(node)
        self.emit(TABLE, held, *keys, *values)
        return held

    def _call(self, node: cst.Call) -> int:
        callee = self.value(node.func)
        nodes: Sequence[cst.Arg] = node.args
        if [arg for arg in nodes if arg.star] and any(a.keyword is not None and b.star == "*" for a, b in pairwise(nodes)):
            nodes = sorted(nodes, key=lambda arg: arg.keyword is not None or arg.star == "**")  # as Python evaluates them
            values = self._ordered([arg.value for arg in nodes])
        else:
            values = self.values([arg.value for arg in nodes])
        args: list[int] = []
        starred: list[int] = []
        keywords: list[int] = []
        for arg, operand in zip(nodes, values, strict=True):
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
        value = node.value.item if isinstance(node.value, cst.From) else node.value
        source = NONE if value is None else self.value(value)
        held = self.temp()
        self.at(node)
        self.emit(YIELD, held, source, int(delegate))
        self.split()
        return held

    def _lambda(self, node: cst.Lambda) -> int:
        return self.closure(node)

    def closure(self, node: Any, decorators: Sequence[int] = ()) -> int:
        """The function object that a def or lambda creates here; its defaults are evaluated here too."""
        defaults = self.values([p.default for p in all_parameters(node.params) if p.default is not None])
        held = self.temp()
        self.at(node)
        self.emit(CLOSURE, held, self.child(node), len(decorators), *decorators, *defaults)
        return held

    def child(self, node: Any) -> int:
        """The rank of a function or class among those created here; one that stands in two copies of a `finally` is
        one function."""
        return self.children.setdefault(id(node), len(self.children))

    # --- comprehensions: loops over a fresh scope ---
    def _comprehension(self, node: Any) -> int:
        outer = self.scope
        inner = self.lowering.scope_of[id(node)]
        kind = COMPREHENDED.get(type(node), "dict")
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
            key, value = self.values([node.key, node.value])
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
        if type(target) in (cst.Tuple, cst.List):
            stars = [rank for rank, e in enumerate(target.elements) if isinstance(e, cst.StarredElement)]
            parts: list[int] = []
            direct = True  # names before the first other target receive their item at once; targets are set in order
            for element in target.elements:
                direct = direct and isinstance(element.value, cst.Name)
                parts.append(self.name(element.value.value) if direct else self.temp())
            self.at(target)
            self.emit(UNPACK, source, stars[0] if stars else NONE, *parts)
            for element, part in zip(target.elements, parts, strict=True):
                if self.places[part].root is Root.TEMP:
                    self.assign(element.value, part)
            return
        if type(target) is cst.StarredElement:
            self.assign(target.value, source)
            return
        place = self.value(target)
        if place != source:
            self.emit(STORE, place, source)

    def opaque(self, node: cst.CSTNode) -> int:
        """A node that no method knows: the names inside are read, as far as they are names."""
        reads = [self.value(n) for n in descend(node) if isinstance(n, cst.Name)]
        held = self.temp()
        self.at(node)
        self.emit(OPAQUE, len(reads), *reads, held)
        return held


def is_plain(node: Any) -> bool:
    """Whether an expression is a place, a constant or an empty display: lowering it needs no operation that could fail."""
    depth = 0
    while True:
        kind = type(node)
        if kind is cst.Attribute:
            node = node.value
        elif kind is cst.Subscript:
            element = node.slice[0]
            index = element.slice
            if len(node.slice) > 1 or type(index) is not cst.Index or index.star or type(element.comma) is cst.Comma:
                return False
            if not is_plain(index.value):
                return False
            node = node.value
        else:
            break
        depth += 1
    if depth:
        return kind is cst.Name and depth <= MAX_PATH
    if kind in (cst.List, cst.Tuple, cst.Dict):
        return not node.elements
    if kind is cst.UnaryOperation and type(node.operator) is cst.Minus:
        return type(node.expression) in (cst.Integer, cst.Float)
    return kind in (cst.Name, cst.Integer, cst.Float, cst.SimpleString, cst.Ellipsis)


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
