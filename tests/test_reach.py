"""Reach: what the interpreter of the leakage chapter says of a column, against what pandas does with it.

A feature is causal when cutting the data behind a row does not change the row. The reach is measured: one later row is
disturbed, and the earliest row that changes tells how far the feature looked ahead.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libcst
import numpy as np
import pandas as pd
import pytest
from auditor.rules.leakage._linear import Linear, unknown
from auditor.rules.leakage._state import DATA, UNKNOWN, Extent, Kind, Mark, Part, State, join, merged
from auditor.rules.leakage._summaries import Analysis
from auditor.rules.leakage._transfer import moved, shift
from auditor.rules.leakage.negative_shift_feature import NegativeShiftFeature
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.expect import compare, marks
from auditor.facts.codec import Program, encode
from auditor.facts.lower import lower
from auditor.finding import Confidence, Finding, Severity
from auditor.project.project import Project
from auditor.rule import example, page, validate
from auditor.source.module import SourceModule

CASES = Path(__file__).parent.parent / "fixtures/cases/leakage"
HEAD = "import numpy as np\nimport pandas as pd\n\n"
SIGNAL = '\n\ndef signals(d: pd.DataFrame):\n    d["feature"] = feature(d)\n    d["signal"] = d["feature"] > 0\n    return d\n'
MARK = Mark("x.py", 1, 1, 1, 2, "step", "step")


def programs(files: dict[str, str]) -> dict[str, Program]:
    found: dict[str, Program] = {}
    for path, text in files.items():
        facts, encoded = lower(SourceModule(path, text, libcst.parse_module(text)))
        found[path] = Program(encode(facts, encoded))
    return found


def findings(files: dict[str, str]) -> list[Finding]:
    return list(NegativeShiftFeature().check_project(Project(programs(files))))


def source(body: str) -> str:
    lines = body if "return" in body else f"return {body}"
    return HEAD + "def feature(d):\n" + "".join(f"    {line}\n" for line in lines.splitlines())


def interpreted(body: str) -> State:
    """The state of the signal column that is made of a feature."""
    project = Project(programs({"x.py": source(body) + SIGNAL}))
    function = next(f for f in project.functions() if f.name == "signals")
    outcome = Analysis(project).standalone(function)
    assert outcome is not None
    frame = outcome.end.frame(outcome.value)
    assert frame is not None
    return frame.read("signal")


# --- the measure ------------------------------------------------------------------------------------------------------

ROWS = 130
PRICES = ("open", "high", "low", "close", "volume", "gap")


def bars(seed: int, rows: int = ROWS) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.004, rows)))
    open_ = np.r_[100, close[:-1]]
    frame = pd.DataFrame(
        {
            "open": open_, "high": np.maximum(open_, close) * 1.001, "low": np.minimum(open_, close) * 0.999, "close": close,
            "volume": random.uniform(10, 100, rows),
        },
        index=pd.date_range("2024-01-01", periods=rows, freq="5min"),
    )  # fmt: skip
    frame["gap"] = frame["close"].where(random.uniform(size=rows) > 0.15)
    return frame


def different(one: Any, other: Any) -> np.ndarray:
    return np.where(
        ~np.isclose(np.asarray(one, float), np.asarray(other, float), rtol=1e-9, atol=1e-12, equal_nan=True)
    )[0]


def measured(feature: Callable[[pd.DataFrame], Any], seeds: tuple[int, ...] = (7, 11)) -> tuple[bool, int]:
    """(leaks when the data is cut, reach in rows)."""
    leaks, reach = False, 0
    for seed in seeds:
        frame = bars(seed)
        whole = np.asarray(feature(frame.copy()), float)
        for cut in (55, 90, 121):
            part = np.asarray(feature(frame.iloc[:cut].copy()), float)
            leaks = leaks or len(different(part, whole[:cut])) > 0
        columns = [frame.columns.get_loc(name) for name in PRICES]
        for row in (80, 81, 97, 113, ROWS - 1):
            for factor in (1.37, 0.7):
                disturbed = frame.copy()
                disturbed.iloc[row, columns] *= factor
                bad = different(np.asarray(feature(disturbed), float)[45:row], whole[45:row])
                if len(bad):
                    reach = max(reach, row - 45 - int(bad.min()))
    return leaks or reach > 0, reach


def executable(body: str) -> Callable[[pd.DataFrame], Any]:
    names: dict[str, Any] = {}
    exec(compile(source(body), "pattern", "exec"), names)
    found: Callable[[pd.DataFrame], Any] = names["feature"]
    return found


# The negative-shift family of the specification, and its supplement: executed. (name, code, reach or None for warm-up)
SHIFTED = [
    ("1", 'd["close"].shift(-1)', 1),
    ("2", 'p = {"s": -8}\nreturn d["close"].shift(p["s"])', 8),
    ("3", 'd["close"].diff(-1)', 1),
    ("4", 'd["close"].pct_change(-3)', 3),
    ("5", 'd["close"].pct_change(5).shift(-5)', 5),
    ("6", 'd["close"].shift(-10).rolling(10).mean()', 10),
    ("7", 'd["close"].shift(-25).shift(26)', 0),
    ("8", '(d["close"].shift(-25) > d["close"].rolling(9).mean()).shift(26).astype(float)', 0),
    ("9", '(d["close"].shift(-25) > d["close"].rolling(9).mean()).shift(20).astype(float)', 5),
    ("10", 'np.roll(d["close"].values, -1)', 1),
    ("11", 'np.roll(d["close"].values, 1)', None),
    ("12", 'd.sort_index(ascending=False)["close"].shift(-1).sort_index()', 0),
    ("13", 'd["close"][::-1].rolling(5).mean()[::-1]', 4),
    ("14", 'v = d["close"].values\nreturn np.r_[v[1:], np.nan]', 1),
    ("periods", 'd["close"].shift(periods=-2)', 2),
    ("freq", 'd["close"].shift(-1, freq="5min").reindex(d.index)', 1),
    ("lag by freq", 'd["close"].shift(1, freq="5min").reindex(d.index)', 0),
    ("wrap overwritten", 'v = np.roll(d["close"].to_numpy(), 2)\nv[:2] = np.nan\nreturn v', 0),
    ("padded in front", 'v = d["close"].values\nreturn np.concatenate([[np.nan, np.nan], v[:-2]])', 0),
    ("returns padded in front", 'v = d["close"].values\nreturn np.append(0.0, v[1:] / v[:-1])', 0),
    ("returns padded behind", 'v = d["close"].values\nreturn np.append(v[1:] / v[:-1], 0.0)', 1),
    ("diff padded in front", 'return np.insert(np.diff(d["close"].values), 0, 0.0)', 0),
    ("diff appended", 'return np.diff(d["close"].values, append=0.0)', 1),
    ("reversed difference", 'd["close"][::-1].diff(2)[::-1]', 2),
    ("reversed lag", 'd["close"].iloc[::-1].shift(-3).iloc[::-1]', 0),
    ("rows without index", 's = d["close"].iloc[2:].reset_index(drop=True)\nreturn np.append(s.values, [np.nan, np.nan])', 2),
    ("slice to the length", 'v = d["close"].values\nreturn np.append(v[3 : len(v)], [0.0, 0.0, 0.0])', 3),
    ("lead of a mask", 'd["close"].where(d["volume"].shift(-2) > 50)', 2),
    ("through a frame", 'x = d[["open", "close"]].shift(-4)\nreturn x["close"] - x["open"]', 4),
    ("assigned", 'd.assign(a=lambda x: x["low"].shift(-6))["a"].shift(2)', 4),
    ("stored in place", 'v = np.zeros(len(d))\nw = d["close"].values\nv[:-2] = w[2:]\nreturn v', 2),
    ("stored with a lag", 'v = np.zeros(len(d))\nw = d["close"].values\nv[2:] = w[:-2]\nreturn v', 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "reach"), SHIFTED, ids=[row[0] for row in SHIFTED])
def test_negative_shifts_as_executed(name: str, body: str, reach: int | None) -> None:
    state = interpreted(body)
    leaks, rows = measured(executable(body))
    reported = findings({"x.py": source(body) + SIGNAL})
    if reach is None:
        assert leaks
        assert state.extent is Extent.WARMUP
        assert [f.severity for f in reported] == [Severity.LOW]
        return
    assert (leaks, rows) == (reach > 0, reach)
    assert (state.extent, state.reach()) == (Extent.EXACT, reach)
    assert len(reported) == (reach > 0)
    if reach:
        words = "1 bar ahead" if reach == 1 else f"{reach} bars ahead"
        assert words in reported[0].message
        assert reported[0].severity is Severity.CRITICAL


# The other rows of the specification that are about reach; the rules that will report them need not exist yet.
OTHER = tomllib.loads(Path(__file__).with_name("data").joinpath("reach.toml").read_text(encoding="utf-8"))["row"]


@pytest.mark.parametrize("row", OTHER, ids=[str(row["number"]) for row in OTHER])
def test_states_of_the_specification(row: dict[str, Any]) -> None:
    body = row["body"].strip()
    state = interpreted(body)
    assert (state.extent.name, state.reach()) == (row["extent"], row.get("reach"))
    assert {part.family for part in state.parts if part.ahead} == ({row["family"]} if "family" in row else set())
    assert findings({"x.py": source(body) + SIGNAL}) == []


# --- random chains ----------------------------------------------------------------------------------------------------

STEP = st.one_of(
    st.integers(-6, 6).map(lambda k: f".shift({k})"),
    st.integers(1, 4).flatmap(lambda k: st.sampled_from([f".diff({k})", f".diff({-k})"])),
    st.integers(1, 4).map(lambda k: f".pct_change({-k}, fill_method=None)"),
    st.integers(2, 5).map(lambda w: f".rolling({w}).sum()"),
    st.integers(2, 5).map(lambda w: f".rolling({w}, center=True).sum()"),
    st.just(".ewm(span=3, ignore_na=True).mean()"),
    st.just(".expanding().sum()"),
    st.just(".ffill()"),
    st.integers(2, 4).map(lambda w: f"[::-1].rolling({w}).sum()[::-1]"),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(STEP, min_size=1, max_size=4))
def test_a_chain_reaches_as_far_as_it_does_when_run(steps: list[str]) -> None:
    body = 'd["close"]' + "".join(steps)
    state = interpreted(body)
    leaks, reach = measured(executable(body), seeds=(7,))
    assert state.reach() == reach
    assert leaks is (reach > 0)


# --- the lattice ------------------------------------------------------------------------------------------------------

FORMS = st.builds(
    lambda c, n, f: Linear(c) + unknown(n, 1, None).times(f),
    st.integers(-3, 3),
    st.sampled_from("ab"),
    st.integers(-1, 1),
)
PARTS = st.builds(
    lambda reach, family, extent: Part(("", ""), family, extent, reach), st.one_of(FORMS, st.none()), st.sampled_from(["", "x"]),
    st.sampled_from(list(Extent)),
)  # fmt: skip
STATES = st.lists(PARTS, max_size=3).map(lambda parts: State(merged(parts)))


@given(STATES, STATES, STATES)
def test_join_is_a_join(one: State, two: State, three: State) -> None:
    assert join(one, two).parts == join(two, one).parts
    assert join(one, one) == one
    assert set(join(join(one, two), three).parts) == set(join(one, join(two, three)).parts)


def test_a_lag_undoes_a_lead_of_unknown_length() -> None:
    d = unknown("displacement")
    lead = shift(DATA, -d + Linear(1), MARK)
    assert [str(part.reach) for part in lead.parts] == ["displacement-1"]
    assert not any(part.ahead for part in lead.parts)  # its sign is not known
    assert shift(lead, d, MARK).reach() == 0
    proven = shift(DATA, -unknown("width", 2, 8), MARK)
    assert any(part.ahead for part in proven.parts)


def test_unknown_is_never_ahead() -> None:
    assert not any(part.ahead for part in moved(DATA, None, "negative-shift-feature", MARK).parts)
    assert not any(part.ahead for part in UNKNOWN.parts)
    assert shift(DATA.with_(direction=0), Linear(-3), MARK).reach() is None


def test_provenance_is_no_state() -> None:
    one = shift(DATA, Linear(-2), MARK)
    two = shift(DATA, Linear(-2), MARK._replace(line=99, note="other"))
    assert one == two
    assert hash(one) == hash(two)


def test_a_loop_that_moves_further_each_time_is_unknown() -> None:
    state = interpreted('x = d["close"]\nfor _ in range(9):\n    x = x.shift(-1)\nreturn x')
    assert state.reach() is None
    assert not any(part.ahead and not part.family for part in state.parts)
    assert findings({"x.py": source('x = d["close"]\nfor _ in range(9):\n    x = x.shift(1)\nreturn x') + SIGNAL}) == []


def test_branches_take_the_larger_reach() -> None:
    assert interpreted('x = d["close"].shift(-2) if d.attrs else d["close"].shift(-4)\nreturn x').reach() == 4
    assert interpreted('x = d["close"]\nif len(d) > 5:\n    x = x.shift(-2)\nreturn x').reach() == 2


def test_kinds_of_values() -> None:
    assert interpreted('d["close"].values').kind is Kind.SERIES  # stored in a column again
    assert interpreted("return 1").parts == ()


# --- summaries --------------------------------------------------------------------------------------------------------

LAGS = """
def lag(series, bars=1):
    return series.shift(bars)


