"""`[tool.auditor]` -> a frozen `Config`, and the globs that it speaks in.

A configuration is data, mostly of the audited tree: it can mute, never execute, and names no path outside of its root.
The reader is strict. Every error is a `ConfigError` that names the key, the file, and the mend; no error quotes a
file's content beyond its keys and the words that it rejects.

Precedence, strongest first: command line, `--config` file, project file, the files it extends, defaults. A list
replaces the weaker list; tables merge key by key; `overrides` are joined, and later entries win.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from auditor.finding import Confidence, Finding, Severity
from auditor.source.globs import Patterns

PROJECT_FILE = "pyproject.toml"
DEFAULT_MAX_FILE_SIZE = 8_000_000
DEFAULT_TESTS = ("**/tests/**", "**/test/**", "test_*.py", "*_test.py", "conftest.py")
DEFAULT_SCRIPTS = ("scripts/**", "examples/**", "**/notebooks/**", "*.ipynb", "setup.py")
# Losses of the audit itself: no selection reaches them, or a rule that raised would look like one that found nothing.
UNMUTABLE = frozenset({"auditor-error", "unparsable-file"})
EXTERNAL = re.compile(r"(?:ruff|bandit|mypy)/[A-Za-z0-9-]{1,60}")  # ids of external-only findings

_MAX_BYTES = 1_000_000
ORDER_CHECKS = ("risk", "rounding", "client-id", "timeout", "outcome", "rate-limit", "switch")  # of the order map
_MAX_ITEMS = 1_000
_MAX_EXTENDS = 8
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class ConfigError(ValueError):
    """The configuration cannot be used: exit status 2. The text names the thing, the reason and the mend."""


def shown(text: str) -> str:
    """Hostile text for an error message: unprintable characters visible, at most 60 characters."""
    visible = "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in text[:61])
    return visible if len(text) <= 60 else visible[:60] + "..."


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word[:60], sorted(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


# --- globs ---------------------------------------------------------------------------------------------------------


def matches(pattern: str, path: str) -> bool:
    """Whether `path` (posix, relative to the root), or a folder it lies in, is named by `pattern`.

    The patterns of discovery: `*`, `?` and `[a-z]` stay inside one segment, `**` stands for any number of segments; a
    pattern without an inner slash names something at any depth, a leading slash ties it to the root. No backtracking.
    """
    return _compiled(pattern).excluding(path) is not None


def rebase(pattern: str, prefix: str) -> tuple[str, ...]:
    """The patterns, relative to the folder `prefix`, that name what `pattern` names inside of it."""
    if matches(pattern, prefix):
        return ("**",)
    segments = pattern.strip("/").split("/")
    if len(segments) == 1 and not pattern.startswith("/"):
        return (pattern,)
    states = {0}
    for name in prefix.split("/"):
        entered = {state + 1 for state in states if segments[state : state + 1] == ["**"]}
        states = {state for state in states | entered if _passes(segments[state : state + 1], name)}
        states = {state if segments[state] == "**" else state + 1 for state in states}
    end = "/" if pattern.endswith("/") else ""
    return tuple("/" + "/".join(segments[state:]) + end for state in sorted(states) if state < len(segments))


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Patterns:
    return Patterns([pattern])


def _passes(segment: list[str], name: str) -> bool:
    return segment == ["**"] or (bool(segment) and _compiled("/" + segment[0]).deciding(name) is not None)


# --- values --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gate:
    """Findings of state `new` at or above both grades make exit status 1; severity None is `never`."""

    severity: Severity | None = Severity.HIGH
    confidence: Confidence = Confidence.LIKELY

    @classmethod
    def parse(cls, text: str) -> Gate:
        """`high:likely`, `high` (which means `high:likely`: `possible` findings gate only when asked to), `never`."""
        if text == "never":
            return cls(None)
        where = f"gate `{shown(text)}`"
        severity, colon, confidence = text.partition(":")
        return cls(
            Severity[_word(severity, [s.word for s in Severity], where).upper()],
            Confidence[_word(confidence, [c.word for c in Confidence], where).upper()] if colon else Confidence.LIKELY,
        )

    def trips(self, finding: Finding) -> bool:
        severity, confidence = finding.grade
        if self.severity is None or finding.state != "new":
            return False
        return severity >= self.severity and confidence >= self.confidence

    def __str__(self) -> str:
        return "never" if self.severity is None else f"{self.severity.word}:{self.confidence.word}"


def _word(word: str, known: Sequence[str], where: str) -> str:
    if word in known:
        return word
    message = f"unknown word `{shown(word)}` in {where}; known: {', '.join(known)}{_meant(word, known)}"
    raise ConfigError(message)


@dataclass(frozen=True, slots=True)
class Override:
    """What holds for the files that match: rules or chapters not reported, severities set."""

    files: tuple[str, ...]
    ignore: tuple[str, ...] = ()
    severity: Mapping[str, Severity] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """The effective configuration. `origins` says for each key that is not a default where its value is from; `rules`
    and `models` are the tables as read: `validate_rules` and the loader of models check them."""

    root: Path
    exclude: tuple[str, ...] = ()
    gate: Gate = Gate()
    require_reasons: bool = True
    select: tuple[str, ...] = ("all",)
    ignore: tuple[str, ...] = ()
    baseline: str | None = None
    max_file_size: int = DEFAULT_MAX_FILE_SIZE
    allow_partial: bool = False
    tests: tuple[str, ...] = DEFAULT_TESTS
    scripts: tuple[str, ...] = DEFAULT_SCRIPTS
    tools_mode: str = "isolated"
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    models: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    order_checks: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def context(self, path: str) -> str:
        """`tests`, `scripts` (scripts, examples, notebooks) or `production`."""
        if any(matches(pattern, path) for pattern in self.tests):
            return "tests"
        return "scripts" if any(matches(pattern, path) for pattern in self.scripts) else "production"

    def selected(self, rule: str, chapter: str, path: str = "") -> bool:
        """Whether findings of the rule (in that file) are reported. The more specific of `select` and `ignore` wins
        (rule over chapter over `all`), `ignore` where they are equal; an override of the path wins over both."""
        if rule in UNMUTABLE:
            return True
        if any(_reach(entry.ignore, rule, chapter) >= 0 for entry in self._overrides_of(path)):
            return False
        return _reach(self.select, rule, chapter) > _reach(self.ignore, rule, chapter)

    def severity(self, rule: str, chapter: str, path: str) -> Severity | None:
        """The severity that an override sets for the rule in that file; the last entry that names it wins."""
        for entry in reversed(tuple(self._overrides_of(path))):
            for name in (rule, chapter, "all"):
                if name in entry.severity:
                    return entry.severity[name]
        return None

    def options(self, rule: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The rule's declared options with the configured values in place (`max-methods` is `max_methods`)."""
        given = {_option(name): value for name, value in self.rules.get(rule, {}).items()}
        options = dict(defaults)
        for name, default in defaults.items():
            if _option(name) in given:
                value = given[_option(name)]
                options[name] = type(default)(value) if isinstance(default, tuple | frozenset | float) else value
        return options

    def fingerprint(self) -> str:
        """Hex digest of everything that can change a result: part of the key of a finished run."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("root", "origins")}
        text = json.dumps(values, sort_keys=True, default=_plain)
        return hashlib.sha256(text.encode()).hexdigest()

    def _overrides_of(self, path: str) -> Iterator[Override]:
        return (entry for entry in self.overrides if any(matches(pattern, path) for pattern in entry.files))


def _reach(names: Sequence[str], rule: str, chapter: str) -> int:
    return 2 if rule in names else 1 if chapter in names else 0 if "all" in names else -1


def _option(name: str) -> str:
    return name.replace("_", "-")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Gate):
        return str(value)
    if isinstance(value, Override):
        return [value.files, value.ignore, dict(value.severity), value.reason]
    return repr(value)  # dates and times of TOML


# --- reading one table ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a table is from. Trusted are the command line and files outside of the audited tree."""

    name: str
    trusted: bool = False
    prefix: str = ""  # of the root, seen from the folder that the globs of this table are relative to

    def table(self, inner: str = "") -> str:
        return f"[tool.auditor{inner}] of {self.name}"


