"""
`python -m deploy.grafana_dashboard > deploy/grafana-dashboard.json`: make the Grafana dashboard.

The panels are in deploy/grafana_panels.py; here are their ids, positions and data source, so that
these are right everywhere.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from deploy.grafana_panels import MODEL, ROWS, SERVER, Panel

#: The version of Grafana's schema of dashboards: that of Grafana 10.3; later ones migrate it.
SCHEMA_VERSION = 39

COLUMNS = 24  #: of Grafana's grid
PANEL_WIDTH, PANEL_HEIGHT = 8, 8

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


#: The variables after the data source: labels, each with a series that has it.
VARIABLES = {
    "job": "tensorferry_build_info",
    "instance": 'tensorferry_build_info{job=~"$job"}',
    "model": f"tensorferry_requests_total{{{SERVER}}}",
    "version": f"tensorferry_queue_rows{{{MODEL}}}",
}


def panels() -> Iterator[dict[str, Any]]:
    """Yield the rows and the panels, as Grafana stores them."""
    top = number = 0
    for title, row in ROWS.items():
        number += 1
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": title, "gridPos": place, "panels": []}
        top += 1
        for index, panel in enumerate(row):
            number += 1
            line, column = divmod(index * PANEL_WIDTH, COLUMNS)
            place = {
                "x": column,
                "y": top + line * PANEL_HEIGHT,
                "w": PANEL_WIDTH,
                "h": PANEL_HEIGHT,
            }
            yield graph(panel, number, place)
        top += -(-len(row) * PANEL_WIDTH // COLUMNS) * PANEL_HEIGHT


def graph(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    """Return *panel* at *place*, as Grafana stores it."""
    targets = [
        {"refId": chr(ord("A") + index), "expr": query, "legendFormat": name}
        for index, (query, name) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "gridPos": place,
        "datasource": DATA_SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [{**target, "datasource": DATA_SOURCE} for target in targets],
    }


def variables() -> Iterator[dict[str, Any]]:
    """Yield the variables: the data source, and the filters, each of which starts with all."""
    yield {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }
    for label, series in VARIABLES.items():
        query = f"label_values({series}, {label})"
        yield {
            "name": label,
            "label": label.capitalize(),
            "type": "query",
            "datasource": DATA_SOURCE,
            "definition": query,
            "query": {"query": query, "refId": label},
            "refresh": 2,  # when the time range changes
            "sort": 1,  # by name
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }


def dashboard() -> dict[str, Any]:
    """Return the dashboard, as Grafana imports it."""
    return {
        "uid": "tensorferry",
        "title": "TensorFerry",
        "description": "Servers of TensorFerry; docs/operations.md explains what to do.",
        "tags": ["tensorferry"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": list(variables())},
        "annotations": {"list": []},
        "panels": list(panels()),
    }


def text() -> str:
    """Return the contents of the file, which has one line for each field and each panel."""
    fields = {name: json.dumps(value) for name, value in dashboard().items()}
    lines = ",\n".join(map(json.dumps, panels()))
    fields["panels"] = f"[\n{lines}\n]"
    return "{\n" + ",\n".join(f'"{name}": {value}' for name, value in fields.items()) + "\n}\n"


if __name__ == "__main__":
    sys.stdout.write(text())
