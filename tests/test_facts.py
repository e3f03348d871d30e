"""Facts of the types stratum, asserted where they stand: `# fact: NAME is TYPE` behind the statement that binds NAME."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor import engine, expect, loader
from auditor.facts.model import Next, Root, Store, Unpack
from auditor.project.flow import writes
from auditor.project.project import Project
from auditor.project.types import Callee, ClassObject, Instance, Outside, Type, Unknown

TREE = Path(__file__).resolve().parent.parent / "fixtures" / "facts"
TEXTS = {p.relative_to(TREE).as_posix(): p.read_text("utf-8") for p in sorted(TREE.rglob("*.py"))}
MARKS = [m for m in expect.read(TEXTS) if m.kind == "fact"]


@pytest.fixture(scope="module")
def project() -> Project:
    return engine.in_process(TEXTS, loader.load()).project


def words(value: Type) -> str:
    return " or ".join(sorted(map(word, value)))


def word(atom: object) -> str:
    match atom:
        case Instance(cls, _, _):
            return cls if isinstance(cls, str) else cls.dotted
        case ClassObject(cls):
            return f"class {cls if isinstance(cls, str) else cls.dotted}"
        case Callee(function, _, _, _):
            return f"function {function.name}"
        case Outside(path):
            return f"outside {path}"
        case Unknown():
            return "unknown"
        case _:
            return repr(atom)


def bound(project: Project, path: str, line: int, name: str) -> Type:
    """The type of what the statement on a line binds to a name."""
    for function in project.symbols.by_path[path].functions:
        body = function.body
        for rank, op in enumerate(body.ops):
            if isinstance(op, Store | Unpack | Next) and function.at(rank)[0] == line:
                for operand in writes(op):
                    place = body.places[operand]
                    if place.root is Root.LOCAL and place.name == name and isinstance(op, Store):
                        return project.types(function)[rank, op.src]
    raise LookupError(f"{path}:{line} binds no {name}")


@pytest.mark.parametrize("mark", MARKS, ids=lambda m: f"{m.path}:{m.line}")
def test_fact(project: Project, mark: expect.Mark) -> None:
    name, _, sentence = mark.note.partition(" is ")
    assert words(bound(project, mark.path, mark.line, name)) == sentence


def test_there_are_facts() -> None:
    assert len(MARKS) > 25
