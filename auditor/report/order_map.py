"""The order map for people: as text, as a Mermaid flowchart, and as a section of the document. It is computed in `ordermap`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from auditor.finding import Audit
from auditor.report.escape import cell, cell_code, fence, mermaid, pad, terminal
from auditor.report.markdown_blocks import folded, table
from auditor.report.options import Options

SIGNS = {"proven": "+", "absent": "-", "undecided": "?", "not needed": "."}
STATUSES = ("proven", "absent", "undecided", "not needed")
LEGEND = "+ proven, - absent, ? undecided, . not needed"
SHOWN_ROWS = 100  # of the table in the document
SHOWN_HOPS = 4  # of a chain in a cell
SHOWN_NODES = 60  # of a flowchart


def text(orders: Mapping[str, Any]) -> str:
    """Every path with its checks, for a terminal."""
    rows = orders["paths"]
    if not rows:
        return "No call that places, changes or cancels an order was found.\n"
    lines = [f"{len(rows)} paths to a venue  ({LEGEND})", ""]
    for row in rows:
        entry, sink = row["entry"], row["sink"]
        lines.append(f"{row['verb']}  {terminal(sink['call'])}  at {_at(sink)}{_more(sink['alternatives'])}")
        lines.append(f"  from {entry['kind']} {terminal(_name(entry))}  {_at(entry)}")
        lines.append(f"  by   {' > '.join(terminal(_hop(hop)) for hop in row['hops'])}")
        width = max(len(name) for name in row["checks"])
        for name, answer in row["checks"].items():
            place = f"  {_at(answer)}" if answer["path"] else ""
            lines.append(f"  {SIGNS[answer['status']]} {pad(name, width)}  {answer['note']}{place}")
        lines.append("")
    lines.extend(_counts(orders))
    if orders["left_out"]:
        lines.append(f"{orders['left_out']} further entry points are left out")
    return "\n".join(lines).rstrip("\n") + "\n"


def flowchart(orders: Mapping[str, Any]) -> list[str]:
    """The lines of a Mermaid flowchart: entry points on the left, calls of the venue on the right."""
    body = ["flowchart LR"]
    nodes: dict[tuple[str, str, int], str] = {}
    edges: dict[tuple[str, str], None] = {}

    def node(key: tuple[str, str, int], label: str, shape: str = "[{}]") -> str:
        if key not in nodes:
            nodes[key] = f"n{len(nodes)}"
            body.append(f"  {nodes[key]}{shape.format(mermaid(label))}")
        return nodes[key]

    shown = 0
    for row in orders["paths"]:
        if len(nodes) + len(row["hops"]) + 1 > SHOWN_NODES:
            break
        shown += 1
        entry, sink = row["entry"], row["sink"]
        before = node((entry["path"], entry["symbol"], 0), f"{entry['kind']}: {_name(entry)}", "([{}])")
        for hop in row["hops"][1:]:
            after = node((hop["path"], hop["symbol"], 0), _name(hop))
            edges[before, after] = None
            before = after
        lacks = [name for name, answer in row["checks"].items() if answer["status"] == "absent"]
        label = f"{sink['call']} {sink['path']}:{sink['line']}"
        last = node(
            (sink["path"], sink["call"], sink["line"]),
            label + (f" lacks {', '.join(lacks)}" if lacks else ""),
            "[[{}]]",
        )
        edges[before, last] = None
    body.extend(f"  {one} --> {other}" for one, other in edges)
    if shown < len(orders["paths"]):
        rest = mermaid(f"{len(orders['paths']) - shown} more paths")
        body.append(f"  rest[{rest}]")
    return body


def section(audit: Audit, options: Options) -> Iterator[str]:
    """The section of the document: counts, then one row for each path. Nothing where the project sends no orders."""
    orders = audit.orders
    if not orders or not orders["paths"]:
        return
    yield "## Order map"
    yield ""
    rows: Sequence[Mapping[str, Any]] = orders["paths"]
    yield f"Every path on which a call comes to a venue: {len(rows):,}. {LEGEND.capitalize()}."
    yield "`auditor orders` shows each path with its places."
    yield ""
    names = orders["checks"]
    counts = [
        [cell(name), *(f"{sum(r['checks'][name]['status'] == s for r in rows):,}" for s in STATUSES)] for name in names
    ]
    yield from table(["check", *STATUSES], counts, range(1, len(STATUSES) + 1))
    body = [
        [
            cell(row["verb"]), cell_code(_at(row["entry"])), cell(row["entry"]["kind"]), cell_code(_chain(row)),
            *(SIGNS[row["checks"][name]["status"]] for name in names),
        ]
        for row in rows[:SHOWN_ROWS]
    ]  # fmt: skip
    listed = table(["verb", "entry point", "kind", "calls", *names], body)
    if len(rows) > SHOWN_ROWS:
        listed = [*listed, f"{len(rows) - SHOWN_ROWS:,} more rows are in the output of `auditor orders`.", ""]
    yield from folded(f"{len(rows):,} paths", listed)
    if options.mermaid:
        yield from fence(flowchart(orders), "mermaid")
        yield ""


def _counts(orders: Mapping[str, Any]) -> Iterator[str]:
    width = max(len(name) for name in orders["checks"])
    for name in orders["checks"]:
        found = [row["checks"][name]["status"] for row in orders["paths"]]
        yield f"{pad(name, width)}  " + ", ".join(
            f"{found.count(status)} {status}" for status in STATUSES if status in found
        )


def _chain(row: Mapping[str, Any]) -> str:
    hops = [_hop(hop) for hop in row["hops"]]
    shown = hops if len(hops) <= SHOWN_HOPS else [*hops[:2], "...", *hops[-2:]]
    return " > ".join((*shown, row["sink"]["call"]))


def _hop(hop: Mapping[str, Any]) -> str:
    return f"{_name(hop)}:{hop['line']}"


def _name(where: Mapping[str, Any]) -> str:
    return str(where["symbol"] or where["path"])


def _at(where: Mapping[str, Any]) -> str:
    return terminal(f"{where['path']}:{where['line']}")


def _more(alternatives: int) -> str:
    return f"  (or {alternatives - 1} more clients)" if alternatives > 1 else ""
