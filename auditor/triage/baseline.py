"""The baseline: findings that were there before, so that only what is new speaks (`workflow.md`, section 6).

Pure functions over identities and entries, and the reading and writing of the file. One entry absorbs at most one
finding, and nothing is absorbed by being similar to many: a second defect beside an old one is new. The file is
hostile text when it comes from the audited tree: an entry whose key does not follow from its visible fields is an
error, so that a reviewer reads what is matched.
"""

from __future__ import annotations

import datetime
import difflib
import json
import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from auditor.finding import Finding, Severity
from auditor.triage.identity import Identity, key
from auditor.triage.notices import AUDITOR_ERROR, UNPARSABLE_FILE
from auditor.triage.suppress import is_reason

SCHEMA = "auditor-baseline/1"
SIMILAR = 0.8
MAX_BYTES = 50_000_000
_MAX_TOKENS = 300  # of an anchor that are compared
_MAX_STEPS = 100_000  # of one alignment; beyond, equal lines are paired first and the rest in order
_MAX_COMPARED = 20_000  # pairs of anchors; what is not compared is new
_WORDS = {severity.word: severity for severity in Severity}


class BaselineError(ValueError):
    """The baseline cannot be read, or must not be written. The text names the reason and the mend."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted finding. `line` and `message` inform; `anchor` and `sink` find it again after an edit; `expires` is
    an ISO date after which the entry no longer holds, or empty."""

    key: str
    rule: str
    path: str
    symbol: str
    line: int
    severity: str
    message: str
    reason: str = ""
    expires: str = ""
    anchor: str = ""
    sink: str = ""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The file: auditor version and commit that wrote it, entries in the one order."""

    version: str
    commit: str
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Matching:
    """`pairs` in the order of findings; `idle` are entries of rules that did not run on complete data."""

    pairs: tuple[tuple[Entry, Identity], ...]
    new: tuple[Identity, ...]
    stale: tuple[Entry, ...]
    expired: tuple[Entry, ...]
    idle: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Now:
    """What the present is like. `complete`: nothing was lost in the analysis. `renames`: old path -> new path (git, or
    equal content). `ran(rule)`: the rule ran on complete data, so that a missing finding is a mended one."""

    today: datetime.date
    complete: bool
    renames: Mapping[str, str] = field(default_factory=dict)
    ran: Callable[[str], bool] = lambda _rule: True


@dataclass(frozen=True, slots=True)
class Addition:
    """Findings to accept: those `chosen`, for this reason, until `expires`."""

    chosen: Callable[[Finding], bool]
    reason: str
    expires: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """The entries to write, and what is different: `moved` are (before, after), `refused` need a reason each."""

    entries: tuple[Entry, ...]
    added: tuple[Entry, ...] = ()
    removed: tuple[Entry, ...] = ()
    moved: tuple[tuple[Entry, Entry], ...] = ()
    refused: tuple[Finding, ...] = ()
    stale: tuple[Entry, ...] = ()


def _order(entry: Entry) -> tuple[object, ...]:
    grade = _WORDS[entry.severity]
    return (entry.path, entry.rule, entry.key, entry.line, grade, entry.message, entry.reason, entry.expires)


def needs_reason(finding: Finding) -> bool:
    """Critical findings, chapter security and unanalysed files are accepted one by one, each with a reason."""
    return finding.severity == Severity.CRITICAL or finding.chapter == "security" or finding.rule == UNPARSABLE_FILE


# --- matching ------------------------------------------------------------------------------------------------------


def match(identities: Iterable[Identity], entries: Iterable[Entry], now: Now) -> Matching:
    """Pair entries with open findings, in three phases: equal key; equal key but for the path of a renamed file; same
    rule, path, symbol and sink with an anchor that is similar. A finding graver than the entry is new."""
    findings = sorted(
        (identity for identity in identities if identity.finding.state in ("new", "baselined")), key=_finding_order
    )
    listed = sorted(entries, key=_order)
    live = [entry for entry in listed if not _is_expired(entry, now.today)]
    pairs: list[tuple[Entry, Identity]] = []
    phases = (
        lambda rest, left: _by_key(rest, left, lambda entry: entry.key),
        lambda rest, left: _by_key(rest, left, lambda entry: _renamed_key(entry, now.renames)),
        _by_similarity,
    )
    left_findings, left_entries = list(range(len(findings))), list(range(len(live)))
    for phase in phases:
        found = phase([(i, findings[i]) for i in left_findings], [(i, live[i]) for i in left_entries])
        pairs += [(live[entry], findings[finding]) for entry, finding in found]
        matched_entries = {entry for entry, _ in found}
        matched_findings = {finding for _, finding in found}
        left_entries = [index for index in left_entries if index not in matched_entries]
        left_findings = [index for index in left_findings if index not in matched_findings]
    left = [live[index] for index in left_entries]
    return Matching(
        pairs=tuple(sorted(pairs, key=lambda pair: _finding_order(pair[1]))),
        new=tuple(findings[index] for index in left_findings),
        stale=tuple(entry for entry in left if now.ran(entry.rule)),
        expired=tuple(entry for entry in listed if _is_expired(entry, now.today)),
        idle=tuple(entry for entry in left if not now.ran(entry.rule)),
    )


def mark(findings: Iterable[Finding], matching: Matching) -> tuple[Finding, ...]:
    """The findings, in order, with state `baselined` where an entry absorbed them."""
    absorbed = {identity.finding.id for _, identity in matching.pairs}
    return tuple(
        finding.with_(state="baselined") if finding.state == "new" and finding.id in absorbed else finding
        for finding in findings
    )


def entry_of(identity: Identity, reason: str, expires: str = "") -> Entry:
    """The entry that accepts a finding."""
    return _rewritten(Entry("", "", "", "", 0, "critical", "", reason, expires), identity)


def explain(entry: Entry, identities: Iterable[Identity], today: datetime.date) -> str:
    """Why an entry that matches nothing matches nothing, in one sentence."""
    if _is_expired(entry, today):
        return f"expired on {entry.expires}"
    where = entry.symbol or "the module body"
    conditions: tuple[tuple[Callable[[Identity], bool], str], ...] = (
        (
            lambda i: (i.finding.rule, i.finding.path) == (entry.rule, entry.path),
            f"{entry.rule} finds nothing in {entry.path} any more, or the file has gone",
        ),
        (
            lambda i: i.finding.symbol == entry.symbol,
            f"{entry.rule} finds nothing in {where} any more, or it was renamed",
        ),
        (lambda i: i.sink == entry.sink, f"the proof does not end at {entry.sink or 'the statement itself'} any more"),
        (lambda i: _similarity(i.anchor, entry.anchor) >= SIMILAR, "the statement has changed too much to be the same"),
        (lambda i: i.finding.state != "suppressed", "the finding is suppressed in the source"),
        (lambda i: i.finding.grade[0] <= _WORDS[entry.severity], f"the finding is graver now than {entry.severity}"),
        (lambda i: _may_absorb(entry, i.finding), "a finding of this kind is accepted with a reason only"),
    )
    left = list(identities)
    for holds, otherwise in conditions:
        left = [identity for identity in left if holds(identity)]
        if not left:
            return otherwise
    return "there are more entries than findings of this kind"


def _finding_order(identity: Identity) -> tuple[object, ...]:
    finding = identity.finding
    return (finding.path, finding.line, finding.column, finding.rule, identity.key, identity.occurrence, finding.id)


def _is_expired(entry: Entry, today: datetime.date) -> bool:
    return bool(entry.expires) and datetime.date.fromisoformat(entry.expires) < today


def _may_absorb(entry: Entry, finding: Finding) -> bool:
    """Never launders: what got graver is new, and what needs a reason is not absorbed without one."""
    if finding.rule == AUDITOR_ERROR or finding.grade[0] > _WORDS[entry.severity]:
        return False
    return is_reason(entry.reason) or not needs_reason(finding)


def _renamed_key(entry: Entry, renames: Mapping[str, str]) -> str:
    if entry.path not in renames:
        return ""
    return key(entry.rule, renames[entry.path], entry.symbol, entry.anchor, entry.sink)


_Findings = Sequence[tuple[int, Identity]]
_Entries = Sequence[tuple[int, Entry]]


def _by_key(findings: _Findings, entries: _Entries, key_of: Callable[[Entry], str]) -> list[tuple[int, int]]:
    """(entry, finding) pairs of equal key. Gravest findings first: what may absorb them may absorb milder ones too, so
    that no pair is lost."""
    wanted: defaultdict[str, list[tuple[int, Entry]]] = defaultdict(list)
    for index, entry in entries:
        wanted[key_of(entry)].append((index, entry))
    groups: defaultdict[tuple[int, str], list[tuple[int, Identity]]] = defaultdict(list)
    for index, identity in findings:
        if identity.key in wanted:
            groups[-identity.finding.grade[0], identity.key].append((index, identity))
    pairs = []
    for grade, digest in sorted(groups):
        # In the order of the entries, so that a second update pairs what the first has written.
        group = sorted(groups[grade, digest], key=lambda item: (item[1].finding.line, item[1].finding.message, item[0]))
        able = [(index, entry) for index, entry in wanted[digest] if _may_absorb(entry, group[0][1].finding)]
        chosen = _align(able, group)
        pairs += chosen
        taken = {entry for entry, _ in chosen}
        wanted[digest] = [(index, entry) for index, entry in wanted[digest] if index not in taken]
    return pairs


def _align(entries: _Entries, findings: _Findings) -> list[tuple[int, int]]:
    """Pair as many as there can be without crossing, so that the distances between neighbours stay: then it is the
    inserted (or mended) one that is left over. Both come sorted by line.

    Ties go to the nearer line, then to the entry that needs no rewriting: after an update all three costs of the same
    pairs are zero, so a second update changes nothing.
    """
    swapped = len(entries) > len(findings)
    few, surplus = min(len(entries), len(findings)), abs(len(entries) - len(findings))
    if surplus == 0:
        return [(entry, finding) for (entry, _), (finding, _) in zip(entries, findings, strict=True)]
    if few * (surplus + 1) ** 2 > _MAX_STEPS:
        return _align_plainly(entries, findings)

    def pair(i: int, j: int) -> tuple[tuple[int, Entry], tuple[int, Identity]]:
        return (entries[j], findings[i]) if swapped else (entries[i], findings[j])

    def offset(i: int, j: int) -> int:
        (_, entry), (_, identity) = pair(i, j)
        return identity.finding.line - entry.line

    def rewriting(i: int, j: int) -> int:
        (_, entry), (_, identity) = pair(i, j)
        return int(entry != _rewritten(entry, identity))

    # Number i of the shorter list is paired to number j of the longer. best[j - i]: cost of that, and the way there.
    best: list[tuple[tuple[int, int, int], tuple[int, ...]]] = []
    for i in range(few):
        row = []
        for j in range(i, i + surplus + 1):
            here = offset(i, j)
            options = [
                ((cost[0] + abs(here - offset(i - 1, before)), cost[1], cost[2]), way)
                for before, (cost, way) in enumerate(best[: j - i + 1], start=i - 1)
            ] or [((0, 0, 0), ())]
            cost, way = min(options)
            row.append(((cost[0], cost[1] + abs(here), cost[2] + rewriting(i, j)), (*way, j)))
        best = row
    pairs = (pair(i, j) for i, j in enumerate(min(best)[1] if best else ()))
    return [(entry, finding) for (entry, _), (finding, _) in pairs]


def _align_plainly(entries: _Entries, findings: _Findings) -> list[tuple[int, int]]:
    """Hundreds of equal statements: equal lines first, the rest in order."""
    at: defaultdict[int, list[int]] = defaultdict(list)
    for index, entry in reversed(entries):
        at[entry.line].append(index)
    pairs = [(at[i.finding.line].pop(), index) for index, i in findings if at.get(i.finding.line)]
    taken_entries, taken_findings = {e for e, _ in pairs}, {f for _, f in pairs}
    rest_entries = [index for index, _ in entries if index not in taken_entries]
    rest_findings = [index for index, _ in findings if index not in taken_findings]
    return pairs + list(zip(rest_entries, rest_findings, strict=False))


def _by_similarity(findings: _Findings, entries: _Entries) -> list[tuple[int, int]]:
    """The most similar pairs first, each entry and each finding once."""
    groups: defaultdict[tuple[str, str, str, str], list[tuple[int, Entry]]] = defaultdict(list)
    for index, entry in entries:
        groups[entry.rule, entry.path, entry.symbol, entry.sink].append((index, entry))
    scored = []
    compared = 0
    for at, identity in findings:
        finding = identity.finding
        for index, entry in groups.get((finding.rule, finding.path, finding.symbol, identity.sink), ()):
            if compared < _MAX_COMPARED and _may_absorb(entry, finding):
                compared += 1
                score = _similarity(identity.anchor, entry.anchor)
                if score >= SIMILAR:
                    scored.append((-score, at, index))
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, at, index in sorted(scored):
        if index not in pairs and at not in taken:
            pairs[index] = at
            taken.add(at)
    return sorted(pairs.items())


def _similarity(one: str, other: str) -> float:
    """Share of tokens that both anchors have in the same order: 1 for equal anchors, 0 for nothing in common."""
    first, second = one.split(" ")[:_MAX_TOKENS], other.split(" ")[:_MAX_TOKENS]
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    if matcher.real_quick_ratio() < SIMILAR or matcher.quick_ratio() < SIMILAR:
        return 0.0
    return matcher.ratio()


# --- changes -------------------------------------------------------------------------------------------------------


def create(identities: Iterable[Identity], *, complete: bool, exists: bool) -> Change:
    """A first baseline of all open findings, but those that need a reason each. Raises BaselineError."""
    if exists:
        _refuse("there is a baseline already; use `auditor baseline update`, or remove the file first")
    _demand_complete(complete)
    return _add((), [i for i in identities if i.finding.state == "new"], "", "")


def update(
    identities: Iterable[Identity],
    entries: Iterable[Entry],
    now: Now,
    *,
    prune: bool = False,
    addition: Addition | None = None,
) -> Change:
    """Rewrite entries that moved; with `prune` leave out stale and expired ones; add only what `addition` chooses.
    Raises BaselineError if the analysis is incomplete (a lost file would look mended) or a reason is missing."""
    _demand_complete(now.complete)
    if addition is not None and not is_reason(addition.reason):
        _refuse("adding to the baseline needs --reason with words that say why the findings are accepted")
    matching = match(identities, entries, now)
    moved = [(entry, _rewritten(entry, identity)) for entry, identity in matching.pairs]
    gone = (*matching.stale, *matching.expired)
    kept = (*(after for _, after in moved), *matching.idle, *(() if prune else gone))
    change = Change(kept)
    if addition is not None:
        chosen = [identity for identity in matching.new if addition.chosen(identity.finding)]
        change = _add(kept, chosen, addition.reason, addition.expires)
    return replace(
        change,
        entries=tuple(sorted(change.entries, key=_order)),
        removed=gone if prune else (),
        moved=tuple((before, after) for before, after in moved if before != after),
        stale=() if prune else matching.stale,
    )


def _add(kept: tuple[Entry, ...], chosen: Sequence[Identity], reason: str, expires: str) -> Change:
    """`kept` and an entry for each finding chosen, but those that must not be accepted without a reason."""
    if expires:
        _date(expires, "--expires")
    added, refused = [], []
    for identity in chosen:
        entry = Entry("", "", "", "", 0, "critical", "", reason, expires)
        if _may_absorb(entry, identity.finding):
            added.append(_rewritten(entry, identity))
        else:
            refused.append(identity.finding)
    entries = tuple(sorted((*kept, *added), key=_order))
    return Change(entries, added=tuple(sorted(added, key=_order)), refused=tuple(refused))


def _rewritten(entry: Entry, identity: Identity) -> Entry:
    """The entry as of today. Its severity follows the finding, which is never graver: it may only shrink."""
    finding = identity.finding
    return replace(
        entry,
        key=identity.key,
        rule=finding.rule,
        path=finding.path,
        symbol=finding.symbol,
        line=finding.line,
        severity=finding.grade[0].word,
        message=finding.message,
        anchor=identity.anchor,
        sink=identity.sink,
    )


def _demand_complete(complete: bool) -> None:
    if not complete:
        _refuse("the analysis is incomplete: what was lost would look mended; the baseline is not written")


def _refuse(message: str) -> NoReturn:
    raise BaselineError(message)


# --- the file ------------------------------------------------------------------------------------------------------


def render(baseline: Baseline) -> str:
    """JSON lines: a header, then one line per entry in the order (path, rule, key), so that merges keep both sides."""
    header = {"schema": SCHEMA, "version": baseline.version, "commit": baseline.commit}
    records = [
        {f.name: getattr(entry, f.name) for f in fields(Entry)} for entry in sorted(baseline.entries, key=_order)
    ]
    return "".join(json.dumps(record, ensure_ascii=True) + "\n" for record in (header, *records))


def parse(text: str, name: str) -> Baseline:
    """The baseline in `text`; `name` is for errors. Lines of a merge may stand in any order, also a second header.
    Raises BaselineError."""
    header: Mapping[str, Any] | None = None
    entries = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        record = _record(line, f"{name}, line {number}")
        if "schema" in record:
            header = header or _header(record, f"{name}, line {number}")
        else:
            entries.append(_entry(record, f"{name}, line {number}"))
    if header is None:
        _refuse(f"{name} has no header line with a schema; write it with `auditor baseline create`")
    return Baseline(header["version"], header["commit"], tuple(sorted(entries, key=_order)))


def _record(line: str, where: str) -> Mapping[str, Any]:
    if re.match(r"<{7}|={7}|>{7}|\|{7}", line):
        _refuse(f"{where}: marker of a merge conflict; keep the entries of both sides and remove the markers")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        _refuse(f"{where}: no JSON object; restore the line, or remove it and run `auditor baseline update`")
    return record


def _header(record: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    if record["schema"] != SCHEMA:
        _refuse(f"{where}: unknown schema; this auditor reads {SCHEMA}")
    return {name: _value(record, name, where) for name in ("version", "commit")}


def _entry(record: Mapping[str, Any], where: str) -> Entry:
    names = [f.name for f in fields(Entry)]
    unknown = sorted(set(record) - set(names))
    if unknown:
        _refuse(f"{where}: unknown field {unknown[0][:40]!a}; known: {', '.join(names)}")
    values = {name: _value(record, name, where) for name in names if name != "line"}
    line = record.get("line")
    if not isinstance(line, int) or isinstance(line, bool) or not 0 <= line < 1 << 31:
        _refuse(f"{where}: `line` must be an integer")
    entry = Entry(line=line, **values)
    if entry.severity not in _WORDS:
        _refuse(f"{where}: `severity` must be one of {', '.join(_WORDS)}")
    if entry.expires:
        _date(entry.expires, where)
    if entry.key != key(entry.rule, entry.path, entry.symbol, entry.anchor, entry.sink):
        _refuse(f"{where}: the key does not belong to the fields beside it; restore the line, or remove it")
    return entry


def _value(record: Mapping[str, Any], name: str, where: str) -> str:
    value = record.get(name, "")
    if not isinstance(value, str):
        _refuse(f"{where}: `{name}` must be a string")
    return value


def _date(text: str, where: str) -> None:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        _refuse(f"{where}: {text[:20]!a} is no date; write YYYY-MM-DD")


def read(path: Path) -> Baseline:
    """The baseline file. Raises BaselineError if it is missing, no regular file, too large or not understood."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        _refuse(f"baseline {path.name} cannot be opened: {error.strerror}")
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            _refuse(f"baseline {path.name} is not a regular file")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        _refuse(f"baseline {path.name} is larger than {MAX_BYTES} bytes")
    try:
        return parse(data.decode("utf-8"), path.name)
    except UnicodeDecodeError:
        _refuse(f"baseline {path.name} is not UTF-8")


def write(path: Path, baseline: Baseline) -> None:
    """Write all or nothing: a temporary file beside it, fsync, replace. A symbolic link is replaced, not followed.
    Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.auditor-tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(render(baseline).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        if path.is_file() and not path.is_symlink():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
