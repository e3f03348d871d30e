"""What a writer may be told besides the audit. One record for all formats; each writer reads what concerns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """Options of `render`.

    `reason` is the finished sentence about the exit code; with it the terminal formats end with the summary block.
    `repository` is the https URL of the repository on its host, for permalinks; `link_style` is auto, relative, github
    or gitlab. `rules_url` is the https prefix of the rule pages. `previous` is a decoded `auditor/1` document.
    `timestamp` is a finished date for the front matter of Markdown. `source` False leaves all code frames out.
    """

    reason: str | None = None
    color: bool = False
    ascii: bool = False
    width: int = 100
    link_style: str = "auto"
    repository: str = ""
    rules_url: str = ""
    max_findings: int | None = None
    mermaid: bool = False
    previous: Mapping[str, Any] | None = None
    timestamp: str | None = None
    source: bool = True
    open_only: bool = False
