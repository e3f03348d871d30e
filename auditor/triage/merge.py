"""Our findings and the reports of other tools -> one defect, one finding, several witnesses.

Pure and free of order: everything is sorted before it is looked at. What no finding of ours accounts for is put before
the rules of its family, which may refute it, and becomes an external finding if none does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from auditor.finding import Confidence, Finding, Refuted, Step, ToolRun, Witness
from auditor.tools.mypy_records import attribute_of
from auditor.tools.report import Report, by_place
from auditor.tools.same import Rollup, Same, confidence, same

EXTERNAL = "external"
"""Chapter of findings that only other tools have."""

OURSELVES = "auditor"
_BEST_MESSAGE = {"mypy": 0, "ruff": 1, "bandit": 2}
_FEWEST_SITES = 2
_MOST_STEPS = 200

Span = tuple[int, int]
StatementOf = Callable[[str, int], Span]
"""(path, line) -> first and last line of the smallest statement there; of a compound one its header only."""


@dataclass(frozen=True, slots=True)
class Counterpart:
    """A rule of ours that covers a code, and how: `merge`, `super`, `judge` or `composite` (tools.md, section 6)."""

    rule: str
    relation: str = "merge"


Families = Mapping[tuple[str, str], Sequence[Counterpart]]
"""(tool, code) -> the rules that list it."""


def families_of(counterparts: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Families:
    """The families for rule id -> tool -> code -> relation, as rules declare them. `near` codes are another defect
    that often stands beside: they belong to no family."""
    found: dict[tuple[str, str], list[Counterpart]] = defaultdict(list)
    for rule, by_tool in sorted(counterparts.items()):
        for tool, relations in by_tool.items():
            for code, relation in relations.items():
                if relation != "near":
                    found[tool, code].append(Counterpart(rule, relation))
    return {key: tuple(rules) for key, rules in sorted(found.items())}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of a report that none of its findings accounts for. `reason` is empty when it confirms."""

    reason: str = ""
    detail: str = ""

    @property
    def refutes(self) -> bool:
        return bool(self.reason)


CONFIRMED = Verdict()


def refuted(reason: str, detail: str = "") -> Verdict:
    """The verdict with a reason code of the refuted appendix (`constant-fragments`, `re-raised`, ...)."""
    if not reason:
        raise ValueError("a refutation needs a reason code")
    return Verdict(reason, detail)


Judge = Callable[[str, Report], Verdict | None]
"""(rule id, report) -> verdict; None if the facts do not decide."""


@dataclass(frozen=True, slots=True)
class Merged:
    """`findings`: ours, each with its witnesses. `external`: findings that only other tools have, in their own order.
    `refuted`: disproved reports by tool."""

    findings: tuple[Finding, ...]
    refuted: Mapping[str, tuple[Refuted, ...]]
    external: tuple[Finding, ...]

    def of(self, run: ToolRun) -> ToolRun:
        """The coverage entry of a tool with what was refuted of it."""
        return replace(run, refuted=self.refuted.get(run.name, ()))


def merge(
    findings: Iterable[Finding],
    reports: Iterable[Report],
    families: Families,
    statement_of: StatementOf,
    judge: Judge | None = None,
    *,
    table: Same | None = None,
    confidences: Mapping[str, Confidence] | None = None,
    in_production: Callable[[str], bool] | None = None,
) -> Merged:
    """Merge. `confidences` is the default of each rule, needed to raise a finding that has none of its own (without it
    such a finding keeps None). `in_production` tells production code from tests; everything is, by default."""
    table = table or same()
    ours = sorted(findings, key=_finding_key)
    told = sorted(set(reports), key=by_place)
    matches = _match(ours, told, families, statement_of)
    matched: dict[int, list[Report]] = defaultdict(list)
    for report, place in matches.items():
        matched[place].append(report)
    witnessed = [_witnessed(finding, matched[place], confidences or {}) for place, finding in enumerate(ours)]
    left: list[tuple[Report, Verdict | None]] = []
    disproved: dict[str, list[Refuted]] = defaultdict(list)
    for report in told:
        if report in matches:
            continue
        verdict = _judged(report, families, judge)
        if verdict is not None and verdict.refutes:
            row = Refuted(report.path, report.line, report.code, verdict.reason, verdict.detail)
            disproved[report.tool].append(row)
        elif verdict is not None or _stands_alone(report, table, in_production):
            left.append((report, verdict))
    return Merged(
        findings=tuple(witnessed),
        refuted={tool: tuple(dict.fromkeys(rows)) for tool, rows in sorted(disproved.items())},
        external=tuple(sorted(_external(left, families, statement_of, table), key=_finding_key)),
    )


