"""
What the value of a setting may be: text to value, and back.

Pure but for `ReadableFile`, which looks at the disk.  Every source of settings (a command line, a
variable, a TOML file) is reduced to text before it comes here, so there is one reading of a value.
For each kind ``parse(format(value)) == value``.  Imports nothing of ours.
"""

import re
import stat
from dataclasses import dataclass
from decimal import Decimal
from math import inf, isfinite
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar, cast

T = TypeVar("T")
W = TypeVar("W")
Word = TypeVar("Word", bound=str)

#: What tomllib yields for a float when it is told to keep every digit.
TOML_NUMBERS: tuple[type, ...] = (int, Decimal)


class Kind(Protocol[T]):
    """One kind of value."""

    @property
    def metavar(self) -> str:
        """How help pages write the value: ``ROWS``."""

    @property
    def expected(self) -> str:
        """What completes a sentence that begins with "expected"."""

    @property
    def toml_types(self) -> tuple[type, ...]:
        """The exact types that the value may have in a TOML file."""

    def parse(self, text: str) -> T:
        """Return the value of *text*; raise ValueError, or OSError with its reason."""

    def format(self, value: T) -> str:
        """Return the text that `parse` reads as *value*."""


class _Text:
    """What most kinds share: a string in TOML, written as `str` writes it."""

    __slots__ = ()
    toml_types: ClassVar[tuple[type, ...]] = (str,)

    def format(self, value: object) -> str:
        """Return *value* as `str` writes it."""
        return str(value)


@dataclass(frozen=True, slots=True)
class WholeNumber(_Text):
    """A whole number between two bounds, both allowed."""

    metavar: str
    at_least: int = 1
    at_most: int | None = None
    toml_types: ClassVar[tuple[type, ...]] = (int,)

    @property
    def expected(self) -> str:
        """The bounds."""
        if self.at_most is None:
            return f"a whole number of at least {self.at_least}"
        return f"a whole number from {self.at_least} to {self.at_most}"

    def parse(self, text: str) -> int:
        """Read a whole number; ``50_000_000`` is one."""
        number = int(text)
        if number < self.at_least or (self.at_most is not None and number > self.at_most):
            raise ValueError
        return number


