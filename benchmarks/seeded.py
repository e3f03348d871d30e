"""Seeded defects: put known faults into code and count how many of them are found.

usage: python benchmarks/seeded.py PATH... [--per-injector 40] [--batch 40] [--rule ID] [--misses]

Each path is audited as a project of its own. A site where the rule reports already is counted out. The faults of one
batch lie in different functions; a fault that is not found is tried again with few others, since a nearer one may stand
in front of it. Whatever else changes between two runs is no effect of a fault and is printed: that is a defect of ours.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from libcst import ParserSyntaxError

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from seeding import INJECTORS, Seeded, Site, Source, seed, sites_of  # noqa: E402 - a script: the path comes first
from seeding.site import batches  # noqa: E402

from auditor import engine, loader  # noqa: E402
from auditor.cache import Cache  # noqa: E402
from auditor.engine import Settings  # noqa: E402
from auditor.finding import Finding  # noqa: E402

FEW = 6
Key = tuple[str, str, int]


@dataclass
class Tally:
    """The outcome for the sites of one injector."""

    sites: int = 0
    known: int = 0
    found: int = 0
    misses: list[tuple[Site, int]] = field(default_factory=list)

    @property
    def tried(self) -> int:
        return self.found + len(self.misses)


@dataclass
class Result:
    """Tallies by (rule, injector); findings that came or went without a fault that explains them."""

    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    runs: int = 0


class Auditor:
    """Audits versions of one project; what did not change is not looked at again."""

    def __init__(self, files: Mapping[str, bytes], cache: Cache) -> None:
        self.files = dict(files)
        self.settings = Settings(loader.load(), cache=cache, jobs=1)

    def findings(self, changed: Mapping[str, bytes]) -> list[Finding]:
        """The findings with some files changed. Raises ValueError if a rule failed or a file was lost."""
        analysis = engine.analyse({**self.files, **changed}, self.settings)
        if analysis.errors:
            raise ValueError(f"{analysis.errors[0]}")
        lost = [loss.path for loss in analysis.losses if loss.path in changed]
        if lost:
            raise ValueError(f"an injection does not parse: {', '.join(lost)}")
        return analysis.findings


def places(finding: Finding) -> set[tuple[str, int]]:
    """Every line that a finding shows."""
    return {(finding.path, finding.line), *((step.path, step.line) for step in finding.proof)}


def shown(findings: Iterable[Finding]) -> dict[str, set[tuple[str, int]]]:
    """Lines by rule."""
    found: dict[str, set[tuple[str, int]]] = {}
    for finding in findings:
        found.setdefault(finding.rule, set()).update(places(finding))
    return found


def original_line(files: Mapping[str, bytes], site: Site) -> int:
    return files[site.path].count(b"\n", 0, site.edits[0].start) + 1


def measure(files: Mapping[str, bytes], sites: Sequence[Site], cache: Cache, batch: int) -> Result:
    """Put every fault and look for it."""
    auditor, result = Auditor(files, cache), Result()
    before = auditor.findings({})
    loaded, known = set(auditor.settings.rules.rules), shown(before)
    wanted: list[Site] = []
    for site in sites:
        tally = result.tallies.setdefault((site.rule, site.injector), Tally())
        tally.sites += 1
        if site.rule not in loaded:
            continue
        if (site.path, original_line(files, site)) in known.get(site.rule, ()):
            tally.known += 1
        else:
            wanted.append(site)
    for size in (batch, FEW):
        missed: list[Site] = []
        for group in batches(wanted, size):
            seeded = seed(files, group)
            after = auditor.findings(seeded.changed)
            result.runs += 1
            new = shown(after)
            for site in group:
                if seeded.faults(site) & new.get(site.rule, set()):
                    result.tallies[site.rule, site.injector].found += 1
                else:
                    missed.append(site)
            result.odd += odd(before, after, seeded, group)
        wanted = missed
    for site in wanted:
        result.tallies[site.rule, site.injector].misses.append((site, original_line(files, site)))
    result.odd = sorted(set(result.odd))
    return result


def odd(before: Iterable[Finding], after: Iterable[Finding], seeded: Seeded, group: Sequence[Site]) -> list[str]:
    """Findings that came although no fault of their rule is in their proof, and findings that went."""
    faults: dict[str, set[tuple[str, int]]] = {}
    for site in group:
        faults.setdefault(site.rule, set()).update(seeded.faults(site))
    was: Counter[Key] = Counter((f.rule, f.path, seeded.line(f.path, f.line)) for f in before)
    now: Counter[Key] = Counter()
    told: dict[Key, Finding] = {}
    for finding in after:
        key = (finding.rule, finding.path, finding.line)
        if not places(finding) & faults.get(finding.rule, set()) or key in was:
            now[key] += 1
            told[key] = finding
    came = [f"came: {rule} {path}: {told[rule, path, line].message}" for rule, path, line in (now - was)]
    gone = (was - now).keys()
    return came + [f"went: {rule} {path}:{line} (new numbering)" for rule, path, line in gone]


def spread(sites: Sequence[Site], most: int) -> list[Site]:
    """At most so many sites of each injector, evenly from all files."""
    by_injector: dict[tuple[str, str], list[Site]] = {}
    for site in sites:
        by_injector.setdefault((site.rule, site.injector), []).append(site)
    chosen: list[Site] = []
    for found in by_injector.values():
        step = max(1, len(found) / most)
        chosen += [found[int(rank * step)] for rank in range(min(most, len(found)))]
    return chosen


def read(root: Path) -> dict[str, bytes]:
    """The Python files of a folder."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.py")) if path.is_file()
    }


