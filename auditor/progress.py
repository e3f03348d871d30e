"""What a run tells while it works: a line on a terminal once it takes longer than two seconds, and times on request."""

from __future__ import annotations

import sys
import time

PATIENCE_S = 2.0


class Progress:
    """Called with the name of each stage as it begins, and with "" at the end. Writes to stderr only."""

    def __init__(self, timings: bool = False) -> None:
        self.timings = timings
        self.began = self.stage_began = time.monotonic()
        self.stage = ""
        self.shown = False

    def __call__(self, stage: str) -> None:
        now = time.monotonic()
        if self.timings and self.stage:
            sys.stderr.write(f"{self.stage}: {now - self.stage_began:.2f} s\n")
        self.stage, self.stage_began = stage, now
        if not stage:
            if self.shown:
                sys.stderr.write("\r\x1b[K")
            return
        if sys.stderr.isatty() and (now - self.began > PATIENCE_S or stage == "analysis"):
            sys.stderr.write(f"\rauditor: {stage} ...\x1b[K")
            self.shown = True
