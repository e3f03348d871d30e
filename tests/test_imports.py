"""The import arrows of the architecture, read from the sources: what may know what, and names that explain themselves."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
from checkout import ROOT

ENGINE = sorted((ROOT / "auditor").rglob("*.py"))
RULES = sorted((ROOT / "rules").rglob("*.py"))
RULES_PACKAGE = "auditor.rules"

# Layer -> what it may import of ours beside itself. The modules that are named here and are no key import nothing of
# ours. What is not named is a stage or a command: it may import every layer, and no layer imports it.
LAYERS: Mapping[str, tuple[str, ...]] = {
    "finding": (),
    "renamed": (),
    "source": ("finding",),
    "rule": ("finding",),
    "facts": ("finding", "source", "rule"),
    "project": ("finding", "source", "facts"),
    "worker": ("source.text",),
    "workers": ("finding", "source.text", "worker"),
    "cache": (),
    "loader": ("finding", "rule", "facts.collect"),
    "expect": ("finding", "source.comments"),
    "config": ("finding", "source.globs"),
    "tools": ("finding", "triage.secrets"),
    "triage": ("finding", "tools.report", "tools.same", "tools.mypy_records"),
    "fix": ("finding", "source"),
    "report": ("finding", "source.git"),
}
# The records come first: the model of facts must not know who fills it, nor the proof of a finding who renders it.
LEAVES = {"facts.model": ("finding",), "triage.secrets": ()}
FOR_RULES = ("finding", "facts.model", "source", "project", "rule")
EMPTY_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "misc", "base"})


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_for_types_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def imports(path: Path) -> tuple[tuple[int, str], ...]:
    """(line, absolute dotted name) of everything that a file imports when it runs, in functions too; `from a import b`
    is `a.b` where that is a module of ours."""
    return tuple(_imports(ast.parse(path.read_text("utf-8")), path))


def _imports(node: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt) and is_for_types_only(child):
            continue
        if isinstance(child, ast.Import):
            yield from ((child.lineno, alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            origin = child.module or ""
            if child.level:
                package = dotted(path).split(".")
                package = package if path.name == "__init__.py" else package[:-1]
                origin = ".".join([*package[: len(package) - child.level + 1], *([origin] if origin else [])])
            yield from ((child.lineno, _module(origin, alias.name)) for alias in child.names)
        yield from _imports(child, path)


def _module(origin: str, name: str) -> str:
    inner = ROOT.joinpath(*origin.split("."), name)
    return f"{origin}.{name}" if inner.is_dir() or inner.with_suffix(".py").is_file() else origin


def ours(path: Path) -> list[tuple[int, str]]:
    """What a file imports of the engine, without the leading `auditor.`; "" is the package itself (its version)."""
    found = [(line, name) for line, name in imports(path) if name.split(".")[0] == "auditor"]
    return [(line, name.partition(".")[2]) for line, name in found if name != "auditor"]


def within(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in allowed)


def test_the_files_are_there() -> None:
    assert len(ENGINE) > len(LAYERS)
    assert RULES


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_what_stands_below_it(layer: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports auditor.{name}"
        for path in ENGINE
        if within(dotted(path).partition(".")[2], (layer,))
        for line, name in ours(path)
        if not within(name, (layer, *LAYERS[layer]))
    ]
    assert wrong == []


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_record_does_not_know_who_uses_it(leaf: str) -> None:
    path = ROOT.joinpath("auditor", *leaf.split(".")).with_suffix(".py")
    assert [f"{line}: {name}" for line, name in ours(path) if name not in LEAVES[leaf]] == []


def test_no_module_reaches_itself() -> None:
    """Tools and triage take words from each other (secrets, codes), but no module of theirs is part of a cycle."""
    graph = {dotted(path): {f"auditor.{name}" for _, name in ours(path)} for path in ENGINE}
    assert _cycles(graph) == []


def _cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """One chain of imports for every module that reaches itself through others."""
    found = []
    for start in sorted(graph):
        chains, seen = [[start]], {start}
        while chains:
            chain = chains.pop()
            for name in sorted(graph.get(chain[-1], ())):
                if name == start and len(chain) > 1:
                    found.append([*chain, start])
                elif name not in seen:
                    seen.add(name)
                    chains.append([*chain, name])
    return found


def test_only_the_loader_names_the_package_of_the_rules() -> None:
    naming = [
        dotted(path)
        for path in ENGINE
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.Constant) and node.value == RULES_PACKAGE)
        or (isinstance(node, ast.Import | ast.ImportFrom) and any(RULES_PACKAGE in name for _, name in imports(path)))
    ]
    assert set(naming) == {"auditor.loader"}


@pytest.mark.parametrize("path", RULES, ids=[dotted(path) for path in RULES])
def test_a_rule_knows_the_contract_and_its_own_folder(path: Path) -> None:
    wrong = []
    for line, name in imports(path):
        top, _, rest = name.partition(".")
        if top == "auditor":
            fits = within(rest, FOR_RULES)
        elif top == "rules":
            parts = name.split(".")
            fits = parts[:-1] == list(path.relative_to(ROOT).parent.parts) and parts[-1].startswith("_")
            fits = fits or name == ".".join(path.relative_to(ROOT).parent.parts)
        else:
            fits = top == "libcst" or top in sys.stdlib_module_names
        if not fits:
            wrong.append(f"{line}: {name}")
    assert wrong == []


def test_a_name_says_what_is_in_the_file() -> None:
    folders = ("auditor", "rules", "tests", "fixtures", "benchmarks")
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert [dotted(path) for path in paths if {part.strip("_") for part in dotted(path).split(".")} & EMPTY_NAMES] == []


def test_fixtures_import_nothing_of_ours() -> None:
    paths = sorted((ROOT / "fixtures").rglob("*.py"))
    assert [dotted(p) for p in paths if any(name.split(".")[0] == "auditor" for _, name in imports(p))] == []
