"""Inline suppressions: `# auditor: ignore[rule-id] -- reason` (`workflow.md`, section 4).

Takes findings with ids, the comments and the statements of each file; gives the findings, those that are hidden in
state `suppressed`, a record of every suppression, and notices about those that have no reason, hide nothing or are not
understood. Unknown text never widens what is hidden.
"""

from __future__ import annotations

import difflib
import re
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from auditor.finding import Finding, Suppression
from auditor.triage import notices
from auditor.triage.secrets import redact

MAX_COMMENT = 1_000  # characters that are read of one comment
MAX_IDS = 50  # in one comment
MAX_DIRECTIVES = 1_000  # in one file
MAX_NOTICES = 200  # of one rule in one file
VIA = "via"

_FORMS = ("ignore", "ignore-scope", "ignore-file")
# Where one directive ends and another tool's begins, in a comment that holds several.
_NEXT = re.compile(r"\s#\s*+(?=(?:auditor|noqa|nosec|type|ruff|mypy|pyright|pylint|pragma|fmt|isort)\b)")
_DIRECTIVE = re.compile(r"#?\s*+auditor\s*+:\s*+([\w-]*+)\s*+(\[[^\]]*+\]?+)?+\s*+(.*+)", re.DOTALL)
_EXTERNAL = re.compile(r"(?:ruff|bandit|mypy)/[A-Za-z0-9-]{1,60}")
_WORDS = re.compile(r"[^\W_]+")
# Words that say nothing about why a defect does no harm, alone or together: "todo", "by design", "false positive".
_EMPTY_WORDS = frozenset(
    re.findall(
        r"\w+",
        """todo fixme tbd xxx hack later soon temp temporary temporarily for now fix this me it is a an the false true
        positive fp by as design designed intended intentional intentionally on purpose wontfix won will not known
        issue bug okay fine good safe ignore ignored ignoring suppress suppressed disable disabled noqa nosec legacy
        old expected needed required necessary none reason because see above below please""",
    )
)
_SHORTEST_WORD = 3  # of a reason, in ASCII


