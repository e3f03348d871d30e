"""A Jupyter notebook (nbformat 4) -> Python text of its code cells, and where each line of it stands.

Outputs and attachments are not looked at. What only IPython understands becomes `pass` of the same indentation, so
that lines stay where they are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from auditor.source.text import LINE_END, SURROGATE, Unreadable

FORMAT = 4
# Cell magics whose body is ordinary Python, run in the notebook's own namespace.
PYTHON_CELLS = frozenset({"%%time", "%%timeit", "%%capture", "%%prun", "%%memit", "%%mprun", "%%lprun", "%%python3"})
MAGIC = re.compile(r"[ \t]*(?:%|!|\?|[\w.]+(?:\[[\w'\"]*\])?\?{1,2}[ \t]*;?[ \t]*$)")
ASSIGNED = re.compile(r"[ \t]*([A-Za-z_][\w., \t]*?)[ \t]*=[ \t]*[!%]")
# What decides whether the next line begins a statement.
TOKEN = re.compile(
    r"#[^\r\n]*+|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<triple>'''|\"\"\")"
    r"|'(?:[^\\'\r\n]++|\\.)*+'?+|\"(?:[^\\\"\r\n]++|\\.)*+\"?+"
)


@dataclass(frozen=True, slots=True)
class Notebook:
    """`text` is one module; `places[line - 1]` is (number of the cell among all cells, line in the cell), 1-based."""

    text: str
    places: tuple[tuple[int, int], ...]


def convert(data: bytes) -> Notebook:
    """The code of a notebook. Raises Unreadable; reason `language` for a kernel that does not run Python."""
    lines: list[str] = []
    places: list[tuple[int, int]] = []
    for number, source in _code_cells(_document(data)):
        for at, line in enumerate(python_lines(source), start=1):
            lines.append(line)
            places.append((number, at))
    text = "".join(f"{line}\n" for line in lines)
    if "\0" in text or SURROGATE.search(text):
        raise Unreadable("encoding", "the notebook holds a NUL character or half of a surrogate pair")
    return Notebook(text, tuple(places))


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Unreadable("encoding", f"byte \\x{data[error.start]:02x} is not UTF-8, which notebooks are") from None
    except json.JSONDecodeError as error:
        raise Unreadable("syntax", f"not JSON: {error.msg} in line {error.lineno}") from None
    except ValueError:
        raise Unreadable("syntax", "not JSON: a number is too long") from None
    except RecursionError:
        raise Unreadable("limit", "the JSON of the notebook is nested too deeply") from None
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        raise Unreadable("syntax", f"no notebook of nbformat {FORMAT}: there is no list of cells")
    if document.get("nbformat") != FORMAT:
        raise Unreadable("syntax", f"not nbformat {FORMAT}; convert it with `jupyter nbconvert --to notebook`")
    language = _language(document.get("metadata"))
    if language not in (None, "python", "ipython"):
        raise Unreadable("language", f"the kernel runs {language[:40]!r}, not Python")
    return document


def _language(metadata: object) -> str | None:
    if isinstance(metadata, dict):
        for section, key in (("language_info", "name"), ("kernelspec", "language")):
            value = metadata.get(section)
            if isinstance(value, dict) and isinstance(value.get(key), str):
                return str(value[key]).lower()
    return None


def _code_cells(document: dict[str, Any]) -> list[tuple[int, str]]:
    """(number, source) of each code cell. Raises Unreadable for a cell of another shape."""
    cells = []
    for number, cell in enumerate(document["cells"], start=1):
        if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
            raise Unreadable("syntax", f"cell {number} of the notebook has no type")
        if cell["cell_type"] != "code":
            continue
        source = cell.get("source")
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(source, str):
            raise Unreadable("syntax", f"code cell {number} of the notebook has no source text")
        cells.append((number, source))
    return cells


def python_lines(source: str) -> list[str]:
    """The lines of one cell (without line ends) as Python."""
    if not source:
        return []
    lines = LINE_END.split(source)
    if not lines[-1]:
        lines.pop()
    first = next((at for at, line in enumerate(lines) if line.strip()), 0)
    if lines and lines[first].startswith("%%"):
        if lines[first].split()[0] not in PYTHON_CELLS:
            return ["pass"] * len(lines)
        lines[first] = "pass"
    state = _State()
    going_on: str | None = None  # the indentation of a magic that goes on in this line
    for at, line in enumerate(lines):
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        if going_on is not None:
            indent, lines[at] = going_on, f"{going_on}pass"
        elif state.begins_statement and MAGIC.match(line):
            lines[at] = f"{indent}pass"
        elif state.begins_statement and (assigned := ASSIGNED.match(line)):
            lines[at] = f"{indent}{assigned[1]} = None"
        else:
            state.read(line)
            continue
        going_on = indent if line.endswith("\\") else None
    return lines


class _State:
    """What is open at the end of a line: brackets, a triple-quoted string, a backslash."""

    def __init__(self) -> None:
        self.brackets = 0
        self.quote = ""
        self.backslash = False

    @property
    def begins_statement(self) -> bool:
        return not (self.brackets or self.quote or self.backslash)

    def read(self, line: str) -> None:
        at = 0
        end_of_code = 0
        while True:
            if self.quote:
                close = _closing(line, self.quote, at)
                if close == -1:
                    return
                at = end_of_code = close + len(self.quote)
                self.quote = ""
            token = TOKEN.search(line, at)
            if token is None:
                break
            at = token.end()
            if token["triple"]:
                self.quote = token["triple"]
            elif token["open"]:
                self.brackets += 1
            elif token["close"]:
                self.brackets = max(self.brackets - 1, 0)
            end_of_code = at
        self.backslash = line.endswith("\\") and end_of_code < len(line)


def _closing(line: str, quote: str, at: int) -> int:
    """Where the string ends in this line; -1 if it goes on."""
    while (close := line.find(quote, at)) != -1:
        backslashes = 0
        while close - backslashes > at and line[close - backslashes - 1] == "\\":
            backslashes += 1
        if backslashes % 2 == 0:
            return close
        at = close + 1
    return -1
