"""The finished audit -> the text of every output format; a writer computes, filters and re-orders nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from auditor.finding import Audit
from auditor.report.options import Options

Writer = Callable[[Audit, Options], str | bytes]

_WRITERS = {
    "full": "terminal:full",
    "concise": "terminal:concise",
    "grouped": "terminal:grouped",
    "json": "machine:write",
    "jsonl": "machine:write_lines",
    "markdown": "markdown:write",
    "sarif": "sarif:write",
    "github": "github:write",
    "gitlab": "gitlab:write",
    "junit": "junit:write",
    "rdjson": "rdjson:write",
    "summary": "step_summary:write",
    "html": "html:write",
}


class _Formats(Mapping[str, Writer]):
    """Format name -> writer; a writer is imported when it is first asked for, since a run needs one or two of them."""

    def __getitem__(self, name: str) -> Writer:
        module, function = _WRITERS[name].split(":")
        return cast(Writer, getattr(importlib.import_module(f"auditor.report.{module}"), function))

    def __iter__(self) -> Iterator[str]:
        return iter(_WRITERS)

    def __len__(self) -> int:
        return len(_WRITERS)


FORMATS: Mapping[str, Writer] = _Formats()


def render(audit: Audit, format: str, **options: Any) -> str | bytes:
    """The audit in one format; `options` are the fields of `Options`. Bytes for `json` and `jsonl`, else text.

    Raises ValueError for a format that does not exist and TypeError for an option that does not exist.
    """
    if format not in _WRITERS:
        reason = f"no output format `{format}`; there are {', '.join(_WRITERS)}"
        raise ValueError(reason)
    return FORMATS[format](audit, Options(**options))
