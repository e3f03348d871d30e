"""Runs of the types stratum, remembered: a run whose questions all have the answers of then gives what it gave then.

A trace holds what a run over a function rested on - a digest of what its file and the files that it imports declare, and
the state that it read, questions without an answer included - and what it said: additions to the state and the results
of its calls. The rounds stay what they are; a valid trace only takes the place of a run, so that the result of any edit is
that of a cold run, by construction. See "Build systems a la carte", verifying traces.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from auditor.facts.model import Function
from auditor.project.callables import CallResult, Target
from auditor.project.symbols import ClassNode, FunctionNode, Module, Symbols
from auditor.project.types import (
    Atom,
    Callee,
    ClassObject,
    Instance,
    ModuleObject,
    Outside,
    Super,
    Type,
    Unknown,
)  # fmt: skip
from auditor.project.world import Key, World

VERSION = 1
MAX_TRACES = 16  # of one function: one for each round that it took part in


class Trace(NamedTuple):
    """One run: the state it read in the order of asking, what it added, the results of its calls."""

    asked: tuple[tuple[Key, Type], ...]
    below: tuple[tuple[ClassNode, str], ...]
    said: dict[Key, Type]
    results: dict[int, CallResult]


class Gone(KeyError):
    """A stored name that the project no longer has: the trace is of no use."""


class Traces:
    """The traces of a project. `stored` is what `dump` gave after an earlier run, None for none."""

    def __init__(self, symbols: Symbols, stored: bytes | None = None) -> None:
        self.symbols = symbols
        self.digests = Digests(symbols)
        self.names = Names(symbols)
        self.hits = 0
        self._fresh: dict[FunctionNode, list[Trace]] = {}
        self._raw: dict[str, tuple[str, list[Any]]] = {}
        self._atoms: list[Any] = []
        self._types: list[Any] = []
        self._keys: list[Any] = []
        self._decoded: dict[FunctionNode, list[Trace]] = {}
        self._type_memo: dict[int, Type] = {}
        if stored is not None:
            self._load(stored)

    def find(self, function: FunctionNode, world: World) -> Trace | None:
        """The trace of an earlier run that rested on what is true now."""
        known = self._decoded.get(function)
        if known is None:
            known = self._decoded[function] = self._stored(function)
        state = world.state
        for trace in known:
            if all(state.get(key, _NOTHING) == value for key, value in trace.asked) and all(
                self.digests.below(cls) == digest for cls, digest in trace.below
            ):
                self.hits += 1
                self._keep(function, trace)
                return trace
        return None

    def record(
        self,
        function: FunctionNode,
        asked: list[Key],
        said: dict[Key, Type],
        results: dict[int, CallResult],
        world: World,
    ) -> None:
        """Remember a run against the present state."""
        state = world.state
        read = tuple((key, state.get(key, _NOTHING)) for key in asked if key[0] != "below")
        below = tuple(
            (key[1], self.digests.below(key[1])) for key in asked if key[0] == "below" and isinstance(key[1], ClassNode)
        )
        self._keep(function, Trace(read, below, said, results))

    def _keep(self, function: FunctionNode, trace: Trace) -> None:
        kept = self._fresh.setdefault(function, [])
        if len(kept) < MAX_TRACES:
            kept.append(trace)

    # --- storage ---
    def dump(self) -> bytes:
        """All traces of this run, for the next."""
        writer = _Writer(self.names)
        functions = {
            self.names.of(function): [self.digests.function(function), [writer.trace(t) for t in traces]]
            for function, traces in sorted(self._fresh.items(), key=lambda item: item[0].key)
        }
        document = [VERSION, writer.atoms, writer.types, writer.keys, functions]
        return zlib.compress(json.dumps(document, separators=(",", ":")).encode("ascii"), 1)

    def _load(self, stored: bytes) -> None:
        try:
            version, self._atoms, self._types, self._keys, self._raw = json.loads(zlib.decompress(stored))
        except (ValueError, TypeError, zlib.error):
            self._raw = {}
            return
        if version != VERSION:
            self._raw = {}

    def _stored(self, function: FunctionNode) -> list[Trace]:
        raw = self._raw.get(self.names.of(function))
        if raw is None or raw[0] != self.digests.function(function):
            return []
        found: list[Trace] = []
        for asked, below, said, results in raw[1]:
            try:
                found.append(
                    Trace(
                        tuple((self._key(k), self._type(t)) for k, t in asked),
                        tuple((self.names.cls(c), digest) for c, digest in below),
                        {self._key(k): self._type(t) for k, t in said},
                        {int(op): self._result(result) for op, result in results},
                    )
                )
            except (Gone, ValueError, TypeError, IndexError):
                continue
        return found

    def _type(self, number: int) -> Type:
        known = self._type_memo.get(number)
        if known is None:
            known = self._type_memo[number] = frozenset(self._atom(a) for a in self._types[number])
        return known

    def _atom(self, number: int) -> Atom:
        kind, *rest = self._atoms[number]
        match kind:
            case "i":
                cls, args, exact = rest
                return Instance(self.names.cls_or_path(cls), tuple(self._type(t) for t in args), bool(exact))
            case "c":
                return ClassObject(self.names.cls_or_path(rest[0]))
            case "m":
                return ModuleObject(self.names.module(rest[0]))
            case "f":
                function, receiver, bound, exact = rest
                return Callee(
                    self.names.function(function),
                    self.names.cls(receiver) if receiver else None,
                    bool(bound),
                    bool(exact),
                )
            case "o":
                return Outside(rest[0])
            case "s":
                return Super(self.names.cls(rest[0]), self.names.cls(rest[1]))
            case _:
                return Unknown(bool(rest[0]))

    def _key(self, number: int) -> Key:
        kind, owner, name = self._keys[number]
        return kind, self.names.owner(owner), name

    def _result(self, raw: Any) -> CallResult:
        type_number, targets, externals, how, handed = raw
        return CallResult(
            self._type(type_number),
            tuple(self._target(t) for t in targets),
            tuple(externals),
            how,
            tuple(self._target(t) for t in handed),
        )

    def _target(self, raw: Any) -> Target:
        function, receiver, bound, exact, wrapper = raw
        return Target(
            self.names.function(function),
            self.names.cls(receiver) if receiver else None,
            bool(bound),
            bool(exact),
            bool(wrapper),
        )


_NOTHING: Type = frozenset()


class Names:
    """Nodes by names that survive an edit elsewhere in the file: path, qualified name, and rank among its equals."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self._names: dict[object, str] = {}
        self._nodes: dict[str, Any] = {}
        for path in sorted(symbols.by_path):
            module = symbols.by_path[path]
            self._enter(module, f"m:{path}")
            for prefix, nodes in (("f", module.functions), ("c", module.classes)):
                ranks: dict[str, int] = {}
                for node in nodes:
                    stem = f"{prefix}:{path}:{node.header.qualname}"
                    rank = ranks[stem] = ranks.get(stem, 0) + 1
                    self._enter(node, f"{stem}#{rank}")

    def _enter(self, node: object, name: str) -> None:
        self._names[node] = name
        self._nodes[name] = node

    def of(self, node: object) -> str:
        return node if isinstance(node, str) else self._names[node]

    def owner(self, name: str) -> Any:
        """Raises Gone."""
        try:
            return self._nodes[name]
        except KeyError:
            raise Gone(name) from None

    def cls(self, name: str) -> ClassNode:
        node = self.owner(name)
        if not isinstance(node, ClassNode):
            raise Gone(name)
        return node

    def function(self, name: str) -> FunctionNode:
        node = self.owner(name)
        if not isinstance(node, FunctionNode):
            raise Gone(name)
        return node

    def cls_or_path(self, name: str) -> ClassNode | str:
        return self.cls(name) if name.startswith("c:") else name[2:]

    def module(self, name: str) -> Module | str:
        if not name.startswith("m:"):
            return name[2:]
        node = self.owner(name)
        if not isinstance(node, Module):
            raise Gone(name)
        return node


