"""`same.toml` as a record: families, severities and roll-ups of codes that no rule of ours covers."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.finding import Confidence, Severity

Key = tuple[str, str]
"""(tool, code)"""


@dataclass(frozen=True, slots=True)
class Rollup:
    """Codes of a tool whose sites become one finding `per` file or object; `name` replaces the code in its id."""

    tool: str
    per: str
    name: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Same:
    """Everything by (tool, code). `families` groups codes of one defect; `judged` are the families whose reports are
    only `possible` until a rule has judged them."""

    families: Mapping[Key, str]
    judged: frozenset[str]
    severities: Mapping[Key, Severity]
    possible: frozenset[Key]
    rollups: Mapping[Key, Rollup]
    production_only: frozenset[Key]
    witness_only: frozenset[Key]

    def severity(self, tool: str, code: str) -> Severity:
        return self.severities.get((tool, code), Severity.LOW)


@functools.cache
def same() -> Same:
    """The table that comes with auditor. Raises KeyError or ValueError if it is malformed."""
    text = Path(__file__).with_name("same.toml").read_text(encoding="utf-8")
    return read(tomllib.loads(text))


def read(table: Mapping[str, Any]) -> Same:
    """The record for a parsed table of this form."""
    families: dict[Key, str] = {}
    judged: set[str] = set()
    for family in table["family"]:
        if family.get("relation") == "judge":
            judged.add(family["id"])
        for tool in family.keys() - {"id", "relation"}:
            families |= {(tool, code): family["id"] for code in family[tool]}
    severities = {
        (tool, code): Severity[word.upper()]
        for tool, words in table["severity"].items()
        for word, codes in words.items()
        for code in codes
    }
    rollups = {
        (entry["tool"], code): Rollup(entry["tool"], entry["per"], entry.get("id", ""), entry.get("message", ""))
        for entry in table["rollup"]
        for code in entry["codes"]
    }
    return Same(
        families=families,
        judged=frozenset(judged),
        severities=severities,
        possible=_keys(table["possible"]),
        rollups=rollups,
        production_only=_keys(table["production-only"]),
        witness_only=_keys(table["witness-only"]),
    )


def _keys(table: Mapping[str, list[str]]) -> frozenset[Key]:
    return frozenset((tool, code) for tool, codes in table.items() for code in codes)


def confidence(table: Same, tool: str, code: str) -> Confidence:
    """Of an external finding with this one witness."""
    is_judged = table.families.get((tool, code)) in table.judged
    return Confidence.POSSIBLE if is_judged or (tool, code) in table.possible else Confidence.LIKELY
