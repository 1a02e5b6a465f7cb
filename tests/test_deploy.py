"""The files that operators deploy: deploy/, and the links between them and docs/operations.md."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import grafana_dashboard

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana-dashboard.json"
PAGE = ROOT / "docs" / "operations.md"


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard in the file, rows included."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def test_the_dashboard_is_up_to_date() -> None:
    """To update it: python -m deploy.grafana_dashboard > deploy/grafana-dashboard.json."""
    assert DASHBOARD.read_text() == grafana_dashboard.text()


def test_each_panel_can_be_shown() -> None:
    """It has an id and a place of its own, and says what it shows and what to do."""
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < grafana_dashboard.COLUMNS
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["description"].count(". ") + panel["description"].count(": ") > 0, panel
            names = [target["refId"] for target in panel["targets"]]
            assert len(set(names)) == len(names) > 0


def test_the_variables_of_the_dashboard_are_those_of_its_queries() -> None:
    """Each is used, and none is missing; Grafana has those that begin with two underscores."""
    content = json.loads(DASHBOARD.read_text())
    declared = {it["name"] for it in content["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(content["panels"])))
    assert {it for it in used if not it.startswith("__")} == declared


def alerts() -> list[dict[str, Any]]:
    """Return the rules of the alerts."""
    (group,) = yaml.safe_load((DEPLOY / "prometheus-alerts.yaml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """It has a severity, a text, and a link to a row or section of the page."""
    assert re.fullmatch(r"\d+[sm]", rule["for"])
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert ROOT / page == PAGE
    (row,) = re.findall(rf'^\| <a id="{anchor}"></a>(.*?) \|', PAGE.read_text(), re.MULTILINE)
    assert rule["alert"].removeprefix("TensorFerry") in row.split(", ")


def test_the_links_of_the_page_have_targets() -> None:
    """Both its own sections, and other files."""
    text = PAGE.read_text()
    titles = re.findall(r"^##+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", it).lower().replace(" ", "-") for it in titles}
    anchors |= set(re.findall(r'<a id="(.+?)">', text))
    for target in re.findall(r"\]\((.+?)\)", text):
        path, _, anchor = target.partition("#")
        assert (PAGE.parent / path).exists(), target
        assert path or anchor in anchors, target


# --- Prometheus: which pods its jobs find


def relabelled(labels: dict[str, str], rules: list[dict[str, Any]]) -> dict[str, str] | None:
    """Return *labels* after the relabelling by *rules*, as Prometheus does it; None: dropped."""
    for rule in rules:
        sources = [labels.get(name, "") for name in rule.get("source_labels", ())]
        found = re.fullmatch(rule.get("regex", "(.*)"), ";".join(sources))
        if rule.get("action") == "keep":
            if found is None:
                return None
        elif found is not None:
            template = re.sub(r"\$(\d)", r"\\\1", rule.get("replacement", "$1"))
            labels = {**labels, rule["target_label"]: found.expand(template)}
    return labels


def meta_labels(kind: str, fields: dict[str, str]) -> dict[str, str]:
    """Return the *fields* of a pod under the names that Prometheus gives them."""
    return {
        f"__meta_kubernetes_pod_{kind}_{re.sub('[^a-zA-Z0-9]', '_', name)}": value
        for name, value in fields.items()
    }


def test_each_job_for_pods_finds_those_it_is_for_and_no_others() -> None:
    """Those of KServe have the labels and annotations of the runtime."""
    jobs = yaml.safe_load((DEPLOY / "prometheus-scrape.yaml").read_text())["scrape_configs"]
    runtime = yaml.safe_load((DEPLOY / "kserve-serving-runtime.yaml").read_text())["spec"]
    annotated = {"prometheus.io/scrape": "true", "prometheus.io/port": "12480"}
    pods = {
        "tensorferry-pods": ({"app": "tensorferry"}, annotated),
        "tensorferry-kserve": (runtime["labels"], runtime["annotations"]),
    }
    ports = {"tensorferry-pods": 12480, "tensorferry-kserve": 8080}
    for job in jobs[1:]:
        for name, (labels, annotations) in pods.items():
            found = relabelled(
                {
                    "__address__": "10.0.0.9",
                    "__meta_kubernetes_pod_name": "pod-0",
                    **meta_labels("label", labels),
                    **meta_labels("annotation", annotations),
                },
                job["relabel_configs"],
            )
            assert (found is None) is (name != job["job_name"])
            if found is not None:
                assert found["__address__"] == f"10.0.0.9:{ports[name]}"
                assert (found["job"], found["instance"]) == ("tensorferry", "pod-0")


# --- KEDA: the fields of a ScaledObject, keda.sh/v1alpha1, as its CRD has them

FIELDS: dict[str, type] = {
    "scaleTargetRef": dict,
    "pollingInterval": int,
    "cooldownPeriod": int,
    "minReplicaCount": int,
    "maxReplicaCount": int,
    "fallback": dict,
    "advanced": dict,
    "triggers": list,
}

FALLBACKS = {"static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"}


def check_trigger(trigger: dict[str, Any], required: set[str], more: set[str]) -> None:
    """Check the fields of *trigger*; all values of its metadata are texts."""
    assert set(trigger) == {"type", "metricType", "metadata"}
    assert trigger["metricType"] == "Value"  # AverageValue is for values that servers share
    assert required <= set(trigger["metadata"]) <= required | more
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_the_scaled_object_has_the_fields_of_keda() -> None:
    """Each of its type; at least one server is kept."""
    content = yaml.safe_load((DEPLOY / "keda-scaledobject.yaml").read_text())
    assert (content["apiVersion"], content["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    spec = content["spec"]
    assert {name: type(value) for name, value in spec.items()} == FIELDS
    assert spec["scaleTargetRef"]["name"]
    assert 1 <= spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
    assert spec["fallback"]["failureThreshold"] > 0
    assert spec["fallback"]["behavior"] in FALLBACKS
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    for direction in ("scaleUp", "scaleDown"):
        assert 0 <= behavior[direction]["stabilizationWindowSeconds"] <= 3600
        for policy in behavior[direction]["policies"]:
            assert policy["type"] in {"Pods", "Percent"}
            assert (policy["value"] > 0, 0 < policy["periodSeconds"] <= 1800) == (True, True)
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "prometheus"
    check_trigger(trigger, {"serverAddress", "query", "threshold"}, {"ignoreNullValues"})


def test_the_trigger_without_prometheus_can_be_used() -> None:
    """If its lines are no comment, they are a trigger, too."""
    _, _, rest = (DEPLOY / "keda-scaledobject.yaml").read_text().partition("#    - type:")
    (trigger,) = yaml.safe_load(f"#    - type:{rest}".replace("#", ""))
    assert trigger["type"] == "metrics-api"
    check_trigger(
        trigger,
        {"url", "valueLocation", "targetValue"},
        {"format", "aggregateFromKubeServiceEndpoints", "aggregationType"},
    )


def test_the_threshold_is_the_one_that_the_page_explains() -> None:
    """For a limit of 0.5 s and runs of 0.1 s."""
    text = (DEPLOY / "keda-scaledobject.yaml").read_text()
    threshold = f"{(0.5 - 0.1) / 2:.1f}"
    assert re.findall(r'(?:threshold|targetValue): "(.+)"', text) == [threshold] * 2
    assert f"{threshold} s for a limit of 0.5 s and a run of 0.1 s" in PAGE.read_text()
