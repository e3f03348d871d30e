"""Cost of our own analysis relative to `libcst.parse_module` over the same files, in one process, part by part.

usage: python benchmarks/engine.py PATH... [--rounds 3] [--every N]

All sources are read first; the variants are interleaved round by round, so that the load of the machine cancels; CPU time,
median of the rounds, cyclic collector off. Prints a table and writes the ratios as JSON with --json FILE.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import libcst as cst

from auditor import engine, loader
from auditor.facts.codec import Program, encode
from auditor.facts.lower import lower
from auditor.project.project import Project
from auditor.source.module import SourceModule
from auditor.source.text import decode

PARTS = ("parse", "walk", "positions", "lowering", "encode", "local rules", "decode", "linking", "project rules")


def sources(paths: list[str], every: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        files = sorted(Path(path).rglob("*.py")) if Path(path).is_dir() else [Path(path)]
        for file in files[::every]:
            if file.is_symlink() or not file.is_file():
                continue
            try:
                text = decode(file.read_bytes()).text
                cst.parse_module(text)
            except Exception:  # noqa: BLE001, S112 - files that do not parse are not measured
                continue
            found[file.relative_to(path).as_posix() if Path(path).is_dir() else file.name] = text
    return found


def measure(texts: dict[str, str], stubs_warm: dict[str, bytes]) -> dict[str, float]:
    spent = dict.fromkeys(PARTS, 0.0)

    def timed(part: str, work: Callable[[], object]) -> object:
        began = time.process_time()
        result = work()
        spent[part] += time.process_time() - began
        return result

    rules = loader.make(loader.load(), {})
    programs: dict[str, Program] = {}
    for path, text in texts.items():
        tree = timed("parse", lambda text=text: cst.parse_module(text))
        module = timed("walk", lambda path=path, text=text, tree=tree: SourceModule(path, text, tree))
        timed("positions", lambda module=module: module.spans)
        facts, encoded = timed("lowering", lambda module=module: lower(module))
        for rule in rules:
            if rule.local():
                timed("local rules", lambda rule=rule, module=module: list(rule.check_module(module)))
        blob = timed("encode", lambda facts=facts, encoded=encoded: encode(facts, encoded))
        programs[path] = timed("decode", lambda blob=blob: _decoded(blob))
    settings = engine.Settings(loader.load())
    project: Project = engine.link(programs, settings)
    project.symbols.stubs.load = stubs_warm.get  # type: ignore[union-attr]  # stubs are parsed once per version of mypy
    timed("linking", lambda: project.linked)
    stubs_warm.update(project.symbols.stubs.fresh)  # type: ignore[union-attr]  # as above
    timed("project rules", lambda: engine.judge(project, rules))
    return spent


def _decoded(blob: bytes) -> Program:
    program = Program(blob)
    for index in range(len(program.facts.functions)):
        program.body(index)
    return program


def run(options: argparse.Namespace) -> None:
    gc.disable()
    texts = sources(options.paths, options.every)
    lines = sum(text.count("\n") for text in texts.values())
    stubs: dict[str, bytes] = {}
    measure(dict(list(texts.items())[:20]), stubs)
    rounds = []
    for _ in range(options.rounds):
        rounds.append(measure(texts, stubs))
        gc.collect()
    parse = statistics.median(r["parse"] for r in rounds)
    ratios = {part: statistics.median(r[part] / r["parse"] for r in rounds) for part in PARTS}
    total = sum(ratios.values())
    print(f"{len(texts)} files, {lines:,} lines; parse floor {parse:.2f} s CPU = {lines / parse:,.0f} lines/s")
    for part in PARTS:
        print(f"{part:14} {ratios[part]:6.3f} x")
    print(f"{'total':14} {total:6.3f} x")
    if options.json:
        Path(options.json).write_text(json.dumps({"lines": lines, "ratios": ratios, "total": total}, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="take every Nth file")
    parser.add_argument("--json")
    options = parser.parse_args()
    threading.stack_size(512 << 20)
    sys.setrecursionlimit(20_000)
    thread = threading.Thread(target=run, args=(options,))
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
