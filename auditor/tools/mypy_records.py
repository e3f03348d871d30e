"""The records of mypy: read, judged for their worth as a witness, and placed on their line.

Takes stdout and messages, gives plain values; no process, no files.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from auditor.tools.report import parse_json


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON line of mypy. `column` and `end_column` are 0-based as told and wrong beside non-ASCII text; `line` is
    -1 for records of a whole file. `code` is empty where mypy gives none."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    message: str
    code: str
    is_error: bool


def records_of(stdout: bytes) -> list[Record]:
    """The records; lines that are none (notes in plain text) are left out."""
    found = []
    for line in stdout.splitlines():
        if not line.startswith(b"{"):
            continue
        try:
            value = parse_json(line)
            found.append(
                Record(
                    file=str(value["file"]),
                    line=int(value["line"]),
                    column=int(value["column"]),
                    end_line=int(value.get("end_line", -1)),
                    end_column=int(value.get("end_column", -1)),
                    message=str(value["message"]),
                    code=str(value["code"] or ""),
                    is_error=value["severity"] == "error",
                )
            )
        except (ValueError, KeyError, TypeError):
            continue
    return found


_ATTRIBUTE = re.compile(r'^"(?P<type>.+)" has no attribute "(?P<name>\w+)"')
_ITEM = re.compile(r'^Item ".*" of ".*" has no attribute')
_MODULE = re.compile(r'^Module "?(?P<module>[\w.]+)"? has no attribute "(?P<name>\w+)"')
# Functions are vague because tests put mocks in their place.
_VAGUE_RECEIVER = re.compile(
    r"^(?:(?:None|object|Any|Never)$|Callable\[|overloaded function|def |"
    r"(?:[\w.]*\.)?(?:Collection|Sequence|Mapping)(?:\[|$))"
)
_UNKNOWN_OPERAND = re.compile(r'"(?:[^"]*\|\s*)?(?:None|Any|object|Never)(?:\s*\|[^"]*)?"|"Optional\[')
_NONE_VALUE = re.compile(r'"[^"]*\bNone\b[^"]*"')
_MONEY_OR_TIME = re.compile(r"\b(?:Decimal|float|datetime|Coroutine)\b")
_AWAIT = re.compile(r"\bawait\b|\bawaitable\b", re.IGNORECASE)

_MUST_MENTION = {"misc": _AWAIT, "arg-type": _MONEY_OR_TIME}
_MUST_NOT_MENTION = {"operator": _UNKNOWN_OPERAND, "index": _NONE_VALUE}

CONTEXT_PAIRS = {"__exit__": "__enter__", "__aexit__": "__aenter__"}
"""mypy complains of both halves of a context manager; the first is the one that raises."""


def is_kept(code: str, message: str, modules: Collection[str]) -> bool:
    """Whether a record of a selected code is a definite defect. `modules` are the project's own."""
    if code == "attr-defined":
        if module := _MODULE.match(message):
            return module["module"] in modules
        receiver = _ATTRIBUTE.match(message)
        return receiver is not None and not _VAGUE_RECEIVER.match(receiver["type"])
    if code in _MUST_MENTION:
        return bool(_MUST_MENTION[code].search(message))
    return code not in _MUST_NOT_MENTION or not _MUST_NOT_MENTION[code].search(message)


def attribute_of(message: str) -> tuple[str, str] | None:
    """(type, attribute) of a missing attribute."""
    match = _ATTRIBUTE.match(message)
    return (match["type"], match["name"]) if match else None


_QUOTED = re.compile(r'"([^"]+)"')


def quoted_column(message: str, line: str) -> int | None:
    """The 1-based column of the first name in quotes that stands on the line as a word; of a missing attribute the
    attribute itself is looked for first. None if no name is there."""
    names = [name.rpartition(".")[2] for name in _QUOTED.findall(message)]
    if _ATTRIBUTE.match(message) or _MODULE.match(message):
        names.reverse()
    for name in names:
        if re.fullmatch(r"\w+", name) and (found := re.search(rf"\b{name}\b", line)):
            return found.start() + 1
    return None
