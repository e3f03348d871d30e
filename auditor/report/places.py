"""Places as links: to the audited commit on its host, or relative to the root of the tree."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from auditor.finding import Audit
from auditor.report import proof
from auditor.report.escape import cell_code, code, link, path_target
from auditor.report.options import Options


def target(audit: Audit, options: Options, path: str, line: int) -> str:
    """The URL of a line: a permalink if the audited commit is known, clean and hosted, else a relative path."""
    relative = f"{path_target(path)}#L{line}"
    style = options.link_style
    commit = audit.coverage.commit
    hosted = options.repository.startswith("https://") and commit is not None and not audit.coverage.dirty
    if style == "relative" or not hosted:
        return relative
    if style == "auto":
        style = "gitlab" if "gitlab" in (urlsplit(options.repository).hostname or "") else "github"
    middle = "/-/blob/" if style == "gitlab" else "/blob/"
    return options.repository.rstrip("/") + middle + quote(commit or "", safe="") + "/" + relative


def markdown(audit: Audit, options: Options, path: str, line: int) -> str:
    """A place as a Markdown link, with code as its label; for table cells too."""
    shown = proof.place(audit.texts, path, line)
    return link(cell_code(shown), target(audit, options, path, line))


def rule_url(options: Options, rule_id: str) -> str | None:
    """The address of a rule's page, if the pages have one; codes of other tools have none."""
    if not options.rules_url.startswith("https://") or "/" in rule_id:
        return None
    return f"{options.rules_url.rstrip('/')}/{quote(rule_id, safe='')}"


def rule(options: Options, rule_id: str) -> str:
    """A rule id as Markdown code, with a link to its page if that has an address."""
    address = rule_url(options, rule_id)
    return code(rule_id) if address is None else link(code(rule_id), address)
