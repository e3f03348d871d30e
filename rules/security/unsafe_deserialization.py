"""
Bytes that run code while they are loaded

## What it finds
A loader that calls what its input names (pickle and its kin, joblib, shelve, `yaml.load`, `torch.load`, arrays of objects,
model files with a pickle inside), graded by where the bytes come from: the network or a shared store, a file that an
argument, the environment, the configuration or a folder's listing chooses, a fixed file, a caller that is not in sight.

## Why it matters
Whoever can write these bytes runs code in the process that holds the exchange keys and open positions. A cache server without
password, a bucket with a wrong policy or a model file from a forum is enough.

## Bad
```python
import pickle

import redis


class Snapshots:
    def __init__(self, host):
        self.codec = pickle
        self.cache = redis.Redis(host)

    def latest(self, pair):
        return self.codec.loads(self.cache.get(pair))
```

## Good
Read a data format (JSON, parquet, npz, safetensors), or check an HMAC of the bytes, with a key that the writer shares,
before they are loaded.

```python
import json

import redis


class Snapshots:
    def __init__(self, host):
        self.codec = json
        self.cache = redis.Redis(host)

    def latest(self, pair):
        return self.codec.loads(self.cache.get(pair))
```

## Limits
A file that another function of the program writes is still a file: who else may write to the folder is not in the source.
Versions are not read: `torch.load` without `weights_only` and the full YAML loader are `possible` only. A loader that is a
parameter's default, or that a framework calls (a cache back end, a task queue), is a missed alarm, and so is what a value
goes through in a library that is not modelled. `read_hdf` and pickles inside other formats are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import Call, Place
from auditor.finding import Confidence, Edit, Finding, Fix, Severity, Step
from auditor.project.flow import describe
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._checks import Checks
from ._flows import Flows, is_test
from ._loaders import Harmless, Load, Loaders
from ._origin import URL, Origin, text_of, who
from ._origins import Origins
from ._written import Written

if TYPE_CHECKING:
    from auditor.tools.report import Report

TRUSTED = frozenset({"own", "literal", "verified"})
SEVERITY = {
    "network": Severity.CRITICAL, "store": Severity.CRITICAL, "local_store": Severity.HIGH,
    "configuration": Severity.HIGH, "content": Severity.HIGH, "listing": Severity.HIGH, "environment": Severity.HIGH,
    "argument": Severity.HIGH,
}  # fmt: skip  # where several are equal, the first is shown
WEAK = frozenset({"unknown", "temporary", "checked", "parameter"})  # kinds without severity of their own
CHOOSES = frozenset({"argument", "environment", "configuration", "listing", "content"})


class Ground(NamedTuple):
    """Why a load is reported, or not: the origin that decides, its grades, and the words for it. No severity: silent."""

    origin: Origin
    severity: Severity | None
    confidence: Confidence
    words: str

    @property
    def rank(self) -> tuple[object, ...]:
        """What is shown wins: sure things before possible ones, then the graver, the surer, the shorter way."""
        severity = -1 if self.severity is None else int(self.severity)
        trail = _trail(self.origin)
        first = trail[0] if trail else Step("", 0, 0, "")
        return (
            self.severity is None, self.confidence is Confidence.POSSIBLE, -severity, -self.confidence, len(trail),
            first.path, first.line, first.column, self.words,
        )  # fmt: skip


class UnsafeDeserialization(Rule):
    id = "unsafe-deserialization"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    cwe = (502,)
    models = ("deserialization",)
    counterparts = {
        "ruff": dict.fromkeys(("S301", "S302", "S506"), "merge"),
        "bandit": dict.fromkeys(("B301", "B302", "B506", "B614"), "merge"),
    }

    def check_project(self, project: Project) -> Iterator[Finding]:
        sight = _sight(project)
        for function in project.functions():
            if is_test(function.path):
                continue
            for load in sight.loaders.of(function):
                if isinstance(load, Load):
                    ground = sight.decide(load)
                    if ground.severity is not None:
                        yield _finding(project, load, ground)

    def judge(self, project: Project, report: Report) -> tuple[str, str] | None:
        """Refutes a report where every loader of the line is proven to read own, literal or verified bytes, or cannot run
        code; confirms it where one of them is found."""
        sight = _sight(project)
        last = report.end_line or report.line
        reasons: list[tuple[str, str]] = []
        for function in project.functions():
            if function.path != report.path:
                continue
            for load in sight.loaders.of(function):
                line, _, end, _ = load.function.at(load.op)
                if line > last or end < report.line:
                    continue
                if isinstance(load, Harmless):
                    reasons.append(("safe-loader", f"{load.name}: {load.why}"))
                    continue
                ground = sight.decide(load)
                if ground.severity is not None:
                    unsure = ground.confidence is Confidence.POSSIBLE or is_test(report.path)
                    return None if unsure else ("", ground.words)
                reason = "verified-bytes" if ground.origin.kind == "verified" else "own-bytes"
                reasons.append((reason, _why(ground.origin)))
        return min(reasons) if reasons else None


@lru_cache(maxsize=1)
def _sight(project: Project) -> _Sight:
    """The questions of the project that is being looked at; the reports of other tools come one by one."""
    return _Sight(project)


class _Sight:
    """The questions of one project, shared by all loads."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.flows = Flows(project)
        self.origins = Origins(project, self.flows)
        self.checks = Checks(self.flows, self.origins)
        self.origins.checked = self.checks.of
        self.written = Written(self.flows, self.origins, self.checks.same)
        self.loaders = Loaders(self.flows, self.origins)

    def decide(self, load: Load) -> Ground:
        """The ground that decides over a load: the worst of all origins of its input."""
        grounds = [self._ground(load, origin) for origin in self._bytes(load)]
        return min(grounds, key=lambda g: g.rank) if grounds else self._ground(load, Origin("unknown", "an input that is not in sight"))

    def _bytes(self, load: Load) -> list[Origin]:
        """Where the bytes come from, whether the input is the bytes, an open file or a path."""
        function, op, takes = load.function, load.op, str(load.role.attributes["takes"])
        if takes == "nothing":
            step = self.project.step(function, op, f"{who(function)} receives with {load.name}", load.name)
            return [Origin(str(load.role.attributes["kind"]), str(load.role.attributes["from"]), (step,))]
        if load.source is None:
            return []
        check = self.checks.of(function, op, load.source)
        if check is not None and check.kind == "verified":
            return [check]
        if takes != "bytes":
            before = self.written.before(function, op, load.source)
            if before:
                return before
        found = self.origins.of(function, op, load.source)
        if takes == "path":
            found = self._at(function, op, load.source, found)
        kinds = {o.kind for o in found}
        if "own" in kinds and kinds <= TRUSTED | {"temporary"}:
            found = [o for o in found if o.kind == "own"]
        if check is not None:
            found = [o._replace(doubts=o.doubts + 2) for o in found if o.kind not in TRUSTED]
        return found

    def _at(self, function: FunctionNode, op: int, place: Place, origins: list[Origin]) -> list[Origin]:
        """The origins of the bytes at a path, by those of the path. An open file, or a buffer, stays what it is."""
        is_bytes = ("file", "own", "verified", "network", "store", "local_store")
        found = [o for o in origins if o.kind in is_bytes]
        for origin in origins:
            if origin.kind == "literal" and URL.match(origin.what):
                step = self.project.step(function, op, f"the path is an address: {origin.what}", "url")
                found.append(Origin("network", f"a remote file ({origin.what})", (step,)))
        path = tuple(o for o in origins if o.kind not in is_bytes and not (o.kind == "literal" and URL.match(o.what)))
        return [*found, Origin("file", text_of(place) or path[0].what, (), 0, path)] if path else found

    def _ground(self, load: Load, origin: Origin) -> Ground:
        kind, words, doubts = _kind(origin)
        doubts += not load.sure
        takes = str(load.role.attributes["takes"])
        if origin.kind in TRUSTED and not (origin.kind == "literal" and takes == "path"):
            return Ground(origin, None, Confidence.CERTAIN, words)
        severity = SEVERITY.get(kind, Severity.MEDIUM)
        confidence = (Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE)[min(doubts, 2)]
        if kind in ("unknown", "temporary", "checked") or not load.certain:
            confidence = Confidence.POSSIBLE
        elif kind == "parameter":
            confidence = min(confidence, Confidence.LIKELY)
        if load.role.attributes.get("harm") == "crash":
            severity = severity.step(-1)
        return Ground(origin, severity, confidence, words)


