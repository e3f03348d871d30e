"""Where a line of a notebook file stands: which code cell, which line of it.

A finding in a notebook carries the line of the `.ipynb` file where that source line is stored, so that tools can open
it. People think in cells. Takes the JSON text of the notebook, gives the 1-based number among all its cells.
"""

from __future__ import annotations

import functools
import json
import re

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
# The source of a cell is one string, or a list of lines.
_SOURCE = (["source"], ["source", ""])
_COLON = re.compile(r"\s*:")


def place(text: str, number: int) -> tuple[int, int] | None:
    """(cell, line of the cell) of line `number` of the file, or None if no source line is stored there."""
    return _places(text).get(number)


@functools.lru_cache(maxsize=8)
def _places(text: str) -> dict[int, tuple[int, int]]:
    """For each file line that stores source of a code cell: its cell and line. Empty if the text is no notebook."""
    try:
        kinds = [cell["cell_type"] for cell in json.loads(text)["cells"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    found: dict[int, tuple[int, int]] = {}
    path: list[str] = []  # keys of the open containers; those in a list have the key ""
    keys = [""]  # the last key seen in each of them
    cell, stored, line, position = -1, 0, 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        piece = match.group()
        if piece in "[{":
            if path == ["", "cells"]:
                cell, stored = cell + 1, 0
            path.append(keys[-1])
            keys.append("")
        elif piece in "]}":
            path.pop()
            keys.pop()
        elif _COLON.match(text, match.end()):
            keys[-1] = json.loads(piece)
        elif path[:2] == ["", "cells"] and kinds[cell] == "code" and [*path[3:], keys[-1]] in _SOURCE:
            stored += 1
            found.setdefault(line, (cell + 1, stored))
    return found
