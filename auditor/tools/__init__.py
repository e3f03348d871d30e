"""Texts that we analysed -> what ruff, bandit and mypy say about them, and what each of them did not see."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from auditor.finding import ToolRun
from auditor.tools import bandit, mypy, ruff
from auditor.tools.config import TOOLS, Cache, ToolConfig
from auditor.tools.installed import OLDEST, Installed, find
from auditor.tools.ledger import Ledger
from auditor.tools.process import Driver
from auditor.tools.report import Report, ToolResult
from auditor.tools.stage import Notebook, Sources, Stage, StageError
from auditor.tools.task import Task

__all__ = ["Cache", "Handle", "Notebook", "Report", "StageError", "ToolConfig", "ToolResult", "start"]

_FIRST_QUESTIONS_S = 1.0
_TURN_S = 0.01


def start(
    stage_dir: Path,
    texts: Mapping[str, str],
    config: ToolConfig | None = None,
    notebooks: Mapping[str, Notebook] | None = None,
) -> Handle:
    """Stage the texts (posix path relative to the root -> decoded text) in `stage_dir`, a private directory outside
    the audited tree, and start ruff and bandit; mypy waits for `start_mypy`. `notebooks` gives the Python form of the
    .ipynb files among the texts. Raises StageError when the stage cannot be had, ValueError for a path that leaves
    the root.
    """
    return Handle(stage_dir, Sources(dict(texts), dict(notebooks or {})), config or ToolConfig())


class Handle:
    """The running tools. No threads: the children run by themselves, and `poll` (called now and then, or not at all)
    lets a tool go on that needs several commands."""

    def __init__(self, stage_dir: Path, sources: Sources, config: ToolConfig) -> None:
        self._sources = sources
        self._config = config
        self._stage = Stage.open(stage_dir)
        self._results: dict[str, ToolResult] = {}
        self._drivers: dict[str, Driver[ToolResult]] = {}
        try:
            self._start_per_file()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def poll(self) -> None:
        """Let the tools go on; never waits."""
        for driver in self._drivers.values():
            driver.poll()

    def start_mypy(self, parsable: Iterable[str]) -> None:
        """Start mypy over the files that the engine could parse. Waits for ruff, a fraction of a second, whose parser
        knows which of them mypy would refuse."""
        self.poll()
        if mypy.NAME in self._drivers or not (tool := self._usable(mypy.NAME)):
            return
        asking = mypy.protocol(self._task(tool), tuple(parsable), self._refused_by_ruff())
        self._drivers[mypy.NAME] = Driver(asking)

    def collect(self) -> list[tuple[ToolRun, tuple[Report, ...]]]:
        """Wait for all tools, each under its time limit; one entry per tool, in the order ruff, bandit, mypy. mypy is
        started over all files if that has not been done. Frees the stage."""
        if mypy.NAME not in self._drivers:
            self.start_mypy(self._sources.texts)
        while any(not driver.done for driver in self._drivers.values()):
            self.poll()
            time.sleep(_TURN_S)
        self._results |= {name: driver.wait() for name, driver in self._drivers.items()}
        self.close()
        return [(self._results[name].run, self._results[name].reports) for name in TOOLS]

    def close(self) -> None:
        """End what still runs and free the stage."""
        for driver in self._drivers.values():
            driver.close()
        self._stage.close()

    def _start_per_file(self) -> None:
        # Both views are of one tree; it is written once, before either tool looks at it.
        plain = self._stage.tree(self._sources, converted=False)
        converted = self._stage.tree(self._sources, converted=True)
        if tool := self._usable(ruff.NAME):
            self._drivers[ruff.NAME] = Driver(ruff.protocol(self._task(tool), plain))
        if tool := self._usable(bandit.NAME):
            self._drivers[bandit.NAME] = Driver(bandit.protocol(self._task(tool), converted), self._config.jobs)
        if ruff.NAME in self._drivers:
            # ruff answers in milliseconds which codes it knows; then the linting itself is under way.
            self._drivers[ruff.NAME].wait_past_first(_FIRST_QUESTIONS_S)

    def _task(self, tool: Installed) -> Task:
        return Task(self._stage, self._sources, self._config, tool)

    def _refused_by_ruff(self) -> tuple[str, ...]:
        if ruff.NAME not in self._drivers:
            return ()
        run = self._drivers[ruff.NAME].wait().run
        return tuple(loss.path for loss in run.skipped if loss.reason == "syntax")

    def _usable(self, name: str) -> Installed | None:
        """The tool, or None with the reason among the results."""
        if name in self._results:
            return None
        expected = self._sources.paths()
        if name not in self._config.tools:
            run = ToolRun(name=name, version="", status="off", notes=("not selected",))
            self._results[name] = ToolResult(run)
            return None
        tool = find(name, self._config.python)
        if tool is None:
            why = f"{name} is not installed beside auditor; install it into the same environment"
            self._results[name] = Ledger(name, "", self._sources, expected).missing(why)
            return None
        if tool.too_old:
            oldest = ".".join(map(str, OLDEST[name]))
            why = f"{name} {tool.version} is older than {oldest}; upgrade it"
            self._results[name] = Ledger(name, tool.version, self._sources, expected).missing(why)
            return None
        return tool

