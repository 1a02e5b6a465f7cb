"""
The kinds of values that a setting may have; each converts text to a value and back.

Pure.  Every source of settings (a command line, a variable, a TOML file) is reduced to text first,
so that all of them read a value the same way.  For each kind ``parse(format(value)) == value``.
Imports nothing of ours.  The kinds of files and addresses are in server/settings/place_kinds.py.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from math import inf, isfinite
from typing import ClassVar, Generic, Protocol, TypeVar, cast

T = TypeVar("T")
W = TypeVar("W")
Word = TypeVar("Word", bound=str)

#: The types that tomllib yields for a number when `parse_float` is Decimal.
TOML_NUMBERS: tuple[type, ...] = (int, Decimal)


class Kind(Protocol[T]):
    """A kind of value: how it is read, written, and described to users."""

    @property
    def metavar(self) -> str:
        """The placeholder of the value on help pages, such as ``ROWS``."""

    @property
    def expected(self) -> str:
        """The words that follow "expected" in an error message."""

    @property
    def toml_types(self) -> tuple[type, ...]:
        """The exact types that the value may have in a TOML file."""

    def parse(self, text: str) -> T:
        """
        Return the value of *text*.

        Raises ValueError if *text* is no value of this kind, OSError if a file cannot be read.
        """

    def format(self, value: T) -> str:
        """Return the text that `parse` reads as *value*."""


class TextKind:
    """The members that most kinds share: a string in TOML, formatted by `str`."""

    __slots__ = ()
    toml_types: ClassVar[tuple[type, ...]] = (str,)

    def format(self, value: object) -> str:
        """Return ``str(value)``."""
        return str(value)


@dataclass(frozen=True, slots=True)
class WholeNumber(TextKind):
    """A whole number from *at_least* to *at_most*, both included."""

    metavar: str
    at_least: int = 1
    at_most: int | None = None
    toml_types: ClassVar[tuple[type, ...]] = (int,)

    @property
    def expected(self) -> str:
        """The bounds, in words."""
        if self.at_most is None:
            return f"a whole number of at least {self.at_least}"
        return f"a whole number from {self.at_least} to {self.at_most}"

    def parse(self, text: str) -> int:
        """Return the number in *text*; underscores are allowed, as in ``50_000_000``."""
        number = int(text)
        if number < self.at_least or (self.at_most is not None and number > self.at_most):
            raise ValueError
        return number


@dataclass(frozen=True, slots=True)
class Number:
    """
    A finite number.

    Converted as a Decimal, so that the conversion between milliseconds and seconds is exact.
    """

    metavar: str
    at_least: float = -inf
    above: float = -inf
    shift: int = 0  #: value = number written * 10**shift
    toml_types: ClassVar[tuple[type, ...]] = TOML_NUMBERS

    @property
    def expected(self) -> str:
        """The bound, in words."""
        if self.above > -inf:
            return f"a number greater than {self.above:g}"
        if self.at_least > -inf:
            return f"a number of at least {self.at_least:g}"
        return "a number"

    def parse(self, text: str) -> float:
        """Return the value for *text*; raises ValueError unless it is finite and in the bounds."""
        try:
            number = float(Decimal(text).scaleb(self.shift))
        except ArithmeticError:
            raise ValueError from None
        if not isfinite(number) or number < self.at_least or number <= self.above:
            raise ValueError
        return number

    def format(self, value: float) -> str:
        """
        Return *value* as text in the option's unit, with the fewest digits that identify the float.
        """
        return f"{Decimal(repr(value)).scaleb(-self.shift).normalize():f}"


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?b|b)?", re.IGNORECASE | re.ASCII)
_BYTES = {"b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}


@dataclass(frozen=True, slots=True)
class Size:
    """A positive number of bytes: plain, or with a unit such as MiB (1024²) or MB (1000²)."""

    metavar: str = "SIZE"
    expected: ClassVar[str] = "a size of at least 1 byte, such as 1048576, 512MiB or 2GB"
    toml_types: ClassVar[tuple[type, ...]] = (int, str)

    def parse(self, text: str) -> int:
        """
        Return the bytes of the size in *text*, a whole number.

        ``1.5GiB`` is a whole number of bytes; ``0.5B`` is not, and raises ValueError.
        """
        match = _SIZE.fullmatch(text.strip().replace("_", ""))
        if match is None:
            raise ValueError
        size = Decimal(match[1]) * _BYTES[(match[2] or "B").lower()]
        if size < 1 or size != int(size):
            raise ValueError
        return int(size)

    def format(self, value: int) -> str:
        """Return *value*, in bytes, in the largest unit of a power of 1024 that divides it."""
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            count, rest = divmod(value, _BYTES[unit.lower()])
            if count and not rest:
                return f"{count}{unit}"
        return str(value)


@dataclass(frozen=True, slots=True)
class Choice(TextKind, Generic[Word]):
    """One of several words."""

    words: tuple[Word, ...]

    @property
    def metavar(self) -> str:
        """The words, separated by bars."""
        return "|".join(self.words)

    @property
    def expected(self) -> str:
        """The words, joined by "or"."""
        return " or ".join(self.words)

    def parse(self, text: str) -> Word:
        """
        Return the word equal to *text*; upper and lower case differ.

        Raises ValueError if there is none.
        """
        for word in self.words:
            if word == text:
                return word
        raise ValueError


@dataclass(frozen=True, slots=True)
class OrWord(Generic[T, W]):
    """A *word* that stands for a *value*, or a value of another *kind*."""

    word: str
    value: W
    kind: Kind[T]

    @property
    def metavar(self) -> str:
        """The word, then the metavar of the kind."""
        return f"{self.word}|{self.kind.metavar}"

    @property
    def expected(self) -> str:
        """The word, or what the kind expects."""
        return f"{self.word} or {self.kind.expected}"

    @property
    def toml_types(self) -> tuple[type, ...]:
        """The types of *kind*, and a string for the word."""
        return (*self.kind.toml_types, str)

    def parse(self, text: str) -> T | W:
        """Return *value* if *text* is the word; any other text is read by *kind*."""
        return self.value if text == self.word else self.kind.parse(text)

    def format(self, value: T | W) -> str:
        """Return the word if *value* is that of the word; any other is formatted by *kind*."""
        return self.word if value == self.value else self.kind.format(cast("T", value))


@dataclass(frozen=True, slots=True)
class TensorName(TextKind):
    """A tensor of a TensorFlow graph; the name of an operation means its first output."""

    metavar: str = "TENSOR"
    expected: ClassVar[str] = "the name of a tensor, such as input or input:0"

    def parse(self, text: str) -> str:
        """Return ``NAME:INDEX``; the index is 0 if *text* has none."""
        # The characters are those that TensorFlow allows in the name of an operation.
        match = re.fullmatch(r"([A-Za-z0-9.][A-Za-z0-9_.\\/>-]*)(:[0-9]+)?", text)
        if match is None:
            raise ValueError
        return match[1] + (match[2] or ":0")


@dataclass(frozen=True, slots=True)
class FedValue:
    """The name of a placeholder of a graph, and the value of this placeholder in every run."""

    metavar: str = "NAME=VALUE"
    expected: ClassVar[str] = "NAME=VALUE, such as keep_prob=1.0 or phase_train=false"
    toml_types: ClassVar[tuple[type, ...]] = (str,)

    def parse(self, text: str) -> tuple[str, bool | float]:
        """Return the name, without ``:0``, and the value: a bool or a finite number."""
        name, _, value = text.partition("=")
        if value.lower() in ("true", "false"):
            return TensorName().parse(name).removesuffix(":0"), value.lower() == "true"
        number = float(value)
        if not isfinite(number):
            raise ValueError
        return TensorName().parse(name).removesuffix(":0"), number

    def format(self, value: tuple[str, bool | float]) -> str:
        """Return ``NAME=VALUE``."""
        name, number = value
        return f"{name}={str(number).lower() if isinstance(number, bool) else number!r}"


@dataclass(frozen=True, slots=True)
class Name(TextKind):
    """A name in a model, such as that of a signature."""

    metavar: str = "NAME"
    expected: ClassVar[str] = "a name without spaces"

    def parse(self, text: str) -> str:
        """Return *text* unchanged; raises ValueError if it is empty or has spaces."""
        if not text.isprintable() or text.split() != [text]:
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch: on (True) or off (False)."""

    metavar: ClassVar[str] = ""  # on a command line, two names stand for the two values
    expected: ClassVar[str] = "true or false"
    toml_types: ClassVar[tuple[type, ...]] = (bool,)

    def parse(self, text: str) -> bool:
        """
        Return True for true, yes, on and 1, False for false, no, off and 0.

        Upper and lower case do not differ.
        """
        word = text.strip().lower()
        if word not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            raise ValueError
        return word in ("true", "yes", "on", "1")

    def format(self, value: bool) -> str:
        """Return ``true`` or ``false``, as TOML writes them."""
        return "true" if value else "false"
