"""Containers, one level deep: what their items are, and how they grow."""

from __future__ import annotations

from typing import Any

from auditor.facts.model import NONE, Const
from auditor.project.types import BOTTOM, INT, STR, TOP, Instance, Outside, Type, derived, join, union


def element(value: Type, key: Const | None) -> Type:
    """The type of an item of a container; of a tuple the item at a constant index."""
    return union(_element(atom, key) for atom in value)


def _element(atom: Any, key: Const | None) -> Type:
    if isinstance(atom, Outside):
        return derived(atom.path, "[]")
    if not isinstance(atom, Instance):
        return TOP
    cls, args = atom.cls, atom.args
    if not isinstance(cls, str):
        return TOP
    if cls == "builtins.tuple":
        if (
            key is not None
            and key.kind == "int"
            and key.text.lstrip("-").isdigit()
            and -len(args) <= int(key.text) < len(args)
        ):
            return args[int(key.text)]
        return union(args)
    if cls == "builtins.dict":
        return (args[1] if key is not None or len(args) < 2 else join(args[1], BOTTOM)) if len(args) == 2 else TOP
    if cls in ("builtins.list", "builtins.set", "async iterator", "iterator", "builtins.frozenset"):
        return args[0] if args else TOP
    if cls == "builtins.str":
        return STR
    if cls in ("builtins.bytes", "builtins.range"):
        return INT
    return TOP if cls.startswith("builtins.") or "." not in cls else derived(cls, "[]")


def iterated(value: Type) -> Type:
    """What iteration gives: of a dict its keys."""
    return union(
        a.args[0] if isinstance(a, Instance) and a.cls == "builtins.dict" and a.args else _element(a, None)
        for a in value
    )


def filled(atom: Any, value: Type) -> Any:
    if isinstance(atom, Instance) and isinstance(atom.cls, str):
        if atom.cls == "builtins.dict" and len(atom.args) == 2:
            return Instance(atom.cls, (atom.args[0], join(atom.args[1], value)), atom.exact)
        if atom.cls in ("builtins.list", "builtins.set") and len(atom.args) == 1:
            return Instance(atom.cls, (join(atom.args[0], value),), atom.exact)
    return atom


def part(atom: Any, position: int, star: int) -> Type:
    if (
        isinstance(atom, Instance)
        and atom.cls == "builtins.tuple"
        and star == NONE
        and position < len(atom.args)
        and len(atom.args) > 1
    ):
        return atom.args[position]
    if isinstance(atom, Instance) and atom.cls == "builtins.dict":
        return atom.args[0] if atom.args else TOP
    return _element(atom, None)
