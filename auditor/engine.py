"""Our own analysis: files -> linked project -> findings. What `pipeline` calls `auditor`, and what tests call directly."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from auditor.cache import Cache, engine_digest
from auditor.facts.codec import Corrupt, Program
from auditor.facts.collect import Collected, collect, read, text_of
from auditor.finding import Finding, Loss
from auditor.loader import Rules, make
from auditor.project.models import Models
from auditor.project.project import Project
from auditor.project.stubs import Typeshed
from auditor.rule import Rule
from auditor.triage import notices
from auditor.workers import Pool

FACTS = "facts"
STUBS = "stubs"
TRACES = "traces"


@dataclass(slots=True)
class Analysis:
    """What the engine knows after a run. `texts` holds what was analysed; `errors` are (rule, path, exception)."""

    project: Project
    findings: list[Finding]
    texts: dict[str, str]
    losses: list[Loss]
    errors: list[tuple[str, str, str]]
    hidden: dict[str, str] = field(default_factory=dict)
    parsed: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """How the engine runs: rules with options, local rule folders, cache, number of processes, models of a team, and a
    name for the project, under which its traces are kept."""

    rules: Rules
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    cache: Cache | None = None
    jobs: int = 0
    models: Mapping[str, Any] = field(default_factory=dict)
    project: str = ""

    @property
    def processes(self) -> int:
        return self.jobs or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def analyse(data: Mapping[str, bytes], settings: Settings) -> Analysis:
    """Analyse files (posix path relative to the root -> bytes). Raises ModelError for a bad entry of the team."""
    models = models_of(settings)  # first, since an error in them costs no work
    collected, losses, parsed = _collected(data, settings)
    texts = {path: text_of(path, data[path])[0] for path in collected}
    programs = {path: item.program for path, item in collected.items()}
    project = link(programs, settings, models)
    rules = make(settings.rules, settings.options)
    findings = [finding for path in sorted(collected) for finding in collected[path].findings]
    errors = [(rule, path, what) for path in sorted(collected) for rule, what in collected[path].errors]
    found, failed = judge(project, rules)
    _keep(project, settings)
    hidden = {path: item.hidden for path, item in sorted(collected.items()) if item.hidden}
    return Analysis(project, [*findings, *found], texts, losses, [*errors, *failed], hidden, parsed)


def models_of(settings: Settings) -> Models:
    """The models of libraries, then the entries of the team. Raises ModelError."""
    return Models().load(settings.rules.models).extend(settings.models, "[tool.auditor.models]")


def link(programs: Mapping[str, Program], settings: Settings, models: Models | None = None) -> Project:
    """The linked project over decoded facts."""
    cache = settings.cache
    stubs = Typeshed.bundled(lambda key: cache.get(STUBS, key) if cache is not None else None)
    stored = cache.get(TRACES, _traces_key(settings)) if cache is not None else None
    return Project(programs, stubs, models or models_of(settings), stored)


def _traces_key(settings: Settings) -> str:
    return hashlib.sha256(f"{engine_digest(settings.folders)}\0{settings.project}".encode()).hexdigest()


def judge(project: Project, rules: Iterable[Rule]) -> tuple[list[Finding], list[tuple[str, str, str]]]:
    """The findings of the rules that look at the project, and the rules that raised."""
    found: list[Finding] = []
    errors: list[tuple[str, str, str]] = []
    for rule in rules:
        if type(rule).check_project is Rule.check_project:
            continue
        try:
            found.extend(rule.check_project(project))
        except Exception as error:  # noqa: BLE001 - a rule that raises is reported as such; the others go on
            errors.append((rule.id, "", f"{type(error).__name__}: {str(error)[:200]}"))
    return found, errors


def _collected(data: Mapping[str, bytes], settings: Settings) -> tuple[dict[str, Collected], list[Loss], int]:
    """The records of all files: from the cache by content, else from the workers."""
    digest = engine_digest(settings.folders)
    local = sorted((name, repr(sorted(settings.options.get(name, {}).items()))) for name, r in settings.rules.rules.items() if r.local())
    keys = {path: _key(digest, local, path, content) for path, content in data.items()}
    cache = settings.cache
    records = cache.get_many(FACTS, sorted(set(keys.values()))) if cache is not None else {}
    collected: dict[str, Collected] = {}
    missing: list[tuple[str, bytes]] = []
    for path in sorted(data):
        record = records.get(keys[path])
        known = _read(path, record) if record is not None else None
        if known is None:
            missing.append((path, data[path]))
        else:
            collected[path] = known
    losses: list[Loss] = []
    fresh: dict[str, bytes] = {}
    for path, payload, loss in _work(missing, settings):
        if payload is None:
            losses.append(loss or Loss(path, "internal", "the worker gave no answer"))
            continue
        collected[path] = read(path, payload)
        fresh[keys[path]] = payload
    if cache is not None and fresh:
        cache.put_many(FACTS, fresh)
    return dict(sorted(collected.items())), sorted(losses, key=lambda loss: loss.path), len(missing)


def _work(files: Sequence[tuple[str, bytes]], settings: Settings) -> Iterator[tuple[str, bytes | None, Loss | None]]:
    if not files:
        return
    options = {"folders": list(settings.folders), "options": {name: dict(o) for name, o in settings.options.items()}}
    for answer in Pool("auditor.loader:handle", options, settings.processes).run(list(files)):
        yield answer.path, answer.payload, answer.loss


def _read(path: str, record: bytes) -> Collected | None:
    try:
        return read(path, record)
    except Corrupt:
        return None  # a damaged entry is a miss


def _key(digest: str, local: object, path: str, content: bytes) -> str:
    kind = path.rpartition(".")[2] if path.endswith((".ipynb", ".pyi")) else "py"
    return hashlib.sha256(f"{digest}\0{local}\0{kind}\0".encode() + content).hexdigest()


def _keep(project: Project, settings: Settings) -> None:
    """Store what was made anew: stubs that were parsed, traces of functions that were run."""
    if settings.cache is None:
        return
    stubs = project.symbols.stubs
    if isinstance(stubs, Typeshed) and stubs.fresh:
        settings.cache.put_many(STUBS, stubs.stored())
    if project.linked.runs:
        settings.cache.put(TRACES, _traces_key(settings), project.linked.traces.dump())


def in_process(
    texts: Mapping[str, str],
    rules: Rules,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    models: Mapping[str, Any] | None = None,
) -> Analysis:
    """Analyse trusted texts in this process, without cache: for examples, fixtures and tests."""
    settings = Settings(rules, options or {}, models=models or {})
    made = make(rules, settings.options)
    collected = {path: read(path, collect(path, text.encode("utf-8"), made)) for path, text in sorted(texts.items())}
    project = link({path: item.program for path, item in collected.items()}, settings)
    found, errors = judge(project, made)
    findings = [finding for item in collected.values() for finding in item.findings]
    errors = [(rule, path, what) for path, item in collected.items() for rule, what in item.errors] + errors
    return Analysis(project, [*findings, *found], dict(texts), [], errors)


def notices_of(analysis: Analysis) -> list[Finding]:
    """Findings about the run itself: files that were not analysed, rules that raised."""
    found = [notices.unparsable_file(loss.path, loss.reason, loss.detail) for loss in analysis.losses]
    found += [notices.auditor_error(rule, path or ".", what) for rule, path, what in analysis.errors]
    return found
