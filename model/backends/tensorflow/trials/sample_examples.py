"""
Make a tf.train.Example that a model can parse, by reading the model's errors for other Examples.

A signature does not state which features an Example needs, nor their kinds and sizes.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

#: Largest number of values of one feature that is tried, where the error does not state it.
MAX_VALUES = 128

_MISSING = re.compile(r"Feature: (.+) \(data type: (float|int64|string)\) is required")
_WRONG_SIZE = re.compile(r"Key: (.+), Index: \d+\. .*size: \d+ but output shape: \[([\d,]*)\]")
_UNPARSED = re.compile(r"Key: (.+)\.  Can't parse serialized Example")


@dataclass(slots=True)
class _Feature:
    """The known facts about one feature."""

    kind: str  #: float, int64 or string
    size: int = 1  #: values


def parsable_example(
    refusal_reason: Callable[[bytes], str], strings: Sequence[bytes]
) -> bytes | None:
    """
    Return a serialised Example that the model takes; None if none was found.

    The numbers in the Example are 0, and its strings are all equal to one of *strings*.
    *refusal_reason* returns the model's error for an Example, or an empty string if the model takes
    it.
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
    """Add to *features* what the error *refusal* states; return whether any of that was new."""
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
