"""The alert rules and the dashboard: what they name is there, and what they compute can be parsed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from records import RECORD, VERDICT

from extproc.domain.effects import Classify, Scores, TextScore
from extproc.domain.errors import FailureKind
from extproc.domain.limits import LIMITS
from extproc.domain.segment import Operation, Unscanned
from extproc.domain.verdict import Action, Lane, Mode, Reason
from extproc.edge.bodies import BodyCounts
from extproc.edge.policy_source import PolicyStatus
from extproc.edge.readings import Readings
from extproc.edge.telemetry import Telemetry

FOLDER = Path(__file__).parents[2] / "envoy" / "observability"
RULES = yaml.safe_load((FOLDER / "prometheus-rules.yaml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
# What the scrape itself adds.
SCRAPED = {"instance", "job"}
WIDTH = 24

# Values that a label of a closed set can have.
VALUES: dict[str, set[str]] = {
    "action": {action.name.lower() for action in Action},
    "reason": {str(one) for one in Reason},
    "error_type": {str(one) for one in Reason} | {""},
    "mode": {str(one) for one in Mode} | {""},
    "lane": {str(one) for one in Lane},
    "kind": {str(one) for one in FailureKind},
    "operation": {str(one) for one in Operation} | {""},
    "effect": {"classify", "reserve", "settle", "renew"},
    "flow": {"reserved", "settled", "refunded"},
    "gen_ai_token_type": {"input", "output"},
    "content": {str(one) for one in Unscanned},
}


# --- what is exposed -------------------------------------------------------------------------


def readings() -> Readings:
    return Readings(
        ready=lambda: {"redis": True},
        streams_open=lambda: 1,
        request_bodies_bytes=lambda: 1,
        tasks_running=lambda: 1,
        classifier_queue_texts=lambda: 1,
        classifier_threads_busy=lambda: 1,
        ledger_available=lambda: True,
        verdict_log_queue_records=lambda: 1,
        verdict_log_dropped=lambda: 1,
        verdict_log_failures=lambda: 1,
        policy=lambda: PolicyStatus(digest="0" * 64, loaded_at_unix_ms=1),
        bodies=lambda: BodyCounts(kept=1, lost=1, expired=1, disk_bytes=1),
    )


def exposed() -> dict[str, set[str]]:
    """The labels of every metric, once each has counted something."""
    telemetry = Telemetry()
    telemetry.watch(readings())
    telemetry.record(replace(RECORD, tokens_refunded=1, verdicts=(replace(VERDICT, degraded=True),)))
    telemetry.record(replace(RECORD, action=Action.BLOCK, tokens_settled=None))
    effect = Classify(head="injection", texts=("x",))
    score = TextScore(score=0.5, windows=1, tokens=1, start=0, end=1)
    telemetry.effect(effect, Scores(head="injection", model="m", scores=(score,)), 1)
    telemetry.effect(effect, FailureKind.OVERLOADED, 1)
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(telemetry.exposition("")[0].decode())
        for sample in family.samples
    }


def recorded() -> dict[str, set[str]]:
    """The labels of what the recording rules make: those that they group by, or set."""
    return {
        rule["record"]: set(rule.get("labels", {})) | grouped_by(parsed(rule["expr"]))
        for group in RULES["groups"]
        for rule in group["rules"]
        if "record" in rule
    }


# --- expressions -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    """An expression and where it stands."""

    place: str
    text: str

    def __str__(self) -> str:
        return self.place


def parsed(text: str) -> promql.Expr:
    """An expression with Grafana's variables filled in."""
    for name, value in (
        ("$__rate_interval", "5m"),
        ("$instance", ".*"),
        ("$tenant", ".*"),
        ("$model", ".*"),
    ):
        text = text.replace(name, value)
    assert "$" not in text
    return promql.parse(text)


def nodes(expr: object) -> Iterator[object]:
    yield expr
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        below = getattr(expr, name, None)
        if below is not None:
            yield from nodes(below)
    for argument in getattr(expr, "args", None) or ():
        yield from nodes(argument)


def selectors(expr: object) -> list[promql.VectorSelector]:
    return [node for node in nodes(expr) if isinstance(node, promql.VectorSelector)]


def grouped_by(expr: object) -> set[str]:
    """The labels that a result keeps: those of its outermost aggregation."""
    for node in nodes(expr):
        if isinstance(node, promql.AggregateExpr):
            return set(node.modifier.labels) if node.modifier is not None else set()
    return {label for selector in selectors(expr) for label in (*SCRAPED, *ALL[selector.name])}


