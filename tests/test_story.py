"""The life of a project under audit, in a git repository: first scan, baseline, moved code, a second instance, a branch, a
suppression, a mended defect, and the gate in a git hook."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from auditor.cli import cli

ROOT = Path(__file__).parents[1]
OURS = ("--tools", "none")  # the other tools have tests of their own
IDENTITY = ["-c", "user.name=Desk", "-c", "user.email=desk@example.org", "-c", "commit.gpgsign=false"]
POLL = """\
import time


async def poll(venue):
    while True:
        await venue.refresh()
        time.sleep(1)
"""
RETRY = """\
def pause(seconds):
    return seconds
"""
SUBMIT = """\
from desk.retry import pause


async def submit(venue, order):
    pause(1)
    await venue.send(order)
"""


class Desk:
    """A scratch repository, and the auditor run in it."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "AUDITOR_CACHE_DIR": str(cache),
            "HOME": str(folder.parent),
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        self.git("init", "-q", "-b", "main")

    def git(self, *words: str) -> str:
        return self.run(["git", *IDENTITY, *words]).stdout.strip()

    def run(self, words: list[str], status: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert status is None or done.returncode == status, done.stdout + done.stderr
        return done

    def auditor(self, *words: str, status: int = 0) -> str:
        """Output of a run in this process, stdout and stderr, that ends with this status."""
        with contextlib.chdir(self.folder):
            done = CliRunner(env={"AUDITOR_CACHE_DIR": self.environment["AUDITOR_CACHE_DIR"]}).invoke(cli, words)
        assert done.exit_code == status, (done.output, done.exc_info)
        return done.output

    def scan(self, *words: str, status: int) -> dict[str, Any]:
        """The JSON report of a scan by our own rules."""
        report: dict[str, Any] = json.loads(self.auditor("scan", *OURS, "--format", "json", *words, status=status))
        return report

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def commit(self, message: str, files: Mapping[str, str]) -> str:
        self.write(files)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def text(self, name: str) -> str:
        return (self.folder / name).read_text("utf-8")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def desk(tmp_path: Path, cache: Path) -> Desk:
    folder = tmp_path / "desk"
    folder.mkdir()
    made = Desk(folder, cache)
    made.commit("Start", {"pyproject.toml": "[tool.auditor]\n", "desk/__init__.py": "", "desk/poll.py": POLL})
    return made


def states(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return sorted((f["state"], f["rule"], f["path"]) for f in report["findings"])


BLOCKING = "blocking-call-in-async"


class TestBaseline:
    def test_from_first_scan_to_clean_gate(self, desk: Desk) -> None:
        assert states(desk.scan(status=1)) == [("new", BLOCKING, "desk/poll.py")]
        desk.auditor("check", *OURS, status=1)

        assert "1 finding accepted" in desk.auditor("baseline", "create", *OURS)
        assert "there is a baseline already" in desk.auditor("baseline", "create", *OURS, status=2)
        assert "1 baselined" in desk.auditor("check", *OURS)

        # Moved code: nothing is new, and an update only rewrites the line.
        desk.write({"desk/poll.py": '"""Polls the venue."""\n\nINTERVAL = 1\n\n' + POLL})
        assert states(desk.scan(status=0)) == [("baselined", BLOCKING, "desk/poll.py")]
        assert "moved 1" in desk.auditor("baseline", "update", *OURS)
        kept = desk.text("auditor-baseline.jsonl")
        assert "nothing to write" in desk.auditor("baseline", "update", *OURS)
        assert desk.text("auditor-baseline.jsonl") == kept

        # A second instance of the accepted defect is reported, and it alone.
        twice = desk.text("desk/poll.py").replace("        await venue", "        time.sleep(1)\n        await venue")
        desk.write({"desk/poll.py": twice})
        report = desk.scan(status=1)
        assert states(report) == [("baselined", BLOCKING, "desk/poll.py"), ("new", BLOCKING, "desk/poll.py")]
        assert desk.text("auditor-baseline.jsonl") == kept, "a scan never writes the baseline"
        assert "needs --reason" in desk.auditor("baseline", "update", *OURS, "--add", status=2)
        told = desk.auditor("baseline", "update", *OURS, "--add", "--path", "desk/poll.py", "--reason", "rate limit of the venue")
        assert "added 1" in told
        assert states(desk.scan(status=0)) == [("baselined", BLOCKING, "desk/poll.py")] * 2

        # Mended: the entries are stale, which is told, and counts on demand.
        desk.write({"desk/poll.py": "import asyncio\n" + POLL.replace("time.sleep", "await asyncio.sleep")})
        assert "2 baseline entries found nothing any more" in desk.auditor("check", *OURS)
        assert "--baseline-strict" in desk.auditor("check", *OURS, "--baseline-strict", status=1)
        shown = desk.auditor("baseline", "show", *OURS)
        assert "stale: " in shown
        assert "-- rate limit of the venue" in shown
        assert "removed 2" in desk.auditor("baseline", "update", *OURS, "--prune")
        told = desk.auditor("check", *OURS)
        assert "baseline entr" not in told
        assert "exit 0: nothing at or above high:likely" in told

    def test_incomplete_analysis_writes_no_baseline(self, desk: Desk) -> None:
        desk.write({"desk/broken.py": "def (:\n"})
        assert "incomplete" in desk.auditor("baseline", "create", *OURS, status=2)
        assert not (desk.folder / "auditor-baseline.jsonl").exists()

    def test_what_was_not_looked_at_is_not_pruned(self, desk: Desk) -> None:
        desk.auditor("baseline", "create", *OURS)
        desk.write({"tools/run.py": "print(1)\n"})
        assert "not looked at" in desk.auditor("baseline", "show", *OURS, "tools")
        assert "nothing to write" in desk.auditor("baseline", "update", "--prune", *OURS, "tools")
        assert "1 baselined" in desk.auditor("check")

    def test_options_of_add_without_add(self, desk: Desk) -> None:
        desk.auditor("baseline", "create", *OURS)
        assert "write --add too" in desk.auditor("baseline", "update", "--rule", BLOCKING, status=2)
        add = ("baseline", "update", *OURS, "--add", "--reason", "rate limit of the venue")
        assert f"did you mean `{BLOCKING}`" in desk.auditor(*add, "--rule", "blocking-call-in-asyn", status=2)
        assert "is no date" in desk.auditor(*add, "--expires", "soon", status=2)
        assert "outside of the audited root" in desk.auditor(*add, "--path", "../other", status=2)


class TestSuppression:
    def test_without_reason_is_reported_with_reason_is_listed(self, desk: Desk) -> None:
        bare = POLL.replace("time.sleep(1)", f"time.sleep(1)  # auditor: ignore[{BLOCKING}]")
        desk.write({"desk/poll.py": bare})
        report = desk.scan(status=0)
        assert states(report) == [
            ("new", "suppression-without-reason", "desk/poll.py"),
            ("suppressed", BLOCKING, "desk/poll.py"),
        ]
        desk.write({"desk/poll.py": bare.replace("]\n", "] -- the only task of this process\n")})
        report = desk.scan(status=0)
        assert states(report) == [("suppressed", BLOCKING, "desk/poll.py")]
        assert [s["reason"] for s in report["coverage"]["suppressions"]] == ["the only task of this process"]


class TestSince:
    def test_only_what_the_branch_brought(self, desk: Desk) -> None:
        base = desk.commit("Retry", {"desk/retry.py": RETRY, "desk/submit.py": SUBMIT})
        desk.git("checkout", "-q", "-b", "feature")
        desk.commit("Wait", {"desk/retry.py": "import time\n\n\n" + RETRY.replace("return seconds", "time.sleep(seconds)")})
        index = (desk.folder / ".git" / "index").read_bytes()
        tree = desk.git("status", "--porcelain")

        report = desk.scan("--since", "main", status=1)

        assert states(report) == [("baselined", BLOCKING, "desk/poll.py"), ("new", BLOCKING, "desk/submit.py")]
        new = next(f for f in report["findings"] if f["state"] == "new")
        assert new["message"].endswith("; introduced by desk/retry.py:5")
        assert ("desk/retry.py", 5) in [(step["path"], step["line"]) for step in new["proof"]]
        since = report["coverage"]["since"]
        assert (since["rev"], since["commit"], since["fixed"], since["lost"]) == ("main", base, [], [])
        assert (desk.folder / ".git" / "index").read_bytes() == index
        assert desk.git("status", "--porcelain") == tree
        assert desk.git("branch", "--show-current") == "feature"

        moved = desk.scan("--since", "main", "--anchor", "diff", status=1)
        new = next(f for f in moved["findings"] if f["state"] == "new")
        assert (new["path"], new["line"]) == ("desk/retry.py", 5)
        assert "seen from desk/submit.py:5" in new["message"]

    def test_change_around_a_step_is_named_and_joins_the_proof(self, desk: Desk) -> None:
        client = "import {0}\n\n\nasync def fetch(url):\n    session = {0}.{1}()\n    return session.get(url)\n"
        desk.commit("Fetch", {"desk/fetch.py": client.format("aiohttp", "ClientSession")})
        desk.write({"desk/fetch.py": client.format("requests", "Session")})
        report = desk.scan("--since", "HEAD", status=1)
        new = next(f for f in report["findings"] if f["state"] == "new")
        assert new["line"] == 6
        assert new["message"].endswith("; introduced by desk/fetch.py:5")
        assert (new["proof"][0]["line"], new["proof"][0]["note"]) == (5, "changed since HEAD")

    def test_edit_next_to_an_old_defect_is_not_new_its_copy_is(self, desk: Desk) -> None:
        desk.write({"desk/poll.py": POLL.replace("import time", "import logging\nimport time\n\nlog = logging.getLogger()")})
        assert states(desk.scan("--since", "HEAD", status=0)) == [("baselined", BLOCKING, "desk/poll.py")]
        desk.write({"desk/poll.py": POLL + "        time.sleep(1)\n"})
        report = desk.scan("--since", "HEAD", status=1)
        assert [(f["state"], f["line"]) for f in report["findings"]] == [("baselined", 7), ("new", 8)]
        assert "introduced by" not in report["findings"][1]["message"], "its own line is the change"

    def test_renamed_file_brings_nothing_new(self, desk: Desk) -> None:
        desk.git("mv", "desk/poll.py", "desk/polling.py")
        assert states(desk.scan("--since", "HEAD", status=0)) == [("baselined", BLOCKING, "desk/polling.py")]

    def test_fixed_findings_and_muting_are_listed(self, desk: Desk) -> None:
        desk.write({
            "desk/poll.py": "import asyncio\n" + POLL.replace("time.sleep", "await asyncio.sleep"),
            "desk/slow.py": POLL.replace("time.sleep(1)", f"time.sleep(1)  # auditor: ignore[{BLOCKING}] -- own process"),
            "pyproject.toml": '[tool.auditor]\nexclude = ["research/**"]\n',
        })  # fmt: skip
        since = desk.scan("--since", "HEAD", status=0)["coverage"]["since"]
        assert [(f["rule"], f["path"]) for f in since["fixed"]] == [(BLOCKING, "desk/poll.py")]
        assert since["config_changes"] == [
            'exclude: added "research/**"',
            f"suppression of {BLOCKING} added in desk/slow.py: own process",
        ]
        assert "1 finding fixed since HEAD" in desk.auditor("check", "--since", "HEAD")

    def test_suppression_that_is_removed_makes_the_finding_new(self, desk: Desk) -> None:
        hidden = POLL.replace("time.sleep(1)", f"time.sleep(1)  # auditor: ignore[{BLOCKING}] -- own process")
        desk.commit("Hide", {"desk/poll.py": hidden})
        desk.write({"desk/poll.py": POLL})
        assert states(desk.scan("--since", "HEAD", status=1)) == [("new", BLOCKING, "desk/poll.py")]

    def test_baseline_and_base_do_not_hide_a_second_instance(self, desk: Desk) -> None:
        desk.auditor("baseline", "create", *OURS)
        desk.commit("Accept", {})
        desk.write({"desk/poll.py": POLL + "        time.sleep(1)\n"})
        assert [f["state"] for f in desk.scan("--since", "HEAD", status=1)["findings"]] == ["baselined", "new"]

    def test_other_tools_look_at_the_base_too(self, desk: Desk) -> None:
        add = "def add(item, items=[]):\n    items.append(item)\n    return items\n"
        desk.commit("Add", {"desk/poll.py": add})
        desk.write({"desk/poll.py": add + "\n\n" + add.replace("add", "put")})
        report = json.loads(desk.auditor("scan", "--tools", "ruff", "--format", "json", "--since", "HEAD"))
        found = [f for f in report["findings"] if "B006" in [w["code"] for w in f["witnesses"]]]
        assert [(f["state"], f["line"]) for f in found] == [("baselined", 1), ("new", 6)]

    def test_base_below_the_root_of_the_repository(self, desk: Desk) -> None:
        desk.commit("Nest", {"bots/pyproject.toml": "[tool.auditor]\n", "bots/slow.py": POLL})
        assert states(desk.scan("--since", "HEAD", "bots", status=0)) == [("baselined", BLOCKING, "slow.py")]

    def test_what_has_no_base_is_refused_with_the_mend(self, desk: Desk, tmp_path: Path, cache: Path) -> None:
        first = desk.git("rev-parse", "HEAD")
        assert "no such commit here" in desk.auditor("scan", "--since", "nowhere", status=2)
        assert "no such commit here" in desk.auditor("scan", "--since", "--upload-pack=x", status=2)
        desk.commit("More", {"desk/retry.py": RETRY})
        desk.git("clone", "-q", "--depth", "1", f"file://{desk.folder}", str(tmp_path / "shallow"))
        shallow = Desk(tmp_path / "shallow", cache)
        told = shallow.auditor("scan", "--since", first, status=2)
        assert "shallow" in told
        assert "fetch-depth: 0" in told
        orphan = desk.git("commit-tree", "-m", "Other", f"{first}^{{tree}}")
        assert "no common ancestor" in desk.auditor("scan", "--since", orphan, status=2)
        plain = tmp_path / "plain"
        plain.mkdir()
        (plain / "poll.py").write_text(POLL)
        assert "no git repository" in desk.auditor("scan", "--since", "HEAD", str(plain), status=2)


class TestCheckFiles:
    def test_a_finding_touches_a_file_by_its_place_or_its_proof(self, desk: Desk) -> None:
        desk.write({
            "desk/retry.py": "import time\n\n\n" + RETRY.replace("return seconds", "time.sleep(seconds)"),
            "desk/submit.py": SUBMIT, "desk/plain.py": "LIMIT = 5\n",
        })  # fmt: skip
        assert "desk/poll.py" not in desk.auditor("check", "desk/submit.py", status=1)
        told = desk.auditor("check", "desk/retry.py", status=1)
        assert told.startswith("desk/submit.py:5:5: high")
        desk.auditor("check", "desk/plain.py")

    def test_a_file_that_is_lost_counts_only_where_it_is_asked_for(self, desk: Desk) -> None:
        desk.write({"desk/broken.py": "def (:\n", "desk/plain.py": "LIMIT = 5\n"})
        assert "1 other file could not be analysed" in desk.auditor("check", *OURS, "desk/plain.py")
        assert "incomplete" in desk.auditor("check", *OURS, "desk/broken.py", status=3)


class TestModels:
    def test_one_suggestion_filled_in_unlocks_a_finding(self, desk: Desk) -> None:
        desk.commit("Venue", {
            "desk/client.py": "class Venue:\n    def submit(self, order):\n        return self.channel.exchange(order)\n",
            "desk/poll.py": "async def trade(venue, order):\n    venue.submit(order)\n",
        })  # fmt: skip
        desk.auditor("check", *OURS)
        asked = desk.auditor("models", "suggest")
        assert "# 1. 1 coroutine reaches it through 1 call; first: desk/poll.py:2 in trade" in asked
        assert "the project has desk.client.Venue.submit" in asked
        desk.write({"pyproject.toml": "[tool.auditor]\n" + asked})
        assert "write `blocks` or `nonblocking` in its place" in desk.auditor("check", status=2)
        filled = asked.replace("undecided]]", "blocks]]").replace('note = ""', 'note = "waits for the venue"')
        desk.write({"pyproject.toml": "[tool.auditor]\n" + filled})
        told = desk.auditor("check", *OURS, status=1)
        assert told.startswith(f"desk/poll.py:2:5: high [{BLOCKING}] trade() blocks the event loop: it calls venue.submit")
        assert "Every call that a coroutine reaches is decided" in desk.auditor("models", "suggest")
        report = desk.scan("--since", "HEAD", status=0)
        assert states(report) == [("baselined", BLOCKING, "desk/poll.py")], "the base is judged by the models of today"
        assert report["coverage"]["since"]["config_changes"][0].startswith("models: ")


class TestHook:
    """pre-commit runs the entry with the staged files as arguments; a hook of git does the same here."""

    @pytest.fixture
    def hooked(self, desk: Desk) -> Desk:
        hooks = (ROOT / ".pre-commit-hooks.yaml").read_text("utf-8")
        entry = re.search(r"^- id: auditor\n(?: .*\n)*?  entry: auditor (.+)$", hooks, flags=re.MULTILINE)
        assert entry is not None
        command = shlex.join([sys.executable, "-m", "auditor", *shlex.split(entry[1])])
        script = desk.folder / ".git" / "hooks" / "pre-commit"
        script.parent.mkdir(exist_ok=True)
        script.write_text(
            "#!/bin/sh\nunset GIT_DIR GIT_INDEX_FILE\n"
            f"git diff --cached --name-only --diff-filter=ACMR -z -- '*.py' | xargs -0 -r {command}\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return desk

    @staticmethod
    def attempt(desk: Desk, files: Mapping[str, str]) -> tuple[bool, str]:
        desk.write(files)
        desk.git("add", *files)
        done = desk.run(["git", *IDENTITY, "commit", "-q", "-m", "Change"], status=None)
        return done.returncode == 0, done.stdout + done.stderr

    def test_bare_except_is_blocked_until_mended(self, hooked: Desk) -> None:
        place = "def place(client, order):\n    try:\n        client.create_order(order)\n    {}\n        pass\n"
        passed, told = self.attempt(hooked, {"desk/orders.py": place.format("except:")})
        assert not passed
        assert "desk/orders.py:4:5: " in told
        assert "[bare-except]" in told
        mended = place.format("except ValueError:").replace("pass", "client.log(order)")
        passed, told = self.attempt(hooked, {"desk/orders.py": mended})
        assert passed, told

    def test_helper_that_becomes_blocking_is_told_at_its_unchanged_caller(self, hooked: Desk) -> None:
        passed, told = self.attempt(hooked, {"desk/retry.py": RETRY, "desk/submit.py": SUBMIT})
        assert passed, told
        blocking = "import time\n\n\n" + RETRY.replace("return seconds", "time.sleep(seconds)")
        passed, told = self.attempt(hooked, {"desk/retry.py": blocking})
        assert not passed
        assert f"desk/submit.py:5:5: high [{BLOCKING}]" in told
        passed, told = self.attempt(hooked, {"desk/retry.py": RETRY.replace("seconds", "delay")})
        assert passed, told
