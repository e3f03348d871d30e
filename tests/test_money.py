"""The numeric lattice against CPython: its table executed, random expressions, and the two rules that decide with it."""

from __future__ import annotations

import ast
import decimal
import math
import statistics
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest
from auditor.rules.money._arithmetic import arithmetic, compared
from auditor.rules.money._numbers import numbers_of
from auditor.rules.money._values import (
    BOTTOM,
    DECIMAL,
    FLOAT,
    INT,
    NONE,
    STR,
    TOP,
    Exact,
    External,
    Number,
    Series,
    join,
    representable,
    union,
)  # fmt: skip
from auditor.rules.money.decimal_from_float import DecimalFromFloat
from auditor.rules.money.float_decimal_mixing import FloatDecimalMixing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.facts.codec import Program, encode
from auditor.facts.lower import lower
from auditor.finding import Confidence, Finding, Severity
from auditor.fix.edits import applied
from auditor.project.models import Models
from auditor.project.project import Project
from auditor.project.stubs import Typeshed
from auditor.rule import Rule
from auditor.source.module import SourceModule

BY_ID: Mapping[str, type[Rule]] = {rule.id: rule for rule in (FloatDecimalMixing, DecimalFromFloat)}
IDS = tuple(BY_ID)
STUBS = Typeshed.bundled()  # read once for all programs of this file
MODELS = Models().load([Path(__file__).parents[1] / "rules" / "_models" / "numbers.toml"])
NAMES = {"Decimal": Decimal, "math": math, "statistics": statistics, "decimal": decimal}
HEAD = "import math\nimport statistics\nimport decimal\nfrom decimal import Decimal\n\n"


def linked(files: Mapping[str, str]) -> Project:
    programs = {path: Program(encode(*lower(SourceModule.parse(path, text)))) for path, text in files.items()}
    return Project(programs, STUBS, MODELS)


def bot(text: str, **others: str) -> Project:
    return linked({"bot.py": text, **{f"{name}.py": body for name, body in others.items()}})


def found_in(project: Project, rule: str) -> list[Finding]:
    return sorted(BY_ID[rule]().check_project(project), key=lambda f: (f.path, f.line))


def findings(text: str, rule: str = IDS[0], **others: str) -> list[Finding]:
    return found_in(bot(text, **others), rule)


def inferred(project: Project, name: str) -> frozenset[object]:
    """What the lattice says a function of `bot.py` returns."""
    function = next(f for f in project.functions() if f.name == name)
    return numbers_of(project).run(function).returned


def kind(value: object) -> str:
    """The atom of a value that execution gave."""
    if isinstance(value, Decimal):
        return "Decimal"
    return type(value).__name__


def kinds(value: frozenset[object]) -> set[str]:
    """The types that the lattice allows."""
    return {"Decimal" if isinstance(a, Exact) else a.kind if isinstance(a, Number) else "?" for a in value}


# --- section by section: what the language does, and what the lattice says of it ---------------------------------------

