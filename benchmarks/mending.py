"""Mend one step of a proof and audit again: is every step that a proof shows necessary?

usage: python benchmarks/mending.py PATH... [--rule ID]... [--count 20] [--seed 1] [--possible]

Findings are drawn at random from the audit of each path. Every step of their proofs that can be mended is, one at a time:
a call is handed to a thread, awaited or kept, a lock is not taken or may be taken again, an await goes, a handler raises
again. Then the finding must be gone, or be proved anew without that step; where it still shows the step, the step proved
nothing. Steps that only tell something (where a lock is made, what a callee is) have no mend and are counted as such.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import libcst as cst

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from seeded import Auditor, read  # noqa: E402 - a script: the path comes first
from seeding import Source  # noqa: E402
from seeding.source import Around, in_coroutine  # noqa: E402

from auditor.cache import Cache  # noqa: E402
from auditor.facts.collect import text_of  # noqa: E402
from auditor.finding import Confidence, Finding, Step  # noqa: E402
from auditor.source.text import LineStarts  # noqa: E402

CONCURRENCY = (
    "blocking-call-in-async", "unawaited-coroutine", "await-on-sync", "dangling-task", "unbounded-task-creation",
    "unbounded-queue", "executor-per-call", "swallowed-cancellation", "busy-loop", "inconsistent-lock", "await-atomicity",
    "lock-without-release", "mixed-lock-kinds", "thread-lock-across-await", "lock-order-cycle", "lock-reentry",
)  # fmt: skip
GONE, ANEW, STAYS, UNMENDED = "gone", "proved anew", "STILL SHOWN", "no mend"
IMPORTS = b"import asyncio, concurrent.futures, contextlib\n"
MAKERS = (b"create_task", b"ensure_future", b"run_coroutine_threadsafe")
Mended = tuple[str, bytes]  # what was done; the file afterwards


@dataclass(frozen=True)
class Spot:
    """A node at a step, with those around it."""

    source: Source
    node: cst.CSTNode
    around: Around

    def replaced(self, text: bytes, node: cst.CSTNode | None = None) -> bytes:
        """The file with the node's text replaced, and the modules imported that a mend needs."""
        start, end = self.source.span(node or self.node)
        top = self.source.top
        data = self.source.data[:start] + text + self.source.data[end:]
        return data[:top] + IMPORTS + data[top:] if top <= start else data

    def text(self, node: cst.CSTNode) -> bytes:
        return self.source.text(node)


def handed_over(spot: Spot) -> Iterator[Mended]:
    """A call runs in a thread instead."""
    if isinstance(spot.node, cst.Call):
        arguments = b", ".join(spot.text(arg).rstrip(b", ") for arg in spot.node.args)
        given = b", ".join(part for part in (spot.text(spot.node.func), arguments) if part)
        if in_coroutine(spot.around):
            yield "awaits it in a thread", spot.replaced(b"(await asyncio.to_thread(" + given + b"))")
        else:
            yield "hands it to a pool", spot.replaced(b"concurrent.futures.ThreadPoolExecutor().submit(" + given + b")")


def awaited(spot: Spot) -> Iterator[Mended]:
    if isinstance(spot.node, cst.Call) and in_coroutine(spot.around):
        yield "awaits it", spot.replaced(b"(await " + spot.text(spot.node) + b")")
    elif isinstance(spot.node, cst.Call):
        yield "runs it", spot.replaced(b"asyncio.run(" + spot.text(spot.node) + b")")


def kept(spot: Spot) -> Iterator[Mended]:
    if isinstance(spot.node, cst.Call) and spot.source.text(spot.node.func).endswith(MAKERS):
        yield (
            "keeps the handle",
            spot.replaced(b"globals().setdefault('KEPT', []).append(" + spot.text(spot.node) + b")"),
        )


def not_awaited(spot: Spot) -> Iterator[Mended]:
    awaits = [n for n in (spot.node, *reversed(spot.around)) if isinstance(n, cst.Await)][:1]
    for node in awaits:
        yield "does not await it", spot.replaced(spot.text(node.expression), node)


def not_suspended(spot: Spot) -> Iterator[Mended]:
    """Nothing runs where the await stood."""
    for node in [n for n in (spot.node, *reversed(spot.around)) if isinstance(n, cst.Await)][:1]:
        yield "does not suspend", spot.replaced(b"None", node)


def not_taken(spot: Spot) -> Iterator[Mended]:
    """The block stands without its lock."""
    holder = next((n for n in (spot.node, *reversed(spot.around)) if isinstance(n, cst.WithItem)), None)
    if holder is not None:
        yield "does not take it", spot.replaced(b"contextlib.nullcontext()", holder.item)


def not_called(spot: Spot) -> Iterator[Mended]:
    if isinstance(spot.node, cst.Call):
        yield "does not call it", spot.replaced(b"None")