@dataclass(frozen=True, slots=True)
class Number:
    """
    A finite number.

    Decimal all the way, so that milliseconds become seconds and seconds milliseconds without loss.
    """

    metavar: str
    at_least: float = -inf
    above: float = -inf
    shift: int = 0  #: the value is the number written, times ten to the power of this
    toml_types: ClassVar[tuple[type, ...]] = TOML_NUMBERS

    @property
    def expected(self) -> str:
        """The bound, in the unit that is written."""
        if self.above > -inf:
            return f"a number greater than {self.above:g}"
        if self.at_least > -inf:
            return f"a number of at least {self.at_least:g}"
        return "a number"

    def parse(self, text: str) -> float:
        """Read a number; infinities and NaN are none."""
        try:
            number = float(Decimal(text).scaleb(self.shift))
        except ArithmeticError:
            raise ValueError from None
        if not isfinite(number) or number < self.at_least or number <= self.above:
            raise ValueError
        return number

    def format(self, value: float) -> str:
        """Write every digit that tells the value from its neighbours."""
        return f"{Decimal(repr(value)).scaleb(-self.shift).normalize():f}"


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?b|b)?", re.IGNORECASE | re.ASCII)
_BYTES = {"b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}


@dataclass(frozen=True, slots=True)
class Size:
    """A positive number of bytes: plain, or with a unit such as MiB (1024) or MB (1000)."""

    metavar: str = "SIZE"
    expected: ClassVar[str] = "a size of at least 1 byte, such as 1048576, 512MiB or 2GB"
    toml_types: ClassVar[tuple[type, ...]] = (int, str)

    def parse(self, text: str) -> int:
        """Read bytes; ``1.5GiB`` is whole, ``0.5B`` is not."""
        match = _SIZE.fullmatch(text.strip().replace("_", ""))
        if match is None:
            raise ValueError
        size = Decimal(match[1]) * _BYTES[(match[2] or "B").lower()]
        if size < 1 or size != int(size):
            raise ValueError
        return int(size)

    def format(self, value: int) -> str:
        """Write the largest unit of 1024 that leaves a whole number."""
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            count, rest = divmod(value, _BYTES[unit.lower()])
            if count and not rest:
                return f"{count}{unit}"
        return str(value)


@dataclass(frozen=True, slots=True)
class Choice(_Text, Generic[Word]):
    """One word out of a few."""

    words: tuple[Word, ...]

    @property
    def metavar(self) -> str:
        """The words."""
        return "|".join(self.words)

    @property
    def expected(self) -> str:
        """The words."""
        return " or ".join(self.words)

    def parse(self, text: str) -> Word:
        """Take a word as it stands."""
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
        """The word first."""
        return f"{self.word}|{self.kind.metavar}"

    @property
    def expected(self) -> str:
        """Either."""
        return f"{self.word} or {self.kind.expected}"

    @property
    def toml_types(self) -> tuple[type, ...]:
        """The types of the other kind, and a string."""
        return (*self.kind.toml_types, str)

    def parse(self, text: str) -> T | W:
        """Read the word exactly as it is spelled, any other text as the other kind does."""
        return self.value if text == self.word else self.kind.parse(text)

    def format(self, value: T | W) -> str:
        """Write the word for its value."""
        return self.word if value == self.value else self.kind.format(cast("T", value))


@dataclass(frozen=True, slots=True)
class TensorName(_Text):
    """A tensor of a TensorFlow graph; the name of an operation means its first output."""

    metavar: str = "TENSOR"
    expected: ClassVar[str] = "the name of a tensor, such as input or input:0"

    def parse(self, text: str) -> str:
        """Return ``NAME:INDEX``."""
        # The characters are those that TensorFlow allows in the name of an operation.
        match = re.fullmatch(r"([A-Za-z0-9.][A-Za-z0-9_.\\/>-]*)(:[0-9]+)?", text)
        if match is None:
            raise ValueError
        return match[1] + (match[2] or ":0")


@dataclass(frozen=True, slots=True)
class FedValue:
    """A placeholder of a graph and the value that it has in every run."""

    metavar: str = "NAME=VALUE"
    expected: ClassVar[str] = "NAME=VALUE, such as keep_prob=1.0 or phase_train=false"
    toml_types: ClassVar[tuple[type, ...]] = (str,)

    def parse(self, text: str) -> tuple[str, bool | float]:
        """Return name and value: true, false or a number."""
        name, _, value = text.partition("=")
        if value.lower() in ("true", "false"):
            return TensorName().parse(name).removesuffix(":0"), value.lower() == "true"
        number = float(value)
        if not isfinite(number):
            raise ValueError
        return TensorName().parse(name).removesuffix(":0"), number

    def format(self, value: tuple[str, bool | float]) -> str:
        """Write what `parse` reads."""
        name, number = value
        return f"{name}={str(number).lower() if isinstance(number, bool) else number!r}"


@dataclass(frozen=True, slots=True)
class Name(_Text):
    """A name that a model's author chose."""

    metavar: str = "NAME"
    expected: ClassVar[str] = "a name without spaces"

    def parse(self, text: str) -> str:
        """Take it as it stands."""
        if not text.isprintable() or text.split() != [text]:
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class Endpoint(_Text):
    """
    A Twisted server endpoint string.

    Only its outline is read here, for Twisted's own parser wants a reactor; what it refuses is
    refused when the server starts to listen.
    """

    metavar: str = "ENDPOINT"
    expected: ClassVar[str] = (
        "a Twisted server endpoint, such as tcp:12480:interface=127.0.0.1 or unix:/run/ferry.sock"
    )

    def parse(self, text: str) -> str:
        """Take ``TYPE:ARGUMENTS`` as it stands."""
        if re.fullmatch(r"[A-Za-z][\w.+-]*:.*\S", text) is None:
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class ReadableFile(_Text):
    """A file, or else a folder where that will do, that exists and can be read, now."""

    or_folder: bool = False
    stands_for_folder: str = ""  #: the name of a file whose folder will do, too
    folder_advice: str = "not a regular file"  #: what is wrong with any other folder

    @property
    def metavar(self) -> str:
        """What it may be."""
        return "PATH" if self.or_folder else "FILE"

    @property
    def expected(self) -> str:
        """What it may be."""
        return "a readable file or folder" if self.or_folder else "a readable file"

    def parse(self, text: str) -> Path:
        """Return the absolute path, for a daemon changes its folder; open it once to see."""
        path = Path(text).absolute()
        mode = path.stat().st_mode
        if text and stat.S_ISDIR(mode):
            if self.or_folder:
                next(path.iterdir(), None)
                return path
            if self.stands_for_folder and (path / self.stands_for_folder).is_file():
                return path
            raise OSError(None, self.folder_advice)
        # A pipe would be emptied, or waited for, by the first look at it.
        if not stat.S_ISREG(mode):
            raise OSError(None, "not a regular file")
        with path.open("rb"):
            return path


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off."""

    metavar: ClassVar[str] = ""  # a command line has two spellings instead
    expected: ClassVar[str] = "true or false"
    toml_types: ClassVar[tuple[type, ...]] = (bool,)

    def parse(self, text: str) -> bool:
        """Read the usual words for yes and no, in any case."""
        word = text.strip().lower()
        if word not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            raise ValueError
        return word in ("true", "yes", "on", "1")

    def format(self, value: bool) -> str:
        """Write TOML's word."""
        return "true" if value else "false"
