"""Analyses of small programs that share one reading of the stubs and the models: many of them take little time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auditor import loader
from auditor.engine import judge
from auditor.facts.collect import collect, read
from auditor.finding import Finding
from auditor.project.models import Models
from auditor.project.project import Project
from auditor.project.stubs import Typeshed

RULES = loader.load()
MODELS = Models().load(RULES.models)
STUBS = Typeshed.bundled()  # read once; a linked project leaves no trace in them


def analysed(rule: str, data: Mapping[str, bytes], options: Mapping[str, Any] | None = None) -> list[Finding]:
    """The findings of one rule in the files of one project."""
    made = [RULES.rules[rule](options)]
    collected = {path: read(path, collect(path, content, made)) for path, content in sorted(data.items())}
    found = [finding for item in collected.values() for finding in item.findings]
    judged, errors = judge(Project({path: item.program for path, item in collected.items()}, STUBS, MODELS), made)
    assert errors == []
    assert [error for item in collected.values() for error in item.errors] == []
    return sorted([*found, *judged], key=lambda f: (f.path, f.line, f.column))
