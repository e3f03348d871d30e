"""The program on one screen: paths -> files -> facts -> linked project -> findings -> triage -> the finished audit.

Each stage is a call; nothing is printed here and nothing is written but the cache.
"""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor import __version__, engine, loader, tools
from auditor.cache import Cache, directory
from auditor.config import Config, ConfigError, Gate, validate_rules
from auditor.coverage import Statements, coverage_of, metrics_of, our_run, status_of
from auditor.engine import Analysis, Settings
from auditor.finding import Audit, Finding, Loss, Page, ToolRun, Witness, order
from auditor.source.discover import Discovery, discover, read
from auditor.triage import baseline as baselines
from auditor.triage import notices, secrets
from auditor.triage.grade import grade
from auditor.triage.identity import Identity, identities
from auditor.triage.merge import Verdict, families_of, merge
from auditor.triage.risk import risk
from auditor.triage.suppress import Policy, suppress

TOOLS = ("ruff", "bandit", "mypy")


@dataclass(frozen=True, slots=True)
class Request:
    """One run. `paths` are what the user named; `files` filters the report, not the analysis (None: all); `baseline` is
    a path, "none", or None for that of the configuration."""

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


def run(request: Request) -> Outcome:
    """The whole audit. Raises ConfigError, RuleError, ModelError, WorkersFailed, BaselineError."""
    config = request.config
    rules = loader.load(request.rules)
    validate_rules(config, rules.options(), (*rules.chapters, "external"))
    cache = None if request.cache is None else Cache(request.cache or directory())
    options = {name: config.options(name, rule.options) for name, rule in rules.rules.items()}
    settings = Settings(rules, options, request.rules, cache, request.jobs, config.models, str(config.root))

    request.progress("files")
    found = discover(str(config.root), request.paths, config.exclude, config.max_file_size)
    data, lost = _read(config, found)
    request.progress("analysis")
    with _tools(request, data, cache) as running:
        analysis = engine.analyse(data, settings)
        analysis.losses.extend(lost)
        running.start(analysis.texts)
        request.progress("tools")
        runs, reports = running.collect()

    statements = Statements(analysis)
    pages = {**rules.pages, **notices.PAGES}
    grades = {name: (page.severity, page.confidence) for name, page in pages.items()}
    ours = [_ours(f, pages) for f in analysis.findings if _reported(f, config, rules)]
    merged = merge(
        ours, reports, families_of({name: rule.counterparts for name, rule in rules.rules.items()}), statements.header_at,
        _judge(analysis, rules, options), confidences={name: confidence for name, (_, confidence) in grades.items()},
        in_production=lambda path: config.context(path) == "production",
    )  # fmt: skip
    external = [f for f in merged.external if config.selected(f.rule, "external", f.path)]
    everything = [*merged.findings, *external, *(_ours(f, pages) for f in engine.notices_of(analysis))]
    graded = grade(
        everything, grades, context=config.context, on_order_path=lambda _path, _line: False, override=config.severity
    )
    identified = identities(graded, statements.text_at)
    policy = Policy(
        known=frozenset(pages) | {w.rule for w in external}, require_reasons=config.require_reasons,
        complete=lambda rule: status_of(rule, runs, analysis) and config.selected(rule, _chapter(rule, pages)),
    )  # fmt: skip
    comments = {path: program.facts.comments for path, program in analysis.project.programs.items() if program.facts.comments}
    suppressed = suppress([i.finding for i in identified], comments, statements.of, policy)
    told = grade([_ours(f, pages) for f in suppressed.notices], grades, context=config.context, on_order_path=lambda _p, _l: False)
    identified = (*_with(identified, suppressed.findings), *identities(told, statements.text_at))
    matching, entries = _baseline(request, identified, analysis)
    findings = sorted(baselines.mark([i.finding for i in identified], matching) if matching else [i.finding for i in identified], key=order)
    shown = tuple(f for f in findings if request.files is None or _touches(f, request.files))
    runs = (our_run(analysis, found), *(merged.of(each) for each in runs))
    complete = all(each.status in ("complete", "off") for each in runs) and not analysis.losses and not found.skipped
    audit = Audit(
        version=__version__,
        findings=shown,
        tools=runs,
        coverage=coverage_of(analysis, found, suppressed.suppressions, complete, matching, entries),
        risk=risk(shown, context=config.context, complete=complete, suppressions=suppressed.suppressions),
        pages={f.rule: pages[f.rule] for f in shown if f.rule in pages} | dict(rules.pages),
        chapters=rules.chapters,
        texts={path: secrets.redact(analysis.texts[path]) for path in _mentioned(shown) if path in analysis.texts},
        contexts={path: config.context(path) for path in analysis.texts},
        metrics=metrics_of(analysis, shown),
        argv=request.argv,
        project=config.root.name,
    )
    if cache is not None:
        cache.close()
    request.progress("")
    status, reason = verdict(audit, request, analysis, complete)
    return Outcome(audit, status, reason, tuple(identified), analysis, rules)


def verdict(audit: Audit, request: Request, analysis: Analysis, complete: bool) -> tuple[int, str]:
    """Exit status and the sentence that gives its reason: 2 > 3 > 1 > 0."""
    gate: Gate = request.config.gate
    tripping = sum(gate.trips(finding) for finding in audit.findings)
    reasons: list[str] = []
    status = 0
    if tripping and not request.exit_zero:
        status = 1
        reasons.append(f"{tripping} {'finding' if tripping == 1 else 'findings'} at or above {gate} (--gate)")
    if not complete and not (request.allow_partial or request.config.allow_partial):
        lost = [f"{run.name} {run.status}" for run in audit.tools if run.status not in ("complete", "off")]
        status = 3
        reasons.insert(0, "incomplete: " + (", ".join(lost) or "files were lost"))
    if analysis.errors:
        status = 2
        reasons.insert(0, f"internal error in rule {analysis.errors[0][0]}")
    return status, f"exit {status}: " + ("; ".join(reasons) or f"nothing at or above {gate}")


