"""Where a policy file wants its audit records."""

from typing import Final

from extproc.engine.audit import AuditRecord
from extproc.policy.plan import Plan
from extproc.telemetry.audit_file import AuditFile
from extproc.telemetry.audit_otlp import AuditOtlp
from extproc.telemetry.outbox import Sink, Terms
from extproc.telemetry.resource import build_resource
from extproc.telemetry.settings import Signal, find_target, read_delivery

TERMS: Final = Terms("audit", "audit records", queue=20_000, batch=256)
"""Records that wait come to a few tens of megabytes at the most."""


class AuditError(Exception):
    """Audit records would have nowhere to go. One line that says why and what to do."""


def open_sink(plan: Plan) -> Sink[AuditRecord] | None:
    """Open what `audit` says, or return None where it says nothing. Blocks.

    Raises:
        AuditError: The file cannot be opened, or nothing says where OTLP goes.
    """
    if plan.audit is None:
        return None
    if plan.audit.file is not None:
        try:
            return AuditFile(plan.audit.file)
        except OSError as error:
            path, reason = plan.audit.file.path, error.strerror
            raise AuditError(
                f"audit.file: expected a file that can be written, got {path!r}: {reason}; "
                "try another path or its permissions"
            ) from error
    delivery = read_delivery(Signal.LOGS)
    target = find_target(delivery, plan.collector)
    if target is None:
        got = "none" if delivery.enabled else "export switched off by the environment"
        raise AuditError(
            f"audit.otlp: expected an OTLP endpoint, got {got}; "
            "try collector in the policy file, OTEL_EXPORTER_OTLP_ENDPOINT, or audit.file"
        )
    return AuditOtlp(target, delivery, build_resource(plan.attributes))
