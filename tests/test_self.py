"""The auditor passes the auditor, and the checks that it asks others to pass."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from checkout import ROOT, Run

from auditor.source.comments import comments

OURS = ("auditor", "rules")
WAIVER = re.compile(r"#\s*(?:noqa:\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*|type:\s*ignore\[[^]]*\])")


def module(*argv: str) -> subprocess.CompletedProcess[str]:
    """A development tool, from this interpreter's environment, over the checkout."""
    return subprocess.run([sys.executable, "-m", *argv], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_the_auditor_has_no_finding_in_itself(auditor: Run, tmp_path: Path) -> None:
    """With the gate of our own configuration; and it has looked at all of it."""
    done = auditor("scan", "--tools", "none", "--output", f"json={tmp_path / 'audit.json'}", "--format", "concise")
    assert done.returncode == 0, done.stdout + done.stderr
    coverage = json.loads((tmp_path / "audit.json").read_bytes())["coverage"]
    assert coverage["complete"]
    assert coverage["files"]["analysed"] >= len([path for folder in OURS for path in (ROOT / folder).rglob("*.py")])


def test_ruff_is_silent() -> None:
    done = module("ruff", "check", "--no-cache", "--output-format", "concise", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_is_silent(tmp_path: Path) -> None:
    done = module("mypy", "--strict", "--cache-dir", str(tmp_path / "mypy"), *OURS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_waiver_has_a_reason() -> None:
    """A waiver of another tool in our sources says why, as we ask of suppressions."""
    silent = [
        f"{path.relative_to(ROOT)}:{comment.line}: {comment.text}"
        for folder in OURS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for comment in comments(path.read_text("utf-8"))
        if WAIVER.match(comment.text) and not WAIVER.sub("", comment.text).strip(" #-")
    ]
    assert silent == []
