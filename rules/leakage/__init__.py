"""A backtest is worth what it could have known. These rules follow each column from the operation that makes it to the
signal or the model that uses it, through helpers, attributes and hooks, and count how many bars of the future it holds.

Each finding says what was measured, never more: bars ahead, the whole series, until the day ends, or only the
warm-up."""
