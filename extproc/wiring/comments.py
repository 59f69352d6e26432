"""What the printed configuration says about itself: one comment per decision that is not obvious."""

from extproc.wiring.render import Comments
from extproc.wiring.settings import COLLECTOR_CLUSTER, EXTPROC_CLUSTER, Settings, Timings

_TRUSTING = (
    "Before Envoy decides about the trace: callers may not use our helper headers, which would force theirs, and a "
    "caller's traceparent is copied to where Envoy follows its decision, both ways."
)
_EDGE = (
    "Before Envoy decides about the trace: callers here are not trusted, so neither our helper headers nor a trace "
    "of their own get past this line."
)
_FAIL_OPEN = "Without an answer the request goes on as if the filter were not there: no new trace, no tags."
_FAIL_CLOSED = "Without an answer the request fails: 500, or 504 after message_timeout."

_TIMED_BY_STREAM = (
    "No bodies. SEND for response trailers keeps the stream to extproc open until the response has been sent, "
    "also without trailers: that is how downstream latency is known."
)
_TIMED_BY_LOG = (
    "extproc is asked once per request, and about the response only if some tag reads it: timings come from the access "
    "log."
)

_ALWAYS = {
    ("overload_manager",): "Envoy warns at its start when nothing limits how many connections it accepts.",
    ("normalize_path",): (
        "A policy on a path can't be dodged by another spelling of it, and the upstream sees the spelling that was "
        "matched. Services that take %2F inside a name need path_with_escaped_slashes_action: KEEP_UNCHANGED."
    ),
    ("stream_idle_timeout",): "Ends what makes no progress.",
    ("virtual_hosts", "all", "routes"): (
        "The longest prefix first. The cluster's name is what a policy's `service` is compared with. timeout: 0s sets "
        "no limit on a whole response: Envoy's 15 s would cut downloads and streams."
    ),
    (
        "envoy.filters.http.ext_proc",
    ): "Asks extproc about each request. Other filters that read its tags come after it.",
    ("request_attributes",): "xds.cluster_name is a policy's `service`, source.address counts connections; then tags.",
    ("response_attributes",): "Errors and whether an upstream answered at all; then tags.",
    ("initial_metadata",): "Tells extproc that the access log times this request, so that it counts once.",
    ("access_log",): "Envoy's own account of each request, with exact timings, from which extproc makes its metrics.",
    ("buffer_flush_interval",): "How late metrics may be, and how much is lost if Envoy dies.",
    ("buffer_size_bytes",): ("A busy Envoy sends as soon as so much has come together: about a hundred requests."),
    ("allow_mode_override",): "Lets extproc skip the phases that a request's policy does not need.",
    ("disable_immediate_response",): "extproc never answers in a service's place.",
    (EXTPROC_CLUSTER, "type"): "One endpoint per worker: Envoy keeps one connection to each and spreads requests.",
    (EXTPROC_CLUSTER, "lb_policy"): "A worker that falls behind has more requests open, and gets fewer new ones.",
    (EXTPROC_CLUSTER, "health_checks"): (
        "A worker that is gone or drains is left out. no_traffic_interval is what counts until the first request and "
        "while all are down: Envoy's 60 s would leave requests without traces for a minute."
    ),
    (EXTPROC_CLUSTER, "circuit_breakers"): (
        "Every HTTP request is one stream, open until its response has been sent. Envoy's limit of 1024 would fail "
        "the filter under load."
    ),
    (EXTPROC_CLUSTER, "common_lb_config"): (
        "With no healthy worker the filter fails at once; by default Envoy would try the dead ones. A worker's health "
        "counts from the moment it is known; by default Envoy may wait a second, to merge changes."
    ),
    (EXTPROC_CLUSTER, "transport_socket"): "TLS to extproc; its certificate has to name the host that is dialled.",
}

_ANNOTATING = {
    ("request_id_extension",): (
        "Without this a caller forces a trace by its x-request-id: Envoy reads a decision out of its 15th character."
    ),
    ("tracing",): "Every request has a span. Whether it is exported is extproc's decision.",
    ("tracing", "random_sampling"): "Envoy itself begins no trace; extproc asks for those that are to be kept.",
    ("tracing", "custom_tags"): (
        "What extproc answers, by name. A tag that is new in the policy file needs a line here to be seen."
    ),
    ("tracing", "operation"): "Spans have the policy's span_name; those without one keep Envoy's name.",
    ("request_headers_to_remove",): "The helper headers are between Envoy and extproc; upstreams never see them.",
    ("mutation_rules",): "The one header that extproc may set. Anything else that it asks for is refused and counted.",
    ("emit_client_span",): "No span of Envoy's own call to extproc.",
    ("metadata_options",): "Answers under this name are kept, for the span's tags; everything else is dropped.",
    (COLLECTOR_CLUSTER, "transport_socket"): "trusted_ca is where most Linux images keep the system's CAs.",
    (COLLECTOR_CLUSTER, "type"): "Envoy's own spans, by OTLP/gRPC.",
}

_EMITTING: Comments = {
    ("access_log",): (
        "Envoy's own account of each request, with exact timings, from which extproc makes its metrics and its spans."
    ),
    ("early_header_mutation_extensions",): (
        "Callers here are not trusted: a trace of theirs does not get past this line, so extproc begins a new one."
    ),
    ("mutation_rules",): (
        "The two headers that extproc may change: its span is the upstream's parent. Anything else that it asks for is "
        "refused and counted."
    ),
    ("metadata_options",): "Answers under this name are kept, for filters and access logs; everything else is dropped.",
}


def comments(settings: Settings) -> Comments:
    """The comments for these settings."""
    return {
        **_ALWAYS,
        **(_EMITTING if settings.emits else _annotating(edge=settings.edge)),
        ("processing_mode",): _TIMED_BY_LOG if settings.timings is Timings.ACCESS_LOG else _TIMED_BY_STREAM,
        ("failure_mode_allow",): _FAIL_OPEN if settings.fail_open else _FAIL_CLOSED,
        ("use_remote_address",): (
            "The caller is whoever connects; what x-forwarded-for says is not believed."
            if settings.edge
            else "Callers are trusted: x-forwarded-for and x-request-id are theirs to set."
        ),
    }


def _annotating(*, edge: bool) -> Comments:
    return {**_ANNOTATING, ("early_header_mutation_extensions",): _EDGE if edge else _TRUSTING}
