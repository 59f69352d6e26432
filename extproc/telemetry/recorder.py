"""Outcomes to counters and histograms, for one worker.

No locks of its own: one thread at a time, no method waits. `bench/micro/` measures what a request costs.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

from extproc.engine.audit import AuditRecord
from extproc.engine.outcome import BOUNDED, Outcome, Phase, StreamError
from extproc.engine.span import Span
from extproc.policy.plan import ANY_PATH
from extproc.telemetry import instruments
from extproc.telemetry.cells import HistogramCell, NumberCell, admit
from extproc.telemetry.delta import Delta
from extproc.telemetry.instruments import (
    CARDINALITY_LIMIT,
    INSTRUMENTS,
    SECONDS,
    AttributeSet,
    AttributeValue,
    Instrument,
    Kind,
    attribute_set,
)

ROW_LIMIT: Final = 20_000
"""Combinations of an Outcome's bounded fields that are remembered; past it all are forgotten and looked up anew."""

AUDIT_LIMIT: Final = 10_000
"""Audit records that are kept until they are collected; more are dropped and counted."""

SPAN_LIMIT: Final = 10_000
"""Spans that wait for `collect` at the most; what comes beyond is dropped and counted."""

_FIRST_ERROR_STATUS: Final = 400


@dataclass(frozen=True, slots=True)
class _Row:
    """The cells of all metrics that one combination of an Outcome's fields adds to; None where it adds nothing."""

    requests: NumberCell
    decisions: NumberCell | None
    http_errors: NumberCell | None
    errors: NumberCell | None
    duration: HistogramCell
    server: HistogramCell
    answered: "_Answered | None"


@dataclass(frozen=True, slots=True)
class _Answered:
    """The cells that only a request with a response adds to."""

    upstream: HistogramCell
    client: HistogramCell
    downstream: HistogramCell
    attempts: NumberCell
    request_size: HistogramCell
    response_size: HistogramCell


