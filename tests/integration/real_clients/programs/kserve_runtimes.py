"""
Check a YAML file against the models of KServe's and Kubernetes' Python clients; print it as JSON.
"""

import json
import re
import sys
from pathlib import Path

import kserve.models
import kubernetes.client
import yaml

PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}


def check(value, kind, path):
    """Check that *value* at *path* has the type *kind*, as the clients write it, and no more."""
    if inner := re.fullmatch(r"[lL]ist\[(.*)\]", kind):
        assert isinstance(value, list), path
        for index, each in enumerate(value):
            check(each, inner[1], f"{path}[{index}]")
    elif inner := re.fullmatch(r"[dD]ict[(\[]str, (.*)[)\]]", kind):
        assert isinstance(value, dict), path
        for key, each in value.items():
            check(each, inner[1], f"{path}.{key}")
    elif kind in PLAIN:
        assert isinstance(value, PLAIN[kind]), f"{path}: expected {kind}, got {value!r}"
    else:
        check_object(value, kind, path)


def check_object(value, kind, path):
    """Check the fields of an object; its class raises a ValueError without the required ones."""
    model = getattr(kserve.models, kind, None) or getattr(kubernetes.client, kind)
    fields = {key: name for name, key in model.attribute_map.items()}
    assert isinstance(value, dict), path
    unknown = value.keys() - fields.keys()
    assert not unknown, f"{path}: unknown {sorted(unknown)}"
    for key, each in value.items():
        check(each, model.openapi_types[fields[key]], f"{path}.{key}")
    model(**{fields[key]: each for key, each in value.items()})


document = yaml.safe_load(Path(sys.argv[1]).read_text())
assert document["apiVersion"] == "serving.kserve.io/v1alpha1"
check(document, f"V1alpha1{document['kind']}", document["kind"])
print(json.dumps(document))
