"""The executed specification of the leakage chapter: programs that are run by a causality probe and judged by the rules.

`probe` measures what a feature knows of later rows, `patterns` is the table of known idioms with both verdicts,
`programs` makes random strategies, `judge` asks the rules, `shrink` makes a disagreement small.
"""
