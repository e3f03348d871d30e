"""`auditor doctor [FILE]`: what would run, with which configuration, why a file is analysed or not, and what is cached.

Gives lines of text. Looks only: it writes nothing, also not the cache. Unlike a report it names paths of this machine.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

from auditor import __version__, cache, loader
from auditor.config import Config, Gate
from auditor.report.escape import line as one_line
from auditor.rule import RuleError
from auditor.source.discover import discover, read
from auditor.tools.config import TOOLS
from auditor.tools.installed import OLDEST, find
from auditor.workers import Pool

KEYS = {"tests": "paths.tests", "scripts": "paths.scripts", "tools_mode": "tools.mode"}


def report(config: Config, file: str | None, cache_dir: str) -> list[str]:
    """The sections, one line each entry. `cache_dir` is empty for the default folder."""
    sections = {
        "Versions": _versions(),
        "Rules": _rules(),
        f"Configuration of {config.root}": _configuration(config),
        "Cache": _cache(cache_dir or cache.directory()),
    }
    if file is not None:
        sections[f"File {file}"] = _file(config, file)
    return [one_line(text) for title, body in sections.items() for text in (title, *(f"  {entry}" for entry in body))]


def _versions() -> Iterator[str]:
    yield f"auditor {__version__} in {Path(__file__).parent}"
    yield f"python {platform.python_version()}"
    yield f"libcst {importlib.metadata.version('libcst')}"
    for name in TOOLS:
        tool = find(name)
        if tool is None:
            yield f"{name} missing: install it into the environment of auditor"
        elif tool.too_old:
            yield f"{name} {tool.version} is older than {'.'.join(map(str, OLDEST[name]))}: upgrade it"
        else:
            yield f"{name} {tool.version} as {' '.join(tool.start)}"


def _rules() -> Iterator[str]:
    try:
        loaded = loader.load()
    except RuleError as error:
        yield f"not loaded: {error}"
        return
    for chapter in loaded.chapters:
        names = [name for name, page in loaded.pages.items() if page.chapter == chapter]
        if names:
            yield f"{chapter}: {', '.join(names)}"


def _configuration(config: Config) -> Iterator[str]:
    for field in fields(config):
        if field.name in ("root", "origins"):
            continue
        key = KEYS.get(field.name, field.name.replace("_", "-"))
        yield f"{key} = {_shown(getattr(config, field.name))}  ({config.origins.get(key, 'default')})"


def _shown(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str() | Gate():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(_shown(item) for item in value)}]"
        case Mapping():
            return f"{{{', '.join(f'{name}: {_shown(inner)}' for name, inner in sorted(value.items()))}}}"
        case _:
            return str(value)


def _cache(folder: str) -> Iterator[str]:
    path = os.path.join(folder, cache.FILE)
    if not os.path.isfile(path):
        yield f"{folder}: empty"
        return
    yield f"{path}: {os.path.getsize(path):,} bytes"
    try:
        connection = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
        try:
            rows = connection.execute("SELECT kind, COUNT(*) FROM blobs GROUP BY kind ORDER BY kind").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        yield f"not readable, so every result is a miss: {error}"
        return
    yield from (f"{kind}: {count} entries" for kind, count in rows)


def _file(config: Config, name: str) -> Iterator[str]:
    """Why the file is analysed or not, up to the answer of a worker that tries it."""
    found = discover(str(config.root), (name,), config.exclude, config.max_file_size)
    yield from (f"note: {note}" for note in found.notes)
    if found.skipped:
        yield from (f"not analysed ({loss.reason}): {loss.detail or loss.path}" for loss in found.skipped)
        return
    if not found.files:
        yield f"not analysed: {_left_out(found.excluded, found.links_not_followed)}"
        return
    if os.path.isdir(name):
        yield f"{len(found.files)} files below it would be analysed; name one of them to see more"
        return
    path = found.files[0].path
    try:
        data = read(str(config.root), found.files[0], config.max_file_size)
    except OSError as error:
        yield f"not analysed (i/o): {error.strerror or error}"
        return
    for answer in Pool("auditor.loader:handle", {"folders": [], "options": {}}, 1).run([(path, data)]):
        if answer.loss is not None:
            yield f"not analysed ({answer.loss.reason}): {answer.loss.detail}"
        else:
            yield f"analysed as {path}, context {config.context(path)}, {len(data):,} bytes"


def _left_out(excluded: tuple[tuple[str, str, int], ...], links: int) -> str:
    if excluded:
        return "; ".join(f"left out by `{pattern}` ({source})" for pattern, source, _ in excluded)
    if links:
        return "it is a symbolic link, and links are not followed; name what it points to"
    return "it is no source: name a regular file with .py, .pyi, .ipynb, or a first line that names python"
