"""The audit as a document for people: the main product. Front matter for machines, then everything in reading order."""

from __future__ import annotations

from auditor.finding import Audit
from auditor.report.markdown_cards import cards, tables
from auditor.report.markdown_data import coverage, method, metrics, refuted, silenced
from auditor.report.markdown_head import executive, front_matter, since_previous, strip
from auditor.report.markdown_plan import action_plan, commands
from auditor.report.options import Options
from auditor.report.order_map import section as order_map

SECTIONS = (
    front_matter,
    strip,
    executive,
    since_previous,
    cards,
    tables,
    order_map,
    action_plan,
    commands,
    metrics,
    coverage,
    refuted,
    silenced,
    method,
)


def write(audit: Audit, options: Options) -> str:
    """The whole document; `\\n` line ends, no byte order mark, no HTML but folded parts."""
    lines = [line for section in SECTIONS for line in section(audit, options)]
    return "\n".join(lines).rstrip("\n") + "\n"