class Comment(Protocol):
    """A comment token. `text` begins with `#`; positions are 1-based; `alone_on_line` if only space stands before."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def alone_on_line(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Statement:
    """Lines of a statement, 1-based and inclusive: its first (a decorator's, where it has one), the last of its header
    (its last, for a simple statement), its last. `scope` for `def` and `class`."""

    line: int
    header_end: int
    end: int
    scope: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What the audit knows of its rules.

    `known`: every rule id that can be suppressed. `renamed`: old id -> new id. `complete(rule)`: the rule ran, on
    complete data, so that a suppression of it can be called unused. `roll_up(finding)`: its proof steps are its sites.
    """

    known: frozenset[str]
    require_reasons: bool = True
    renamed: Mapping[str, str] = field(default_factory=dict)
    complete: Callable[[str], bool] = lambda _rule: True
    roll_up: Callable[[Finding], bool] = lambda _finding: False


@dataclass(frozen=True, slots=True)
class Suppressed:
    """`findings` in the order given; `notices` carry no ids yet."""

    findings: tuple[Finding, ...]
    suppressions: tuple[Suppression, ...]
    notices: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Directive:
    """An understood suppression: hides findings of `rules` on lines `first` to `last` of `path`."""

    path: str
    span: tuple[int, int, int, int]
    rules: tuple[str, ...]
    via: bool
    reason: str
    first: int
    last: int

    def covers(self, path: str, line: int) -> bool:
        return path == self.path and self.first <= line <= self.last


def is_reason(text: str) -> bool:
    """Whether the text says anything: at least one word that is not an empty one."""
    words = (word for word in _WORDS.findall(text) if len(word) >= _SHORTEST_WORD or not word.isascii())
    return any(word.lower() not in _EMPTY_WORDS for word in words)


def suppress(
    findings: Sequence[Finding],
    comments: Mapping[str, Sequence[Comment]],
    statements: Callable[[str], Sequence[Statement]],
    policy: Policy,
) -> Suppressed:
    """Apply the suppressions in `comments` (path -> its comments) to the findings.

    A suppression hides a finding of its rules at the primary location; with `via` also one with any proof step in its
    scope. A roll-up is hidden at its primary location, or when all of its sites are covered. A suppression without a
    reason hides too, but is a notice, and the finding still counts in the risk score.
    """
    directives: list[_Directive] = []
    problems: list[Finding] = []
    for path in sorted(comments):
        read, wrong = _read(path, comments[path], statements, policy)
        directives += read
        problems += wrong
    at: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for index, directive in enumerate(directives):
        for rule in directive.rules:
            at[rule, directive.path].append(index)
    ids: defaultdict[int, list[str]] = defaultdict(list)
    used: set[tuple[int, str]] = set()
    judged = []
    for finding in findings:
        paths = dict.fromkeys([finding.path, *(step.path for step in finding.proof)])
        near = [(index, directives[index]) for path in paths for index in at.get((finding.rule, path), ())]
        touching, hidden = _judge(finding, near, policy)
        used |= {(index, finding.rule) for index in touching}
        if hidden and finding.state == "new":
            judged.append(finding.with_(state="suppressed"))
            for index in touching:
                ids[index].append(finding.id)
        else:
            judged.append(finding)
    for index, directive in enumerate(directives):
        idle = [rule for rule in directive.rules if (index, rule) not in used and policy.complete(rule)]
        if idle:
            problems.append(notices.unused_suppression(directive.path, directive.span, idle))
        if policy.require_reasons and not is_reason(directive.reason):
            problems.append(
                notices.suppression_without_reason(directive.path, directive.span, directive.rules, directive.reason)
            )
    records = tuple(
        Suppression(
            rules=directive.rules,
            path=directive.path,
            line=directive.span[0],
            reason=directive.reason,
            ids=tuple(sorted(ids[index])),
            used=any((index, rule) in used for rule in directive.rules),
        )
        for index, directive in enumerate(directives)
    )
    return Suppressed(tuple(judged), records, _capped(problems))


def _judge(finding: Finding, candidates: Iterable[tuple[int, _Directive]], policy: Policy) -> tuple[list[int], bool]:
    """The suppressions that touch the finding, and whether they hide it."""
    sites = [(step.path, step.line) for step in finding.proof]
    roll_up = bool(sites) and policy.roll_up(finding)
    touching, hidden, covered = [], False, set()
    for index, directive in candidates:
        primary = directive.covers(finding.path, finding.line)
        reached = {site for site in sites if (directive.via or roll_up) and directive.covers(*site)}
        if primary or reached:
            touching.append(index)
            covered |= reached
            # The first site of a roll-up may be its primary location: that one line does not speak for the others.
            hidden = hidden or not roll_up or (primary and (finding.path, finding.line) not in sites)
    return touching, hidden or (roll_up and covered == set(sites))


def _capped(problems: Iterable[Finding]) -> tuple[Finding, ...]:
    """In the order of places; of each rule and file the first 200."""
    kept = []
    count: defaultdict[tuple[str, str], int] = defaultdict(int)
    for problem in sorted(problems, key=lambda p: (p.path, p.line, p.column, p.rule, p.message)):
        count[problem.rule, problem.path] += 1
        if count[problem.rule, problem.path] <= MAX_NOTICES:
            kept.append(problem)
    return tuple(kept)


# --- reading comments ----------------------------------------------------------------------------------------------


def _read(
    path: str,
    comments: Sequence[Comment],
    statements: Callable[[str], Sequence[Statement]],
    policy: Policy,
) -> tuple[list[_Directive], list[Finding]]:
    directives: list[_Directive] = []
    problems: list[Finding] = []
    lines: _Lines | None = None
    for comment in comments:
        text = comment.text[:MAX_COMMENT]
        if "auditor" not in text:
            continue
        span = (comment.line, comment.column, comment.line, comment.column + len(comment.text))
        for part in _NEXT.split(text):
            match = _DIRECTIVE.fullmatch(part)
            if match is None or not _is_meant(match[1], match[2]):
                continue
            if len(directives) == MAX_DIRECTIVES:
                problem = f"only the first {MAX_DIRECTIVES} suppressions of a file are read, and this is the next"
                return directives, [*problems, notices.unknown_suppression(path, span, problem)]
            lines = lines or _Lines(statements(path))
            rules, via, wrong = _rules(match[1], match[2], policy)
            scope = _scope(match[1], comment, lines)
            if isinstance(scope, str):
                wrong, rules = [*wrong, scope], ()
            problems += [notices.unknown_suppression(path, span, problem) for problem in wrong]
            if rules and not isinstance(scope, str):
                directives.append(_Directive(path, span, rules, via, _reason(match[3]), *scope))
    return directives, problems


def _is_meant(form: str, brackets: str | None) -> bool:
    """Whether the comment means a suppression; other words after `auditor:` are prose."""
    return form in _FORMS or brackets is not None or bool(difflib.get_close_matches(form, _FORMS, n=1, cutoff=0.75))


def _reason(rest: str) -> str:
    """The text behind `--`; anything else after the ids is no reason."""
    dashes, text = rest[:2], rest[2:]
    return redact(" ".join(text.split())) if dashes == "--" else ""


def _rules(form: str, brackets: str | None, policy: Policy) -> tuple[tuple[str, ...], bool, list[str]]:
    """The known ids, whether `via` stands among them, and what is wrong with the rest."""
    if form not in _FORMS:
        near = difflib.get_close_matches(form, _FORMS, n=1)
        return (), False, [f"unknown form `{form[:40]}`; write `{near[0] if near else 'ignore'}[rule-id] -- reason`"]
    if brackets is None or not brackets.strip("[] \t"):
        return (), False, [f"`{form}` names no rule; write `{form}[rule-id] -- reason`: there is no blanket form"]
    if not brackets.endswith("]"):
        return (), False, [f"`{form}[` is not closed; write `{form}[rule-id] -- reason`"]
    names = [name.strip() for name in brackets[1:-1].split(",")]
    wrong = [f"more than {MAX_IDS} ids in one comment"] if len(names) > MAX_IDS else []
    rules: list[str] = []
    for name in names[:MAX_IDS]:
        rule = policy.renamed.get(name, name)
        if (rule in policy.known and rule not in notices.PAGES) or _EXTERNAL.fullmatch(rule):
            rules.append(rule)
        elif rule != VIA:
            wrong.append(_unknown(rule, policy.known))
    return tuple(dict.fromkeys(rules)), VIA in names, wrong


def _unknown(name: str, known: frozenset[str]) -> str:
    if name in notices.PAGES:
        return f"`{name}` is a notice about the audit itself and cannot be suppressed"
    near = difflib.get_close_matches(name[:60], sorted(known), n=1)
    return f"unknown rule `{name[:40]}`" + (f"; did you mean `{near[0]}`?" if near else "")


class _Lines:
    """The statements of one file by line."""

    def __init__(self, statements: Sequence[Statement]) -> None:
        self._statements = sorted(statements, key=lambda statement: (statement.line, statement.header_end))
        self._scopes = [statement for statement in self._statements if statement.scope]
        self._outermost: dict[int, Statement] = {}
        for statement in self._statements:
            known = self._outermost.get(statement.line)
            if known is None or statement.end > known.end:
                self._outermost[statement.line] = statement
        self._starts = sorted(self._outermost)

    def header_at(self, line: int, *, scope: bool) -> Statement | None:
        """The statement (the `def` or `class`) whose header the line belongs to. Headers do not overlap but in one
        line, so the last to begin is the one."""
        listed = self._scopes if scope else self._statements
        at = bisect_right(listed, line, key=lambda statement: statement.line)
        return listed[at - 1] if at and listed[at - 1].header_end >= line else None

    def after(self, line: int) -> Statement | None:
        """The next statement, the outermost where several begin on one line."""
        at = bisect_right(self._starts, line)
        return self._outermost[self._starts[at]] if at < len(self._starts) else None


def _scope(form: str, comment: Comment, lines: _Lines) -> tuple[int, int] | str:
    """First and last line of what the comment speaks of, or what is wrong with its place."""
    if form == "ignore-file":
        first = lines.after(0)
        if comment.alone_on_line and (first is None or comment.line < first.line):
            return 1, sys.maxsize
        return "`ignore-file` stands in the first comment block, before any statement"
    target = lines.header_at(comment.line, scope=form == "ignore-scope")
    if target is None and comment.alone_on_line:
        # Inside the header of another statement the next one is not meant.
        target = None if lines.header_at(comment.line, scope=False) else lines.after(comment.line)
    if form == "ignore-scope":
        scoped = target is not None and target.scope
        return (
            (target.line, target.end) if target and scoped else "`ignore-scope` stands on or above a `def` or `class`"
        )
    return (target.line, target.header_end) if target else (comment.line, comment.line)
