"""Which figures /metrics shows, and where each is read. The guide "from one machine to many" says what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from deskwire.metrics import Metrics
from models.database import PoolUse, pools
from resolvers.answers import outcomes

if TYPE_CHECKING:
    from deskwire.app import Deskwire


def metrics_of(deskwire: Deskwire) -> Metrics:
    """The metrics of one process."""
    metrics = Metrics()
    _of_the_process(metrics, deskwire)
    _of_requests(metrics, deskwire)
    _of_the_database(metrics, deskwire)
    _of_delivery(metrics, deskwire)
    return metrics


def _of_the_process(metrics: Metrics, deskwire: Deskwire) -> None:
    metrics.histogram(
        "deskwire_event_loop_lag_seconds",
        "How late a task of the event loop woke, asked twice a second.",
        deskwire.lag.distribution,
    )
    metrics.gauge(
        "deskwire_stopping", "1 from SIGTERM on: the process drains and is not ready.", deskwire.stopping.is_set
    )
    metrics.gauge(
        "deskwire_jobs_failing",
        "Background jobs whose last pass failed; /readyz names them.",
        lambda: len(deskwire.jobs.failing),
    )
    metrics.counters(
        "deskwire_job_things_total",
        "Things that background jobs of this process did.",
        "job",
        lambda: {job.name: job.done for job in deskwire.jobs.jobs},
    )


def _of_requests(metrics: Metrics, deskwire: Deskwire) -> None:
    traffic = deskwire.traffic
    metrics.counters(
        "deskwire_http_requests_total",
        "HTTP requests by the class of their answer; none: the client went away or was cut off before.",
        "status",
        lambda: traffic.answered,
    )
    metrics.gauge(
        "deskwire_http_requests_under_way", "HTTP requests that are being answered.", lambda: traffic.under_way
    )
    metrics.gauge("deskwire_changes_waiting", "Mutations that wait for their turn.", lambda: deskwire.changes.waiting)
    metrics.histogram(
        "deskwire_http_answer_seconds", "From a request's headers to the beginning of its answer.", traffic.seconds
    )
    metrics.counters(
        "deskwire_mutations_total", "Mutations: OK, or the code of their refusal.", "outcome", lambda: outcomes
    )


def _of_the_database(metrics: Metrics, deskwire: Deskwire) -> None:
    metrics.gauge(
        "deskwire_database_up",
        "1 if the database answered within a second, and would have taken a write.",
        lambda: deskwire.database.up,
    )
    metrics.gauge("deskwire_database_probe_seconds", "How long that answer took.", lambda: deskwire.database.seconds)
    for name, says, read in (
        ("in_use", "Connections of a pool to PostgreSQL that are in use.", lambda use: use.size - use.free),
        ("size", "Connections of a pool that are open.", lambda use: use.size),
        ("limit", "The most that a pool opens.", lambda use: use.most),
        ("waiting", "Tasks that wait for a connection of a pool.", lambda use: use.waiting),
    ):
        metrics.gauges(f"deskwire_database_pool_{name}", says, "pool", _by_pool(read))


def _by_pool(read: Callable[[PoolUse], float]) -> Callable[[], Mapping[str, float]]:
    return lambda: {name: read(use) for name, use in pools().items()}


def _of_delivery(metrics: Metrics, deskwire: Deskwire) -> None:
    metrics.gauge(
        "deskwire_bell_hears",
        "1 if this process hears its own beat through the broadcaster; 0: it lives by polling.",
        lambda: deskwire.bell.hears,
    )
    bell = deskwire.bell
    metrics.counter(
        "deskwire_bell_reconnects_total",
        "How often the broadcaster was there again after it was not.",
        lambda: bell.state.reconnects,
    )
    metrics.counter(
        "deskwire_bell_silences_total",
        "How often nothing was heard of the broadcaster, without an error.",
        lambda: bell.state.silences,
    )
    metrics.counter(
        "deskwire_bell_lost_publishes_total",
        "Messages that the broadcaster did not take. What rings for a position is rung again.",
        lambda: bell.state.lost_publishes,
    )
    connections, counts = deskwire.connections, deskwire.hub.counts
    metrics.gauge(
        "deskwire_connections", "Live connections: WebSockets, and responses that stream.", lambda: len(connections)
    )
    metrics.gauge("deskwire_tails", "Accounts that somebody listens to here.", lambda: deskwire.hub.size.tails)
    metrics.gauge("deskwire_cohorts", "Cohorts that are told as it happens.", lambda: deskwire.hub.size.cohorts)
    metrics.gauge("deskwire_members", "Subscriptions in them.", lambda: deskwire.hub.size.members)
    metrics.gauge("deskwire_catching_up", "Cohorts that catch up with the log.", lambda: deskwire.hub.size.late)
    metrics.counter("deskwire_events_told_total", "Events that were read and passed on.", lambda: counts.events)
    metrics.counter("deskwire_answers_total", "Executions of a subscription for an event.", lambda: counts.answers)
    metrics.counter(
        "deskwire_deliveries_total", "Answers that were sent, to one subscription each.", lambda: counts.deliveries
    )
    metrics.counter("deskwire_slow_consumers_total", "Streams that ended with SLOW_CONSUMER.", lambda: counts.slow)
    metrics.counter(
        "deskwire_poll_repairs_total",
        "Positions that polling found before the bell was heard: it is lost somewhere.",
        lambda: counts.repairs,
    )
    metrics.counter(
        "deskwire_poisoned_events_total", "Events that could not be read, and were left out.", lambda: counts.poisoned
    )
    metrics.histogram(
        "deskwire_delivery_seconds",
        "From an event's commit to its last frame, as clocks say.",
        deskwire.hub.counts.delays,
    )
