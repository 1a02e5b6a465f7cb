"""
The version policy of a model, a message that TensorFlow Serving and Triton have in common.
"""

from collections.abc import Mapping
from typing import Any

from model.repository.serving_toml import MAX_VERSION
from model.repository.text_fields import Fields, Inner, Several, TextFile, whole

#: The fields of the message.
VERSION_POLICY: Fields = {
    "latest": Inner({"num_versions": whole(0, 2**32 - 1)}),
    "all": Inner({}),
    "specific": Inner({"versions": Several(whole(0, MAX_VERSION))}),
}


def versions_of(file: TextFile, line: int, policy: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the values of `ServingFacts` for a version *policy*, a message of *file* at *line*.

    Raises `ModelError` if it states several policies, or specific versions without one.
    """
    if len(policy) > 1:
        raise file.error(line, f"the version policy states {' and '.join(policy)}: give one")
    if "all" in policy:
        return {"latest": None}
    if "specific" in policy:
        versions = policy["specific"].get("versions", [])
        if not versions:
            raise file.error(line, "the version policy names no specific version")
        return {"latest": None, "versions": tuple(sorted(set(versions)))}
    return {"latest": policy.get("latest", {}).get("num_versions") or 1}