class Recorder:
    """What one worker saw since the last `collect`.

    Args:
        limit: Attribute sets per metric, the overflow set among them.
        row_limit: See ROW_LIMIT.
        audit_limit: See AUDIT_LIMIT.
    """

    def __init__(
        self, *, limit: int = CARDINALITY_LIMIT, row_limit: int = ROW_LIMIT, audit_limit: int = AUDIT_LIMIT
    ) -> None:
        self._limit = limit
        self._row_limit = row_limit
        self._rows: dict[tuple[object, ...], _Row] = {}
        self._numbers: dict[str, dict[AttributeSet, NumberCell]] = {}
        self._histograms: dict[str, dict[AttributeSet, HistogramCell]] = {}
        for instrument in INSTRUMENTS:
            if instrument.kind is Kind.HISTOGRAM:
                self._histograms[instrument.name] = {}
            else:
                self._numbers[instrument.name] = {}
        self._connections = self._number(instruments.ACTIVE_CONNECTIONS)
        self._messages = {phase: self._histogram(instruments.MESSAGE_DURATION, phase.value) for phase in Phase}
        self._audit: list[AuditRecord] = []
        self._audit_limit = audit_limit
        self._audit_dropped = self._number(instruments.EXPORT_DROPPED, "audit")
        self._spans: list[Span] = []
        self._spans_dropped = self._number(instruments.EXPORT_DROPPED, "traces")
        self._stream_errors = {kind: self._number(instruments.STREAM_ERRORS, kind.value) for kind in StreamError}

    def request(self, outcome: Outcome) -> None:
        """Record one request that is over."""
        row = self._rows.get(outcome[:BOUNDED]) or self._open(outcome)
        row.requests.value += 1
        if row.decisions is not None:
            row.decisions.value += 1
        if row.http_errors is not None:
            row.http_errors.value += 1
        if row.errors is not None:
            row.errors.value += 1
        _record_in_both(row.duration, row.server, outcome.duration_seconds)
        answered = row.answered
        if answered is None:
            return
        if (seconds := outcome.upstream_seconds) is not None:
            _record_in_both(answered.upstream, answered.client, seconds)
        if (seconds := outcome.downstream_seconds) is not None:
            answered.downstream.record(seconds)
        if outcome.attempts is not None:
            answered.attempts.value += outcome.attempts
        if outcome.request_bytes is not None and outcome.response_bytes is not None:
            answered.request_size.record(outcome.request_bytes)
            answered.response_size.record(outcome.response_bytes)

    def message(self, phase: Phase, seconds: float) -> None:
        """Record that answering one message of `phase` took `seconds`."""
        self._messages[phase].record(seconds)

    def stream_error(self, kind: StreamError) -> None:
        """Count a stream that was answered 'continue unchanged'."""
        self._stream_errors[kind].value += 1

    def dry_run(self, policy: str, *, sampled: bool) -> None:
        """Count a decision that was not followed."""
        self._number(instruments.DRY_RUNS, policy, sampled).value += 1

    def boosts(self, policy: str, count: int) -> None:
        """Count boosts that have begun."""
        self._number(instruments.BOOSTS, policy).value += count

    def store_error(self) -> None:
        """Count a question that the store of `share` did not answer."""
        self._number(instruments.STORE_ERRORS).value += 1

    def audit(self, record: AuditRecord) -> None:
        """Keep an audit record for the next `collect`."""
        if len(self._audit) < self._audit_limit:
            self._audit.append(record)
        else:
            self._audit_dropped.value += 1

    def span(self, span: Span) -> None:
        """Keep a span for the next `collect`."""
        if len(self._spans) < SPAN_LIMIT:
            self._spans.append(span)
        else:
            self._spans_dropped.value += 1

    def connections(self, change: int) -> None:
        """Count downstream connections: +1 for one that appeared, -1 for one that is gone."""
        self._connections.value += change

    def collect(self) -> Delta:
        """Return what was recorded since the last call, and start again from nothing."""
        delta = Delta(audit=self._audit, spans=self._spans)
        self._audit, self._spans = [], []
        for name, numbers in self._numbers.items():
            changed = {key: change for key, cell in numbers.items() if (change := cell.take()) is not None}
            if changed:
                delta.numbers[name] = changed
        for name, histograms in self._histograms.items():
            recorded = {key: point for key, cell in histograms.items() if (point := cell.take()) is not None}
            if recorded:
                delta.histograms[name] = recorded
        return delta

    def _open(self, outcome: Outcome) -> _Row:
        """Find the cells for a combination not seen before, and remember them."""
        if len(self._rows) >= self._row_limit:
            self._rows.clear()
        status = outcome.status_code or None
        route = None if outcome.path == ANY_PATH else outcome.path
        error = outcome.error_type
        request = (outcome.method, outcome.path, outcome.status_code, outcome.service)
        server = (outcome.method, status, route, outcome.scheme, error)
        row = _Row(
            requests=self._number(instruments.REQUESTS, *request),
            decisions=self._number(instruments.DECISIONS, outcome.policy, outcome.reason.value, outcome.sampled)
            if outcome.reason is not None
            else None,
            http_errors=self._number(instruments.HTTP_ERRORS, *request)
            if outcome.status_code >= _FIRST_ERROR_STATUS
            else None,
            errors=self._number(instruments.ERRORS, error) if error is not None else None,
            duration=self._histogram(instruments.REQUEST_DURATION, *request),
            server=self._histogram(instruments.SERVER_DURATION, *server),
            answered=self._answered(outcome, *server) if status is not None else None,
        )
        self._rows[outcome[:BOUNDED]] = row
        return row

    def _answered(self, outcome: Outcome, *server: AttributeValue | None) -> _Answered:
        return _Answered(
            upstream=self._histogram(instruments.UPSTREAM_LATENCY, outcome.service),
            client=self._histogram(
                instruments.CLIENT_DURATION,
                outcome.method,
                outcome.status_code,
                outcome.service,
                outcome.upstream_port or None,
                outcome.error_type,
            ),
            downstream=self._histogram(instruments.DOWNSTREAM_LATENCY, outcome.service),
            attempts=self._number(instruments.ATTEMPTS, outcome.service),
            request_size=self._histogram(instruments.REQUEST_SIZE, *server),
            response_size=self._histogram(instruments.RESPONSE_SIZE, *server),
        )

    def _number(self, instrument: Instrument, *values: AttributeValue | None) -> NumberCell:
        cells = self._numbers[instrument.name]
        return cells.setdefault(admit(cells, attribute_set(instrument, *values), self._limit), NumberCell())

    def _histogram(self, instrument: Instrument, *values: AttributeValue | None) -> HistogramCell:
        cells = self._histograms[instrument.name]
        key = admit(cells, attribute_set(instrument, *values), self._limit)
        return cells.setdefault(key, HistogramCell(instrument.bounds))


def _record_in_both(first: HistogramCell, second: HistogramCell, seconds: float) -> None:
    """Record in two histograms with the bounds SECONDS, finding the bucket once."""
    bucket = bisect_left(SECONDS, seconds)
    first.buckets[bucket] += 1
    first.sum += seconds
    second.buckets[bucket] += 1
    second.sum += seconds
