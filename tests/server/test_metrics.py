"""`/metrics`: what is served, and that the guide describes exactly that."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deskwire.app import create_app
from deskwire.config import Config
from deskwire.metrics import Metrics
from subscriptions.counts import Distribution
from tests.server.conftest import Start
from tests.server.process import CHECKOUT, PATIENCE, Server
from tests.server.stage import Stage, staged
from tests.server.system import eventually

GUIDE = CHECKOUT / "docs" / "guides" / "from-one-machine-to-many.md"
ROW = re.compile(r"^\| `(deskwire_\w+)(?:\{(\w+)\})?` \| (\w+) \| (.+) \|$", re.MULTILINE)
UNITS = ("_seconds", "_bytes", "_total")


@pytest.fixture(scope="module")
def stage(url: str) -> Stage:
    return staged(url)


@pytest.fixture
def server(url: str, stage: Stage, start: Start) -> Iterator[Server]:
    server = start(url)
    yield server
    server.close()


def scraped(server: Server) -> dict[tuple[str, str], float]:
    """The numbers by their name and the value of their label."""
    answer = httpx.get(f"{server.address}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, "".join(sample.labels.values())): sample.value for each in families for sample in each.samples
    }


def test_requests_and_mutations_are_counted(server: Server, stage: Stage, url: str) -> None:
    before = scraped(server)
    server.post(stage.customer, "SendMessage", input={"body": "Counted"})
    refused = server.post(stage.customer, "SendMessage", input={"body": ""})
    assert [each["code"] for each in refused["sendMessage"]["userErrors"]] == ["INVALID_INPUT"]
    assert httpx.post(f"{server.address}/graphql", json={"query": "{ viewer { user { id } } }"}).status_code == 401
    after = scraped(server)
    grown = {key: value - before.get(key, 0) for key, value in after.items()}
    assert grown["deskwire_mutations_total", "OK"] == 1
    assert grown["deskwire_mutations_total", "INVALID_INPUT"] == 1
    # The first scrape, too: it had not ended when it was answered.
    assert grown["deskwire_http_requests_total", "2xx"] == 3
    assert grown["deskwire_http_requests_total", "4xx"] == 1
    assert grown["deskwire_http_answer_seconds_count", ""] == 4
    assert after["deskwire_http_requests_under_way", ""] == 1


def test_the_state_of_the_process_is_told(server: Server, url: str) -> None:
    assert eventually(lambda: scraped(server)["deskwire_database_up", ""] == 1)
    told = scraped(server)
    assert 0 < told["deskwire_database_probe_seconds", ""] < PATIENCE
    assert told["deskwire_stopping", ""] == 0
    assert told["deskwire_jobs_failing", ""] == 0
    assert told["process_resident_memory_bytes", ""] > 10_000_000
    pools = {label for name, label in told if name == "deskwire_database_pool_size"}
    assert pools == (set() if url.startswith("sqlite:") else {"default", "reader"})
    if pools:
        assert told["deskwire_database_pool_limit", "reader"] == 10


def metrics() -> Metrics:
    found: Metrics = create_app(Config()).state.deskwire.metrics
    return found


def test_the_guide_describes_what_is_served() -> None:
    """Name, label, type and meaning, in the order of the answer."""
    described = ROW.findall(GUIDE.read_text())
    assert described == [(each.name, each.label, each.kind, each.says) for each in metrics().figures]


def test_names_are_as_prometheus_wants_them() -> None:
    for each in metrics().figures:
        assert re.fullmatch(r"deskwire_[a-z_]+", each.name)
        assert each.name.endswith("_total") == (each.kind == "counter"), each.name
        assert each.kind != "histogram" or each.name.endswith(UNITS), each.name


@pytest.mark.parametrize(("value", "bucket"), [(0.0, 0), (1.0, 0), (1.5, 1), (2.0, 1), (9.0, 2)])
def test_a_value_is_in_the_bucket_of_the_next_bound(value: float, bucket: int) -> None:
    kept = Distribution((1.0, 2.0))
    kept.note(value)
    assert kept.counts.index(1) == bucket
    assert kept.total == value
    assert kept.buckets()[-1] == ("+Inf", 1.0)
    assert [count for _, count in kept.buckets()] == sorted(count for _, count in kept.buckets())
