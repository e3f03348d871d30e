"""bandit as a witness: per file, with our own selection, its configuration and waivers switched off.

A protocol: yields commands, is sent their outcomes, gives a `ToolResult`. Results are cached per file content.
Accounted from `metrics` and `errors`: bandit exits 0 when every file failed.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auditor.finding import Loss
from auditor.tools.bisect import Hopeless, Unreadable, in_chunks
from auditor.tools.config import ToolConfig, digest, selections, text_digest
from auditor.tools.installed import Installed
from auditor.tools.ledger import FileText, FileTexts, Ledger
from auditor.tools.process import Command, Finished, Protocol
from auditor.tools.report import Report, ToolResult, decode, encode, parse_json
from auditor.tools.stage import View
from auditor.tools.task import Task
from auditor.triage.secrets import redact_quoted

NAME = "bandit"
_FLOOR_S = 60.0
_LINES_PER_S = 1_000
_CHUNK = 500
_USAGE = 2
_ATTEMPTS = 2
_UNKNOWN_ID = re.compile(r"(?:Unknown test found in profile|Unknown test)[^\n]*?\b(B\d{3})\b")
_QUOTES_ITS_FIND = frozenset({"B105", "B106", "B107"})


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """One file after bandit: its reports, or why it has none."""

    reports: tuple[Report, ...] = ()
    lost: tuple[str, str] | None = None


def protocol(task: Task, view: View) -> Protocol[ToolResult]:
    """The whole run of bandit over the files of `view`."""
    sources, config, tool = task.sources, task.config, task.tool
    ledger = Ledger(NAME, tool.version, sources, view.paths.values())
    ids = selections()[NAME].report
    keys = {at: _file_key(tool, ids, sources.python(path)) for at, path in view.paths.items()}
    outcomes = {at: found for at, key in keys.items() if (found := _load(config, key, view.paths[at])) is not None}
    fresh = tuple(sorted(set(keys) - set(outcomes)))
    empty_ini = task.stage.list_file("bandit.ini", ["[bandit]"])
    for attempt in range(1, _ATTEMPTS + 1):
        ledger.argv = ("<python>", *tool.start[1:], *_options(ids), "--ini", "<stage>/lists/bandit.ini", "<files>")
        try:
            run = _Run(task, view, (*_options(ids), "--ini", str(empty_ini)))
            chunks = yield from in_chunks(fresh, _CHUNK, run.command, run.read)
            break
        except Hopeless as error:
            unknown = set(_UNKNOWN_ID.findall(error.finished.stderr.decode("utf-8", "replace")))
            if not unknown & set(ids) or attempt == _ATTEMPTS:
                return ledger.failed(error.why, error.command, error.finished)
            ids = tuple(each for each in ids if each not in unknown)
            ledger.note(f"not known to this bandit: {', '.join(sorted(unknown))}")
    for read in chunks.read:
        outcomes |= read
        for at, outcome in read.items():
            _store(config, keys[at], outcome)
    for at, why in chunks.guilty:
        outcomes[at] = FileOutcome(lost=("tool-crash", why))
    for at, path in view.paths.items():
        outcome = outcomes[at]
        ledger.keep(outcome.reports)
        if outcome.lost is not None:
            ledger.lose(Loss(path, *outcome.lost))
    return ledger.finished()


def _options(ids: Sequence[str]) -> tuple[str, ...]:
    # -x "": the default excludes are substrings of paths, so that `lib.gitlab/x.py` would not be looked at.
    return ("-q", "-f", "json", "--ignore-nosec", "--exit-zero", "-x", "", "-t", ",".join(ids))


class _Run:
    """The commands of one attempt and the reading of their outcomes."""

    def __init__(self, task: Task, view: View, options: Sequence[str]) -> None:
        self._task = task
        self._view = view
        self._argv = (*task.tool.start, *options)
        self._texts = FileTexts(task.sources)

    def command(self, paths: Sequence[str]) -> Command:
        lines = self._task.sources.line_count(self._view.paths[at] for at in paths)
        limit = self._task.limit_s(_FLOOR_S, lines, _LINES_PER_S)
        argv = (*self._argv, *(f"./{at}" for at in paths))
        return Command(argv, self._view.root, self._view.home, limit, self._task.tool.environment)

    def read(self, command: Command, finished: Finished, paths: Sequence[str]) -> dict[str, FileOutcome]:
        """Outcome by staged path, for every path of the chunk."""
        if finished.how in {"absent", "timeout"}:
            raise Hopeless("bandit did not finish", command, finished)
        if finished.exit_code == _USAGE:
            raise Hopeless("bandit refused to run", command, finished)
        if finished.exit_code not in {0, 1}:
            raise Unreadable(finished.words)
        try:
            output = parse_json(finished.stdout)
            seen, errors, results = output["metrics"], output["errors"], output["results"]
            reasons = {_relative(error["filename"]): str(error["reason"]) for error in errors}
            measured = {_relative(name) for name in seen}
            found: dict[str, list[Report]] = {at: [] for at in paths}
            for result in results:
                at = _relative(result["filename"])
                found[at].append(_report(self._texts[self._view.paths[at]], result))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unreadable("its output is not the JSON of bandit") from None
        return {at: self._outcome(at, found[at], reasons, measured) for at in paths}

    def _outcome(self, at: str, reports: list[Report], reasons: dict[str, str], measured: set[str]) -> FileOutcome:
        if at in reasons:
            detail = self._texts[self._view.paths[at]].clean(reasons[at])
            kind = "syntax" if "syntax error" in detail else "tool-crash" if "exception" in detail else "i/o"
            return FileOutcome(lost=(kind, detail))
        if at not in measured:
            return FileOutcome(lost=("not-read", "bandit does not mention the file"))
        return FileOutcome(tuple(reports))


def _relative(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    return name


def _report(text: FileText, result: dict[str, Any]) -> Report:
    code, name = str(result["test_id"]), str(result["test_name"])
    line, spanned = int(result["line_number"]), [int(each) for each in result["line_range"]]
    source_line = text.line(line)
    one_line = spanned in ([], [line])
    message = str(result["issue_text"])
    if code in _QUOTES_ITS_FIND:
        message = redact_quoted(message)
    return Report(
        tool=NAME,
        code=code,
        path=text.path,
        line=text.file_line(line),
        column=_column(source_line, result.get("col_offset")),
        # The offset of the end counts on the last line of the expression, which is not told.
        end_line=text.file_line(line) if one_line else None,
        end_column=_column(source_line, result.get("end_col_offset")) if one_line else None,
        message=text.clean(message),
        severity_hint=f"{result['issue_severity']}/{result['issue_confidence']}",
        suppressed_by=text.waivers.of_bandit((code, name), (line, *spanned)),
        url=str(result["more_info"]) if result.get("more_info") else None,
    )


def _column(line: str, offset: Any) -> int | None:
    """1-based code points from 0-based UTF-8 bytes."""
    if not isinstance(offset, int) or offset < 0:
        return None
    return len(line.encode("utf-8", "replace")[:offset].decode("utf-8", "ignore")) + 1


def _file_key(tool: Installed, ids: Sequence[str], source: str) -> str:
    # bandit parses with the running Python, and what it cannot parse it cannot check.
    return digest("bandit/1", tool.version, platform.python_version(), ids, text_digest(source))


def _load(config: ToolConfig, key: str, path: str) -> FileOutcome | None:
    cached = config.cache.get(key) if config.cache else None
    if cached is None:
        return None
    try:
        value = parse_json(cached)
        lost = value["lost"]
        return FileOutcome(decode(value["reports"], path), None if lost is None else (str(lost[0]), str(lost[1])))
    except (ValueError, TypeError, KeyError, IndexError):
        return None


def _store(config: ToolConfig, key: str, outcome: FileOutcome) -> None:
    if config.cache is None or (outcome.lost is not None and outcome.lost[0] != "syntax"):
        return
    value = {"reports": encode(report.at("") for report in outcome.reports), "lost": outcome.lost}
    config.cache.put(key, json.dumps(value, sort_keys=True).encode())
