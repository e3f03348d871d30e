"""Library models: what the auditor knows of other libraries, as data.

One schema for all: an entry names callees by dotted path, under a condition on the arguments, and gives them a role with
attributes. Patterns are paths with `*` for part of one name and `**` for any number of names; results of calls on untyped
libraries appear as `()` and items as `[]` in the path, and both are left out before matching.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEYS = frozenset({"calls", "except", "unless", "when", "role", "note"})


class ModelError(Exception):
    """A model file that breaks the schema; names the file, the entry, the reason and the mend."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on one argument: by keyword, and by position where it has one. `equals` compares a literal, `above` a
    number; with neither, the argument only has to be present."""

    keyword: str
    position: int | None = None
    equals: str | None = None
    above: float | None = None


@dataclass(frozen=True, slots=True)
class Role:
    """What a callee is: the role's name, the sentence for proofs, and further attributes of the entry."""

    name: str
    note: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    when: tuple[Condition, ...] = ()
    unless: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    role: Role
    patterns: tuple[re.Pattern[str], ...]
    exceptions: tuple[re.Pattern[str], ...]


class Model:
    """The entries of one model, looked up by the path of a callee; the first entry that matches wins."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._entries: list[_Entry] = []
        self._exact: dict[str, list[int]] = {}
        self._memo: dict[str, tuple[Role, ...]] = {}

    def add(self, table: Mapping[str, Any], origin: str) -> None:
        """Add the entries of a decoded TOML document. Raises ModelError."""
        for role, entries in table.items():
            if not isinstance(entries, list):
                raise ModelError(f"{origin}: `{role}` must be an array of tables, written [[{role}]]")
            for rank, entry in enumerate(entries, 1):
                where = f"{origin}: [[{role}]] number {rank}"
                calls = entry.get("calls")
                if not isinstance(calls, list) or not calls or not all(isinstance(c, str) for c in calls):
                    raise ModelError(f"{where}: `calls` must be a list of dotted paths, as in ['time.sleep']")
                attributes = {key: value for key, value in entry.items() if key not in KEYS}
                self._entries.append(
                    _Entry(
                        Role(role, str(entry.get("note", "")), attributes, _conditions(entry, "when", where), _conditions(entry, "unless", where)),
                        tuple(pattern(c) for c in calls),
                        tuple(pattern(c) for c in entry.get("except", ())),
                    )
                )
        self._memo.clear()

    def roles(self, path: str) -> tuple[Role, ...]:
        """Roles of a callee, before its arguments are looked at."""
        known = self._memo.get(path)
        if known is None:
            plain = canonical(path)
            known = self._memo[path] = tuple(
                e.role
                for e in self._entries
                if any(p.match(plain) for p in e.patterns) and not any(p.match(plain) for p in e.exceptions)
            )
        return known


def canonical(path: str) -> str:
    """A path without `()`, `[]` and private modules: `concurrent.futures._base.Future` is `concurrent.futures.Future`."""
    plain = path.replace("()", "").replace("[]", "")
    return ".".join(part for rank, part in enumerate(plain.split(".")) if not (part.startswith("_") and not part.startswith("__") and rank))


def pattern(text: str) -> re.Pattern[str]:
    """The compiled form of a pattern: linear, no backtracking over names."""
    parts = []
    for part in text.split("."):
        parts.append(r"(?:[^.]+\.)*" if part == "**" else re.escape(part).replace(r"\*", "[^.]*") + r"\.")
    joined = "".join(parts)
    return re.compile(joined.removesuffix(r"\.") + r"\Z")


def _conditions(entry: Mapping[str, Any], key: str, where: str) -> tuple[Condition, ...]:
    found: list[Condition] = []
    for table in entry.get(key, ()):
        if not isinstance(table, dict) or "keyword" not in table:
            raise ModelError(f"{where}: each condition in `{key}` is a table with `keyword`")
        try:
            found.append(Condition(**table))
        except TypeError as error:
            raise ModelError(f"{where}: {error}; a condition has keyword, position, equals, above") from error
    return tuple(found)


class Models:
    """All models by name. `load` reads files; later additions (of a team's configuration) only add entries."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}

    def load(self, paths: Iterable[Path]) -> Models:
        """Read model files named after their model. Raises ModelError."""
        for path in sorted(paths):
            try:
                table = tomllib.loads(path.read_text("utf-8"))
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                raise ModelError(f"{path.name}: {error}") from error
            self.model(path.stem.lstrip("_")).add(table, path.name)
        return self

    def model(self, name: str) -> Model:
        return self._models.setdefault(name, Model(name))
