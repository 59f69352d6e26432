"""The modules of envoy-data-plane that wiring builds from, under short names."""

import warnings

with warnings.catch_warnings():
    # Importing them makes pydantic 2.12 and newer warn about how their validators are declared.
    warnings.simplefilter("ignore", DeprecationWarning)
    import envoy_data_plane.envoy.config.accesslog.v3 as accesslog
    import envoy_data_plane.envoy.config.bootstrap.v3 as bootstrap
    import envoy_data_plane.envoy.config.cluster.v3 as cluster
    import envoy_data_plane.envoy.config.common.mutation_rules.v3 as mutation_rules
    import envoy_data_plane.envoy.config.core.v3 as core
    import envoy_data_plane.envoy.config.endpoint.v3 as endpoint
    import envoy_data_plane.envoy.config.listener.v3 as listener
    import envoy_data_plane.envoy.config.overload.v3 as overload
    import envoy_data_plane.envoy.config.route.v3 as route
    import envoy_data_plane.envoy.config.trace.v3 as trace
    import envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 as access_logs
    import envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 as ext_proc
    import envoy_data_plane.envoy.extensions.filters.http.router.v3 as router
    import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm
    import envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 as early
    import envoy_data_plane.envoy.extensions.request_id.uuid.v3 as request_id
    import envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 as connections
    import envoy_data_plane.envoy.extensions.tracers.opentelemetry.resource_detectors.v3 as resource
    import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls
    import envoy_data_plane.envoy.extensions.upstreams.http.v3 as upstream_http
    import envoy_data_plane.envoy.type.matcher.v3 as matcher
    import envoy_data_plane.envoy.type.metadata.v3 as metadata
    import envoy_data_plane.envoy.type.tracing.v3 as tracing
    import envoy_data_plane.envoy.type.v3 as types
    from envoy_data_plane.google.protobuf import Any

pack = Any.pack
"""Embeds a message with its type URL, as `typed_config` wants it."""

__all__ = [
    "Any",
    "access_logs",
    "accesslog",
    "bootstrap",
    "cluster",
    "connections",
    "core",
    "early",
    "endpoint",
    "ext_proc",
    "hcm",
    "listener",
    "matcher",
    "metadata",
    "mutation_rules",
    "overload",
    "pack",
    "request_id",
    "resource",
    "route",
    "router",
    "tls",
    "trace",
    "tracing",
    "types",
    "upstream_http",
]
