"""Labels in the forms of other tools: model/repository/label_formats.py."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.repository.label_formats import UnreadableLabelsError, labels_in, text_of

TEXT = "rot\ngrün\n"
NAMES = ("rot", "grün")
FORMS = (
    '["cat", "dog"], {"cat": 0, "dog": 1} or {"0": "cat", "1": "dog"}, each class from 0 on once'
)
LINES = "expected one label per line, in the order of the scores"
UNORDERED = (
    "lines that begin with the numbers of the classes, which are not in order: "
    "sort them by number, or write JSON: expected"
)
ROWS = f"{LINES}, or rows of two, the number of the class, from 0 on, and its name"

ENCODED = {
    "UTF-8": TEXT.encode(),
    "UTF-8 with a mark": TEXT.encode("utf-8-sig"),
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "UTF-16 without a mark": TEXT.encode("utf-16-le"),
    "UTF-16 without a mark, big end first": TEXT.encode("utf-16-be"),
    "UTF-32": TEXT.encode("utf-32"),
    "Windows": TEXT.replace("\n", "\r\n").encode("utf-16"),
    "old Macs": TEXT.replace("\n", "\r").encode(),
}


@pytest.mark.parametrize("data", ENCODED.values(), ids=ENCODED)
def test_text_is_read_as_it_was_encoded(data: bytes) -> None:
    """By its byte order mark, or by its zeros."""
    assert text_of(data) == TEXT


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"d\xf6g\n", "not UTF-8 text: byte 1"),
        (b"\xff\xfed\0o", "not UTF-16-LE text: byte 4"),
        (b"a\0b\n", f"not text: byte 1 is zero; {LINES}"),
        (bytes(40), f"not text: byte 0 is zero; {LINES}"),
    ],
    ids=["latin-1", "half of UTF-16", "a zero", "zeros"],
)
def test_bytes_that_are_not_text_are_refused(data: bytes, message: str) -> None:
    """With the position of the byte."""
    with pytest.raises(UnreadableLabelsError) as caught:
        text_of(data)
    assert str(caught.value) == message


READ = {
    "lines": ("cat\ndog", "cat dog"),
    "JSON list": ('["cat", "dog"]', "cat dog"),
    "classes by name": ('{"dog": 1, "cat": 0}', "cat dog"),
    "names by class": ('{"1": "dog", "0": "cat"}', "cat dog"),
    "numbers by name": ('{"7": 1, "9": 0}', "9 7"),
    "ImageNet's": ('{"0": ["n02", "cat"], "1": ["n01", "dog"]}', "cat dog"),
    "Python's list": ("['cat', 'dog']", "cat dog"),
    "Python's dict": ("{'cat': 0, 'dog': 1}", "cat dog"),
    "Python's dict by class": ("{0: 'cat', 1: 'dog'}", "cat dog"),
    "table": ("id,name\n0,cat\n1,dog", "cat dog"),
    "table in another order": ("name\tclass_id\ndog\t1\ncat\t0", "cat dog"),
    "table as pandas writes it": (",label\n0,cat\n1,dog", "cat dog"),
    "rows": ("1,dog\n0,cat", "cat dog"),
    "rows with quotes": ('0,"cat"\n1,"dog"', "cat dog"),
    "rows with names first": ("cat,0\ndog,1", "cat dog"),
    "numbered": ("0 cat\n1 dog", "cat dog"),
    "numbered, with a colon": ("0: cat\n1: dog", "cat dog"),
    "numbers alone": ("0\n1", "0 1"),
    "numbered from 1": ("1-cat\n2-dog", "1-cat 2-dog"),
    "a number alone": ("0,cat", "0,cat"),
    "a token": ("[PAD]\n[UNK]", "[PAD] [UNK]"),
    "a token alone": ("[unused0]", "[unused0]"),
    "a number behind a comma": ("a,MAX\na,747\na,320", "a,MAX a,747 a,320"),
    "a lone quote": ('"cat\ndog', '"cat dog'),
}


@pytest.mark.parametrize(("text", "labels"), READ.values(), ids=READ)
def test_a_form_that_names_each_class_is_read(text: str, labels: str) -> None:
    """A line that may be a label is read unchanged."""
    assert labels_in(text) == tuple(labels.split())


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("0 stars\n1 star\n2 stars", ("0 stars", "1 star", "2 stars")),
        ("1 cat\n2 dog", ("1 cat", "2 dog")),
        ("0 Class 1\n1 Class 2", ("Class 1", "Class 2")),
        ("00 cat\n01 dog", ("cat", "dog")),
        ("0,5\n1,5\n2,5", ("0,5", "1,5", "2,5")),
        ("2 stars\n1 star\n0 stars", ("2 stars", "1 star", "0 stars")),
        ("[unknown]\ncat", ("[unknown]", "cat")),
        ("0,tench, Tinca tinca\n1,goldfish", ("tench, Tinca tinca", "goldfish")),
        ('0,"tench, Tinca tinca"\n1,goldfish', ("tench, Tinca tinca", "goldfish")),
        ("tench, Tinca tinca\ngoldfish, 5", ("tench, Tinca tinca", "goldfish, 5")),
        ('["tiger cat", "tiger cat"]', ("tiger cat", "tiger cat")),
    ],
)
def test_a_number_of_the_class_is_removed(text: str, labels: tuple[str, ...]) -> None:
    """Only where every line has one, in order, and the labels stay different."""
    assert labels_in(text) == labels


REFUSED = {
    "an empty list": ("[]", f"JSON: expected {FORMS}"),
    "an empty object": ("{}", f"JSON: expected {FORMS}"),
    "numbers": ("[1, 2]", f"JSON: expected {FORMS}"),
    "something within": ('{"classes": ["cat"]}', f"JSON: expected {FORMS}"),
    "true": ('{"cat": true}', f"JSON: expected {FORMS}"),
    "a label of another kind": ('{"0": {"name": "cat"}}', f"JSON: expected {FORMS}"),
    "from 1": ('{"1": "cat", "2": "dog"}', f"JSON with the classes 1 to 2: expected {FORMS}"),
    "a class twice": ('{"cat": 0, "dog": 0}', f"JSON with the classes 0 to 0: expected {FORMS}"),
    "the same key": ('{"0": "a", "0": "b"}', f"JSON with the classes 0 to 0: expected {FORMS}"),
    "an empty label": ('["cat", " "]', "JSON in which the label of class 1 is empty"),
    "a table from 1": ("id,name\n1,cat\n2,dog", f"a table of 'id', 'name': {ROWS}"),
    "a wide table": ("id,key,name\n0,x,cat\n1,y,dog", f"a table of 'id', 'key', 'name': {ROWS}"),
    "numbers out of order": ("2 roses\n0 daisy\n1 tulip", f"{UNORDERED} {FORMS}"),
    "numbers sorted as text": (
        "\n".join(sorted(f"{n} c{n}" for n in range(11))),
        f"{UNORDERED} {FORMS}",
    ),
    "rows with a gap": ("0,cat\n2,dog", f"a table of '0', 'cat': {ROWS}"),
    "rows with a class twice": ("0,cat\n1,dog\n1,cow", f"a table of '0', 'cat': {ROWS}"),
    "broken JSON": (
        '{\n"0": "cat",\n"1": "dog"',
        f"broken JSON, or several values: expected {FORMS}",
    ),
    "a value a line": ('{"a": 0}\n{"b": 1}', f"broken JSON, or several values: expected {FORMS}"),
    "half a character": (
        '["\\ud83d", "b"]',
        "JSON with half a character, a lone surrogate, in a label",
    ),
    "a label map": (
        "item {\n  id: 1\n  name: 'cat'\n}",
        f"a label map (.pbtxt), whose classes begin at 1: {LINES}",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_an_uncertain_form_is_refused_by_its_name(text: str, message: str) -> None:
    """The message states the forms that are expected."""
    with pytest.raises(UnreadableLabelsError) as caught:
        labels_in(text)
    assert str(caught.value) == message


WORDS = st.lists(st.text("abc xyz", min_size=1).map(str.strip).filter(bool), min_size=1)


@given(WORDS)
def test_every_form_gives_the_same_labels(words: list[str]) -> None:
    """For any labels."""
    labels = tuple(words)
    numbered = dict(enumerate(words))
    assert labels_in("\n".join(words)) == labels
    for value in (words, numbered):
        assert labels_in(json.dumps(value)) == labels
        assert labels_in(repr(value)) == labels
        assert labels_in(text_of(json.dumps(value).encode("utf-16"))) == labels


@given(st.text())
def test_any_text_is_labels_or_refused_in_one_line(text: str) -> None:
    """There is no other error."""
    try:
        outcome: tuple[str, ...] = labels_in(text)
    except UnreadableLabelsError as error:
        outcome = tuple(str(error).splitlines())
        assert len(outcome) == 1, outcome
    assert all(outcome)
