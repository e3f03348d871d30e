"""The comments of a text, for suppressions and marks: what the tokenizer calls a comment, so strings hold none.

The scanner is our own, because Python's reads f-strings differently from one release to the next and stops at the
first fault. This one reads them as Python 3.12 does, and goes on behind a string that is not closed: at the next line,
or at the end of the text if it is triple-quoted. It costs more than a search for a keyword in the bytes, so ask
`mentions` first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from auditor.source.text import LineStarts

# What matters in code: comments, where a string begins and, inside a replacement field, what can end the field.
CODE = re.compile(
    r"(?P<comment>#[^\r\n]*+)"
    r"|(?P<formatted>(?<!\w)(?i:[ft]r?|r[ft]))?(?P<quote>'''|\"\"\"|'|\")"
    r"|(?P<mark>[()\[\]{}:\r\n])"
)
# The rest of a plain string behind its opening quote. Possessive groups: linear on any text.
PLAIN = {
    "'": re.compile(r"(?:[^\\'\r\n]++|\\(?:\r\n|.))*+'?+", re.DOTALL),
    '"': re.compile(r'(?:[^\\"\r\n]++|\\(?:\r\n|.))*+"?+', re.DOTALL),
    "'''": re.compile(r"(?:[^\\']++|\\.|'(?!''))*+(?:''')?+", re.DOTALL),
    '"""': re.compile(r'(?:[^\\"]++|\\.|"(?!""))*+(?:""")?+', re.DOTALL),
}
# The literal part of an f-string: it runs to a field, to the end of a field's format, or to a possible closing quote.
LITERAL = re.compile(r"(?:[^\\{}'\"\r\n]++|\{\{|\\N\{[^{}'\"\r\n]*+\}|\\(?:\r\n|[^{}]))*+", re.DOTALL)
FORMAT = re.compile(r"(?:[^\\{}'\"\r\n]++|\\(?:\r\n|[^{}]))*+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Comment:
    """`text` with its `#`; 1-based position in code points; `alone_on_line` if nothing but blanks stands before it."""

    line: int
    column: int
    text: str
    alone_on_line: bool


def mentions(data: bytes, keywords: Iterable[bytes]) -> bool:
    """Whether any of the keywords stands anywhere in the bytes, so that reading the comments can pay."""
    return any(keyword in data for keyword in keywords)


def comments(text: str) -> list[Comment]:
    """All comments of the text in order. Never raises: of a text that is no Python it gives what can be told."""
    lines = LineStarts(text)
    found = []
    for start, end in _Scanner(text).spans():
        line, column = lines.locate(start)
        before = text[start - column + 1 : start]
        found.append(Comment(line, column, text[start:end], not before.strip(" \t\f")))
    return found


class _Field:
    """An open replacement field of an f-string: the quote of its string and the brackets open inside the field."""

    __slots__ = ("brackets", "formatting", "quote")

    def __init__(self, quote: str) -> None:
        self.quote = quote
        self.brackets = 0
        self.formatting = False


class _Scanner:
    """Walks the text once. `fields` is the stack of open replacement fields; empty in ordinary code."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.fields: list[_Field] = []

    def spans(self) -> Iterable[tuple[int, int]]:
        """(start, end) of each comment."""
        while token := CODE.search(self.text, self.at):
            self.at = token.end()
            if token["comment"] is not None:
                yield token.span()
            elif (quote := token["quote"]) is not None:
                if token["formatted"] is None:
                    self.at = _end(PLAIN[quote], self.text, self.at)
                else:
                    self._literal(quote)
            elif self.fields:
                self._mark(token["mark"])

    def _mark(self, mark: str) -> None:
        """A bracket, colon or line end inside a replacement field."""
        field = self.fields[-1]
        if mark in "([{":
            field.brackets += 1
        elif field.brackets and mark in ")]}":
            field.brackets -= 1
        elif mark == "}":
            self.fields.pop()
            self._resume(field.quote)
        elif mark == ":" and not field.brackets:
            field.formatting = True
            self._literal(field.quote, formatting=True)
        elif mark in "\r\n" and len(field.quote) == 1 and not field.brackets:
            # 3.12 allows line ends inside any field; a field that is not closed in the line of a one-line string is far
            # more often a fault, and reading on as code loses nothing.
            self.fields.clear()

    def _resume(self, quote: str) -> None:
        """Behind the end of a field: the literal goes on, of the string or of an outer field's format."""
        outer = self.fields[-1] if self.fields else None
        self._literal(quote, formatting=outer is not None and outer.formatting and outer.quote == quote)

    def _literal(self, quote: str, *, formatting: bool = False) -> None:
        """Reads literal text up to the next field, the end of the string, or the end of the format."""
        text = self.text
        while True:
            self.at = _end(FORMAT if formatting else LITERAL, text, self.at)
            if self.at >= len(text):
                return
            if text.startswith(quote, self.at):
                self.at += len(quote)
                if formatting:  # the string ends inside a field: it was not closed
                    self.fields.pop()
                return
            sign = text[self.at]
            self.at += 1
            if sign == "{":
                self.fields.append(_Field(quote))
                return
            if sign == "}" and formatting:
                self.fields.pop()
                outer = self.fields[-1] if self.fields else None
                formatting = outer is not None and outer.formatting and outer.quote == quote
            elif sign in "\r\n" and len(quote) == 1:
                if formatting:
                    self.fields.pop()
                return


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a pattern that matches anything, at worst nothing, ends."""
    match = pattern.match(text, at)
    return at if match is None else match.end()