@dataclass(frozen=True, slots=True)
class _At:
    source: _Source
    table: str
    key: str

    def must(self, expected: str, value: object) -> NoReturn:
        message = f"`{shown(self.key)}` in {self.table} must be {expected}, not {_kind(value)}"
        raise ConfigError(message)

    def refuse(self, reason: str) -> NoReturn:
        message = f"`{shown(self.key)}` in {self.table} {reason}"
        raise ConfigError(message)


def _kind(value: object) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "a list", dict: "a table"}
    return names.get(type(value), f"a {type(value).__name__}")


def _boolean(value: object, at: _At) -> bool:
    if not isinstance(value, bool):
        at.must("a boolean", value)
    return value


def _text(value: object, at: _At) -> str:
    if not isinstance(value, str):
        at.must("a string", value)
    return value


def _texts(value: object, at: _At) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        at.must("a list of strings", value)
    if len(value) > _MAX_ITEMS:
        at.refuse(f"has {len(value)} items; at most {_MAX_ITEMS} are read")
    for item in value:
        if not isinstance(item, str):
            at.must("a list of strings", item)
    return tuple(value)


def _globs(value: object, at: _At) -> tuple[str, ...]:
    patterns = tuple(f"/{p[2:]}" if p.startswith("./") else p for p in _texts(value, at))
    for pattern in patterns:
        if pattern.startswith("!") or "\\" in pattern:
            at.refuse(f"has `{shown(pattern)}`: write posix globs without `!` and `\\`")
        if ".." in pattern.split("/") or not _compiled(pattern).texts:
            at.refuse(f"has `{shown(pattern)}`: it is no glob for something inside of the root")
    if not at.source.prefix:
        return patterns
    return tuple(inner for pattern in patterns for inner in rebase(pattern, at.source.prefix))


