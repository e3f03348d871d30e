"""Stratum 1, names: modules, classes with their MRO, functions, and what a dotted name means where it is written.

A name that leaves the project becomes an `External` with its full dotted path, whatever alias it was imported under.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from auditor.facts.codec import Program
from auditor.facts.model import (
    NONE,
    Body,
    Class,
    Closure,
    Const,
    Decorator,
    Define,
    Function,
    Import,
    Root,
    Store,
    TypeExpr,
)
from auditor.project.flow import writes
from auditor.project.operands import Operands
from auditor.project.summaries import deepest_first

MAX_OPEN = 60  # meanings that wait for one another, which only a ring of re-exports needs


class External(NamedTuple):
    """Something outside of the project: a module, class, function or value, by its dotted path (`time.sleep`)."""

    path: str


class Variable(NamedTuple):
    """A module-level name bound by assignment."""

    module: Module
    name: str


class Module:
    """A file of the project. `name` is its dotted module name; `package` the dotted name that relative imports use."""

    __slots__ = ("bindings", "classes", "facts", "functions", "is_stub", "name", "package", "path", "program", "stars")

    def __init__(self, path: str, name: str, program: Program, is_stub: bool = False) -> None:
        self.path = path
        self.name = name
        self.package = name if path.endswith(("__init__.py", "__init__.pyi")) else name.rpartition(".")[0]
        self.program = program
        self.facts = program.facts
        self.is_stub = is_stub
        self.functions = [FunctionNode(self, i, header) for i, header in enumerate(self.facts.functions)]
        self.classes = [ClassNode(self, header) for header in self.facts.classes]
        bodies = {cls.header.body: cls for cls in self.classes}
        for function in self.functions:
            function.parent = self.functions[function.header.parent] if function.header.parent != NONE else None
            function.cls = self.classes[function.header.cls] if function.header.cls >= 0 else None
            function.body_of = bodies.get(function.index)
        # name -> what it is bound to, for the module body and (prefixed by the function's index) for functions
        self.bindings: dict[tuple[int, str], FunctionNode | ClassNode | tuple[str, str]] = {}
        self.stars: list[str] = []
        for fact in self.facts.imports:
            if fact.member == "*":
                self.stars.append(fact.path)
            elif fact.local:
                key = (fact.function, fact.local)
                if key not in self.bindings or fact.guard != "import_error":  # of a try with its fallback the first one
                    self.bindings[key] = (fact.path, fact.member)
        for function in self.functions:
            if function.header.kind == "def" and function.cls is None:
                self.bindings[function.header.parent, function.header.name] = function
        for cls in self.classes:
            self.bindings[cls.header.parent, cls.header.name] = cls

    def __repr__(self) -> str:
        return f"Module({self.name})"

    def position(self, offset: int) -> tuple[int, int]:
        """1-based (line, column) of an offset."""
        starts = self.facts.line_starts
        low, high = 0, len(starts)
        while low < high:
            middle = (low + high) // 2
            if starts[middle] <= offset:
                low = middle + 1
            else:
                high = middle
        return low, offset - starts[low - 1] + 1


class FunctionNode:
    """A function of the project; a module or class body is one too. Compared by identity, ordered by `key`."""

    __slots__ = ("_operands", "body_of", "cls", "header", "index", "key", "module", "parent")

    def __init__(self, module: Module, index: int, header: Function) -> None:
        self.module = module
        self.index = index
        self.header = header
        self.key = (module.path, index)
        self.parent: FunctionNode | None = None
        self.cls: ClassNode | None = None  # the class whose body holds this def
        self.body_of: ClassNode | None = None  # the class whose body this is
        self._operands: Operands | None = None

    def __repr__(self) -> str:
        return f"FunctionNode({self.module.name}:{self.symbol})"

    @property
    def body(self) -> Body:
        return self.module.program.body(self.index)

    @property
    def operands(self) -> Operands:
        """Which operations write and read the places of the body."""
        if self._operands is None:
            self._operands = Operands(self.body)
        return self._operands

    @property
    def path(self) -> str:
        return self.module.path

    @property
    def name(self) -> str:
        return self.header.name

    @property
    def symbol(self) -> str:
        """Qualified name inside its module, "" for the module body."""
        return self.header.qualname

    @property
    def children(self) -> list[FunctionNode]:
        """Functions created directly in this one, in the numbering of `Closure.function` and `Define.body`."""
        return [self.module.functions[i] for i in self.header.children]

    @property
    def self_name(self) -> str:
        """Name of the parameter that receives the instance, "" where there is none."""
        header = self.header
        if self.cls is None or header.kind != "def" or not header.params or self.is_static:
            return ""
        first = header.params[0]
        return first.name if first.kind in ("normal", "positional") else ""

    @property
    def is_static(self) -> bool:
        return any(d.name == "staticmethod" for d in self.header.decorators)

    @property
    def is_classmethod(self) -> bool:
        return any(d.name == "classmethod" for d in self.header.decorators) or self.name in (
            "__init_subclass__",
            "__class_getitem__",
        )

    @property
    def is_property(self) -> bool:
        return any(
            d.name.rpartition(".")[2] in ("property", "cached_property", "abstractproperty", "getter")
            for d in self.header.decorators
        )

    def position(self) -> tuple[int, int]:
        """(line, column) of the function's name, or of its start."""
        return self.module.position(self.header.name_span[0])

    def at(self, op: int) -> tuple[int, int, int, int]:
        """(line, column, end line, end column) of operation `op`."""
        start, end = self.body.spans[op]
        return (*self.module.position(start), *self.module.position(end))


