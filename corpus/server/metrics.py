"""Progress and balance in the words of Prometheus. Knows a summary's numbers; counts nothing itself."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from corpus.server.report import KINDS

CONTENT_TYPE = CONTENT_TYPE_LATEST
_GAUGES = {
    "wanted": "Cases to write, the seed corpus apart.",
    "leased": "Instructions in somebody's hands.",
    "waiting_for_review": "Texts that a person has to read.",
    "worst_error": "How far the most uneven level is from its share, in cases.",
    "pairs_seen": "Pairs of levels that an issued cell has had.",
    "pairs_feasible": "Pairs of levels that a cell can have.",
}


class _Told(Collector):
    def __init__(self, summary: Mapping[str, Any]) -> None:
        self._summary = summary

    def collect(self) -> Iterator[Metric]:
        events = CounterMetricFamily("corpus_events", "Events of the log.", labels=["kind"])
        for kind in KINDS:
            events.add_metric([kind], self._summary[kind])
        yield events
        for name, said in _GAUGES.items():
            yield GaugeMetricFamily(f"corpus_{name}", said, value=self._summary[name])
        cases = GaugeMetricFamily("corpus_cases", "Cases of a level.", labels=["dimension", "level", "where"])
        for dimension, levels in self._summary["levels"].items():
            for level, row in levels.items():
                for where, count in row.items():
                    cases.add_metric([dimension, level, where], count)
        yield cases


def scrape(summary: Mapping[str, Any]) -> bytes:
    """Return the numbers of `report.numbers` as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(summary))
    return generate_latest(registry)