def _kind(origin: Origin) -> tuple[str, str, int]:
    """(kind that decides, words, doubts) of an origin of bytes."""
    if origin.kind != "file":
        plain = {
            "parameter": f"bytes that its caller passes as {origin.what}",
            "unknown": f"bytes of unknown origin ({origin.what})" if origin.what else "bytes of unknown origin",
            "temporary": "a temporary file",
            "checked": "bytes whose check is not proven",
        }
        return origin.kind, plain.get(origin.kind, origin.what), origin.doubts
    worst = _chosen(origin)
    if worst is None:
        return "unknown", f"a file of unknown origin ({origin.what})", origin.doubts
    kind = _path_kind(worst)
    if kind in CHOOSES:
        words = f"a file that {worst.what} chooses"
        if kind == "content":
            words = f"a file that another file names ({worst.what})" if worst.what else "a file that another file names"
        return kind, words, worst.doubts + origin.doubts
    fixed = max((o.what for o in origin.inner), key=lambda what: ("." in what, len(what), what))
    weaker = {
        "parameter": f"a file whose path its caller passes as {worst.what}",
        "literal": f"the fixed file {fixed}",
        "unknown": f"a file whose path is not known ({worst.what})",
        "temporary": "a temporary file",
    }
    return kind, weaker.get(kind, f"a file that comes from outside: {worst.what}"), worst.doubts + origin.doubts


