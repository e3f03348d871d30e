"""The bytes of a source file -> its text, as Python itself would read them (PEP 263), or the reason why not.

Nothing is guessed: a file that Python refuses to decode is refused here, with words for the reader. Codecs that do
more than map characters (rot13, zlib, hex) decode nothing.
"""

from __future__ import annotations

import codecs
import re
import warnings
from bisect import bisect_right
from dataclasses import dataclass

COOKIE = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
BLANK = re.compile(rb"[ \t\f]*(?:#.*)?")
LINE_END = re.compile(r"\r\n|\r|\n")
SURROGATE = re.compile("[\ud800-\udfff]")

# Codecs in which plain ASCII bytes can stand for other characters, among them line ends: a comment can hide code.
ESCAPING = frozenset({"utf-7", "unicode-escape", "raw-unicode-escape", "hz", "iso2022-kr"})
# Text codecs that Python cannot read sources in, or that no source is written in and that are slow to decode.
UNFIT = ("utf-16", "utf-32", "idna", "punycode", "undefined")
WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


class Unreadable(Exception):
    """The file cannot be analysed. `reason` is `syntax`, `encoding`, `limit` or `i/o`; `detail` names what is wrong
    and the mend, and holds no text of the file."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Text:
    """A decoded file.

    `text` has no byte order mark and its original line ends. `newline` is the line end in use (LF if there is none) or
    `mixed`. `hidden` grades the encoding for the reader: empty for UTF-8, `charset` for any other, `escapes` where
    bytes that look like a comment can be code. `exact` says that encoding the text again yields the bytes of the file.
    """

    text: str
    encoding: str
    bom: bool
    newline: str
    hidden: str
    exact: bool


class LineStarts:
    """Offsets of the lines of a text. Lines end at LF, CRLF and CR only, as in Python's own tokenizer."""

    __slots__ = ("length", "starts")

    def __init__(self, text: str) -> None:
        self.length = len(text)
        self.starts = [0, *(end.end() for end in LINE_END.finditer(text))]

    def locate(self, offset: int) -> tuple[int, int]:
        """1-based line and 1-based column (in code points) of an offset. Raises ValueError outside the text."""
        if not 0 <= offset <= self.length:
            raise ValueError(f"offset {offset} is outside the text of {self.length} characters")
        line = bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1

    def offset(self, line: int, column: int) -> int:
        """The inverse of `locate`. Raises ValueError for a line that the text does not have."""
        if not 1 <= line <= len(self.starts):
            raise ValueError(f"line {line} is outside the text of {len(self.starts)} lines")
        return min(self.starts[line - 1] + column - 1, self.length)


def decode(data: bytes) -> Text:
    """The text of a source file. Raises Unreadable."""
    if data.startswith(WIDE_MARKS):
        raise Unreadable("encoding", "the file is UTF-16 or UTF-32, which Python does not read; save it as UTF-8")
    bom = data.startswith(codecs.BOM_UTF8)
    body = data[len(codecs.BOM_UTF8) :] if bom else data
    cookie = declared(body)
    encoding = "utf-8" if cookie is None else _codec(cookie)
    if bom and encoding != "utf-8":
        raise Unreadable(
            "encoding", f"the file begins with a UTF-8 byte order mark but declares {encoding}; drop the declaration"
        )
    text = _decoded(body, encoding, cookie is not None)
    if "\0" in text:
        line = len(LINE_END.findall(text[: text.index("\0")])) + 1
        raise Unreadable("syntax", f"byte \\x00 in line {line}; Python source cannot contain it")
    if encoding == "utf-8":
        return Text(text, encoding, bom, newline_style(text), hidden="", exact=True)
    if SURROGATE.search(text):
        raise Unreadable("encoding", f"decoded as {encoding}, the file contains half of a surrogate pair")
    escapes = encoding in ESCAPING or _line_ends(text) != _line_ends(body.decode("latin-1"))
    hidden = "escapes" if escapes else "charset"
    return Text(text, encoding, bom, newline_style(text), hidden, exact=_encodes(text, encoding, body))


def declared(body: bytes) -> str | None:
    """The encoding that a comment in line 1 or 2 declares (line 2 counts only after a blank line or a comment)."""
    for line in re.split(rb"\r\n|\r|\n", body[:8192], maxsplit=2)[:2]:
        if found := COOKIE.match(line):
            return found[1].decode("ascii")
        if not BLANK.fullmatch(line):
            return None
    return None


def newline_style(text: str) -> str:
    r"""`\n`, `\r\n`, `\r` or `mixed`."""
    crlf, lf, cr = _line_ends(text)
    used = [end for end, count in (("\r\n", crlf), ("\n", lf), ("\r", cr)) if count]
    return used[0] if len(used) == 1 else "mixed" if used else "\n"


def _line_ends(text: str) -> tuple[int, int, int]:
    """How many CRLF, lone LF and lone CR."""
    crlf = text.count("\r\n")
    return crlf, text.count("\n") - crlf, text.count("\r") - crlf


def _codec(cookie: str) -> str:
    """The name of the declared codec, normalised. Raises Unreadable for those that no source may have."""
    lowered = cookie.lower().replace("_", "-")
    if lowered in ("utf-8", "utf8") or lowered.startswith("utf-8-"):
        return "utf-8"
    try:
        codec = codecs.lookup(cookie)
    except (LookupError, ValueError):
        raise Unreadable("encoding", f"the declared encoding {cookie[:40]!r} is unknown; declare utf-8") from None
    name = codec.name.replace("_", "-")
    if not codec._is_text_encoding or name.startswith(UNFIT):
        raise Unreadable("encoding", f"the declared encoding {cookie[:40]!r} is none for source text; declare utf-8")
    return name


def _decoded(body: bytes, encoding: str, is_declared: bool) -> str:
    try:
        if encoding == "utf-8":
            return body.decode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unicode-escape warns about escapes it does not know
            return body.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", body[: error.start])) + 1
        byte = f"byte \\x{body[error.start]:02x}" if error.start < len(body) else "the end of the file"
        mend = "" if is_declared else "; save the file as UTF-8 or declare its encoding in line 1"
        raise Unreadable("encoding", f"{byte} in line {line} is not {encoding}{mend}") from None
    except (UnicodeError, ValueError, OverflowError):
        raise Unreadable("encoding", f"the file cannot be decoded as {encoding}, the encoding it declares") from None


def _encodes(text: str, encoding: str, body: bytes) -> bool:
    try:
        return text.encode(encoding) == body
    except (UnicodeError, ValueError):
        return False