def raised_again(spot: Spot) -> Iterator[Mended]:
    handler = next((n for n in (spot.node, *reversed(spot.around)) if isinstance(n, cst.ExceptHandler)), None)
    if handler is not None and isinstance(handler.body, cst.IndentedBlock):
        first = handler.body.body[0]
        start = spot.source.span(first)[0]
        line = spot.source.data.rfind(b"\n", 0, start) + 1
        indent = spot.source.data[line:start]
        yield "raises again", spot.source.data[:line] + indent + b"raise\n" + spot.source.data[line:]


MENDS: Mapping[str, Sequence[Callable[[Spot], Iterator[Mended]]]] = {
    "blocking-call-in-async": (handed_over,),
    "unawaited-coroutine": (awaited,),
    "await-on-sync": (not_awaited,),
    "dangling-task": (kept,),
    "swallowed-cancellation": (raised_again, not_suspended),
    "lock-reentry": (not_taken, not_suspended, not_called),
    "lock-order-cycle": (not_taken, not_suspended, not_called),
    "thread-lock-across-await": (not_taken, not_suspended),
    "await-atomicity": (not_suspended,),
    "inconsistent-lock": (not_taken,),
}


def named(spot: Spot, note: str) -> bool:
    """Whether a step speaks of a call."""
    callee = spot.node.func if isinstance(spot.node, cst.Call) else None
    return callee is not None and spot.text(callee).decode().rpartition(".")[2] in re.findall(r"\w+", note)


def mends(rule: str, files: Mapping[str, bytes], step: Step) -> Iterator[Mended]:
    """The first mend of this rule that fits a step."""
    text, _ = text_of(step.path, files[step.path])
    data = text.encode()
    offset = len(text[: LineStarts(text).offset(step.line, step.column)].encode())
    source = Source(step.path, data)
    spots = [Spot(source, node, around) for node, around in source.beginning(offset)]
    spots.sort(key=lambda spot: not named(spot, step.note))  # a().b() begins where a() does
    for mend in MENDS.get(rule, ()):
        for spot in spots:
            for made in mend(spot):
                yield made
                return


def same(finding: Finding, other: Finding) -> bool:
    """Whether another finding is what is left of this one: the same rule in the same function, about the same thing."""
    return (other.rule, other.path, other.symbol) == (finding.rule, finding.path, finding.symbol)


def shows(other: Finding, step: Step, shift: int) -> bool:
    return any(
        (s.path, s.line - shift * (s.path == step.path), s.note) == (step.path, step.line, step.note)
        for s in other.proof
    )


def judge(auditor: Auditor, before: Sequence[Finding], finding: Finding, step: Step) -> tuple[str, str]:
    """What a mend of a step does to a finding: (outcome, mend)."""
    for what, data in mends(finding.rule, auditor.files, step):
        after = auditor.findings({step.path: data})
        shift = data.count(b"\n") - auditor.files[step.path].count(b"\n")
        was = [f for f in before if same(finding, f) and f is not finding and shows(f, step, 0)]
        now = [f for f in after if same(finding, f) and shows(f, step, shift)]
        if len(now) > len(was):
            return STAYS, what
        others = sum(same(finding, f) for f in before)
        return (ANEW if sum(same(finding, f) for f in after) >= others else GONE), what
    return UNMENDED, ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--rule", action="append", default=[], help="only findings of this rule")
    parser.add_argument("--count", type=int, default=20, help="findings of each path")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--possible", action="store_true", help="also findings that are only possible")
    options = parser.parse_args()
    wanted = set(options.rule or CONCURRENCY)
    total: Counter[str] = Counter()
    for path in options.paths:
        with tempfile.TemporaryDirectory(prefix="mending-") as folder:
            auditor = Auditor(read(path), Cache(folder))
            known = auditor.settings.rules
            only = {name: rule for name, rule in known.rules.items() if name in wanted}
            auditor.settings = replace(auditor.settings, rules=replace(known, rules=only))
            before = auditor.findings({})
            least = Confidence.POSSIBLE if options.possible else Confidence.LIKELY
            sure = {name: rule.confidence for name, rule in auditor.settings.rules.rules.items()}
            drawn = [f for f in before if f.rule in wanted and f.proof and (f.confidence or sure[f.rule]) >= least]
            random.Random(options.seed).shuffle(drawn)  # noqa: S311 - a sample, no secret
            for finding in drawn[: options.count]:
                print(f"{path.name}/{finding.path}:{finding.line} {finding.rule}: {finding.message}")
                for step in finding.proof:
                    outcome, what = judge(auditor, before, finding, step)
                    total[outcome] += 1
                    print(
                        f"    {outcome:12} {step.path}:{step.line} {step.note}{f' [{what}]' if what else ''}",
                        flush=True,
                    )
    print(", ".join(f"{name}: {number}" for name, number in sorted(total.items())))
    sys.exit(1 if total[STAYS] else 0)


if __name__ == "__main__":
    main()
