"""Bugs that were fixed: is the defect found in the parent of the fix, and gone in the fix?

usage: python benchmarks/history.py CLONES [--list benchmarks/history.toml] [--repo NAME] [--whole]

CLONES is a folder of git repositories, `owner+name/repo` or `name` each. The list has one entry for each fix: repository, commit,
file, rule, a piece of the defective line, and what is expected. Both versions of the file, with the modules of the project that it
imports (two levels), are read from the repository, analysed and dropped: nothing of them is kept.
"""

from __future__ import annotations

import argparse
import posixpath
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from auditor import engine, loader  # noqa: E402 - a script: the path comes first
from auditor.cache import Cache  # noqa: E402
from auditor.engine import Settings  # noqa: E402
from auditor.finding import Confidence, Finding  # noqa: E402

LEVELS = 2  # imports that are followed from the file
MOST_FILES = 400
IMPORT = re.compile(r"^\s*(?:from\s+(\.*[\w.]*)\s+import\s+(\([^)]*\)|[^\n#]*)|import\s+([^\n#]*))", re.MULTILINE)


@dataclass(frozen=True)
class Fix:
    """One fix. `text` is a piece of the defective line in the parent; `miss` says why the defect is not found, "" if it is."""

    repo: str
    commit: str
    path: str
    rule: str
    text: str
    what: str
    miss: str = ""


@dataclass(frozen=True)
class Verdict:
    """What was found: findings of the rule at the defect in the parent, and at the same text in the fix."""

    fix: Fix
    before: tuple[Finding, ...]
    after: tuple[Finding, ...]
    lost: str = ""

    @property
    def word(self) -> str:
        if self.lost:
            return self.lost
        if not self.before:
            return "missed"
        return "still found" if self.after else "found, then gone"


class Repository:
    """A local clone, read with git's plumbing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def git(self, *arguments: str) -> str:
        """The output of a git command. Raises ValueError with git's own words."""
        done = subprocess.run(["git", "-C", str(self.folder), *arguments], capture_output=True, check=False)
        if done.returncode:
            raise ValueError(f"git {' '.join(arguments[:2])}: {done.stderr.decode('utf-8', 'replace').strip()}")
        return done.stdout.decode("utf-8", "replace")

    def files(self, revision: str) -> list[str]:
        """The Python files of a revision."""
        return [
            path
            for path in self.git("ls-tree", "-r", "--name-only", revision).splitlines()
            if path.endswith((".py", ".pyi"))
        ]

    def read(self, revision: str, path: str) -> str:
        return self.git("show", f"{revision}:{path}")


def modules(text: str, path: str) -> Iterable[str]:
    """Dotted modules that a file imports, relative ones resolved to a path below the root."""
    package = posixpath.dirname(path).replace("/", ".")
    for match in IMPORT.finditer(text):
        source, names, plain = match.groups()
        if plain is not None:
            yield from (name.split(" as ")[0].strip() for name in plain.split(","))
            continue
        dots = len(source) - len(source.lstrip("."))
        base = source.lstrip(".")
        if dots:
            parts = package.split(".")[: len(package.split(".")) - dots + 1]
            base = ".".join([*parts, base]).strip(".")
        yield base
        yield from (f"{base}.{name.split(' as ')[0].strip()}" for name in names.strip("() \n").split(","))


def needed(repository: Repository, revision: str, path: str, whole: bool) -> dict[str, bytes]:
    """The file with what it imports from the same repository."""
    known = repository.files(revision)
    if whole:
        return {name: repository.read(revision, name).encode() for name in known}
    by_module: dict[str, str] = {}
    for name in known:
        module = name.removesuffix(".pyi").removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        parts = module.split(".")
        for start in range(min(3, len(parts))):  # below a folder that is on the path, as `src`
            by_module.setdefault(".".join(parts[start:]), name)
    texts: dict[str, bytes] = {}
    wanted, level = [path], 0
    while wanted and len(texts) < MOST_FILES:
        following: list[str] = []
        for name in wanted:
            if name in texts:
                continue
            text = repository.read(revision, name)
            texts[name] = text.encode()
            if level < LEVELS:
                following += [by_module[module] for module in modules(text, name) if module in by_module]
        wanted, level = sorted(set(following) - set(texts)), level + 1
    return texts


