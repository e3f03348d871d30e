"""Market data to run features on: a random walk of five-minute bars, with holes in one column and a category."""

from __future__ import annotations

import numpy as np
import pandas as pd

DISTURBED = ("open", "high", "low", "close", "volume", "gap")
"""Columns that a probe may change in one row; `cat` is a category and stays."""

STEP = 0.004
HOLES = 0.15
CATEGORIES = 5


def bars(seed: int, rows: int, start: str = "2024-01-01") -> pd.DataFrame:
    """`rows` bars of five minutes from `start` on, indexed by time. `gap` is `close` with holes, the first three rows
    among them; `cat` is one of five integers."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, STEP, rows)))
    opened = np.r_[100, close[:-1]]
    frame = pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close) * (1 + random.uniform(0, 0.003, rows)),
            "low": np.minimum(opened, close) * (1 - random.uniform(0, 0.003, rows)),
            "close": close,
            "volume": random.uniform(10, 100, rows),
        },
        index=pd.date_range(start, periods=rows, freq="5min"),
    )
    frame["gap"] = frame["close"].where(random.uniform(size=rows) > HOLES)
    frame.loc[frame.index[:3], "gap"] = np.nan
    frame["cat"] = random.integers(0, CATEGORIES, rows)
    return frame
