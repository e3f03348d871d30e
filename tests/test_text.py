"""Bytes become text as Python would read them; brackets, comments and notebooks survive hostile text."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.source.brackets import refuse_depth, rise
from auditor.source.comments import comments, mentions
from auditor.source.notebook import convert, python_lines
from auditor.source.text import Unreadable, decode

READABLE = {
    "empty": (b"", "", "utf-8", "", "\n"),
    "only bom": (b"\xef\xbb\xbf", "", "utf-8", "", "\n"),
    "bom": (b"\xef\xbb\xbfx = 1\n", "x = 1\n", "utf-8", "", "\n"),
    "utf-8 cookie": (b"# coding: UTF_8\nx = 1\r\n", "# coding: UTF_8\nx = 1\r\n", "utf-8", "", "mixed"),
    "crlf": (b"x\r\ny\r\n", "x\r\ny\r\n", "utf-8", "", "\r\n"),
    "cr": (b"x\ry\r", "x\ry\r", "utf-8", "", "\r"),
    "latin-1": (b"# coding: latin-1\n'\xe9'\n", "# coding: latin-1\n'\xe9'\n", "iso8859-1", "charset", "\n"),
    "line 2": (b"#!/x\n# vim: set fileencoding=cp1252 :\n'\x80'", None, "cp1252", "charset", "\n"),
    "line 2 after blank": (b"\n# coding: cp1252\n'\x80'", None, "cp1252", "charset", "\n"),
    "shift_jis": (b"# coding: shift_jis\nx = '\x83\x5c'\n", None, "shift-jis", "charset", "\n"),
    "utf-7": (
        b"# coding: utf-7\n# +AAo-import pickle\n",
        "# coding: utf-7\n# \nimport pickle\n",
        "utf-7",
        "escapes",
        "\n",
    ),
    "raw": (b"# coding: raw_unicode_escape\n# \\u000aimport x\n", None, "raw-unicode-escape", "escapes", "\n"),
    "unknown escape": (b"# coding: unicode_escape\n# \\d\n", None, "unicode-escape", "escapes", "\n"),
    "line 3 does not count": (b"#\n#\n# coding: klingon\nx = 1\n", None, "utf-8", "", "\n"),
    "code in line 1": (b"x = 1\n# coding: klingon\n", None, "utf-8", "", "\n"),
}


@pytest.mark.parametrize("case", READABLE)
def test_readable(case: str) -> None:
    data, text, encoding, hidden, newline = READABLE[case]
    got = decode(data)
    assert text is None or got.text == text
    assert (got.encoding, got.hidden, got.newline) == (encoding, hidden, newline)
    assert got.bom == data.startswith(b"\xef\xbb\xbf")


UNREADABLE = {
    "bad utf-8 in a comment": (b"x = 1\n# \xff\xfe\n", "encoding", r"\\xff in line 2"),
    "latin-1 without cookie": (b"name = '\xe9'\n", "encoding", r"\\xe9 in line 1"),
    "cookie on line 3": (b"#\n#\n# coding: latin-1\n'\xe9'\n", "encoding", "line 4"),
    "lone surrogate": (b"x = '\xed\xa0\x80'\n", "encoding", "utf-8"),
    "surrogate by utf-7": (b"# coding: utf-7\n'+2AA-'\n", "encoding", "utf-7"),
    "surrogate by escape": (b"# coding: raw_unicode_escape\n'\\ud800'\n", "encoding", "surrogate"),
    "bom and latin-1": (b"\xef\xbb\xbf# coding: latin-1\n", "encoding", "byte order mark"),
    "rot13": (b"# coding: rot13\nk = 1\n", "encoding", "rot13"),
    "zlib": (b"# coding: zlib\nx = 1\n", "encoding", "zlib"),
    "hex": (b"# coding: hex\n00\n", "encoding", "hex"),
    "idna": (b"# coding: idna\n00\n", "encoding", "idna"),
    "undefined": (b"# coding: undefined\n00\n", "encoding", "undefined"),
    "utf-16 cookie": (b"# coding: utf-16\nx = 1\n", "encoding", "utf-16"),
    "utf-32-le cookie": (b"# coding: utf_32_le\nx = 1\n", "encoding", "utf_32_le"),
    "utf-16 bom": ("x = 1\n".encode("utf-16"), "encoding", "UTF-16"),
    "unknown": (b"# coding: klingon\nx = 1\n", "encoding", "klingon"),
    "module path": (b"# coding: os.path\nx = 1\n", "encoding", "unknown"),
    "truncated": (b"# coding: shift_jis\nx = '\x83", "encoding", "shift-jis"),
    "NUL in code": (b"x = 1\r\ny\x00", "syntax", r"\\x00 in line 2"),
    "NUL in a string": (b"x = 'a\x00b'\n", "syntax", r"\\x00"),
    "NUL by utf-7": (b"# coding: utf-7\n# +AAA-\n", "syntax", r"\\x00"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable(case: str) -> None:
    data, reason, words = UNREADABLE[case]
    with pytest.raises(Unreadable, match=words) as caught:
        decode(data)
    assert caught.value.reason == reason


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"# coding: utf-7\n", b"# coding: unicode_escape\n", b"\xef\xbb\xbf"]),
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_text_or_unreadable(data: bytes, head: bytes) -> None:
    try:
        text = decode(head + data)
    except Unreadable as error:
        assert error.reason in ("encoding", "syntax")
        return
    assert "\0" not in text.text
    if text.exact and not text.bom:
        assert text.text.encode(text.encoding) == head + data


def test_exact_means_that_bytes_come_back() -> None:
    assert decode(b"# coding: latin-1\n'\xe9'").exact
    assert not decode(b"# coding: utf-7\n# +AAo-x\n").exact


# ------------------------------------------------------------------------------------------------- brackets


def test_rise_counts_what_is_open_at_once() -> None:
    assert rise(b"f(a[b{c}])(d)") == 3
    assert rise(b")))((") == 2
    assert rise(b"no brackets") == 0


def test_depth_is_refused_in_code_only() -> None:
    refuse_depth(b"[" * 200)
    with pytest.raises(Unreadable, match="201 brackets") as caught:
        refuse_depth(b"[" * 201 + b"]" * 201)
    assert caught.value.reason == "limit"
    for harmless in (b"# %s\n", b"x = '%s'\n", b'x = """\n%s\n"""\n', b"x = 'a\\'%s'\n", b"x = r'''%s\\'''\n"):
        refuse_depth(harmless % (b"[" * 500))


def test_brackets_that_comments_close_count_all_the_same() -> None:
    with pytest.raises(Unreadable):
        refuse_depth(b"# " + b")" * 1000 + b"\n" + b"[(" * 300)


def test_screens_are_linear() -> None:
    begun = time.process_time()
    for hostile in (b"'''\\" * 300_000, b"\\'\\\"" * 300_000, b"[" * 1_000_000, b"'\\\n" * 300_000):
        with_brackets = hostile + b"[" * 201
        try:
            refuse_depth(with_brackets)
        except Unreadable:
            continue
    comments("f'{" * 100_000)
    comments("f'''{x:{" * 50_000)
    comments("'''\\" * 200_000)
    assert time.process_time() - begun < 10  # quadratic would take minutes


# ------------------------------------------------------------------------------------------------- comments


def found(text: str) -> list[str]:
    return [comment.text for comment in comments(text)]


def test_comments_have_places() -> None:
    text = "# a\r\nx = 1  # é b\r\n\x0c\t# c\rif y:  # d"
    assert [(c.line, c.column, c.text, c.alone_on_line) for c in comments(text)] == [
        (1, 1, "# a", True),
        (2, 8, "# é b", False),
        (3, 3, "# c", True),
        (4, 8, "# d", False),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "x = '# no'  # yes",
        'x = """\n# no\n"""  # yes',
        r"x = 'a\'# no'  # yes",
        "x = 'a\\\n# no'  # yes",
        r"x = r'\'# no'  # yes",
        "x = f'{a}# no'  # yes",
        'x = f"{d["# no"]}"  # yes',
        "x = f'{a:{b}# no}'  # yes",
        "x = f'{{# no}}'  # yes",
        "x = f'{a!r:>{w}}# no'  # yes",
        r"x = f'\N{DASH}# no{x}'  # yes",
        "x = f'{f\"{f'{1}'}\"}# no'  # yes",
        "x = F'''\n{a:\n}# no''' # yes",
        "x = rb'# no' + Rf'{{{a}}}# no'  # yes",
        "x = 'not closed # no\ny = 1  # yes",
        "x = f'not closed {a # no\n",
    ],
)
def test_strings_hold_no_comments(text: str) -> None:
    got = found(text)
    if "yes" in text:
        assert [comment.strip("# ") for comment in got] == ["yes"]
    else:
        assert got == ["# no"]  # inside a replacement field it is one


