"""Random arithmetic programs: what CPython does, and what the rules of the chapter money say.

usage: python benchmarks/money.py [--count 5000] [--seed 0] [--batch 100]

Prints the share of what raised, lost digits or compared that is decided, and every certain finding that execution contradicts;
one contradiction is exit status 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from money_programs import Tally, execute, program  # noqa: E402 - a script: the path comes first

from auditor import engine, loader  # noqa: E402

RULES = ("float-decimal-mixing", "decimal-from-float", "mixed-numeric-comparison")


def run(seeds: range, batch: int, tally: Tally) -> Iterator[int]:
    """Judge the programs of the seeds, a batch as one project; gives how many are done."""
    rules = loader.load()
    chosen = replace(rules, rules={rule: rules.rules[rule] for rule in RULES})
    for start in range(seeds.start, seeds.stop, batch):
        made = {seed: program(seed) for seed in range(start, min(start + batch, seeds.stop))}
        analysis = engine.in_process({f"p{seed}.py": item.text for seed, item in made.items()}, chosen)
        if analysis.errors:
            raise ValueError(f"a rule failed: {analysis.errors[0]}")
        for seed, item in made.items():
            tally.add(seed, item, execute(item), [f for f in analysis.findings if f.path == f"p{seed}.py"])
        yield start + len(made) - seeds.start


def share(tally: Tally, part: str, whole: str) -> str:
    total = tally.counts[whole]
    return f"{part}: {tally.counts[part]} of {total} ({tally.counts[part] / total:.1%})" if total else f"{part}: none"


def report(tally: Tally) -> str:
    """The shares, one a line."""
    return "\n".join([
        share(tally, "raised, said", "raised"),
        share(tally, "raised, certain", "raised"),
        share(tally, "Decimal of a float, said", "Decimal of a float"),
        share(tally, "equality, certain", "equality"),
        f"certain to raise: {tally.counts['certain to raise']}; likely: {tally.counts['likely to raise']} raised or not reached, "
        f"{tally.counts['likely to raise, passed']} passed with these inputs",
        f"contradicted: {len(tally.contradictions)}",
        *tally.contradictions[:20],
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=100)
    options = parser.parse_args()
    tally, started = Tally(), time.process_time()
    for _ in run(range(options.seed, options.seed + options.count), options.batch, tally):
        pass
    print(f"{options.count} programs, {time.process_time() - started:.0f} s\n{report(tally)}")
    sys.exit(1 if tally.contradictions else 0)


if __name__ == "__main__":
    main()
