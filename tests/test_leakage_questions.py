"""What the leakage chapter knows beside its findings: the learning of a project, the models of a team, the run mode."""

from __future__ import annotations

from auditor.rules.leakage._learning import fitted, horizon, part_of, splits, stories
from auditor.rules.leakage._linear import Linear
from auditor.rules.leakage._state import Event
from linked import RULES

from auditor import engine

LEARNING = """
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import TimeSeriesSplit, train_test_split
from sklearn.preprocessing import StandardScaler


class Trainer:
    def __init__(self):
        self.scaler = StandardScaler()

    def prepare(self, frame):
        return self.scaler.fit_transform(frame[["rsi", "macd"]])

    def run(self, path):
        frame = pd.read_csv(path)
        frame["y"] = (frame["close"].shift(-5) > frame["close"]).astype(int)
        rows = self.prepare(frame)
        seen, unseen, label, truth = train_test_split(rows, frame["y"], shuffle=False)
        model = LogisticRegression()
        model.fit(seen, label)
        return accuracy_score(truth, model.predict(unseen))


def folds(frame: pd.DataFrame):
    rows = frame[["rsi"]]
    for earlier, later in TimeSeriesSplit(n_splits=4, gap=3).split(rows):
        model = LogisticRegression()
        model.fit(rows.iloc[earlier], frame["y"].iloc[earlier])
        print(model.score(rows.iloc[later], frame["y"].iloc[later]))


def halves(frame: pd.DataFrame):
    share = int(len(frame) * 0.8)
    earlier, later = frame.iloc[:share], frame.iloc[share:]
    model = LogisticRegression().fit(earlier[["rsi"]], earlier["y"])
    return accuracy_score(later["y"], model.predict(later[["rsi"]]))
"""


def told(text: str) -> dict[str, list[str]]:
    project = engine.in_process({"x.py": text}, RULES).project
    return {s.function.name: [f"{e.kind} {e.name}" for e in s.events] for s in stories(project)}


def events(name: str) -> list[Event]:
    project = engine.in_process({"x.py": LEARNING}, RULES).project
    return list(next(s.events for s in stories(project) if s.function.name == name))


def test_a_story_tells_what_happens_in_order_through_calls() -> None:
    assert told(LEARNING) == {
        "run": [
            "fit fit_transform", "split train_test_split", "fit fit", "use predict", "score accuracy_score",
        ],
        "folds": ["split TimeSeriesSplit", "fit fit", "use score"],
        "halves": ["fit fit", "use predict", "score accuracy_score"],
    }  # fmt: skip


def test_a_split_knows_what_was_fitted_before_it() -> None:
    fit, split, learnt, used, scored = events("run")
    assert [mark.note for mark in fit.calls] == ["calls prepare"]
    [whole], [label] = split.of("whole"), split.of("labels")
    assert fitted(whole) is not None
    assert horizon(label) == Linear(5)
    assert dict(split.stated)["shuffle"] == "False"
    [seen], [unseen] = learnt.of("X"), used.of("X")
    assert part_of(seen, whole)
    assert [cut.key for cut in (*splits(seen), *splits(unseen))] == ["train", "test"]
    assert learnt.model == used.model
    assert learnt.path == "sklearn.linear_model.LogisticRegression"
    assert len(scored.of("given")) == 2


def test_folds_and_slices_are_parts_of_their_frame() -> None:
    split, fit, use = events("folds")
    [whole], [earlier], [later] = split.of("whole"), fit.of("X"), use.of("X")
    assert part_of(earlier, whole)
    assert part_of(later, whole)
    assert earlier.align != later.align
    assert dict(split.stated) == {"gap": "3", "n_splits": "4"}
    fit, use, _ = events("halves")
    [(cut,), (rest,)] = [event.of("X")[0].align for event in (fit, use)]
    assert cut.upper == rest.lower


STRATEGY = """
from desk.bands import turning
from freqtrade.strategy import IStrategy


class Turning(IStrategy):
    live = False

    def populate_indicators(self, dataframe, metadata):
        dataframe["turn"] = turning(dataframe["close"], 7)
        if self.dp.runmode.value in ("live", "dry_run"):
            self.live = True
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["turn"] > 0, "enter_long"] = 1
        if self.live:
            dataframe.loc[dataframe["close"] < dataframe["close"].iloc[-1], "enter_long"] = 1
        return dataframe
"""


def test_a_team_says_what_its_own_library_does() -> None:
    entry = {"calls": ["desk.bands.turning"], "rule": "leaky-indicator", "position": 1, "keyword": "bars", "note": "marks turns early"}
    models = {"leakage": {"leads": [entry]}}
    found = engine.in_process({"x.py": STRATEGY}, RULES, models=models).findings
    mine = [f for f in found if f.rule == "leaky-indicator"]
    assert [f.message for f in mine] == ["The signal `enter_long` reads 7 bars ahead: row t needs `close` of row t+7."]
    assert [f for f in engine.in_process({"x.py": STRATEGY}, RULES).findings if f.rule == "leaky-indicator"] == []


def test_what_only_live_runs_do_is_no_leak() -> None:
    rules = {f.rule for f in engine.in_process({"x.py": STRATEGY}, RULES).findings}
    assert "whole-series-statistic" not in rules
    always = STRATEGY.replace("        if self.live:\n    ", "        if True:\n    ")
    assert "whole-series-statistic" in {f.rule for f in engine.in_process({"x.py": always}, RULES).findings}
