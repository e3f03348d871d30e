"""The waivers of other tools in a source: `# noqa`, `# ruff: noqa`, `# nosec`, `# type: ignore`, `# mypy: ...`.

Takes the Python text of one file, answers which comment waives a code on a line. The tools run with their waivers
switched off, so that what is hidden can be listed. Free text after a waiver never widens it.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Mapping

from auditor.tools.stage import split_lines

_CODE = r"[A-Z]{1,10}[0-9]{1,6}"
_CODES = rf"(?P<colon>\s*:\s*(?P<codes>{_CODE}(?:[,\s]+{_CODE})*)?)?"
_NOQA = re.compile(rf"#\s*noqa{_CODES}", re.IGNORECASE)
_FILE_NOQA = re.compile(rf"#\s*(?:ruff|flake8)\s*:\s*noqa{_CODES}", re.IGNORECASE)
_NOSEC = re.compile(r"#\s*nosec\b[:\s]*(?P<rest>[^#]*)", re.IGNORECASE)
_NOSEC_ID = re.compile(r"B\d{3}|[a-z]+(?:_[a-z0-9]+)+")
_TYPE_IGNORE = re.compile(r"#\s*type:\s*ignore(?:\[(?P<codes>[\w\s,-]*)\])?")
_MYPY = re.compile(r"#\s*mypy:\s*(?P<setting>.*)")
_DISABLED = re.compile(r"disable-error-code\s*=\s*\"?(?P<codes>[\w,\s-]+)\"?")
_ANY = re.compile(r"#.*\b(?:noqa|nosec|type:\s*ignore|mypy:)", re.IGNORECASE)


class Waivers:
    """The waivers of one file, read once."""

    def __init__(self, source: str) -> None:
        self._comments = _comments(source) if _ANY.search(source) else {}
        self._first_code_line = _first_code_line(source) if self._comments else 0

    @property
    def blanket(self) -> tuple[tuple[int, str], ...]:
        """(line, waiver) of those that name no code and so hide everything of their tool."""
        found = []
        for line, comment in sorted(self._comments.items()):
            forms = [_ruff_waiver(comment, None), _file_noqa(comment, None), _bandit_waiver(comment, ())]
            ignore = _TYPE_IGNORE.search(comment)
            if ignore and ignore["codes"] is None:
                forms.append("# type: ignore")
            found += [(line, form) for form in forms if form is not None]
        return tuple(found)

    def of_ruff(self, code: str, lines: Iterable[int]) -> str | None:
        """The comment that waives a code of ruff on one of the lines, or in the whole file."""
        for comment in self._on(lines):
            if waiver := _ruff_waiver(comment, code):
                return waiver
        for _, comment in sorted(self._comments.items()):
            if waiver := _file_noqa(comment, code):
                return waiver
        return None

    def of_bandit(self, names: tuple[str, ...], lines: Iterable[int]) -> str | None:
        """The comment that waives a test of bandit; `names` are its id and its name."""
        for comment in self._on(lines):
            if waiver := _bandit_waiver(comment, names):
                return waiver
        return None

    def of_mypy(self, code: str, lines: Iterable[int]) -> str | None:
        """The comment that waives an error code of mypy on one of the lines, or in the whole file."""
        for comment in self._on(lines):
            if waiver := _mypy_waiver(comment, code):
                return waiver
        for line, comment in sorted(self._comments.items()):
            # Before the first statement a bare `type: ignore` is for the file.
            if line < self._first_code_line and (waiver := _mypy_waiver(comment, code)):
                return waiver
            if waiver := _mypy_setting(comment, code):
                return waiver
        return None

    def _on(self, lines: Iterable[int]) -> list[str]:
        return [self._comments[line] for line in sorted(set(lines)) if line in self._comments]


def blanket_waivers(sources: Mapping[str, str]) -> tuple[tuple[str, int, str], ...]:
    """(path, line, waiver) of all blanket waivers, for the coverage section."""
    return tuple((path, line, form) for path in sorted(sources) for line, form in Waivers(sources[path]).blanket)


def _codes(text: str | None) -> list[str]:
    return re.split(r"[,\s]+", text.strip()) if text and text.strip() else []


def _ruff_waiver(comment: str, code: str | None) -> str | None:
    """With a code: what waives it. With None: the blanket form, if it is one."""
    for match in _NOQA.finditer(comment):
        if match["colon"] is None:
            return "# noqa"
        codes = [each.upper() for each in _codes(match["codes"])]
        if code is not None and code in codes:
            return f"# noqa: {code}"
    return None


def _file_noqa(comment: str, code: str | None) -> str | None:
    match = _FILE_NOQA.search(comment)
    if match is None:
        return None
    if match["colon"] is None:
        return "# ruff: noqa"
    codes = [each.upper() for each in _codes(match["codes"])]
    return f"# ruff: noqa: {code}" if code is not None and code in codes else None


def _bandit_waiver(comment: str, names: tuple[str, ...]) -> str | None:
    match = _NOSEC.search(comment)
    if match is None:
        return None
    named = _NOSEC_ID.findall(match["rest"])
    if not named:
        return "# nosec"
    return f"# nosec {names[0]}" if set(names) & set(named) else None


def _mypy_waiver(comment: str, code: str) -> str | None:
    match = _TYPE_IGNORE.search(comment)
    if match is None:
        return None
    if match["codes"] is None:
        return "# type: ignore"
    return f"# type: ignore[{code}]" if code in _codes(match["codes"]) else None


def _mypy_setting(comment: str, code: str) -> str | None:
    match = _MYPY.search(comment)
    if match is None:
        return None
    setting = match["setting"].replace("_", "-")
    if re.search(r"\bignore-errors\b(?!\s*=\s*false)", setting, re.IGNORECASE):
        return "# mypy: ignore-errors"
    disabled = _DISABLED.search(setting)
    return f"# mypy: disable-error-code={code}" if disabled and code in _codes(disabled["codes"]) else None


def _comments(source: str) -> dict[int, str]:
    """Line -> its comment. Read by the tokenizer, so that text in strings is text; what it cannot read (syntax newer
    than the running Python, or none at all) is read up to there."""
    found: dict[int, str] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source, newline=None).readline):
            if token.type == tokenize.COMMENT:
                found[token.start[0]] = token.string
    except (tokenize.TokenError, SyntaxError, RecursionError):
        return found
    return found


def _first_code_line(source: str) -> int:
    for number, line in enumerate(split_lines(source), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            return number
    return len(source) + 1
