"""Audit records: who did what to what, from where, and how it ended. One per request whose policy says `audit: true`.

A record holds what its fields say and nothing else of a request: no header, no query, no cookie but the one tag that
the policy file names as the user, redacted or hashed where that tag is.
"""

from typing import NamedTuple

from extproc.engine.address import split_address
from extproc.engine.enrich import Received, value_of
from extproc.engine.outcome import Reason
from extproc.engine.sample import Decision
from extproc.engine.tracecontext import parse_traceparent
from extproc.engine.wire import MAX_VALUE_LENGTH
from extproc.policy.plan import Policy

LONGEST_RESOURCE = 1024
"""Characters of a path that are kept."""
_LONGEST_METHOD = 32


class AuditRecord(NamedTuple):
    """One audited request, over. None is not known, or there is nothing to say.

    `action` is the policy's span name, or the method and the policy's path pattern; `resource` the path without its
    query, at most 1024 characters of it, as Envoy has it. `user` is the value of the tag that the file names.
    `source_address` has no port: the next connection of the same client has another one.
    """

    unix_seconds: float
    action: str
    user: str | None
    resource: str
    status: int | None
    policy: str
    reason: Reason
    sampled: bool
    trace_id: str | None
    source_address: str | None
    error_type: str | None

    def fields(self) -> dict[str, str | int]:
        """What is known beside the time, by the names that a reader of the audit log sees."""
        return {name: value for name, value in self._asdict().items() if value is not None and name != "unix_seconds"}


class Auditor:
    """What a policy's records have in common, and how its requests say who they are by."""

    __slots__ = ("in_response", "path_template", "policy", "read_user", "span_name")

    def __init__(self, policy: Policy, user_tag: str) -> None:
        tag = next((tag for tag in policy.tags if tag.name == user_tag), None)
        self.policy = policy.name
        self.span_name = policy.span_name
        self.path_template = policy.path_template
        self.read_user = value_of(tag, policy.match.path) if tag is not None else None
        self.in_response = tag is not None and tag.in_response


class Audited:
    """One audited request under way.

    Args:
        auditor: its policy's.
        received: its headers.
        decision: what becomes of its trace.
        client: its downstream connection, where that is known.
        traceparent: names its trace where it has no parent.
    """

    __slots__ = ("_auditor", "_client", "_decision", "_request", "_traceparent", "_user")

    def __init__(
        self, auditor: Auditor, received: Received, decision: Decision, client: str | None, traceparent: str | None
    ) -> None:
        self._auditor = auditor
        self._request = received.request
        self._decision = decision
        self._client = client
        self._traceparent = traceparent
        self._user = None if auditor.in_response else self._read_user(received)

    def answered(self, received: Received) -> None:
        """Take the user from the response, if that is where the tag comes from."""
        if self._auditor.in_response:
            self._user = self._read_user(received)

    def record(self, unix_seconds: float, status: int, error_type: str | None) -> AuditRecord:
        """The record of the request, which ended at `unix_seconds`; `status` 0 is none seen."""
        auditor, request, decision = self._auditor, self._request, self._decision
        trace = parse_traceparent(request.headers.get("traceparent")) or parse_traceparent(self._traceparent)
        return AuditRecord(
            unix_seconds=unix_seconds,
            action=auditor.span_name or f"{request.method[:_LONGEST_METHOD]} {auditor.path_template}",
            user=self._user,
            resource=request.path[:LONGEST_RESOURCE],
            status=status or None,
            policy=auditor.policy,
            reason=decision.reason,
            sampled=decision.sampled,
            trace_id=trace.trace_id if trace is not None else None,
            source_address=split_address(self._client)[0] if self._client is not None else None,
            error_type=error_type,
        )

    def _read_user(self, received: Received) -> str | None:
        read = self._auditor.read_user
        value = read(received) if read is not None else None
        return None if value is None else str(value)[:MAX_VALUE_LENGTH]
