"""One function per sink: text of the audited tree in, text that the sink cannot misread out.

Every string that a writer did not write itself passes through exactly one of these functions, at the last step.
`visible` is what they share: characters that hide, reorder or command become their names, so that a reader sees what
stands in the file. Secrets are no matter of this module: they are redacted before a finding is made.
"""

from __future__ import annotations

import functools
import html as _html
import json
import re
import unicodedata
from typing import Any
from urllib.parse import quote

TAB = 4

# Controls, zero-width and filler characters, bidirectional overrides, line separators, tags. Written as ranges and
# not asked of unicodedata, whose answers change with the interpreter.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffc\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BREAK = re.compile("\r\n|\r|\n")

# A runner reads `##[command]` and `##vso[command]` anywhere in a line, and `::command::` after leading white space,
# so that a space before the line is no protection.
_MARKER_ANYWHERE = re.compile(r"##(?=(?:vso)?\[)")
_MARKER_AT_START = re.compile(r"^(\s*):(?=:)")


def visible(text: str, keep: str = "") -> str:
    """`text` with every hiding character, except those in `keep`, written as `<U+202E>`, surrogates as `\\udc80`."""

    def named(match: re.Match[str]) -> str:
        character = match.group()
        return character if character in keep else f"<U+{ord(character):04X}>"

    return _SURROGATE.sub(lambda match: f"\\u{ord(match.group()):04x}", _HIDDEN.sub(named, text))


def line(text: str) -> str:
    """`text` on one line: line breaks and tabs become spaces, all else that hides becomes visible."""
    return visible(_BREAK.sub(" ", text).replace("\t", " "))


@functools.lru_cache(maxsize=128)
def lines(text: str) -> tuple[str, ...]:
    """The lines of a source text. Only LF, CR LF and CR end one: `str.splitlines` knows more and shifts places."""
    return tuple(_BREAK.split(text))


# --- consoles -------------------------------------------------------------------------------------------------------


def console(text: str) -> str:
    """One visible line that no build runner takes for a command."""
    return _MARKER_AT_START.sub(r"\1: ", _MARKER_ANYWHERE.sub("## ", text))


def terminal(text: str) -> str:
    """Text inside a terminal line: controls visible, tabs as spaces, no runner command."""
    return console(line(text))


