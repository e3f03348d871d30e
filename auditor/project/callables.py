"""Calls: what they run, what they give, and which arguments flow into which parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import Call, Const, Root, Select
from auditor.project.annotate import BUILTIN_NAMES
from auditor.project.containers import iterated
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import (
    BOOL,
    BOTTOM,
    FLOAT,
    INT,
    NONE_TYPE,
    STR,
    TOP,
    Callee,
    ClassObject,
    Instance,
    ModuleObject,
    Outside,
    Super,
    Type,
    derived,
    instance,
    join,
    union,
    without_none,
)  # fmt: skip
from auditor.project.world import World

if TYPE_CHECKING:
    from auditor.project.infer import Inference

MAX_TARGETS = 64  # more overrides than this and the call says nothing


class Target(NamedTuple):
    """A project function that a call may run. `receiver` is the class of the instance it is bound to, None for plain
    functions; `bound` says that the first parameter is filled by the receiver; `exact` that the receiver's class is
    known by its construction; `wrapper` that it is a decorator's inner function around the callee."""

    function: FunctionNode
    receiver: ClassNode | None = None
    bound: bool = False
    exact: bool = False
    wrapper: bool = False


class CallResult(NamedTuple):
    """`type` is what the call gives; `externals` the dotted paths of callees outside of the project; `how` is typed,
    hierarchy (an override of a subclass is possible), partial (some callee is unknown) or unknown; `handed` the project
    functions that are given to it as arguments."""

    type: Type
    targets: tuple[Target, ...]
    externals: tuple[str, ...]
    how: str
    handed: tuple[Target, ...] = ()

    @property
    def external(self) -> str:
        """The one callee outside of the project, "" where there is none or more than one."""
        return self.externals[0] if len(self.externals) == 1 else ""


UNRESOLVED = CallResult(TOP, (), (), "unknown")
CONVERSIONS = {
    "int": INT, "float": FLOAT, "str": STR, "bool": BOOL, "repr": STR, "len": INT, "format": STR, "chr": STR,
    "ord": INT, "hash": INT, "id": INT, "isinstance": BOOL, "issubclass": BOOL, "callable": BOOL, "hasattr": BOOL,
    "any": BOOL, "all": BOOL, "input": STR, "print": NONE_TYPE, "setattr": NONE_TYPE, "hex": STR, "ascii": STR,
    "bytes": instance("builtins.bytes"), "range": instance("builtins.range"), "divmod": TOP,
}  # fmt: skip
COLLECTORS = {
    "list": "list",
    "sorted": "list",
    "reversed": "list",
    "set": "set",
    "frozenset": "set",
    "tuple": "list",
    "iter": "list",
    "filter": "list",
}
SAME = frozenset({"copy.copy", "copy.deepcopy", "asyncio.tasks.shield", "asyncio.shield", "typing.cast", "reversed"})
TASK_MAKERS = frozenset({"create_task", "ensure_future"})
AWAITABLE = frozenset(
    {
        "asyncio.tasks.Task",
        "asyncio.futures.Future",
        "asyncio.Task",
        "asyncio.Future",
        "_asyncio.Task",
        "_asyncio.Future",
    }
)
TASK = "asyncio.tasks.Task"


