"""Colour for the terminal formats. The only module that imports rich; it gets finished, escaped rows."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

# No meaning is in the colour alone: each styled word also says what it is.
STYLES = {
    "": "",
    "critical": "bold white on red",
    "high": "bold red",
    "medium": "bold yellow",
    "low": "cyan",
    "info": "blue",
    "bold": "bold",
    "dim": "dim",
    "frame": "bold blue",
    "note": "magenta",
    "fix": "bold green",
    "summary": "",
}


def paint(rows: Iterable[list[tuple[str, str]]]) -> str:
    """The rows with ANSI colours, one line each, neither wrapped nor cut."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", legacy_windows=False)
    with console.capture() as captured:
        for row in rows:
            line = Text.assemble(*((text, STYLES[style]) for style, text in row), end="\n")
            console.print(line, soft_wrap=True, highlight=False, emoji=False, markup=False)
    return captured.get()
