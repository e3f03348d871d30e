"""The IR runs as CPython runs: results, exceptions and the order of side effects are compared."""

from __future__ import annotations

import warnings
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ir_interpreter import Interpreter
from ir_programs import PRELUDE, PROGRAMS, random_program


def by_python(text: str) -> str:
    namespace: dict[str, Any] = {"__name__": "program"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # programs divide literals, compare them with `is`, spell odd escapes
        code = compile(text, "program.py", "exec")
    exec(code, namespace)
    return repr(namespace["out"])


def by_ir(text: str) -> str:
    return repr(Interpreter(text).run()["out"])


@pytest.mark.parametrize("name", PROGRAMS)
def test_written_programs(name: str) -> None:
    text = PRELUDE + PROGRAMS[name]
    expected = by_python(text)
    assert expected != "[]"
    assert by_ir(text) == expected


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(min_value=0, max_value=2**32))
def test_random_programs(seed: int) -> None:
    text = PRELUDE + random_program(Random(seed))
    assert by_ir(text) == by_python(text), text


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(min_value=0, max_value=2**32))
def test_random_programs_without_copies(seed: int) -> None:
    """Every `finally` is shared by its ways in, as it is in functions where copies would be too many."""
    text = PRELUDE + random_program(Random(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("auditor.facts.statements.CLONES", 0)
        assert by_ir(text) == by_python(text), text


def test_a_wrong_lowering_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: without holding what was read before a call, the order of reads is wrong."""
    monkeypatch.setattr("auditor.facts.expressions.Expressions.hold", lambda self, operand: operand)
    text = PRELUDE + PROGRAMS["what was read before a call"]
    assert by_ir(text) != by_python(text)
