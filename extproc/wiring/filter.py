"""The ext_proc filter, as the answers of extproc need it."""

from extproc.server import timings
from extproc.wiring.needs import (
    NAMESPACE,
    metadata_namespaces,
    reads_responses,
    request_attributes,
    response_attributes,
)
from extproc.wiring.protos import core, ext_proc, hcm, matcher, mutation_rules, pack
from extproc.wiring.settings import EXTPROC_CLUSTER, Settings, Timings

FORCE_TRACE = "x-envoy-force-trace"
"""The header that starts the export of a trace: extproc alone may set it."""

PARENT_HEADERS = ("traceparent", "tracestate")
"""W3C trace context, by which callers name their span, and extproc its own."""

_SEND = ext_proc.ProcessingModeHeaderSendMode.SEND
_SKIP = ext_proc.ProcessingModeHeaderSendMode.SKIP


def http_filter(settings: Settings) -> hcm.HttpFilter:
    """The filter for the HTTP connection manager's `http_filters`."""
    return hcm.HttpFilter(name="envoy.filters.http.ext_proc", typed_config=pack(_external_processor(settings)))


def _external_processor(settings: Settings) -> ext_proc.ExternalProcessor:
    plan, logged = settings.plan, settings.timings is Timings.ACCESS_LOG
    return ext_proc.ExternalProcessor(
        grpc_service=core.GrpcService(
            envoy_grpc=core.GrpcServiceEnvoyGrpc(cluster_name=EXTPROC_CLUSTER),
            initial_metadata=[core.HeaderValue(key=timings.KEY, value=timings.ACCESS_LOG)] if logged else [],
        ),
        failure_mode_allow=settings.fail_open,
        processing_mode=ext_proc.ProcessingMode(
            request_header_mode=_SEND,
            response_header_mode=_SEND if not logged or reads_responses(plan) else _SKIP,
            request_trailer_mode=_SKIP,
            response_trailer_mode=_SKIP if logged else _SEND,
        ),
        request_attributes=list(request_attributes(plan)),
        response_attributes=list(response_attributes(plan)),
        message_timeout=settings.message_timeout,
        mutation_rules=_mutation_rules(emits=settings.emits),
        allow_mode_override=True,
        disable_immediate_response=True,
        metadata_options=_metadata_options(metadata_namespaces(plan)),
    )


def _mutation_rules(*, emits: bool) -> mutation_rules.HeaderMutationRules:
    names = f"({'|'.join(PARENT_HEADERS)})" if emits else FORCE_TRACE
    return mutation_rules.HeaderMutationRules(
        disallow_all=True, allow_expression=matcher.RegexMatcher(regex=f"^{names}$")
    )


def _metadata_options(forwarded: tuple[str, ...]) -> ext_proc.MetadataOptions:
    namespaces = ext_proc.MetadataOptionsMetadataNamespaces
    return ext_proc.MetadataOptions(
        forwarding_namespaces=namespaces(untyped=list(forwarded)) if forwarded else None,
        receiving_namespaces=namespaces(untyped=[NAMESPACE]),
    )
