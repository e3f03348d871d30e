"""What a test says of the places it names: None, truth, isinstance, and their combinations by and, or, not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.facts.model import OPERATORS, Bool, Call, Collect, Compare, Const, Root, Unary
from auditor.project.types import UNKNOWN, ClassObject, Instance

from ._arithmetic import ORDER
from ._values import BOTTOM, DECIMALS, NONE, NONE_ATOM, PLAIN, Exact, Number, Value, converted, join, union

if TYPE_CHECKING:
    from ._run import Run


def narrowed(run: Run, operand: int, truth: bool) -> dict[int, Value]:
    """place -> its value where the test in `operand` came out as `truth`; only places that the test narrows."""
    made = run.made.get(operand)
    match made:
        case Unary(_, operator, inner) if OPERATORS[operator] == "not":
            return narrowed(run, inner, not truth)
        case Bool(_, operator, left, right) if (OPERATORS[operator] == "and") is truth:
            return {**narrowed(run, left, truth), **narrowed(run, right, truth)}
        case Compare(_, operator, left, right) if OPERATORS[operator] in ("is", "is not", "==", "!="):
            other = run.places[right].name
            if isinstance(other, Const) and other.kind == "none":
                return _none(run, left, (OPERATORS[operator] in ("is", "==")) is truth)
        case Compare(_, operator, left, right) if OPERATORS[operator] in ORDER:
            return _ordered(run, left, right, OPERATORS[operator], truth)
        case Compare(_, operator, left, right) if OPERATORS[operator] == "isinstance":
            return _instance(run, left, run.value(right), truth)
        case Call(_, callee, (place, classes), (), ()) if (
            run.places[callee].name == "isinstance" and not run.places[callee].path
        ):
            return _instance(run, place, _classes(run, classes), truth)
        case None if run.places[operand].root is not Root.CONST and truth:
            value = run.value(operand)
            return {operand: value - NONE} if NONE_ATOM in value and len(value) > 1 else {}
    return {}


def _none(run: Run, operand: int, is_none: bool) -> dict[int, Value]:
    if run.places[operand].root in (Root.TEMP, Root.CONST):
        return {}
    value = run.value(operand)
    if is_none:
        return {operand: NONE}
    return {operand: value - NONE} if NONE_ATOM in value else {}


def _ordered(run: Run, operand: int, bound: int, operator: str, truth: bool) -> dict[int, Value]:
    """`x < 0`: a literal that x may be and that does not fit the outcome is left out."""
    literal = run.places[bound].name
    if (
        run.places[operand].root in (Root.TEMP, Root.CONST)
        or not isinstance(literal, Const)
        or literal.kind not in ("int", "float")
    ):
        return {}
    value = run.value(operand)
    kept = frozenset(a for a in value if not isinstance(a, Number) or _fits(a, operator, literal.text) in (None, truth))
    return {operand: kept} if kept and len(kept) < len(value) else {}


def _fits(atom: Number, operator: str, bound: str) -> bool | None:
    """Whether a literal has this order to another; None if it is not a number."""
    if atom.text is None or atom.kind not in ("int", "float"):
        return None
    left, right = float(atom.text), float(bound)
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]


def _classes(run: Run, operand: int) -> Value:
    made = run.made.get(operand)
    if isinstance(made, Collect):
        return union(run.value(item) for item in made.items)
    return run.value(operand)


def _instance(run: Run, operand: int, classes: Value, truth: bool) -> dict[int, Value]:
    """`isinstance(x, C)`: what C lets through, or what it leaves."""
    if (
        run.places[operand].root in (Root.TEMP, Root.CONST)
        or not classes
        or not all(isinstance(c, ClassObject) for c in classes)
    ):
        return {}
    value = run.value(operand)
    wanted = BOTTOM
    for cls in classes:
        if isinstance(cls, ClassObject):
            wanted = join(wanted, converted(frozenset((Instance(cls.cls),))))
    if UNKNOWN in value:
        return {operand: wanted} if truth else {}
    kept = frozenset(a for a in value if any(_is(a, c) for c in classes) is truth)
    return {operand: kept or (wanted if truth else BOTTOM)}


def _is(atom: object, cls: object) -> bool:
    """Whether an atom is certainly an instance of a class."""
    if not isinstance(cls, ClassObject):
        return False
    name = cls.cls
    if isinstance(atom, Exact):
        return name in DECIMALS or name in ("numbers.Number", "numbers.Real")
    if isinstance(atom, Number):
        kinds = {"float": ("float", "np.float"), "int": ("int", "bool"), "bool": ("bool",), "str": ("str",)}
        return isinstance(name, str) and atom.kind in kinds.get(PLAIN.get(name, ""), ())
    if isinstance(atom, Instance):
        return atom.cls == name or (
            not isinstance(atom.cls, str) and not isinstance(name, str) and name in atom.cls.mro
        )
    return False
