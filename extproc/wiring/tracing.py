"""The HTTP connection manager's tracing: Envoy's spans, decided and tagged by extproc."""

from extproc.policy.plan import Plan
from extproc.wiring.filter import FORCE_TRACE, PARENT_HEADERS
from extproc.wiring.needs import NAMESPACE, SPAN_NAME, SpanTag, ValueType, names_spans, span_tags
from extproc.wiring.protos import core, early, hcm, metadata, mutation_rules, pack, request_id, resource, trace, types
from extproc.wiring.protos import tracing as tag_types
from extproc.wiring.settings import COLLECTOR_CLUSTER, Settings

CLIENT_TRACE_ID = "x-client-trace-id"
"""The header that makes Envoy follow the decision of a parent, and trace anything that has none."""

_SERVICE_NAME = "service.name"
_NEVER = types.Percent(value=0.0)


def tracing(settings: Settings) -> hcm.HttpConnectionManagerTracing:
    """The `tracing` block."""
    plan = settings.plan
    return hcm.HttpConnectionManagerTracing(
        random_sampling=_NEVER,
        custom_tags=[_custom_tag(tag) for tag in span_tags(plan)],
        provider=trace.TracingHttp(name="envoy.tracers.opentelemetry", typed_config=pack(_opentelemetry(plan))),
        operation=_metadata_text(SPAN_NAME) if names_spans(plan) else "",
    )


def helper_headers(settings: Settings) -> list[str]:
    """Headers between Envoy and extproc, which neither callers may send nor upstreams receive."""
    return [] if settings.emits else [CLIENT_TRACE_ID, FORCE_TRACE]


def early_header_mutations(settings: Settings) -> list[core.TypedExtensionConfig]:
    """What is done to request headers before Envoy looks at them: the trace decision is taken right after."""
    mutations = [_remove(name) for name in helper_headers(settings)]
    if settings.edge:
        mutations += [_remove(name) for name in PARENT_HEADERS]
    elif not settings.emits:
        mutations.append(_follow_parent())
    extension = core.TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=pack(early.HeaderMutation(mutations=mutations)),
    )
    return [extension] if mutations else []


def request_id_extension() -> hcm.RequestIdExtension:
    """x-request-id without a trace decision packed into it, by which any caller could force a trace."""
    return hcm.RequestIdExtension(typed_config=pack(request_id.UuidRequestIdConfig(pack_trace_reason=False)))


def _opentelemetry(plan: Plan) -> trace.OpenTelemetryConfig:
    attributes = dict(plan.attributes)
    service = attributes.pop(_SERVICE_NAME, "envoy")
    return trace.OpenTelemetryConfig(
        grpc_service=core.GrpcService(envoy_grpc=core.GrpcServiceEnvoyGrpc(cluster_name=COLLECTOR_CLUSTER)),
        service_name=service,
        resource_detectors=[_resource(attributes)] if attributes else [],
    )


def _resource(attributes: dict[str, str]) -> core.TypedExtensionConfig:
    return core.TypedExtensionConfig(
        name="envoy.tracers.opentelemetry.resource_detectors.static_config",
        typed_config=pack(resource.StaticConfigResourceDetectorConfig(attributes=attributes)),
    )


def _custom_tag(tag: SpanTag) -> tag_types.CustomTag:
    if tag.value_type is not ValueType.STRING:
        return tag_types.CustomTag(tag=tag.name, value=_metadata_text(tag.name))
    return tag_types.CustomTag(
        tag=tag.name,
        metadata=tag_types.CustomTagMetadata(
            kind=metadata.MetadataKind(request=metadata.MetadataKindRequest()),
            metadata_key=metadata.MetadataKey(key=NAMESPACE, path=[metadata.MetadataKeyPathSegment(key=tag.name)]),
        ),
    )


def _metadata_text(key: str) -> str:
    return f"%DYNAMIC_METADATA({NAMESPACE}:{key})%"


def _remove(header: str) -> mutation_rules.HeaderMutation:
    return mutation_rules.HeaderMutation(remove=header)


def _follow_parent() -> mutation_rules.HeaderMutation:
    return mutation_rules.HeaderMutation(
        append=core.HeaderValueOption(
            header=core.HeaderValue(key=CLIENT_TRACE_ID, value="%REQ(traceparent)%"),
            append_action=core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
        )
    )
