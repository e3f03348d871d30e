"""What every adapter is given: where to work, on what, how, and with which installation of the tool."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.tools.config import ToolConfig
from auditor.tools.installed import Installed
from auditor.tools.stage import Sources, Stage


@dataclass(frozen=True, slots=True)
class Task:
    """One tool over one set of sources."""

    stage: Stage
    sources: Sources
    config: ToolConfig
    tool: Installed

    def limit_s(self, floor_s: float, lines: int, lines_per_s: float) -> float:
        """Seconds of wall time for so many lines; the rates are a tenth of what was measured."""
        return self.config.patience * max(floor_s, lines / lines_per_s)
