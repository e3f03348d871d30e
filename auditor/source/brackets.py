"""How deep brackets nest, counted on bytes before anything is parsed.

CPython refuses more than 200 open brackets; LibCST takes exponential time on some of them and overflows the stack of
the process on others. So the count comes first: a screen over all bytes, in C, and for the few files over the limit
a second one that leaves out strings and comments. Brackets inside an f-string's fields are left out too.
"""

from __future__ import annotations

import re
from itertools import accumulate

from auditor.source.text import Unreadable

LIMIT = 200
STEP = [0] * 256
for _open, _close in ("()", "[]", "{}"):
    STEP[ord(_open)], STEP[ord(_close)] = 1, -1
OTHERS = bytes(byte for byte in range(256) if not STEP[byte])

# Every alternative matches at once and never gives back (`++`), so hostile text costs linear time. A string that is not
# closed ends with its line, or with the file if it is triple-quoted.
SILENT = re.compile(
    rb"#[^\r\n]*+"
    rb"|'''(?:[^\\']++|\\.|'(?!''))*+(?:''')?+"
    rb'|"""(?:[^\\"]++|\\.|"(?!""))*+(?:""")?+'
    rb"|'(?:[^\\'\r\n]++|\\(?:\r\n|.))*+'?+"
    rb'|"(?:[^\\"\r\n]++|\\(?:\r\n|.))*+"?+',
    re.DOTALL,
)


def refuse_depth(data: bytes, limit: int = LIMIT) -> None:
    """Raises Unreadable if more than `limit` brackets are open at one point of the code."""
    if rise(data) <= limit:
        return
    deepest = rise(SILENT.sub(b"", data))
    if deepest > limit:
        raise Unreadable("limit", f"{deepest} brackets are open at once; Python itself accepts no more than {limit}")


def rise(data: bytes) -> int:
    """The largest number of brackets open at once, whatever their kind; unmatched closing brackets do not count
    against later ones."""
    depths = list(accumulate(map(STEP.__getitem__, data.translate(None, OTHERS)), initial=0))
    return max(map(int.__sub__, depths, accumulate(depths, min)))
