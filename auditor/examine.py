"""One tree of files -> its findings: analysed, merged with what other tools saw, graded, identified, suppressed where the
source says so. What `pipeline` does with the files of the work tree, and with those of an earlier commit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auditor import engine, loader, tools
from auditor.cache import Cache
from auditor.config import Config
from auditor.coverage import Statements, status_of
from auditor.engine import Analysis, Settings
from auditor.facts.collect import text_of
from auditor.finding import Finding, Loss, Page, Suppression, ToolRun, Witness
from auditor.triage import notices
from auditor.triage.grade import grade
from auditor.triage.identity import Identity, identities
from auditor.triage.implied import without_implied
from auditor.triage.merge import Verdict, families_of, merge
from auditor.triage.suppress import Policy, suppress

TOOLS = ("ruff", "bandit", "mypy")


@dataclass(frozen=True, slots=True)
class Plan:
    """What holds for every tree of a run. `folder` is that of the cache; `progress` is told the stages."""

    config: Config
    settings: Settings
    tools: tuple[str, ...]
    folder: str
    progress: Callable[[str], None]

    @property
    def pages(self) -> Mapping[str, Page]:
        return {**self.settings.rules.pages, **notices.PAGES}


@dataclass(frozen=True, slots=True)
class Examined:
    """A tree: `identified` are all its findings, in state `new` or `suppressed`; `runs` those of the other tools;
    `ran(rule)` says that the rule, ours or another tool's, is reported and ran on complete data."""

    analysis: Analysis
    statements: Statements
    runs: tuple[ToolRun, ...]
    identified: tuple[Identity, ...]
    suppressions: tuple[Suppression, ...]
    ran: Callable[[str], bool]


def examine(plan: Plan, data: Mapping[str, bytes], lost: Iterable[Loss] = (), name: str = "") -> Examined:
    """Analyse files (posix path relative to the root -> bytes). `lost` could not be read; `name` keeps what is remembered
    of this tree apart from that of others. Raises ModelError, WorkersFailed, StageError."""
    config, rules, settings = plan.config, plan.settings.rules, plan.settings
    with _Witnesses(plan, data, name) as running:
        analysis = engine.analyse(data, replace(settings, project=settings.project + name))
        analysis.losses.extend(lost)
        running.start(analysis.texts)
        plan.progress("tools")
        runs, reports = running.collect()

    statements = Statements(analysis)
    pages = plan.pages
    grades = {rule: (page.severity, page.confidence) for rule, page in pages.items()}
    ours = [_ours(f, pages) for f in analysis.findings if _reported(f, config, rules)]
    confidences = {rule: confidence for rule, (_, confidence) in grades.items()}
    merged = merge(
        ours, reports, families_of({rule: made.counterparts for rule, made in rules.rules.items()}), statements.header_at,
        _judge(analysis, rules, settings.options), confidences=confidences,
        in_production=lambda path: config.context(path) == "production",
    )  # fmt: skip
    found = without_implied(merged.findings, {name: r.implies for name, r in rules.rules.items()}, statements.header_at, confidences)
    external = [f for f in merged.external if config.selected(f.rule, "external", f.path)]
    everything = [*found, *external, *(_ours(f, pages) for f in engine.notices_of(analysis))]
    graded = grade(
        everything, grades, context=config.context, on_order_path=lambda _path, _line: False, override=config.severity
    )
    identified = identities(graded, statements.text_at)
    policy = Policy(
        known=frozenset(pages) | {w.rule for w in external}, require_reasons=config.require_reasons,
        complete=lambda rule: status_of(rule, runs, analysis) and config.selected(rule, _chapter(rule, pages)),
    )  # fmt: skip
    comments = {path: p.facts.comments for path, p in analysis.project.programs.items() if p.facts.comments}
    suppressed = suppress([i.finding for i in identified], comments, statements.of, policy)
    notes = [_ours(f, pages) for f in suppressed.notices]
    told = grade(notes, grades, context=config.context, on_order_path=lambda _path, _line: False)
    return Examined(
        analysis=analysis,
        statements=statements,
        runs=tuple(merged.of(run) for run in runs),
        identified=(*_with(identified, suppressed.findings), *identities(told, statements.text_at)),
        suppressions=suppressed.suppressions,
        ran=policy.complete,
    )


class _Witnesses:
    """The other tools beside our own analysis, in a private folder that is removed afterwards."""

    def __init__(self, plan: Plan, data: Mapping[str, bytes], name: str) -> None:
        self.plan = plan
        self.data = data
        self.name = name
        self.handle: tools.Handle | None = None

    def __enter__(self) -> _Witnesses:
        self.folder = tempfile.TemporaryDirectory(prefix="auditor-stage-")
        if self.plan.tools:
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
                texts[path] = text_of(path, data)[0]
            except Exception:  # noqa: BLE001, S112 - what cannot be decoded is a loss of the engine, told there
                continue
        return texts

    def _stage(self, texts: Mapping[str, str]) -> None:
        cache = self.plan.settings.cache
        store = _Store(cache) if cache is not None else None
        # Each tree has a folder of its own: mypy takes a file of equal size and time stamp for unchanged.
        kept = Path(self.plan.folder) / f"mypy{self.name}" if cache is not None else None
        config = tools.ToolConfig(tools=self.plan.tools, cache=store, mypy_cache=kept, jobs=1)
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