class _Writer:
    """Numbers atoms, types and keys in the order in which they are met."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.atoms: list[Any] = []
        self.types: list[list[int]] = []
        self.keys: list[Any] = []
        self._atom_numbers: dict[Atom, int] = {}
        self._type_numbers: dict[Type, int] = {}
        self._key_numbers: dict[Key, int] = {}

    def trace(self, trace: Trace) -> Any:
        return [
            [[self.key(k), self.type(t)] for k, t in trace.asked],
            [[self.names.of(c), digest] for c, digest in trace.below],
            [[self.key(k), self.type(t)] for k, t in trace.said.items()],
            [[op, self.result(r)] for op, r in trace.results.items()],
        ]

    def key(self, key: Key) -> int:
        number = self._key_numbers.get(key)
        if number is None:
            number = self._key_numbers[key] = len(self.keys)
            self.keys.append([key[0], self.names.of(key[1]), key[2]])
        return number

    def type(self, value: Type) -> int:
        number = self._type_numbers.get(value)
        if number is None:
            atoms = sorted(self.atom(a) for a in sorted(value, key=repr))
            number = self._type_numbers[value] = len(self.types)
            self.types.append(atoms)
        return number

    def atom(self, atom: Atom) -> int:
        number = self._atom_numbers.get(atom)
        if number is None:
            plain = self._plain(atom)
            number = self._atom_numbers[atom] = len(self.atoms)
            self.atoms.append(plain)
        return number

    def _plain(self, atom: Atom) -> list[Any]:
        match atom:
            case Instance(cls, args, exact):
                return ["i", self._cls(cls), [self.type(t) for t in args], int(exact)]
            case ClassObject(cls):
                return ["c", self._cls(cls)]
            case ModuleObject(module):
                return [
                    "m",
                    self.names.of(module)
                    if isinstance(module, Module) and not module.is_stub
                    else f"x:{module if isinstance(module, str) else module.name}",
                ]
            case Callee(function, receiver, bound, exact):
                return [
                    "f",
                    self.names.of(function),
                    self.names.of(receiver) if receiver else "",
                    int(bound),
                    int(exact),
                ]
            case Outside(path):
                return ["o", path]
            case Super(cls, receiver):
                return ["s", self.names.of(cls), self.names.of(receiver)]
            case Unknown(many):
                return ["u", int(many)]

    def _cls(self, cls: ClassNode | str) -> str:
        return f"x:{cls}" if isinstance(cls, str) else self.names.of(cls)

    def result(self, result: CallResult) -> Any:
        return [
            self.type(result.type), [self._target(t) for t in result.targets], list(result.externals), result.how,
            [self._target(t) for t in result.handed],
        ]  # fmt: skip

    def _target(self, target: Target) -> Any:
        receiver = self.names.of(target.receiver) if target.receiver else ""
        return [self.names.of(target.function), receiver, int(target.bound), int(target.exact), int(target.wrapper)]


class Digests:
    """What a file declares to others, without positions; with that of all files it imports, and of those they import."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self._headers: dict[Module, str] = {}
        self._imports: dict[Module, tuple[Module, ...]] = {}
        self._closures: dict[Module, str] = {}
        self._below: dict[ClassNode, str] = {}
        self._functions: dict[FunctionNode, str] = {}
        self._condense()

    def function(self, function: FunctionNode) -> str:
        """The static part of what a run over a function rests on."""
        found = self._functions.get(function)
        if found is None:
            parts = [self._closures[function.module], function.header.digest]
            outer = function.parent
            while outer is not None:
                parts.append(outer.header.digest)
                outer = outer.parent
            found = self._functions[function] = _digest(parts)
        return found

    def below(self, cls: ClassNode) -> str:
        """The subclasses of a class, and what their files declare."""
        found = self._below.get(cls)
        if found is None:
            found = _digest(
                [f"{c.module.path}:{c.header.qualname}:{self._closures[c.module]}" for c in cls.descendants()]
            )
            self._below[cls] = found
        return found

    def header(self, module: Module) -> str:
        """What one file declares, and to which files its imports lead."""
        found = self._headers.get(module)
        if found is None:
            facts = module.facts
            imported: list[str] = []
            targets: list[Module] = []
            for fact in facts.imports:
                absolute = self.symbols.absolute(module, fact.path)
                origin = None if fact.path.startswith(".") else module
                for name in (absolute, f"{absolute}.{fact.member}") if fact.member not in ("", "*") else (absolute,):
                    target = self.symbols.module(name, origin)
                    inside = target is not None and not target.is_stub
                    imported.append(target.path if inside and target is not None else "")
                    if inside and target is not None:
                        targets.append(target)
                if not fact.member:  # `import a.b` gives access to what stands beside b
                    targets.extend(self._packages(absolute, origin))
            self._imports[module] = tuple(dict.fromkeys(t for t in targets if t is not module))
            inner = (
                sorted(n for n in self.symbols.candidates if n.rpartition(".")[0] == module.name)
                if module.path.endswith("__init__.py")
                else []
            )
            parts = [
                module.path,
                repr([(i.local, i.path, i.member, i.function, i.guard) for i in facts.imports]),
                repr(
                    [
                        c._replace(span=(0, 0), fields=tuple(f._replace(offset=0) for f in c.fields))
                        for c in facts.classes
                    ]
                ),
                repr([_declared(f) for f in facts.functions]),
                repr(facts.exports),
                facts.functions[0].digest,
                *[f.digest for f in facts.functions if f.children and f.kind == "def"],
                *imported,
                *inner,
            ]
            found = self._headers[module] = _digest(parts)
        return found

    def _packages(self, name: str, origin: Module | None) -> list[Module]:
        found: list[Module] = []
        parts = name.split(".")
        for count in range(1, len(parts)):
            target = self.symbols.module(".".join(parts[:count]), origin)
            if target is not None and not target.is_stub:
                found.append(target)
        return found

    def _condense(self) -> None:
        """Digest of the import closure of each module: strongly connected components, bottom up (Tarjan, with a stack)."""
        modules = [self.symbols.by_path[path] for path in sorted(self.symbols.by_path)]
        for module in modules:
            self.header(module)
        number: dict[Module, int] = {}
        low: dict[Module, int] = {}
        stack: list[Module] = []
        on_stack: set[Module] = set()
        for start in modules:
            if start in number:
                continue
            work = [(start, iter(self._imports[start]))]
            number[start] = low[start] = len(number)
            stack.append(start)
            on_stack.add(start)
            while work:
                module, rest = work[-1]
                target = next(rest, None)
                if target is not None:
                    if target not in number:
                        number[target] = low[target] = len(number)
                        stack.append(target)
                        on_stack.add(target)
                        work.append((target, iter(self._imports[target])))
                    elif target in on_stack:
                        low[module] = min(low[module], number[target])
                    continue
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[module])
                if low[module] == number[module]:
                    self._component(module, stack, on_stack)

    def _component(self, root: Module, stack: list[Module], on_stack: set[Module]) -> None:
        members: list[Module] = []
        while True:
            module = stack.pop()
            on_stack.discard(module)
            members.append(module)
            if module is root:
                break
        outside = {self._closures[t] for m in members for t in self._imports[m] if t not in members}
        digest = _digest([*sorted(self._headers[m] for m in members), *sorted(outside)])
        self._closures.update((m, digest) for m in members)


def _declared(function: Function) -> Function:
    return function._replace(span=(0, 0), name_span=(0, 0), digest="")


def _digest(parts: list[str]) -> str:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


__all__ = ["Digests", "Gone", "Mapping", "Names", "Trace", "Traces"]