def _stands_alone(report: Report, table: Same, in_production: Callable[[str], bool] | None) -> bool:
    """Whether a report of which our rules say nothing may become a finding."""
    key = (report.tool, report.code)
    if key in table.witness_only:
        return False
    return key not in table.production_only or in_production is None or in_production(report.path)


def _finding_key(finding: Finding) -> tuple[Any, ...]:
    path = finding.path.encode("utf-8", "surrogateescape")
    return path, finding.line, finding.column, finding.rule, finding.symbol, finding.message, repr(finding)


def _match(
    ours: Sequence[Finding], told: Sequence[Report], families: Families, statement_of: StatementOf
) -> dict[Report, int]:
    """Report -> place in `ours` of the nearest finding of its family on its statement, if there is one."""
    rules = {counterpart.rule for counterparts in families.values() for counterpart in counterparts}
    anchors: dict[tuple[str, str, Span], list[tuple[int, int]]] = defaultdict(list)
    for place, finding in enumerate(ours):
        if finding.rule not in rules:
            continue
        spots = [(finding.path, finding.line), *((step.path, step.line) for step in finding.proof)]
        for index, (path, line) in enumerate(spots):
            anchors[finding.rule, path, statement_of(path, line)].append((place, index))
    matches: dict[Report, int] = {}
    for report in told:
        statement = statement_of(report.path, report.line)
        candidates = [
            (_distance(report, ours[place], index), place)
            for counterpart in families.get((report.tool, report.code), ())
            for place, index in anchors.get((counterpart.rule, report.path, statement), ())
        ]
        if candidates:
            matches[report] = min(candidates)[1]
    return matches


def _distance(report: Report, finding: Finding, index: int) -> tuple[bool, bool, int]:
    """Same line, then same column, then the earlier step of the proof; index 0 is the anchor itself."""
    line = finding.line if index == 0 else finding.proof[index - 1].line
    column = finding.column if index == 0 else finding.proof[index - 1].column
    return line != report.line, column != report.column, index


def _witnessed(finding: Finding, reports: Sequence[Report], confidences: Mapping[str, Confidence]) -> Finding:
    """The finding with its witnesses, ours first. Agreement raises the confidence one step, never the severity; a
    report that is waived in the source agrees with nobody."""
    others = {Witness(report.tool, report.code) for report in reports} | set(finding.witnesses)
    own = Witness(OURSELVES, finding.rule)
    witnesses = (own, *sorted(others - {own}))
    sure = finding.confidence if finding.confidence is not None else confidences.get(finding.rule)
    if sure is not None and any(report.suppressed_by is None for report in reports):
        sure = _raised(sure)
    return replace(finding, witnesses=witnesses, confidence=sure)


def _raised(grade: Confidence) -> Confidence:
    return Confidence(min(grade + 1, Confidence.CERTAIN))


def _judged(report: Report, families: Families, judge: Judge | None) -> Verdict | None:
    """The verdict of the rules that cover the code. One confirmation outweighs refutations: to refute needs a proof,
    and then two rules have proofs of opposite things."""
    if judge is None:
        return None
    rules = sorted({counterpart.rule for counterpart in families.get((report.tool, report.code), ())})
    verdicts = [verdict for rule in rules if (verdict := judge(rule, report)) is not None]
    confirmed = [verdict for verdict in verdicts if not verdict.refutes]
    return next(iter(confirmed or verdicts), None)


@dataclass(frozen=True, slots=True)
class _Site:
    """Reports of one family on one statement; `best` has the best message."""

    best: Report
    reports: tuple[Report, ...]
    confidence: Confidence

    @property
    def is_waived(self) -> bool:
        return all(report.suppressed_by is not None for report in self.reports)


