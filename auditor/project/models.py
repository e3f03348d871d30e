"""Library models: what the auditor knows of other libraries, as data.

One schema for all: an entry names callees by dotted path, under a condition on the arguments, and gives them a role with
attributes. Patterns are paths with `*` for part of one name and `**` for any number of names; results of calls on untyped
libraries appear as `()` and items as `[]` in the path, and both are left out before matching.

A team adds entries in `[tool.auditor.models]`, for its own code too: `[[tool.auditor.models.blocking.blocks]]` with
`calls = ["desk.client.Venue.submit"]`, or `any.submit` for a method of a receiver whose type is not known. They are data of
the audited tree: checked strictly, looked up first, and those that silence something are told (`Models.assumptions`).
"""

from __future__ import annotations

import difflib
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEYS = frozenset({"calls", "except", "unless", "when", "role", "note"})
ANY = "any."  # a method by its name, of a receiver whose type is not known
NONBLOCKING = "nonblocking"  # role of the model `blocking`, of teams only: the callee returns at once, it is not followed
UNDECIDED = "undecided"  # what `auditor models suggest` prints where the team has to decide
# Roles that only a team gives, by model; and those, of teams and libraries, that make a call safe.
OWN_ROLES: Mapping[str, tuple[str, ...]] = {"blocking": (NONBLOCKING,), "exchange": ("simulated",)}
SILENCING: Mapping[str, tuple[str, ...]] = {
    "blocking": (NONBLOCKING,),
    "deserialization": ("restricts", "verifies", "mac", "compares"),
    "exchange": ("simulated",),
}
CLOSED = frozenset({"severity", "kind", "takes"})  # attributes whose values are those that the libraries' entries have
MAX_ENTRIES = 500  # of a team, in one model
MAX_PATTERN = 300  # characters
MAX_WILDCARDS = 3  # in one pattern of a team, so that matching stays cheap


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
    """What a callee is: the role's name, the sentence for proofs, and further attributes of the entry. Teams give roles
    by the name of a method alone too: these carry the attribute `by_name`, one step that rests on a convention."""

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
    packages: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Model:
    """The entries of one model, looked up by the path of a callee; the first entry that matches wins, those of a team
    before those of libraries."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._entries: list[_Entry] = []
        self._team: list[_Entry] = []
        self._memo: dict[str, tuple[Role, ...]] = {}
        self._team_memo: dict[str, tuple[Role, ...]] = {}

    def add(self, table: Mapping[str, Any], origin: str) -> None:
        """Add the entries of a library's decoded TOML document. Raises ModelError."""
        self._entries.extend(_entries(table, origin))
        self._memo.clear()

    def add_team(self, table: Mapping[str, Any], origin: str) -> tuple[str, ...]:
        """Add the entries of a team, checked against the roles and attributes of the libraries' entries. Gives a sentence
        for each entry that silences something. Raises ModelError."""
        _check_team(self.name, table, [entry.role for entry in self._entries], origin)
        added = list(_entries(table, origin))
        self._team.extend(added)
        self._memo.clear()
        self._team_memo.clear()
        silent = SILENCING.get(self.name, ())
        calls = [entry["calls"] for entries in table.values() for entry in entries]
        return tuple(
            f"{origin}: taken as `{entry.role.name}` in model {self.name}, so nothing is reported through it: {', '.join(names)}"
            + (f" ({entry.role.note})" if entry.role.note else "")
            for entry, names in zip(added, calls, strict=True)
            if entry.role.name in silent
        )

    def roles(self, path: str) -> tuple[Role, ...]:
        """Roles of a callee, before its arguments are looked at."""
        known = self._memo.get(path)
        if known is None:
            known = self._memo[path] = (*self.team_roles(path), *_matching(self._entries, (canonical(path),)))
        return known

    def team_roles(self, path: str) -> tuple[Role, ...]:
        """Roles that the team gives to a callee: of a library, of its own code (by dotted path), or `any.NAME`."""
        if not self._team:
            return ()
        known = self._team_memo.get(path)
        if known is None:
            plain = path.replace("()", "").replace("[]", "")
            known = self._team_memo[path] = _matching(self._team, (plain, canonical(path)))
        return known

    @property
    def of_team(self) -> bool:
        """Whether the team has added entries."""
        return bool(self._team)

    @property
    def packages(self) -> frozenset[str]:
        """Top-level packages that the libraries' entries name."""
        return frozenset(package for entry in self._entries for package in entry.packages)

    def names(self, *roles: str) -> frozenset[str]:
        """Last names of the callees that entries give one of these roles, wildcards as they are written."""
        entries = (*self._team, *self._entries)
        return frozenset(name for entry in entries if entry.role.name in roles for name in entry.names)


