"""ruff as a witness: one run over the stage with our own selection, its configuration and waivers switched off.

A protocol: yields commands, is sent their outcomes, gives a `ToolResult`. Accounted from the file sets: ruff exits 0
after "Failed to lint" and with syntax errors.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auditor.finding import Loss
from auditor.tools.bisect import Hopeless, Unreadable, in_chunks
from auditor.tools.config import Selection, ToolConfig, digest, selections, text_digest
from auditor.tools.installed import Installed
from auditor.tools.ledger import FileText, FileTexts, Ledger
from auditor.tools.process import Command, Finished, Protocol
from auditor.tools.report import Report, ToolResult, decode, parse_json
from auditor.tools.stage import Sources, View
from auditor.tools.task import Task

NAME = "ruff"
_FLOOR_S = 30.0
_LINES_PER_S = 20_000
_QUESTION_S = 10.0
_CHUNK = 100_000
_USAGE = 2
_NOT_LINTED = re.compile(r"Failed to lint (.+?): (.*)")
_TARGETS = re.compile(rb"possible values: ((?:py\d+(?:, )?)+)")
_NO_SYNTAX = "invalid-syntax"
_IO = "E902"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the installed ruff can do: its stable codes and the newest target version."""

    codes: tuple[str, ...]
    target: str


def protocol(task: Task, view: View) -> Protocol[ToolResult]:
    """The whole run of ruff over the files of `view`."""
    sources, config, tool = task.sources, task.config, task.tool
    ledger = Ledger(NAME, tool.version, sources, view.paths.values())
    questions = _questions(view, config, tool)
    answers = yield questions
    capabilities = read_capabilities(answers)
    if capabilities is None:
        return ledger.failed("ruff does not say which codes it knows", questions[0], answers[0])
    selection, absent = selections()[NAME].known(capabilities.codes)
    ledger.argv = _shown_argv(tool, selection, capabilities.target)
    if absent:
        ledger.note(f"not known to this ruff: {', '.join(absent)}")
    key = _run_key(tool, selection, capabilities, view, sources)
    if not _load(ledger, config, key):
        limit = task.limit_s(_FLOOR_S, sources.line_count(view.paths.values()), _LINES_PER_S)
        start = (*tool.start, *_options(selection, capabilities.target))

        def command_for(paths: Sequence[str]) -> Command:
            # Batches run one after the other, but the commands of one batch side by side: a list file for each.
            listed = task.stage.list_file(f"ruff-{len(paths)}-{digest(paths)[:8]}", [f"./{path}" for path in paths])
            return Command((*start, f"@{listed}"), view.root, view.home, limit, tool.environment)

        try:
            chunks = yield from in_chunks(tuple(sorted(view.paths)), _CHUNK, command_for, _read)
        except Hopeless as error:
            return ledger.failed(error.why, error.command, error.finished)
        for path, why in chunks.guilty:
            ledger.lose(Loss(view.paths[path], "tool-crash", why))
        for records, not_linted in chunks.read:
            _take(ledger, view, selection, records, not_linted)
        _store(ledger, config, key, crashed=bool(chunks.guilty))
    return ledger.finished()


def read_capabilities(answers: Sequence[Finished]) -> Capabilities | None:
    """From the outcomes of `ruff rule --all` and `ruff check --help`; None if they cannot be read."""
    rules, usage = answers
    targets = _TARGETS.search(usage.stdout)
    try:
        known = parse_json(rules.stdout)
        codes = tuple(rule["code"] for rule in known if rule.get("code") and _is_stable(rule))
    except (ValueError, TypeError, AttributeError, KeyError):
        return None
    if targets is None or not codes:
        return None
    newest = max(targets[1].decode().split(", "), key=lambda name: int(name.removeprefix("py3")))
    return Capabilities(codes, newest)


def _is_stable(rule: dict[str, Any]) -> bool:
    status = rule.get("status")
    # Before ruff 0.15 the list had no status, but a flag for previews.
    return "Stable" in status if isinstance(status, dict) else status == "Stable" or not rule.get("preview", False)


def _questions(view: View, config: ToolConfig, tool: Installed) -> tuple[Command, ...]:
    limit = config.patience * _QUESTION_S
    asked = (("rule", "--all", "--output-format", "json"), ("check", "--isolated", "--help"))
    return tuple(Command((*tool.start, *words), view.home, view.home, limit, tool.environment) for words in asked)


def _options(selection: Selection, target: str) -> tuple[str, ...]:
    return (
        *("check", "--isolated", "--no-cache", "--no-respect-gitignore", "--no-force-exclude", "--ignore-noqa"),
        *("--exit-zero", "--output-format", "json", "--target-version", target, "--select", ",".join(selection.codes)),
    )


