"""The type lattice: a type is a set of atoms; join is union; no atom is "not known yet", `UNKNOWN` is an atom.

More than six atoms are `TOP`, the type that says nothing. Values carry no provenance: proofs are rebuilt afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from auditor.project.symbols import ClassNode, FunctionNode, Module

MAX_ATOMS = 6
MAX_CHAIN = 4  # calls on the results of calls on ... of an untyped library


class Instance(NamedTuple):
    """An instance. `cls` is a class of the project or the dotted path of another one; `args` its type arguments;
    `exact` says that it was constructed as this class, not as a subclass."""

    cls: ClassNode | str
    args: tuple[Type, ...] = ()
    exact: bool = False


class ClassObject(NamedTuple):
    """A class as a value. `kind` keeps it apart from other atoms of one string: named tuples compare as tuples."""

    cls: ClassNode | str
    kind: str = "class"


class ModuleObject(NamedTuple):
    """A module as a value; `kind` as in ClassObject."""

    module: Module | str
    kind: str = "module"


class Callee(NamedTuple):
    """A function as a value. `receiver` is what a bound method is bound to; `exact` as in Instance."""

    function: FunctionNode
    receiver: ClassNode | None = None
    bound: bool = False
    exact: bool = False


class Outside(NamedTuple):
    """A value of another library, by the path of what it was taken from (`ccxt.binance.fetch_ticker`, `a.f().b`)."""

    path: str


class Super(NamedTuple):
    """`super()` inside a method of `cls` for an instance of `receiver`."""

    cls: ClassNode
    receiver: ClassNode


class Unknown(NamedTuple):
    """Not decided by the source. `many`: more than six atoms met here, whatever is joined to it."""

    many: bool = False


Atom = Instance | ClassObject | ModuleObject | Callee | Outside | Super | Unknown
Type = frozenset[Atom]

BOTTOM: Type = frozenset()
UNKNOWN = Unknown()
TOP: Type = frozenset((UNKNOWN,))
_MANY = Unknown(many=True)
MANY: Type = frozenset((UNKNOWN, _MANY))


def instance(cls: ClassNode | str, *args: Type, exact: bool = False) -> Type:
    return frozenset((Instance(cls, args, exact),))


NONE_TYPE = instance("builtins.None")
BOOL = instance("builtins.bool")
INT = instance("builtins.int")
FLOAT = instance("builtins.float")
STR = instance("builtins.str")
BYTES = instance("builtins.bytes")
CONSTANTS = {
    "str": STR, "bytes": BYTES, "int": INT, "float": FLOAT, "complex": instance("builtins.complex"), "bool": BOOL,
    "none": NONE_TYPE, "ellipsis": instance("builtins.ellipsis"), "spec": STR,
}  # fmt: skip


def join(one: Type, other: Type) -> Type:
    """The least type that holds both."""
    if one is other or not other:
        return one
    if not one:
        return other
    both = one | other
    if len(both) == len(one):
        return one
    return MANY if _MANY in both else _normal(both)


def union(types: Iterable[Type]) -> Type:
    result = BOTTOM
    for one in types:
        result = join(result, one)
    return result


def _normal(atoms: Type) -> Type:
    """Containers of one class are merged, an exact and an inexact instance of one class are the inexact one."""
    merged: dict[object, Atom] = {}
    for atom in atoms:
        if isinstance(atom, Instance):
            seen = merged.get(atom.cls)
            merged[atom.cls] = _both(seen, atom) if isinstance(seen, Instance) else atom
        else:
            merged[atom] = atom
    return frozenset(merged.values()) if len(merged) <= MAX_ATOMS else MANY


def _both(one: Instance, other: Instance) -> Instance:
    args: tuple[Type, ...] = ()
    if len(one.args) == len(other.args):
        args = tuple(join(a, b) for a, b in zip(one.args, other.args, strict=True))
    return Instance(one.cls, args, one.exact and other.exact)


def flat(types: Type) -> Type:
    """A type without type arguments below the first level, so that nesting stays bounded."""
    return frozenset(
        Instance(a.cls, tuple(frozenset(_bare(x) for x in arg) for arg in a.args), a.exact)
        if isinstance(a, Instance) and a.args
        else a
        for a in types
    )


def _bare(atom: Atom) -> Atom:
    if isinstance(atom, Instance) and atom.args:
        return Instance(atom.cls, tuple(frozenset(_leaf(x) for x in arg) for arg in atom.args), atom.exact)
    return atom


def _leaf(atom: Atom) -> Atom:
    return Instance(atom.cls, (), atom.exact) if isinstance(atom, Instance) and atom.args else atom


def without_none(types: Type) -> Type:
    return types - NONE_TYPE if len(types) > 1 else types


def known(types: Type) -> bool:
    """Whether every value that the type allows is decided."""
    return bool(types) and UNKNOWN not in types


def derived(path: str, suffix: str) -> Type:
    """A value taken from an outside value, unless the chain is too long to say anything."""
    if path.count("(") + path.count("[") >= MAX_CHAIN and suffix[0] in "([":
        return TOP
    return frozenset((Outside(path + suffix),))