def _matching(entries: Iterable[_Entry], paths: tuple[str, ...]) -> tuple[Role, ...]:
    return tuple(
        e.role
        for e in entries
        if any(p.match(path) for p in e.patterns for path in paths) and not any(p.match(path) for p in e.exceptions for path in paths)
    )


def _entries(table: Mapping[str, Any], origin: str) -> Iterator[_Entry]:
    for role, entries in table.items():
        if not isinstance(entries, list):
            raise ModelError(f"{origin}: `{role}` must be an array of tables, written [[{role}]]")
        for rank, entry in enumerate(entries, 1):
            where = f"{origin}: [[{role}]] number {rank}"
            if not isinstance(entry, dict):
                raise ModelError(f"{where}: an entry is a table with `calls`")
            calls = _texts(entry, "calls", where)
            if not calls:
                raise ModelError(f"{where}: `calls` must be a list of dotted paths, as in ['time.sleep']")
            attributes = {key: value for key, value in entry.items() if key not in KEYS}
            yield _Entry(
                Role(role, str(entry.get("note", "")), attributes, _conditions(entry, "when", where), _conditions(entry, "unless", where)),
                tuple(pattern(c) for c in calls),
                tuple(pattern(c) for c in _texts(entry, "except", where)),
                tuple(dict.fromkeys(c.partition(".")[0] for c in calls)),
                tuple(dict.fromkeys(c.rpartition(".")[2] for c in calls)),
            )


def _texts(entry: Mapping[str, Any], key: str, where: str) -> list[str]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ModelError(f"{where}: `{key}` must be a list of dotted paths, as in ['time.sleep']")
    return value


def canonical(path: str) -> str:
    """A path without `()`, `[]` and private modules: `concurrent.futures._base.Future` is `concurrent.futures.Future`, and
    `_sqlite3.connect` is `sqlite3.connect`."""
    plain = path.replace("()", "").replace("[]", "")
    if plain.startswith("_") and plain.partition(".")[0].lstrip("_") in sys.stdlib_module_names:
        plain = plain.lstrip("_")
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
    tables = entry.get(key, [])
    if not isinstance(tables, list):
        raise ModelError(f"{where}: `{key}` must be a list of tables, as in [{{ keyword = 'timeout' }}]")
    for table in tables:
        if not isinstance(table, dict) or "keyword" not in table:
            raise ModelError(f"{where}: each condition in `{key}` is a table with `keyword`")
        try:
            found.append(Condition(**table))
        except TypeError as error:
            raise ModelError(f"{where}: {error}; a condition has keyword, position, equals, above") from error
    return tuple(found)


# --- entries of a team ---------------------------------------------------------------------------------------------


def _check_team(model: str, table: Mapping[str, Any], library: Sequence[Role], origin: str) -> None:
    """The roles and attributes of a team's table against those of the libraries' entries. Raises ModelError."""
    if not isinstance(table, Mapping):
        raise ModelError(f"{origin}: `{model}` must be a table of roles, as in [[tool.auditor.models.{model}.ROLE]]")
    own = OWN_ROLES.get(model, ())
    known = sorted({role.name for role in library} | set(own))
    for role, entries in table.items():
        if role == UNDECIDED:
            raise ModelError(f"{origin}: [[{model}.{UNDECIDED}]] waits for your decision; write {_choice(known)} in its place")
        if role not in known:
            raise ModelError(f"{origin}: unknown role {_named(role)} in model `{model}`{_meant(role, known)}; known: {', '.join(known)}")
        if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
            raise ModelError(f"{origin}: `{model}.{role}` must be an array of at most {MAX_ENTRIES} tables, written [[{model}.{role}]]")
        examples = [entry for entry in library if entry.name == role]
        for rank, entry in enumerate(entries, 1):
            where = f"{origin}: [[{model}.{role}]] number {rank}"
            if not isinstance(entry, dict):
                raise ModelError(f"{where}: an entry is a table with `calls`")
            for text in (*_texts(entry, "calls", where), *_texts(entry, "except", where)):
                _check_pattern(text, where)
            # What silences may carry the attributes of what it replaces: they are what `models suggest` has printed.
            _check_attributes(entry, examples or list(library), where, required=role not in own)


