"""
Read the labels of a classifier in the forms that other tools write.

Pure.  The usual form is one label per line.  Another form is read only if its meaning is certain:
each class, from 0 on, has exactly one label.
"""

import ast
import codecs
import csv
import json
import re
from typing import Any, NoReturn

_EXPECTED = "expected one label per line, in the order of the scores"

#: UTF-32 comes before UTF-16: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: "0 cat", "0: cat", "0,cat" and the like.
_NUMBERED = re.compile(r"(\d+)(?:\s*[,;:\t]\s*|\s+)(\S.*)", re.ASCII)
_DELIMITERS = ",;\t"
#: The beginning of JSON, with which no label begins.
_BROKEN_JSON = re.compile(r"[\[{]\s*([\n\"{\[]|$)")
#: The head of the column with the numbers of the classes; pandas writes an empty one.
_NUMBER_TITLE = re.compile(
    r"(class|label|category|target)?[\s_-]*(id|idx|index|number|num|no\.?|#)?", re.IGNORECASE
)
_ROWS = f"{_EXPECTED}, or rows of two, the number of the class, from 0 on, and its name"


_FORMS = (
    'expected ["cat", "dog"], {"cat": 0, "dog": 1} or {"0": "cat", "1": "dog"}, '
    "each class from 0 on once"
)


class UnreadableLabelsError(ValueError):
    """The text does not give each class a label; the message states the reason in one line."""


