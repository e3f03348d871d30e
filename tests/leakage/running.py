"""Runs programs that are ours: texts of this package or of its generator, never anything from elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from leakage.probe import Features

ENTRY = "strategy.py"
FEATURE = "feature"


@contextmanager
def _importable(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    """Modules under their names while a program is loaded; what they hid comes back."""
    hidden = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(hidden)


def loaded(texts: Mapping[str, str]) -> ModuleType:
    """The module of `strategy.py`; the other files are loaded before it, in the order of the mapping."""
    modules = {path.removesuffix(".py"): ModuleType(path.removesuffix(".py")) for path in texts}
    with _importable(modules):
        for path, text in texts.items():
            if path != ENTRY:
                exec(compile(text, path, "exec"), vars(modules[path.removesuffix(".py")]))
        entry = modules[ENTRY.removesuffix(".py")]
        exec(compile(texts[ENTRY], ENTRY, "exec"), vars(entry))
    return entry


def columns(strategy: Any, frame: pd.DataFrame) -> dict[str, Any]:
    """The numeric columns that the hooks of a strategy added to a frame. Raises KeyError without a feature."""
    given = list(frame.columns)
    frame = strategy.populate_indicators(frame, {"pair": "A/B"})
    frame = strategy.populate_entry_trend(frame, {"pair": "A/B"})
    added = {str(name): frame[name].to_numpy() for name in frame.columns if name not in given}
    return {
        FEATURE: added[FEATURE],
        **{n: v for n, v in added.items() if np.issubdtype(v.dtype, np.number) or v.dtype == bool},
    }


def hooks(texts: Mapping[str, str], name: str = "Strategy", config: Mapping[str, Any] | None = None) -> Features:
    """The hooks of a class of `strategy.py` as a function that a probe can measure; a new instance for each run."""
    cls = getattr(loaded(texts), name)
    return lambda frame: columns(cls() if config is None else cls(dict(config)), frame)
