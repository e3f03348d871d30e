"""How the tools are run, and what each is asked for: plain data from the caller and from `selection.toml`."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

TOOLS = ("ruff", "bandit", "mypy")


class Cache(Protocol):
    """Results by key. A miss is None; neither call may raise."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, value: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class ToolConfig:
    """`tools`: the selected ones. `mypy_cache`: mypy's own cache, outside the audited tree; None for a throw-away one
    beside the stage. `patience`: factor on all time limits. `jobs`: processes of bandit at a time."""

    tools: tuple[str, ...] = TOOLS
    mypy_cache: Path | None = None
    cache: Cache | None = None
    python: str = sys.executable
    patience: float = 1.0
    jobs: int = 2

    def __post_init__(self) -> None:
        unknown = sorted(set(self.tools) - set(TOOLS))
        if unknown:
            raise ValueError(f"unknown tool {unknown[0]!r}; choose among {', '.join(TOOLS)}")


@dataclass(frozen=True, slots=True)
class Selection:
    """The codes of one tool: those that are reported, and those that are only counted."""

    report: tuple[str, ...]
    metrics: tuple[str, ...] = ()

    def known(self, codes: Iterable[str]) -> tuple[Selection, tuple[str, ...]]:
        """The part the installed tool knows, and the codes it does not."""
        there = frozenset(codes)
        kept = Selection(
            tuple(code for code in self.report if code in there), tuple(code for code in self.metrics if code in there)
        )
        return kept, tuple(sorted({*self.report, *self.metrics} - there))

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(sorted({*self.report, *self.metrics}))


@functools.cache
def selections() -> Mapping[str, Selection]:
    """The default selection of each tool."""
    table: dict[str, Any] = tomllib.loads(Path(__file__).with_name("selection.toml").read_text(encoding="utf-8"))
    return {tool: Selection(tuple(entry["report"]), tuple(entry.get("metrics", ()))) for tool, entry in table.items()}


def digest(*parts: Any) -> str:
    """A cache key over JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
