"""Finds the rules: those that come with the auditor, those of entry points, and those of `--rules DIR`.

A rule that does not import or breaks the contract stops the run: nothing may look clean because a rule was not there.
The only module that names the package of the rules.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from auditor.finding import Page
from auditor.rule import Rule, RuleError, page, validate

PACKAGE = "auditor.rules"
GROUP = "auditor.rules"


@dataclass(frozen=True, slots=True)
class Rules:
    """The loaded rules by id, in order; their pages; the introduction of each chapter; the files of library models."""

    rules: Mapping[str, type[Rule]]
    pages: Mapping[str, Page]
    chapters: Mapping[str, str]
    models: tuple[Path, ...]

    def options(self) -> dict[str, Mapping[str, Any]]:
        """The declared options of every rule."""
        return {name: rule.options for name, rule in self.rules.items()}


def load(folders: Sequence[str] = ()) -> Rules:
    """All rules. `folders` are those of `--rules`. Raises RuleError."""
    package = importlib.import_module(PACKAGE)
    found: dict[str, type[Rule]] = {}
    chapters: dict[str, str] = {}
    for module in _bundled(package):
        _register(module, found)
        chapter = module.__name__.rpartition(".")[0]
        chapters[chapter.rpartition(".")[2]] = (sys.modules[chapter].__doc__ or "").strip()
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        try:
            loaded = entry.load()
        except Exception as error:
            raise RuleError(f"entry point {entry.name} = {entry.value} does not import: {error}") from error
        _register(loaded if isinstance(loaded, ModuleType) else sys.modules[loaded.__module__], found)
    for number, folder in enumerate(folders):
        for module in _local(Path(folder), number):
            _register(module, found)
            chapters.setdefault(next(r for r in found.values() if r.__module__ == module.__name__).chapter(), "")
    if not found:
        raise RuleError("no rule was loaded; the installation is damaged: install auditor again")
    models = sorted(Path(p) / "_models" for p in package.__path__)
    return Rules(
        dict(sorted(found.items())),
        {name: page(rule) for name, rule in sorted(found.items())},
        dict(sorted(chapters.items())),
        tuple(sorted(file for folder in models if folder.is_dir() for file in folder.glob("*.toml"))),
    )


def _bundled(package: ModuleType) -> Iterator[ModuleType]:
    for chapter in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        if not chapter.ispkg or chapter.name.startswith("_"):
            continue
        folder = _import(f"{PACKAGE}.{chapter.name}")
        for module in sorted(pkgutil.iter_modules(folder.__path__), key=lambda m: m.name):
            if not module.name.startswith("_"):
                yield _import(f"{PACKAGE}.{chapter.name}.{module.name}")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise RuleError(f"{name} does not import: {type(error).__name__}: {error}") from error


def _local(folder: Path, number: int) -> Iterator[ModuleType]:
    """Modules of a folder of the user, under a private package name; a subfolder is a chapter."""
    if not folder.is_dir():
        raise RuleError(f"--rules {folder}: there is no such folder")
    files = sorted([*folder.glob("*.py"), *folder.glob("*/*.py")])
    for file in files:
        if file.name.startswith("_"):
            continue
        chapter = file.parent.name if file.parent != folder else "local"
        name = f"_auditor_rules_{number}.{chapter}.{file.stem}"
        for package in (f"_auditor_rules_{number}", f"_auditor_rules_{number}.{chapter}"):
            if package not in sys.modules:
                made = ModuleType(package)
                made.__path__ = [str(folder if package.count(".") == 0 else file.parent)]
                sys.modules[package] = made
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise RuleError(f"{file}: not a Python module")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise RuleError(f"{file} does not import: {type(error).__name__}: {error}") from error
        yield module


def _register(module: ModuleType, found: dict[str, type[Rule]]) -> None:
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Rule)
        and value is not Rule
        and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise RuleError(
            f"{module.__name__} holds {len(classes)} rules; one file is one rule (begin shared modules with _)"
        )
    rule = classes[0]
    validate(rule)
    if rule.id in found:
        raise RuleError(
            f"two rules are called {rule.id}: {found[rule.id].__module__} and {module.__name__}; rename one"
        )
    found[rule.id] = rule


def make(rules: Rules, options: Mapping[str, Mapping[str, Any]], ids: Iterable[str] | None = None) -> list[Rule]:
    """Instances with their options, in the order of their ids."""
    wanted = sorted(rules.rules) if ids is None else sorted(ids)
    return [rules.rules[name](options.get(name)) for name in wanted]


_IN_WORKER: dict[str, list[Rule]] = {}


def handle(path: str, data: bytes, options: Mapping[str, Any]) -> bytes:
    """The handler of the workers: loads the rules by id, once, and collects. Jobs carry ids, never classes."""
    from auditor.facts.collect import collect  # noqa: PLC0415 - loads LibCST, which only a worker needs

    key = repr(sorted(options.items()))
    rules = _IN_WORKER.get(key)
    if rules is None:
        loaded = load(options["folders"])
        rules = _IN_WORKER[key] = [rule for rule in make(loaded, options["options"]) if rule.local()]
    return collect(path, data, rules)
