"""Which module name mypy gives each staged file, and the staging that leaves no two files with one name.

Takes audited paths, gives a `Plan`. The naming follows mypy under --explicit-package-bases --namespace-packages: bases
are the root and, in a `src/` layout, `src`; a directory that is no identifier ends the name, unless it holds an
`__init__.py`, which mypy refuses.
"""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from auditor.finding import Loss
from auditor.tools.stage import staged_path, unused

CORE = frozenset(
    (
        *("_collections_abc", "_typeshed", "abc", "builtins", "collections", "mypy_extensions", "sys", "types"),
        *("typing", "typing_extensions"),
    )
)
"""Modules that mypy loads before anything else; a file that takes one of these names blocks the whole run."""

MORE_RUNS = 3
"""Further runs for files whose module name is taken; what is left then is skipped."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`staged`: staged path -> audited path. `runs`: the staged paths of each run. `bases`: for MYPYPATH."""

    staged: Mapping[str, str]
    runs: tuple[tuple[str, ...], ...]
    skipped: tuple[Loss, ...]
    bases: tuple[str, ...] = ()


def plan(paths: Collection[str]) -> Plan:
    """Stage these files for mypy."""
    staged = _as_modules(paths)
    bases = _bases(staged)
    renamed = _rename_directories(staged, _refused_packages(staged))
    renamed = _rename_directories(renamed, _homonym_directories(renamed, bases))
    renamed = _rename_shadows(renamed, bases)
    names = {at: module_name(at, renamed, bases)[0] for at in renamed}
    shadows = sorted(at for at, name in names.items() if _is_core(name))
    skipped = tuple(Loss(renamed[at], "shadows-stdlib", f"module {names[at]}") for at in shadows)
    kept = {at: path for at, path in renamed.items() if at not in set(shadows)}
    runs, left = _runs({at: names[at] for at in kept})
    skipped += tuple(Loss(kept[at], "duplicate-module", f"module {names[at]}") for at in left)
    return Plan({at: path for at, path in kept.items() if at not in set(left)}, runs, skipped, bases)


def module_name(at: str, staged: Collection[str], bases: Collection[str]) -> tuple[str, str]:
    """Module name and base directory that mypy derives for a staged path."""
    directory, _, file = at.rpartition("/")
    stem = re.sub(r"\.pyi?$", "", file)
    prefix, base = _package_name(directory, staged, bases) or ("", directory)
    if stem == "__init__":
        return prefix, base
    return (f"{prefix}.{stem}" if prefix else stem), base


def _package_name(directory: str, staged: Collection[str], bases: Collection[str]) -> tuple[str, str] | None:
    inner: list[str] = []
    while True:
        if directory == "" or directory in bases:
            return ".".join(reversed(inner)), directory
        parent, _, name = directory.rpartition("/")
        name = name.removesuffix("-stubs")
        if _is_package(directory, staged):
            # A package always has a name; what is above it counts only if it has one too.
            prefix, base = _package_name(parent, staged, bases) or ("", parent)
            return ".".join([*prefix.split(".")] * bool(prefix) + [name, *reversed(inner)]), base
        if not name.isidentifier():
            return None
        inner.append(name)
        directory = parent


def _is_package(directory: str, staged: Collection[str]) -> bool:
    return f"{directory}/__init__.py" in staged or f"{directory}/__init__.pyi" in staged


def _as_modules(paths: Collection[str]) -> dict[str, str]:
    """Every file under a name that ends in .py or .pyi: scripts without suffix and notebooks get one."""
    plain = {path: staged_path(path) for path in sorted(paths)}
    taken = set(plain.values())
    staged: dict[str, str] = {}
    for path, at in plain.items():
        if at.endswith((".py", ".pyi")):
            staged[at] = path
            continue
        marked = f"{at.removesuffix('.ipynb')}_ipynb.py" if at.endswith(".ipynb") else f"{at}.py"
        module = unused(marked, taken)
        taken.add(module)
        staged[module] = path
    return staged


