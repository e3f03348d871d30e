"""The baseline under edits. A program is a list of functions with statements, some of them defects; it is laid out with
blank lines, comments and line breaks, its defects are found by line, and the identities come from the text."""


from __future__ import annotations

import datetime
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.finding import Confidence, Finding, Severity, Step
from auditor.triage.baseline import (
    Addition,
    Baseline,
    BaselineError,
    Change,
    Entry,
    Now,
    create,
    explain,
    mark,
    match,
    parse,
    read,
    render,
    update,
    write,
)
from auditor.triage.identity import Identity, identities

TODAY = datetime.date(2025, 6, 1)
NOW = Now(TODAY, complete=True)
WHY = "accepted until the venue moves to integers"


# --- toy programs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Function:
    """`calls`: argument of each statement; negative ones are defects."""

    name: str
    calls: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How a program is written down: nothing of it may count."""

    blank: int = 0
    comment: str = ""
    broken: bool = False
    quote: str = '"'
    seed: int = 0


Program = tuple[Function, ...]


def find(
    program: Program, layout: Layout, path: str = "bot/a.py", severity: Severity = Severity.MEDIUM
) -> tuple[Identity, ...]:
    """Write the program down, find its defects, identify them."""
    lines: list[str] = []
    texts: dict[int, str] = {}
    found = []
    dice = random.Random(layout.seed)
    for function in program:
        lines += [""] * dice.randint(0, layout.blank) + [f"def {function.name}(self):"]
        for call in function.calls:
            lines += [f"    # {layout.comment}"] * dice.randint(0, layout.blank)
            open_, close = ("(\n        ", ",\n    )") if layout.broken else ("(", ")")
            text = f"    pay{open_}self, {layout.quote}USD{layout.quote}, {abs(call)}{close}  # {layout.comment}"
            number = len(lines) + 1
            texts[number] = text
            lines += text.split("\n")
            if call < 0:
                step = Step(path, number, 5, "note", "pay")
                found.append(
                    Finding(
                        "float-money",
                        path,
                        number,
                        5,
                        number,
                        8,
                        "pays",
                        function.name,
                        severity,
                        Confidence.LIKELY,
                        (step,),
                    )
                )
    dice.shuffle(found)
    return identities(found, lambda _path, line: texts[line])


def baseline_of(found: tuple[Identity, ...]) -> tuple[Entry, ...]:
    return create(found, complete=True, exists=False).entries


functions = st.lists(st.integers(-3, 3).filter(bool), max_size=6).map(tuple)
programs = st.lists(functions, min_size=1, max_size=4).map(
    lambda bodies: tuple(Function(f"f{number}", body) for number, body in enumerate(bodies))
)
layouts = st.builds(
    Layout,
    blank=st.integers(0, 3),
    comment=st.sampled_from(["", "why", "pay(self, 'USD', 1)"]),
    broken=st.booleans(),
    quote=st.sampled_from(["'", '"']),
    seed=st.integers(0, 9),
)


def sites(program: Program) -> list[tuple[int, int]]:
    return [(f, s) for f, function in enumerate(program) for s, call in enumerate(function.calls) if call < 0]


def edited(program: Program, f: int, calls: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Program:
    return tuple(replace(fn, calls=calls(fn.calls)) if n == f else fn for n, fn in enumerate(program))


# --- properties ----------------------------------------------------------------------------------------------------


@given(programs, layouts, layouts, st.randoms(use_true_random=False))
def test_layout_comments_and_order_of_functions_make_nothing_new(
    program: Program, one: Layout, two: Layout, dice
) -> None:  # type: ignore[no-untyped-def]
    entries = baseline_of(find(program, one))
    shuffled = list(program)
    dice.shuffle(shuffled)
    made = match(find(tuple(shuffled), two), entries, NOW)
    assert (made.new, made.stale) == ((), ())
    assert len(made.pairs) == len(sites(program))


@given(programs.filter(sites), layouts, layouts, st.data())
def test_a_duplicate_is_exactly_one_new_finding(
    program: Program, one: Layout, two: Layout, data: st.DataObject
) -> None:
    entries = baseline_of(find(program, one))
    f, s = data.draw(st.sampled_from(sites(program)))
    at = data.draw(st.integers(0, len(program[f].calls)))
    doubled = edited(program, f, lambda calls: (*calls[:at], calls[s], *calls[at:]))
    made = match(find(doubled, two), entries, NOW)
    assert (len(made.new), len(made.stale)) == (1, 0)


@given(programs.filter(sites), layouts, layouts, st.data())
def test_a_mended_finding_is_exactly_one_stale_entry(
    program: Program, one: Layout, two: Layout, data: st.DataObject
) -> None:
    entries = baseline_of(find(program, one))
    f, s = data.draw(st.sampled_from(sites(program)))
    mended = edited(program, f, lambda calls: (*calls[:s], -calls[s], *calls[s + 1 :]))
    made = match(find(mended, two), entries, NOW)
    assert (len(made.new), len(made.stale)) == (0, 1)


@given(programs, programs, layouts, st.randoms(use_true_random=False))
def test_file_order_does_not_matter(before: Program, after: Program, layout: Layout, dice) -> None:  # type: ignore[no-untyped-def]
    entries = list(baseline_of(find(before, layout)))
    found = list(find(after, layout))
    made = match(found, entries, NOW)
    dice.shuffle(entries)
    dice.shuffle(found)
    assert match(found, entries, NOW) == made


@given(st.tuples(programs, programs), st.tuples(layouts, layouts), st.booleans(), st.booleans())
def test_a_second_update_changes_nothing(
    pair: tuple[Program, Program], written: tuple[Layout, Layout], prune: bool, add: bool
) -> None:
    (before, after), (one, two) = pair, written
    entries = baseline_of(find(before, one))
    found = find(after, two)
    addition = Addition(lambda _finding: True, WHY) if add else None
    first = update(found, entries, NOW, prune=prune, addition=addition)
    second = update(found, first.entries, NOW, prune=prune, addition=addition)
    assert second.entries == first.entries
    assert (second.added, second.removed, second.moved) == ((), (), ())
    matching = match(found, first.entries, NOW)
    assert not (add and matching.new)
    assert not (prune and matching.stale)


@given(programs, programs, layouts, st.lists(st.sampled_from(list(Severity)), min_size=2, max_size=2), st.booleans())
def test_an_entry_absorbs_at_most_one_finding_and_none_that_is_graver(
    before: Program, after: Program, layout: Layout, severities: list[Severity], reasoned: bool
) -> None:
    entries = baseline_of(find(before, layout, severity=severities[0]))
    entries = tuple(replace(entry, reason=WHY if reasoned else "") for entry in entries)
    found = find(after, layout, severity=severities[1])
    made = match(found, entries, NOW)
    assert len(made.pairs) + len(made.new) == len(found)
    assert len(made.pairs) + len(made.stale) == len(entries)
    assert len({identity.finding.id for _, identity in made.pairs}) == len(made.pairs)
    for entry, identity in made.pairs:
        assert identity.finding.grade[0] <= Severity[entry.severity.upper()]
        assert reasoned or identity.finding.severity != Severity.CRITICAL
    states = [finding.state for finding in mark([i.finding for i in found], made)]
    assert states.count("baselined") == len(made.pairs)


# Findings of a few keys, crowded on a few lines, of different grades and messages: what makes pairs ambiguous.
crowds = st.lists(
    st.tuples(
        st.integers(1, 4), st.integers(1, 3), st.sampled_from(list(Severity)), st.sampled_from("ab"), st.booleans()
    ),
    max_size=7,
    unique_by=lambda one: one[:2],
)
Crowd = list[tuple[int, int, Severity, str, bool]]


def crowd(listed: Crowd) -> tuple[Identity, ...]:
    found = [
        Finding(
            "float-money", "a.py", line, column, line, 9, message, "f" if inside else "g", severity, Confidence.LIKELY
        )
        for line, column, severity, message, inside in listed
    ]
    return identities(found, lambda _path, _line: "pay(self, 1.5)")


def reasoned(found: tuple[Identity, ...]) -> tuple[Entry, ...]:
    entries = update(found, (), NOW, addition=Addition(lambda _finding: True, WHY)).entries
    return tuple(replace(entry, reason=f"{WHY} {number}") for number, entry in enumerate(entries))


@given(crowds, crowds, st.booleans())
def test_a_second_update_changes_nothing_in_a_crowd(before: Crowd, after: Crowd, prune: bool) -> None:
    entries, found = reasoned(crowd(before)), crowd(after)
    first = update(found, entries, NOW, prune=prune)
    second = update(found, first.entries, NOW, prune=prune)
    assert (second.entries, second.moved, second.removed) == (first.entries, (), ())


@given(crowds, crowds)
def test_in_a_crowd_each_entry_absorbs_one_and_no_pair_is_lost(before: Crowd, after: Crowd) -> None:
    entries, found = reasoned(crowd(before)), crowd(after)
    made = match(found, entries, NOW)
    assert len({entry.reason for entry, _ in made.pairs}) == len(made.pairs)
    assert len(made.pairs) + len(made.stale) == len(entries)
    assert all(
        i.finding.grade[0].word == e.severity or i.finding.grade[0] < Severity[e.severity.upper()]
        for e, i in made.pairs
    )
    # Whatever is left over on both sides could not have been paired: it is graver than the entries left.
    for identity in made.new:
        left = [Severity[entry.severity.upper()] for entry in made.stale if entry.key == identity.key]
        assert all(severity < identity.finding.grade[0] for severity in left)


@given(programs, layouts, st.text(max_size=20))
def test_the_file_reads_back(program: Program, layout: Layout, text: str) -> None:
    entries = tuple(replace(entry, message=text, reason=text) for entry in baseline_of(find(program, layout)))
    baseline = Baseline("0.1.0", "abc", entries)
    written = render(baseline)
    assert written.isascii()
    again = parse(written, "b")
    assert render(again) == written
    assert sorted(map(repr, again.entries)) == sorted(map(repr, entries))


# --- phases of matching --------------------------------------------------------------------------------------------


def one(text: str = "pay(self, 1.5)", line: int = 10, *, sink: str = "pay", **changes: object) -> Identity:
    proof = (Step("a.py", line, 1, "note", sink),)
    finding = Finding(
        "float-money", "a.py", line, 1, line, 2, "m", "f", Severity.HIGH, Confidence.LIKELY, proof, chapter="money"
    )
    return identities([finding.with_(**changes)], lambda _path, _line: text)[0]


def several(*lines: int) -> tuple[Identity, ...]:
    return identities([one(line=line).finding for line in lines], lambda _path, _line: "pay(self, 1.5)")


def entries_at(*lines: int) -> tuple[Entry, ...]:
    return baseline_of(several(*lines))


class TestMatching:
    @pytest.mark.parametrize(
        ("before", "after", "left"),
        [
            ((10, 20, 30), (10, 15, 20, 30), 15),
            ((10, 20, 30), (10, 15, 21, 31), 15),
            ((10, 20, 30), (15, 20, 25, 35), 20),
            ((10, 20), (10, 20, 25), 25),
            ((10, 20), (5, 10, 20), 5),
            ((10,), (10, 12), 12),
            ((12,), (10, 12), 10),
            ((28,), (10, 30), 10),
        ],
    )
    def test_the_inserted_duplicate_is_the_new_one(
        self, before: tuple[int, ...], after: tuple[int, ...], left: int
    ) -> None:
        made = match(several(*after), entries_at(*before), NOW)
        assert [identity.finding.line for identity in made.new] == [left]
        assert made.stale == ()

    def test_the_mended_one_is_stale(self) -> None:
        made = match(several(11, 31), entries_at(10, 20, 30), NOW)
        assert [entry.line for entry in made.stale] == [20]

    def test_the_entry_that_says_the_same_is_preferred(self) -> None:
        both = identities([one().finding.with_(message=m) for m in "ab"], lambda _path, _line: "pay(self, 1.5)")
        made = match((one(message="b"),), baseline_of(both), NOW)
        assert [entry.message for entry in made.stale] == ["a"]

    def test_pairs_keep_their_order(self) -> None:
        made = match(several(100, 200), entries_at(10, 20), NOW)
        assert [(e.line, i.finding.line) for e, i in made.pairs] == [(10, 100), (20, 200)]

    def test_hundreds_of_equal_findings(self) -> None:
        begin = time.process_time()
        made = match(several(*range(1, 1201)), entries_at(*range(300, 900)), NOW)
        assert (len(made.pairs), len(made.new), len(made.stale)) == (600, 600, 0)
        assert all(entry.line == identity.finding.line for entry, identity in made.pairs)
        assert time.process_time() - begin < 3

    def test_renamed_file(self) -> None:
        entries = baseline_of((one(path="old.py"),))
        moved = (one(path="new.py"),)
        assert match(moved, entries, NOW).new == moved
        renamed = replace(NOW, renames={"old.py": "new.py"})
        assert match(moved, entries, renamed).new == ()
        assert match((one(path="other.py"),), entries, renamed).pairs == ()
        change = update(moved, entries, renamed)
        assert [(before.path, after.path) for before, after in change.moved] == [("old.py", "new.py")]
        assert match(moved, change.entries, NOW).new == ()

    @pytest.mark.parametrize(
        ("now", "absorbed"),
        [
            (one("pay(self, 1.5, fee=0)"), True),
            (one("refund(account, total, currency)"), False),
            (one("pay(self, 1.5, fee=0)", sink="transfer"), False),
            (one("pay(self, 1.5, fee=0)", symbol="g"), False),
            (one("pay(self, 1.5, fee=0)", path="b.py"), False),
            (one("pay(self, 1.5, fee=0)", rule="float-quantity"), False),
            (one("pay(self, 1.5, fee=0)", severity=Severity.CRITICAL), False),
        ],
    )
    def test_an_edited_statement(self, now: Identity, absorbed: bool) -> None:
        entries = baseline_of((one("pay(self, 1.5, fee=None)"),))
        made = match((now,), entries, NOW)
        assert (len(made.pairs), len(made.new), len(made.stale)) == ((1, 0, 0) if absorbed else (0, 1, 1))

    def test_the_most_similar_wins(self) -> None:
        entries = baseline_of((one("pay(self, a, b, c, d)"),))
        near, nearer = one("pay(self, a, b, c, x)", 5), one("pay(self, a, b, c, d, e)", 9)
        made = match((near, nearer), entries, NOW)
        assert [identity.anchor for _, identity in made.pairs] == [nearer.anchor]

    def test_graver_is_new_and_milder_is_not(self) -> None:
        entries = baseline_of((one(severity=Severity.MEDIUM),))
        assert match((one(severity=Severity.HIGH),), entries, NOW).pairs == ()
        milder = (one(severity=Severity.LOW),)
        assert match(milder, entries, NOW).new == ()
        shrunk = update(milder, entries, NOW).entries
        assert [entry.severity for entry in shrunk] == ["low"]
        assert match((one(severity=Severity.MEDIUM),), shrunk, NOW).pairs == ()

    def test_suppressed_findings_take_no_entry(self) -> None:
        found = one()
        hidden = replace(found, finding=found.finding.with_(state="suppressed"))
        assert len(match((hidden,), baseline_of((found,)), NOW).stale) == 1

    def test_expired_entries_do_not_match(self) -> None:
        entries = tuple(replace(entry, expires="2025-06-01") for entry in baseline_of((one(),)))
        assert match((one(),), entries, NOW).new == ()
        later = replace(NOW, today=TODAY + datetime.timedelta(days=1))
        made = match((one(),), entries, later)
        assert (len(made.new), made.stale, made.expired) == (1, (), entries)
        assert update((one(),), entries, later, prune=True).removed == entries
        assert update((one(),), entries, later).entries == entries

    def test_entries_of_rules_that_did_not_run_are_not_stale(self) -> None:
        entries = baseline_of((one(),))
        partly = replace(NOW, ran=lambda rule: rule != "float-money")
        made = match((), entries, partly)
        assert (made.stale, made.idle) == ((), entries)
        assert update((), entries, partly, prune=True).entries == entries
        assert len(match((one(),), entries, partly).pairs) == 1

    @pytest.mark.parametrize(
        "found",
        [one(severity=Severity.CRITICAL), one(chapter="security"), one(rule="unparsable-file", chapter="auditor")],
    )
    def test_what_needs_a_reason(self, found: Identity) -> None:
        change = create((found,), complete=True, exists=False)
        assert (change.entries, change.refused) == ((), (found.finding,))
        change = update((found,), (), NOW, addition=Addition(lambda _finding: True, WHY, "2026-01-31"))
        assert [(entry.reason, entry.expires) for entry in change.entries] == [(WHY, "2026-01-31")]
        assert match((found,), change.entries, NOW).new == ()
        without = tuple(replace(entry, reason="by design") for entry in change.entries)
        assert match((found,), without, NOW).pairs == ()

    def test_internal_errors_are_never_accepted(self) -> None:
        found = one(rule="auditor-error", chapter="auditor", severity=Severity.LOW)
        change = update((found,), (), NOW, addition=Addition(lambda _finding: True, WHY))
        assert (change.entries, change.refused) == ((), (found.finding,))


class TestChanges:
    def test_create_refuses_beside_an_old_one(self) -> None:
        with pytest.raises(BaselineError, match="there is a baseline already"):
            create((), complete=True, exists=True)

    def test_incomplete_analysis_writes_nothing(self) -> None:
        with pytest.raises(BaselineError, match="incomplete"):
            create((), complete=False, exists=False)
        with pytest.raises(BaselineError, match="incomplete"):
            update((), (), replace(NOW, complete=False))

    def test_update_adds_nothing_by_itself(self) -> None:
        change = update((one(), one(path="b.py")), (), NOW)
        assert change == Change(())

    def test_adding_is_chosen_and_has_a_reason(self) -> None:
        found = (one(), one(path="b.py"))
        change = update(found, (), NOW, addition=Addition(lambda finding: finding.path == "b.py", WHY))
        assert [entry.path for entry in change.added] == ["b.py"] == [entry.path for entry in change.entries]
        for reason in ("", "todo", "by design"):
            with pytest.raises(BaselineError, match="--reason"):
                update(found, (), NOW, addition=Addition(lambda _finding: True, reason))
        with pytest.raises(BaselineError, match="is no date"):
            update(found, (), NOW, addition=Addition(lambda _finding: True, WHY, "soon"))

    def test_prune(self) -> None:
        entries = entries_at(10, 20)
        kept = update(several(10), entries, NOW)
        assert (kept.entries, [entry.line for entry in kept.stale], kept.removed) == (entries, [20], ())
        pruned = update(several(10), entries, NOW, prune=True)
        assert ([e.line for e in pruned.entries], [e.line for e in pruned.removed], pruned.stale) == ([10], [20], ())

    def test_moves_keep_reason_and_expiry(self) -> None:
        entries = tuple(replace(entry, reason=WHY, expires="2030-01-01") for entry in entries_at(10))
        ((before, after),) = update(several(15), entries, NOW).moved
        assert after == replace(before, line=15)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((), "float-money finds nothing in a.py any more, or the file has gone"),
        ((one(symbol="g"),), "float-money finds nothing in f any more, or it was renamed"),
        ((one(sink="transfer"),), "the proof does not end at pay any more"),
        ((one("nothing = like + it"),), "the statement has changed too much to be the same"),
        ((replace(one(), finding=one().finding.with_(state="suppressed")),), "the finding is suppressed in the source"),
        ((one(severity=Severity.CRITICAL),), "the finding is graver now than high"),
        ((one(chapter="security"),), "a finding of this kind is accepted with a reason only"),
        ((one(),), "there are more entries than findings of this kind"),
    ],
)
def test_explain(found: tuple[Identity, ...], said: str) -> None:
    (entry,) = baseline_of((one(),))
    assert explain(entry, found, TODAY) == said
    assert explain(replace(entry, expires="2020-01-01"), found, TODAY) == "expired on 2020-01-01"


# --- the file ------------------------------------------------------------------------------------------------------


class TestFile:
    baseline = Baseline("0.1.0", "abc", entries_at(10, 20))

    def test_form(self) -> None:
        lines = render(self.baseline).splitlines()
        assert json.loads(lines[0]) == {"schema": "auditor-baseline/1", "version": "0.1.0", "commit": "abc"}
        assert len(lines) == 3
        assert list(json.loads(lines[1]))[:9] == (
            ["key", "rule", "path", "symbol", "line", "severity", "message", "reason", "expires"]
        )

    def test_a_merge_that_keeps_both_sides(self) -> None:
        header, *lines = render(self.baseline).splitlines()
        merged = "\r\n".join([header, lines[1], header, lines[0]])
        assert parse(merged, "b") == self.baseline

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (
                lambda text: text.replace('"rule": "float-money"', '"rule": "magic-number"'),
                "b, line 2: the key does not belong",
            ),
            (lambda text: text.replace('"path": "a.py"', '"path": "tests/a.py"'), "b, line 2: the key does not belong"),
            (
                lambda text: text.replace('"severity": "high"', '"severity": "hihg"'),
                "b, line 2: `severity` must be one of",
            ),
            (lambda text: text.replace('"line": 10', '"line": "10"'), "b, line 2: `line` must be an integer"),
            (lambda text: text.replace('"expires": ""', '"expires": "soon"'), "b, line 2: 'soon' is no date"),
            (lambda text: text.replace('"reason": ""', '"reason": []'), "b, line 2: `reason` must be a string"),
            (lambda text: text.replace('"reason"', '"raeson"'), "b, line 2: unknown field 'raeson'"),
            (lambda text: text + "<<<<<<< HEAD\n", "b, line 4: marker of a merge conflict"),
            (lambda text: text + "{\n", "b, line 4: no JSON object"),
            (lambda text: text + "[" * 100_000, "b, line 4: no JSON object"),
            (lambda text: text.replace("auditor-baseline/1", "auditor-baseline/9"), "b, line 1: unknown schema"),
            (lambda text: text.split("\n", 1)[1], "b has no header line"),
            (lambda _text: "", "b has no header line"),
        ],
    )
    def test_refusals(self, change: Callable[[str], str], said: str) -> None:
        with pytest.raises(BaselineError) as caught:
            parse(change(render(self.baseline)), "b")
        assert str(caught.value).startswith(said)

    def test_write_and_read(self, tmp_path: Path) -> None:
        file = tmp_path / "auditor-baseline.jsonl"
        write(file, self.baseline)
        assert read(file) == self.baseline
        file.chmod(0o640)
        write(file, Baseline("0.2.0", ""))
        assert read(file) == Baseline("0.2.0", "")
        assert file.stat().st_mode & 0o777 == 0o640
        assert list(tmp_path.iterdir()) == [file]

    def test_a_failing_write_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "b.jsonl"
        write(file, self.baseline)

        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write(file, Baseline("0.2.0", ""))
        assert read(file) == self.baseline
        assert list(tmp_path.iterdir()) == [file]

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFO on this system")
    def test_links_and_devices(self, tmp_path: Path) -> None:
        target, link = tmp_path / "target", tmp_path / "link"
        target.write_text("untouched")
        link.symlink_to(target)
        with pytest.raises(BaselineError, match="cannot be opened"):
            read(link)
        write(link, self.baseline)
        assert target.read_text() == "untouched"
        assert not link.is_symlink()
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(BaselineError, match="not a regular file"):
            read(tmp_path / "fifo")
        with pytest.raises(BaselineError, match="cannot be opened"):
            read(tmp_path / "none")