def width(text: str) -> int:
    """Columns that visible text takes on a terminal: wide and full-width characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def pad(text: str, columns: int) -> str:
    """`text` with spaces to `columns` terminal columns; never cut."""
    return text + " " * (columns - width(text))


# --- Markdown -------------------------------------------------------------------------------------------------------

_SPECIAL = re.compile(r"([\\`*_\[\]<>&~|$])")
_LEADING = re.compile(r"^([#\-+>=:])")
_LEADING_NUMBER = re.compile(r"^(\d+)([.)])")
# What a renderer turns into a link, a mention or a picture, and what reads as code: both go into inline code.
_CODE_LIKE = re.compile(
    r"""
      [A-Za-z][A-Za-z0-9+.\-]*://[^\s`|]+         # URL of any scheme
    | (?:www\.|mailto:|xmpp:)[^\s`|]+
    | (?:[\w.\-]+/)*[\w\-]+\.(?:pyi?|ipynb|toml|jsonl?|cfg|ini|ya?ml|md)\b     # file name
    | [\w.+\-/]*@[\w.\-/]+                        # mention, mail address, decorator
    | [\w.\-]+/[\w.\-]+\#\d+ | \#\d+ | \bGH-\d+   # reference to an issue
    | :[a-z0-9_+\-]+:                             # emoji
    | \b[0-9a-f]{7,40}\b                          # commit
    | [A-Za-z_][\w.]*\(\)                         # call
    | \b(?:[A-Za-z]\w+\.)+[A-Za-z_]\w+\b          # dotted name
    | \b\w*[A-Za-z]\w*_\w+\b | \b_\w+             # name with an underscore
    """,
    re.VERBOSE,
)
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


def text(raw: str) -> str:
    """Markdown text on one line, without any mark-up, link, mention or emoji; names and URLs become inline code."""
    return _line_start(_plain(line(raw).strip()))


def prose(raw: str) -> str:
    """Like `text`, but what stands between backticks stays inline code. For sentences of rules and pages."""
    flat = line(raw).strip()
    parts: list[str] = []
    position = 0
    for match in _CODE_SPAN.finditer(flat):
        parts += [_plain(flat[position : match.start()]), _span(match.group(2).strip())]
        position = match.end()
    return _line_start(_joined([*parts, _plain(flat[position:])]))


def _plain(flat: str) -> str:
    """Visible text with every mark of Markdown escaped; its outer spaces are kept."""
    parts: list[str] = []
    position = 0
    for match in _CODE_LIKE.finditer(flat):
        parts += [_SPECIAL.sub(r"\\\1", flat[position : match.start()]), _span(match.group())]
        position = match.end()
    return _joined([*parts, _SPECIAL.sub(r"\\\1", flat[position:])])


def _joined(parts: list[str]) -> str:
    """The parts in a row; two code spans are held apart, so that their delimiters do not run together."""
    joined = ""
    for part in parts:
        joined += " " + part if joined.endswith("`") and part.startswith("`") else part
    return joined


def _line_start(joined: str) -> str:
    return _LEADING_NUMBER.sub(r"\1\\\2", _LEADING.sub(r"\\\1", joined))


def code(raw: str) -> str:
    """Inline code on one line; its content is shown as it is."""
    return _span(line(raw))


def _span(flat: str) -> str:
    """A code span around visible text; the delimiter is longer than any run of backticks inside."""
    flat = console(flat)
    if not flat.strip():
        return "`(empty)`"
    longest = max((len(run) for run in re.findall("`+", flat)), default=0)
    fence = "`" * (longest + 1) if longest else "`"
    if flat[0] in "` " or flat[-1] in "` ":
        flat = f" {flat} "
    return f"{fence}{flat}{fence}"


def cell(raw: str) -> str:
    """Text of a table cell. `text` escapes the pipe already."""
    return text(raw) or " "


def cell_prose(raw: str) -> str:
    """A sentence of a rule in a table cell. A pipe inside inline code has no portable escape: then it is all text."""
    return cell(raw.replace("`", "")) if "|" in raw else prose(raw) or " "


def cell_code(raw: str) -> str:
    """Inline code in a table cell. A pipe inside inline code has no portable escape: such code is shown as text."""
    return _plain(line(raw)) if "|" in raw else code(raw)


def fence(body: list[str] | tuple[str, ...], language: str = "") -> list[str]:
    """A fenced block of lines; the fence is longer than any run of backticks in it."""
    shown = [console(visible(_BREAK.sub(" ", row), keep="\t")) for row in body]
    longest = max((len(run) for row in shown for run in re.findall("`+", row)), default=0)
    mark = "`" * max(3, longest + 1)
    return [mark + language, *shown, mark]


def link(label: str, target: str) -> str:
    """A Markdown link from a finished label to a finished target; only `https:` and relative targets become links."""
    relative = not target.startswith("/") and ":" not in target.split("/", 1)[0] and target != ""
    if not (target.startswith("https://") or relative):
        return label
    return f"[{label}]({target})"


def path_target(path: str) -> str:
    """A path as a relative link target or URI: each segment percent-encoded."""
    try:
        raw = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that no file name can hold: only in made-up paths
        raw = path.encode("utf-8", "surrogatepass")
    return quote(raw, safe="/-._~")


def scalar(value: Any) -> str:
    """A scalar of the front matter: JSON is YAML."""
    return json_text(value, indent=None)


def mermaid(label: str) -> str:
    """A quoted label of a Mermaid node."""
    flat = console(line(label)).replace("#", "#35;")
    for character, name in (('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("`", "#96;")):
        flat = flat.replace(character, name)
    return f'"{flat}"'


# --- machines -------------------------------------------------------------------------------------------------------


def html(raw: str) -> str:
    """Text or an attribute value of HTML. Line breaks stay."""
    return _entities(_html.escape(visible(raw, keep="\n\t"), quote=True))


def html_json(value: Any) -> str:
    """JSON inside a script element; ensure_ascii takes care of U+2028 and U+2029."""
    return json_text(value, indent=None).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def json_text(value: Any, indent: int | None = 2) -> str:
    """ASCII JSON. Lone surrogates survive; no line of it is a runner command."""
    separators = (",", ": ") if indent else (",", ":")
    rendered = json.dumps(value, ensure_ascii=True, allow_nan=False, indent=indent, separators=separators)
    # Outside of strings JSON has no `#`, so that this is the same value.
    return re.sub(r"##((?:vso)?)\[", r"##\1\\u005b", rendered)


def sarif(raw: str) -> str:
    """A SARIF message: visible, and without a link that we did not make."""
    return visible(raw, keep="\n\t").replace("](", "] (")


def command_data(raw: str) -> str:
    """Data of a GitHub workflow command."""
    return console(visible(raw, keep="\r\n\t").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def command_property(raw: str) -> str:
    """A property of a GitHub workflow command."""
    return command_data(raw).replace(":", "%3A").replace(",", "%2C")


def xml(raw: str) -> str:
    """Text or an attribute value of XML 1.0; `visible` has removed what XML cannot hold."""
    shown = visible(raw, keep="\n\t")
    escaped = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return _entities(escaped.replace("\n", "&#10;").replace("\t", "&#9;"))


def _entities(escaped: str) -> str:
    """The same text to a parser, no command to a runner that reads the page line by line."""
    marked = re.sub(r"##((?:vso)?)\[", r"##\1&#91;", escaped)
    return re.sub(r"^(\s*):(?=:)", r"\1&#58;", marked, flags=re.MULTILINE)
