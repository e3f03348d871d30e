"""Ids stay when code moves or is formatted, and differ where findings differ; no secret enters them."""


from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.finding import Finding, Step
from auditor.triage.identity import MAX_ANCHOR, anchor, identify, identities, key


def finding(
    line: int = 1, column: int = 1, rule: str = "float-money", *, sink: str = "", path: str = "a.py"
) -> Finding:
    proof = (Step(path, line, 1, "note", sink),) if sink else ()
    return Finding(rule, path, line, column, line, column + 1, "message", symbol="f", proof=proof)


class TestAnchor:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("x = foo(a,b)", "x  =  foo( a , b )  # why\n"),
            ("x = foo(a, b)", "x = foo(\n    a,  # first\n    b,\n)\n"),
            ("x = a + b", "x = (\n    a\n    + b\n)"),
            ("x = a + b", "x = a \\\n    + b"),
            ("x = a + b", "x = a \\\r\n    + b\r\n"),
            ("return a, b", "return (a, b)"),
            ("for a, b in c: pass", "for (a, b) in (c):\n    pass"),
            ("x = 'a'", 'x = "a"'),
            ("x = 'it\\'s'", 'x = "it\'s"'),
            ("x = 'say \"a\"'", 'x = "say \\"a\\""'),
            ("x = U'a' + Rb'c' + BR'c'", 'x = "a" + bR"c" + rb"c"'),
            ("x = '''doc'''", 'x = """doc"""'),
            ("x = 0XFF + 1E5", "x = 0xff + 1e5"),
            ("from a import b, c", "from a import (\n    b,\n    c,\n)"),
            ("def f(a, b): return a", "@cached\n@other(1)\ndef f(\n    a,\n    b,\n):\n    return b"),
            ("if a[1:2] == {1: 2}: pass", "if a[1:2] == {1: 2}:\n    other()"),
            ("with open(a) as f, open(b) as g: pass", "with (open(a) as f, open(b) as g,):\n    x()"),
            ("while (lambda: 1)(): pass", "while (lambda: 1)():\n    pass"),
        ],
    )
    def test_layout_does_not_count(self, one: str, other: str) -> None:
        assert anchor(one) == anchor(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("x = (a + b) * c", "x = a + b * c"),
            ("x = f(a)", "x = f[a]"),
            ("x = 'a  b'", "x = 'a b'"),
            ("x = '# a'", "x = '# b'"),
            ("x = b'a'", "x = 'a'"),
            ("x = f'{a}'", "x = '{a}'"),
            ("match = 1", "match = 2"),
            ("case: int = 1", "case: int = 2"),
            ("if a: pass", "while a: pass"),
            ("x = await f(a)", "x = f(a)"),
            ("x < -1", "x << 1"),
        ],
    )
    def test_code_counts(self, one: str, other: str) -> None:
        assert anchor(one) != anchor(other)

    def test_compound_statement_is_its_header(self) -> None:
        assert anchor("async def f(a: int = {1: 2}[1]) -> int:\n    return 1") == (
            "async def f ( a : int = { 1 : 2 } [ 1 ] ) -> int :"
        )
        assert anchor("match x:\n    case 1: pass") == "match x :"

    def test_lines_of_a_file(self) -> None:
        assert anchor("a = 1\r\nb = '\u2028'\rc = 3\n", 2, 2) == 'b = "\u2028"'

    @pytest.mark.parametrize(
        "text",
        [
            "password = 'hunter2'",
            "password: str = 'hunter2'",
            "self.api_key = ('hunter2')",
            "connect(user='me', secret='hunter2')",
            "x = {'token': 'hunter2'}",
            "x = os.getenv('API_KEY', 'hunter2')",
            "if passphrase == 'hunter2': pass",
            "connect('postgresql://bot:hunter2@db/x')",
            "use('''-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----''')",
        ],
    )
    def test_secrets_do_not_enter(self, text: str) -> None:
        assert "hunter2" not in anchor(text)
        assert anchor(text) == anchor(text.replace("hunter2", "0ther_one"))

    def test_rules_about_secrets_hide_every_string(self) -> None:
        def of(text: str, rule: str) -> str:
            return identities([finding(rule=rule)], lambda _path, _line: text)[0].anchor

        for rule in ("hardcoded-secret", "secret-in-log", "ruff/S105", "bandit/B106"):
            assert of("login('hunter2')", rule) == of("login('other')", rule) == 'login ( "<hidden>" )'
        assert of("login('hunter2')", "float-money") == 'login ( "hunter2" )'

    def test_long_statements_are_cut_and_still_differ(self) -> None:
        long = "x = [" + ", ".join(f"'{n}'" for n in range(5_000)) + "]"
        assert len(anchor(long)) <= MAX_ANCHOR + 20
        assert anchor(long) != anchor(long.replace("'4999'", "'1'"))

    @given(st.text(alphabet="ab\"'\\\n\r ({[]}):#,=fr1.@", max_size=60))
    def test_any_text_has_an_anchor_and_it_is_stable(self, text: str) -> None:
        assert anchor(text) == anchor(f"  {text}")

    @pytest.mark.parametrize("unit", ['"""\\"', "'", '"""a', "(", "x ", '\\"', "://a:", "@\n", "lambda:", "f'{", "("])
    def test_linear(self, unit: str) -> None:
        begin = time.process_time()
        anchor(unit * 20_000)
        assert time.process_time() - begin < 2


