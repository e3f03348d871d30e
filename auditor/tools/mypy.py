"""mypy as a witness: the whole tree at once, without its configuration, and without the files that would stop it.

A protocol: yields commands, is sent their outcomes, gives a `ToolResult`. Exit status 2 means that *nothing* was
checked: what stopped mypy is taken off the stage and it is asked again, at most four times per run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from auditor.finding import Loss
from auditor.tools.config import digest, selections
from auditor.tools.installed import Installed
from auditor.tools.ledger import FileText, FileTexts, Ledger
from auditor.tools.modules import module_name, plan
from auditor.tools.mypy_records import CONTEXT_PAIRS, Record, attribute_of, is_kept, quoted_column, records_of
from auditor.tools.process import Command, Finished, Protocol
from auditor.tools.report import Report, ToolResult
from auditor.tools.stage import View
from auditor.tools.task import Task

NAME = "mypy"
_FLOOR_S = 120.0
_LINES_PER_S = 500
_REPAIRS = 4
_MOST_RUNS = 5
_BLOCKED = 2
_OLDEST_PYTHON = (3, 11)

_DUPLICATE = re.compile(r'(?m)^(.+?): error: Duplicate module named "')
_NO_PACKAGE = re.compile(r"(?m)^(.+?) (?:contains __init__\.pyi? but )?is not a valid Python package name")
_CRASH = re.compile(r"(?m)^(.+?\.pyi?):\d+(?::\d+)?: error: INTERNAL ERROR")


def protocol(task: Task, parsable: Iterable[str], no_syntax: Iterable[str]) -> Protocol[ToolResult]:
    """The whole run of mypy. All files of the sources are expected; only the `parsable` ones are staged. `no_syntax`
    are files that another parser refused: they go too, once mypy has stumbled over its first."""
    sources = task.sources
    ledger = Ledger(NAME, task.tool.version, sources, sources.paths())
    staging = plan(sorted(set(parsable) & set(sources.texts)))
    for path in sorted(set(sources.texts) - set(staging.staged.values()) - {loss.path for loss in staging.skipped}):
        ledger.lose(Loss(path, "syntax", "not parsed by the engine"))
    for loss in staging.skipped:
        ledger.lose(loss)
    reading = _Reading(ledger, staging.bases)
    work = _Work(dict(staging.staged), [list(run) for run in staging.runs])
    suspects = frozenset(no_syntax)
    number = 0
    while number < len(work.runs):
        repairs = 0
        while work.runs[number]:
            view = task.stage.types(sources, work.staged)
            command = _command(task, view, work.runs[number], number)
            (finished,) = yield (command,)
            ledger.ran(command, finished)
            records = records_of(finished.stdout)
            if _was_checked(finished, records):
                reading.take(view, records)
                break
            mend = _mend(finished, records, view, suspects) if finished.exited else None
            if mend is None:
                return ledger.failed("mypy was stopped by what no repair is known for", command, finished)
            if repairs == _REPAIRS:
                return ledger.failed(f"mypy is still blocked after {_REPAIRS} repairs", command, finished)
            repairs += 1
            for loss in work.apply(mend, number):
                ledger.lose(loss)
        number += 1
    return reading.finished()


@dataclass(frozen=True, slots=True)
class _Mend:
    """What to change before mypy is asked again, in staged paths."""

    unstage: Mapping[str, Loss]
    later: tuple[str, ...] = ()


@dataclass(slots=True)
class _Work:
    """What is staged (staged path -> audited path), and the staged paths of each run."""

    staged: dict[str, str]
    runs: list[list[str]]

    def apply(self, mend: _Mend, number: int) -> list[Loss]:
        """Change the staging of run `number`; what that loses."""
        lost = dict(mend.unstage)
        for at in mend.later:
            if number == 0 and len(self.runs) < _MOST_RUNS:
                self.runs.append([at])
            else:
                lost[at] = Loss(self.staged[at], "duplicate-module", "another file has its module name")
        for at in lost:
            del self.staged[at]
        self.runs[number] = [at for at in self.runs[number] if at in self.staged and at not in mend.later]
        for run in range(number + 1, len(self.runs)):
            self.runs[run] = [at for at in self.runs[run] if at in self.staged]
        return list(lost.values())


def _options(tool: Installed) -> tuple[str, ...]:
    major, minor = max([*tool.pythons, _OLDEST_PYTHON])
    return (
        *("--config-file=", "--output", "json", "--no-error-summary", "--no-color-output", "--hide-error-context"),
        *("--explicit-package-bases", "--namespace-packages", "--no-site-packages", "--ignore-missing-imports"),
        *("--follow-imports=silent", "--python-version", f"{major}.{minor}", "--allow-redefinition"),
        *("--check-untyped-defs", "--extra-checks", "--strict-equality", "--no-warn-no-return"),
        # One option each: a list with commas is refused.
        *("--enable-error-code", "unused-awaitable", "--enable-error-code", "possibly-undefined"),
    )


def _command(task: Task, view: View, run: Sequence[str], number: int) -> Command:
    options = _options(task.tool)
    # Two runs never share a cache: neither those of one stage nor those of two stages at a time.
    cache = digest(task.tool.version, options, task.stage.root.name, number)[:16]
    listed = task.stage.list_file("mypy", [f"./{at}" for at in sorted(run)])
    environment = dict(task.tool.environment)
    if any(at.startswith("src/") for at in view.paths):
        environment["MYPYPATH"] = "src"
    cache_dir = (task.config.mypy_cache or task.stage.root / "mypy") / cache
    argv = (*task.tool.start, *options, "--cache-dir", str(cache_dir), f"@{listed}")
    limit = task.limit_s(_FLOOR_S, task.sources.line_count(view.paths.values()), _LINES_PER_S)
    return Command(argv, view.root, view.home, limit, environment, writes_files=True)


def _was_checked(finished: Finished, records: Sequence[Record]) -> bool:
    """Status 0, or 1 with errors to show for it. (A traceback ends with status 1, too.)"""
    if not finished.exited or finished.exit_code not in {0, 1}:
        return False
    return finished.exit_code == 0 or any(record.is_error for record in records)


def _mend(finished: Finished, records: Sequence[Record], view: View, suspects: Collection[str]) -> _Mend | None:
    """What the outcome asks for; None if it names no file on the stage."""
    told = finished.stderr.decode("utf-8", "replace")
    unstage: dict[str, Loss] = {}
    later: set[str] = set()
    for record in records:
        at = _staged(record.file, view)
        if at is not None and record.is_error:
            if reason := _blocking(record):
                unstage[at] = Loss(view.paths[at], reason, record.message)
            elif record.message.startswith("Duplicate module named"):
                later.add(at)
    if any(loss.reason == "syntax" for loss in unstage.values()):
        refused = {at: Loss(path, "syntax", "refused by ruff") for at, path in view.paths.items() if path in suspects}
        unstage = refused | unstage
    # Older versions tell these on stderr, in plain text, with nothing on stdout.
    crashed = {at for name in _CRASH.findall(told) if (at := _staged(name, view))}
    unstage |= {at: Loss(view.paths[at], "tool-crash", "internal error of mypy") for at in crashed}
    later |= {at for name in _DUPLICATE.findall(told) if (at := _staged(name, view))}
    for name in _NO_PACKAGE.findall(told):
        unstage |= _without_package(name.removeprefix("mypy: ").rpartition("/")[2], view)
    return _Mend(unstage, tuple(sorted(later - set(unstage)))) if unstage or later else None


def _blocking(record: Record) -> str | None:
    """The reason code if the record says that its file stops the run."""
    if record.code == "syntax":
        return "syntax"
    if "shadows library module" in record.message:
        return "shadows-stdlib"
    return "duplicate-module" if record.message.startswith("Source file found twice") else None


def _without_package(directory: str, view: View) -> dict[str, Loss]:
    """The `__init__` files that make a package of a directory that is no identifier."""
    inits = {f"{directory}/__init__.py", f"{directory}/__init__.pyi"}
    return {
        at: Loss(path, "package-name", f"{directory} is no identifier")
        for at, path in view.paths.items()
        if "/".join(at.split("/")[-2:]) in inits
    }


def _staged(reported: str, view: View) -> str | None:
    """The staged path for a file as mypy prints it."""
    relative = reported.removeprefix(f"{view.root.as_posix()}/").removeprefix("./")
    return relative if relative in view.paths else None


class _Reading:
    """The records of all runs as reports."""

    def __init__(self, ledger: Ledger, bases: Collection[str]) -> None:
        self._ledger = ledger
        self._bases = bases
        self._texts = FileTexts(ledger.sources)
        self._selected = frozenset(selections()[NAME].report)
        self._counts: Counter[str] = Counter()

    def take(self, view: View, records: Sequence[Record]) -> None:
        modules = {module_name(at, view.paths, self._bases)[0] for at in view.paths}
        errors = [record for record in records if record.is_error and record.line > 0]
        missing = {(record.file, record.line, attribute_of(record.message)) for record in errors}
        for record in errors:
            at = _staged(record.file, view)
            if at is None or _is_second_half(record, missing):
                continue
            if record.code in self._selected and is_kept(record.code, record.message, modules):
                self._ledger.keep([_report(self._texts[view.paths[at]], record)])
            else:
                self._counts[record.code or "none"] += 1

    def finished(self) -> ToolResult:
        self._ledger.count(self._counts)
        return self._ledger.finished()


def _is_second_half(record: Record, missing: Collection[tuple[str, int, tuple[str, str] | None]]) -> bool:
    receiver = attribute_of(record.message)
    if receiver is None or receiver[1] not in CONTEXT_PAIRS:
        return False
    return (record.file, record.line, (receiver[0], CONTEXT_PAIRS[receiver[1]])) in missing


def _report(text: FileText, record: Record) -> Report:
    source_line = text.line(record.line)
    in_place = source_line.isascii() and 0 <= record.column < max(len(source_line), 1)
    column = record.column + 1 if in_place else quoted_column(record.message, source_line) or 1
    one_line = in_place and record.end_line == record.line and record.end_column > record.column
    return Report(
        tool=NAME,
        code=record.code,
        path=text.path,
        line=text.file_line(record.line),
        column=column,
        end_line=text.file_line(record.line) if one_line else None,
        end_column=record.end_column + 1 if one_line else None,
        message=text.clean(record.message),
        severity_hint="error",
        suppressed_by=text.waivers.of_mypy(record.code, (record.line,)),
        url=f"https://mypy.readthedocs.io/en/stable/_refs.html#code-{record.code}" if record.code else None,
    )
