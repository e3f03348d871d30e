"""Each sink reads back what was meant: no text of the audited tree becomes mark-up, a command or a control."""

from __future__ import annotations

import html
import json
import re
import unicodedata
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from report_sample import HOSTILE

from auditor.report import escape

ALPHABET = st.one_of(
    st.characters(),
    st.sampled_from("`|<>[]()*_~#@:!&\\$\"'%,;=-+. \n\r\t\x1b\x00\x9b\u202e\u2066\u200b\u2028\ufeff\udc80\ud83d"),
)
TEXT = st.one_of(
    st.text(ALPHABET, max_size=60),
    st.lists(
        st.sampled_from(
            [
                *("```", "`", "|", "~~~", "---", "![", "](", "<b>", "&lt;", "-->", "1.", "a_b", "\\", "\udc80"),
                *("::error::", "##[error]", "##vso[x]", "@me", "#1", "https://a.example"),
                *("\n", "\r", " ", "    "),
            ]
        ),
        max_size=12,
    ).map("".join),
)
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def tokens(source: str) -> list[Token]:
    flat: list[Token] = []
    for token in MARKDOWN.parse(source):
        flat += [token, *(token.children or [])]
    return flat


def shown(source: str) -> str:
    """What a reader sees of Markdown, without the marks of code spans."""
    return "".join(token.content for token in tokens(source) if token.type in ("text", "code_inline", "text_special"))


PLAIN = {"paragraph_open", "paragraph_close", "inline", "text", "code_inline", "text_special"}


@given(TEXT)
def test_visible_has_no_hidden_character_and_can_be_written(raw: str) -> None:
    text = escape.visible(raw)
    text.encode("utf-8")
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff]", text)
    assert escape.visible(text) == text


def test_visible_names_what_it_hides() -> None:
    assert escape.visible("a\x1b[31m\u202eb\udc80") == "a<U+001B>[31m<U+202E>b\\udc80"


def test_lines_end_only_where_an_editor_ends_them() -> None:
    assert escape.lines("a\u2028b\x0cc\r\nd\re\nf") == ("a\u2028b\x0cc", "d", "e", "f")


@given(TEXT)
def test_markdown_text_is_only_text(raw: str) -> None:
    for function in (escape.text, escape.prose):
        source = function(raw)
        assert "\n" not in source
        assert {token.type for token in tokens(source)} <= PLAIN


@given(TEXT)
def test_markdown_text_loses_nothing(raw: str) -> None:
    expected = re.sub(r"\s", "", escape.line(raw))
    assert re.sub(r"\s", "", shown(escape.text(raw))) == expected


@pytest.mark.parametrize(
    "linked", ["@octocat", "#12", "GH-1", "a/b#3", ":smile:", "https://a.example/x", "www.a.example", "a@b.example"]
)
def test_what_a_host_would_link_is_inline_code(linked: str) -> None:
    raw = f"see {linked}"
    assert [token.content for token in tokens(escape.text(raw)) if token.type == "code_inline"] == [linked]


@given(TEXT)
def test_inline_code_shows_its_content(raw: str) -> None:
    source = f"x {escape.code(raw)} y"
    spans = [token.content for token in tokens(source) if token.type == "code_inline"]
    expected = escape.console(escape.line(raw))
    assert spans == [expected if expected.strip() else "(empty)"]


@given(TEXT, TEXT)
def test_table_cells_stay_cells(first: str, second: str) -> None:
    for one in (escape.cell, escape.cell_code, escape.cell_prose):
        for two in (escape.cell, escape.cell_code, escape.cell_prose):
            parsed = tokens(f"| a | b |\n| --- | --- |\n| {one(first)} | {two(second)} |")
            assert sum(token.type == "td_open" for token in parsed) == 2
            assert sum(token.type == "tr_open" for token in parsed) == 2
            assert not any(token.type in ("link_open", "html_inline", "html_block", "image") for token in parsed)


@given(st.lists(TEXT, max_size=5))
def test_a_fence_holds_its_lines(body: list[str]) -> None:
    parsed = tokens("\n".join([*escape.fence(body, "text"), "after"]))
    assert [token.type for token in parsed[:1]] == ["fence"]
    assert [token.content for token in parsed if token.type == "text"] == ["after"]
    assert parsed[0].content.count("\n") == len(body)


@given(TEXT)
def test_no_line_is_a_command_of_a_runner(raw: str) -> None:
    for row in (escape.console(escape.line(raw)), escape.terminal(raw), escape.text(raw), escape.code(raw)):
        assert not row.lstrip().startswith("::")
        assert not re.search(r"##(vso)?\[", row)
    assert not re.search(r"##(vso)?\[", escape.json_text(raw))


@given(st.recursive(st.none() | st.booleans() | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))
def test_json_survives(value: object) -> None:
    assert json.loads(escape.json_text(value)) == value
    assert json.loads(escape.html_json(value)) == value
    assert escape.json_text(value).isascii()
    assert not set("<>&") & set(escape.html_json(value))


@given(TEXT)
def test_html_and_xml_read_back(raw: str) -> None:
    expected = escape.visible(raw, keep="\n\t")
    assert html.unescape(escape.html(raw)) == expected
    assert not set("<>\"'") & set(escape.html(raw))
    element = ET.fromstring(f'<a b="{escape.xml(raw)}">{escape.xml(raw)}</a>')
    assert element.text == (expected or None)
    assert element.get("b") == expected


@given(TEXT)
def test_terminal_text_is_one_line_without_controls(raw: str) -> None:
    row = escape.terminal(raw)
    assert row.isprintable() or not any(unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") for c in row)
    assert escape.width(escape.pad(row, 200)) >= escape.width(row)


def test_width_counts_terminal_columns() -> None:
    assert [escape.width(text) for text in ("ab", "价格", "e\u0301")] == [2, 4, 1]


@given(TEXT)
def test_github_commands_hold_one_line(raw: str) -> None:
    for row in (escape.command_data(raw), escape.command_property(raw)):
        assert not re.search("[\r\n]", row)
    assert not re.search("[:,]", escape.command_property(raw))


@given(TEXT)
def test_a_path_is_a_relative_target(raw: str) -> None:
    target = escape.path_target(raw)
    assert re.fullmatch(r"[A-Za-z0-9_.~%/-]*", target)
    made = escape.link("x", target)
    assert made in ("x", f"[x]({target})")
    links = [token for token in tokens(made) if token.type == "link_open"]
    assert [token.attrs["href"] for token in links] == ([target] if made != "x" else [])


@pytest.mark.parametrize("target", ["javascript:x", "http://a.example", "//a.example/x", "data:x", "file:///etc", ""])
def test_other_targets_stay_text(target: str) -> None:
    assert escape.link("label", target) == "label"


@given(TEXT)
def test_mermaid_labels_are_quoted(raw: str) -> None:
    label = escape.mermaid(raw)
    assert label[0] == label[-1] == '"'
    assert not set('"<>`\n') & set(label[1:-1])


@given(TEXT)
def test_sarif_messages_make_no_link(raw: str) -> None:
    assert "](" not in escape.sarif(raw)


def test_the_hostile_corpus_passes_every_markdown_sink() -> None:
    for function in (escape.text, escape.prose, escape.cell, escape.code, escape.cell_code):
        parsed = tokens(function(HOSTILE))
        assert {token.type for token in parsed} <= PLAIN
