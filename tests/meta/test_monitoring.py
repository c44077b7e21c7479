"""The alerts and the dashboard use metrics, labels and values that a node has (`support.prometheus`)."""

import json
import re

import pytest
import yaml

from p2p_oicp.storage.cdrs import CdrState
from p2p_oicp.storage.sessions import SessionState
from tests.support.paths import ROOT
from tests.support.prometheus import HISTOGRAMS, METRICS, PREFIX

ALERTS = yaml.safe_load((ROOT / "contrib/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((ROOT / "contrib/grafana/p2p-oicp.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
#: Those that Prometheus adds to each series.
OF_PROMETHEUS = {"instance", "job", "le"}
STATES = {"sessions": {*SessionState}, "cdrs": {*CdrState}, "outbox_messages": {"waiting", "dead", "held"}}

EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in ALERTS} | {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]
}
VARIABLES = {each["name"]: each["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_an_expression_uses_metrics_and_labels_that_exist(expression):
    used = [metric_of(name) for name in re.findall(rf"\b{PREFIX}(\w+)", expression)]
    assert used or expression.startswith("up{")
    assert [name for name in used if name not in METRICS] == []
    allowed = OF_PROMETHEUS.union(*(METRICS[name] for name in used))
    for metric, matchers in re.findall(r"(\w+)\{([^}]*)\}", expression):
        own = METRICS.get(metric_of(metric.removeprefix(PREFIX)), set()) | OF_PROMETHEUS
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= own, matchers
    for grouped in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
        assert set(grouped.split(", ")) <= allowed


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_states_in_an_expression_are_states(expression):
    for metric, values in re.findall(rf'{PREFIX}(\w+)\{{[^}}]*state\S{{1,2}}"([^"]*)"', expression):
        assert set(values.split("|")) <= STATES[metric]


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_brackets_of_an_expression_are_closed(expression):
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_each_metric_of_a_node_is_on_the_dashboard():
    text = " ".join(EXPRESSIONS.values()) + " ".join(VARIABLES.values())
    assert [name for name in METRICS if f"{PREFIX}{name}" not in text] == []


@pytest.mark.parametrize("query", VARIABLES.values(), ids=VARIABLES)
def test_a_variable_of_the_dashboard_lists_a_label_that_exists(query):
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()
    assert label in METRICS[metric.removeprefix(PREFIX)] | OF_PROMETHEUS


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_how_bad_it_is(rule):
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description"}
    texts = " ".join(rule["annotations"].values())
    used = {metric_of(name) for name in re.findall(rf"\b{PREFIX}(\w+)", rule["expr"])}
    labels = OF_PROMETHEUS.union(*(METRICS[name] for name in used))
    assert set(re.findall(r"\$labels\.(\w+)", texts)) <= labels


def test_panels_do_not_overlap():
    places = [
        (x, y)
        for grid in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24


def metric_of(name: str) -> str:
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if base in HISTOGRAMS else name
