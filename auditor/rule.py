"""The contract of a rule. One rule is one file, named after its id; the module's docstring is its page.

A rule is value-like: it yields findings, keeps no state, walks no scopes. Everything a rule must declare stands in class
attributes, and `validate` refuses a rule that declares it badly before anything runs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from auditor.finding import Confidence, Finding, Page, Severity

if TYPE_CHECKING:
    from auditor.project.project import Project
    from auditor.source.module import SourceModule
    from auditor.tools.report import Report

ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
SECTIONS = ("What it finds", "Why it matters", "Bad", "Good", "Limits")


class RuleError(Exception):
    """A rule that breaks the contract; names the rule, the reason and the mend."""


class Rule:
    """Base of all rules.

    `check_module` looks at one file (index and tree) and runs where the file was parsed; `check_project` looks at the
    linked project (facts only, no syntax). A rule overrides the one that it needs. `counterparts` maps a tool to
    {code: relation}; relations are merge, super, judge, near.
    """

    id: ClassVar[str]
    severity: ClassVar[Severity]
    confidence: ClassVar[Confidence]
    since: ClassVar[str]
    fix: ClassVar[str] = ""
    effort: ClassVar[str] = "M"
    cwe: ClassVar[tuple[int, ...]] = ()
    in_tests: ClassVar[bool] = False
    implies: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[Mapping[str, Any]] = {}
    models: ClassVar[tuple[str, ...]] = ()
    counterparts: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self.option: Mapping[str, Any] = {**self.options, **(options or {})}

    def check_module(self, module: SourceModule) -> Iterator[Finding]:
        """Findings that one file decides."""
        return iter(())

    def check_project(self, project: Project) -> Iterator[Finding]:
        """Findings that need the linked project."""
        return iter(())

    def judge(self, project: Project, report: Report) -> tuple[str, str] | None:
        """What the rule says of a report of another tool that none of its findings accounts for: (reason, detail) refutes
        it, with a proof behind it; ("", detail) confirms it; None where the facts do not decide."""
        return None

    @classmethod
    def chapter(cls) -> str:
        """The folder that the rule's file stands in."""
        return cls.__module__.rpartition(".")[0].rpartition(".")[2]

    @classmethod
    def local(cls) -> bool:
        """Whether the rule looks at single files."""
        return cls.check_module is not Rule.check_module


def page(rule: type[Rule]) -> Page:
    """The page of a rule, from the docstring of its module. Raises RuleError if a section is missing or empty."""
    text = (sys.modules[rule.__module__].__doc__ or "").strip()
    title, _, rest = text.partition("\n")
    parts = re.split(r"^## (.+)$", rest, flags=re.MULTILINE)
    sections = {parts[i].strip(): parts[i + 1].strip() for i in range(1, len(parts), 2)}
    for name in SECTIONS:
        if not sections.get(name):
            raise RuleError(
                f"rule {rule.id}: the page has no section '{name}'; add it to the docstring of {rule.__module__}"
            )
    if not title.strip():
        raise RuleError(f"rule {rule.id}: the page has no title; begin the docstring of {rule.__module__} with one")
    good = sections["Good"]
    lead = good.partition("```")[0].strip()
    return Page(
        id=rule.id, chapter=rule.chapter(), title=title.strip(), severity=rule.severity, confidence=rule.confidence,
        what=sections["What it finds"], why=sections["Why it matters"], bad=sections["Bad"], good=good,
        limits=sections["Limits"], fix=rule.fix or lead, effort=rule.effort, cwe=rule.cwe, since=rule.since,
    )  # fmt: skip


def example(section: str) -> str:
    """The code of the first fenced block of a section."""
    match = re.search(r"```python\n(.*?)```", section, flags=re.DOTALL)
    return match.group(1) if match else ""


def validate(rule: type[Rule]) -> None:
    """Raises RuleError with the reason and the mend."""
    where = rule.__module__
    for name, kind in (("id", str), ("severity", Severity), ("confidence", Confidence), ("since", str)):
        if not isinstance(getattr(rule, name, None), kind):
            raise RuleError(f"rule class {where}.{rule.__name__}: declare `{name}` as {kind.__name__}")
    if not ID.match(rule.id):
        raise RuleError(f"rule {rule.id!r} in {where}: an id is kebab-case, as in `bare-except`")
    stem = where.rpartition(".")[2]
    if stem != rule.id.replace("-", "_"):
        raise RuleError(f"rule {rule.id} stands in {where}; rename the file to {rule.id.replace('-', '_')}.py")
    if rule.check_module is Rule.check_module and rule.check_project is Rule.check_project:
        raise RuleError(f"rule {rule.id} checks nothing: define check_module or check_project")
    if rule.effort not in ("S", "M", "L"):
        raise RuleError(f"rule {rule.id}: effort is S, M or L, not {rule.effort!r}")
    documented = page(rule)
    for section in ("bad", "good"):
        if not example(getattr(documented, section)):
            raise RuleError(f"rule {rule.id}: section '{section.title()}' of the page needs a fenced ```python example")