class ClassNode:
    """A class of the project. `mro` begins with the class itself and holds the project's classes; `open` says that a
    base could not be resolved to a project class (`externals` names those that are known by path)."""

    __slots__ = ("_below", "bases", "externals", "header", "key", "methods", "module", "mro", "open", "subclasses")

    def __init__(self, module: Module, header: Class) -> None:
        self.module = module
        self.header = header
        self.key = (module.path, header.body)
        self.methods: dict[str, FunctionNode] = {}
        self.bases: list[ClassNode] = []
        self.externals: tuple[str, ...] = ()
        self.open = False
        self.mro: tuple[ClassNode, ...] = (self,)
        self.subclasses: list[ClassNode] = []
        self._below: list[ClassNode] | None = None

    def __repr__(self) -> str:
        return f"ClassNode({self.dotted})"

    @property
    def name(self) -> str:
        return self.header.name

    @property
    def dotted(self) -> str:
        return f"{self.module.name}.{self.header.qualname}"

    def method(self, name: str) -> FunctionNode | None:
        """The method that an instance of exactly this class has."""
        for cls in self.mro:
            found = cls.methods.get(name)
            if found is not None:
                return found
        return None

    def descendants(self) -> list[ClassNode]:
        """All subclasses, transitively, without the class itself, in the order of their keys."""
        if self._below is None:
            self._below = self._all_below()
        return self._below

    def _all_below(self) -> list[ClassNode]:
        found: dict[tuple[str, int], ClassNode] = {}
        stack = list(self.subclasses)
        while stack:
            cls = stack.pop()
            if cls.key not in found:
                found[cls.key] = cls
                stack.extend(cls.subclasses)
        return [found[key] for key in sorted(found)]

    @property
    def abstract(self) -> bool:
        """Whether a method is declared abstract and no class of the line implements it: there are no such instances."""
        names = {name for c in self.mro for name in c.methods}
        return any(
            d.name.rpartition(".")[2].startswith("abstract")
            for name in names
            if (found := self.method(name)) is not None
            for d in found.header.decorators
        )

    def derives_from(self, path: str) -> bool:
        """Whether a class of this dotted path, project or external, stands in its ancestry."""
        return any(c.dotted == path or path in c.externals for c in self.mro)


Meaning = Module | ClassNode | FunctionNode | External | Variable