def _bases(staged: Collection[str]) -> tuple[str, ...]:
    in_source = any(at.startswith("src/") for at in staged)
    return ("src",) if in_source and not _is_package("src", staged) else ()


def _parents(at: str) -> list[str]:
    """All directories above a path, outermost first."""
    parts = at.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _name_of(directory: str) -> str:
    return directory.rpartition("/")[2]


def _refused_packages(staged: Collection[str]) -> set[str]:
    packages = {directory for at in staged for directory in _parents(at) if _is_package(directory, staged)}
    return {each for each in packages if not _name_of(each).removesuffix("-stubs").isidentifier()}


def _homonym_directories(staged: Collection[str], bases: Collection[str]) -> set[str]:
    """The directories that are no identifiers above every second file of one module name: renamed, they become
    part of the name."""
    first: set[str] = set()
    found: set[str] = set()
    for at in sorted(staged):
        name, _ = module_name(at, staged, bases)
        if name in first and not _is_core(name):
            found |= {each for each in _parents(at) if not _name_of(each).removesuffix("-stubs").isidentifier()}
        first.add(name)
    return found


def _rename_directories(staged: Mapping[str, str], directories: Collection[str]) -> dict[str, str]:
    """The staging with these directories under names that are identifiers and not taken beside them."""
    new_names: dict[str, str] = {}
    siblings: dict[str, set[str]] = {}
    for at in staged:
        for each in [*_parents(at), re.sub(r"\.pyi?$", "", at)]:
            parent, _, name = each.rpartition("/")
            siblings.setdefault(parent, set()).add(name)
    for directory in sorted(directories):
        taken = siblings[directory.rpartition("/")[0]]
        wanted = re.sub(r"\W", "_", _name_of(directory))
        if not wanted.isidentifier() or keyword.iskeyword(wanted):
            wanted = f"_{wanted}"
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted}_{number}", number + 1
        taken.add(name)
        new_names[directory] = name

    def renamed(at: str) -> str:
        names = [new_names.get(each, _name_of(each)) for each in _parents(at)]
        return "/".join([*names, _name_of(at)])

    return {renamed(at): path for at, path in staged.items()}


def _rename_shadows(staged: Mapping[str, str], bases: Collection[str]) -> dict[str, str]:
    """The staging in which no file below a base of its own hides a module of the standard library from all others:
    mypy searches every such base for every import. (At the root the module really is what Python would import.)"""
    taken = set(staged)
    result: dict[str, str] = {}
    for at, path in sorted(staged.items()):
        name, base = module_name(at, staged, bases)
        alone = "." not in name and not at.endswith(("/__init__.py", "/__init__.pyi"))
        shown = at
        if base and base not in bases and alone and name in sys.stdlib_module_names - CORE:
            stem, dot, suffix = at.rpartition(".")
            shown = unused(f"{stem}_{dot}{suffix}", taken)
            taken.add(shown)
        result[shown] = path
    return result


def _is_core(name: str) -> bool:
    """Whether mypy would take the module, or the package it is in, for one of its core modules."""
    return name.partition(".")[0] in CORE


def _runs(names: Mapping[str, str]) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """The files of the main run and of the further ones, each without two files of one name, and those left over.
    A package goes before a module of its name, as in an import; sources go before stubs, since they are audited."""
    taken: list[set[str]] = [set() for _ in range(1 + MORE_RUNS)]
    runs: list[list[str]] = [[] for _ in taken]
    left: list[str] = []
    for at, name in sorted(names.items(), key=lambda item: _preference(item[0])):
        for run, seen in zip(runs, taken, strict=True):
            if name not in seen:
                seen.add(name)
                run.append(at)
                break
        else:
            left.append(at)
    return tuple(tuple(sorted(run)) for run in runs if run), tuple(sorted(left))


def _preference(at: str) -> tuple[bool, bool, str]:
    return at.endswith(".pyi"), not at.endswith("/__init__.py"), at
