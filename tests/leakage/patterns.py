"""The table of executed verdicts (`table.toml`), each row as a program that can be run and be judged."""

from __future__ import annotations

import importlib.util
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import indent
from typing import Any

from leakage.probe import LEAK, TABLE, THOROUGH, Measured, probe_all
from leakage.running import ENTRY, FEATURE, hooks

TABLE_FILE = Path(__file__).with_name("table.toml")
PROGRAM = """import numpy as np
import pandas as pd
{before}

def feature(d: pd.DataFrame):
{body}


class Strategy:
    timeframe = "5m"

    def populate_indicators(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        dataframe["feature"] = feature(dataframe)
        return dataframe

    def populate_entry_trend(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        dataframe.loc[dataframe["feature"] > 0, "enter_long"] = 1
        return dataframe
"""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A row of the table. `rule` is "" where silence is right, `accepted` are rules that are as right; `severity` is ""
    where it is that of any leak into a signal; `library` is what the program needs beside pandas, numpy, scipy and
    scikit-learn; `rare` says that the leak shows on few rows, so that more of them are looked at."""

    number: str
    name: str
    body: str
    verdict: str
    reach: int | str
    rule: str
    before: str = ""
    severity: str = ""
    accepted: tuple[str, ...] = ()
    starts: bool = False
    varies: bool = False
    rare: bool = False
    library: str = ""
    differs: str = ""

    @property
    def texts(self) -> dict[str, str]:
        """The program: a feature that decides the entries of a strategy."""
        before = f"{self.before}\n" if self.before else ""
        return {ENTRY: PROGRAM.format(before=before, body=indent(self.body.strip("\n"), "    "))}

    @property
    def runs(self) -> bool:
        """Whether the library that it needs is installed."""
        return not self.library or importlib.util.find_spec(self.library) is not None

    @property
    def recorded(self) -> tuple[str, str, bool]:
        """(verdict, reach as shown, start dependence)."""
        return self.verdict, str(self.reach), self.starts

    def measure(self) -> Measured:
        """What the probe shows of the feature."""
        return probe_all(hooks(self.texts), THOROUGH if self.rare else TABLE)[FEATURE]

    def agrees(self, measured: Measured) -> bool:
        """Whether a measurement is what the table says; a reach that varies with the data only has to be one."""
        if self.varies and self.verdict == LEAK:
            shown = measured.reach > 0 or not isinstance(self.reach, int)
            return (measured.verdict, measured.starts) == (LEAK, self.starts) and shown
        return (measured.verdict, measured.shown_reach, measured.starts) == self.recorded


@cache
def patterns() -> tuple[Pattern, ...]:
    """All rows of the table, in order."""
    rows: list[dict[str, Any]] = tomllib.loads(TABLE_FILE.read_text(encoding="utf-8"))["row"]
    return tuple(
        Pattern(**{**row, "number": str(row["number"]), "accepted": tuple(row.get("accepted", ()))}) for row in rows
    )