ALL: dict[str, set[str]] = {}
ALL |= exposed()
ALL |= recorded()

ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    *(
        Query(rule.get("alert") or rule["record"], rule["expr"])
        for group in RULES["groups"]
        for rule in group["rules"]
    ),
    *(Query(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]),
    *(Query(one["name"], one["expr"]) for one in DASHBOARD["annotations"]["list"]),
]


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_every_metric_and_label_that_is_asked_for_is_exposed(query):
    expr = parsed(query.text)
    found = selectors(expr)
    assert found or query.text.startswith("vector(")
    for selector in found:
        assert selector.name in ALL
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= ALL[selector.name] | SCRAPED
    known = {label for selector in found for label in ALL[selector.name]} | SCRAPED
    for node in nodes(expr):
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= known


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_every_value_that_is_asked_for_can_occur(query):
    for selector in selectors(parsed(query.text)):
        for matcher in selector.matchers.matchers:
            if matcher.name not in VALUES:
                continue
            regular = matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe)
            asked = matcher.value.split("|") if regular else [matcher.value]
            assert set(asked) <= VALUES[matcher.name]


def test_a_metric_that_is_not_there_would_be_noticed():
    assert "headgate_exchanges_total" in ALL
    assert "headgate_exchanges" not in ALL
    with pytest.raises(ValueError, match="unclosed"):
        parsed("sum(rate(headgate_exchanges_total[5m])")


# --- the rules -------------------------------------------------------------------------------


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_has_the_shape_of_one(alert):
    assert set(alert) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Headgate[A-Z][A-Za-z]+", alert["alert"])
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(alert["labels"]) == {"severity"}
    assert alert["annotations"]["summary"]
    assert re.fullmatch(r"\d+[smh]", alert.get("for", "0s"))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_speaks_only_of_labels_that_it_has(alert):
    spoken = set(re.findall(r"\$labels\.(\w+)", " ".join(alert["annotations"].values())))
    assert spoken <= grouped_by(parsed(alert["expr"]))


def test_names_are_said_once():
    names = [alert["alert"] for alert in ALERTS]
    assert len(set(names)) == len(names)
    groups = [group["name"] for group in RULES["groups"]]
    assert len(set(groups)) == len(groups)


def test_the_alert_on_streams_knows_their_bound():
    (alert,) = [one for one in ALERTS if one["alert"] == "HeadgateStreamsNearTheirBound"]
    bound = re.search(r"> (\d+)$", alert["expr"])
    assert bound is not None
    assert int(bound[1]) == LIMITS.streams_open_max * 8 // 10


# --- the dashboard ---------------------------------------------------------------------------


def test_panels_have_places_of_their_own():
    places = [(panel["id"], *panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    ids = [place[0] for place in places]
    assert len(set(ids)) == len(ids)
    boxes = [
        (at["x"], at["y"], at["x"] + at["w"], at["y"] + at["h"])
        for at in (panel["gridPos"] for panel in DASHBOARD["panels"])
    ]
    assert all(right <= WIDTH for _, _, right, _ in boxes)
    for one, other in combinations(boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart


def test_panels_read_the_chosen_data_source():
    variable = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert panel["datasource"] == variable
        assert panel["targets"]
        assert all(target["datasource"] == variable for target in panel["targets"])
        assert panel["title"]


def test_variables_are_filled_from_what_is_exposed():
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"datasource", "instance", "tenant", "model"}
    for name in ("instance", "tenant", "model"):
        found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables[name]["query"]["query"])
        assert found is not None
        assert found[2] in ALL[found[1]] | SCRAPED


def test_every_metric_of_ours_is_on_the_dashboard_or_watched():
    asked = {selector.name for query in QUERIES for selector in selectors(parsed(query.text))}
    shown = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in asked}
    ours = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in exposed() if "process" not in name}
    assert ours - shown == set()


# --- the page --------------------------------------------------------------------------------


def test_the_page_lists_every_metric_with_its_labels():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed: dict[str, set[str]] = {}
    for names, labels in re.findall(r"^\| (`[^|]*?) \| ?([^|]*?) ?\|$", page, flags=re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            listed[name] = set(filter(None, labels.split(", ")))
    ours = {
        re.sub(r"_(bucket|sum|count)$", "", name): labels - {"le"}
        for name, labels in exposed().items()
        if not name.startswith("process_")
    }
    assert listed == ours
