"""What several tests share: the flag that rewrites golden files, and the command line as a child process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT, Run


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite reports/ and what it is made from, then compare")


@pytest.fixture(scope="session")
def auditor(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs `auditor ARGUMENTS` in a folder. All runs of a session share one cache; none sees the cache of the user."""
    cache = tmp_path_factory.mktemp("cache")
    cache.chmod(0o700)

    def run(*arguments: str, cwd: Path = ROOT, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AUDITOR_", "PYTHON"))}
        return subprocess.run(
            [sys.executable, *python, "-m", "auditor", *arguments],
            cwd=cwd,
            env={**inherited, "AUDITOR_CACHE_DIR": str(cache), "NO_COLOR": "1", "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run
