"""The account of one tool run: which files it was sent, saw, lost and why; the status follows from that alone.

Takes what an adapter learns while it runs, gives the `ToolResult`. Reports are made here, so that paths, lines,
redaction and waivers are treated alike for all tools.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from auditor.finding import Loss, ToolRun
from auditor.tools.process import Command, Finished
from auditor.tools.report import Report, ToolResult, by_place, encode
from auditor.tools.stage import Sources, split_lines
from auditor.tools.waivers import Waivers
from auditor.triage.secrets import literals_of, redact

_NOTE_LINES = 20
_NOTE_LENGTH = 200
_MESSAGE_LENGTH = 300
_ABSENT = re.compile(rb"No module named '?(?:ruff|bandit|mypy)\b")


class Ledger:
    """One tool run in the making."""

    def __init__(self, name: str, version: str, sources: Sources, expected: Iterable[str]) -> None:
        self.name = name
        self.version = version
        self.sources = sources
        self.expected = tuple(expected)
        self.argv: tuple[str, ...] = ()
        self.exit_code: int | None = 0
        self._lost: dict[str, Loss] = {}
        self._notes: list[str] = []
        self._reports: list[Report] = []
        self._counts: Counter[str] = Counter()

    def lose(self, loss: Loss) -> None:
        """A file that the tool did not see; the first reason stays."""
        self._lost.setdefault(loss.path, loss)

    def note(self, text: str) -> None:
        self._notes.append(text)

    def keep(self, reports: Iterable[Report]) -> None:
        self._reports += reports

    def count(self, codes: Mapping[str, int]) -> None:
        """Codes that are metrics only."""
        self._counts.update(codes)

    def encoded(self) -> bytes:
        """What was learnt so far, for the cache."""
        lost = [[loss.path, loss.reason, loss.detail] for _, loss in sorted(self._lost.items())]
        value = {"reports": encode(self._reports), "lost": lost, "counts": dict(self._counts)}
        return json.dumps(value, sort_keys=True).encode()

    def ran(self, command: Command, finished: Finished) -> None:
        """Record an invocation: the first one's argv, the last one's exit status."""
        if not self.argv:
            self.argv = tuple(_without_machine(word, command) for word in command.argv)
        self.exit_code = finished.exit_code

    def failed(self, why: str, command: Command | None = None, finished: Finished | None = None) -> ToolResult:
        """The tool did not finish; what it reported before is worth nothing and is dropped."""
        status = "failed"
        notes = [*self._notes, why]
        if command is not None and finished is not None:
            if finished.how == "absent" or (finished.exit_code and _ABSENT.search(finished.stderr)):
                status = "missing"
            notes += [finished.words, *stderr_notes(finished.stderr, command)]
        return ToolResult(self._run(status, notes, seen=0))

    def missing(self, why: str) -> ToolResult:
        self.exit_code = None
        return ToolResult(self._run("missing", [*self._notes, why], seen=0))

    def finished(self) -> ToolResult:
        """Complete if every file was seen, else partial."""
        lost = [path for path in self.expected if path in self._lost]
        status = "partial" if lost else "complete"
        reports = sorted(set(self._reports), key=by_place)
        return ToolResult(self._run(status, self._notes, seen=len(self.expected) - len(lost)), tuple(reports))

    def _run(self, status: str, notes: Sequence[str], seen: int) -> ToolRun:
        metrics: dict[str, Any] = {"reports": len(set(self._reports))} if status in {"complete", "partial"} else {}
        if self._counts and metrics:
            metrics["counts"] = dict(sorted(self._counts.items()))
        return ToolRun(
            name=self.name,
            version=self.version,
            status=status,
            argv=self.argv,
            exit_code=self.exit_code,
            expected=len(self.expected),
            seen=seen,
            skipped=tuple(self._lost[path] for path in sorted(self._lost)),
            notes=tuple(dict.fromkeys(notes))[:_NOTE_LINES],
            metrics=metrics,
        )


class FileText:
    """One audited file while reports are made of it: its lines, waivers and secrets, each read once."""

    def __init__(self, sources: Sources, path: str) -> None:
        self.path = path
        self._sources = sources
        source = sources.python(path)
        self._lines = split_lines(source)
        self.waivers = Waivers(source)
        self._secrets = literals_of(source)

    def line(self, number: int) -> str:
        """The text of a line of the Python source; empty outside of it."""
        return self._lines[number - 1] if 1 <= number <= len(self._lines) else ""

    def file_line(self, number: int) -> int:
        return self._sources.file_line(self.path, number)

    def clean(self, message: str) -> str:
        """A message in one line, without secrets and unprintable characters, at most 300 characters."""
        text = escape(redact(" ".join(message.split()), self._secrets))
        return text if len(text) <= _MESSAGE_LENGTH else f"{text[: _MESSAGE_LENGTH - 3]}..."


class FileTexts:
    """`FileText` by path, made on first use: most files have no report."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._made: dict[str, FileText] = {}

    def __getitem__(self, path: str) -> FileText:
        if path not in self._made:
            self._made[path] = FileText(self._sources, path)
        return self._made[path]


def stderr_notes(stderr: bytes, command: Command) -> tuple[str, ...]:
    """At most 20 lines of a tool's stderr: without machine paths and secrets, unprintable characters escaped."""
    lines = stderr[: 1 << 20].decode("utf-8", "replace").splitlines()
    told = [redact(_without_machine(line.strip(), command)) for line in lines if line.strip()]
    kept = told if len(told) <= _NOTE_LINES else [*told[: _NOTE_LINES - 1], f"... {len(told) - _NOTE_LINES + 1} more"]
    return tuple(escape(line)[:_NOTE_LENGTH] for line in kept)


def escape(text: str) -> str:
    """Every character that is not printable as its escape."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _without_machine(word: str, command: Command) -> str:
    stage = command.home.parent
    python = Path(command.argv[0])
    names = {str(stage): "<stage>", str(command.argv[0]): "<python>" if python.name != "ruff" else "<ruff>"}
    for flag, value in zip(command.argv, command.argv[1:], strict=False):
        if flag == "--cache-dir":
            names[value] = "<cache>"
    names[str(python.parent.parent)] = "<environment>"
    for machine, shown in sorted(names.items(), key=lambda item: -len(item[0])):
        word = word.replace(machine, shown)
    return word
