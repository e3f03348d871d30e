"""`--since REV`: what is new against an earlier commit, by content and not by changed lines.

The base tree is read into memory and examined like the work tree; a finding is new if no finding of the base absorbs it,
each one at most one (the matching of the baseline). A new finding on an unchanged line is told together with the change
that brought it about.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from auditor.config import Config, ConfigError, load, shown
from auditor.examine import Examined
from auditor.finding import Finding, Step, Suppression
from auditor.source import commit, git
from auditor.source.discover import SHEBANG, SUFFIXES
from auditor.source.globs import Patterns
from auditor.triage import baseline as baselines
from auditor.triage.changes import Changes, Place
from auditor.triage.identity import Identity

REGULAR = ("100644", "100755")
LONGEST_MESSAGE = 300
MOST_CHANGES = 100  # sentences about configuration and suppressions
DEEPER = "fetch the whole history first (actions/checkout: fetch-depth: 0; GitLab: GIT_DEPTH: 0; git fetch --unshallow)"


class SinceError(ValueError):
    """The base cannot be read: exit status 2. The text names the revision, the reason and the mend."""


@dataclass(frozen=True, slots=True)
class Base:
    """The tree that "new" is measured against: `commit` is the merge base of `revision` and HEAD, `data` maps paths
    relative to the root to contents, `renames` old paths to new ones, `notes` say how muting has changed since."""

    revision: str
    commit: str
    data: Mapping[str, bytes]
    renames: Mapping[str, str]
    notes: tuple[str, ...]


def read(config: Config, revision: str, starts: Sequence[str], now: Mapping[str, bytes]) -> Base:
    """The base, by git and into memory only. `starts` are the paths of the command line, `now` the files of the work
    tree. Raises SinceError."""
    root = str(config.root)
    try:
        name = _base(root, revision)
        wanted = list(_wanted(root, commit.tree(root, name), config, starts))
        contents = commit.blobs(root, wanted)
        data = {file.path: contents[file.blob] for file in sorted(wanted)}
        data = {path: content for path, content in data.items() if path.endswith(SUFFIXES) or SHEBANG.match(content)}
        renames = _moved(data, now) | commit.renames(root, name, "HEAD")
        notes = tuple(_config_changes(config.root, name))
    except git.GitError as error:
        _refuse(revision, str(error))
    return Base(revision, name, data, renames, notes)


def _base(root: str, revision: str) -> str:
    if not git.inside_work_tree(root):
        _refuse(revision, "the audited folder is no git repository; run it in a clone")
    head = commit.commit_of(root, "HEAD")
    if head is None:
        _refuse(revision, "HEAD has no commit yet; commit once, or leave --since out")
    other = commit.commit_of(root, revision)
    found = None if other is None else commit.merge_base(root, other, head)
    if found is None:
        reason = "no such commit here" if other is None else "it has no common ancestor with HEAD here"
        if commit.is_shallow(root):
            _refuse(revision, f"{reason}, and this clone is shallow; {DEEPER}")
        _refuse(revision, f"{reason}; name a commit, branch or tag of this clone, or fetch it first")
    return found


def _refuse(revision: str, reason: str) -> NoReturn:
    message = f"--since {shown(revision)}: {reason}"
    raise SinceError(message)


def _wanted(
    root: str, files: Iterable[commit.TreeFile], config: Config, starts: Sequence[str]
) -> Iterator[commit.TreeFile]:
    """The files that discovery would take if they were in the work tree: what git tracks is analysed."""
    exclude = Patterns(config.exclude)
    below = [Path(start).resolve() for start in starts]
    for file in files:
        name = file.path.rpartition("/")[2]
        if file.mode not in REGULAR or file.size > config.max_file_size:
            continue
        if not name.endswith(SUFFIXES) and "." in name or exclude.excluding(file.path) is not None:
            continue
        if not below or any((Path(root) / file.path).is_relative_to(start) for start in below):
            yield file


def _moved(before: Mapping[str, bytes], now: Mapping[str, bytes]) -> dict[str, str]:
    """Files whose path has gone and whose content is at a new path, where both are told apart by it."""
    gone: dict[bytes, list[str]] = {}
    come: dict[bytes, list[str]] = {}
    for one, other, found in ((before, now, gone), (now, before, come)):
        for path in sorted(one.keys() - other.keys()):
            found.setdefault(one[path], []).append(path)
    return {
        paths[0]: come[content][0]
        for content, paths in gone.items()
        if content and len(paths) == 1 and len(come.get(content, ())) == 1
    }


# --- what is new ---------------------------------------------------------------------------------------------------


def compare(
    base: Base, before: Examined, now: Examined, *, anchor: str = "caller"
) -> tuple[tuple[Identity, ...], dict[str, Any]]:
    """The findings of `now`, those that the base has in state `baselined`, new ones with the change that brought them
    about; and section `coverage.since` of the report. `anchor` is `caller`, or `diff` to report at that change."""
    reason = f"existed at commit {base.commit[:12]}"
    entries = [baselines.entry_of(i, reason) for i in before.identified if i.finding.state == "new"]
    today = datetime.datetime.now(datetime.UTC).date()
    present = baselines.Now(today, complete=not now.analysis.losses, renames=base.renames, ran=now.ran)
    matching = baselines.match(now.identified, entries, present)
    old = {identity.finding.id for _, identity in matching.pairs}
    changes = Changes(before.analysis.texts, now.analysis.texts, base.renames, now.statements.of)
    marked = tuple(replace(i, finding=_told(i.finding, old, changes, base.revision, anchor)) for i in now.identified)
    return marked, {
        "rev": base.revision,
        "commit": base.commit,
        "config_changes": [*base.notes, *_suppression_changes(before.suppressions, now.suppressions)][:MOST_CHANGES],
        "fixed": [
            {"rule": e.rule, "path": e.path, "symbol": e.symbol, "severity": e.severity, "message": e.message}
            for e in matching.stale
        ],
        "lost": [
            *(f"{run.name} {run.status} on the base" for run in before.runs if run.status not in ("complete", "off")),
            *(f"{loss.path} ({loss.reason}) of the base" for loss in before.analysis.losses),
            *(f"rule {rule} raised on the base" for rule, _, _ in before.analysis.errors),
        ],
    }


def _told(finding: Finding, old: set[str], changes: Changes, revision: str, anchor: str) -> Finding:
    if finding.state != "new":
        return finding
    if finding.id in old:
        return finding.with_(state="baselined")
    found = changes.behind(finding)
    if found is None or finding.chapter == "auditor":
        return finding
    place, rank, is_step = found
    told = _suffixed(finding, f"introduced by {place.path}:{place.line}")
    if not is_step and finding.proof:
        race = finding.proof[rank].note[:4]
        note = f"changed since {revision}"
        step = Step(place.path, place.line, 1, f"{race}{note}" if race in ("[A] ", "[B] ") else note)
        told = told.with_(proof=(*finding.proof[:rank], step, *finding.proof[rank:]))
    return told if anchor == "caller" else _moved_to(told, finding, place, changes)


def _suffixed(finding: Finding, words: str) -> Finding:
    message = finding.message
    if len(message) + len(words) + 2 > LONGEST_MESSAGE:
        message = message[: LONGEST_MESSAGE - len(words) - 5] + "..."
    return finding.with_(message=f"{message}; {words}")


def _moved_to(told: Finding, finding: Finding, place: Place, changes: Changes) -> Finding:
    """The finding at the change, as an alert in the diff of a pull request needs it; the caller is told instead."""
    first, last = changes.columns(place)
    return _suffixed(finding, f"seen from {finding.path}:{finding.line}").with_(
        path=place.path, line=place.line, column=first, end_line=place.line, end_column=last, proof=told.proof
    )


# --- how muting has changed ----------------------------------------------------------------------------------------


def _config_changes(root: Path, name: str) -> Iterator[str]:
    """Sentences about keys of [tool.auditor] and entries of the baseline that are not what they were."""

    def at_base(path: Path) -> str | None:
        return _text(str(root), name, path)

    try:
        then = load([root], read=at_base)
    except ConfigError as error:
        yield f"the configuration of the base cannot be read: {error}"
        return
    now = load([root])
    for key in (f.name for f in fields(Config) if f.name not in ("root", "origins")):
        one, other = getattr(then, key), getattr(now, key)
        if one != other:
            yield f"{key.replace('_', '-')}: {_difference(one, other)}"
    yield from _baseline_changes(root, now.baseline or then.baseline, at_base)


def _text(root: str, name: str, path: Path) -> str | None:
    try:
        inside = path.relative_to(root).as_posix()
        return git.show(root, name, f"./{inside}").decode("utf-8-sig", "replace")
    except (ValueError, git.GitError):
        return None


def _difference(one: object, other: object) -> str:
    if isinstance(one, tuple) and isinstance(other, tuple):
        gone, come = ([x for x in a if x not in b] for a, b in ((one, other), (other, one)))
        parts = [f"added {_plain(x)}" for x in come] + [f"removed {_plain(x)}" for x in gone]
        return _cut(", ".join(parts) or "in another order")
    return _cut(f"{_plain(one)} became {_plain(other)}")


def _plain(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str, ensure_ascii=True)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 3] + "..."


def _baseline_changes(root: Path, name: str | None, at_base: Callable[[Path], str | None]) -> Iterator[str]:
    if name is None:
        return
    text, path = at_base(root / name), root / name
    try:
        then = Counter(entry.key for entry in (baselines.parse(text, name).entries if text else ()))
        now = Counter(entry.key for entry in (baselines.read(path).entries if path.exists() else ()))
    except baselines.BaselineError:
        return  # the run itself reads the file and refuses it with its reason
    added, removed = (now - then).total(), (then - now).total()
    if added or removed:
        yield f"baseline {name}: {added} entries added, {removed} removed"


def _suppression_changes(before: Sequence[Suppression], now: Sequence[Suppression]) -> Iterator[str]:
    def keys(listed: Sequence[Suppression]) -> Counter[tuple[str, str, str]]:
        return Counter((s.path, ", ".join(s.rules), s.reason) for s in listed)

    one, other = keys(before), keys(now)
    for word, difference in (("added", other - one), ("removed", one - other)):
        for (path, rules, reason), count in sorted(difference.items()):
            times = f" ({count} times)" if count > 1 else ""
            yield _cut(f"suppression of {rules} {word} in {path}{times}: {reason or 'no reason'}")