def _chosen(origin: Origin) -> Origin | None:
    """The origin of a file's path that decides: the gravest; what is not known before what is fixed."""

    def rank(path: Origin) -> tuple[object, ...]:
        kind = _path_kind(path)
        order = 0 if kind in SEVERITY else 1 + ("unknown", "parameter", "checked", "temporary").index(kind) if kind in WEAK else 9
        place = list(SEVERITY).index(kind) if kind in SEVERITY else 0
        return path.doubts > 1, order, -SEVERITY.get(kind, Severity.MEDIUM), path.doubts, len(path.steps), place, path.what

    return min(origin.inner, key=rank, default=None)


def _trail(origin: Origin) -> tuple[Step, ...]:
    """The steps of an origin; of a file first those of its path."""
    chosen = _chosen(origin) if origin.kind == "file" else None
    before = _trail(chosen) if chosen is not None and chosen.kind != "literal" else ()
    return (*before, *origin.steps)


def _path_kind(origin: Origin) -> str:
    return "content" if origin.kind == "file" else origin.kind


def _why(origin: Origin) -> str:
    """The proof of a refutation in one line."""
    if not origin.steps:
        return origin.what
    step = origin.steps[0]
    note = "the input is a literal of the source" if origin.kind == "literal" else step.note
    return f"{note} ({step.path}:{step.line})"


def _finding(project: Project, load: Load, ground: Ground) -> Finding:
    function = load.function
    line, column, end_line, end_column = function.at(load.op)
    verb = "hands on" if load.handed else "calls"
    sink = project.step(function, load.op, f"{who(function)} {verb} {load.name}: {load.note}", load.name)
    return Finding(
        rule=UnsafeDeserialization.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=f"{load.name} can run code from {ground.words}: {load.note}",
        symbol=function.symbol,
        severity=ground.severity,
        confidence=ground.confidence,
        proof=(*_once(_trail(ground.origin), sink), sink),
        fix=_fix(load),
    )  # fmt: skip


def _once(steps: tuple[Step, ...], sink: Step) -> Iterator[Step]:
    """The steps without direct repetitions."""
    last: Step | None = None
    for step in steps:
        if step not in (last, sink):
            yield step
        last = step


def _fix(load: Load) -> Fix:
    """The edit where one is known: it refuses what is no plain data, so that it is never `safe`."""
    function = load.function
    call = function.body.ops[load.op]
    mend = str(load.role.attributes["mend"])
    first = mend.partition(" ")[0].rstrip(",")
    title = f"{mend[:1].upper()}{mend[1:]}" if first.isalpha() else f"Use {mend}"
    if not isinstance(call, Call) or load.handed:
        return Fix("display", title)
    line, column, end_line, end_column = function.at(load.op)
    written = describe(function.body, call.callee)
    if load.name == "yaml.load" and written.endswith("yaml.load") and len(call.args) == 1 and not call.keywords and not call.starred:
        edit = Edit(function.path, line, column, line, column + len(written), written.removesuffix("load") + "safe_load")
        return Fix("unsafe", "Load with yaml.safe_load", (edit,))
    if load.name == "torch.load" and call.args and not any(name in ("weights_only", "") for name, _ in call.keywords):
        edit = Edit(function.path, end_line, end_column - 1, end_line, end_column - 1, ", weights_only=True")
        return Fix("unsafe", "Load weights only", (edit,))
    return Fix("display", title)