class Symbols:
    """All modules of the project and the resolver of names. `roots` are folders (posix, "" for the top) from which
    absolute imports are looked up."""

    def __init__(self, programs: Mapping[str, Program], stubs: Stubs | None = None) -> None:
        self.modules: dict[str, Module] = {}
        self.by_path: dict[str, Module] = {}
        self.stubs = stubs
        paths = sorted(programs)
        packages = {p.rpartition("/")[0] for p in paths if p.endswith("/__init__.py")}
        self.roots = sorted({_import_root(path, packages) for path in paths} | {"", "src"})
        for path in paths:
            root = _import_root(path, packages)
            name = module_name(path[len(root) + 1 :] if root else path)
            module = Module(path, name, programs[path])
            self.by_path[path] = module
        self._index(paths)
        self._memo: dict[tuple[Module, int, str], Meaning | None] = {}
        self._open: set[tuple[Module, int, str]] = set()
        self._rings = 0
        self._found: dict[tuple[str, Module | None], Module | None] = {}
        self._assigned: dict[Module, dict[str, tuple[int, ...]]] = {}
        self._link_classes()

    def _index(self, paths: list[str]) -> None:
        """dotted name -> modules; the same dotted name may stand below several roots."""
        self.candidates: dict[str, list[Module]] = {}
        for path in paths:
            module = self.by_path[path]
            names = {module_name(path), module.name, module_name(path.removeprefix("src/"))}
            for name in sorted(names):
                self.candidates.setdefault(name, []).append(module)
            self.modules.setdefault(module.name, module)

    def functions(self) -> Iterator[FunctionNode]:
        for path in sorted(self.by_path):
            yield from self.by_path[path].functions

    def classes(self) -> Iterator[ClassNode]:
        for path in sorted(self.by_path):
            yield from self.by_path[path].classes

    # --- modules ---
    def module(self, name: str, origin: Module | None = None) -> Module | None:
        """The module of an absolute dotted name, as seen from `origin`: a neighbour of the importing file wins."""
        key = (name, origin)
        if key not in self._found:
            self._found[key] = self._module(name, origin)
        return self._found[key]

    def _module(self, name: str, origin: Module | None) -> Module | None:
        if origin is not None and not origin.is_stub:
            folder = origin.path.rpartition("/")[0]
            stem = name.replace(".", "/")
            if f"{folder}/__init__.py" not in self.by_path:  # a script: its folder comes first on the path
                for candidate in (f"{stem}.py", f"{stem}/__init__.py"):
                    near = self.by_path.get(f"{folder}/{candidate}" if folder else candidate)
                    if near is not None:
                        return near
        found = self.candidates.get(name)
        if found:
            if origin is not None and len(found) > 1:
                return max(found, key=lambda m: (_shared(m.path, origin.path), m.path))
            return found[0]
        stub = self.stubs.module(name) if self.stubs is not None else None
        return stub if stub is not None else self._from_a_package_as_root(name, origin)

    def _from_a_package_as_root(self, name: str, origin: Module | None) -> Module | None:
        """`live.bus` imported below `src/__init__.py`, where `src` is run as a folder of scripts. Names of one part are left
        out: `import ccxt` beside a file `ccxt.py` of the package means the library."""
        if origin is None or origin.is_stub or "." not in name:
            return None
        stem = name.replace(".", "/")
        folder = origin.path.rpartition("/")[0]
        while folder:
            for candidate in (f"{folder}/{stem}.py", f"{folder}/{stem}/__init__.py"):
                if candidate in self.by_path:
                    return self.by_path[candidate]
            folder = folder.rpartition("/")[0]
        return None

    def absolute(self, module: Module, path: str) -> str:
        """The absolute form of an import path with leading dots."""
        dots = len(path) - len(path.lstrip("."))
        if not dots:
            return path
        base = module.package.split(".") if module.package else []
        if dots > 1:
            base = base[: len(base) - dots + 1] if dots - 1 <= len(base) else []
        rest = path[dots:]
        return ".".join((*base, rest)) if rest else ".".join(base)

    # --- names ---
    def resolve(self, module: Module, dotted: str, function: FunctionNode | None = None) -> Meaning | None:
        """What a dotted name means in a module, or inside a function of it. None: unbound here (a builtin, or unknown)."""
        head, _, rest = dotted.partition(".")
        meaning: Meaning | None = None
        scope = function
        while scope is not None and scope.index != 0:
            if (scope.index, head) in module.bindings:
                meaning = self._bound(module, scope.index, head)
                break
            scope = scope.parent
        if meaning is None:
            meaning = self.member(module, head)
        for name in rest.split(".") if rest else ():
            if meaning is None:
                return None
            meaning = self.attribute(meaning, name)
        return meaning

    def _bound(self, module: Module, scope: int, name: str) -> Meaning | None:
        """What a binding by def, class or import means. A ring of re-exports means nothing."""
        return self._once((module, scope, name), partial(self._meaning, module, scope, name))

    def _meaning(self, module: Module, scope: int, name: str) -> Meaning | None:
        bound = module.bindings[scope, name]
        return self.imported(module, *bound) if isinstance(bound, tuple) else bound

    def _once(self, key: tuple[Module, int, str], compute: Callable[[], Meaning | None]) -> Meaning | None:
        """Compute once. Inside a ring of re-exports a name means nothing, and what was found on the way round is not kept:
        it would depend on where the ring was entered."""
        if key in self._memo:
            return self._memo[key]
        if key in self._open or len(self._open) > MAX_OPEN:
            self._rings += 1
            return None
        rings = self._rings
        self._open.add(key)
        meaning = compute()
        self._open.discard(key)
        if rings == self._rings or not self._open:
            self._memo[key] = meaning
        return meaning

    def imported(self, module: Module, path: str, member: str) -> Meaning:
        """What `from path import member` (or `import path`) binds."""
        absolute = self.absolute(module, path)
        target = self.module(absolute, module if not path.startswith(".") else None)
        if target is None:
            return External(f"{absolute}.{member}" if member else absolute)
        if not member:
            return target
        return self.attribute(target, member) or External(f"{absolute}.{member}")

    def member(self, module: Module, name: str) -> Meaning | None:
        """What `name` means at the top of a module, star imports included."""
        key = (module, -1, name)
        if key not in self._memo and not self._open:
            for inner, other in deepest_first((module, name), self._leads, lambda k: (k[0], -1, k[1]) in self._memo):
                self._once((inner, -1, other), partial(self._member, inner, other))
        return self._once(key, partial(self._member, module, name))

    def _leads(self, key: tuple[Module, str]) -> Iterator[tuple[Module, str]]:
        """Where the name of a module is imported from."""
        module, name = key
        bound = module.bindings.get((0, name))
        sources = [bound] if isinstance(bound, tuple) and bound[1] else []
        if bound is None and name not in self.assigned(module):
            sources = [(path, name) for path in module.stars]
        for path, member in sources:
            target = self.module(self.absolute(module, path), module if not path.startswith(".") else None)
            if target is not None:
                yield target, member

    def _member(self, module: Module, name: str) -> Meaning | None:
        if (0, name) in module.bindings:
            return self._bound(module, 0, name)
        if name in self.assigned(module):
            return Variable(module, name)
        for path in module.stars:
            absolute = self.absolute(module, path)
            target = self.module(absolute, module if not path.startswith(".") else None)
            if target is None or target is module:
                continue
            exports = target.facts.exports
            if name in exports if exports is not None else not name.startswith("_"):
                found = self.member(target, name)
                if found is not None:
                    return found
        return None

    def attribute(self, meaning: Meaning, name: str) -> Meaning | None:
        """What `meaning.name` is."""
        if isinstance(meaning, External):
            return External(f"{meaning.path}.{name}")
        if isinstance(meaning, Module):
            found = self.member(meaning, name)
            if found is not None:
                return found
            inner = self.module(f"{meaning.name}.{name}")
            if inner is not None:
                return inner
            return External(f"{meaning.name}.{name}") if meaning.is_stub else None
        if isinstance(meaning, ClassNode):
            method = meaning.method(name)
            if method is not None:
                return method
            for cls in meaning.module.classes:
                if cls.header.qualname == f"{meaning.header.qualname}.{name}":
                    return cls
        return None

    def assigned(self, module: Module) -> Mapping[str, tuple[int, ...]]:
        """Module-level names bound by assignment -> the operations of the module body that store them."""
        found: dict[str, tuple[int, ...]] | None = self._assigned.get(module)
        if found is None:
            found = {}
            body = module.functions[0].body
            for rank, op in enumerate(body.ops):
                if isinstance(op, Import | Closure | Define):
                    continue  # bindings of their own
                for operand in writes(op):
                    place = body.places[operand]
                    if place.root is Root.GLOBAL and not place.path:
                        found[str(place.name)] = (*found.get(str(place.name), ()), rank)
            self._assigned[module] = found
        return found

    def constant(self, module: Module, name: str) -> Const | None:
        """The literal that a module-level name is bound to, if it is bound once."""
        stores = self.assigned(module).get(name, ())
        if len(stores) != 1:
            return None
        body = module.functions[0].body
        op = body.ops[stores[0]]
        value = body.places[op.src].name if isinstance(op, Store) else None
        return value if isinstance(value, Const) else None

    # --- classes ---
    def _link_classes(self) -> None:
        for cls in self.classes():
            cls.methods = {name: cls.module.functions[i] for name, i in cls.header.methods}
            externals: list[str] = []
            for base in cls.header.bases:
                name = base.args[0].text if base.kind == "subscript" else base.text
                meaning = self.resolve(cls.module, name, cls.module.functions[cls.header.parent]) if name else None
                if isinstance(meaning, ClassNode) and not meaning.module.is_stub and meaning is not cls:
                    cls.bases.append(meaning)
                elif isinstance(meaning, ClassNode):
                    externals.append(meaning.dotted)
                elif isinstance(meaning, External):
                    externals.append(meaning.path)
                    cls.open = True
                elif name not in ("object", "Exception", "BaseException"):
                    cls.open = True
                else:
                    externals.append(f"builtins.{name}")
            cls.externals = tuple(externals)
        for cls in self.classes():
            for parent in cls.bases:
                parent.subclasses.append(cls)
        ordered: dict[ClassNode, bool] = {}
        for cls in self.classes():
            for current in deepest_first(cls, lambda c: c.bases, ordered.__contains__):
                current.mro, ordered[current] = _linear(current, ordered)
        opened = {cls for cls in self.classes() if cls.open}
        for cls in self.classes():
            cls.open = not opened.isdisjoint(cls.mro)

    def decorator_path(self, function: FunctionNode, decorator: Decorator) -> str:
        """Dotted path of a decorator: external path, project path, or the name as written."""
        meaning = self.resolve(function.module, decorator.name, function.parent) if decorator.name else None
        if isinstance(meaning, External):
            return meaning.path
        if isinstance(meaning, FunctionNode):
            return f"{meaning.module.name}.{meaning.symbol}"
        if isinstance(meaning, ClassNode):
            return meaning.dotted
        return decorator.name