def _external(
    left: Sequence[tuple[Report, Verdict | None]], families: Families, statement_of: StatementOf, table: Same
) -> list[Finding]:
    groups: dict[tuple[str, str, Span], list[tuple[Report, Verdict | None]]] = defaultdict(list)
    for report, verdict in left:
        statement = statement_of(report.path, report.line)
        groups[_family(report, families, table), report.path, statement].append((report, verdict))
    sites = [_site(group, families, table) for _, group in sorted(groups.items())]
    rolled: dict[tuple[Any, ...], list[_Site]] = defaultdict(list)
    found: list[Finding] = []
    for site in sites:
        rollup = table.rollups.get((site.best.tool, site.best.code))
        key = None if rollup is None else _rollup_key(rollup, site)
        if key is None:
            found.append(_single(site, table))
        else:
            rolled[key].append(site)
    for _, together in sorted(rolled.items()):
        rollup = table.rollups[together[0].best.tool, together[0].best.code]
        together.sort(key=lambda site: by_place(site.best))
        if len(together) < _FEWEST_SITES and not rollup.name:
            found.append(_single(together[0], table))
        else:
            found.append(_together(rollup, together, table))
    return found


def _family(report: Report, families: Families, table: Same) -> str:
    """What groups reports on one statement: our rule that lists the code as the same defect, the family of
    `same.toml`, or the code itself."""
    counterparts = families.get((report.tool, report.code), ())
    rules = sorted((each.relation != "merge", each.rule) for each in counterparts)
    if rules:
        return rules[0][1]
    return table.families.get((report.tool, report.code), f"{report.tool}/{report.code}")


def _site(group: Sequence[tuple[Report, Verdict | None]], families: Families, table: Same) -> _Site:
    reports = tuple(sorted((report for report, _ in group), key=by_place))
    best = min(reports, key=lambda report: (_BEST_MESSAGE.get(report.tool, len(_BEST_MESSAGE)), by_place(report)))
    sure = max(_confidence(report, verdict, families, table) for report, verdict in group)
    if len({_port(report) for report in reports if report.suppressed_by is None}) > 1:
        sure = _raised(sure)
    return _Site(best, reports, sure)


def _port(report: Report) -> str:
    """Who really speaks: the S rules of ruff are bandit's, written anew, so that the two are one voice."""
    is_security = report.tool == "ruff" and report.code[:1] == "S" and report.code[1:].isdigit()
    return "bandit" if is_security else report.tool


def _confidence(report: Report, verdict: Verdict | None, families: Families, table: Same) -> Confidence:
    if verdict is not None:
        return Confidence.LIKELY
    if any(each.relation == "judge" for each in families.get((report.tool, report.code), ())):
        return Confidence.POSSIBLE
    return confidence(table, report.tool, report.code)


def _rollup_key(rollup: Rollup, site: _Site) -> tuple[Any, ...] | None:
    """Sites with one key are one finding. Waived sites are listed apart."""
    best = site.best
    if rollup.per == "file":
        return best.tool, rollup.name, best.path, site.is_waived
    what = attribute_of(best.message) or (best.message, "")
    return best.tool, best.code, *what, site.is_waived


def _single(site: _Site, table: Same) -> Finding:
    best = site.best
    return Finding(
        rule=f"{best.tool}/{best.code}",
        path=best.path,
        line=best.line,
        column=best.column or 1,
        end_line=best.end_line or best.line,
        end_column=best.end_column or best.column or 1,
        message=best.message,
        severity=max(table.severity(report.tool, report.code) for report in site.reports),
        confidence=site.confidence,
        chapter=EXTERNAL,
        witnesses=_witnesses([site]),
        state="suppressed" if site.is_waived else "new",
    )


def _together(rollup: Rollup, sites: Sequence[_Site], table: Same) -> Finding:
    """One finding at the first site, all sites as steps of its proof."""
    first = _single(sites[0], table)
    steps = tuple(
        Step(site.best.path, site.best.line, site.best.column or 1, site.best.message, site.best.code)
        for site in sites[:_MOST_STEPS]
    )
    places = f"{len(sites)} {'place' if len(sites) == 1 else 'places'}"
    return replace(
        first,
        rule=f"{rollup.tool}/{rollup.name}" if rollup.name else first.rule,
        message=f"{rollup.message or first.message} ({places})",
        severity=max(_single(site, table).grade[0] for site in sites),
        confidence=max(site.confidence for site in sites),
        proof=steps,
        witnesses=_witnesses(sites),
    )


def _witnesses(sites: Sequence[_Site]) -> tuple[Witness, ...]:
    return tuple(sorted({Witness(report.tool, report.code) for site in sites for report in site.reports}))
