"""Where the tools are and which version: from our own environment, never through PATH.

Takes the interpreter, gives an `Installed` or None. Reads the metadata of installed distributions; imports no tool.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import site
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

OLDEST: Mapping[str, tuple[int, ...]] = {"ruff": (0, 9), "bandit": (1, 7, 9), "mypy": (1, 11)}
"""The oldest supported version of each tool."""

_PYTHON_CLASSIFIER = re.compile(r"Programming Language :: Python :: (\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Installed:
    """`start`: the argv that starts the tool. `pythons`: the Python versions its metadata names, oldest first."""

    name: str
    version: str
    start: tuple[str, ...]
    pythons: tuple[tuple[int, int], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def too_old(self) -> bool:
        return version_numbers(self.version) < OLDEST[self.name]


def find(name: str, python: str = sys.executable) -> Installed | None:
    """The tool as installed beside `python`, the interpreter that runs us; None if it is not there."""
    for directory in _site_directories():
        for distribution in importlib.metadata.Distribution.discover(name=name, path=[directory]):
            classifiers = distribution.metadata.get_all("Classifier") or []
            matches = map(_PYTHON_CLASSIFIER.fullmatch, classifiers)
            pythons = tuple(sorted((int(match[1]), int(match[2])) for match in matches if match))
            start, environment = _start(name, python, directory)
            return Installed(name, distribution.version, start, pythons, environment)
    return None


def version_numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison."""
    match = re.match(r"(?:\d+\.)*\d+|", version)
    return tuple(int(number) for number in match[0].split(".") if number) if match is not None else ()


def _site_directories() -> list[str]:
    """The directories that installers write to. The current directory and PYTHONPATH are no such place, whatever
    stands on sys.path."""
    named = [entry for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"}]
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [entry for entry in dict.fromkeys([*site.getsitepackages(), *named, *user]) if os.path.isabs(entry)]


def _start(name: str, python: str, directory: str) -> tuple[tuple[str, ...], Mapping[str, str]]:
    if name == "ruff":
        binary = Path(python).with_name("ruff.exe" if os.name == "nt" else "ruff")
        if binary.is_absolute() and binary.is_file():
            return (str(binary),), {}
    if site.ENABLE_USER_SITE and directory == site.getusersitepackages():
        # -I would hide the user site; -P alone keeps the current directory out.
        environment = {"PYTHONUSERBASE": site.getuserbase()}
        return (python, "-P", "-X", "utf8", "-m", name), environment
    return (python, "-I", "-X", "utf8", "-m", name), {}
