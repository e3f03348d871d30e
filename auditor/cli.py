"""Command line: options in, a request for the pipeline, outputs and the exit status out. No logic of the audit."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from auditor import __version__
from auditor.config import Config, ConfigError, Gate, load
from auditor.warm import remember

PROFILES = {"audit": "ruff,bandit,mypy", "ci": "ruff,bandit,mypy", "hook": "ruff"}
FORMATS = ("full", "concise", "grouped", "json", "jsonl", "markdown", "sarif", "github", "gitlab", "junit", "rdjson", "summary", "html")
WRITE = f"Write a report; - is stdout. Formats: {', '.join(FORMATS)}."
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="auditor", message="%(prog)s %(version)s")
def cli() -> None:
    """Static audit of Python trading code: every finding with its proof."""


def audit_options(command: Any) -> Any:
    """The options that scan and check share."""
    for option in reversed((
        click.option("--gate", metavar="SEV[:CONF]|never", help="Exit 1 at or above this grade (default high:likely)."),
        click.option("--select", multiple=True, metavar="RULE|CHAPTER", help="Report only these."),
        click.option("--ignore", multiple=True, metavar="RULE|CHAPTER", help="Do not report these."),
        click.option("--baseline", metavar="FILE|none", help="Accepted findings (default: as configured)."),
        click.option("--baseline-strict", is_flag=True, help="Exit 1 if an entry of the baseline found nothing."),
        click.option("--since", metavar="REV", help="New is what the merge base of REV and HEAD does not have."),
        click.option("--anchor", type=click.Choice(("caller", "diff")), help="With --since: report at the caller, or at the change."),
        click.option("--output", "outputs", multiple=True, metavar="FORMAT=PATH", help=WRITE),
        click.option("--format", "form", type=click.Choice(FORMATS), help="What goes to stdout."),
        click.option("--tools", metavar="ruff,bandit,mypy|none", help="Other tools to run as witnesses."),
        click.option("--profile", type=click.Choice(sorted(PROFILES)), help="Defaults for a purpose."),
        click.option("--rules", "folders", multiple=True, metavar="DIR", help="Rules of your own."),
        click.option("--config", "config_file", type=click.Path(dir_okay=False), help="Configuration outside of the audited tree."),
        click.option("--isolated", is_flag=True, help="Ignore the configuration of the audited tree."),
        click.option("--cache-dir", metavar="DIR", help="Where results are kept between runs."),
        click.option("--no-cache", is_flag=True, help="Keep nothing between runs."),
        click.option("--jobs", type=click.IntRange(1), help="Worker processes."),
        click.option("--allow-partial", is_flag=True, help="An incomplete analysis does not set the exit status."),
        click.option("--exit-zero", is_flag=True, help="Findings do not set the exit status."),
        click.option("--color/--no-color", default=None, help="Colours (default: on a terminal)."),
        click.option("--previous", type=click.Path(exists=True, dir_okay=False), help="JSON of an earlier audit, to compare with."),
        click.option("--timings", is_flag=True, help="Print the time of each stage to stderr."),
    )):  # fmt: skip
        command = option(command)
    return command


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path())
@audit_options
def scan(paths: tuple[str, ...], **options: Any) -> None:
    """Audit PATHS (default: the project): all rules, all tools, every output."""
    _audit(paths, None, {"profile": "audit", **_given(options)})


@cli.command()
@click.argument("files", nargs=-1, type=click.Path())
@audit_options
def check(files: tuple[str, ...], **options: Any) -> None:
    """Gate for hooks and CI: analyses the project, reports what touches FILES."""
    _audit((), files or None, {"profile": "hook", "form": "concise", "baseline": "auto", **_given(options)})


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value not in (None, (), False)}


def _audit(paths: tuple[str, ...], files: tuple[str, ...] | None, options: Mapping[str, Any]) -> None:
    from auditor import pipeline

    request = _guarded(lambda: _request(paths, files, options))
    outcome = _guarded(lambda: pipeline.run(request))
    printed = _write(outcome, options)
    if request.cache is not None:
        remember(sys.argv[1:], _record(request), printed, outcome.status)
    sys.exit(outcome.status)


def _record(request: Any) -> dict[str, object]:
    """What must not have changed for this run to be replayed; see `warm`."""
    from auditor.pipeline import USUAL_BASELINE

    config = request.config
    named = [*request.paths, *(os.path.join(config.root, file) for file in request.files or ())]
    first = Path(os.path.realpath(named[0] if named else "."))
    start = first if first.is_dir() else first.parent
    files = [str(folder / "pyproject.toml") for folder in (start, *start.parents)]
    baseline = request.baseline if request.baseline not in (None, "auto", "none") else config.baseline or USUAL_BASELINE
    files.append(os.path.join(config.root, baseline))
    *configs, accepted = [Path(file).read_text("utf-8", "replace") if os.path.isfile(file) else "" for file in files]
    # Entries that expire make the answer depend on the day; a file that is extended is not among those compared.
    extends = any("extend" in text for text in configs) or re.search(r'"expires": "\d', accepted) is not None
    return {
        "root": str(config.root), "files": files, "paths": list(request.paths), "exclude": list(config.exclude),
        "limit": config.max_file_size, "extends": extends,
    }  # fmt: skip


def _request(paths: tuple[str, ...], files: tuple[str, ...] | None, options: Mapping[str, Any]) -> Any:
    from auditor.pipeline import Request
    from auditor.progress import Progress

    config = _config(paths or tuple(files or ())[:1], options)
    chosen = options.get("tools", PROFILES[options["profile"]])
    wanted = () if chosen == "none" else tuple(chosen.split(","))
    unknown = [name for name in wanted if name not in ("ruff", "bandit", "mypy")]
    if unknown:
        raise ConfigError(f"--tools {chosen}: unknown tool `{unknown[0]}`; choose among ruff, bandit, mypy, or none")
    return Request(
        config=config,
        paths=paths,
        files=None if files is None else tuple(_relative(file, config.root) for file in files),
        rules=options.get("folders", ()),
        tools=wanted,
        baseline=options.get("baseline"),
        baseline_strict=options.get("baseline_strict", False),
        since=options.get("since"),
        anchor=options.get("anchor", "caller"),
        cache=None if options.get("no_cache") else options.get("cache_dir") or os.environ.get("AUDITOR_CACHE_DIR", ""),
        jobs=options.get("jobs", 0),
        allow_partial=options.get("allow_partial", False),
        exit_zero=options.get("exit_zero", False),
        argv=("auditor", *sys.argv[1:]),
        progress=Progress(timings=options.get("timings", False)),
    )


def _config(paths: Sequence[str], options: Mapping[str, Any]) -> Config:
    given: dict[str, Any] = {}
    if "gate" in options:
        Gate.parse(options["gate"])
        given["gate"] = options["gate"]
    for name in ("select", "ignore"):
        if name in options:
            given[name] = [word for value in options[name] for word in value.split(",")]
    file = options.get("config_file")
    return load(
        [Path(p) for p in paths], config_file=Path(file) if file else None, isolated=options.get("isolated", False), options=given
    )


def _relative(file: str, root: Path) -> str:
    return os.path.relpath(os.path.realpath(file), root).replace(os.sep, "/")


def _guarded(work: Any) -> Any:
    """Errors that name their mend are printed as such and end with status 2."""
    from auditor.project.models import ModelError
    from auditor.rule import RuleError
    from auditor.since import SinceError
    from auditor.tools import StageError
    from auditor.triage.baseline import BaselineError
    from auditor.workers import WorkersFailed

    try:
        return work()
    except (ConfigError, RuleError, ModelError, BaselineError, SinceError, WorkersFailed, StageError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted")


def _fail(message: str) -> NoReturn:
    click.echo(f"auditor: {message}", err=True)
    sys.exit(2)


def _write(outcome: Any, options: Mapping[str, Any]) -> bytes:
    """The report to stdout and the files that were asked for; gives what went to stdout."""
    import json

    from auditor.report import render
    from auditor.report.files import OutputError, write

    terminal = sys.stdout.isatty()
    color = options.get("color", terminal and "NO_COLOR" not in os.environ) or bool(os.environ.get("FORCE_COLOR"))
    previous = options.get("previous")
    shared = {"reason": outcome.reason, "previous": json.loads(Path(previous).read_text("utf-8")) if previous else None}
    pairs = [output.partition("=")[::2] for output in options.get("outputs", ())]
    for name, path in pairs:
        if name not in FORMATS or not path:
            _fail(f"--output {name}={path}: write FORMAT=PATH with one of {', '.join(FORMATS)}")
    if not any(path == "-" for _, path in pairs):
        pairs.insert(0, (options.get("form") or ("full" if terminal else "concise"), "-"))
    printed = b""
    try:
        for name, path in pairs:
            encoding = (sys.stdout.encoding or "").lower()
            text = render(outcome.audit, name, **shared, color=color and path == "-", ascii="utf" not in encoding and path == "-")
            data = write(path, text)
            printed += data if path == "-" else b""
    except OutputError as error:
        _fail(str(error))
    return printed


@cli.command()
@click.argument("rule")
def explain(rule: str) -> None:
    """Print the page of a RULE: what it finds, why it matters, bad, good, limits."""
    import difflib

    from auditor import loader
    from auditor.triage.notices import PAGES

    loaded = _guarded(loader.load)
    pages = {**loaded.pages, **PAGES}
    page = pages.get(rule)
    if page is None:
        near = difflib.get_close_matches(rule, pages, 1)
        _fail(f"unknown rule `{rule}`" + (f"; did you mean `{near[0]}`?" if near else "; see `auditor rules`"))
    click.echo(f"# {page.title}\n\n{page.id} · {page.chapter} · {page.severity.word} · {page.confidence.word}\n")
    sections = (
        ("What it finds", page.what), ("Why it matters", page.why), ("Bad", page.bad), ("Good", page.good), ("Limits", page.limits),
    )  # fmt: skip
    for title, text in sections:
        if text:
            click.echo(f"## {title}\n{text}\n")


@cli.command("rules")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--rules", "folders", multiple=True, metavar="DIR", help="Rules of your own.")
def list_rules(as_json: bool, folders: tuple[str, ...]) -> None:
    """List the rules: id, chapter, severity, and the codes of other tools that they cover."""
    import json

    from auditor import loader

    loaded = _guarded(lambda: loader.load(folders))
    rows = [
        {
            "id": name, "chapter": page.chapter, "severity": page.severity.word, "confidence": page.confidence.word,
            "title": page.title, "since": page.since,
            "counterparts": {tool: sorted(codes) for tool, codes in sorted(loaded.rules[name].counterparts.items())},
        }
        for name, page in loaded.pages.items()
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(len(row["id"]) for row in rows)
    for row in rows:
        codes = " ".join(code for codes in row["counterparts"].values() for code in codes)
        click.echo(f"{row['id']:{width}}  {row['chapter']:13} {row['severity']:9} {row['title']}" + (f"  ({codes})" if codes else ""))


@cli.command("new-rule")
@click.argument("name", metavar="CHAPTER/ID")
@click.option("--rules", "folder", default="rules", show_default=True, type=click.Path(file_okay=False), help="Folder of the rules.")
def new_rule(name: str, folder: str) -> None:
    """Write a new rule and its case from a template."""
    from auditor.scaffold import ScaffoldError, scaffold

    try:
        for path in scaffold(name, Path(folder)):
            click.echo(f"wrote {path}")
    except ScaffoldError as error:
        _fail(str(error))


@cli.command()
@click.argument("file", required=False, type=click.Path())
@audit_options
def doctor(file: str | None, **options: Any) -> None:
    """Tool versions, the effective configuration with the origin of each value, and why FILE is (not) analysed."""
    from auditor.doctor import report

    config = _guarded(lambda: _config((file,) if file else (), _given(options)))
    for line in report(config, file, options.get("cache_dir") or ""):
        click.echo(line)


@cli.group()
def baseline() -> None:
    """Accepted findings: create, update or show the file."""


def _baseline_options(command: Any) -> Any:
    file = click.option("--file", "name", metavar="FILE", help="The baseline (default: as configured, else auditor-baseline.jsonl).")
    return file(_run_options(command))


def _run_options(command: Any) -> Any:
    """What a command takes that runs the audit and reports nothing."""
    for option in reversed((
        click.argument("paths", nargs=-1, type=click.Path()),
        click.option("--tools", metavar="ruff,bandit,mypy|none", help="Other tools to run."),
        click.option("--rules", "folders", multiple=True, metavar="DIR", help="Rules of your own."),
        click.option("--config", "config_file", type=click.Path(dir_okay=False), help="Configuration outside of the audited tree."),
        click.option("--isolated", is_flag=True, help="Ignore the configuration of the audited tree."),
        click.option("--cache-dir", metavar="DIR", help="Where results are kept between runs."),
        click.option("--no-cache", is_flag=True, help="Keep nothing between runs."),
        click.option("--jobs", type=click.IntRange(1), help="Worker processes."),
    )):  # fmt: skip
        command = option(command)
    return command


def _on_baseline(work: Any, paths: tuple[str, ...], name: str | None, options: Mapping[str, Any]) -> Any:
    """What `work(request, name)` gives for a run without baseline."""
    from auditor.pipeline import USUAL_BASELINE

    def run() -> Any:
        request = _request(paths, None, {"profile": "audit", **_given(options), "baseline": "none"})
        return work(request, name or request.config.baseline or USUAL_BASELINE)

    return _guarded(run)


@baseline.command("create")
@_baseline_options
def baseline_create(paths: tuple[str, ...], name: str | None, **options: Any) -> None:
    """Accept all open findings but those that need a reason each. Refuses if the file exists."""
    from auditor.accept import create

    click.echo(_on_baseline(create, paths, name, options))


@baseline.command("update")
@_baseline_options
@click.option("--prune", is_flag=True, help="Remove entries whose finding is gone.")
@click.option("--add", is_flag=True, help="Accept new findings too; needs --reason.")
@click.option("--rule", help="With --add: only findings of this rule.")
@click.option("--path", "under", help="With --add: only findings in this file or folder.")
@click.option("--reason", default="", help="With --add: why they are accepted.")
@click.option("--expires", default="", metavar="DATE", help="With --add: until when (ISO date).")
def baseline_update(paths: tuple[str, ...], name: str | None, **options: Any) -> None:
    """Rewrite entries that moved; with --add accept more."""
    from auditor.accept import update

    how = {key: options.pop(key) for key in ("prune", "add", "rule", "under", "reason", "expires")}
    click.echo(_on_baseline(lambda request, file: update(request, file, **how), paths, name, options))


@baseline.command("show")
@_baseline_options
def baseline_show(paths: tuple[str, ...], name: str | None, **options: Any) -> None:
    """Every entry, and why it does or does not match now."""
    from auditor.accept import show

    for line in _on_baseline(show, paths, name, options):
        click.echo(line)


@cli.group()
def models() -> None:
    """What the auditor knows of libraries."""


@models.command("suggest")
@_run_options
@click.option("--count", default=10, show_default=True, type=click.IntRange(1), help="How many calls.")
def models_suggest(paths: tuple[str, ...], count: int, **options: Any) -> None:
    """Unresolved in-house calls, ranked by how many verdicts hang on them, as TOML to fill in."""
    from auditor.suggest import suggest

    click.echo(_guarded(lambda: suggest(_request(paths, None, {"profile": "audit", "tools": "none", **_given(options)}), count)))


@cli.command()
@_run_options
@click.option("--format", "form", type=click.Choice(["text", "json", "mermaid"]), default="text", help="What is printed.")
def orders(paths: tuple[str, ...], form: str, **options: Any) -> None:
    """The order map: every path to a call that places, changes or cancels an order, and what guards it."""
    from auditor.orders import run

    given = {"profile": "audit", "tools": "none", **_given(options), "baseline": "none"}
    written, status = _guarded(lambda: run(_request(paths, None, given), form))
    click.echo(written, nl=False)
    sys.exit(status)


@cli.group()
def debug() -> None:
    """Look inside: for those who write rules."""


@debug.command("ir")
@click.argument("place", metavar="FILE:FUNCTION")
def debug_ir(place: str) -> None:
    """Print the lowered program of a function."""
    from auditor.facts.show import show_file

    path, _, symbol = place.rpartition(":")
    try:
        click.echo(show_file(Path(path), symbol))
    except (OSError, LookupError, ValueError) as error:
        _fail(str(error))
