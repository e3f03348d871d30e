"""Fixture marks: what a line of a fixture must be reported for, and what it must not be.

    await self._store(order)   # expect: rule-id via tick > backoff > time.sleep
    x = list(self.orders)      # trap: rule-id -- a snapshot, taken without an await
    self.q.put(x)              # todo: rule-id -- needs the type of a factory's result

`expect` and `trap` take several ids, separated by commas. The words after `via` must stand in the proof in this order;
other steps may stand between. Marks are read from comment tokens; the number of findings on a line is exact.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from auditor.finding import Finding
from auditor.source.comments import comments

MARK = re.compile(r"#\s*(expect|trap|todo|fact):\s*(.*)\Z", re.DOTALL)
NEXT = re.compile(r"\s#\s*(?=(?:expect|trap|todo|fact):)")


class MarkError(ValueError):
    """A mark that cannot be read; names the place, the reason and the mend."""


@dataclass(frozen=True, slots=True)
class Mark:
    """`kind`: expect, trap, todo or fact. `via` are words of the proof; `note` the text after `--` (of a fact: its
    sentence)."""

    kind: str
    path: str
    line: int
    rules: tuple[str, ...]
    via: tuple[str, ...] = ()
    note: str = ""


def marks(path: str, text: str) -> list[Mark]:
    """The marks of a file. Raises MarkError."""
    found: list[Mark] = []
    for comment in comments(text):
        for part in NEXT.split(comment.text):
            match = MARK.match(part if part.startswith("#") else f"# {part}")
            if match is not None:
                found.append(_mark(match.group(1), match.group(2).strip(), path, comment.line))
    return found


def _mark(kind: str, rest: str, path: str, line: int) -> Mark:
    if kind == "fact":
        return Mark(kind, path, line, (), (), rest)
    body, _, note = rest.partition(" -- ")
    ids, _, via = body.partition(" via ")
    rules = tuple(word.strip() for word in ids.split(",") if word.strip())
    if not rules:
        raise MarkError(f"{path}:{line}: `{kind}` names no rule; write `# {kind}: rule-id`")
    if kind != "expect" and not note.strip():
        raise MarkError(f"{path}:{line}: `{kind}` needs a reason; write `# {kind}: {rules[0]} -- why`")
    return Mark(kind, path, line, rules, tuple(word.strip() for word in via.split(">") if word.strip()), note.strip())


def proves(finding: Finding, via: Iterable[str]) -> bool:
    """Whether the words stand in the proof, in this order."""
    text = "\n".join(f"{step.name} {step.note}" for step in finding.proof)
    at = 0
    for word in via:
        match = re.compile(rf"(?<![\w.]){re.escape(word)}(?![\w])|(?<![\w]){re.escape(word)}(?![\w])").search(text, at)
        if match is None:
            return False
        at = match.start()
    return True


def compare(found: Iterable[Finding], expected: Iterable[Mark], rules: Iterable[str]) -> list[str]:
    """Differences between findings and marks for these rules, in words; empty if they agree exactly."""
    wanted = set(rules)
    findings: dict[tuple[str, int, str], list[Finding]] = {}
    for finding in found:
        if finding.rule in wanted:
            findings.setdefault((finding.path, finding.line, finding.rule), []).append(finding)
    counts: Counter[tuple[str, int, str]] = Counter()
    problems: list[str] = []
    for mark in expected:
        for rule in mark.rules:
            if rule not in wanted or mark.kind == "fact":
                continue
            here = findings.get((mark.path, mark.line, rule), [])
            place = f"{mark.path}:{mark.line}: {rule}"
            if mark.kind == "expect":
                counts[mark.path, mark.line, rule] += 1
                if not here:
                    problems.append(f"{place}: expected, not found")
                elif mark.via and not any(proves(finding, mark.via) for finding in here):
                    shown = " | ".join(step.note for step in here[0].proof)
                    problems.append(f"{place}: the proof does not lead via {' > '.join(mark.via)}; it is: {shown}")
            elif mark.kind == "trap" and here:
                problems.append(f"{place}: a trap is reported: {here[0].message} ({mark.note})")
            elif mark.kind == "todo" and here:
                problems.append(f"{place}: a known miss is found now; make it an `expect`")
    for key, here in sorted(findings.items()):
        if len(here) > counts[key] and not _trapped(key, expected):
            problems.append(f"{key[0]}:{key[1]}: {key[2]}: found, not expected: {here[0].message}")
    return problems


def _trapped(key: tuple[str, int, str], expected: Iterable[Mark]) -> bool:
    return any((m.path, m.line) == key[:2] and key[2] in m.rules and m.kind in ("trap", "todo") for m in expected)


def read(texts: Mapping[str, str]) -> list[Mark]:
    """The marks of several files, by path and line."""
    return [mark for path in sorted(texts) for mark in marks(path, texts[path])]
