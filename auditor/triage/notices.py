"""The auditor's own notices: what went wrong with the audit itself, as findings of chapter `auditor`, and their pages.

Takes places and plain words, gives findings that are graded but carry no id yet (`identity.identify` sets it).
A notice never quotes more of the audited tree than a path, a symbol or the head of a comment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from auditor.finding import Confidence, Finding, Page, Severity, Witness

CHAPTER = "auditor"
AUDITOR_ERROR = "auditor-error"
UNPARSABLE_FILE = "unparsable-file"
WITHOUT_REASON = "suppression-without-reason"
UNUSED = "unused-suppression"
UNKNOWN = "unknown-suppression"

_MAX_MESSAGE = 300
_MAX_NAMES = 5


def auditor_error(rule: str, path: str, detail: str) -> Finding:
    """A rule raised on a file: `detail` is the type of the exception and its first line. Exit status 2."""
    message = f"rule {rule} stopped with an internal error here, so it has not checked this file: {detail}"
    return _notice(AUDITOR_ERROR, path, (1, 1, 1, 1), message)


def unparsable_file(path: str, reason: str, detail: str = "", *, line: int = 1, live: bool = False) -> Finding:
    """A file that was not analysed. `reason` is syntax, encoding, limit or i/o; `live` if live code imports it."""
    end = f": {detail}" if detail else ""
    message = f"the file was not analysed ({reason}{end}), so nothing in it was audited"
    severity = Severity.HIGH if live else Severity.MEDIUM
    return _notice(UNPARSABLE_FILE, path, (line, 1, line, 1), message).with_(severity=severity)


def suppression_without_reason(path: str, span: tuple[int, int, int, int], rules: Sequence[str], given: str) -> Finding:
    """`span` is (line, column, end_line, end_column) of the comment; `given` the empty words it has for a reason."""
    said = f'; "{_head(given)}" gives none' if given else ""
    return _notice(WITHOUT_REASON, path, span, f"suppression of {_listed(rules)} has no reason{said}; add `-- why`")


def unused_suppression(path: str, span: tuple[int, int, int, int], rules: Sequence[str]) -> Finding:
    message = f"suppression of {_listed(rules)} hides no finding; remove it, or the next defect here goes unseen"
    return _notice(UNUSED, path, span, message)


def unknown_suppression(path: str, span: tuple[int, int, int, int], problem: str) -> Finding:
    """`problem` says what is wrong and how to mend it."""
    return _notice(UNKNOWN, path, span, f"{problem}; it suppresses nothing")


def _notice(rule: str, path: str, span: tuple[int, int, int, int], message: str) -> Finding:
    page = PAGES[rule]
    line, column, end_line, end_column = span
    return Finding(
        rule=rule,
        path=path,
        line=line,
        column=column,
        end_line=end_line,
        end_column=end_column,
        message=message if len(message) <= _MAX_MESSAGE else message[: _MAX_MESSAGE - 3] + "...",
        severity=page.severity,
        confidence=page.confidence,
        chapter=CHAPTER,
        witnesses=(Witness("auditor", rule),),
    )


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(_head(name) for name in names[:_MAX_NAMES])
    return f"{listed} and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else listed


def _head(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[:most] + "..."


def _example(source: str) -> str:
    return f"```python\n{source}\n```"


PAGES: Mapping[str, Page] = {
    page.id: page
    for page in (
        Page(
            id=AUDITOR_ERROR,
            chapter=CHAPTER,
            title="A rule failed inside the auditor",
            severity=Severity.HIGH,
            confidence=Confidence.CERTAIN,
            what="A rule raised an exception while it looked at a file. The other rules and files go on.",
            why="What the rule would have found in this file is unknown, so the audit ends with exit status 2. "
            "Silence of this rule means nothing here.",
            bad="A rule that assumes every call has a receiver meets one that has none.",
            good="The rule is mended; until then `--ignore` the rule by its own name, which the report shows.",
            limits="A rule that fails without raising is not seen.",
            fix="Report the rule, the version and the construct",
            effort="M",
            since="0.1",
        ),
        Page(
            id=UNPARSABLE_FILE,
            chapter=CHAPTER,
            title="File that was not analysed",
            severity=Severity.HIGH,
            confidence=Confidence.CERTAIN,
            what="A file that the parser refuses, that cannot be decoded or read, or that exceeds a limit of size, "
            "depth, memory or time.",
            why="It usually cannot be imported either, and nothing in it was audited: a bot that imports it on a rare "
            "path stops there. High where live code imports it, medium elsewhere.",
            bad=_example("def close(position:\n    return position.exit()"),
            good=_example("def close(position):\n    return position.exit()"),
            limits="Syntax newer than the parser is refused too. The position is that of the parser, often one line "
            "late. A file that shall never parse belongs into `exclude`, which is counted and shown.",
            fix="Mend the file, or exclude it",
            effort="S",
            since="0.1",
        ),
        Page(
            id=WITHOUT_REASON,
            chapter=CHAPTER,
            title="Suppression without a reason",
            severity=Severity.LOW,
            confidence=Confidence.CERTAIN,
            what="`# auditor: ignore[...]` without `-- reason`, or with words that are none (`todo`, `by design`, "
            "`false positive`, `wontfix`).",
            why="A suppressed defect is an accepted risk. Without the reason nobody can tell later whether it still "
            "holds. Until it has one, the finding counts in the risk score.",
            bad=_example("time.sleep(1)  # auditor: ignore[blocking-call-in-async] -- by design"),
            good=_example("time.sleep(1)  # auditor: ignore[blocking-call-in-async] -- runs before the loop starts"),
            limits="Only empty words are known; whether a reason is true is for the reviewer.",
            fix="Write why the finding does no harm here",
            effort="S",
            since="0.1",
        ),
        Page(
            id=UNUSED,
            chapter=CHAPTER,
            title="Suppression that hides nothing",
            severity=Severity.LOW,
            confidence=Confidence.CERTAIN,
            what="A suppression whose rule ran on complete data and found nothing in its scope.",
            why="The defect is mended or has moved; the comment stays, and would hide the next one on this line.",
            bad=_example("await asyncio.sleep(1)  # auditor: ignore[blocking-call-in-async] -- short"),
            good=_example("await asyncio.sleep(1)"),
            limits="Not computed for rules that were not selected, failed, or lacked a file or a tool.",
            fix="Remove the comment, or the id from its list",
            effort="S",
            since="0.1",
        ),
        Page(
            id=UNKNOWN,
            chapter=CHAPTER,
            title="Suppression that is not understood",
            severity=Severity.LOW,
            confidence=Confidence.CERTAIN,
            what="A comment `# auditor: ...` with an unknown rule id or form, without ids, or in a place where its "
            "form does not hold.",
            why="It was meant to accept one risk and accepts none. Unknown text never widens what is hidden.",
            bad=_example("time.sleep(1)  # auditor: ignore[blocking-call] -- start-up only"),
            good=_example("time.sleep(1)  # auditor: ignore[blocking-call-in-async] -- start-up only"),
            limits="Prose after `auditor:` that resembles no form is left alone.",
            fix="Write the id as the report prints it",
            effort="S",
            since="0.1",
        ),
    )
}
