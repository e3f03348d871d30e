"""`auditor new-rule CHAPTER/ID`: a rule that works, and its case, as the place to begin from.

What is written is no empty form: it loads, passes the generated tests, and finds a call by its resolved name. The
author changes the words, the names that it looks for, and the lines of the case.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from string import Template

from auditor import __version__
from auditor.rule import ID

CHAPTER = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")


class ScaffoldError(Exception):
    """A rule that cannot be begun; names the thing, the reason and the mend."""


def scaffold(name: str, folder: Path) -> list[Path]:
    """Write the rule `chapter/id` below `folder` and its case; gives the files that were made, sorted.

    In a checkout (`folder` is its `rules/`) the case goes to `fixtures/cases/`, where the tests find it, elsewhere to
    `cases/` inside of `folder`. Raises ScaffoldError, before anything is written, if a name does not fit or is taken.
    """
    chapter, rule = _names(name)
    stem = rule.replace("-", "_")
    checkout = (folder / "__init__.py").is_file() and (folder.parent / "auditor" / "__init__.py").is_file()
    cases = folder.parent / "fixtures" / "cases" if checkout else folder / "cases"
    values = {"id": rule, "class_name": "".join(part.capitalize() for part in rule.split("-")), "since": _since()}
    texts = {
        folder / chapter / f"{stem}.py": RULE.substitute(values),
        cases / chapter / f"{stem}.py": CASE.substitute(values),
    }
    if checkout and not (folder / chapter / "__init__.py").exists():
        texts[folder / chapter / "__init__.py"] = INTRODUCTION.substitute(chapter=chapter)
    for taken in _taken(folder, cases, chapter, stem):
        message = f"{taken} exists already; a rule has one file: edit it, or choose another id"
        raise ScaffoldError(message)
    for path, text in texts.items():
        _write(path, text)
    return sorted(texts)


def _names(name: str) -> tuple[str, str]:
    chapter, slash, rule = name.partition("/")
    if not slash or "/" in rule:
        message = f"`{name}` is not CHAPTER/ID; write for example `errors/bare-except`"
        raise ScaffoldError(message)
    if not CHAPTER.match(chapter) or keyword.iskeyword(chapter):
        message = f"chapter `{chapter}`: it becomes a package, so write snake_case and no keyword, as in `async_safety`"
        raise ScaffoldError(message)
    if not ID.match(rule) or keyword.iskeyword(rule):
        message = f"id `{rule}`: an id is kebab-case and reads well after `ignore`, as in `bare-except`"
        raise ScaffoldError(message)
    return chapter, rule


def _taken(folder: Path, cases: Path, chapter: str, stem: str) -> Iterator[Path]:
    """What stands in the way: a rule of this id in any chapter, or its case."""
    yield from sorted(folder.glob(f"*/{stem}.py"))
    yield from (path for path in (cases / chapter / f"{stem}.py", cases / chapter / stem) if path.exists())


def _since() -> str:
    """The version in which the rule appears: the one under way, without its patch number."""
    return ".".join(__version__.split(".")[:2])


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        message = f"{path}: {error.strerror or error}; choose a folder that can be written (--rules)"
        raise ScaffoldError(message) from error


INTRODUCTION = Template('''\
"""What the rules of chapter ${chapter} have in common, in two sentences: the report prints them above its findings."""
''')

RULE = Template('''\
"""
Process that ends at once

## What it finds
A call of `os._exit`, under whatever name it was imported.

## Why it matters
The process is gone at once: open orders stay open, and what was not yet flushed to the journal is lost.

## Bad
```python
import os


def stop(code):
    os._exit(code)
```

## Good
Raise `SystemExit`, so that `finally` blocks, context managers and exit handlers run.

```python
def stop(code):
    raise SystemExit(code)
```

## Limits
A callee that is looked up by a computed name is a missed alarm. A child after `os.fork` is right to end this way, and
is reported all the same: a false alarm.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Severity
from auditor.project.project import Project
from auditor.rule import Rule

ENDS = frozenset({"os._exit"})


class ${class_name}(Rule):
    id = "${id}"
    severity = Severity.MEDIUM
    confidence = Confidence.CERTAIN
    since = "${since}"
    effort = "S"

    def check_project(self, project: Project) -> Iterator[Finding]:
        for function in project.functions():
            for op, call in sorted(project.calls(function).items()):
                called = sorted(ENDS.intersection(call.externals))
                if not called:
                    continue
                line, column, end_line, end_column = function.at(op)
                yield Finding(
                    rule=self.id,
                    path=function.path,
                    line=line,
                    column=column,
                    end_line=end_line,
                    end_column=end_column,
                    message=f"{function.symbol or 'the module'} ends the process by {called[0]}: nothing is cleaned up",
                    symbol=function.symbol,
                    proof=(project.step(function, op, f"{called[0]} does not return", called[0]),),
                )
''')

CASE = Template('''\
"""Cases of ${id}: what must be found (expect), and what must not be, with the reason (trap)."""

import os
import sys
from os import _exit as leave


class Door:
    def _exit(self, code: int) -> int:
        return code


def stop(code: int) -> None:
    os._exit(code)  # expect: ${id} via os._exit


def stop_by_another_name(code: int) -> None:
    leave(code)  # expect: ${id} via os._exit


def stop_in_order(code: int) -> None:
    sys.exit(code)  # trap: ${id} -- raises SystemExit, so that everything is cleaned up


def walk(door: Door) -> int:
    return door._exit(1)  # trap: ${id} -- a method of ours with the same name
''')
