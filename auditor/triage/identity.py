"""Identity of a finding: what stays equal when lines move, code is reformatted and comments change.

Takes findings and the text of the statement that each stands on; gives keys (the baseline's) and ids (the report's).
The tokens are cut here, not by the standard library: its tokens of an f-string differ between Python versions, and a
fragment that is no valid program must have an identity too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from auditor.finding import Finding
from auditor.triage.secrets import redact

SCHEME = "auditor/1"
MAX_ANCHOR = 2_000  # characters; the rest of a longer statement enters as a digest

# Every repetition stops at a character that the next part takes, so nothing is ever tried twice: linear in the text.
_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\f\v]++|\\(?:\r\n|\n|\r))+)
      | (?P<line>\r\n|\n|\r)
      | (?P<comment>\#[^\r\n]*+)
      | (?P<string>(?P<prefix>[rRbBuUfFtT]{0,2}+)
            (?: \"\"\"[^"\\]*+(?:(?:\\.|"(?!""))[^"\\]*+)*(?:\"\"\"|\\?\Z)
              | \'\'\'[^'\\]*+(?:(?:\\.|'(?!''))[^'\\]*+)*(?:\'\'\'|\\?\Z)
              | "[^"\\\r\n]*+(?:\\(?:\r\n|.)[^"\\\r\n]*+)*(?:"|(?=[\r\n])|\\?\Z)
              | '[^'\\\r\n]*+(?:\\(?:\r\n|.)[^'\\\r\n]*+)*(?:'|(?=[\r\n])|\\?\Z) ))
      | (?P<number>(?:\d|\.\d)(?:[eE][+-]|[\w.])*)
      | (?P<name>\w++)
      | (?P<operator>\*\*=|//=|>>=|<<=|\.\.\.|->|:=|\*\*|//|>>|<<|<=|>=|==|!=|[-+*/%&|^@]=|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_LINES = re.compile(r"[^\r\n]*+(?:\r\n|\n|\r)|[^\r\n]++")
_COMPOUND = frozenset(
    {"if", "elif", "else", "for", "while", "with", "try", "except", "finally", "def", "class", "async", "match", "case"}
)
_SOFT = frozenset({"match", "case"})
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")
# Between these a formatter may set or drop parentheses around the whole expression.
_BEFORE = frozenset(
    {"return", "yield", "in", "if", "elif", "while", "assert", "raise", "del", "import", "with", "for", "\n", ";"}
    | {"=", "+=", "-=", "*=", "/=", "//=", "%=", "**=", "|=", "&=", "^=", ">>=", "<<=", "@="}
)
_AFTER = frozenset({":", "=", "as", ";", "\n"})

_SECRET_NAME = re.compile(
    r"secret|token|passw|passphrase|pwd|api_?key|private_?key|access_?key|mnemonic|credential|auth|signature", re.I
)
_SECRET_RULE = re.compile(r"secret|credential|password|^(?:ruff/S|bandit/B)10[567]$")
_GIVES = frozenset({"=", ":", "==", "!=", ",", "(", "or", "else", "return"})  # what can stand between name and value
_HIDDEN = '"<hidden>"'


@dataclass(frozen=True, slots=True)
class Identity:
    """A finding, with its id set, and what the id was made of."""

    finding: Finding
    key: str
    anchor: str
    sink: str
    occurrence: int


def _no_roll_up(_finding: Finding) -> bool:
    return False


def anchor(
    text: str,
    start_line: int = 1,
    end_line: int | None = None,
    *,
    hide_strings: bool = False,
) -> str:
    """The statement in lines `start_line` to `end_line` (1-based, inclusive) of `text` as one line of tokens.

    Comments, layout, redundant outer parentheses and trailing commas are left out, quotes are double, a compound
    statement is its header, decorators do not count. String literals that may be secrets are replaced (all of them
    with `hide_strings`): the digest of a short secret can be guessed.
    """
    lines = _LINES.findall(text)[start_line - 1 : end_line]
    tokens = _unwrapped(_header(_tokens("".join(lines), hide_strings)))
    joined = " ".join(lexeme for lexeme in tokens if lexeme != "\n")
    if len(joined) <= MAX_ANCHOR:
        return joined
    rest = hashlib.sha256(joined[MAX_ANCHOR - 20 :].encode("utf-8", "surrogatepass")).hexdigest()
    return f"{joined[: MAX_ANCHOR - 20]} ... {rest[:12]}"


def key(rule: str, path: str, symbol: str, anchor_text: str, sink: str) -> str:
    """64 hex digits. No line number and no message is in it."""
    return _digest([SCHEME, rule, path, symbol, anchor_text, sink])


def sink_of(finding: Finding) -> str:
    """The name of the last proof step, empty for a rule without proof."""
    return finding.proof[-1].name if finding.proof else ""


def identities(
    findings: Iterable[Finding],
    statement_text: Callable[[str, int], str],
    *,
    roll_up: Callable[[Finding], bool] = _no_roll_up,
) -> tuple[Identity, ...]:
    """One identity per finding, in the order of the findings.

    `statement_text(path, line)` is the source of the statement on that line (the line itself where there is no tree).
    Of a roll-up only rule, path and symbol count: one site more is the same finding.
    """
    listed = list(findings)
    parts = []
    for finding in listed:
        text, last = "", ""
        if not roll_up(finding):
            hide = _SECRET_RULE.search(finding.rule) is not None
            text = anchor(statement_text(finding.path, finding.line), hide_strings=hide)
            last = sink_of(finding)
        parts.append((key(finding.rule, finding.path, finding.symbol, text, last), text, last))
    seen: Counter[str] = Counter()
    made: dict[int, Identity] = {}
    for index in sorted(range(len(listed)), key=lambda index: _place(listed[index])):
        digest, text, last = parts[index]
        identified = listed[index].with_(id=f"AUD-{_digest([digest, seen[digest]])[:12]}")
        made[index] = Identity(identified, digest, text, last, seen[digest])
        seen[digest] += 1
    return tuple(made[index] for index in range(len(listed)))


def identify(
    findings: Iterable[Finding],
    statement_text: Callable[[str, int], str],
    *,
    roll_up: Callable[[Finding], bool] = _no_roll_up,
) -> tuple[Finding, ...]:
    """The findings with their ids set, in the same order. See `identities`."""
    return tuple(made.finding for made in identities(findings, statement_text, roll_up=roll_up))


def _place(finding: Finding) -> tuple[int, int, int, int, str]:
    return finding.line, finding.column, finding.end_line, finding.end_column, finding.message


def _digest(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode("ascii")).hexdigest()


# --- tokens --------------------------------------------------------------------------------------------------------


def _tokens(text: str, hide_strings: bool) -> list[str]:
    """Tokens without space and comments. Inside brackets a line break is space; elsewhere it is the token `\n`."""
    tokens: list[str] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        kind, lexeme = match.lastgroup, match.group()
        if kind == "line" and depth == 0 and tokens and tokens[-1] != "\n":
            tokens.append("\n")
        if kind in ("space", "comment", "line"):
            continue
        if kind == "string":
            lexeme = _string(lexeme, match["prefix"], tokens, hide_strings)
        elif kind == "number":
            lexeme = lexeme.lower()
        depth = max(depth + (lexeme in _OPEN) - (lexeme in _CLOSE), 0)
        if lexeme in _CLOSE and tokens and tokens[-1] == ",":
            tokens.pop()
        tokens.append(lexeme)
    while tokens and tokens[-1] == "\n":
        tokens.pop()
    return tokens


def _string(literal: str, prefix: str, before: list[str], hide: bool) -> str:
    """The literal with double quotes and a lower-case prefix without `u`; or the mark of a hidden one."""
    body = literal[len(prefix) :]
    quote = body[:3] if body[:3] in ('"""', "'''") else body[:1]
    closed = len(body) >= 2 * len(quote) and body.endswith(quote)
    inner = body[len(quote) : len(body) - len(quote) if closed else len(body)]
    if hide or _is_secret(inner, before):
        return _HIDDEN
    kept = "".join(sorted(prefix.lower().replace("u", "")))
    if len(quote) == 1 and "r" not in kept:
        inner = inner.replace("\\'", "'")
        inner = inner.replace('"', '\\"') if quote == "'" else inner
    double = '"' * len(quote)
    return f"{kept}{double}{inner}{double}"


