"""What another tool said about one place: the record that adapters give and the merge takes.

Paths are those of the audited tree (posix, relative to its root); lines and columns are 1-based, columns count
code points, ends are exclusive. In a notebook `line` is the line of the .ipynb file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from auditor.finding import ToolRun


@dataclass(frozen=True, slots=True)
class Report:
    """One result of one tool. `column` is None where the tool cannot be trusted with it. `severity_hint` is the tool's
    own word and decides nothing. `suppressed_by` is the comment that waives it, normalised (`# noqa: E722`)."""

    tool: str
    code: str
    path: str
    line: int
    column: int | None
    end_line: int | None
    end_column: int | None
    message: str
    severity_hint: str = ""
    suppressed_by: str | None = None
    url: str | None = None

    def at(self, path: str) -> Report:
        return replace(self, path=path)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A finished tool: its entry in the coverage and what it reported, in the order of `by_place`."""

    run: ToolRun
    reports: tuple[Report, ...] = ()


def by_place(report: Report) -> tuple[object, ...]:
    """The one sort order of reports."""
    return (
        report.path.encode("utf-8", "surrogateescape"),
        report.line,
        report.column or 0,
        report.tool,
        report.code,
        report.message,
        report.suppressed_by or "",
    )


def encode(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """Plain values for the cache."""
    return [asdict(report) for report in reports]


def decode(values: Any, path: str | None = None) -> tuple[Report, ...]:
    """The inverse of `encode`; with `path`, the reports move there. Raises ValueError on a value of another shape:
    a cache is text from disk, so that every field is checked."""
    if not isinstance(values, list):
        raise ValueError("cached reports are not a list")  # noqa: TRY004 - one error for all malformed caches
    return tuple(_decode_one(value, path) for value in values)


_WORDS = ("tool", "code", "path", "message", "severity_hint")
_NUMBERS = ("column", "end_line", "end_column")
_OPTIONAL_WORDS = ("suppressed_by", "url")


def _decode_one(value: Any, path: str | None) -> Report:
    if not isinstance(value, dict) or set(value) != set(Report.__slots__):
        raise ValueError("a cached report has other fields than a report")
    sound = (
        all(isinstance(value[name], str) for name in _WORDS)
        and all(value[name] is None or _is_number(value[name]) for name in _NUMBERS)
        and all(value[name] is None or isinstance(value[name], str) for name in _OPTIONAL_WORDS)
        and _is_number(value["line"])
    )
    if not sound:
        raise ValueError("a cached report has a field of another type")
    report = Report(**value)
    return report if path is None else report.at(path)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def parse_json(text: bytes) -> Any:
    """JSON of a tool or of the cache. Raises ValueError also where the decoder gives up on nesting."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error