def twice(series, bars):
    return lag(lag(series, bars), bars)
"""
ENRICH = """
def enrich(frame):
    frame['tilt'] = frame['close'].shift(-2)
    frame['calm'] = frame['close'].shift(2)
"""
HOOKS = """
from freqtrade.strategy import IStrategy

class S(IStrategy):
    ahead = 2

    def populate_indicators(self, dataframe, metadata):
        self.tilt = dataframe['close'].shift(-self.ahead)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[self.tilt > 0, 'enter_long'] = 1
        return dataframe
"""


def leak(use: str, **files: str) -> list[tuple[str, int, list[str]]]:
    """(file, line, names of the proof) of each finding; `use` are lines of a function that is given a frame d."""
    lines = "".join(f"    {line}\n" for line in use.splitlines())
    imports = "".join(f"from {name} import *\n" for name in files)
    text = f"import pandas as pd\n{imports}\ndef run(d: pd.DataFrame):\n{lines}    return d\n"
    found = findings({"use.py": text} | {f"{name}.py": body for name, body in files.items()})
    return [(f.path, f.line, [step.name for step in f.proof]) for f in found]


def test_the_caller_that_says_how_far_is_the_one_to_edit() -> None:
    assert leak("d['signal'] = twice(d['close'], -3) > 0", lags=LAGS) == [
        ("use.py", 5, ["twice", "lag", "shift", "lag", "shift", "signal"])
    ]
    assert leak("d['signal'] = twice(d['close'], 3) > 0", lags=LAGS) == []


def test_a_helper_changes_the_frame_it_is_given() -> None:
    assert leak("enrich(d)\nd['signal'] = d['tilt'] > 0", helper=ENRICH) == [
        ("helper.py", 3, ["enrich", "shift", "signal"])
    ]
    assert leak("enrich(d)\nd['signal'] = d['calm'] > 0", helper=ENRICH) == []


def test_a_caller_that_takes_the_lead_back_is_silent() -> None:
    lead = "def lead(frame, name):\n    return frame[name].shift(-5)\n"
    assert leak("d['signal'] = lead(d, 'close').shift(5) > 0", helper=lead) == []
    assert leak("d['signal'] = lead(d, 'close').shift(4) > 0", helper=lead) == [
        ("helper.py", 2, ["lead", "shift", "shift", "signal"])
    ]


def test_recursion_is_unknown() -> None:
    deeper = "def f(s, n):\n    return f(s.shift(-1), n - 1) if n else s\n"
    assert leak("d['signal'] = f(d['close'], 3) > 0", helper=deeper) == []


def test_a_column_that_is_predicted_is_no_signal() -> None:
    signal = "d['signal'] = (d['close'].shift(-1) > d['close']).astype(int)\n"
    assert len(leak(signal)) == 1
    assert leak(signal + "y = d['signal']") == []
    assert leak(signal + "features = d.drop(columns=['signal'])") == []
    assert leak(signal + "model.fit(d[['volume']], d['signal'])") == []


def test_attributes_carry_a_column_from_hook_to_hook() -> None:
    [found] = findings({"x.py": HOOKS})
    assert (found.line, [step.name for step in found.proof]) == (8, ["shift", "enter_long"])
    assert findings({"x.py": HOOKS.replace("ahead = 2", "ahead = -2")}) == []


# --- the rule ---------------------------------------------------------------------------------------------------------


def test_the_page() -> None:
    validate(NegativeShiftFeature)
    shown = page(NegativeShiftFeature)
    assert len(findings({"bad.py": example(shown.bad)})) == 1
    assert findings({"good.py": example(shown.good)}) == []


def test_the_case() -> None:
    folder = CASES / "negative_shift_feature"
    files = {path.name: path.read_text() for path in sorted(folder.glob("*.py"))}
    found = findings(files)
    expected = [mark for name, text in files.items() for mark in marks(name, text)]
    assert compare(found, expected, ["negative-shift-feature"]) == []
    kinds = [mark.kind for mark in expected]
    assert (kinds.count("expect") >= 12, kinds.count("trap") >= 15) == (True, True)


def test_grades() -> None:
    hook = (
        "from freqtrade.strategy import IStrategy\n\nclass S(IStrategy):\n    def populate_indicators(self, dataframe, metadata):\n"
        "        dataframe['{0}'] = dataframe['close'].shift(-26)\n        return dataframe\n"
        "    def populate_entry_trend(self, dataframe, metadata):\n        dataframe['enter_long'] = 0\n        return dataframe\n"
    )
    [unread] = findings({"x.py": hook.format("drift")})
    assert (unread.severity, unread.confidence) == (Severity.HIGH, Confidence.LIKELY)
    [drawn] = findings({"x.py": hook.format("chikou_span")})
    assert drawn.confidence is Confidence.POSSIBLE
    assert findings({"x.py": hook.format("future_close")}) == []


def test_the_order_of_files_is_not_seen() -> None:
    folder = CASES / "negative_shift_feature"
    files = {path.name: path.read_text() for path in sorted(folder.glob("*.py"))}
    backward = dict(reversed(files.items()))
    assert findings(files) == findings(backward)


def test_renaming_and_aliases_leave_the_finding() -> None:
    body = 'd["close"].shift(-2)'
    plain = findings({"x.py": source(body) + SIGNAL})
    for other in (
        'c = d["close"]\nlater = c.shift(-2)\nreturn later',
        "return d.close.shift(periods=-2)",
        'return d.loc[:, "close"].shift(1 - 3)',
    ):
        [found] = findings({"x.py": source(other) + SIGNAL})
        assert re.sub(r"`\w+`", "", found.message) == re.sub(r"`\w+`", "", plain[0].message)
