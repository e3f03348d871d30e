"""`auditor orders`: the map of paths to order calls as text, JSON or Mermaid, and whether the configuration is met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auditor import pipeline
from auditor.ordermap.table import lacking
from auditor.pipeline import Request
from auditor.report.escape import json_text
from auditor.report.order_map import flowchart, text

FORMATS = ("text", "json", "mermaid")


def run(request: Request, form: str) -> tuple[str, int]:
    """The map in a format and the exit status: 1 if a path lacks what `[tool.auditor.orders]` requires. Raises what
    `pipeline.run` raises."""
    outcome = pipeline.run(request)
    orders = outcome.audit.orders
    written = _written(orders, form)
    failed = lacking(orders, request.config.order_checks)
    if failed and form == "text":
        written += "\n" + "\n".join(_lack(row, name) for row, name in failed) + "\n"
    return written, 1 if failed else 0


def _written(orders: Mapping[str, Any], form: str) -> str:
    match form:
        case "json":
            return json_text(orders) + "\n"
        case "mermaid":
            return "\n".join(flowchart(orders)) + "\n"
        case _:
            return text(orders)


def _lack(row: Mapping[str, Any], name: str) -> str:
    entry, sink = row["entry"], row["sink"]
    return f"required and absent: {name} on the path from {entry['symbol'] or entry['path']} to {sink['path']}:{sink['line']}"
