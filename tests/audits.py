"""Audit records for tests."""

from typing import Any

from extproc.engine.audit import AuditRecord
from extproc.engine.outcome import Reason

_RECORD = AuditRecord(
    unix_seconds=1772366400.1234,
    action="PUT /api/orders/{order_id}",
    user="ann",
    resource="/api/orders/7",
    status=200,
    policy="orders",
    reason=Reason.POLICY,
    sampled=True,
    trace_id="0af7651916cd43dd8448eb211c80319c",
    source_address="10.0.0.1",
    error_type=None,
)


def audited(**changes: Any) -> AuditRecord:  # noqa: ANN401  any field of AuditRecord
    """Return a record with some fields changed."""
    return _RECORD._replace(**changes)
