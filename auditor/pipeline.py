"""The program on one screen: paths -> files -> facts -> linked project -> findings -> triage -> the finished audit.

Each stage is a call; nothing is printed here and nothing is written but the cache.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from auditor import __version__, loader, since
from auditor.cache import Cache, directory
from auditor.config import Config, ConfigError, Gate, validate_rules
from auditor.coverage import coverage_of, metrics_of, our_run
from auditor.engine import Analysis, Settings
from auditor.examine import TOOLS, Examined, Plan, examine
from auditor.finding import Audit, Finding, Loss, order
from auditor.ordermap.table import lacking, order_map
from auditor.source.discover import Discovery, discover, read
from auditor.triage import baseline as baselines
from auditor.triage import secrets
from auditor.triage.identity import Identity
from auditor.triage.risk import risk

USUAL_BASELINE = "auditor-baseline.jsonl"


@dataclass(frozen=True, slots=True)
class Request:
    """One run. `paths` are what the user named; `files` filters the report, not the analysis (None: all); `baseline` is
    a path, "none", or None for that of the configuration, and `baseline_strict` makes its stale entries count. `since` is
    the revision that "new" is measured against, `anchor` (`caller`, `diff`) where a finding stands that a change elsewhere
    has brought about."""

    config: Config
    paths: tuple[str, ...] = ()
    files: tuple[str, ...] | None = None
    rules: tuple[str, ...] = ()
    tools: tuple[str, ...] = TOOLS
    baseline: str | None = None
    cache: str | None = ""
    jobs: int = 0
    allow_partial: bool = False
    exit_zero: bool = False
    argv: tuple[str, ...] = ()
    since: str | None = None
    anchor: str = "caller"
    baseline_strict: bool = False
    progress: Callable[[str], None] = lambda _stage: None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The audit, the exit status with its reason in words, and what follow-up commands need."""

    audit: Audit
    status: int
    reason: str
    identities: tuple[Identity, ...]
    analysis: Analysis
    rules: loader.Rules
    examined: Examined


def run(request: Request) -> Outcome:
    """The whole audit. Raises ConfigError, RuleError, ModelError, WorkersFailed, BaselineError, SinceError, StageError."""
    config = request.config
    rules = loader.load(request.rules)
    validate_rules(config, rules.options(), (*rules.chapters, "external"))
    folder = "" if request.cache is None else request.cache or directory()
    cache = Cache(folder) if folder else None
    options = {name: config.options(name, rule.options) for name, rule in rules.rules.items()}
    settings = Settings(rules, options, request.rules, cache, request.jobs, config.models, str(config.root))
    plan = Plan(config, settings, request.tools, folder, request.progress)

    request.progress("files")
    found = discover(str(config.root), request.paths, config.exclude, config.max_file_size)
    data, lost = _read(config, found)
    base = since.read(config, request.since, request.paths, data) if request.since else None
    request.progress("analysis")
    now = examine(plan, data, lost)
    identified, change = now.identified, None
    if base is not None:
        request.progress("base")
        before = examine(plan, base.data, name="@base") if base.data != data else now
        identified, change = since.compare(base, before, now, anchor=request.anchor)
    matching, entries = _baseline(request, identified, now)

    analysis = now.analysis
    marked = baselines.mark([i.finding for i in identified], matching) if matching else [i.finding for i in identified]
    shown = tuple(f for f in sorted(marked, key=order) if request.files is None or _touches(f, request.files))
    runs = (our_run(analysis, found), *now.runs)
    complete = all(each.status in ("complete", "off") for each in runs) and not analysis.losses and not found.skipped
    coverage = coverage_of(analysis, found, now.suppressions, complete, matching, entries)
    audit = Audit(
        version=__version__,
        findings=shown,
        tools=runs,
        coverage=replace(coverage, since=change),
        risk=risk(shown, context=config.context, complete=complete, suppressions=now.suppressions),
        pages={f.rule: plan.pages[f.rule] for f in shown if f.rule in plan.pages} | dict(rules.pages),
        chapters=rules.chapters,
        texts={path: secrets.redact(analysis.texts[path]) for path in _mentioned(shown) if path in analysis.texts},
        contexts={path: config.context(path) for path in analysis.texts},
        metrics=metrics_of(analysis, shown),
        argv=request.argv,
        project=config.root.name,
        orders=order_map(analysis.project, config.context),
    )
    if cache is not None:
        cache.close()
    request.progress("")
    status, reason = verdict(audit, request, analysis, complete)
    return Outcome(audit, status, reason, identified, analysis, rules, now)


