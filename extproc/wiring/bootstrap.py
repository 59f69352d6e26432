"""A whole Envoy: the listener, its HTTP connection manager, the routes, the clusters, the admin port."""

from datetime import timedelta

from extproc.wiring.access_log import access_log
from extproc.wiring.clusters import own_clusters, upstream_cluster
from extproc.wiring.filter import http_filter
from extproc.wiring.hosts import address
from extproc.wiring.protos import bootstrap, connections, hcm, listener, overload, pack, route, router
from extproc.wiring.settings import PathRoute, Settings
from extproc.wiring.tracing import early_header_mutations, helper_headers, request_id_extension, tracing

_BUFFER_BYTES = 32 * 1024
_OPEN_CONNECTIONS = 50_000


def whole(settings: Settings) -> bootstrap.Bootstrap:
    """The configuration that `envoy -c` starts with. `settings.routes` have to be complete."""
    upstreams = [upstream_cluster(upstream) for upstream in settings.upstreams]
    return bootstrap.Bootstrap(
        static_resources=bootstrap.BootstrapStaticResources(
            listeners=[_listener(settings)],
            clusters=[*own_clusters(settings), *upstreams],
        ),
        admin=bootstrap.Admin(address=address(settings.admin), ignore_global_conn_limit=True),
        overload_manager=_connection_limit(),
    )


def tracing_part(settings: Settings) -> hcm.HttpConnectionManager:
    """The fields of the HTTP connection manager that decide and tag spans, for one that exists already."""
    part = hcm.HttpConnectionManager(
        early_header_mutation_extensions=early_header_mutations(settings), access_log=access_log(settings)
    )
    if not settings.emits:
        part.tracing = tracing(settings)
        part.request_id_extension = request_id_extension()
        part.route_config = route.RouteConfiguration(request_headers_to_remove=helper_headers(settings))
    return part


def _listener(settings: Settings) -> listener.Listener:
    manager = listener.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=pack(_connection_manager(settings))
    )
    return listener.Listener(
        name="http",
        address=address(settings.listen),
        filter_chains=[listener.FilterChain(filters=[manager])],
        per_connection_buffer_limit_bytes=_BUFFER_BYTES,
    )


def _connection_manager(settings: Settings) -> hcm.HttpConnectionManager:
    manager = tracing_part(settings)
    manager.stat_prefix = "http"
    manager.route_config = _routes(settings)
    manager.http_filters = [http_filter(settings), _router()]
    manager.stream_idle_timeout = timedelta(minutes=5)
    manager.use_remote_address = settings.edge
    manager.normalize_path = True
    manager.merge_slashes = True
    manager.path_with_escaped_slashes_action = (
        hcm.HttpConnectionManagerPathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD
    )
    return manager


def _routes(settings: Settings) -> route.RouteConfiguration:
    host = route.VirtualHost(name="all", domains=["*"], routes=[_route(each) for each in settings.routes])
    return route.RouteConfiguration(
        name="routes", virtual_hosts=[host], request_headers_to_remove=helper_headers(settings)
    )


def _route(path: PathRoute) -> route.Route:
    """`/api` takes /api and /api/…, `/api/` only the latter."""
    if path.prefix.endswith("/"):
        match = route.RouteMatch(prefix=path.prefix)
    else:
        match = route.RouteMatch(path_separated_prefix=path.prefix)
    return route.Route(match=match, route=route.RouteAction(cluster=path.upstream, timeout=timedelta(0)))


def _router() -> hcm.HttpFilter:
    return hcm.HttpFilter(name="envoy.filters.http.router", typed_config=pack(router.Router()))


def _connection_limit() -> overload.OverloadManager:
    limit = connections.DownstreamConnectionsConfig(max_active_downstream_connections=_OPEN_CONNECTIONS)
    monitor = overload.ResourceMonitor(
        name="envoy.resource_monitors.global_downstream_max_connections", typed_config=pack(limit)
    )
    return overload.OverloadManager(resource_monitors=[monitor])
