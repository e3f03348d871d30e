"""Blocks of Markdown that several sections write: tables, lists of ids, folded parts. Cells come escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from auditor.finding import Finding
from auditor.report.escape import code


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> list[str]:
    """A table of finished cells and the empty line after it; `numbers` are the columns that align right."""
    right = set(numbers)
    rule = ["---:" if index in right else "---" for index in range(len(header))]
    return [*(f"| {' | '.join(row)} |" for row in (header, rule, *rows)), ""]


def ids(findings: Sequence[Finding], limit: int | None = None) -> str:
    """The ids of findings as code, at most `limit` of them."""
    shown = findings if limit is None else findings[:limit]
    listed = ", ".join(code(finding.id) for finding in shown)
    return listed + (f" and {len(findings) - len(shown):,} more" if len(shown) < len(findings) else "")


def folded(summary: str, body: Iterable[str]) -> list[str]:
    """A part that the reader opens. The empty lines are needed: without them the body would be read as HTML."""
    return ["<details>", f"<summary>{summary}</summary>", "", *body, "</details>", ""]


def chapter_title(chapter: str) -> str:
    """`async_safety` as `Async safety`."""
    words = chapter.replace("_", " ").strip() or "other"
    return words[0].upper() + words[1:]