TABLE = [
    *(f"Decimal('1.5') {op} 0.5" for op in ("+", "-", "*", "/", "//", "%", "**")),
    *(f"0.5 {op} Decimal('1.5')" for op in ("+", "-", "*", "/", "//", "%", "**")),
    *(f"Decimal('1.5') {op} 2" for op in ("+", "-", "*", "/", "//", "%", "**")),
    *(f"True {op} Decimal('1.5')" for op in ("+", "-", "*", "/")),
    *(f"7 {op} 2" for op in ("+", "-", "*", "/", "//", "%", "**")),
    *(f"7 {op} 2.5" for op in ("+", "-", "*", "/", "//", "%", "**")),
    "10 ** -8", "2 ** -1", "divmod(Decimal(3), 0.5)", "divmod(0.5, Decimal(3))", "pow(Decimal(3), 0.5)", "pow(Decimal(3), 2)",
    "sum([Decimal(1)], 0.0)", "sum([Decimal(1), Decimal(2)])", "sum([Decimal(1)], Decimal(0))", "sum([0.5, 1.5])",
    "statistics.mean([Decimal(1), 0.5])", "round(Decimal('2.675'), 2)", "round(Decimal('2.675'))", "round(2.675, 2)", "round(2.675)",
    "math.sqrt(Decimal(2))", "math.floor(Decimal('2.5'))", "math.ceil(2.5)", "math.fsum([Decimal(1), Decimal(2)])",
    "max(Decimal('0.1'), 0.1)", "min(Decimal(1), 2)", "abs(Decimal('-1'))", "abs(-0.5)", "-Decimal(1)", "+0.5", "float(Decimal(1))",
    "int(Decimal(1))", "str(Decimal(1))", "len('abc')", "Decimal(0.1)", "Decimal(3)", "Decimal('0.1').quantize(Decimal('0.1'))",
    "Decimal(2).sqrt()", "Decimal(2).ln()", "Decimal(2).copy_abs()", "Decimal(2).is_nan()", "Decimal(2).adjusted()",
    "Decimal.from_float(0.1)", "decimal.getcontext().create_decimal(0.1)", "'%.2f' % Decimal('2.675')", "f'{Decimal(1):.2f}'",
    "Decimal('0.1') == 0.1", "Decimal('0.1') < 0.1", "Decimal('0.1') in [0.1]", "Decimal('0.5') == 0.5", "Decimal(1) != None",
    "Decimal(1) < None", "None > Decimal(1)", "Decimal(1) < 'a'", "Decimal(1) >= {}", "Decimal(1) <= 2", "0.5 < 1", "'a' < 1",
    "{'fee': 0.5, 'price': Decimal(1)}['price']", "{'fee': 0.5}.get('fee', Decimal(1))", "{'fee': 0.5}.get('tax', Decimal(1))",
    "[Decimal(1), Decimal(2)][0]", "(0.5, Decimal(1))[1]", "Decimal(0) or 0.5", "0.0 or Decimal(1)", "None or 0.5",
    "'a' * 2", "'a' + 'b'", "Decimal(1) + 'a'", "Decimal(1) + None", "Decimal(1) * []", "0.5 if Decimal(1) else Decimal(2)",
]  # fmt: skip


def outcome(expression: str) -> tuple[str, Any]:
    """What CPython makes of an expression: a value or `TypeError`."""
    try:
        return "value", eval(expression, dict(NAMES))
    except TypeError:
        return "TypeError", None


@pytest.fixture(scope="module")
def table() -> Project:
    body = "\n".join(f"def row_{number}():\n    return {row}\n" for number, row in enumerate(TABLE))
    return bot(HEAD + body)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("number", range(len(TABLE)), ids=TABLE)
def test_the_lattice_agrees_with_the_interpreter(table: Project, number: int) -> None:
    how, value = outcome(TABLE[number])
    said = inferred(table, f"row_{number}")
    if how == "TypeError":
        assert said in (BOTTOM, TOP), "the lattice gives a value to what raises"
        decided = "Decimal" in TABLE[number] and "statistics" not in TABLE[number]
        assert said == BOTTOM or not decided
    else:
        assert said != BOTTOM, "the lattice says that it raises"
        assert said == TOP or kind(value) in kinds(said)
        assert len(kinds(said)) == 1 or any(word in TABLE[number] for word in ("max", "min", "sum", "or", " if "))


def test_numpy_and_pandas_rows_hold() -> None:
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")
    atoms = {"np.float": (np.float64(0.5), Number("np.float")), "np.int": (np.int64(2), Number("np.int"))}
    series = {"float": (pd.Series([0.5]), Series("float")), "Decimal": (pd.Series([Decimal(1)]), Series("Decimal"))}
    one, exact = Decimal("1.5"), frozenset((Exact(),))
    for value, atom in (*atoms.values(), *series.values()):
        for left, right, a, b in ((one, value, exact, frozenset((atom,))), (value, one, frozenset((atom,)), exact)):
            try:
                left * right
            except TypeError:
                raised = True
            else:
                raised = False
            assert (arithmetic("*", a, b) == BOTTOM) is raised, (left, right)
    with pytest.raises(TypeError):
        _ = series["Decimal"][0] * 1.5
    assert arithmetic("*", frozenset((Series("Decimal"),)), FLOAT) == BOTTOM
    with pytest.raises(TypeError):
        _ = one < np.int64(2)
    assert compared("<", Exact(), Number("np.int")) == BOTTOM
    assert bool(np.int64(2) > one) is True
    assert compared(">", Number("np.int"), Exact()) != BOTTOM
    assert Decimal(np.float64(0.1)) == Decimal.from_float(0.1)
    with pytest.raises(InvalidOperation):
        Decimal(repr(np.float64(0.1)))


