"""Small trees on which the tools were run, and the recordings of those runs.

`python tests/tool_scenarios.py` runs the installed tools again and rewrites `tests/recorded/tools/`.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from auditor.tools import bandit, mypy, ruff
from auditor.tools.config import ToolConfig, selections
from auditor.tools.installed import Installed, find
from auditor.tools.process import Command, Finished, Protocol, run
from auditor.tools.report import ToolResult
from auditor.tools.stage import Notebook, Sources, Stage
from auditor.tools.task import Task

_A_PREVIEW = "PLR0904"
RECORDED = Path(__file__).with_name("recorded") / "tools"

VERSIONS = {
    "ruff": Installed("ruff", "0.17.5", ("/opt/python/bin/ruff",)),
    "bandit": Installed("bandit", "1.9.4", ("/opt/python/bin/python", "-I", "-X", "utf8", "-m", "bandit")),
    "mypy": Installed("mypy", "2.4.1", ("/opt/python/bin/python", "-I", "-X", "utf8", "-m", "mypy"), ((3, 15),)),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """Texts as the engine gives them; `refused` are those that the engine could not parse."""

    texts: Mapping[str, str]
    notebooks: Mapping[str, Notebook] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()

    @property
    def sources(self) -> Sources:
        return Sources(self.texts, self.notebooks)


_DEFECTS = """\
import hashlib
import pickle
import subprocess


class Ledger:
    def __init__(self, path):
        self.path = path
        self.password = "hunter22-Zq"

    def load(self, seen=[]):
        try:
            return pickle.loads(self._read())
        except:  # noqa: E722
            return None

    def digest(self):
        name = "éé"; return hashlib.md5(name)  # nosec: the name is no secret

    def close(self) -> None:
        self.colse()  # type: ignore[attr-defined]
        text = "éé"; self.flsh(text)
        with Ledger("x") as other:
            print(other)

    def run(self):
        subprocess.call("ls", shell=True)  # nosec B602
        return 1 + "a"
