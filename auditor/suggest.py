"""`auditor models suggest`: the calls that the most verdicts hang on and that the source does not decide, as TOML to fill in.

A coroutine blocks or does not by what it reaches. A call whose callee is not known counts as harmless, so every coroutine
that reaches it rests on a guess: the more of them, the higher it is listed. The entries are those of
`[tool.auditor.models]` (see `project.models`), with the role left to the reader.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from auditor import pipeline
from auditor.facts.model import Call, Select
from auditor.pipeline import Request
from auditor.project.callables import CallResult
from auditor.project.graph import Node, awaited_or_handed
from auditor.project.models import ANY, UNDECIDED, canonical
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.report.escape import terminal

MODEL = "blocking"
SHOWN_METHODS = 3  # of the project, that a call may mean
HEAD = f"""\
# Calls that the source does not decide, those that the most coroutines reach first. In each entry write `blocks` in place
# of `{UNDECIDED}` if the call holds its thread (network, disk, lock, sleep), `nonblocking` if it returns at once, and set
# severity (high, medium, low), kind and note; or leave the entry out. Then paste it into pyproject.toml.
"""
NOTHING = "# Every call that a coroutine reaches is decided by the source, or by a model."
# Methods that strings, numbers and collections have too: their names say nothing about a receiver.
ORDINARY = frozenset(name for kind in (str, bytes, list, dict, set, tuple, int, float) for name in dir(kind))


@dataclass(slots=True)
class Undecided:
    """A callee that is not known: its path in the schema of models, what is known of it, where it is called. Bits of
    `coroutines` are the coroutines that reach a call."""

    path: str
    what: str
    rank: int
    coroutines: int = 0
    sites: list[tuple[FunctionNode, int]] = field(default_factory=list)

    @property
    def order(self) -> tuple[object, ...]:
        return self.rank, -self.coroutines.bit_count(), -len(self.sites), self.path


def suggest(request: Request, count: int) -> str:
    """TOML with the `count` callees that the most coroutines hang on. Raises what `pipeline.run` raises."""
    outcome = pipeline.run(request)
    context = request.config.context
    ranked = undecided(outcome.analysis.project, lambda path: context(path) == "production")[:count]
    return "\n".join([HEAD, *(_entry(rank, each) for rank, each in enumerate(ranked, 1))]) if ranked else NOTHING


def undecided(project: Project, counts: Callable[[str], bool]) -> list[Undecided]:
    """The callees that are not known, gravest first. `counts(path)` says whether code in a file does."""
    reached = _reached(project, counts)
    callees = _Callees(project)
    found: dict[str, Undecided] = {}
    for function in project.functions():
        coroutines = reached.get(function, 0)
        if not coroutines or not counts(function.path):
            continue
        for op, result in sorted(project.calls(function).items()):
            call = function.body.ops[op]
            if not isinstance(call, Call) or awaited_or_handed(function, op):
                continue
            for path, what, rank in callees.unknown(function, call, result):
                entry = found.setdefault(path, Undecided(path, what, rank))
                entry.coroutines |= coroutines
                entry.sites.append((function, op))
    return sorted(found.values(), key=lambda entry: entry.order)


def _reached(project: Project, counts: Callable[[str], bool]) -> dict[FunctionNode, int]:
    """Function -> bits of the coroutines that run it before they return, themselves included."""
    coroutines = [f for f in project.functions() if f.header.is_async and f.header.kind == "def" and counts(f.path)]
    bits: dict[Node, int] = {}
    pending: list[Node] = []
    for rank, function in enumerate(coroutines):
        for node in project.receivers(function):
            bits[node] = bits.get(node, 0) | 1 << rank
            pending.append(node)
    while pending:
        node = pending.pop()
        for run in project.graph.runs(node):
            before = bits.get(run.target, 0)
            after = before | bits[node]
            if after != before:
                bits[run.target] = after
                pending.append(run.target)
    found: dict[FunctionNode, int] = {}
    for node, value in bits.items():
        found[node.function] = found.get(node.function, 0) | value
    return found


class _Callees:
    """What is not known of the callee of a call, by path."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.model = project.models.model(MODEL)
        modules = [module.name for module in project.symbols.modules.values()]
        self.own = frozenset(name.partition(".")[0] for name in modules)
        self.known = frozenset(sys.stdlib_module_names) | project.models.packages | {"builtins"}
        self.classes = frozenset(cls.dotted for cls in project.symbols.classes())
        self.methods: dict[str, list[str]] = {}
        for cls in project.symbols.classes():
            for name in cls.methods:
                self.methods.setdefault(name, []).append(f"{cls.dotted}.{name}")

    def unknown(self, function: FunctionNode, call: Call, result: CallResult) -> Iterator[tuple[str, str, int]]:
        """(path for a model, what is known, 0 for code of the project and 1 for libraries)."""
        for external in result.externals:
            package = external.partition(".")[0]
            path = canonical(external)
            if package in self.known or external.removesuffix("()") in self.classes or self._is_decided(path):
                continue
            if package in self.own:
                yield path, "it belongs to the project, but is not among the files that were analysed", 0
            elif package.isidentifier() and path != package:
                yield path, "a library that the auditor does not know", 1
        if result.targets and all(target.function.header.abstract for target in result.targets):
            target = result.targets[0].function
            path = f"{target.module.name}.{target.symbol}"
            if not self._is_decided(path):
                yield path, "it has no body, and nothing in the project implements it", 0
        place = function.body.places[call.callee]
        if result.how in ("partial", "unknown") and place.path and place.path[-1].kind is Select.ATTR:
            name = str(place.path[-1].value)
            if name in self.methods and name not in ORDINARY and not self._is_decided(f"{ANY}{name}"):
                yield f"{ANY}{name}", f"the receiver has no known type (an annotation decides it); {self._meant(name)}", 0

    def _is_decided(self, path: str) -> bool:
        return bool(self.model.roles(path))

    def _meant(self, name: str) -> str:
        methods = sorted(self.methods[name])
        more = f" and {len(methods) - SHOWN_METHODS} more" if len(methods) > SHOWN_METHODS else ""
        return f"the project has {', '.join(methods[:SHOWN_METHODS])}{more}"


def _entry(rank: int, entry: Undecided) -> str:
    function, op = min(entry.sites, key=lambda site: (site[0].key, site[1]))
    where = f"{function.path}:{function.at(op)[0]}" + (f" in {function.symbol}" if function.symbol else "")
    coroutines, calls = entry.coroutines.bit_count(), len(entry.sites)
    reach = f"{_number(coroutines, 'coroutine')} {'reaches' if coroutines == 1 else 'reach'} it through {_number(calls, 'call')}"
    lines = [
        f"# {rank}. {reach}; first: {where}",
        f"#    {entry.what}",
        f"[[tool.auditor.models.{MODEL}.{UNDECIDED}]]",
        f"calls = {_strings([entry.path])}",
        'severity = "high"',
        'kind = "network"',
        'note = ""',
    ]
    return "\n".join(terminal(line) for line in lines) + "\n"


def _strings(values: Sequence[str]) -> str:
    """A list of TOML strings: JSON's escapes of ASCII text are TOML's."""
    return "[" + ", ".join(json.dumps(value) for value in values) + "]"


def _number(count: int, one: str) -> str:
    return f"{count} {one if count == 1 else one + 's'}"