def _shown_argv(tool: Installed, selection: Selection, target: str) -> tuple[str, ...]:
    start = ("<ruff>",) if len(tool.start) == 1 else ("<python>", *tool.start[1:])
    return (*start, *_options(selection, target), "@<files>")


def _read(command: Command, finished: Finished, paths: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Records, and the staged paths that could not be linted with the reason."""
    if finished.how in {"absent", "timeout"}:
        raise Hopeless("ruff did not finish", command, finished)
    if finished.exit_code == _USAGE and not finished.stdout:
        raise Hopeless("ruff refused to run", command, finished)
    if finished.exit_code != 0:
        raise Unreadable(finished.words)
    try:
        records = parse_json(finished.stdout)
    except ValueError:
        raise Unreadable("its output is not JSON") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise Unreadable("its output is not a list of records")
    told = finished.stderr.decode("utf-8", "replace")
    return records, {match[1]: match[2] for match in _NOT_LINTED.finditer(told)}


def _take(
    ledger: Ledger, view: View, selection: Selection, records: Sequence[dict[str, Any]], not_linted: dict[str, str]
) -> None:
    for reported, reason in sorted(not_linted.items()):
        path = view.audited(reported)
        if path is not None:
            ledger.lose(Loss(path, "i/o", reason))
    texts = FileTexts(ledger.sources)
    counts: Counter[str] = Counter()
    reported_codes = frozenset(selection.report)
    for record in records:
        path = view.audited(str(record.get("filename")))
        if path is None:
            ledger.note("a result for a file that was not sent was dropped")
            continue
        code = record.get("code")
        if code in (None, _NO_SYNTAX, _IO):
            ledger.lose(_loss(path, code, texts[path].clean(str(record.get("message")))))
        elif code in reported_codes:
            report = _report(ledger.sources, texts[path], record)
            ledger.keep([report]) if report else ledger.note(f"a result without a place was dropped: {code}")
        elif code in selection.metrics:
            counts[str(code)] += 1
    ledger.count(counts)


def _loss(path: str, code: str | None, message: str) -> Loss:
    if code == _IO:
        return Loss(path, "i/o", message)
    crashed = code is None and "panic" in message.lower()
    return Loss(path, "tool-crash" if crashed else "syntax", message)


def _report(sources: Sources, text: FileText, record: dict[str, Any]) -> Report | None:
    start, end = _point(record.get("location")), _point(record.get("end_location"))
    if start is None:
        return None
    notebook = sources.notebooks.get(text.path)
    if notebook is not None:
        # Rows count inside the cell; ours in the joined source.
        first = notebook.cells.get(record.get("cell") or 0, 1)
        start = (start[0] + first - 1, start[1])
        end = None if end is None else (end[0] + first - 1, end[1])
    code = str(record["code"])
    row = record.get("noqa_row")
    waiver_line = row if isinstance(row, int) and notebook is None else start[0]
    url = record.get("url")
    return Report(
        tool=NAME,
        code=code,
        path=text.path,
        line=text.file_line(start[0]),
        column=start[1],
        end_line=None if end is None else text.file_line(end[0]),
        end_column=None if end is None else end[1],
        message=text.clean(str(record.get("message"))),
        severity_hint=str(record.get("severity") or ""),
        suppressed_by=text.waivers.of_ruff(code, (start[0], waiver_line)),
        url=url if isinstance(url, str) else None,
    )


def _point(value: Any) -> tuple[int, int] | None:
    if not isinstance(value, dict):
        return None
    row, column = value.get("row"), value.get("column")
    return (row, column) if isinstance(row, int) and isinstance(column, int) else None


def _run_key(
    tool: Installed, selection: Selection, capabilities: Capabilities, view: View, sources: Sources
) -> str:
    files = sorted((path, text_digest(sources.texts[path])) for path in view.paths.values())
    return digest("ruff/1", tool.version, selection.report, selection.metrics, capabilities.target, files)


def _load(ledger: Ledger, config: ToolConfig, key: str) -> bool:
    """Fill the ledger from the cache; false on a miss, and on anything that is not what `_store` writes."""
    cached = config.cache.get(key) if config.cache else None
    if cached is None:
        return False
    try:
        value = parse_json(cached)
        reports = decode(value["reports"])
        losses = [Loss(str(path), str(reason), str(detail)) for path, reason, detail in value["lost"]]
        counts = {str(code): int(number) for code, number in value["counts"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    ledger.keep(reports)
    for loss in losses:
        ledger.lose(loss)
    ledger.count(counts)
    return True


def _store(ledger: Ledger, config: ToolConfig, key: str, crashed: bool) -> None:
    if config.cache is not None and not crashed:
        config.cache.put(key, ledger.encoded())
