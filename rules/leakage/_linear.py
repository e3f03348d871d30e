"""Integers that the code may or may not state: linear forms over unknown constants whose bounds may be known.

A shift by `-displacement + 1` gives the reach `displacement - 1`; a later shift by `displacement` gives `-1`, which is
causal although nobody knows the displacement. A form whose sign cannot be proven decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MAX_TERMS = 4


@dataclass(frozen=True, slots=True, order=True)
class Symbol:
    """An unknown integer. `low` and `high` are proven bounds; None where there is none."""

    name: str
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Linear:
    """`constant + sum(factor * symbol)`; `terms` are sorted and hold no zero factor."""

    constant: int = 0
    terms: tuple[tuple[Symbol, int], ...] = ()

    def __add__(self, other: Linear) -> Linear:
        if not other.terms and not self.terms:
            return Linear(self.constant + other.constant)
        factors = dict(self.terms)
        for symbol, factor in other.terms:
            factors[symbol] = factors.get(symbol, 0) + factor
        return _form(self.constant + other.constant, factors)

    def __neg__(self) -> Linear:
        return Linear(-self.constant, tuple((symbol, -factor) for symbol, factor in self.terms))

    def __sub__(self, other: Linear) -> Linear:
        return self + -other

    def times(self, number: int) -> Linear:
        return _form(self.constant * number, {symbol: factor * number for symbol, factor in self.terms})

    def lower(self) -> int | None:
        """The greatest number that the form is proven never to fall below."""
        return _bound(self, lowest=True)

    def upper(self) -> int | None:
        """The least number that the form is proven never to exceed."""
        return _bound(self, lowest=False)

    def half(self, name: str) -> Linear:
        """Floor division by two; exact for a number, else a fresh unknown inside the halved bounds."""
        if not self.terms:
            return Linear(self.constant // 2)
        low, high = self.lower(), self.upper()
        return unknown(f"{name}//2", None if low is None else low // 2, None if high is None else high // 2)

    def replaced(self, values: Mapping[str, Linear | None]) -> Linear | None:
        """The form with symbols replaced by name; None if one of them is not known as a form."""
        if not self.terms:
            return self
        result = Linear(self.constant)
        for symbol, factor in self.terms:
            value = values.get(symbol.name, Linear(0, ((symbol, 1),)))
            if value is None:
                return None
            result += value.times(factor)
        return result

    def covers(self, other: Linear) -> bool:
        """Whether the form is proven to be at least `other`."""
        low = (self - other).lower()
        return low is not None and low >= 0

    def order(self) -> tuple[object, ...]:
        """A total order of forms, whatever they mean."""
        return self.constant, [(*_by_name(term), term[1]) for term in self.terms]

    def __str__(self) -> str:
        words: list[str] = []
        for symbol, factor in self.terms:
            name = symbol.name.rpartition(":")[2] or "n"
            words.append(
                ("-" if factor < 0 else "+" if words else "") + (f"{abs(factor)}*" if abs(factor) > 1 else "") + name
            )
        if self.constant or not words:
            words.append(f"{self.constant:+d}" if words else str(self.constant))
        return "".join(words)


ZERO = Linear()


def unknown(name: str, low: int | None = None, high: int | None = None) -> Linear:
    """The form that is one unknown number; a number after all if its bounds meet."""
    if low is not None and low == high:
        return Linear(low)
    return Linear(0, ((Symbol(name, low, high), 1),))


def _form(constant: int, factors: Mapping[Symbol, int]) -> Linear:
    return Linear(constant, tuple(sorted((item for item in factors.items() if item[1]), key=_by_name)))


def _by_name(term: tuple[Symbol, int]) -> tuple[object, ...]:
    symbol = term[0]
    return symbol.name, symbol.low is None, symbol.low or 0, symbol.high is None, symbol.high or 0


def _bound(form: Linear, *, lowest: bool) -> int | None:
    total = form.constant
    for symbol, factor in form.terms:
        edge = symbol.low if (factor > 0) is lowest else symbol.high
        if edge is None:
            return None
        total += factor * edge
    return total
