"""What becomes of a feature decides whether it is a fault: each leak of the table as a label, in a log, lagged by its
reach, and on a longer way to the signal."""

from __future__ import annotations

import pytest

from leakage.agreement import COUNTED
from leakage.judge import STARTS, built, judge
from leakage.patterns import Pattern, patterns
from leakage.running import ENTRY

FEATURE_LINE = 'dataframe["feature"] = feature(dataframe)'
LEAKS = [p for p in patterns() if p.rule and p.rule != STARTS and built(p.rule)]
COUNTABLE = [p for p in LEAKS if p.rule in COUNTED and isinstance(p.reach, int) and not p.varies]
LABEL = """
    def set_freqai_targets(self, dataframe: pd.DataFrame, metadata: dict, **kwargs) -> pd.DataFrame:
        dataframe["&-feature"] = feature(dataframe)
        return dataframe
"""
ROWS = pytest.mark.parametrize("pattern", LEAKS, ids=lambda p: f"{p.number}: {p.name}")


def changed(pattern: Pattern, line: str, after: str = "") -> dict[str, str]:
    """The program of a row with another line in the place where its feature is stored."""
    [(path, text)] = pattern.texts.items()
    assert text.count(FEATURE_LINE) == 1
    return {path: text.replace(FEATURE_LINE, line) + after}


@ROWS
def test_a_label_may_look_ahead(pattern: Pattern) -> None:
    texts = changed(pattern, 'dataframe["feature"] = dataframe["close"].diff()', LABEL)
    assert judge(texts).findings == ()


@ROWS
def test_what_is_only_printed_may_look_ahead(pattern: Pattern) -> None:
    line = 'dataframe["feature"] = dataframe["close"].diff()\n        print(feature(dataframe))'
    assert judge(changed(pattern, line)).findings == ()


@pytest.mark.parametrize("pattern", COUNTABLE, ids=lambda p: f"{p.number}: {p.name}")
def test_a_lag_by_the_reach_is_the_cure(pattern: Pattern) -> None:
    lagged = (
        'dataframe["raw_target"] = feature(dataframe)\n        dataframe["feature"] = dataframe["raw_target"].shift({})'
    )
    assert isinstance(pattern.reach, int)
    assert judge(changed(pattern, lagged.format(pattern.reach))).findings == ()
    [finding] = judge(changed(pattern, lagged.format(pattern.reach - 1))).findings
    assert finding.rule in (pattern.rule, *pattern.accepted)
    assert finding.bars == 1


@ROWS
def test_the_way_to_the_signal_does_not_matter(pattern: Pattern) -> None:
    """The feature in another file, its result on the instance, under another name in the frame."""
    plain = judge(pattern.texts)
    text = pattern.texts[ENTRY]
    before, _, strategy = text.partition("\n\nclass Strategy")
    strategy = "import pandas as pd\n\nfrom features import feature\n\n\nclass Strategy" + strategy
    strategy = strategy.replace(
        FEATURE_LINE, "self.found = feature(dataframe)\n        dataframe = dataframe.assign(feature=self.found)"
    )
    far = judge({"features.py": before + "\n", ENTRY: strategy})
    assert [(f.rule, f.bars, f.severity) for f in far.findings] == [
        (f.rule, f.bars, f.severity) for f in plain.findings
    ]
