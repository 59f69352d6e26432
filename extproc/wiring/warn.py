"""What a policy asks for that the printed configuration cannot give, in words."""

from collections.abc import Iterator

from extproc.policy.plan import Operator, Plan
from extproc.wiring.needs import ignores_parent
from extproc.wiring.settings import Settings

_OTLP_HTTP_PORT = 4318


def warnings(settings: Settings) -> Iterator[str]:
    """One sentence each."""
    if not settings.emits:
        yield from _parents(settings)
    yield from _services(settings)
    if not settings.emits and settings.collector.address.port == _OTLP_HTTP_PORT:
        yield (
            f"the collector's port {_OTLP_HTTP_PORT} is usually OTLP over HTTP; Envoy sends its spans by gRPC: "
            "name that port with --collector HOST:4317"
        )


def _parents(settings: Settings) -> Iterator[str]:
    names = ignores_parent(settings.plan)
    if names and not settings.edge:
        yield (
            f"`parent: ignore` has no effect in {', '.join(names)}: Envoy follows the decision of a traceparent that "
            "it sees; with --edge it does not see any"
        )


def _services(settings: Settings) -> Iterator[str]:
    if not settings.upstreams:
        return
    known = {_dashed(upstream.name) for upstream in settings.upstreams}
    for name, service in _exact_services(settings.plan):
        if service not in known:
            yield f"policy {name} is for service {service}, and no --upstream has that name: it will match no request"


def _exact_services(plan: Plan) -> Iterator[tuple[str, str]]:
    for policy in plan.policies:
        service = policy.match.service
        if service is not None and service.operator is Operator.EXACT:
            yield policy.name, _dashed(service.operand)


def _dashed(name: str) -> str:
    return name.replace("_", "-")