def text_of(data: bytes) -> str:
    """
    Return *data* as text in which each line ends with a line feed.

    A byte order mark shows the encoding: UTF-8, UTF-16 or UTF-32.  Without a mark, the encoding is
    UTF-16 if *data* holds zero bytes, else UTF-8.  Raises `UnreadableLabelsError` if *data* is not
    text in that encoding.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    if not encoding and b"\0" in data:
        encoding = _utf16_without_mark(data)
    try:
        text = data.decode(encoding or "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        name = (encoding or "utf-8").upper()
        raise UnreadableLabelsError(f"not {name} text: byte {error.start}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def labels_in(text: str) -> tuple[str, ...]:
    """
    Return the labels in *text*, in the order of the scores.

    The usual form is one label per line.  The other forms are: a list of names, in JSON or Python;
    an object, in JSON or Python, that maps each name to its class or each class to its name; lines,
    each with the number of a class and then its name; and a table of separated values, with one
    column of numbers and one of names.  Raises `UnreadableLabelsError` if there is no label, if a
    label is empty, and if one of the other forms does not name each class from 0 on once.
    """
    text = text.rstrip()
    if not text:
        raise UnreadableLabelsError("holds no labels")
    value = _structure(text) if text.lstrip()[0] in "[{" else None
    if value is not None:
        return _from_structure(value)
    if re.match(r"(\s*#[^\n]*\n)*\s*item\s*:?\s*\{", text):
        raise UnreadableLabelsError(f"a label map (.pbtxt), whose classes begin at 1: {_EXPECTED}")
    if _BROKEN_JSON.match(text):
        raise UnreadableLabelsError(f"broken JSON, or several values: {_FORMS}")
    labels = tuple(line.strip() for line in text.split("\n"))
    if "" in labels:
        raise UnreadableLabelsError(f"line {labels.index('') + 1} is empty")
    return _from_table(labels) or _from_numbered(labels) or labels


class _Object(tuple[tuple[str, Any], ...]):
    """The pairs of key and value in a JSON object, in order; repeated keys are kept."""

    __slots__ = ()

    def __new__(cls, pairs: list[tuple[str, Any]]) -> "_Object":
        """Return an object with the given *pairs*."""
        return super().__new__(cls, pairs)


def _utf16_without_mark(data: bytes) -> str:
    """
    Return the UTF-16 encoding, little- or big-endian, in which *data* is text.

    Raises `UnreadableLabelsError` unless exactly one of them fits.
    """
    fitting = []
    for encoding in ("utf-16-le", "utf-16-be"):
        text = data.decode(encoding, "replace")
        if "\n" in text and all(it.isprintable() or it.isspace() for it in text):
            fitting.append(encoding)
    if len(fitting) != 1:
        raise UnreadableLabelsError(f"not text: byte {data.index(0)} is zero; {_EXPECTED}")
    return fitting[0]


def _structure(text: str) -> Any:
    """Return the list or object that *text* represents in JSON or Python; None if invalid."""
    try:
        return json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        pass
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None  # "[unknown]" may be a label
    return _Object([(str(key), it) for key, it in value.items()]) if type(value) is dict else value


def _from_structure(value: Any) -> tuple[str, ...]:
    if isinstance(value, _Object):
        labels = _from_object(value)
    elif isinstance(value, list) and all(isinstance(each, str) for each in value):
        labels = tuple(value)
    else:
        _refuse_json()
    labels = tuple(label.strip() for label in labels)
    for label in labels:
        if any("\ud800" <= character <= "\udfff" for character in label):
            raise UnreadableLabelsError("JSON with half a character, a lone surrogate, in a label")
    if "" in labels:
        raise UnreadableLabelsError(f"JSON in which the label of class {labels.index('')} is empty")
    return labels or _refuse_json()


def _from_object(pairs: _Object) -> tuple[str, ...]:
    """
    Return the labels in *pairs*, in the order of the classes.

    Either all pairs are (name, class), or all are (class, name).  Raises `UnreadableLabelsError`
    unless each class from 0 on occurs once.
    """
    if all(type(value) is int for _, value in pairs):
        by_class = [(value, name) for name, value in pairs]
    elif all(re.fullmatch(r"\d{1,9}", key, re.ASCII) for key, _ in pairs):
        by_class = [(int(key), _name(value)) for key, value in pairs]
    else:
        _refuse_json()
    return _in_order(by_class) or _refuse_json(sorted(number for number, _ in by_class))


def _name(value: Any) -> str:
    """
    Return the name in *value*: a string or, in ImageNet's files, a pair (WordNet key, name).

    Raises `UnreadableLabelsError` for any other value.
    """
    if isinstance(value, list) and len(value) == 2:
        value = value[1]
    return value if isinstance(value, str) else _refuse_json()


def _refuse_json(numbers: list[int] | None = None) -> NoReturn:
    found = f" with the classes {numbers[0]} to {numbers[-1]}" if numbers else ""
    raise UnreadableLabelsError(f"JSON{found}: {_FORMS}")


def _in_order(by_class: list[tuple[int, str]]) -> tuple[str, ...]:
    """
    Return the labels in *by_class*, pairs of a class and its label, in the order of the classes.

    Return () unless each class from 0 on occurs exactly once.
    """
    in_order = sorted(by_class, key=lambda each: each[0])
    whole = [number for number, _ in in_order] == list(range(len(in_order)))
    return tuple(label for _, label in in_order) if whole else ()


def _from_table(lines: tuple[str, ...]) -> tuple[str, ...]:
    """
    Return the labels in *lines* if they are a table of class numbers and names, else ().

    Raises `UnreadableLabelsError` if one column certainly holds numbers of classes, but the table
    does not give each class from 0 on a name.
    """
    for delimiter in _DELIMITERS:
        try:
            rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
        except csv.Error:
            continue
        columns = [[cell.strip() for cell in column] for column in zip(*rows, strict=False)]
        if len(rows) != len(lines) or {len(row) for row in rows} != {len(columns)}:
            continue  # a quoted cell of several lines, or rows of different lengths
        for number, (head, *cells) in enumerate(columns):
            headed = not head.isdecimal()
            sure = len(columns) > 1 and (
                len(cells) > 1 and _NUMBER_TITLE.fullmatch(head) if headed else cells
            )
            if not sure or not all(re.fullmatch(r"\d{1,9}", cell) for cell in cells):
                continue
            names = columns[1 - number][headed:] if len(columns) == 2 else []
            numbers = map(int, columns[number][headed:])
            labels = _in_order(list(zip(numbers, names, strict=False)))
            # "0,5" may be a number with a decimal comma.
            words = headed or not all(name[:1].isdecimal() for name in names)
            if labels and "" not in labels and words:
                return labels
            if headed or (names and words):
                raise UnreadableLabelsError(f"a table of {', '.join(map(repr, rows[0]))}: {_ROWS}")
    return ()


def _from_numbered(lines: tuple[str, ...]) -> tuple[str, ...]:
    """
    Return the labels in *lines* if each line begins with the number of its class, else ().

    Also return () if the numbers may be a part of the labels: "0 stars", "1 star", "2 stars".
    Raises `UnreadableLabelsError` if the numbers have no gaps, but are not in ascending order.
    """
    found = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    labels = tuple(match[2] for match in found)
    numbers = [int(match[1]) for match in found]
    if len(found) != len(lines) or len(lines) < 2 or len({*labels}) != len(labels):
        return ()
    if numbers == list(range(len(lines))):
        return labels
    if numbers != sorted(numbers) and sorted(numbers) == list(
        range(min(numbers), max(numbers) + 1)
    ):
        raise UnreadableLabelsError(
            "lines that begin with the numbers of the classes, which are not in order: sort them "
            f"by number, or write JSON: {_FORMS}"
        )
    return ()
