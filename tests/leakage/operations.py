"""What random programs are made of: operations on rows, each an expression or the body of a function.

Kinds of values: `s` rows with an index, `b` a condition per row, `a` rows by position, `n` one number, `c` a category.
In `code`, `x`, `y` and `z` are the inputs and `a` the number. A body has more than one line and returns.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operation:
    """`takes` are the kinds of the inputs, `gives` that of the result. `numbers` are the values that `a` may have;
    `rows` how much of a short frame it uses up beside |a|; `weight` how often it is drawn."""

    name: str
    takes: str
    gives: str
    code: str
    numbers: tuple[int, ...] = ()
    rows: int = 0
    weight: int = 2

    @property
    def body(self) -> bool:
        return "\n" in self.code


LAGS = (1, 2, 3, 5)
SHIFTS = (-4, -3, -2, -1, 1, 1, 2, 2, 3, 4, 5)
WIDTHS, WIDER = (2, 3, 4, 5, 6), (5, 6, 7)
FEW = (1, 2, 3)
SOURCES = ("close", "high", "low", "open", "volume")
INDEXER = "pd.api.indexers.FixedForwardWindowIndexer(window_size=a)"
# bodies of functions
READ_AHEAD = """out = np.full(len(x), np.nan)
for i in range(len(x) - a):
    out[i] = x[i + a]
return out"""
READ_BEHIND = """out = np.full(len(x), np.nan)
for i in range(a, len(x)):
    out[i] = x[i - a]
return out"""
PIVOTS = """out = np.zeros(len(x))
for i in range(2 * a, len(x)):
    if x[i - a] == x[i - 2 * a : i + 1].max():
        out[AT] = 1
return out"""
SLICES = """means = []
for i in range(len(x)):
    means.append(x[ROWS].mean())
return np.array(means)"""
SMOOTHING = """out = np.zeros(len(x))
for i in range(1, len(x)):
    out[i] = 0.6 * out[i - 1] + 0.4 * np.nan_to_num(x[i])
return out"""
ENUMERATED = """out = np.zeros(len(x))
for i, value in enumerate(x):
    if i + a < len(x):
        out[i + a] = value
return out"""
NEIGHBOURS = """later = [after - before for before, after in PAIRS]
return np.array([*later, 0.0])"""
PRECEDING = """earlier = [after - before for before, after in zip(x[:-1], x[1:])]
return np.array([0.0, *earlier])"""
WHILE = """out = np.zeros(len(x))
i = 0
while i < len(x):
    out[i] = x[ROW]
    i += 1
return out"""
ITERTUPLES = """found = []
for row in pd.DataFrame({"v": x, "w": y}).itertuples():
    found.append(row.v - row.w)
return np.array(found)"""
BY_LABEL = """out = pd.Series(0.0, index=x.index)
for i in range(a, len(x)):
    out.iloc[i] = x.iloc[i] - x.iloc[i - a]
return out"""
BY_DICT = """hours = x.to_frame("v").resample("1h").agg({"v": "last"})LAG
return hours["v"].reindex(x.index, method="ffill")"""
MAPPED = """hour = x.index.floor("1h")
last = x.groupby(hour).last()LAG
return pd.Series(hour, x.index).map(last)"""
IN_STEPS = """level = x.rolling(a).mean()
above = (x - level).fillna(0)
return above.shift(1)"""
EARLY_RETURN = """if x.empty:
    return x