class Calls:
    """The meaning of calls over a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._overrides: dict[tuple[FunctionNode, ClassNode], tuple[Target, ...]] = {}

    def builtin(self, name: str) -> Type:
        """A name that neither the function nor its module binds."""
        if name in BUILTIN_NAMES or name[:1].isupper():
            return frozenset((ClassObject(f"builtins.{name}"),))
        if name == "__name__":
            return STR
        return frozenset((Outside(f"builtins.{name}"),))

    def call(self, run: Inference, op: Call) -> CallResult:
        """The result of a call operation in the environment of `run`."""
        place = run.places[op.callee]
        if place.root is Root.GLOBAL and not place.path and place.name == "super" and not op.args:
            return self._super(run)
        args = [run.value(a) for a in op.args]
        if place.path and place.path[-1].kind is Select.ATTR:
            known = self._container(run, op, str(place.path[-1].value), args)
            if known is not None:
                return known
        callees = run.value(op.callee)
        result = self._apply(run, op, callees, args)
        given = (*args, *(run.value(v) for _, v in op.keywords))
        handed = [a for value in given for a in _functions(value)]
        if handed:
            ordered = sorted(handed, key=_rank)
            result = result._replace(
                handed=tuple(dict.fromkeys(Target(a.function, a.receiver, a.bound, a.exact) for a in ordered))
            )
        if place.path and place.path[-1].kind is Select.ATTR and place.path[-1].value in TASK_MAKERS and args:
            return result._replace(type=instance(TASK, self.awaited(args[0])))
        return result

    def _super(self, run: Inference) -> CallResult:
        function: FunctionNode | None = run.function
        while function is not None and function.cls is None:
            function = function.parent
        if function is None or function.cls is None:
            return UNRESOLVED
        return CallResult(frozenset((Super(function.cls, function.cls),)), (), (), "typed")

    def _apply(self, run: Inference, op: Call, callees: Type, args: list[Type]) -> CallResult:
        types: list[Type] = []
        targets: list[Target] = []
        externals: list[str] = []
        hierarchy = False
        lost = not callees
        for atom in sorted(callees, key=_rank):
            match atom:
                case Callee(function, receiver, bound, exact):
                    found = self.overrides(function, receiver, bound, exact)
                    hierarchy |= sum(not t.wrapper for t in found) > 1
                    targets.extend(found)
                    for target in found:
                        self._pass(run, op, target, args)
                    types.append(self.world.result(function, receiver))
                case ClassObject(cls):
                    types.append(self._construct(run, op, cls, args, targets, externals))
                case Outside(path):
                    externals.append(path)
                    types.append(self._outside(run, op, path, args))
                case Instance(cls, inner, _):
                    if isinstance(cls, str):
                        if cls == "functools.partial" and inner:
                            part = self._apply(run, op, inner[0], [TOP] * len(args))
                            targets.extend(part.targets)
                            externals.extend(part.externals)
                            types.append(part.type)
                        elif cls == "builtins.None":
                            continue
                        else:
                            externals.append(f"{cls}.__call__")
                            types.append(TOP)
                    elif (method := cls.method("__call__")) is not None:
                        targets.append(Target(method, cls, True))
                        self._pass(run, op, targets[-1], args)
                        types.append(self.world.result(method, cls))
                    else:
                        lost = True
                case _:
                    lost = True
        unique = tuple(dict.fromkeys(targets))
        if not unique and not externals:
            return CallResult(union(types) if types else TOP if callees else BOTTOM, (), (), "unknown")
        how = (
            "partial"
            if lost
            else "hierarchy"
            if hierarchy or len({t.function for t in unique if not t.wrapper}) > 1
            else "typed"
        )
        return CallResult(
            union(types) if not lost else join(union(types), TOP), unique, tuple(dict.fromkeys(externals)), how
        )

    def overrides(
        self, function: FunctionNode, receiver: ClassNode | None, bound: bool, exact: bool
    ) -> tuple[Target, ...]:
        """The function, its decorators' wrappers, and the overrides that an instance of a subclass would run."""
        plain = (
            Target(function, receiver, bound, exact),
            *(Target(w, None, False, False, True) for w in self.world.wrappers(function)),
        )
        if receiver is None or exact or not bound:
            return plain
        key = (function, receiver)
        subclasses = self.world.below(receiver)
        found = self._overrides.get(key)
        if found is None:
            below: dict[FunctionNode, Target] = {}
            for sub in subclasses:
                override = sub.methods.get(function.name)
                if override is not None and override is not function:
                    below[override] = Target(override, sub, bound, False)
            extra = sorted(below.values(), key=lambda t: t.function.key)
            if function.header.abstract and extra:
                plain = tuple(t for t in plain if t.function is not function)
            found = self._overrides[key] = (*plain, *extra)
        return found if len(found) <= MAX_TARGETS else found[:1]

    def _construct(
        self,
        run: Inference,
        op: Call,
        cls: ClassNode | str,
        args: list[Type],
        targets: list[Target],
        externals: list[str],
    ) -> Type:
        if isinstance(cls, str):
            externals.append(cls)
            name = cls.rpartition(".")[2]
            if cls.startswith("builtins.") and name in COLLECTORS:
                return instance(f"builtins.{COLLECTORS[name]}", iterated(args[0]) if args else BOTTOM)
            if cls == "builtins.dict":
                return (
                    args[0]
                    if args and any(isinstance(a, Instance) and a.cls == cls for a in args[0])
                    else instance(cls, BOTTOM, BOTTOM)
                )
            if cls.startswith("builtins.") and name in CONVERSIONS:
                return CONVERSIONS[name]
            if cls in ("collections.defaultdict", "collections.OrderedDict"):
                made = self._apply(run, op, args[0], []).type if args else BOTTOM
                return instance("builtins.dict", BOTTOM, made)
            if cls == "collections.deque":
                return instance("builtins.list", iterated(args[0]) if args else BOTTOM)
            if cls == "functools.partial" and args:
                return instance(cls, args[0])
            if cls == "builtins.type":
                return (
                    frozenset(ClassObject(a.cls) for a in args[0] if isinstance(a, Instance)) or TOP
                    if len(args) == 1
                    else TOP
                )
            return instance(cls, exact=True)
        for method_name in ("__init__", "__new__", "__post_init__"):
            method = cls.method(method_name)
            if method is not None:
                targets.append(Target(method, cls, True, True))
                self._pass(run, op, targets[-1], args)
        if not targets:
            externals.append(f"{cls.dotted}()")
        return instance(cls, exact=True)

    def _outside(self, run: Inference, op: Call, path: str, args: list[Type]) -> Type:
        if path.startswith("builtins."):
            name = path[len("builtins.") :]
            if name in CONVERSIONS:
                return CONVERSIONS[name]
            if name in COLLECTORS:
                return instance(f"builtins.{COLLECTORS[name]}", iterated(args[0]) if args else BOTTOM)
            if name in ("max", "min", "sum", "abs", "round", "pow"):
                return iterated(args[0]) if len(args) == 1 and name in ("max", "min", "sum") else union(args)
            if name == "getattr" and len(args) >= 2:
                return self._getattr(run, op, args)
            if name == "enumerate" and args:
                return instance("builtins.list", instance("builtins.tuple", INT, iterated(args[0])))
            if name == "zip":
                return instance("builtins.list", instance("builtins.tuple", *(iterated(a) for a in args)))
            if name == "next" and args:
                return iterated(args[0])
            if name in ("map", "vars", "globals", "locals", "eval", "exec", "__import__"):
                return TOP
        if path in SAME and args:
            return args[-1] if path == "typing.cast" else args[0]
        if path in ("asyncio.tasks.wait_for", "asyncio.wait_for") and args:
            return instance("coroutine", self.awaited(args[0]))
        if path.startswith("asyncio.") and path.endswith((".to_thread", ".run_in_executor")):
            rank = 0 if path.endswith("to_thread") else 1
            handed = self._apply_handed(args[rank]) if len(args) > rank else TOP
            return instance("coroutine", handed)
        if path in ("asyncio.run", "asyncio.runners.run") and args:
            return self.awaited(args[0])
        return self.world.outside_result(path)

    def _apply_handed(self, callees: Type) -> Type:
        """What a function gives that is handed to a thread."""
        return union(self.world.result(a.function, a.receiver) for a in callees if isinstance(a, Callee)) or TOP

    def _getattr(self, run: Inference, op: Call, args: list[Type]) -> Type:
        name = run.places[op.args[1]].name
        if isinstance(name, Const) and name.kind == "str":
            return self.world.attribute(without_none(args[0]), name.text)
        paths = [a.module for a in args[0] if isinstance(a, ModuleObject) and isinstance(a.module, str)]
        paths += [a.path for a in args[0] if isinstance(a, Outside)]
        return union(derived(path, ".*") for path in sorted(paths)) or TOP

    def _container(self, run: Inference, op: Call, name: str, args: list[Type]) -> CallResult | None:
        """Methods of lists, dicts, sets and strings: their element types flow through."""
        if name not in _METHODS:
            return None
        base = without_none(run._base(op.callee))
        if not base or not all(isinstance(a, Instance) and a.cls in _CONTAINERS for a in base):
            return None
        types: list[Type] = []
        externals: list[str] = []
        for atom in base:
            if not isinstance(atom, Instance) or not isinstance(atom.cls, str):
                continue
            externals.append(f"{atom.cls}.{name}")
            types.append(self._method(run, op, atom, name, args))
        return CallResult(union(types), (), tuple(sorted(externals)), "typed")

    def _method(self, run: Inference, op: Call, atom: Instance, name: str, args: list[Type]) -> Type:
        inner = atom.args
        if atom.cls == "builtins.str":
            return {
                "split": instance("builtins.list", STR),
                "encode": instance("builtins.bytes"),
                "startswith": BOOL,
                "endswith": BOOL,
            }.get(name, STR)
        if atom.cls == "builtins.dict" and len(inner) == 2:
            if name in ("get", "pop", "setdefault"):
                return join(inner[1], args[1] if len(args) > 1 else NONE_TYPE if name == "get" else BOTTOM)
            if name == "values":
                return instance("builtins.list", inner[1])
            if name == "keys":
                return instance("builtins.list", inner[0])
            if name == "items":
                return instance("builtins.list", instance("builtins.tuple", inner[0], inner[1]))
            if name == "copy":
                return frozenset((atom,))
            if name == "popitem":
                return instance("builtins.tuple", inner[0], inner[1])
            return NONE_TYPE
        if name in ("pop", "popleft"):
            return inner[0] if inner else TOP
        if name in ("copy", "union", "difference", "intersection"):
            return frozenset((atom,))
        if name in ("append", "add", "appendleft", "extend", "insert") and args and len(inner) == 1:
            grown = args[-1] if name not in ("extend",) else iterated(args[0])
            self._grow(run, op, Instance(atom.cls, (join(inner[0], grown),), atom.exact))
        return NONE_TYPE

    def _grow(self, run: Inference, op: Call, grown: Instance) -> None:
        """`xs.append(x)`: the element type of what holds the list grows."""
        place = run.places[op.callee]
        if len(place.path) == 1 and place.root is Root.LOCAL:
            run.env[run.root_of[op.callee]] = frozenset((grown,))
        elif len(place.path) == 2 and place.path[0].kind is Select.ATTR:
            for atom in run._root_value(op.callee):
                if isinstance(atom, Instance) and not isinstance(atom.cls, str):
                    self.world.add("attr", atom.cls, str(place.path[0].value), frozenset((grown,)))

    def _pass(self, run: Inference, op: Call, target: Target, args: list[Type]) -> None:
        """Arguments flow into parameters that have no annotation."""
        if target.wrapper:
            return
        header = target.function.header
        params = [p for p in header.params if p.kind in ("positional", "normal")]
        if target.bound:
            params = params[1:]
        for rank, value in enumerate(args):
            if rank in op.starred or rank >= len(params):
                break
            if params[rank].annotation is None:
                self.world.add("param", target.function, params[rank].name, value)
        by_name = {p.name: p for p in header.params if p.kind in ("normal", "keyword")}
        for name, operand in op.keywords:
            param = by_name.get(name)
            if param is not None and param.annotation is None:
                self.world.add("param", target.function, name, run.value(operand))

    # --- awaiting and entering ---
    def awaited(self, value: Type) -> Type:
        """What `await value` gives."""
        types: list[Type] = []
        for atom in value:
            if isinstance(atom, Instance) and (atom.cls == "coroutine" or atom.cls in AWAITABLE):
                types.append(atom.args[0] if atom.args else TOP)
            elif isinstance(atom, Outside) or isinstance(atom, Instance) and isinstance(atom.cls, str):
                types.append(frozenset((atom,)))
            else:
                types.append(TOP)
        return union(types)

    def entered(self, value: Type, is_async: bool) -> Type:
        """What a `with` binds."""
        types: list[Type] = []
        for atom in value:
            if isinstance(atom, Instance) and atom.cls == "context manager":
                types.append(atom.args[0] if atom.args else TOP)
            elif isinstance(atom, Instance) and not isinstance(atom.cls, str):
                method = atom.cls.method("__aenter__" if is_async else "__enter__")
                if method is None:
                    types.append(frozenset((atom,)))
                    continue
                result = self.world.result(method, atom.cls)
                types.append(self.awaited(result) if is_async else result)
            elif isinstance(atom, Instance | Outside):
                types.append(frozenset((atom,)))
            else:
                types.append(TOP)
        return union(types)