class TestIdentify:
    def test_form(self) -> None:
        (made,) = identify([finding()], lambda _path, _line: "x = 1")
        assert re.fullmatch(r"AUD-[0-9a-f]{12}", made.id)
        assert made.with_(id="") == finding()

    def test_no_line_is_in_it(self) -> None:
        ids = [identify([finding(line)], lambda _path, _line: "x = 1")[0].id for line in (1, 70)]
        assert ids[0] == ids[1]

    @pytest.mark.parametrize(
        "other",
        [
            finding(rule="float-quantity"),
            finding(path="b.py"),
            finding().with_(symbol="g"),
            finding(sink="time.sleep"),
        ],
    )
    def test_rule_path_symbol_and_sink_are_in_it(self, other: Finding) -> None:
        one, two = identify([finding(), other], lambda _path, _line: "x = 1")
        assert one.id != two.id

    def test_message_and_grade_are_not(self) -> None:
        one = identify([finding()], lambda _path, _line: "x = 1")
        two = identify([finding().with_(message="other")], lambda _path, _line: "x = 1")
        assert one[0].id == two[0].id

    def test_sink_is_the_last_step(self) -> None:
        steps = (Step("a.py", 1, 1, "n", "tick"), Step("b.py", 9, 1, "n", "time.sleep"))
        (made,) = identities([finding().with_(proof=steps)], lambda _path, _line: "x")
        assert (made.sink, made.key) == ("time.sleep", key("float-money", "a.py", "f", "x", "time.sleep"))

    def test_equal_keys_are_told_apart_by_place_and_not_by_order(self) -> None:
        listed = [finding(9), finding(3, 5), finding(3, 2)]
        forward = identities(listed, lambda _path, _line: "x = 1")
        backward = identities(listed[::-1], lambda _path, _line: "x = 1")
        assert [made.occurrence for made in forward] == [2, 1, 0]
        assert len({made.finding.id for made in forward}) == 3
        assert list(forward) == list(backward)[::-1]

    def test_a_roll_up_is_its_object(self) -> None:
        def made(sink: str, text: str) -> str:
            found = finding(sink=sink)
            return identify([found], lambda _path, _line: text, roll_up=lambda f: f.rule == "float-money")[0].id

        assert made("a", "x = 1") == made("b", "y = 2")
        assert made("a", "x = 1") != identify([finding(sink="a")], lambda _path, _line: "x = 1")[0].id