def _gate(value: object, at: _At) -> Gate:
    text = _text(value, at)
    try:
        return Gate.parse(text)
    except ConfigError as error:
        message = f"{error} (`{at.key}` in {at.table})"
        raise ConfigError(message) from None


def _inside(value: object, at: _At) -> str:
    text = _text(value, at)
    parts = text.split("/")
    if not text or text.startswith("/") or ".." in parts or "\\" in text or ":" in parts[0] or "\0" in text:
        at.refuse(f"is `{shown(text)}`: it must be a relative posix path inside of the root")
    return text


def _size(value: object, at: _At) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        at.must("a positive integer (bytes)", value)
    if value > DEFAULT_MAX_FILE_SIZE and not at.source.trusted:
        at.refuse(f"may lower the limit of {DEFAULT_MAX_FILE_SIZE} bytes; a --config file outside may raise it")
    return value


def _partial(value: object, at: _At) -> bool:
    if not at.source.trusted:
        at.refuse("is not taken from the audited tree; use --allow-partial or a --config file outside of it")
    return _boolean(value, at)


def _order_checks(value: object, at: _At) -> tuple[str, ...]:
    """What every path to an order call must have."""
    return tuple(_word(word, ORDER_CHECKS, f"`{at.key}` in {at.table}") for word in _texts(value, at))


def _mode(value: object, at: _At) -> str:
    mode = _word(_text(value, at), ["isolated", "project"], f"`{at.key}` in {at.table}")
    if mode == "project" and not at.source.trusted:
        at.refuse(
            "is `project`, which lets plugins of the audited tree run: it is taken from a --config file outside of it"
        )
    return mode


def _tables(value: object, at: _At) -> Mapping[str, Mapping[str, Any]]:
    for name, inner in _table(value, at).items():
        if not isinstance(inner, dict):
            _At(at.source, at.table, f"{at.key}.{name}").must("a table", inner)
    return _table(value, at)