def parsed(files: Mapping[str, bytes], per_file: Sequence[bytes]) -> Iterable[Source]:
    """The files that can have a site."""
    for path, data in files.items():
        if any(needle in data for needle in per_file):
            try:
                yield Source(path, data)
            except ParserSyntaxError as error:  # such a file has no site
                print(f"  not parsed: {path}: {type(error).__name__}", file=sys.stderr)


def table(result: Result) -> str:
    """The tallies as a table."""
    lines = [f"{'rule':26} {'injection':46} {'sites':>6} {'known':>6} {'tried':>6} {'found':>6}  recall"]
    for (rule, injector), tally in sorted(result.tallies.items()):
        recall = (
            f"{tally.found / tally.tried:6.1%}" if tally.tried else "  rule not built" if not tally.known else "      -"
        )
        lines.append(
            f"{rule:26} {injector:46} {tally.sites:6} {tally.known:6} {tally.tried:6} {tally.found:6}  {recall}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--per-injector", type=int, default=40, help="most sites of one injector in one project")
    parser.add_argument("--batch", type=int, default=40, help="most faults in one run")
    parser.add_argument("--rule", action="append", default=[], help="only the injectors of this rule")
    parser.add_argument("--misses", action="store_true", help="print every fault that was not found")
    options = parser.parse_args()
    injectors = [each for each in INJECTORS if not options.rule or each.rule in options.rule]
    for path in options.paths:
        started, files = time.process_time(), read(path)
        sites = spread(sites_of(parsed(files, [each.needle for each in injectors]), injectors), options.per_injector)
        with tempfile.TemporaryDirectory(prefix="seeded-") as folder:
            cache = Cache(folder)
            result = measure(files, sites, cache, options.batch)
            cache.close()
        seconds = time.process_time() - started
        print(f"{path}: {len(files)} files, {result.runs} runs, {seconds:.0f} s of this process\n{table(result)}")
        if options.misses:
            for (rule, injector), tally in sorted(result.tallies.items()):
                for site, line in tally.misses:
                    print(f"  miss: {rule}: {site.path}:{line}: {injector} {site.note}")
        print("\n".join(f"  {line}" for line in result.odd) or "  nothing else changed")
        print(flush=True)


if __name__ == "__main__":
    main()
