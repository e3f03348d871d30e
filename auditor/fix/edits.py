"""Edits of one file -> its text after them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from auditor.finding import Edit
from auditor.source.text import LineStarts


class Overlap(ValueError):
    """Two edits want the same text; neither is applied."""


def applied(text: str, edits: Iterable[Edit]) -> str:
    """The text after the edits; equal ones count once, those of one place keep their order. Raises Overlap."""
    lines = LineStarts(text)
    spans = [(lines.offset(e.line, e.column), lines.offset(e.end_line, e.end_column), e.text) for e in edits]
    ordered = sorted(dict.fromkeys(spans), key=lambda span: span[:2])
    for first, second in pairwise(ordered):
        if first[1] > second[0]:
            raise Overlap(f"two edits overlap at line {lines.locate(second[0])[0]}; apply one, and audit again")
    for start, end, new in reversed(ordered):
        text = text[:start] + new + text[end:]
    return text