def _table(value: object, at: _At) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        at.must("a table", value)
    return value


def _overrides(value: object, at: _At) -> tuple[Override, ...]:
    if not isinstance(value, list):
        at.must("an array of tables ([[tool.auditor.overrides]])", value)
    if len(value) > _MAX_ITEMS:
        at.refuse(f"has {len(value)} entries; at most {_MAX_ITEMS} are read")
    return tuple(_override(entry, at) for entry in value)


def _override(entry: object, at: _At) -> Override:
    read = _read(_table(entry, at), at.source, _OVERRIDE_KEYS, "[[tool.auditor.overrides]] of " + at.source.name)
    if "files" not in read:
        at.refuse("has an entry without `files`; add the globs it holds for")
    return Override(**read)


def _severities(value: object, at: _At) -> Mapping[str, Severity]:
    words = [severity.word for severity in Severity]
    where = f"`{at.key}` in {at.table}"
    return {name: Severity[_word(_text(word, at), words, where).upper()] for name, word in _table(value, at).items()}


_Reader = Callable[[Any, _At], Any]
_KEYS: Mapping[str, _Reader] = {
    "extend": _text,
    "exclude": _globs,
    "gate": _gate,
    "require-reasons": _boolean,
    "select": _texts,
    "ignore": _texts,
    "baseline": _inside,
    "max-file-size": _size,
    "allow-partial": _partial,
    "rules": _tables,
    "models": _table,
    "overrides": _overrides,
    "orders": lambda value, at: _read(_table(value, at), at.source, _ORDER_KEYS, at.source.table(".orders")),
    "paths": lambda value, at: _read(_table(value, at), at.source, _PATH_KEYS, at.source.table(".paths")),
    "tools": lambda value, at: _read(_table(value, at), at.source, _TOOL_KEYS, at.source.table(".tools")),
}
_PATH_KEYS: Mapping[str, _Reader] = {"tests": _globs, "scripts": _globs}
_TOOL_KEYS: Mapping[str, _Reader] = {"mode": _mode}
_ORDER_KEYS: Mapping[str, _Reader] = {"require": _order_checks}
_OVERRIDE_KEYS: Mapping[str, _Reader] = {"files": _globs, "ignore": _texts, "severity": _severities, "reason": _text}


def _read(table: Mapping[str, Any], source: _Source, keys: Mapping[str, _Reader], where: str) -> dict[str, Any]:
    read = {}
    for key, value in table.items():
        if key not in keys:
            message = f"unknown key `{shown(key)}` in {where}{_meant(key, keys)}"
            raise ConfigError(message)
        read[key] = keys[key](value, _At(source, where, key))
    return read


# --- finding and joining the sources -------------------------------------------------------------------------------


def read_regular(path: Path) -> str | None:
    """The text of a regular file, None if there is none. Raises ConfigError: link, device, over 1 MB, not UTF-8."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error.strerror or "cannot be opened") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _unreadable(path, "not a regular file")
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise _unreadable(path, f"larger than {_MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"not UTF-8 at byte {error.start}") from None


def _unreadable(path: Path, reason: str) -> ConfigError:
    name = shown(path.name)
    return ConfigError(f"{name} is not read: {reason}; mend it, or pass --isolated to go without project files")


def _auditor_table(text: str, name: str) -> Mapping[str, Any] | None:
    """The table [tool.auditor], None if the file has none. The parser's words are dropped: they can quote the file."""
    if "auditor" not in text:
        return None
    try:
        tool = tomllib.loads(text).get("tool")
    except (ValueError, RecursionError) as error:
        place = re.search(r"\(at [^()]{1,60}\)$", str(error))
        message = f"{name} is not valid TOML {place.group() if place else '(position unknown)'}"
        raise ConfigError(message) from None
    if not isinstance(tool, dict) or "auditor" not in tool:
        return None
    if not isinstance(tool["auditor"], dict):
        _At(_Source(name), f"[tool] of {name}", "auditor").must("a table", tool["auditor"])
    return tool["auditor"]


