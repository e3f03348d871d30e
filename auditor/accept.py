"""`auditor baseline`: accept the findings of today, keep the file up to date, and say what each entry stands for now.

Takes the request of a run without baseline, gives text for the terminal; writes the baseline file and nothing else.
"""

from __future__ import annotations

import datetime
import difflib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from auditor import __version__, pipeline
from auditor.config import ConfigError, shown
from auditor.finding import Finding
from auditor.pipeline import USUAL_BASELINE, Outcome, Request
from auditor.report.escape import terminal
from auditor.triage import baseline as baselines
from auditor.triage.baseline import Addition, Baseline, BaselineError, Change, Entry, Matching, Now
from auditor.triage.identity import Identity

MOST_LINES = 200  # of findings or entries that are listed one by one


def create(request: Request, name: str) -> str:
    """Accept all open findings but those that need a reason each, and write the file (relative to the root, or absolute).
    Raises BaselineError if the file exists or the analysis is incomplete, ConfigError if it cannot be written."""
    path = _path(request, name)
    exists = os.path.lexists(path)
    if exists:
        baselines.create((), complete=True, exists=True)  # refuses before the long work
    outcome = pipeline.run(request)
    change = baselines.create(outcome.identities, complete=_complete(outcome), exists=exists)
    _write(path, Baseline(__version__, outcome.audit.coverage.commit or "", change.entries), name)
    lines = [f"wrote {name}: {_number(len(change.added), 'finding')} accepted"]
    lines += _refused(change.refused)
    if name not in (USUAL_BASELINE, request.config.baseline):
        lines.append(f'to use it, set baseline = "{name}" in [tool.auditor], or pass --baseline {name}')
    return _text(lines)


def update(
    request: Request,
    name: str,
    *,
    prune: bool = False,
    add: bool = False,
    rule: str | None = None,
    under: str | None = None,
    reason: str = "",
    expires: str = "",
) -> str:
    """Rewrite entries that moved; with `prune` remove those whose finding has gone; with `add` accept new findings (of a
    `rule`, `under` a path) for a `reason`, until `expires`. What the run did not look at stays as it is.
    Raises BaselineError, ConfigError."""
    if not add and (rule or under or reason or expires):
        message = "--rule, --path, --reason and --expires say what --add accepts; write --add too"
        raise BaselineError(message)
    path = _path(request, name)
    old = baselines.read(path)
    inside_of = _folder(under, request)
    addition = Addition(lambda finding: _is_meant(finding, rule, inside_of), reason, expires) if add else None
    baselines.update((), (), Now(_today(), complete=True), addition=addition)  # a bad reason or date costs no long work
    outcome = pipeline.run(request)
    if rule is not None:
        _check_rule(rule, outcome)
    inside = [entry for entry in old.entries if pipeline.in_scope(entry.path, request)]
    outside = [entry for entry in old.entries if not pipeline.in_scope(entry.path, request)]
    change = baselines.update(outcome.identities, inside, _now(outcome), prune=prune, addition=addition)
    entries = (*outside, *change.entries)
    is_changed = Counter(entries) != Counter(old.entries)
    if is_changed:
        _write(path, Baseline(__version__, outcome.audit.coverage.commit or "", entries), name)
    return _text(_told(name, change, is_changed, len(entries), add))


def show(request: Request, name: str) -> list[str]:
    """One line for each entry: what it stands for now, or why it stands for nothing. Raises BaselineError."""
    old = baselines.read(_path(request, name))
    outcome = pipeline.run(request)
    inside = [entry for entry in old.entries if pipeline.in_scope(entry.path, request)]
    now = _now(outcome)
    matching = baselines.match(outcome.identities, inside, now)
    states = _states(matching, outcome.identities, now)
    lines = [_shown(entry, states) for entry in old.entries]
    counts = (
        f"{len(matching.pairs)} found", f"{len(matching.stale)} stale", f"{len(matching.expired)} expired",
        f"{len(old.entries) - len(matching.pairs) - len(matching.stale) - len(matching.expired)} not looked at",
    )  # fmt: skip
    lines.append(f"{name}: {_number(len(old.entries), 'entry', 'entries')}: {', '.join(counts)}")
    return [terminal(line) for line in lines]


