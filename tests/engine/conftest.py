"""Puts the reference engine on the path for one test, and takes every module of it away again."""

import importlib
import sys
from collections.abc import Iterator

import pytest
from engine_scene import CLEAN, Load


def drop_engine() -> None:
    """Forget all modules of `trading`, of whichever twin they are."""
    for name in [name for name in sys.modules if name == "trading" or name.startswith("trading.")]:
        del sys.modules[name]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Gives a function from a module's name (without `trading.`) to the module of the clean engine."""
    drop_engine()
    monkeypatch.syspath_prepend(str(CLEAN))
    yield lambda name: importlib.import_module(f"trading.{name}")
    drop_engine()