def git_root(start: Path) -> Path | None:
    """The nearest folder at or above `start` with a `.git`."""
    return next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), None)


_Read = Callable[[Path], str | None]


def load(
    paths: Sequence[Path],
    *,
    config_file: Path | None = None,
    isolated: bool = False,
    options: Mapping[str, Any] = _NOTHING,
    read: _Read = read_regular,
) -> Config:
    """The effective configuration for `paths` (the working directory if there are none).

    The root is the folder of the nearest project file with [tool.auditor] at or above the first path, else the git
    root, else the first path. `isolated` looks at no project file. `options` are the values of the command line under
    the keys of the table. `read` gives the text of a project file (`--config-from` reads them from a commit).
    Raises ConfigError.
    """
    first = Path(os.path.realpath(paths[0] if paths else "."))
    start = first if first.is_dir() else first.parent
    project = None if isolated else _nearest(start, read)
    root = project.parent if project else git_root(start) or start
    layers: list[tuple[_Source, Mapping[str, Any]]] = []
    if project:
        layers += _chain(project, root, read)
    if config_file is not None:
        layers.append(_given(config_file, root))
    layers.append((_Source("the command line", trusted=True), options))
    return _join(root, layers)


def _nearest(start: Path, read: _Read) -> Path | None:
    for folder in (start, *start.parents):
        text = read(folder / PROJECT_FILE)
        if text is not None and _auditor_table(text, PROJECT_FILE) is not None:
            return folder / PROJECT_FILE
    return None


def _chain(project: Path, root: Path, read: _Read) -> list[tuple[_Source, Mapping[str, Any]]]:
    """The project file and what it extends, weakest first. `extend` stays inside of the repository (the git root, else
    the root) and names project files only: it must not become a way to read other files."""
    bound = git_root(root) or root
    layers: list[tuple[_Source, Mapping[str, Any]]] = []
    seen: list[Path] = []
    file: Path | None = project
    while file is not None:
        name = Path(os.path.relpath(file, root)).as_posix()
        text = read(file)
        table = None if text is None else _auditor_table(text, name)
        if table is None:
            message = f"`extend` names {shown(name)}, which has no [tool.auditor] table"
            raise ConfigError(message)
        inside = root != file.parent and root.is_relative_to(file.parent)
        source = _Source(name, prefix=root.relative_to(file.parent).as_posix() if inside else "")
        layers.insert(0, (source, table))
        seen.append(file)
        file = _extended(table, file, bound, _At(source, source.table(), "extend"))
        if file in seen or len(seen) > _MAX_EXTENDS:
            message = f"`extend` in [tool.auditor] of {name} leads in a circle, or over more than {_MAX_EXTENDS} files"
            raise ConfigError(message)
    return layers


def _extended(table: Mapping[str, Any], file: Path, bound: Path, at: _At) -> Path | None:
    if "extend" not in table:
        return None
    target = Path(os.path.normpath(file.parent / _text(table["extend"], at).replace("\0", "?")))
    real = Path(os.path.realpath(target.parent)) / target.name
    if real.name != PROJECT_FILE or not real.is_relative_to(bound):
        at.refuse(f"must name a {PROJECT_FILE} inside of the repository")
    if not file.parent.is_relative_to(real.parent):
        at.refuse(f"must name a {PROJECT_FILE} of a folder above: its globs are relative to that folder")
    return real


def _given(file: Path, root: Path) -> tuple[_Source, Mapping[str, Any]]:
    """A `--config` file; its globs are relative to the root. Only outside of the audited tree is it trusted."""
    name = shown(str(file))
    real = Path(os.path.realpath(file))
    text = read_regular(real)
    table = None if text is None else _auditor_table(text, name)
    if table is None:
        message = f"--config {name}: there is no such file, or it has no [tool.auditor] table"
        raise ConfigError(message)
    source = _Source(name, trusted=not real.is_relative_to(root))
    if "extend" in table:
        _At(source, source.table(), "extend").refuse("is read in project files only")
    return source, table