"""

_COOKIES = {
    "latin.py": "# -*- coding: latin-1 -*-\nNAME = 'caf\u00e9'; import os; exec(NAME)\n",
    "seven.py": "#! /usr/bin/python\n# coding: utf-7\nx = 1 # \nexec('pass')\n",
    "bom.py": "\ufeffexec('pass')\n",
    "crlf.py": "x = 1\r\nexec('pass')\r\n",
    "nul.py": "x = 1\n\0\n",
    "empty.py": "",
    "feed.py": 'text = "a\u2028b"\n\x0cexec("pass")\n',
}

_CELLS = """\
pass
import hashlib
exec("pass")
value: int = 1
value.nothing
"""

_NOTEBOOK = json.dumps(
    {
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": ["# Title\n"]},
            {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "id": "a",
             "source": ["%matplotlib inline\n", "import hashlib\n"]},
            {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "id": "b",
             "source": ["exec(\"pass\")\n", "value: int = 1\n", "value.nothing\n"]},
        ],
        "metadata": {"kernelspec": {"language": "python", "name": "python3", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    },
    indent=1,
)  # fmt: skip


def _notebook() -> Notebook:
    lines = _NOTEBOOK.split("\n")
    stored = ["%matplotlib", "import hashlib", "exec(", "value: int", "value.nothing"]
    return Notebook.from_places(
        _CELLS,
        [(2, 1), (2, 2), (3, 1), (3, 2), (3, 3)],
        tuple(next(number for number, line in enumerate(lines, 1) if each in line) for each in stored),
    )


_CALL = "import os\nos.system('ls ' + x)\nvalue: int = 1\nvalue.nothing\n"

SCENARIOS: Mapping[str, Scenario] = {
    "defects": Scenario({"bot/ledger.py": _DEFECTS}),
    "syntax": Scenario(
        {
            "bad.py": "def broken(:\n",
            "worse.py": "class (\n",
            "user.py": "import bad\nvalue: int = bad.x\nvalue.nothing\n",
        },
        refused=frozenset({"worse.py"}),
    ),
    "late_syntax": Scenario(
        {**{f"old{n}.py": f"print 'old {n}'\n" for n in range(7)}, "new.py": "value: int = 1\nvalue.nothing\n"}
    ),
    "layout": Scenario(
        {
            "__init__.py": "",
            "utils.py": _CALL,
            "tool/utils.py": _CALL,
            "my-bot/__init__.py": "",
            "my-bot/run.py": _CALL,
            "a-b/job.py": _CALL,
            "c-d/job.py": _CALL,
            "typing.py": "import re\n",
            "core.py": _CALL,
            "core/__init__.py": _CALL,
            "x-y/queue.py": "value: int = 1\nvalue.nothing\n",
            "bot/__init__.py": "VERSION = 1\n",
            "bot/main.py": "import queue\nfrom bot.__init__ import VERSION\nqueue.Queue()\nVERSION.nothing\n",
            "script": _CALL,
        }
    ),
    "names": Scenario(
        dict.fromkeys(
            ("a b.py", "caf\u00e9.py", "a:b.py", "-rf.py", "@list.py", "new\nline.py", "CVS/x.py", "end .py"),
            "import pickle\npickle.loads(x)\nvalue: int = 1\nvalue.nothing\n",
        )
    ),
    "encodings": Scenario(_COOKIES),
    "notebook": Scenario({"research/idea.ipynb": _NOTEBOOK}, {"research/idea.ipynb": _notebook()}),
}


def protocol_of(
    installed: Installed,
    scenario: Scenario,
    stage: Stage,
    config: ToolConfig | None = None,
    no_syntax: Iterable[str] = (),
) -> Protocol[ToolResult]:
    """The protocol of a tool over a scenario."""
    task = Task(stage, scenario.sources, config or ToolConfig(), installed)
    tool = installed.name
    if tool == "mypy":
        return mypy.protocol(task, set(scenario.texts) - scenario.refused, no_syntax)
    if tool == "ruff":
        return ruff.protocol(task, stage.tree(scenario.sources, converted=False))
    return bandit.protocol(task, stage.tree(scenario.sources, converted=True))


def recording(name: str, tool: str, stage: Stage) -> list[Finished]:
    """The recorded outcomes, as if the tool had run on this stage."""
    entries = json.loads((RECORDED / f"{name}.{tool}.json").read_text(encoding="utf-8"))
    return [
        Finished(
            entry["how"],
            entry["exit_code"],
            entry["stdout"].replace("<stage>", stage.root.as_posix()).encode(),
            entry["stderr"].replace("<stage>", stage.root.as_posix()).encode(),
        )
        for entry in entries
    ]


def _brief(command: Command, finished: Finished) -> str:
    """stdout without the time; of ruff's list of rules only what is read."""
    text = re.sub(r'"generated_at": "[^"]*"', '"generated_at": ""', finished.stdout.decode())
    if command.argv[1:3] != ("rule", "--all"):
        return text
    asked = {*selections()["ruff"].codes, None, _A_PREVIEW}
    kept = [{key: rule[key] for key in ("code", "status")} for rule in json.loads(text) if rule["code"] in asked]
    return json.dumps(kept)


def _record(name: str, tool: str) -> None:
    installed = find(tool)
    if installed is None:
        sys.exit(f"{tool} is not installed here; install the extra `dev`")
    with tempfile.TemporaryDirectory() as directory, Stage.open(Path(directory) / "stage") as stage:
        protocol = protocol_of(installed, SCENARIOS[name], stage)
        entries = []
        try:
            batch = next(protocol)
            while True:
                outcomes = tuple(run(command) for command in batch)
                for command, finished in zip(batch, outcomes, strict=True):
                    entry = {"how": finished.how, "exit_code": finished.exit_code}
                    entry |= {"stdout": _brief(command, finished), "stderr": finished.stderr.decode()}
                    entries.append({k: _portable(v, stage) for k, v in entry.items()})
                batch = protocol.send(outcomes)
        except StopIteration:
            pass
    RECORDED.mkdir(parents=True, exist_ok=True)
    (RECORDED / f"{name}.{tool}.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def _portable(value: object, stage: Stage) -> object:
    return value.replace(stage.root.as_posix(), "<stage>") if isinstance(value, str) else value


if __name__ == "__main__":
    for scenario_name in SCENARIOS:
        for tool_name in VERSIONS:
            _record(scenario_name, tool_name)