return x.shift(a)"""

# pieces of expressions
DAY = 'x.index.floor("D")'
LEFT = 'x.resample("1h").last().rename("h").reset_index()'
RIGHT = 'x.resample("1h", label="right").last()'
VALUES = 'x.rename("value").reset_index()'
AS_OF = f'pd.merge_asof({VALUES}, OTHER, on="index")["h"].to_numpy()'
MERGED = 'pd.merge(x.to_frame("v"), y.shift(a).to_frame("w"), left_index=True, right_index=True, how="left")'
EVERY_THIRD = 'x.iloc[::3].rename("h").reset_index()'

OPERATIONS = (
    # along the rows
    Operation("shift", "s", "s", "x.shift(a)", SHIFTS, weight=10),
    Operation("periods", "s", "s", "x.shift(periods=a)", SHIFTS),
    Operation("lead", "s", "s", "x.shift(-a)", FEW),
    Operation("diff", "s", "s", "x.diff(a)", SHIFTS, weight=3),
    Operation("change", "s", "s", "x.pct_change(a, fill_method=None)", SHIFTS, weight=3),
    Operation("there and back", "s", "s", "x.shift(-a).shift(a)", FEW),
    Operation("almost back", "s", "s", "x.shift(-a).shift(a - 1)", (2, 3)),
    Operation("newest first", "s", "s", "x.sort_index(ascending=False).shift(a).sort_index()", SHIFTS, weight=1),
    Operation("reversed window", "s", "s", "x[::-1].rolling(a).mean()[::-1]", WIDTHS, weight=1),
    Operation("reversed lag", "s", "s", "x.iloc[::-1].shift(a).iloc[::-1]", SHIFTS, weight=1),
    Operation("shifted in time", "s", "s", 'x.shift(a, freq="5min").reindex(x.index)', SHIFTS, weight=1),
    # windows
    Operation("mean", "s", "s", "x.rolling(a).mean()", WIDTHS, weight=6),
    Operation("sum", "s", "s", "x.rolling(a, min_periods=1).sum()", WIDTHS),
    Operation("highest", "s", "s", "x.rolling(window=a).max()", WIDTHS),
    Operation("deviation", "s", "s", "x.rolling(a).std()", WIDTHS),
    Operation("z-score", "s", "s", "(x - x.rolling(a).mean()) / x.rolling(a).std()", WIDER),
    Operation("ranked", "s", "s", "x.rolling(a).rank(pct=True)", WIDER, weight=1),
    Operation("centred", "s", "s", "x.rolling(a, center=True).mean()", WIDTHS, weight=3),
    Operation("centred, lagged", "s", "s", "x.rolling(a, center=True).mean().shift(a // 2)", WIDTHS),
    Operation("centred, under-lagged", "s", "s", "x.rolling(a, center=True).mean().shift(1)", (5, 6, 7), weight=1),
    Operation("forward window", "s", "s", f"x.rolling({INDEXER}).mean()", WIDTHS, weight=1),
    Operation("window on the left", "s", "s", 'x.rolling(a, closed="left").mean()', WIDTHS, weight=1),
    Operation("window in time", "s", "s", 'x.rolling("25min").mean()', rows=5, weight=1),
    Operation("ewm", "s", "s", "x.ewm(span=a, adjust=False).mean()", WIDTHS, rows=6),
    Operation("expanding", "s", "s", "x.expanding().mean()"),
    Operation("expanding max", "s", "s", "x.expanding(a).max()", WIDTHS, weight=1),
    Operation("last of window", "s", "s", "x.rolling(a).apply(lambda w: w[-1] - w.mean(), raw=True)", WIDTHS, weight=1),
    Operation("window by label", "s", "s", "x.rolling(a).apply(lambda w: w.iloc[-1] / w.max())", WIDTHS, weight=1),
    # row by row
    Operation("absolute", "s", "s", "x.abs()", weight=1),
    Operation("logarithm", "s", "s", "np.log(x.abs() + 1)", weight=1),
    Operation("rounded", "s", "s", "x.round(6).astype(float)", weight=1),
    Operation("clipped", "s", "s", "x.clip(lower=-1000, upper=1000)", weight=1),
    Operation("filled", "s", "s", "x.fillna(0)", weight=1),
    Operation("sum of two", "ss", "s", "x + y", weight=3),
    Operation("difference", "ss", "s", "x - y", weight=4),
    Operation("product", "ss", "s", "x * y"),
    Operation("ratio", "ss", "s", "x / (y + 1000)"),
    Operation("larger", "ss", "s", "np.maximum(x.diff(), y.diff())", rows=1, weight=1),
    Operation("where", "ss", "s", "x.where(x.diff() > y.diff(), y)", rows=1, weight=1),
    Operation("across columns", "ss", "s", "pd.concat([x, y], axis=1).mean(axis=1)", weight=1),
    Operation("correlation", "ss", "s", "x.rolling(a).cov(y)", (4, 5, 6), weight=1),
    # frames
    Operation("frame moved", "s", "s", 'x.to_frame("v").shift(a)["v"]', SHIFTS, weight=1),
    Operation("frame of two", "ss", "s", 'pd.DataFrame({"v": x, "w": y}).shift(a)["w"]', SHIFTS, weight=1),
    Operation("window of a frame", "ss", "s", 'pd.DataFrame({"v": x, "w": y}).rolling(a).mean()["v"]', WIDTHS, weight=1),
    Operation("row by row", "ss", "s", 'pd.DataFrame({"v": x, "w": y}).apply(lambda row: row["v"] - row["w"], axis=1)', weight=1),
    Operation("mean of a row", "ss", "s", 'pd.DataFrame({"v": x, "w": y}).mean(axis=1)', weight=1),
    Operation("frame standardised", "ss", "s", 'pd.DataFrame({"v": x, "w": y}).apply(lambda c: (c - c.mean()) / c.std())["v"]', weight=1),
    Operation("frame reversed", "s", "s", 'x.to_frame("v").iloc[::-1].shift(a)["v"].iloc[::-1]', SHIFTS, weight=1),
    Operation("selection moved", "ss", "s", 'pd.DataFrame({"v": x, "w": y, "u": x})[["w", "u"]].shift(a)["u"]', SHIFTS, weight=1),
    Operation("dropped column", "ss", "s", 'pd.DataFrame({"v": x.shift(-1), "w": y}).drop(columns=["v"])["w"]', weight=1),
    Operation("assigned", "s", "s", 'x.to_frame("v").assign(w=lambda f: f["v"].shift(a))["w"]', SHIFTS, weight=1),
    Operation("joined frames", "ss", "s", 'x.to_frame("v").join(y.shift(a).to_frame("w"))["w"]', SHIFTS, weight=1),
    Operation("merged by index", "ss", "s", MERGED + '["w"]', SHIFTS, weight=1),
    Operation("merged, the other", "ss", "s", MERGED + '["v"]', SHIFTS, weight=1),
    Operation("selected rows", "bs", "s", "y[x].rolling(a).mean().reindex(y.index).ffill()", (2, 3), rows=6, weight=1),
    # conditions
    Operation("rises more", "ss", "b", "x.diff() > y.diff()", rows=1, weight=3),
    Operation("rising", "s", "b", "x > x.shift(a)", FEW),
    Operation("falling next", "s", "b", "x.shift(-1) < x", weight=1),
    Operation("above its mean", "s", "b", "x > x.rolling(a).mean()", WIDTHS),
    Operation("turns", "ss", "b", "(x.diff() > y.diff()) & (x.shift(1) <= x)", rows=1, weight=1),
    Operation("both", "bb", "b", "x & y", weight=1),
    Operation("not", "b", "b", "~x", weight=1),
    Operation("lagged condition", "b", "s", "x.astype(float).shift(a)", SHIFTS),
    Operation("as number", "b", "s", "x.astype(float)", weight=4),
    Operation("counted", "b", "s", "x.astype(int).rolling(a).sum()", WIDTHS),
    Operation("masked", "bs", "s", "y.where(x)"),
    Operation("chosen", "bss", "a", "np.where(x, y, z)"),
    Operation("run so far", "b", "s", "x.groupby((x != x.shift()).cumsum()).cumcount().astype(float)", weight=1),
    Operation("length of run", "b", "s", 'x.astype(int).groupby((x != x.shift()).cumsum()).transform("size").astype(float)', weight=1),
    # holes
    Operation("backward fill", "bs", "s", "y.where(x).bfill()", weight=1),
    Operation("forward fill", "bs", "s", "y.where(x).ffill()"),
    Operation("interpolated", "bs", "s", "y.where(x).interpolate()", weight=1),
    Operation("filled both ways", "s", "s", "x.rolling(a).mean().bfill()", WIDTHS, weight=1),
    Operation("found again", "bs", "s", 'y[x].reindex(y.index, method="ffill")', weight=1),
    # statistics of all rows
    Operation("mean of all", "s", "n", "x.mean()", weight=1),
    Operation("largest of all", "s", "n", "np.max(x)", weight=1),
    Operation("last", "s", "n", "x.iloc[-1]", weight=1),
    Operation("first", "s", "n", "x.dropna().iloc[0]", weight=1),
    Operation("head", "s", "n", "x.dropna().iloc[:4].mean()", rows=4, weight=1),
    Operation("tail", "s", "n", "x.tail(a).mean()", WIDTHS, weight=1),
    Operation("quantile", "s", "n", "x.quantile(0.7)", weight=1),
    Operation("with a number", "sn", "s", "x + y * np.sin(x)", weight=4),
    Operation("against a number", "sn", "b", "np.sin(x) > np.sin(y)", weight=2),
    Operation("standardised", "s", "s", "(x - x.mean()) / x.std()", weight=1),
    Operation("rank of all", "s", "s", "x.rank(pct=True)", weight=1),
    Operation("past z-score", "s", "s", "(x - x.expanding().mean()) / x.expanding().std()", weight=1),
    # groups
    Operation("high of the day", "s", "s", f'x.groupby({DAY}).transform("max")', weight=1),
    Operation("high of the day so far", "s", "s", f"x.groupby({DAY}).cummax()", weight=1),
    Operation("sum of the day so far", "s", "s", f"x.groupby({DAY}).cumsum()", weight=1),
    Operation("first of the day", "s", "s", f'x.fillna(0).groupby({DAY}).transform("first")', weight=1),
    Operation("day before", "s", "s", f"pd.Series({DAY}, x.index).map(x.groupby({DAY}).max().shift(1))", weight=1),
    Operation("mean of category", "sc", "s", 'x.groupby(y).transform("mean")', weight=1),
    Operation("lag in category", "sc", "s", "x.groupby(y).shift(1)", rows=8, weight=1),
    Operation("past of category", "sc", "s", "x.groupby(y).transform(lambda g: g.expanding().mean())", weight=1),
    # other timeframes
    Operation("hour, left", "s", "s", 'x.resample("1h").last().reindex(x.index, method="ffill")', weight=1),
    Operation("hour, right", "s", "s", f'{RIGHT}.reindex(x.index, method="ffill")', rows=12),
    Operation("hour before", "s", "s", 'x.resample("1h").max().shift(1).reindex(x.index, method="ffill")', rows=12),
    Operation("hour by agg", "s", "s", 'x.resample("1h").agg("last").shift(1).reindex(x.index, method="ffill")', rows=12, weight=1),
    Operation("hour by dict", "s", "s", BY_DICT.replace("LAG", ""), weight=1),
    Operation("hour by dict, lagged", "s", "s", BY_DICT.replace("LAG", ".shift(1)"), rows=12, weight=1),
    Operation("hour mapped", "s", "s", MAPPED.replace("LAG", ""), weight=1),
    Operation("hour before, mapped", "s", "s", MAPPED.replace("LAG", ".shift(1)"), rows=12, weight=1),
    Operation("hour so far", "s", "s", 'x.groupby(x.index.floor("1h")).cummax()', weight=1),
    Operation("open of the hour", "s", "s", 'x.fillna(0).resample("1h").first().reindex(x.index, method="ffill")', weight=1),
    Operation("half hour mean", "s", "s", 'x.resample("30min").mean().reindex(x.index).ffill()', weight=1),
    Operation("as-of right", "s", "a", AS_OF.replace("OTHER", f'{RIGHT}.rename("h").reset_index()'), rows=12, weight=1),
    Operation("as-of left", "s", "a", AS_OF.replace("OTHER", LEFT), weight=1),
    Operation("as-of forward", "s", "a", AS_OF.replace("OTHER", EVERY_THIRD).replace("on=", 'direction="forward", on='), weight=1),
    # rows by position
    Operation("rows", "s", "a", "x.values", weight=2),
    Operation("array", "s", "a", "x.to_numpy()", weight=5),
    Operation("rolled", "a", "a", "np.roll(x, a)", SHIFTS, weight=2),
    Operation("steps", "a", "a", "np.diff(x, prepend=x[0])"),
    Operation("gradient", "a", "a", "np.gradient(x)", weight=1),
    Operation("smoothed", "a", "a", 'np.convolve(x, np.ones(3) / 3, "same")', weight=1),
    Operation("smoothed past", "a", "a", "np.convolve(x, np.ones(a) / a)[: len(x)]", WIDTHS, weight=1),
    Operation("cut in front", "a", "a", "np.append(x[a:], np.full(a, np.nan))", FEW),
    Operation("cut behind", "a", "a", "np.concatenate([np.full(a, np.nan), x[:-a]])", FEW),
    Operation("padded", "a", "a", "np.r_[np.nan, x[1:] - x[:-1]]", weight=1),
    Operation("running sum", "a", "a", "np.cumsum(np.nan_to_num(x))", weight=1),
    Operation("sum from the end", "a", "a", "np.cumsum(np.nan_to_num(x)[::-1])[::-1]", weight=1),
    Operation("highest so far", "a", "a", "np.maximum.accumulate(np.nan_to_num(x))", weight=1),
    Operation("flipped twice", "a", "a", "np.flip(np.roll(np.flip(x), a))", SHIFTS, weight=1),
    Operation("inserted", "a", "a", "np.insert(np.diff(x), 0, 0.0)", weight=1),
    Operation("appended", "a", "a", "np.append(np.diff(x), 0.0)", weight=1),
    Operation("sorted rank", "a", "a", "np.argsort(np.argsort(x)).astype(float)", weight=1),
    Operation("interp", "a", "a", "np.interp(np.arange(len(x)), np.arange(0, len(x), 3), x[::3])", weight=1),
    Operation("where of array", "aa", "a", "np.where(x > y, x, np.roll(y, 1))", weight=1),
    Operation("of two arrays", "aa", "a", "x - y", weight=2),
    Operation("normalised array", "a", "a", "(x - np.nanmin(x)) / (np.nanmax(x) - np.nanmin(x) + 1)", weight=1),
    # loops over rows
    Operation("read ahead", "a", "a", READ_AHEAD, FEW, weight=1),
    Operation("read behind", "a", "a", READ_BEHIND, FEW, weight=1),
    Operation("written back", "a", "a", PIVOTS.replace("AT", "i - a"), (1, 2), weight=1),
    Operation("confirmed", "a", "a", PIVOTS.replace("AT", "i"), (1, 2), weight=1),
    Operation("forward slice", "a", "a", SLICES.replace("ROWS", "i : i + a"), (2, 3, 4), weight=1),
    Operation("trailing slice", "a", "a", SLICES.replace("ROWS", "max(0, i - a) : i + 1"), (2, 3, 4), weight=1),
    Operation("smoothing loop", "a", "a", SMOOTHING, rows=10, weight=1),
    Operation("enumerated", "a", "a", ENUMERATED, FEW, weight=1),
    Operation("neighbours", "a", "a", NEIGHBOURS.replace("PAIRS", "zip(x, x[1:])"), weight=1),
    Operation("neighbours before", "a", "a", PRECEDING, weight=1),
    Operation("while ahead", "a", "a", WHILE.replace("ROW", "min(i + a, len(x) - 1)"), FEW, weight=1),
    Operation("while behind", "a", "a", WHILE.replace("ROW", "max(i - a, 0)"), FEW, weight=1),
    Operation("comprehension ahead", "a", "a", "np.array([x[min(i + a, len(x) - 1)] for i in range(len(x))])", FEW, weight=1),
    Operation("comprehension behind", "a", "a", "np.array([x[max(i - a, 0)] for i in range(len(x))])", FEW, weight=1),
    Operation("rows of a frame", "ss", "a", ITERTUPLES, weight=1),
    Operation("label by label", "s", "s", BY_LABEL, FEW, weight=1),
    Operation("location ahead", "s", "a", "np.array([x.iloc[i : i + a].max() for i in range(len(x))])", (2, 3), weight=1),
    Operation("location behind", "s", "a", "np.array([x.iloc[max(0, i - a) : i + 1].max() for i in range(len(x))])", (2, 3), weight=1),
    # several lines
    Operation("in steps", "s", "s", IN_STEPS, WIDTHS, weight=1),
    Operation("early return", "s", "s", EARLY_RETURN, SHIFTS, weight=1),
)  # fmt: skip
BY_NAME = {operation.name: operation for operation in OPERATIONS}
