"""Signatures of the standard library: the stubs that mypy carries, lowered like any other file.

A stub is read when a question first needs it, and kept as a blob under the version of mypy, so a second run parses none.
Stubs are ours, not the audited tree's: they are parsed in this process.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from auditor.facts.codec import Corrupt, Program, encode
from auditor.project.symbols import Module, Stubs

Loader = Callable[[str], bytes | None]


def _nothing(_key: str) -> bytes | None:
    return None


class Typeshed(Stubs):
    """The stubs below `folder`. `load` gives a stored blob by key; `fresh` collects what had to be parsed."""

    def __init__(self, folder: Path | None, load: Loader = _nothing) -> None:
        self.folder = folder
        self.load = load
        self.fresh: dict[str, bytes] = {}
        self._modules: dict[str, Module | None] = {}

    @classmethod
    def bundled(cls, load: Loader = _nothing) -> Typeshed:
        """The standard library's stubs in the installed mypy; without mypy there are none."""
        spec = importlib.util.find_spec("mypy")
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
        folder = Path(places[0]) / "typeshed" / "stdlib" if places else None
        return cls(folder if folder is not None and folder.is_dir() else None, load)

    def module(self, name: str) -> Module | None:
        """The stub of a module, None where the standard library has no module of that name."""
        if name not in self._modules:
            self._modules[name] = None
            self._modules[name] = self._read(name)
        return self._modules[name]

    def _read(self, name: str) -> Module | None:
        if self.folder is None or not all(part.isidentifier() for part in name.split(".")):
            return None
        stem = self.folder.joinpath(*name.split("."))
        for path in (stem.with_suffix(".pyi"), stem / "__init__.pyi"):
            if path.is_file():
                relative = path.relative_to(self.folder).as_posix()
                return Module(f"<stubs>/{relative}", name, self._program(path.read_bytes()), is_stub=True)
        return None

    def _program(self, data: bytes) -> Program:
        key = hashlib.sha256(data).hexdigest()
        blob = self.load(key)
        if blob is not None:
            try:
                return Program(blob)
            except Corrupt:
                pass  # a damaged cache is a miss
        blob = self._lower(data.decode("utf-8"))
        self.fresh[key] = blob
        return Program(blob)

    @staticmethod
    def _lower(text: str) -> bytes:
        from auditor.facts.lower import lower  # noqa: PLC0415 - LibCST is loaded only where something is parsed
        from auditor.source.module import SourceModule  # noqa: PLC0415 - as above

        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, 5_000))
        try:
            return encode(*lower(SourceModule.parse("stub.pyi", text)))
        finally:
            sys.setrecursionlimit(limit)

    def stored(self) -> Mapping[str, bytes]:
        """Blobs that were made in this run, by key."""
        return dict(sorted(self.fresh.items()))
