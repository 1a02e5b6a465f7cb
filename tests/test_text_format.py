"""The text format of protocol buffers: model/repository/text_format.py."""

from math import inf, isnan

import pytest
from google.protobuf import text_format
from google.protobuf.wrappers_pb2 import BytesValue
from hypothesis import example, given
from hypothesis import strategies as st

from model.repository.text_format import (
    MAX_DEPTH,
    Field,
    Message,
    TextFormatError,
    Value,
    Word,
    parse_text,
)


def fields(text: str) -> list[tuple[str, object]]:
    """Return the names and values in *text*; a message is a list of its own fields."""

    def plain(value: Value) -> object:
        return (
            [(it.name, plain(it.value)) for it in value.fields]
            if isinstance(value, Message)
            else value
        )

    return [(it.name, plain(it.value)) for it in parse_text(text).fields]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# a comment\n\n  # another", []),
        ("a: 1", [("a", 1)]),
        ("a:1b:2", None),
        ("a:1 b:2,c:3;d:4", [("a", 1), ("b", 2), ("c", 3), ("d", 4)]),
        ("a: 1 # one\n# two\nb: 2", [("a", 1), ("b", 2)]),
        ("a: -5 b: - 5", [("a", -5), ("b", -5)]),
        ("a: 0x1F b: 017 c: -0xa d: 0", [("a", 31), ("b", 15), ("c", -10), ("d", 0)]),
        ("a: 1.5 b: .5 c: 2. d: 1e3 e: 2f f: 1.5e-2F", [
            ("a", 1.5), ("b", 0.5), ("c", 2.0), ("d", 1000.0), ("e", 2.0), ("f", 0.015),
        ]),
        ("a: true b: TYPE_FP32", [("a", Word("true")), ("b", Word("TYPE_FP32"))]),
        ("a: -inf", [("a", -inf)]),
        ("a: 'x' b: \"y\"", [("a", b"x"), ("b", b"y")]),
        ("a: 'it' \"'s\"\n '' # and\n 'more'", [("a", b"it'smore")]),
        ("a { b: 1 } c <d: 2>", [("a", [("b", 1)]), ("c", [("d", 2)])]),
        ("a: { } b: <>", [("a", []), ("b", [])]),
        ("a { b < c { } > };", [("a", [("b", [("c", [])])])]),
        ("a: [1, 2]", [("a", 1), ("a", 2)]),
        ("a: []", []),
        ("a: [{ b: 1 }, <b: 2>]", [("a", [("b", 1)]), ("a", [("b", 2)])]),
        ("a [{ b: 1 }]", [("a", [("b", 1)])]),
        ("a: ['x' 'y', 'z']", [("a", b"xy"), ("a", b"z")]),
        ("[a.b/c.d] { e: 1 } [ x.y ]: 2", [("[a.b/c.d]", [("e", 1)]), ("[x.y]", 2)]),
        ("a: 'ü'", [("a", "ü".encode())]),
        ("a: '\\?\\X41'", [("a", b"?A")]),
        ("\ta:\r\n1\f\v", [("a", 1)]),
    ],
)  # fmt: skip
def test_each_form_is_read(text: str, expected: list[tuple[str, object]] | None) -> None:
    """Lists, blocks with braces or angles, commas and semicolons, numbers, strings, comments."""
    if expected is None:
        with pytest.raises(TextFormatError):
            parse_text(text)
    else:
        assert fields(text) == expected


def test_a_field_has_its_line() -> None:
    """That of its name."""
    text = "a: 1\n\n# no\nb\n  : 'x'\n  'y' c {\n d: [2,\n 3] }\n"
    first, second, third = parse_text(text).fields
    assert (first.line, second.line, third.line) == (1, 4, 6)
    assert isinstance(third.value, Message)
    assert third.value.fields == (Field("d", 2, 7), Field("d", 3, 7))


def test_not_a_number_is_a_number_with_a_sign() -> None:
    """Without a sign it is a word, because the name of an enum may be nan."""
    ((_, value),) = fields("a: -nan")
    assert isinstance(value, float)
    assert isnan(value)
    assert fields("a: nan") == [("a", Word("nan"))]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a", "1: expected ':' or '{', found the end of the text"),
        ("a:\n\n", "3: expected a value, found the end of the text"),
        ("a: 1\n}", "2: expected the name of a field, found '}'"),
        ("a {\n b: 1\n", "3: expected the name of a field or '}', found the end of the text"),
        ("a { b: 1 >", "1: expected the name of a field or '}', found '>'"),
        ("a: 1\nb 2", "2: expected ':' or '{', found '2'"),
        ("a: [1 2]", "1: expected ',' or ']', found '2'"),
        ("a: [1,]", "1: expected a value, found ']'"),
        ("a: [[1]]", "1: expected a value, found '['"),
        ("a: - true", "1: expected a value, found 'true'"),
        ("a: -'x'", "1: expected a value, found \"'x'\""),
        ("a: 1b: 2", "1: a number is followed by 'b'"),
        ("a: 1.2.3", "1: a number is followed by '.3'"),
        ("a: 089", "1: expected an octal number, found '089'"),
        ("a: 'x", "1: unexpected \"'\""),
        ("a: 'x\ny'", "1: unexpected \"'\""),
        ("a: '\\q'", "1: a string has the wrong escape \\q"),
        ("a: '\\\a'", "1: a string has the wrong escape \\\\x07"),
        ("a: '\\xg'", "1: a string has the wrong escape \\x"),
        ("a: '\\400'", "1: a string has the wrong escape \\400"),
        ("a: '\\ud800'", "1: a string has the wrong escape \\ud800"),
        ("a: 1\nb: $", "2: unexpected '$'"),
        ("a: 1,,b: 2", "1: expected the name of a field, found ','"),
        ("a: " + 401 * "9", "1: a number of 401 characters"),
        (101 * "a {" + 101 * "}", "1: more than 100 messages within each other"),
    ],
)  # fmt: skip
def test_an_error_has_the_line_and_what_was_expected(text: str, problem: str) -> None:
    """In one line."""
    with pytest.raises(TextFormatError) as caught:
        parse_text(text)
    assert str(caught.value) == problem


def test_messages_may_be_deep() -> None:
    """Up to a bound, as in protobuf."""
    assert parse_text(MAX_DEPTH * "a {" + MAX_DEPTH * "}").fields


@example("'\\a\\b\\f\\n\\r\\t\\v\\\\\\'\\\"'")
@example("'\\0\\12\\101\\1234' \"\\x4\\x41\\x5a1\"")
@example("'\\u00e9\\U0001F600'")
@given(
    st.lists(
        st.sampled_from(
            [*"ab 09", "\\n", "\\0", "\\18", "\\x1", "\\xfF", "\\u00fc", "\\\\", "ü", '"', "\\'"]
        )
    ).map(lambda parts: f"'{''.join(parts)}'")
)
def test_a_string_is_what_protobuf_reads(literal: str) -> None:
    """With any escapes and adjacent literals."""
    expected = text_format.Parse(f"value: {literal}", BytesValue()).value
    assert fields(f"value: {literal}") == [("value", expected)]


@given(st.text(alphabet="a1:{}<>[],;'\"\\-. \n#x0", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Never with another error."""
    try:
        parse_text(text)
    except TextFormatError as error:
        assert str(error).isprintable() or "\n" not in str(error)  # noqa: PT017 - or it is read
