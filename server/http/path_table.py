"""
A table of paths: which forms there are, and which of them a path has.

Pure.  The same table reads the paths of requests and lists them in the description of the API.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar
from urllib.parse import unquote

T = TypeVar("T")


class PathTable(Generic[T]):
    """
    Values by the forms of paths, such as ``{model}/versions/{version}``.

    A word in braces stands for any text that is not empty; if several forms fit a path, the first
    one counts.
    """

    def __init__(self, rows: Mapping[str, T]) -> None:
        self.rows = rows
        self._by_length: dict[int, list[tuple[list[str], T]]] = {}
        for form, value in rows.items():
            words = form.split("/")
            self._by_length.setdefault(len(words), []).append((words, value))

    def find(self, path: str) -> tuple[T, Mapping[str, str]] | None:
        """
        Return the value for *path*, and the texts for the words in braces; None if no form fits.

        *path* is as sent; the texts are decoded.
        """
        parts = [unquote(part) for part in path.split("/")]
        for words, value in self._by_length.get(len(parts), ()):
            if all(map(_fits, words, parts)):
                pairs = zip(words, parts, strict=True)
                return value, {word[1:-1]: part for word, part in pairs if word.startswith("{")}
        return None


def _fits(word: str, part: str) -> bool:
    return part != "" if word.startswith("{") else part == word
