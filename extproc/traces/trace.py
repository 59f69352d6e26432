"""A trace as it was kept: its spans, and what a reader wants to know of all of them together."""

from collections.abc import Mapping
from dataclasses import dataclass

TagValue = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Times are microseconds, `start_us` since 1970; `parent_id` is None where the trace begins."""

    span_id: str
    parent_id: str | None
    service: str
    operation: str
    start_us: int
    duration_us: int
    tags: Mapping[str, TagValue]

    @property
    def failed(self) -> bool:
        """Whether its status is an error: Jaeger makes that the tag `error`."""
        return self.tags.get("error") in {True, "true"}


@dataclass(frozen=True, slots=True)
class Sampling:
    """Why extproc kept a trace, as it says on Envoy's span."""

    policy: str
    reason: str


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of one trace, at least one, the earliest first."""

    trace_id: str
    spans: tuple[Span, ...]

    @property
    def start_us(self) -> int:
        """When its first span began, in microseconds since 1970."""
        return self.spans[0].start_us

    @property
    def duration_us(self) -> int:
        """From the beginning of its first span to the end of the one that ended last."""
        return max(span.start_us + span.duration_us for span in self.spans) - self.start_us

    @property
    def root(self) -> Span:
        """The span that has no parent, or none among these: the earliest of them."""
        known = {span.span_id for span in self.spans}
        return next((span for span in self.spans if span.parent_id not in known), self.spans[0])

    @property
    def services(self) -> tuple[str, ...]:
        """Who took part, in the order in which they came in."""
        return tuple(dict.fromkeys(span.service for span in self.spans))

    @property
    def errors(self) -> int:
        """How many of its spans failed."""
        return sum(span.failed for span in self.spans)

    @property
    def sampling(self) -> Sampling | None:
        """Which policy kept it and why; None where no span carries extproc's tags."""
        for span in self.spans:
            if "sampling.policy" in span.tags or "sampling.reason" in span.tags:
                return Sampling(*(str(span.tags.get(f"sampling.{name}", "")) for name in ("policy", "reason")))
        return None