def verdict(audit: Audit, request: Request, analysis: Analysis, complete: bool) -> tuple[int, str]:
    """Exit status and the sentence that gives its reason: 2 > 3 > 1 > 0."""
    gate: Gate = request.config.gate
    tripping = sum(gate.trips(finding) for finding in audit.findings)
    stale = audit.coverage.baseline["stale"] if audit.coverage.baseline else 0
    reasons: list[str] = []
    status = 0
    if tripping and not request.exit_zero:
        status = 1
        reasons.append(f"{_number(tripping, 'finding')} at or above {gate} (--gate)")
    unmet = lacking(audit.orders, request.config.order_checks)
    if unmet and not request.exit_zero:
        status = 1
        names = ", ".join(dict.fromkeys(name for _, name in unmet))
        count = len({id(row) for row, _ in unmet})
        reasons.append(f"{_number(count, 'order path')} lack{'s' if count == 1 else ''} {names} ([tool.auditor.orders])")
    if stale and request.baseline_strict and not request.exit_zero:
        status = 1
        reasons.append("the baseline must shrink (--baseline-strict)")
    if not complete and _matters(audit, request) and not (request.allow_partial or request.config.allow_partial):
        lost = [f"{run.name} {run.status}" for run in audit.tools if run.status not in ("complete", "off")]
        status = 3
        reasons.insert(0, "incomplete: " + (", ".join(lost) or "files were lost"))
    if analysis.errors:
        status = 2
        reasons.insert(0, f"internal error in rule {analysis.errors[0][0]}")
    if tripping and request.exit_zero:
        reasons.append(f"{_number(tripping, 'finding')} at or above {gate} (--exit-zero)")
    reasons = reasons or [f"nothing at or above {gate}"]
    if status not in (2, 3) and not complete and not _matters(audit, request):
        reasons.append(f"{_number(len(audit.coverage.skipped), 'other file')} could not be analysed")
    if stale:
        told = _number(stale, "baseline entry", "baseline entries")
        reasons.append(f"{told} found nothing any more (`auditor baseline show`, `update --prune`)")
    fixed = len(audit.coverage.since["fixed"]) if audit.coverage.since else 0
    if fixed and request.since:
        reasons.append(f"{_number(fixed, 'finding')} fixed since {request.since}")
    return status, f"exit {status}: " + "; ".join(reasons)


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _matters(audit: Audit, request: Request) -> bool:
    """Whether what was lost counts: where only some files are asked for, a loss among them or a whole tool."""
    if request.files is None:
        return True
    if any(run.status in ("failed", "missing") for run in audit.tools):
        return True
    lost = [*audit.coverage.skipped, *(loss for run in audit.tools for loss in run.skipped)]
    return not lost or any(loss.path in request.files for loss in lost)


def _read(config: Config, found: Discovery) -> tuple[dict[str, bytes], list[Loss]]:
    data: dict[str, bytes] = {}
    lost = list(found.skipped)
    for file in found.files:
        try:
            data[file.path] = read(str(config.root), file, config.max_file_size)
        except OSError as error:
            lost.append(Loss(file.path, "i/o", error.strerror or "unreadable"))
    return data, lost


def _touches(finding: Finding, files: Sequence[str]) -> bool:
    return finding.path in files or any(step.path in files for step in finding.proof)


def _mentioned(findings: Iterable[Finding]) -> list[str]:
    return sorted({f.path for f in findings} | {s.path for f in findings for s in f.proof})


def baseline_file(config: Config, asked: str | None) -> str | None:
    """The baseline, relative to the root: the one asked for, else the configured one, else the usual name if it is there."""
    if asked not in (None, "auto"):
        return None if asked == "none" else asked
    name = config.baseline or USUAL_BASELINE
    return name if os.path.lexists(os.path.join(config.root, name)) else None


def _baseline(
    request: Request, identified: Sequence[Identity], now: Examined
) -> tuple[baselines.Matching | None, str | None]:
    """Match the findings with the baseline, if there is one."""
    config = request.config
    chosen = baseline_file(config, request.baseline)
    if chosen is None:
        return None, None
    path = Path(os.path.join(config.root, chosen))
    if not os.path.lexists(path):
        message = f"--baseline {chosen}: there is no such file; make it with `auditor baseline create`"
        raise ConfigError(message)
    entries = [entry for entry in baselines.read(path).entries if in_scope(entry.path, request)]
    today = datetime.datetime.now(datetime.UTC).date()
    present = baselines.Now(today, complete=not now.analysis.losses, ran=now.ran)
    # Findings that an earlier commit has go first, so that no entry is used up by a second instance that is new.
    old = baselines.match([i for i in identified if i.finding.state == "baselined"], entries, present)
    rest = baselines.match([i for i in identified if i.finding.state == "new"], (*old.stale, *old.idle), present)
    return replace(rest, pairs=(*old.pairs, *rest.pairs), expired=old.expired), chosen


def in_scope(path: str, request: Request) -> bool:
    """Whether the run looks at a path at all; what was not asked for says nothing about a baseline."""
    root = str(request.config.root)
    starts = [os.path.relpath(os.path.realpath(start), root).replace(os.sep, "/") for start in request.paths]
    return not starts or any(start in (".", path) or path.startswith(f"{start}/") for start in starts)
