"""
Make a tf.train.Example that a model parses, from what it says of those that it refuses.

Which features it wants, of what kinds and sizes, stands in no signature.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

#: Values of one feature that are tried where the model says no more than that there are too few.
MAX_VALUES = 128

_MISSING = re.compile(r"Feature: (.+) \(data type: (float|int64|string)\) is required")
_WRONG_SIZE = re.compile(r"Key: (.+), Index: \d+\. .*size: \d+ but output shape: \[([\d,]*)\]")
_UNPARSED = re.compile(r"Key: (.+)\.  Can't parse serialized Example")


@dataclass(slots=True)
class _Feature:
    """What is known of one feature."""

    kind: str  #: float, int64 or string
    size: int = 1


def parsable_example(
    refusal_reason: Callable[[bytes], str], strings: Sequence[bytes]
) -> bytes | None:
    """
    Return a serialised Example of zeros, and one of *strings*; None where none was found.

    *why_refused* returns what the model says of an Example; an empty string where it is taken.
    """
    features: dict[str, _Feature] = {}
    for string in strings:
        while True:
            example = _serialised(features, string)
            refusal = refusal_reason(example)
            if not refusal:
                return example
            if not _learn_feature(refusal, features):
                break
        if all(feature.kind != "string" for feature in features.values()):
            return None
    return None


def _learn_feature(refusal: str, features: dict[str, _Feature]) -> bool:
    """Whether *refusal* says something new of *features*, which then have it."""
    if (missing := _MISSING.search(refusal)) and missing[1] not in features:
        features[missing[1]] = _Feature(missing[2])
        return True
    if (wrong := _WRONG_SIZE.search(refusal)) and (feature := features.get(wrong[1])):
        size = prod(int(each) for each in wrong[2].split(",") if each)
        feature.size, before = size, feature.size
        return size != before
    if (unparsed := _UNPARSED.search(refusal)) and (feature := features.get(unparsed[1])):
        feature.size += 1
        return feature.size <= MAX_VALUES
    return False


def _serialised(features: dict[str, _Feature], string: bytes) -> bytes:
    import tensorflow as tf

    example = tf.train.Example()
    for name, feature in features.items():
        values = example.features.feature[name]
        match feature.kind:
            case "float":
                values.float_list.value.extend([0.0] * feature.size)
            case "int64":
                values.int64_list.value.extend([0] * feature.size)
            case _:
                values.bytes_list.value.extend([string] * feature.size)
    data: bytes = example.SerializeToString(deterministic=True)
    return data
