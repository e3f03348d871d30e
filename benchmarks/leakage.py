"""The leakage chapter against execution: what the rules say of a program, and what a causality probe measures.

usage: python -m benchmarks.leakage table [--recorded]
       python -m benchmarks.leakage generate [--count 5000] [--seed 1] [--shrink 12]
       python -m benchmarks.leakage compare [--peer lookahead-lint] [--count 500] [--seed 1]

table      prints the table of known idioms with both verdicts and the share that agrees; --recorded takes the stored
           measurements in place of new ones
generate   makes random strategies, runs and judges them; prints the share that the rules decide, how many of these
           verdicts are as measured, and up to --shrink disagreements, each made as small as it gets
compare    runs lookahead-lint 1.0.1 (PyPI) on the table and on random strategies, and counts for both tools the leaks
           that they find, the leaks that they miss and the causal programs that they report
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from leakage import programs  # noqa: E402 - a script: the path comes first
from leakage.agreement import disagreements, status  # noqa: E402
from leakage.comparison import AGREES, DISAGREEMENTS, EDGE, compared  # noqa: E402
from leakage.judge import UNDECIDED, built, judge  # noqa: E402
from leakage.patterns import patterns  # noqa: E402
from leakage.probe import CAUSAL, LEAK, WARM_UP, NotMeasurable  # noqa: E402
from leakage.programs import Program  # noqa: E402
from leakage.shrink import shrunk  # noqa: E402

NAME = 62
SPAN = 1_000_000
"""Seeds of programs from one `--seed` to the next."""


def table(options: argparse.Namespace) -> int:
    """Print the table; 0 if every row that is built agrees or differs for a reason that is given."""
    agreed = known = live = 0
    recorded: Counter[str] = Counter()
    rows = patterns()
    wrong: list[str] = []
    for pattern in rows:
        executed, reach, starts = pattern.recorded
        if pattern.runs and not options.recorded:
            measured = pattern.measure()
            executed, reach, starts = measured.verdict, measured.shown_reach, measured.starts
            if not pattern.agrees(measured):
                wrong.append(f"row {pattern.number}: recorded {pattern.recorded}, measured {(executed, reach, starts)}")
        else:
            recorded[f"{pattern.library} is not installed" if not pattern.runs else "--recorded"] += 1
        verdict = judge(pattern.texts)
        live += built(pattern.rule)
        good = built(pattern.rule) and not disagreements(pattern, verdict)
        agreed += good
        known += bool(built(pattern.rule) and pattern.differs and not good)
        said = ", ".join(verdict.rules) or "silent"
        bars = "" if verdict.word == CAUSAL or not verdict.findings else f" {verdict.bars or ''}"
        shown = f"{executed} {reach}{' start' if starts else ''}"
        print(
            f"{pattern.number:>4} {pattern.name[:NAME]:<{NAME}} {shown:<20} {said + bars:<28} {status(pattern, verdict)}"
        )
    stored = "".join(f", {count} from the record ({why})" for why, count in sorted(recorded.items()))
    print(f"\n{len(rows)} rows; {len(rows) - recorded.total()} executed now{stored}; rules built for {live}")
    print(f"{agreed} agree, {known} differ for a stated reason, {live - agreed - known} disagree")
    print("\n".join(wrong), end="\n" if wrong else "")
    return int(bool(wrong) or agreed + known < live)


def generate(options: argparse.Namespace) -> int:
    """Print what random programs show; always 0."""
    began = time.monotonic()
    kinds: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    wrong: list[tuple[int, Program, str]] = []
    for i in range(options.count):
        seed = options.seed * SPAN + i
        program = programs.generate(seed)
        try:
            found = compared(program)
        except NotMeasurable:
            kinds["not measurable"] += 1
            continue
        kinds[found.kind] += 1
        verdicts[found.feature.verdict] += 1
        if found.kind in DISAGREEMENTS:
            wrong.append((seed, program, found.kind))
    run = options.count - kinds["not measurable"]
    decided = run - kinds[UNDECIDED] - kinds[EDGE]
    print(f"{options.count} programs in {time.monotonic() - began:.0f} s; {run} show something: ", end="")
    print(", ".join(f"{count} {word}" for word, count in sorted(verdicts.items())))
    print(f"decided {decided} ({share(decided, run)}), undecided {kinds[UNDECIDED]}, {kinds[EDGE]} with {EDGE} only")
    print(f"of the decided {kinds[AGREES]} as measured ({share(kinds[AGREES], decided)}); ", end="")
    print(", ".join(f"{kinds[kind]} {kind}" for kind in DISAGREEMENTS))
    for kind, number, seed, small in smallest(wrong[: options.shrink]):
        shown = compared(small)
        print(f"\n[{kind}] {number} of {min(options.shrink, len(wrong))}, seed {seed}\n{shown.story}")
        for path, text in shown.texts.items():
            print(f"# {path}\n{text}", end="")
    return 0


def smallest(wrong: Sequence[tuple[int, Program, str]]) -> list[tuple[str, int, int, Program]]:
    """(kind, how many, a seed, program) of disagreements after shrinking, the most frequent first."""
    found: dict[tuple[str, tuple[str, ...]], list[tuple[int, Program]]] = {}
    for seed, program, kind in wrong:
        small = shrunk(program, partial(_still, kind))
        found.setdefault((kind, small.operations), []).append((seed, small))
    ranked = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [(kind, len(group), *group[0]) for (kind, _), group in ranked]


def _still(kind: str, program: Program) -> bool:
    try:
        return compared(program).kind == kind
    except NotMeasurable:
        return False


# --- beside another tool ----------------------------------------------------------------------------------------------


def compare(options: argparse.Namespace) -> int:
    """Print what both tools say of programs whose verdict was measured; 2 if the other tool is not installed."""
    peer = shutil.which(options.peer)
    if peer is None:
        print(
            f"{options.peer} is not installed: `pip install lookahead-lint==1.0.1`, or name it by --peer",
            file=sys.stderr,
        )
        return 2
    table_rows = [(pattern.verdict in (LEAK, WARM_UP), pattern.texts) for pattern in patterns()]
    made: list[tuple[bool, Mapping[str, str]]] = []
    for i in range(options.count):
        with suppress(NotMeasurable):
            found = compared(programs.generate(options.seed * SPAN + i))
            made.append((found.feature.verdict in (LEAK, WARM_UP), found.texts))
    for name, labelled in (("table", table_rows), ("random strategies", made)):
        theirs = reported(peer, [texts for _, texts in labelled])
        ours = [bool(judge(texts).ahead) for _, texts in labelled]
        leaks = sum(leak for leak, _ in labelled)
        print(f"{name}: {len(labelled)} programs, {leaks} leak")
        for tool, said in (("auditor", ours), (options.peer, theirs)):
            hits = sum(leak and word for (leak, _), word in zip(labelled, said, strict=True))
            alarms = sum(word and not leak for (leak, _), word in zip(labelled, said, strict=True))
            print(f"  {Path(tool).name:<16} finds {hits:>4} ({share(hits, leaks)}), misses {leaks - hits:>4}; ", end="")
            print(f"reports {alarms:>3} of {len(labelled) - leaks} causal ones")
    return 0


def reported(peer: str, sources: Sequence[Mapping[str, str]]) -> list[bool]:
    """Whether the other tool reports anything in each program. Raises ValueError if it did not read all files."""
    with tempfile.TemporaryDirectory() as folder:
        for i, texts in enumerate(sources):
            for path, text in texts.items():
                file = Path(folder, f"p{i}", path)
                file.parent.mkdir(exist_ok=True)
                file.write_text(text, encoding="utf-8")
        command = [peer, "--no-config", "--format", "json", "."]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    if answer["errors"] or answer["summary"]["files_checked"] != sum(len(texts) for texts in sources):
        raise ValueError(f"{peer} did not read every file: {answer['errors'][:1]}")
    found = {Path(finding["path"]).parts[0] for finding in answer["findings"]}
    return [f"p{i}" in found for i in range(len(sources))]


def share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.leakage", description=(__doc__ or "").partition("\n")[0]
    )
    commands = parser.add_subparsers(required=True)
    shown = commands.add_parser("table", help="known idioms with both verdicts")
    shown.add_argument("--recorded", action="store_true", help="take the stored measurements in place of new ones")
    shown.set_defaults(run=table)
    made = commands.add_parser("generate", help="random strategies, run and judged")
    made.add_argument("--count", type=int, default=5000)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--shrink", type=int, default=12, help="how many disagreements are made small and shown")
    made.set_defaults(run=generate)
    beside = commands.add_parser("compare", help="the table and random strategies, beside another tool")
    beside.add_argument("--peer", default="lookahead-lint", help="the command of the other tool")
    beside.add_argument("--count", type=int, default=500)
    beside.add_argument("--seed", type=int, default=1)
    beside.set_defaults(run=compare)
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # numpy, about holes and zeros in random programs
    answer: int = options.run(options)
    return answer


if __name__ == "__main__":
    sys.exit(main())