def test_the_run_time_switch_that_the_chapter_recommends_exists() -> None:
    with decimal.localcontext() as context:
        context.traps[decimal.FloatOperation] = True
        with pytest.raises(decimal.FloatOperation):
            Decimal(0.1)  # noqa: RUF032 - the fault that the switch finds
        assert Decimal.from_float(0.5) == Decimal("0.5")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_representable_is_what_the_float_says(value: float) -> None:
    text = repr(value)
    assert representable(text) is (Decimal(value) == Decimal(text))


ATOMS = st.sampled_from(
    [Exact(), Exact("text"), Number("float"), Number("int", "2"), Number("str"), External(), Series("float"), *NONE, *TOP]
)
VALUES = st.frozensets(ATOMS, max_size=3).map(lambda atoms: union(frozenset((a,)) for a in atoms))


@given(VALUES, VALUES, VALUES)
def test_join_is_a_least_upper_bound(a: frozenset[object], b: frozenset[object], c: frozenset[object]) -> None:
    assert join(a, a) == a
    assert join(a, b) == join(b, a)
    assert join(a, join(b, c)) == join(join(a, b), c)
    assert join(a, BOTTOM) == a


# --- random programs: certain implies that execution raises -------------------------------------------------------------

LEAVES = {"Decimal": ("price", "Decimal('0.3')", "Decimal(2)"), "float": ("rate", "0.1", "2.5"), "int": ("lots", "3", "True")}
ARGUMENTS = {"price": Decimal("101.5"), "rate": 0.25, "lots": 4}


def expressions(depth: int = 3) -> st.SearchStrategy[str]:
    leaf = st.sampled_from([text for texts in LEAVES.values() for text in texts])

    def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        binary = st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
        call = st.tuples(st.sampled_from(["abs", "float", "Decimal", "str", "-"]), inner).map(
            lambda t: f"(-{t[1]})" if t[0] == "-" else f"Decimal(str({t[1]}))" if t[0] == "str" else f"{t[0]}({t[1]})"
        )
        both = st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})")
        listed = st.lists(inner, min_size=1, max_size=3).map(lambda xs: f"sum([{', '.join(xs)}])")
        choice = st.tuples(inner, inner).map(lambda t: f"({t[0]} if lots else {t[1]})")
        return st.one_of(binary, binary, call, both, listed, choice)

    return st.recursive(leaf, grown, max_leaves=depth + 2)


class Both(ast.NodeTransformer):
    """Makes a conditional expression evaluate both of its sides, so that each operation of a program runs."""

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        return ast.Call(ast.Name("both", ast.Load()), [node.body, node.orelse], [])


def ending(source: str) -> str:
    """How the function of a program ends when all that stands in it is evaluated: `returns`, or the error it raises."""
    space: dict[str, Any] = {"both": lambda first, second: first}
    tree = ast.fix_missing_locations(Both().visit(ast.parse(source)))
    exec(compile(tree, "program", "exec"), space)
    try:
        space["value"](**ARGUMENTS)
    except (TypeError, ArithmeticError, ValueError) as error:
        return type(error).__name__
    return "returns"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(expressions(), min_size=6, max_size=6))
def test_certain_means_that_execution_raises(lines: list[str]) -> None:
    functions = [f"def value(price: Decimal, rate=0.25, lots=4):\n    return {line}\n" for line in lines]
    files = {f"m{number}": "from decimal import Decimal\n\n\n" + text for number, text in enumerate(functions)}
    call = "".join(f"from m{number} import value as v{number}\n" for number in range(len(files)))
    used = "\n".join(f"v{number}(Decimal('101.5'), 0.25, 4)" for number in range(len(files)))
    found = findings(f"from decimal import Decimal\n{call}\n{used}\n", **files)
    certain = {f.path for f in found if f.confidence is Confidence.CERTAIN}
    possible = {f.path for f in found}
    for name, source in files.items():
        end = ending(source)
        assert not (end == "returns" and f"{name}.py" in certain), f"certain, but it runs: {source}"
        if end == "TypeError" and "max(" not in source and " if " not in source and "sum(" not in source:
            assert f"{name}.py" in possible, f"a known miss that is not listed: {source}"


# --- the rules ----------------------------------------------------------------------------------------------------------


def test_a_bot_that_uses_float_everywhere_gets_nothing() -> None:
    text = "FEE = 0.001\n\n\ndef fee(price: float, amount: float) -> float:\n    return price * amount * FEE\n"
    assert [f for name in IDS for f in findings(text, name)] == []


