"""Metrics in Prometheus' format. Nothing here is counted for them: figures are read from their owners when asked for.

An owner keeps plain numbers (`hub.hears`, a `Counter`, a `Distribution`); `figures.py` says which of them are shown,
under which name. No label ever names an account, a person or anything else of which there are many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from subscriptions.counts import Distribution

Read = Callable[[], float]
ReadMany = Callable[[], Mapping[str, float]]
"""Reads one number, or one for each value of the label."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What is shown: its name, type, label and meaning, and where it is read."""

    name: str
    kind: str
    says: str
    label: str
    read: Callable[[], Metric]


class Metrics(Collector):
    """The figures of one process, with what the system knows of it (CPU, memory, open files)."""

    MEDIA_TYPE = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def gauge(self, name: str, says: str, read: Read) -> None:
        """Show a number that goes up and down."""
        self._add(name, "gauge", says, "", lambda: GaugeMetricFamily(name, says, value=float(read())))

    def gauges(self, name: str, says: str, label: str, read: ReadMany) -> None:
        """The same for each value of a label."""
        self._add(name, "gauge", says, label, lambda: _labelled(GaugeMetricFamily(name, says, labels=[label]), read))

    def counter(self, name: str, says: str, read: Read) -> None:
        """Show a number that only grows. Its name ends in `_total`."""
        self._add(name, "counter", says, "", lambda: CounterMetricFamily(name, says, value=float(read())))

    def counters(self, name: str, says: str, label: str, read: ReadMany) -> None:
        """The same for each value of a label."""
        self._add(
            name, "counter", says, label, lambda: _labelled(CounterMetricFamily(name, says, labels=[label]), read)
        )

    def histogram(self, name: str, says: str, kept: Distribution) -> None:
        """Show a distribution."""

        def read() -> Metric:
            return HistogramMetricFamily(name, says, buckets=kept.buckets(), sum_value=kept.total)

        self._add(name, "histogram", says, "", read)

    def _add(self, name: str, kind: str, says: str, label: str, read: Callable[[], Metric]) -> None:
        self.figures.append(Figure(name, kind, says, label, read))

    def collect(self) -> Iterator[Metric]:
        for figure in self.figures:
            yield figure.read()

    def text(self) -> bytes:
        """What Prometheus is answered."""
        return generate_latest(self._registry)


def _labelled(family: GaugeMetricFamily | CounterMetricFamily, read: ReadMany) -> Metric:
    for value, number in sorted(read().items()):
        family.add_metric([value], float(number))
    return family