def _read(config: Config, found: Discovery) -> tuple[dict[str, bytes], list[Loss]]:
    data: dict[str, bytes] = {}
    lost = list(found.skipped)
    for file in found.files:
        try:
            data[file.path] = read(str(config.root), file, config.max_file_size)
        except OSError as error:
            lost.append(Loss(file.path, "i/o", error.strerror or "unreadable"))
    return data, lost


class _tools:
    """The other tools beside our own analysis, in a private folder that is removed afterwards."""

    def __init__(self, request: Request, data: Mapping[str, bytes], cache: Cache | None) -> None:
        self.request = request
        self.data = data
        self.cache = cache
        self.handle: tools.Handle | None = None

    def __enter__(self) -> _tools:
        self.folder = tempfile.TemporaryDirectory(prefix="auditor-stage-")
        if self.request.tools:
            self._stage(self._texts())
        return self

    def __exit__(self, *_: object) -> None:
        if self.handle is not None:
            self.handle.close()
        self.folder.cleanup()

    def _texts(self) -> dict[str, str]:
        texts: dict[str, str] = {}
        for path, data in self.data.items():
            if path.endswith(".ipynb"):
                continue
            try:
                texts[path] = engine.text_of(path, data)[0]
            except Exception:  # noqa: BLE001, S112 - what cannot be decoded is a loss of the engine, told there
                continue
        return texts

    def _stage(self, texts: Mapping[str, str]) -> None:
        store = _Store(self.cache) if self.cache is not None else None
        kept = Path(self.request.cache or directory()) / "mypy" if self.cache is not None else None
        config = tools.ToolConfig(tools=self.request.tools, cache=store, mypy_cache=kept, jobs=1)
        self.handle = tools.start(Path(self.folder.name) / "stage", texts, config)

    def start(self, texts: Mapping[str, str]) -> None:
        if self.handle is not None:
            self.handle.start_mypy([path for path in texts if not path.endswith(".ipynb")])

    def collect(self) -> tuple[list[ToolRun], list[tools.Report]]:
        if self.handle is None:
            return [ToolRun(name=name, version="", status="off", notes=("not selected",)) for name in TOOLS], []
        results = self.handle.collect()
        return [run for run, _ in results], [report for _, reports in results for report in reports]


class _Store:
    """The cache as the tools see it."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def get(self, key: str) -> bytes | None:
        return self.cache.get("tools", key)

    def put(self, key: str, value: bytes) -> None:
        self.cache.put("tools", key, value)


def _ours(finding: Finding, pages: Mapping[str, Page]) -> Finding:
    """The finding with its chapter and ourselves as witness."""
    return finding.with_(
        chapter=finding.chapter or _chapter(finding.rule, pages),
        witnesses=finding.witnesses or (Witness("auditor", finding.rule),),
    )


def _chapter(rule: str, pages: Mapping[str, Page]) -> str:
    return pages[rule].chapter if rule in pages else "external"


def _reported(finding: Finding, config: Config, rules: loader.Rules) -> bool:
    """Selection, and rules that do not look at tests."""
    rule = rules.rules[finding.rule]
    if not rule.in_tests and config.context(finding.path) == "tests":
        return False
    return config.selected(finding.rule, rule.chapter(), finding.path)


def _judge(
    analysis: Analysis, rules: loader.Rules, options: Mapping[str, Mapping[str, Any]]
) -> Callable[[str, tools.Report], Verdict | None]:
    """What a rule says of a report of another tool: it may refute it, with a proof."""
    made = {rule.id: rule for rule in loader.make(rules, options)}

    def judge(rule: str, report: tools.Report) -> Verdict | None:
        answer = made[rule].judge(analysis.project, report)
        return None if answer is None else Verdict(*answer)

    return judge


def _with(identified: Sequence[Identity], findings: Iterable[Finding]) -> list[Identity]:
    return [Identity(f, i.key, i.anchor, i.sink, i.occurrence) for i, f in zip(identified, findings, strict=True)]


def _touches(finding: Finding, files: Sequence[str]) -> bool:
    return finding.path in files or any(step.path in files for step in finding.proof)


def _mentioned(findings: Iterable[Finding]) -> list[str]:
    return sorted({f.path for f in findings} | {s.path for f in findings for s in f.proof})


def _baseline(
    request: Request, identified: Sequence[Identity], analysis: Analysis
) -> tuple[baselines.Matching | None, str | None]:
    """Match the findings with the baseline, if there is one."""
    chosen = request.baseline if request.baseline not in (None, "auto") else request.config.baseline
    if chosen is None or chosen == "none":
        return None, None
    path = Path(os.path.join(request.config.root, chosen))
    if not path.exists():
        if request.baseline in (None, "auto"):
            return None, None
        raise ConfigError(f"--baseline {chosen}: there is no such file; make it with `auditor baseline create`")
    entries = baselines.read(path).entries
    now = baselines.Now(datetime.datetime.now(datetime.UTC).date(), complete=not analysis.losses)
    return baselines.match(identified, entries, now), chosen