_CONTAINERS = frozenset({"builtins.list", "builtins.dict", "builtins.set", "builtins.str", "builtins.tuple"})
_METHODS = frozenset({
    "append", "add", "appendleft", "extend", "insert", "pop", "popleft", "copy", "get", "setdefault", "values", "keys",
    "items", "popitem", "update", "clear", "remove", "discard", "union", "difference", "intersection", "sort", "index",
    "count", "split", "strip", "lower", "upper", "format", "replace", "join", "encode", "startswith", "endswith",
    "lstrip", "rstrip", "title", "rsplit", "reverse",
})  # fmt: skip


def _rank(atom: object) -> tuple[str, str]:
    """A total order of atoms that does not depend on hashing."""
    match atom:
        case Callee(function, receiver, bound, exact):
            return "callee", f"{function.key}{receiver.dotted if receiver else ''}{bound}{exact}"
        case ClassObject(cls) | Instance(cls, _, _):
            return type(atom).__name__, cls if isinstance(cls, str) else cls.dotted
        case Outside(path):
            return "outside", path
        case ModuleObject(module):
            return "module", module if isinstance(module, str) else module.name
        case _:
            return "z", ""


def _functions(value: Type) -> list[Callee]:
    """Functions that a value is, or that a partial application holds."""
    found = [a for a in value if isinstance(a, Callee)]
    for atom in value:
        if isinstance(atom, Instance) and atom.cls == "functools.partial" and atom.args:
            found.extend(a for a in atom.args[0] if isinstance(a, Callee))
    return found