def test_a_swallowed_crash_is_one_step_graver_and_says_what_is_lost() -> None:
    text = """from decimal import Decimal

def fee(price: Decimal) -> Decimal:
    try:
        return price * 0.001
    except Exception:
        return Decimal(0)

def loud(price: Decimal) -> Decimal:
    try:
        return price * 0.001
    except TypeError:
        raise

def other(price: Decimal) -> Decimal:
    try:
        return price * 0.001
    except ValueError:
        return Decimal(0)
"""
    swallowed, raised, passed = findings(text)
    assert swallowed.severity is Severity.CRITICAL
    assert "fee() gives Decimal(0) instead" in swallowed.message
    assert swallowed.proof[-1].line == 6
    assert raised.severity is passed.severity is Severity.HIGH


def test_the_swallowed_fee_is_always_zero_when_it_runs() -> None:
    def fee(price: Decimal) -> Decimal:
        try:
            return price * 0.001  # type: ignore[operator]  # the fault
        except TypeError:
            return Decimal(0)

    assert {fee(Decimal(n)) for n in range(100)} == {Decimal(0)}


def test_decimals_of_floats_break_a_limit_when_they_run() -> None:
    noisy = Decimal(0.1)  # noqa: RUF032 - the fault that is shown
    assert noisy * 3 > Decimal("0.3")
    assert sum([noisy] * 10) != 1
    assert sum([Decimal("0.1")] * 10) == 1


def test_the_proof_crosses_files() -> None:
    settings_file = "def rate(cfg):\n    return float(cfg['fee'])\n"
    head = "from decimal import Decimal\nfrom settings import rate\n\n"
    text = head + "def fee(price: Decimal, cfg):\n    taker = rate(cfg)\n    return price * taker\n"
    (found,) = findings(text, settings=settings_file)
    assert [(s.path, s.name) for s in found.proof][:2] == [("settings.py", "float"), ("settings.py", "rate")]
    assert next(s.name for s in found.proof if s.path == "bot.py") == "taker"
    assert found.confidence is Confidence.CERTAIN


def test_callers_overrule_an_annotation() -> None:
    text = "from decimal import Decimal\n\ndef fee(price: Decimal, rate: float):\n    return price * rate\n\n"
    assert [f.confidence for f in findings(text)] == [Confidence.LIKELY]
    assert findings(text + "fee(Decimal(1), Decimal(2))\n") == []
    assert [f.confidence for f in findings(text + "fee(Decimal(1), 0.5)\n")] == [Confidence.CERTAIN]
    assert findings(text + "fee(Decimal(1), 2)\n") == [], "an int is accepted where float is written, and does not raise"


def test_a_parameter_that_only_some_callers_fill_with_a_float_is_likely() -> None:
    text = """from decimal import Decimal

def cost(price, size):
    return price * size

cost(Decimal(1), Decimal(2))
cost(Decimal(1), 0.5)
"""
    (found,) = findings(text)
    assert found.confidence is Confidence.LIKELY
    assert any(step.line == 7 for step in found.proof)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("price * 0.10", 'price * Decimal("0.10")'),
        ("2.0 * price", "Decimal(2) * price"),
        ("(price + 1) / 1.5", '(price + 1) / Decimal("1.5")'),
        ("price - -0.5", 'price - Decimal("-0.5")'),
        ("price * 0.1 + price * 1e-3", 'price * Decimal("0.1") + price * Decimal("1e-3")'),
    ],
)
def test_the_fix_writes_the_digits_as_they_stand(before: str, after: str) -> None:
    text = "from decimal import Decimal\n\n\ndef f(price: Decimal):\n    return {}\n"
    (found,) = findings(text.format(before))
    assert found.fix is not None
    assert found.fix.applicability == "safe"
    assert applied(text.format(before), found.fix.edits) == text.format(after)


def test_the_import_is_part_of_the_fix() -> None:
    text = "from prices import last\n\n\ndef f():\n    return last() * 0.5\n"
    (found,) = findings(text, prices="from decimal import Decimal\n\n\ndef last():\n    return Decimal(1)\n")
    assert found.fix is not None
    assert [edit.text for edit in found.fix.edits] == ["from decimal import Decimal\n", 'Decimal("0.5")']