class Stubs:
    """Where the modules of the standard library come from; see `project.stubs`."""

    def module(self, name: str) -> Module | None:
        raise NotImplementedError


def module_name(path: str) -> str:
    """`a/b/c.py` -> `a.b.c`, `a/__init__.py` -> `a`."""
    stem = path.rpartition(".")[0]
    if stem.endswith("/__init__"):
        stem = stem[: -len("/__init__")]
    elif stem == "__init__":
        stem = ""
    return stem.replace("/", ".")


def _import_root(path: str, packages: set[str]) -> str:
    """The folder above the outermost package that holds the file; the file's own folder if it is in none."""
    folder = path.rpartition("/")[0]
    if folder not in packages:
        return "" if not folder else _plain_root(folder)
    while folder in packages:
        folder = folder.rpartition("/")[0]
    return folder


def _plain_root(folder: str) -> str:
    """Files outside of packages: `src/x.py` is `x`; elsewhere namespace packages from the top are the better guess."""
    return "src" if folder == "src" else ""


def _shared(one: str, other: str) -> int:
    """How many leading folders two paths share."""
    count = 0
    for a, b in zip(one.split("/"), other.split("/"), strict=False):
        if a != b:
            break
        count += 1
    return count


def _linear(cls: ClassNode, known: Mapping[ClassNode, bool]) -> tuple[tuple[ClassNode, ...], bool]:
    """C3 linearisation over the project's classes, and True; where there is none (a ring, or bases that contradict one another,
    here or above) depth first without repeats, and False. `known` are classes whose line is known."""
    merged = _merged(cls) if all(known.get(base, False) for base in cls.bases) else None
    if merged is not None:
        return merged, True
    found: dict[ClassNode, None] = {}
    stack = [cls]
    while stack:
        current = stack.pop()
        if current not in found:
            found[current] = None
            stack.extend(reversed(current.bases))
    return tuple(found), False


def _merged(cls: ClassNode) -> tuple[ClassNode, ...] | None:
    if len(cls.bases) == 1:
        return (cls, *cls.bases[0].mro)
    lines = [*(base.mro for base in cls.bases), tuple(cls.bases)]
    behind = Counter(c for line in lines for c in line[1:])  # what is not the head of its line
    heads = [0] * len(lines)
    result = [cls]
    while True:
        first = [line[at] for line, at in zip(lines, heads, strict=True) if at < len(line)]
        if not first:
            return tuple(result)
        head = next((c for c in first if not behind[c]), None)
        if head is None:
            return None
        result.append(head)
        for rank, line in enumerate(lines):
            if heads[rank] < len(line) and line[heads[rank]] is head:
                heads[rank] += 1
                if heads[rank] < len(line):
                    behind[line[heads[rank]]] -= 1


def annotation_names(expr: TypeExpr | None) -> Iterable[str]:
    """Dotted names in an annotation, outermost first."""
    if expr is None:
        return
    stack = [expr]
    while stack:
        current = stack.pop()
        if current.kind == "name":
            yield current.text
        stack.extend(reversed(current.args))
