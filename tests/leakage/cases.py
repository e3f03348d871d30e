"""The stored cases (`cases.toml`): programs in which the rules and the probe once disagreed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import indent
from typing import Any

from leakage.comparison import AGREES, kind_of
from leakage.judge import UNDECIDED, judge
from leakage.probe import HOURS, Measured, probe_all
from leakage.running import ENTRY, FEATURE, hooks
from leakage.writing import IMPORTS, LIBRARY

FILE = Path(__file__).with_name("cases.toml")
PROGRAM = """{imports}
{before}

class Strategy:
    timeframe = "5m"

    def populate_indicators(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
{body}
        return dataframe

    def populate_entry_trend(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        dataframe.loc[dataframe["feature"] > 0, "enter_long"] = 1
        return dataframe
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A program in parts, what was measured, and why the rules differ, if they do. A `reach` of 0 is none; `open` says that
    the rules need not decide it."""

    name: str
    body: str
    verdict: str
    reach: int = 0
    before: str = ""
    indicators: str = ""
    open: bool = False
    differs: str = ""

    @property
    def texts(self) -> dict[str, str]:
        """The files, those that are imported first."""
        before = f"{self.before.strip()}\n\n" if self.before else ""
        body = indent(self.body.strip("\n"), "        ")
        entry = PROGRAM.format(imports=IMPORTS, before=before, body=body)
        library = {f"{LIBRARY}.py": f"{IMPORTS}\n\n{self.indicators.strip()}\n"} if self.indicators else {}
        return {**library, ENTRY: entry}

    def measure(self) -> dict[str, Measured]:
        """All columns that the hooks add, as measured."""
        return probe_all(hooks(self.texts), HOURS)

    def problem(self, executed: Mapping[str, Measured]) -> str:
        """How the rules disagree with a measurement; "" if they do not."""
        verdict = judge(self.texts)
        kind = kind_of(executed, verdict)
        said = "; ".join(f.message for f in verdict.findings) or "silence"
        measured = executed[FEATURE]
        return (
            ""
            if kind == AGREES or (kind == UNDECIDED and self.open)
            else f"{kind}: measured {measured.verdict} {measured.shown_reach}, said: {said}"
        )


@cache
def cases() -> tuple[Case, ...]:
    """All stored cases, in order."""
    rows: list[dict[str, Any]] = tomllib.loads(FILE.read_text(encoding="utf-8"))["case"]
    return tuple(Case(**row) for row in rows)
