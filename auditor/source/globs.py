"""Patterns of `.gitignore` and of `exclude` -> which of them decides about a path.

Patterns come from the audited tree, so matching must not backtrack: each `*` is an atomic group that takes the
shortest text up to what follows it, which for glob patterns finds a match whenever there is one. Imports nothing but
`re`, for the answer from the cache passes here.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST = 1000
MOST = 10_000


class Patterns:
    """The patterns of one file, with the rules of gitignore: the last that matches decides, `!` re-includes, a `/`
    inside or in front anchors, a `/` at the end means directories. Paths are relative to the folder of the file.

    `refused` lists patterns that are not used, because they are too long or not valid.
    """

    __slots__ = ("_compiled", "refused", "texts")

    def __init__(self, lines: Iterable[str]) -> None:
        self.texts: list[str] = []
        self.refused: list[str] = []
        self._compiled: list[tuple[re.Pattern[str], bool, bool]] = []
        for line in lines:
            compiled = _compile(line) if len(line) <= LONGEST and len(self.texts) < MOST else None
            if compiled is not None:
                self.texts.append(line)
                self._compiled.append(compiled)
            elif _meaning(line):
                self.refused.append(line)

    def deciding(self, path: str, *, is_directory: bool = False) -> int | None:
        """Index (in `texts`) of the last pattern that matches this very path, not its parents, or None."""
        for index in range(len(self._compiled) - 1, -1, -1):
            pattern, _, directories = self._compiled[index]
            if (is_directory or not directories) and pattern.fullmatch(path):
                return index
        return None

    def ignores(self, index: int) -> bool:
        """Whether pattern `index` leaves out (`!` brings back)."""
        return self._compiled[index][1]

    def excluding(self, path: str) -> int | None:
        """Index of the pattern that leaves out the file `path`, itself or with one of its parent folders. Below a
        folder that is left out nothing can be brought back, as in git."""
        if not self._compiled:
            return None
        end = path.find("/")
        while end != -1:
            index = self.deciding(path[:end], is_directory=True)
            if index is not None and self.ignores(index):
                return index
            end = path.find("/", end + 1)
        index = self.deciding(path)
        return index if index is not None and self.ignores(index) else None


def _meaning(line: str) -> str:
    """The pattern of a line without comment, line end and trailing blanks (which a backslash can keep)."""
    line = line.rstrip("\r\n")
    if line.startswith("#"):
        return ""
    end = len(line)
    while end and line[end - 1] == " " and (end < 2 or line[end - 2] != "\\"):
        end -= 1
    return line[:end]


def _compile(line: str) -> tuple[re.Pattern[str], bool, bool] | None:
    """(regular expression, leaves out, only directories) of one line; None if it means nothing or is not valid."""
    text = _meaning(line)
    negated = text.startswith("!")
    text = text[negated:]
    directories = text.endswith("/")
    text = text.rstrip("/") if directories else text
    anchored = "/" in text
    text = text.removeprefix("/")
    if not text or text.startswith("/") or "//" in text:
        return None
    segments = text.split("/")
    if not anchored and segments != ["**"]:
        segments.insert(0, "**")
    try:
        return re.compile(_expression(segments), re.DOTALL), not negated, directories
    except (re.error, ValueError, OverflowError):
        return None


def _expression(segments: list[str]) -> str:
    """The regular expression of a list of path segments. `**` between slashes is any number of folders; at the end, all
    that is inside."""
    segments = [s for i, s in enumerate(segments) if not (i and s == segments[i - 1] == "**")]
    # Groups of segments between `**`. All but the last are found at their first possible place, for good (atomic).
    out: list[str] = []
    pending = ""
    loose = False  # a `**` stands before `pending`
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment != "**":
            pending += _segment(segment) + ("" if last else "/")
            continue
        if pending:
            out.append(f"(?>(?:[^/]+/)*?{pending})" if loose else pending)
            pending = ""
        if last:
            return "".join(out) + ".+"
        loose = True
    out.append(f"(?:[^/]+/)*?{pending}" if loose else pending)
    return "".join(out)


def _segment(segment: str) -> str:
    """One path segment: `*`, `?`, `[...]` and backslash escapes. What stands between two stars is found at its first
    possible place, for good."""
    pieces: list[list[str]] = [[]]
    at = 0
    while at < len(segment):
        sign = segment[at]
        at += 1
        if sign == "*":
            if pieces[-1] or len(pieces) == 1:
                pieces.append([])
        elif sign == "?":
            pieces[-1].append("[^/]")
        elif sign == "[":
            at = _class(segment, at, pieces[-1])
        else:
            if sign == "\\":
                if at == len(segment):
                    raise ValueError("a pattern cannot end with a backslash")
                sign = segment[at]
                at += 1
            pieces[-1].append(re.escape(sign))
    texts = ["".join(piece) for piece in pieces]
    if len(texts) == 1:
        return texts[0]
    middle = "".join(f"(?>[^/]*?{text})" for text in texts[1:-1] if text)
    # A star alone needs one character: an empty path segment does not exist.
    alone = not "".join(texts)
    return f"{texts[0]}{middle}{'[^/]+' if alone else f'[^/]*{texts[-1]}'}"


def _class(segment: str, at: int, out: list[str]) -> int:
    """A bracket expression that begins at `at`; gives where it ends. Raises ValueError if it is not closed."""
    begin = at
    at += segment.startswith(("!", "^"), at)
    negated = at > begin
    members = ""
    first = True
    while at < len(segment) and (segment[at] != "]" or first):
        first = False
        if segment.startswith("[:", at) and (end := segment.find(":]", at)) != -1:
            members += POSIX[segment[at + 2 : end]] if segment[at + 2 : end] in POSIX else _unknown(segment)
            at = end + 2
            continue
        if segment[at] == "\\" and at + 1 < len(segment):
            at += 1
        low = segment[at]
        at += 1
        if segment.startswith("-", at) and at + 1 < len(segment) and segment[at + 1] != "]":
            high_at = at + 1 + (segment[at + 1] == "\\" and at + 2 < len(segment))
            high = segment[high_at]
            at = high_at + 1
            members += f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""
        else:
            members += re.escape(low)
    if at >= len(segment):
        raise ValueError("a bracket expression is not closed")
    if negated:
        out.append(f"[^/{members}]")
    else:
        out.append(f"(?!/)[{members}]" if members else "(?!)")
    return at + 1


def _unknown(segment: str) -> str:
    raise ValueError(f"no such character class in {segment!r}")


POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "digit": "0-9",
    "lower": "a-z",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
