"""Incremental equals cold: replay successive commits of a repository and compare each incremental result with a cold one.

usage: python benchmarks/replay.py REPOSITORY [--commits 100] [--end REV]

The trees are read from git into memory; no work tree is touched. A cold run has no traces (facts are by content and are
shared: they depend on nothing else). Compared are the findings as JSON and the result of every call of the project.
Prints the median and the 95th percentile of CPU time of an incremental run, and every commit that differs.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from auditor import engine, loader
from auditor.cache import Cache
from auditor.facts.collect import plain
from auditor.project.project import Project
from auditor.project.types import Instance, Type


def tree(repository: Path, revision: str, blobs: dict[str, bytes]) -> dict[str, bytes]:
    """Python files of a commit."""
    listing = subprocess.run(
        ["git", "-C", str(repository), "ls-tree", "-r", "-z", revision], capture_output=True, check=True
    ).stdout.decode("utf-8", "surrogateescape")
    wanted = {}
    for line in filter(None, listing.split("\0")):
        head, _, path = line.partition("\t")
        if path.endswith(".py"):
            wanted[path] = head.split()[2]
    missing = sorted({blob for blob in wanted.values() if blob not in blobs})
    if missing:
        out = subprocess.run(
            ["git", "-C", str(repository), "cat-file", "--batch"], input="\n".join(missing).encode(), capture_output=True, check=True
        ).stdout
        at = 0
        for blob in missing:
            end = out.index(b"\n", at)
            size = int(out[at:end].split()[2])
            blobs[blob] = out[end + 1 : end + 1 + size]
            at = end + 2 + size
    return {path: blobs[blob] for path, blob in wanted.items()}


def canonical(value: Type) -> object:
    return sorted(
        (type(a).__name__, repr(a[:1]), [canonical(x) for x in a.args] if isinstance(a, Instance) else [], repr(a[2:])) for a in value
    )


def fingerprint(analysis: engine.Analysis) -> str:
    """Digest of all findings and of every resolved call."""
    digest = hashlib.sha256()
    for finding in sorted(analysis.findings, key=lambda f: (f.path, f.line, f.column, f.rule, f.message)):
        steps = [[s.path, s.line, s.column, s.note, s.name] for s in finding.proof]
        digest.update(json.dumps([finding.path, plain(finding), steps]).encode())
    project: Project = analysis.project
    for function in project.functions():
        for op, result in sorted(project.calls(function).items()):
            targets = [(t.function.key, t.receiver.dotted if t.receiver else "", t.exact) for t in result.targets]
            digest.update(repr((function.key, op, result.how, result.externals, targets, canonical(result.type))).encode())
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--commits", type=int, default=100)
    parser.add_argument("--end", default="HEAD")
    options = parser.parse_args()
    gc.disable()
    revisions = subprocess.run(
        ["git", "-C", str(options.repository), "rev-list", "--first-parent", f"--max-count={options.commits + 1}", options.end],
        capture_output=True, check=True, text=True,
    ).stdout.split()[::-1]  # fmt: skip
    blobs: dict[str, bytes] = {}
    times: list[float] = []
    runs: list[int] = []
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        settings = engine.Settings(loader.load(), cache=Cache(folder), project="replay")
        for number, revision in enumerate(revisions):
            data = tree(options.repository, revision, blobs)
            began = time.process_time()
            incremental = engine.analyse(data, settings)
            took = time.process_time() - began
            cold = engine.analyse(data, replace(settings, project=f"cold-{number}"))
            same = fingerprint(incremental) == fingerprint(cold)
            different += not same
            if number:
                times.append(took)
                runs.append(incremental.project.linked.runs)
            print(
                f"{number:4} {revision[:10]} files {len(data)} parsed {incremental.parsed} run {incremental.project.linked.runs:5} "
                f"of {cold.project.linked.runs} functions, {took:.2f} s, {'same' if same else 'DIFFERENT'}", flush=True,
            )  # fmt: skip
            gc.collect()
    ordered = sorted(times)
    print(
        f"{len(times)} commits, {different} different; incremental CPU: median {statistics.median(times):.2f} s, "
        f"95th percentile {ordered[int(len(ordered) * 0.95) - 1]:.2f} s; functions run: median {statistics.median(runs):.0f}"
    )
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
