"""Percentiles from the buckets of a histogram."""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

from extproc.demo.evidence import Buckets, Evidence


@dataclass(frozen=True, slots=True)
class Latency:
    """One service on one side of Envoy, `upstream` or `downstream`."""

    side: str
    service: str
    count: int
    p50_seconds: float
    p90_seconds: float
    p99_seconds: float


def latencies(evidence: Evidence) -> tuple[Latency, ...]:
    """Every service's latency, upstream first."""
    sides = {"upstream": evidence.upstream, "downstream": evidence.downstream}
    return tuple(
        _latency(side, service, buckets)
        for side, services in sides.items()
        for service, buckets in sorted(services.items())
        if sum(buckets.counts)
    )


def percentile(buckets: Buckets, share: float) -> float:
    """The seconds that `share` of the values do not exceed, as if values lay evenly in their bucket.

    In the last bucket, which has no upper bound, it is that bucket's lower bound: what PromQL's histogram_quantile
    answers too. There has to be a value.
    """
    rank = share * sum(buckets.counts)
    up_to = list(accumulate(buckets.counts))
    index = bisect_left(up_to, rank)
    if index >= len(buckets.bounds):
        return buckets.bounds[-1]
    lower = buckets.bounds[index - 1] if index else 0.0
    below = up_to[index - 1] if index else 0
    return lower + (buckets.bounds[index] - lower) * (rank - below) / buckets.counts[index]


def _latency(side: str, service: str, buckets: Buckets) -> Latency:
    p50, p90, p99 = (percentile(buckets, share) for share in (0.5, 0.9, 0.99))
    return Latency(side, service, sum(buckets.counts), p50, p90, p99)