def _is_secret(inner: str, before: list[str]) -> bool:
    """By its own shape, or by the name that it is given to: `password = "x"`, `{"token": "x"}`,
    `os.getenv("API_KEY", "x")`, `password: str = "x"`. Errs towards hiding: two statements that differ in a hidden
    literal only are told apart by their occurrence."""
    if redact(inner) != inner:
        return True
    named = bool(before) and before[-1] in _GIVES
    return named and any(_SECRET_NAME.search(near) for near in before[-6:-1])


def _header(tokens: list[str]) -> list[str]:
    """A compound statement up to its colon, without decorators; any other statement as it is."""
    start = 0
    while start < len(tokens) and tokens[start] == "@":
        end = next((index for index in range(start, len(tokens)) if tokens[index] == "\n"), None)
        if end is None:  # nothing but the decorator is there
            break
        start = end + 1
    kept = tokens[start:]
    if not kept or kept[0] not in _COMPOUND or (kept[0] in _SOFT and kept[1:2] in ([":"], ["="], ["."])):
        return kept
    depth = lambdas = 0
    for index, lexeme in enumerate(kept):
        depth += (lexeme in _OPEN) - (lexeme in _CLOSE)
        if depth == 0 and lexeme == "lambda":
            lambdas += 1
        elif depth == 0 and lexeme == ":":
            if lambdas == 0:
                return kept[: index + 1]
            lambdas -= 1
    return kept


def _unwrapped(tokens: list[str]) -> list[str]:
    """Without the parentheses that a formatter sets around a whole expression: `x = (a + b)` is `x = a + b`."""
    stack: list[int] = []
    dropped: set[int] = set()
    for index, lexeme in enumerate(tokens):
        if lexeme in _OPEN:
            stack.append(index)
        elif lexeme in _CLOSE and stack:
            start = stack.pop()
            if tokens[start] + lexeme == "()" and _is_redundant(tokens, start, index):
                dropped |= {start, index}
    return [lexeme for index, lexeme in enumerate(tokens) if index not in dropped]


def _is_redundant(tokens: list[str], start: int, end: int) -> bool:
    before = tokens[start - 1] if start else "\n"
    after = tokens[end + 1] if end + 1 < len(tokens) else "\n"
    whole = after in _AFTER or (before == "for" and after == "in")
    return end > start + 1 and before in _BEFORE and whole