def findings(texts: Mapping[str, bytes], rule: str, cache: Cache) -> list[Finding]:
    """The findings of one rule in some files."""
    rules = loader.load()
    chosen = replace(rules, rules={rule: rules.rules[rule]})
    analysis = engine.analyse(texts, Settings(chosen, cache=cache, jobs=1, project="history"))
    if analysis.errors:
        raise ValueError(f"{rule}: {analysis.errors[0]}")
    return analysis.findings


def at(found: Iterable[Finding], path: str, texts: Mapping[str, bytes], piece: str) -> tuple[Finding, ...]:
    """Findings that are, or show in their proof, a line of the file with this piece of text."""
    lines = texts[path].decode("utf-8", "replace").splitlines()
    wanted = {number for number, line in enumerate(lines, 1) if piece in line}
    chosen = []
    for finding in found:
        places = {(finding.path, finding.line), *((s.path, s.line) for s in finding.proof)}
        spread = {(finding.path, n) for n in range(finding.line, finding.end_line + 1)}
        if any((path, n) in places | spread for n in wanted) and finding.confidence is not Confidence.POSSIBLE:
            chosen.append(finding)
    return tuple(chosen)


def judged(fix: Fix, repository: Repository, whole: bool, cache: Cache) -> Verdict:
    """The verdict of one fix."""
    parent = f"{fix.commit}^"
    before_texts = needed(repository, parent, fix.path, whole)
    if fix.text not in before_texts[fix.path].decode("utf-8", "replace"):
        return Verdict(fix, (), (), "the text is not in the parent")
    before = at(findings(before_texts, fix.rule, cache), fix.path, before_texts, fix.text)
    if not before:
        return Verdict(fix, (), ())
    after_texts = needed(repository, fix.commit, fix.path, whole)
    symbols = {finding.symbol for finding in before}
    messages = {finding.message for finding in before}
    after = tuple(
        f
        for f in findings(after_texts, fix.rule, cache)
        if f.path == fix.path and f.symbol in symbols and f.message in messages
    )
    return Verdict(fix, before, after)


def table(verdicts: Iterable[Verdict]) -> str:
    """One line for each fix, and the counts."""
    rows = [f"{'repository':34} {'commit':10} {'rule':26} {'outcome':18} file, and what was fixed"]
    counts: Counter[str] = Counter()
    for verdict in verdicts:
        fix = verdict.fix
        counts[verdict.word] += 1
        grade = verdict.before[0].confidence.word if verdict.before and verdict.before[0].confidence is not None else ""
        rows.append(
            f"{fix.repo:34} {fix.commit[:10]:10} {fix.rule:26} {verdict.word:18} {fix.path}: {fix.what} {grade}".rstrip()
        )
        if fix.miss:
            rows.append(f"{'':34} {'':10} {'':26} why: {fix.miss}")
    return "\n".join([*rows, ", ".join(f"{word}: {count}" for word, count in sorted(counts.items()))])


def folder_of(clones: Path, repo: str) -> Path | None:
    """Where a clone stands."""
    owner, _, name = repo.partition("/")
    return next(
        (p for p in (clones / f"{owner}+{name}" / "repo", clones / f"{owner}+{name}", clones / name) if p.is_dir()),
        None,
    )


def verdict(fix: Fix, clones: Path, whole: bool, cache: Cache) -> Verdict:
    """The verdict of one fix, or why there is none."""
    folder = folder_of(clones, fix.repo)
    if folder is None:
        return Verdict(fix, (), (), "no clone")
    try:
        return judged(fix, Repository(folder), whole, cache)
    except ValueError as error:
        return Verdict(fix, (), (), f"not read: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path)
    parser.add_argument("--list", type=Path, default=ROOT / "benchmarks" / "history.toml")
    parser.add_argument("--repo", action="append", default=[], help="only fixes of these repositories")
    parser.add_argument(
        "--whole", action="store_true", help="analyse the whole repository, not the file with its imports"
    )
    options = parser.parse_args()
    fixes = [Fix(**entry) for entry in tomllib.loads(options.list.read_text("utf-8"))["fix"]]
    chosen = [fix for fix in fixes if not options.repo or fix.repo in options.repo]
    with tempfile.TemporaryDirectory(prefix="history-") as scratch:
        cache = Cache(scratch)
        verdicts = [verdict(fix, options.clones, options.whole, cache) for fix in chosen]
        cache.close()
    print(table(verdicts))
    if any(v.word not in ("found, then gone", "no clone") and not v.fix.miss for v in verdicts):
        sys.exit(1)


if __name__ == "__main__":
    main()