@pytest.mark.parametrize("name", IDS)
def test_findings_do_not_depend_on_the_order_of_files(name: str) -> None:
    parts: Mapping[str, str] = {
        "a.py": "from b import rate\nfrom c import Fill\n\ndef fee(fill: Fill):\n    return fill.price * rate()\n",
        "b.py": "from decimal import Decimal\n\ndef rate():\n    return 0.5\n\nX = Decimal(0.1)\n",
        "c.py": "from dataclasses import dataclass\nfrom decimal import Decimal\n\n@dataclass\nclass Fill:\n    price: Decimal\n",
    }

    def told(order: Iterator[str]) -> list[Finding]:
        return sorted(found_in(linked({path: parts[path] for path in order}), name), key=repr)

    forward, backward = told(iter(sorted(parts))), told(iter(sorted(parts, reverse=True)))
    assert forward
    assert forward == backward


def test_kinds_of_this_file_name_the_atoms() -> None:
    assert [kinds(v) for v in (DECIMAL, FLOAT, INT, STR)] == [{"Decimal"}, {"float"}, {"int"}, {"str"}]


# --- where numbers come from, beyond one function -----------------------------------------------------------------------------


def kind_of(body: str, **others: str) -> set[str]:
    """The types that the lattice allows for what `asked` returns."""
    return kinds(inferred(bot(f"from decimal import Decimal\n{body}", **others), "asked"))


GROWING = """
class Account:
    def __init__(self, start: str) -> None:
        self.total = Decimal(start)
        self.count = 0
    def add(self, amount: Decimal) -> None:
        self.total = self.total + amount
        self.count += 1
    @property
    def share(self):
        return self.rest / Decimal(100)
def asked(account: Account):
    return account.{name}
"""


@pytest.mark.parametrize(("name", "expected"), [("total", {"Decimal"}), ("count", {"int"}), ("share", {"Decimal"})])
def test_attributes_that_are_computed_from_themselves_and_properties(name: str, expected: set[str]) -> None:
    assert kind_of(GROWING.format(name=name)) == expected


def test_what_stands_beside_a_decimal_is_open_where_the_project_has_operators() -> None:
    asked = "def asked(x):\n    return x * Decimal(2)\n"
    assert kind_of(asked) == {"Decimal"}
    assert kind_of(f"class Quantity:\n    def __mul__(self, other): return self\n{asked}") == {"?"}


def test_tables_of_a_module_keep_their_keys_apart_until_one_is_changed() -> None:
    rates = "from decimal import Decimal\nRATES = {'maker': 0.1, 'taker': Decimal(1)}\n"
    asked = "from rates import RATES\ndef asked():\n    return RATES['{}']\n"
    assert kind_of(asked.format("maker"), rates=rates) == {"float"}
    assert kind_of(asked.format("taker"), rates=rates) == {"Decimal"}
    assert kind_of(asked.format("maker"), rates=rates + "def change(x):\n    RATES['maker'] = x\n") != {"float"}


def test_a_comparison_with_a_literal_leaves_out_the_literals_that_do_not_fit() -> None:
    body = "def asked(x: Decimal, flag: bool):\n    if flag:\n        x = 0.0\n    if x {} 0:\n        return x\n    raise ValueError\n"
    assert kind_of(body.format("<")) == {"Decimal"}
    assert kind_of(body.format("<=")) == {"Decimal", "float"}


@pytest.mark.parametrize(("declared", "expected"), [
    ("Column(Float)", {"float", "?"}), ("Column(Float, nullable=False)", {"float"}),
    ("Column(Numeric(36, 18), nullable=False)", {"Decimal"}),
    ("Column(Integer, primary_key=True)", {"int"}), ("Column(Custom)", {"?"}),
])  # fmt: skip
def test_columns_of_a_database(declared: str, expected: set[str]) -> None:
    body = "from sqlalchemy import Column, Float, Integer, Numeric\nfrom other import Base, Custom\n"
    assert kind_of(f"{body}class Trade(Base):\n    value = {declared}\ndef asked(trade: Trade):\n    return trade.value\n") == expected


def test_a_mixed_argument_makes_an_annotation_doubtful() -> None:
    text = (
        "from dataclasses import dataclass\nfrom decimal import Decimal\n@dataclass\nclass Fill:\n    price: Decimal\n"
        "def made(flag: bool, price: Decimal):\n    return Fill(0.5 if flag else price)\n"
        "def cost(fill: Fill):\n    return fill.price * 0.1\n"
    )
    assert [(f.line, f.confidence) for f in findings(text) if f.line == 9] == [(9, Confidence.LIKELY)]
