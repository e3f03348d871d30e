"""Spellings of literals -> the values that `Const` holds. Nothing is evaluated by Python: spellings are hostile text."""

from __future__ import annotations

import re
import unicodedata

ESCAPE = re.compile(r"\\(?:N\{([^}]*)\}|U([0-9a-fA-F]{8})|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([0-7]{1,3})|(\n|.))", re.S)
SINGLE = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "\\": "\\", "'": "'", '"': '"', "\n": ""}


def literal_text(spelling: str) -> tuple[str, str]:
    """(kind, value) of a string literal. Bytes are one character each. An escape that Python refuses stays as it is."""
    quote = spelling.find('"') if "'" not in spelling else min(i for i in map(spelling.find, "\"'") if i >= 0)
    prefix = spelling[:quote].lower()
    width = 3 if spelling[quote : quote + 3] in ('"""', "'''") else 1
    inner = spelling[quote + width : len(spelling) - width]
    kind = "bytes" if "b" in prefix else "str"
    return kind, unescaped(inner, raw="r" in prefix, is_bytes=kind == "bytes")


def unescaped(inner: str, *, raw: bool, is_bytes: bool = False) -> str:
    """The value of what stands between the quotes."""
    if "\r" in inner:
        inner = inner.replace("\r\n", "\n").replace("\r", "\n")
    if raw or "\\" not in inner:
        return inner
    return ESCAPE.sub(_byte if is_bytes else _character, inner)


def _character(match: re.Match[str]) -> str:
    name, long, short, two, octal, single = match.groups()
    if single is not None:
        return SINGLE.get(single, match.group())
    if name is not None:
        try:
            return unicodedata.lookup(name)
        except KeyError:
            return match.group()
    code = int(octal, 8) if octal is not None else int(long or short or two, 16)
    return chr(code) if code <= 0x10FFFF else match.group()  # the last code point of Unicode


def _byte(match: re.Match[str]) -> str:
    name, long, short, two, octal, single = match.groups()
    if name is not None or long is not None or short is not None:
        return match.group()
    if single is not None:
        return SINGLE.get(single, match.group())
    return chr(int(octal, 8) & 255) if octal is not None else chr(int(two, 16))


def integer_text(spelling: str) -> str:
    """`0x1F`, `1_000` -> decimal digits. A number too long for Python to print keeps its spelling."""
    if spelling.isdecimal() and spelling[0] != "0":
        return spelling
    try:
        return str(int(spelling, 0))
    except ValueError:
        return spelling.replace("_", "").lower()


def float_text(spelling: str) -> str:
    """Digits as written: what becomes of them depends on the type that reads them."""
    return spelling.replace("_", "").lower()