def _check_pattern(text: str, where: str) -> None:
    first, _, rest = text.partition(".")
    if not text or len(text) > MAX_PATTERN or not all(re.fullmatch(r"[\w*]+", part) for part in text.split(".")):
        raise ModelError(f"{where}: {_named(text)} is no dotted path of at most {MAX_PATTERN} characters, as in 'desk.client.Venue.submit'")
    if "*" in first or not rest or (f"{first}." == ANY and "*" in rest):
        raise ModelError(f"{where}: {_named(text)} would match too much; begin with a package and end with a name")
    if sum(len(run) for run in re.findall(r"\*\*?", text)) > MAX_WILDCARDS:
        raise ModelError(f"{where}: {_named(text)} has more wildcards than {MAX_WILDCARDS}; list the names")


def _check_attributes(entry: Mapping[str, Any], examples: Sequence[Role], where: str, *, required: bool) -> None:
    """Attributes that all examples have must be there, others may; a type or a closed value is that of the examples."""
    values: dict[str, list[Any]] = {}
    for role in examples:
        for name, value in role.attributes.items():
            values.setdefault(name, []).append(value)
    allowed = {*values, *(KEYS - {"role"})}
    for name, value in entry.items():
        if name not in allowed:
            raise ModelError(f"{where}: unknown key {_named(name)}{_meant(name, allowed)}; known: {', '.join(sorted(allowed))}")
        kinds = {type(v) for v in values.get(name, ())} or ({str} if name == "note" else set())
        if kinds and type(value) not in kinds:
            raise ModelError(f"{where}: `{name}` must be a {' or a '.join(sorted(k.__name__ for k in kinds))}")
        if name in CLOSED and value not in values[name]:
            choices = sorted(set(values[name]))
            raise ModelError(f"{where}: {_named(value)} is no {name}{_meant(str(value), choices)}; known: {', '.join(choices)}")
    for name in sorted(values) if required else ():
        if name not in entry and len(values[name]) == len(examples):
            raise ModelError(f"{where}: `{name}` is missing; add it, as in {name} = {values[name][0]!r}")


def _choice(names: Sequence[str]) -> str:
    return " or ".join(f"`{name}`" for name in names)


def _named(text: object) -> str:
    """A word of the configuration for an error: printable, at most 60 characters."""
    return f"`{str(text)[:60]}`" if str(text)[:60].isprintable() else ascii(str(text)[:60])


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word[:60], sorted(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


class Models:
    """All models by name. `load` reads those of libraries, then `extend` adds what a team has configured; `assumptions`
    are sentences about entries of the team that silence something."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}
        self.assumptions: tuple[str, ...] = ()

    def load(self, paths: Iterable[Path]) -> Models:
        """Read model files named after their model. Raises ModelError."""
        for path in sorted(paths):
            try:
                table = tomllib.loads(path.read_text("utf-8"))
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                raise ModelError(f"{path.name}: {error}") from error
            self.model(path.stem.lstrip("_")).add(table, path.name)
        return self

    def extend(self, tables: Mapping[str, Any], origin: str) -> Models:
        """Add the entries of a team: model name -> role -> list of entries. Raises ModelError."""
        for name, table in sorted(tables.items()):
            if name not in self._models:
                known = sorted(self._models)
                raise ModelError(f"{origin}: unknown model {_named(name)}{_meant(name, known)}; known: {', '.join(known)}")
            self.assumptions += self._models[name].add_team(table, origin)
        return self

    def model(self, name: str) -> Model:
        return self._models.setdefault(name, Model(name))

    @property
    def packages(self) -> frozenset[str]:
        """Top-level packages of libraries that some model knows."""
        return frozenset(package for model in self._models.values() for package in model.packages)
