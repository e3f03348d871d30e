"""Redaction of secrets in text that comes from outside, before it is stored, cached or shown.

Works on text, not on trees: also for comments and for files that do not parse. What stays is the kind, the length and,
of a well-known prefix, at most four characters. Errs towards redacting too much.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

_SHOWN = 4
_SHORTEST_LITERAL = 4
_RANDOM_BITS = 3.8
_RANDOM_DIGITS = 3

_KEYS: tuple[tuple[str, str], ...] = (
    ("AWS key id", r"\b(?:AKIA|ASIA|AIDA|AROA)[0-9A-Z]{16}\b"),
    ("GitHub token", r"\b(?:gh[pousr]_[0-9A-Za-z]{20,}|github_pat_\w{20,})"),
    ("GitLab token", r"\bglpat-[\w-]{16,}"),
    ("Slack token", r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}"),
    ("Google API key", r"\bAIza[\w-]{30,}"),
    ("payment key", r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{10,}"),
    ("API key", r"\bsk-[\w-]{20,}"),
    ("package index token", r"\bpypi-[\w-]{20,}"),
    ("npm token", r"\bnpm_[0-9A-Za-z]{20,}"),
    ("model hub token", r"\bhf_[0-9A-Za-z]{20,}"),
    ("mail service key", r"\bSG\.[\w-]{16,}\.[\w-]{16,}"),
    ("chat bot token", r"\b\d{8,10}:AA[\w-]{30,}"),
    ("JSON web token", r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"),
)
_PEM = re.compile(r"-----BEGIN [A-Z ]{0,40}-----[\s\S]{0,20000}?(?:-----END [A-Z ]{0,40}-----|\Z)")
_URL_PASSWORD = re.compile(r"(?<=://)([^\s:/@'\"]{0,200}):([^\s@/'\"]{1,200})(?=@)")
_KEY = re.compile("|".join(f"(?P<k{number}>{pattern})" for number, (_, pattern) in enumerate(_KEYS)))
_HEX = re.compile(r"\b(?:0x)?[0-9a-fA-F]{32,}\b")
_DENSE = re.compile(r"(?<![\w/+.-])[A-Za-z0-9+/]{32,}={0,2}(?![\w/+.-])")
_NAMES = r"(?:passw(?:or)?d|passwd|pwd|passphrase|secret|token|api_?key|private_?key|access_?key|mnemonic|credential)"
_NAME = re.compile(rf"{_NAMES}\w{{0,40}}", re.IGNORECASE)
_ASSIGNED = re.compile(
    _NAMES + r"\w{0,40}"
    r"""["']?\]?[ \t]{0,8}(?::[ \t]{0,8}\w{1,40}[ \t]{0,8})?[=:][ \t]{0,8}[rbuf]{0,2}(["'])([^"'\r\n]{4,400})\1""",
    re.IGNORECASE,
)
_MARK = r"<redacted [^<>]*>"
_QUOTED = re.compile(r"""(["'])((?:[^"'\\]|\\.){1,400})\1""")


def redact(text: str, literals: Iterable[str] = ()) -> str:
    """The text without PEM blocks, passwords in URLs, key-shaped tokens and the given literals."""
    text = _PEM.sub(lambda match: _mark("PEM block", match[0]), text)
    text = _URL_PASSWORD.sub(lambda match: f"{match[1]}:{_mark('password', match[2])}", text)
    text = _KEY.sub(_key_mark, text)
    text = _HEX.sub(lambda match: _mark("hexadecimal key", match[0]), text)
    text = _DENSE.sub(lambda match: _mark("key", match[0]) if _looks_random(match[0]) else match[0], text)
    return _without_literals(text, [each for each in set(literals) if len(each) >= _SHORTEST_LITERAL])


def _without_literals(text: str, literals: Iterable[str]) -> str:
    """Longest first, in one pass, and not inside of a mark."""
    alternatives = "|".join(map(re.escape, sorted(literals, key=lambda each: (-len(each), each))))
    if not alternatives:
        return text
    pattern = re.compile(rf"({_MARK})|(?<!\w)(?:{alternatives})(?!\w)")
    return pattern.sub(lambda match: match[1] or _mark("secret", match[0]), text)


def redact_quoted(text: str) -> str:
    """The text without the content of any quoted part: for messages of secret detectors, which quote their find."""
    return redact(_QUOTED.sub(lambda match: _mark("secret", match[2]), text))


def literals_of(source: str) -> frozenset[str]:
    """String literals that a source assigns to a name of a secret. A literal that is itself such a name
    (`password = "password"`) is none: to take it out of a message would hide what the message is about."""
    return frozenset(match[2] for match in _ASSIGNED.finditer(source) if not _NAME.fullmatch(match[2]))


def _key_mark(match: re.Match[str]) -> str:
    kind = _KEYS[int((match.lastgroup or "k0")[1:])][0]
    return _mark(kind, match[0], match[0][:_SHOWN])


def _mark(kind: str, secret: str, prefix: str = "") -> str:
    begins = f', begins "{prefix}"' if prefix else ""
    return f"<redacted {kind}: {len(secret)} characters{begins}>"


def _looks_random(token: str) -> bool:
    """Letters of both cases, digits, and much information per character: words joined together have less."""
    counts = Counter(token)
    bits = -sum(count / len(token) * math.log2(count / len(token)) for count in counts.values())
    digits = sum(character.isdigit() for character in token)
    mixed = token.lower() != token and token.upper() != token
    return mixed and digits >= _RANDOM_DIGITS and bits >= _RANDOM_BITS
