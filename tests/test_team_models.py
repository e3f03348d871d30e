"""`[tool.auditor.models]`: what a team says of its own code, and `auditor models suggest`, which asks for it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest

from auditor import engine, loader
from auditor.coverage import coverage_of
from auditor.facts.model import Call
from auditor.project.models import ModelError, Models
from auditor.project.project import Project
from auditor.source.discover import Discovery
from auditor.suggest import undecided

RULES = loader.load()
BLOCKING = "blocking-call-in-async"
# The venue speaks over a channel that the source does not show: nothing blocks as far as the auditor can know.
DESK = {
    "desk/__init__.py": "",
    "desk/client.py": """\
class Venue:
    def __init__(self, channel):
        self.channel = channel

    def submit(self, order):
        return self.channel.exchange(order)

    def ping(self):
        return self.channel.exchange(None)
""",
    "desk/bot.py": """\
from desk.client import Venue


async def trade(venue: Venue, order):
    venue.submit(order)


async def quote(book, venue: Venue):
    venue.ping()
    await book.update()
""",
}
ENTRY = {"calls": ["desk.client.Venue.submit"], "severity": "high", "kind": "network", "note": "waits for the venue"}


def analyse(texts: Mapping[str, str], models: Mapping[str, Any] | None = None) -> engine.Analysis:
    done = engine.in_process(texts, RULES, models=models)
    assert done.errors == []
    return done


def blocking(analysis: engine.Analysis) -> list[tuple[str, int, str]]:
    return [(f.path, f.line, f.message) for f in analysis.findings if f.rule == BLOCKING]


def roles(project: Project, path: str, name: str) -> list[str]:
    """Names of the roles in the model `blocking` of the calls in a function."""
    function = next(f for f in project.functions() if f.path == path and f.symbol == name)
    found = [project.role(function, op, "blocking") for op in range(len(function.body.ops)) if isinstance(function.body.ops[op], Call)]
    return [role.name for _, role in (pair for pair in found if pair is not None)]


class TestEntries:
    def test_one_filled_in_entry_unlocks_a_finding(self) -> None:
        assert blocking(analyse(DESK)) == []
        found = analyse(DESK, {"blocking": {"blocks": [ENTRY]}})
        assert blocking(found) == [
            ("desk/bot.py", 5, "trade() blocks the event loop: it calls desk.client.Venue.submit")
        ]
        proof = next(f.proof for f in found.findings if f.rule == BLOCKING)
        assert proof[-1].note.endswith("desk.client.Venue.submit: waits for the venue")

    def test_module_that_is_not_among_the_files(self) -> None:
        texts = {path: text for path, text in DESK.items() if path != "desk/client.py"}
        assert blocking(analyse(texts)) == []
        assert [line for _, line, _ in blocking(analyse(texts, {"blocking": {"blocks": [ENTRY]}}))] == [5]

    def test_private_method(self) -> None:
        texts = {path: text.replace("submit", "_submit") for path, text in DESK.items()}
        entry = {**ENTRY, "calls": ["desk.client.Venue._submit"]}
        assert [line for _, line, _ in blocking(analyse(texts, {"blocking": {"blocks": [entry]}}))] == [5]
        other = {**ENTRY, "calls": ["desk.client.Venue._cancel"]}
        assert blocking(analyse(texts, {"blocking": {"blocks": [other]}})) == []

    def test_override_in_a_subclass_is_another_callee(self) -> None:
        paper = """\
from desk.client import Venue


class Paper(Venue):
    def submit(self, order):
        return order


async def practise(order):
    Paper(None).submit(order)