def test_comments_inside_fields() -> None:
    assert found("x = f'''{\n    a  # yes\n}# no'''\n") == ["# yes"]


@given(st.text(alphabet="f'\"#{}[]:!\\\n\r x", max_size=60))
@settings(max_examples=300, deadline=None)
def test_comments_never_raise(text: str) -> None:
    for comment in comments(text):
        assert comment.text.startswith("#")
        assert "\n" not in comment.text


def test_mentions() -> None:
    assert mentions(b"x  # auditor: ignore", [b"noqa", b"auditor:"])
    assert not mentions(b"x", [b"noqa"])


# ------------------------------------------------------------------------------------------------- notebooks


def notebook(*cells: object, **more: object) -> bytes:
    return json.dumps({"nbformat": 4, "metadata": {}, "cells": list(cells), **more}).encode()


def code(source: object) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": [{"data": "A" * 1000}]}


def test_cells_become_one_text_with_places() -> None:
    got = convert(notebook({"cell_type": "markdown", "source": "x"}, code(["a = 1\n", "b = 2"]), code("c = 3\n")))
    assert got.text == "a = 1\nb = 2\nc = 3\n"
    assert got.places == ((2, 1), (2, 2), (3, 1))


def test_magics_become_pass_in_place() -> None:
    source = (
        "%matplotlib inline\nx = (a\n  % b)\nfiles = !ls \\\n  -l\nif x:\n    !pip it's\nx?\n"
        "s = '''\n%kept\n'''\n# why?\n"
    )
    assert python_lines(source) == [
        "pass",
        "x = (a",
        "  % b)",
        "files = None",
        "pass",
        "if x:",
        "    pass",
        "pass",
        "s = '''",
        "%kept",
        "'''",
        "# why?",
    ]
    assert python_lines("%%bash\nls\n") == ["pass", "pass"]
    assert python_lines("%%time\nx = 1\n") == ["pass", "x = 1"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "syntax"),
        (b"[]", "syntax"),
        (b"[" * 100_000, "limit"),
        (b"\xff", "encoding"),
        (b'{"a": ' + b"9" * 5000 + b"}", "syntax"),
        (notebook(1), "syntax"),
        (notebook({"cell_type": "code"}), "syntax"),
        (notebook(code(5)), "syntax"),
        (notebook(code(["a", 5])), "syntax"),
        (notebook(nbformat=3), "syntax"),
        (notebook(metadata={"kernelspec": {"language": "R"}}), "language"),
        (notebook(code("x = '\ud800'")), "encoding"),
        (notebook(code("x = '\0'")), "encoding"),
    ],
)
def test_notebooks_of_another_shape(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        convert(data)
    assert caught.value.reason == reason