def _join(root: Path, layers: Sequence[tuple[_Source, Mapping[str, Any]]]) -> Config:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source, table in layers:
        for key, value in _flat(_read(table, source, _KEYS, source.table())):
            if key == "overrides":
                values[key] = (*values.get(key, ()), *value)
            elif key in ("rules", "models"):
                values[key] = _deepen(values.get(key, {}), value)
            else:
                values[key] = value
            origins[key] = source.name
    names = {"paths.tests": "tests", "paths.scripts": "scripts", "orders.require": "order_checks"}
    arguments = {names.get(key, key.replace("-", "_").replace(".", "_")): value for key, value in values.items()}
    return Config(root=root, origins=origins, **arguments)


def _flat(read: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in read.items():
        if key in ("paths", "tools", "orders"):
            yield from ((f"{key}.{inner}", item) for inner, item in value.items())
        elif key != "extend":
            yield key, value


def _deepen(weak: Mapping[str, Any], strong: Mapping[str, Any]) -> dict[str, Any]:
    """One table over the other, key by key; the values of equal keys merge too where both are tables."""
    return {
        **weak,
        **{
            key: {**weak[key], **value} if isinstance(value, dict) and isinstance(weak.get(key), dict) else value
            for key, value in strong.items()
        },
    }


# --- against the rules ---------------------------------------------------------------------------------------------


def validate_rules(config: Config, known: Mapping[str, Mapping[str, Any]], chapters: Iterable[str]) -> None:
    """Check every rule and option that the configuration names. `known` has the declared options (name -> default) of
    each rule, the notices of the audit among them. Raises ConfigError."""
    names = frozenset(known) | frozenset(chapters) | {"all", "external"}
    named = [("select", config.select), ("ignore", config.ignore)]
    named += [("overrides", (*entry.ignore, *entry.severity)) for entry in config.overrides]
    for key, listed in named:
        where = f"`{key}` of {config.origins.get(key, 'the defaults')}"
        for name in listed:
            if name not in names and not EXTERNAL.fullmatch(name):
                message = f"unknown rule or chapter `{shown(name)}` in {where}{_meant(name, names)}"
                raise ConfigError(message)
            if name in UNMUTABLE and key != "select":
                message = f"`{name}` in {where} cannot be muted: it says what was lost; `exclude` the file instead"
                raise ConfigError(message)
    source = config.origins.get("rules", "the defaults")
    for rule, given in config.rules.items():
        where = f"[tool.auditor.rules] of {source}"
        if rule not in known:
            message = f"unknown rule `{shown(rule)}` in {where}{_meant(rule, known)}"
            raise ConfigError(message)
        _check_options(rule, given, known[rule], source)


def _check_options(rule: str, given: Mapping[str, Any], declared: Mapping[str, Any], source: str) -> None:
    where = f"[tool.auditor.rules.{rule}] of {source}"
    defaults = {_option(name): default for name, default in declared.items()}
    for name, value in given.items():
        if _option(name) not in defaults:
            message = f"unknown option `{shown(name)}` in {where}{_meant(name, defaults)}"
            raise ConfigError(message)
        expected = _expected(defaults[_option(name)], value)
        if expected:
            _At(_Source(source), where, name).must(expected, value)


def _expected(default: object, value: object) -> str:
    """What the option should have been, by the type of its default; empty if the value will do."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match default:
        case bool():
            good, expected = isinstance(value, bool), "a boolean"
        case int():
            good, expected = number and isinstance(value, int), "an integer"
        case float():
            good, expected = number, "a number"
        case str():
            good, expected = isinstance(value, str), "a string"
        case list() | tuple() | frozenset():
            item: object = next(iter(default), "")
            good = isinstance(value, list) and not any(_expected(item, given) for given in value)
            expected = f"a list of {'strings' if isinstance(item, str) else 'numbers'}"
        case _:
            good, expected = isinstance(value, dict), "a table"
    return "" if good else expected