"""
        found = blocking(analyse({**DESK, "desk/paper.py": paper}, {"blocking": {"blocks": [ENTRY]}}))
        assert [(path, line) for path, line, _ in found] == [("desk/bot.py", 5)]

    def test_method_by_name_holds_only_where_the_receiver_is_unknown(self) -> None:
        texts = {**DESK, "desk/bot.py": DESK["desk/bot.py"].replace("trade(venue: Venue", "trade(venue")}
        entry = {**ENTRY, "calls": ["any.submit"]}
        assert [line for _, line, _ in blocking(analyse(texts, {"blocking": {"blocks": [entry]}}))] == [5]
        assert blocking(analyse(DESK, {"blocking": {"blocks": [entry]}})) == []

    def test_what_silences_goes_before_the_library_and_is_an_assumption(self) -> None:
        texts = {"bot.py": "import time\n\n\nasync def wait():\n    time.sleep(1)\n"}
        assert len(blocking(analyse(texts))) == 1
        silent = {"blocking": {"nonblocking": [{"calls": ["time.sleep"], "note": "patched by the simulator"}]}}
        found = analyse(texts, silent)
        assert blocking(found) == []
        assumptions = coverage_of(found, Discovery(), (), True, None, None).assumptions
        assert assumptions == (
            "[tool.auditor.models]: taken as `nonblocking` in model blocking, so nothing is reported through it: "
            "time.sleep (patched by the simulator)",
        )
        assert analyse(texts, {"blocking": {"blocks": [ENTRY]}}).project.models.assumptions == ()

    def test_own_function_that_is_said_to_return_at_once_has_that_role(self) -> None:
        project = analyse(DESK, {"blocking": {"nonblocking": [{"calls": ["desk.client.Venue.ping"]}]}}).project
        assert roles(project, "desk/bot.py", "quote") == ["nonblocking"]
        assert roles(project, "desk/bot.py", "trade") == []


class TestValidation:
    @pytest.mark.parametrize(
        ("tables", "told"),
        [
            ({"blokcing": {}}, "unknown model `blokcing`; did you mean `blocking`?"),
            ({"blocking": []}, "`blocking` must be a table of roles"),
            ({"blocking": {"block": []}}, "unknown role `block` in model `blocking`; did you mean `blocks`?"),
            ({"blocking": {"undecided": [ENTRY]}}, "write `blocks` or `nonblocking` in its place"),
            ({"blocking": {"blocks": ENTRY}}, "must be an array of at most 500 tables, written [[blocking.blocks]]"),
            ({"blocking": {"blocks": ["desk"]}}, "number 1: an entry is a table with `calls`"),
            ({"blocking": {"blocks": [{**ENTRY, "calls": "desk.pay"}]}}, "`calls` must be a list of dotted paths"),
            ({"blocking": {"blocks": [{**ENTRY, "calls": []}]}}, "`calls` must be a list of dotted paths"),
            ({"blocking": {"blocks": [{**ENTRY, "calls": ["submit"]}]}}, "`submit` would match too much"),
            ({"blocking": {"nonblocking": [{"calls": ["**.*"]}]}}, "`**.*` would match too much"),
            ({"blocking": {"nonblocking": [{"calls": ["any.*"]}]}}, "`any.*` would match too much"),
            ({"blocking": {"blocks": [{**ENTRY, "calls": ["a.*b*c*d*"]}]}}, "more wildcards than 3"),
            ({"blocking": {"blocks": [{**ENTRY, "calls": ["desk.(a+)+"]}]}}, "is no dotted path"),
            ({"blocking": {"blocks": [{**ENTRY, "severty": "high"}]}}, "unknown key `severty`; did you mean `severity`?"),
            ({"blocking": {"blocks": [{**ENTRY, "severity": "dire"}]}}, "`dire` is no severity; known: high, low, medium"),
            ({"blocking": {"blocks": [{**ENTRY, "severity": 3}]}}, "`severity` must be a str"),
            ({"blocking": {"blocks": [{"calls": ["desk.pay"], "kind": "network"}]}}, "`severity` is missing; add it"),
            ({"blocking": {"blocks": [{**ENTRY, "note": 3}]}}, "`note` must be a str"),
            ({"blocking": {"blocks": [{**ENTRY, "when": "fast"}]}}, "`when` must be a list of tables"),
            ({"blocking": {"blocks": [{**ENTRY, "when": [{"keyword": "x", "is": 1}]}]}}, "a condition has keyword"),
        ],
    )
    def test_errors_name_the_entry_the_reason_and_the_mend(self, tables: dict[str, Any], told: str) -> None:
        with pytest.raises(ModelError) as error:
            Models().load(RULES.models).extend(tables, "[tool.auditor.models]")
        assert str(error.value).startswith("[tool.auditor.models]: ")
        assert told in str(error.value)

    def test_every_entry_of_a_library_would_do_as_an_entry_of_a_team(self) -> None:
        """The checks are derived from the libraries' entries; these must pass them, limits of patterns apart."""
        path = next(path for path in RULES.models if path.name == "blocking.toml")
        table = tomllib.loads(path.read_text("utf-8"))
        plain = [{**entry, "calls": ["desk.pay"], "except": []} for entry in table["blocks"]]
        Models().load(RULES.models).extend({"blocking": {"blocks": plain}}, "[tool.auditor.models]")


class TestSuggest:
    HELPER = "def send_all(venues, order):\n    for venue in venues:\n        venue.submit(order)\n"
    BOT = """\
from desk.helper import send_all
from desk.wire import Channel


async def open_all(venues, order):
    send_all(venues, order)


async def close_all(venues, order):
    send_all(venues, order)


async def hello():
    Channel("venue").greet()


async def fine(venue):
    await venue.submit(None)
"""

    def ranked(self, models: Mapping[str, Any] | None = None) -> list[tuple[str, int, int]]:
        texts = {**DESK, "desk/helper.py": self.HELPER, "desk/bot.py": self.BOT}
        found = undecided(analyse(texts, models).project, lambda path: not path.startswith("tests/"))
        return [(entry.path, entry.coroutines.bit_count(), len(entry.sites)) for entry in found]

    def test_calls_are_ranked_by_the_coroutines_that_reach_them(self) -> None:
        assert self.ranked() == [("any.submit", 2, 1), ("desk.wire.Channel", 1, 1), ("desk.wire.Channel.greet", 1, 1)]

    def test_what_is_decided_is_not_asked_for(self) -> None:
        entry = {**ENTRY, "calls": ["any.submit", "desk.wire.**.*"]}
        assert self.ranked({"blocking": {"blocks": [entry]}}) == []

    def test_tests_do_not_count(self) -> None:
        texts = {**DESK, "tests/test_bot.py": "async def test_it(venue):\n    venue.submit(1)\n"}
        found = undecided(analyse(texts).project, lambda path: not path.startswith("tests/"))
        assert [entry.path for entry in found] == []
        assert [entry.path for entry in undecided(analyse(texts).project, lambda path: True)] == ["any.submit"]