def _states(matching: Matching, identities: Sequence[Identity], now: Now) -> dict[Entry, list[str]]:
    """What to say of each entry; equal entries have one sentence each."""
    states: dict[Entry, list[str]] = {}
    for entry, identity in matching.pairs:
        finding = identity.finding
        where = "" if (finding.path, finding.line) == (entry.path, entry.line) else f", now {_place(finding)}"
        states.setdefault(entry, []).append(f"found{where}")
    for entry in matching.stale:
        states.setdefault(entry, []).append(f"stale: {baselines.explain(entry, identities, now.today)}")
    for entry in matching.expired:
        states.setdefault(entry, []).append(baselines.explain(entry, identities, now.today))
    for entry in matching.idle:
        states.setdefault(entry, []).append(f"not looked at: {entry.rule} did not run on complete data, or is not selected")
    return states


def _shown(entry: Entry, states: dict[Entry, list[str]]) -> str:
    left = states.get(entry)
    state = left.pop(0) if left else "not looked at: it is outside of the paths"
    until = f", until {entry.expires}" if entry.expires else ""
    why = f" -- {entry.reason}" if entry.reason else ""
    return f"{entry.path}:{entry.line}: {entry.severity} [{entry.rule}] {state}{until}{why}"


def _told(name: str, change: Change, is_written: bool, count: int, add: bool) -> Iterator[str]:
    """What an update has done."""
    yield f"{'wrote' if is_written else 'nothing to write:'} {name}: {_number(count, 'entry', 'entries')}"
    for word, entries in (
        ("added", change.added),
        ("removed", change.removed),
        ("moved", [after for _, after in change.moved]),
    ):
        yield from _listed(f"{word} {{}}", [f"{e.path}:{e.line}: {e.severity} [{e.rule}] {e.message}" for e in entries])
    if add and not change.added:
        yield "no new finding was chosen"
    yield from _refused(change.refused)
    if change.stale:
        yield f"{_number(len(change.stale), 'entry', 'entries')} found nothing any more; remove with --prune"


def _refused(findings: Iterable[Finding]) -> Iterator[str]:
    head = (
        "not accepted {}, which need a reason (auditor baseline update --add --rule RULE --path PATH --reason TEXT)"
    )
    yield from _listed(head, [f"{_place(f)}: {f.grade[0].word} [{f.rule}] {f.message}" for f in findings])


def _listed(head: str, rows: Sequence[str]) -> Iterator[str]:
    if rows:
        yield head.format(len(rows)) + ":"
        yield from (f"  {row}" for row in rows[:MOST_LINES])
        if len(rows) > MOST_LINES:
            yield f"  and {len(rows) - MOST_LINES} more"


def _check_rule(rule: str, outcome: Outcome) -> None:
    known = {*outcome.audit.pages, *(i.finding.rule for i in outcome.identities)}
    if rule not in known:
        near = difflib.get_close_matches(rule, sorted(known), 1)
        message = f"--rule {shown(rule)}: no such rule" + (f"; did you mean `{near[0]}`?" if near else "")
        raise BaselineError(message)


def _folder(under: str | None, request: Request) -> str | None:
    """The path of the command line relative to the root."""
    if under is None:
        return None
    inside = os.path.relpath(os.path.realpath(under), request.config.root).replace(os.sep, "/")
    if inside.startswith("../") or inside == "..":
        message = f"--path {shown(under)} lies outside of the audited root"
        raise BaselineError(message)
    return inside


def _is_meant(finding: Finding, rule: str | None, under: str | None) -> bool:
    if rule is not None and finding.rule != rule:
        return False
    return under in (None, ".", finding.path) or finding.path.startswith(f"{under}/")


def _now(outcome: Outcome) -> Now:
    return Now(_today(), complete=_complete(outcome), ran=outcome.examined.ran)


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _complete(outcome: Outcome) -> bool:
    return outcome.audit.coverage.complete


def _path(request: Request, name: str) -> Path:
    return Path(os.path.join(request.config.root, name))


def _write(path: Path, baseline: Baseline, name: str) -> None:
    try:
        baselines.write(path, baseline)
    except OSError as error:
        message = f"{name} cannot be written: {error.strerror}; choose another --file"
        raise ConfigError(message) from None


def _place(finding: Finding) -> str:
    return f"{finding.path}:{finding.line}"


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _text(lines: Iterable[str]) -> str:
    return "\n".join(terminal(line) for line in lines)
