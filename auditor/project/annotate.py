"""Annotations -> types, in the module where they are written."""

from __future__ import annotations

from auditor.facts.model import Root, Select, Store, TypeExpr
from auditor.project.symbols import ClassNode, External, FunctionNode, Module, Symbols, Variable
from auditor.project.types import (
    BOTTOM,
    NONE_TYPE,
    STR,
    TOP,
    ClassObject,
    Instance,
    Type,
    flat,
    instance,
    join,
    union,
)  # fmt: skip

CONTAINERS = {
    "List": "list", "list": "list", "Sequence": "list", "MutableSequence": "list", "Iterable": "list",
    "Iterator": "list", "Collection": "list", "Generator": "list", "Reversible": "list", "Set": "set", "set": "set",
    "FrozenSet": "set", "frozenset": "set", "AbstractSet": "set", "MutableSet": "set", "Dict": "dict", "dict": "dict",
    "Mapping": "dict", "MutableMapping": "dict", "DefaultDict": "dict", "defaultdict": "dict", "OrderedDict": "dict",
    "Tuple": "tuple", "tuple": "tuple", "Deque": "list", "deque": "list",
    "AsyncIterator": "aiter", "AsyncIterable": "aiter", "AsyncGenerator": "aiter",
}  # fmt: skip
TRANSPARENT = frozenset(
    {"Optional", "ClassVar", "Final", "Annotated", "Required", "NotRequired", "ReadOnly", "InitVar", "SkipValidation"}
)
AWAITABLES = frozenset({"Awaitable", "Coroutine"})
BUILTIN_NAMES = frozenset({
    "int", "float", "str", "bool", "bytes", "complex", "list", "dict", "set", "tuple", "frozenset", "object", "type",
    "bytearray", "memoryview", "range", "slice", "property", "Exception", "BaseException",
})  # fmt: skip
TYPING = ("typing.", "typing_extensions.", "collections.abc.", "collections.")
MAX_ALIAS = 6


class Annotations:
    """Resolves annotation trees; remembers what it has resolved."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self._memo: dict[tuple[Module, int, TypeExpr], Type] = {}

    def type_of(
        self, expr: TypeExpr | None, module: Module, function: FunctionNode | None = None, depth: int = 0
    ) -> Type:
        """The type of an annotation; TOP for what says nothing (`Any`, type variables, unresolved names)."""
        if expr is None:
            return BOTTOM
        key = (module, function.index if function is not None else 0, expr)
        known = self._memo.get(key)
        if known is None:
            known = self._memo[key] = flat(self._type(expr, module, function, depth))
        return known

    def _type(self, expr: TypeExpr, module: Module, function: FunctionNode | None, depth: int) -> Type:
        if depth > MAX_ALIAS:
            return TOP
        match expr.kind:
            case "none":
                return NONE_TYPE
            case "union":
                return union(self._type(arg, module, function, depth) for arg in expr.args)
            case "name":
                return self._name(expr.text, module, function, depth)
            case "subscript":
                return self._subscript(expr, module, function, depth)
            case _:
                return TOP

    def _name(self, text: str, module: Module, function: FunctionNode | None, depth: int) -> Type:
        last = text.rpartition(".")[2]
        meaning = self.symbols.resolve(module, text, function)
        if isinstance(meaning, ClassNode):
            if meaning.module.is_stub:
                return self._special(last, meaning.dotted) or instance(meaning.dotted)
            return instance(meaning)
        if isinstance(meaning, External):
            return self._special(last, meaning.path) or instance(meaning.path)
        if isinstance(meaning, Variable):
            if meaning.module.is_stub:
                return self._special(last, f"{meaning.module.name}.{meaning.name}") or TOP
            return self._alias(meaning, depth)
        if meaning is None and text in BUILTIN_NAMES:
            return self._special(text, f"builtins.{text}") or instance(f"builtins.{text}")
        return TOP

    def _special(self, last: str, path: str) -> Type | None:
        """Names of `typing` and containers without arguments."""
        if path.startswith(TYPING) or path.startswith("builtins."):
            if last in (
                "Any",
                "TypeVar",
                "object",
                "Hashable",
                "SupportsFloat",
                "Self",
                "Type",
                "type",
                "Callable",
                "Generic",
                "Protocol",
            ):
                return TOP
            if last in ("Text", "LiteralString"):
                return STR
            kind = CONTAINERS.get(last)
            if kind == "dict":
                return instance("builtins.dict", TOP, TOP)
            if kind in ("list", "set", "tuple"):
                return instance(f"builtins.{kind}", TOP)
            if last in AWAITABLES:
                return instance("coroutine", TOP)
            if path.startswith("typing") and last != "NamedTuple":
                return TOP
        return None

    def _subscript(self, expr: TypeExpr, module: Module, function: FunctionNode | None, depth: int) -> Type:
        base, *args = expr.args
        name = base.text.rpartition(".")[2]

        def arg(rank: int) -> Type:
            return self._type(args[rank], module, function, depth + 1) if rank < len(args) else TOP

        if name == "Optional":
            return join(arg(0), NONE_TYPE)
        if name == "Union":
            return union(arg(i) for i in range(len(args)))
        if name in TRANSPARENT:
            return arg(0)
        if name == "Literal":
            return STR if args and not args[0].text.lstrip("-").isdigit() else instance("builtins.int")
        if name in ("Type", "type"):
            return frozenset(ClassObject(a.cls) if isinstance(a, Instance) else a for a in arg(0))
        if name in AWAITABLES:
            return instance("coroutine", arg(len(args) - 1))
        if name == "Callable":
            return TOP
        kind = CONTAINERS.get(name)
        if kind == "aiter":
            return instance("async iterator", arg(0))
        if kind == "dict":
            return instance("builtins.dict", arg(0), arg(1))
        if kind == "tuple" and not (len(args) == 2 and args[1].text == "..."):
            return instance("builtins.tuple", *(arg(i) for i in range(len(args))))
        if kind is not None:
            return instance(f"builtins.{kind}", arg(0))
        whole = self._type(base, module, function, depth + 1)
        return frozenset(
            Instance(a.cls, tuple(arg(i) for i in range(len(args))), a.exact) if isinstance(a, Instance) else a
            for a in whole
        )

    def _alias(self, variable: Variable, depth: int) -> Type:
        """`Price = Decimal`, `Book = Dict[str, Level]`: the type that the name stands for, if it is bound once."""
        module = variable.module
        stores = self.symbols.assigned(module).get(variable.name, ())
        if len(stores) != 1:
            return TOP
        body = module.functions[0].body
        op = body.ops[stores[0]]
        if not isinstance(op, Store):
            return TOP
        place = body.places[op.src]
        names = [s for s in place.path if s.kind is Select.ATTR]
        if place.root is Root.GLOBAL and names == list(place.path[: len(names)]):  # arguments in brackets are left out
            dotted = ".".join((str(place.name), *(str(s.value) for s in names)))
            if dotted != variable.name:
                return self._name(dotted, module, None, depth + 1)
        return TOP
