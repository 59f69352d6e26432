"""The clusters: extproc itself, the collector of Envoy's spans, the upstreams."""

from collections.abc import Sequence
from datetime import timedelta

from extproc.server.address import Address
from extproc.wiring.hosts import address, is_ip
from extproc.wiring.protos import Any, cluster, core, endpoint, pack, types, upstream_http
from extproc.wiring.settings import COLLECTOR_CLUSTER, EXTPROC_CLUSTER, Settings, Upstream
from extproc.wiring.tls import collector_socket, extproc_socket

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_OPEN_REQUESTS = 100_000
"""How many HTTP requests may be under way per Envoy before the filter gives up on new ones."""


def own_clusters(settings: Settings) -> list[cluster.Cluster]:
    """extproc, and the collector of Envoy's spans where there are any."""
    collector = [] if settings.emits else [_collector_cluster(settings)]
    return [_extproc_cluster(settings), *collector]


def _extproc_cluster(settings: Settings) -> cluster.Cluster:
    """One endpoint per address of every worker."""
    return cluster.Cluster(
        name=EXTPROC_CLUSTER,
        type=_discovery(settings.endpoints),
        connect_timeout=timedelta(milliseconds=250),
        lb_policy=cluster.ClusterLbPolicy.LEAST_REQUEST,
        load_assignment=_endpoints(EXTPROC_CLUSTER, settings.endpoints),
        health_checks=[_health_check()],
        circuit_breakers=_breakers(),
        typed_extension_protocol_options=_http2(),
        dns_lookup_family=_lookup_family(settings.endpoints),
        common_lb_config=cluster.ClusterCommonLbConfig(
            healthy_panic_threshold=types.Percent(value=0.0), update_merge_window=timedelta(0)
        ),
        transport_socket=extproc_socket(settings.tls, settings.endpoints) if settings.tls else None,
    )


def _collector_cluster(settings: Settings) -> cluster.Cluster:
    """Where Envoy's own spans go."""
    addresses = (settings.collector.address,)
    return cluster.Cluster(
        name=COLLECTOR_CLUSTER,
        type=_discovery(addresses),
        connect_timeout=timedelta(seconds=1),
        load_assignment=_endpoints(COLLECTOR_CLUSTER, addresses),
        typed_extension_protocol_options=_http2(),
        dns_lookup_family=_lookup_family(addresses),
        transport_socket=collector_socket(settings.collector.address) if settings.collector.tls else None,
    )


def upstream_cluster(upstream: Upstream) -> cluster.Cluster:
    """A service behind Envoy."""
    addresses = (upstream.address,)
    return cluster.Cluster(
        name=upstream.name,
        type=_discovery(addresses),
        connect_timeout=timedelta(seconds=1),
        load_assignment=_endpoints(upstream.name, addresses),
        typed_extension_protocol_options=_http2() if upstream.http2 else {},
        dns_lookup_family=_lookup_family(addresses),
    )


def _discovery(addresses: Sequence[Address]) -> cluster.ClusterDiscoveryType:
    return cluster.ClusterDiscoveryType.STRICT_DNS if _has_name(addresses) else cluster.ClusterDiscoveryType.STATIC


def _lookup_family(addresses: Sequence[Address]) -> cluster.ClusterDnsLookupFamily:
    """IPv4 first where there is a name to look up: a server on 127.0.0.1 is not found as localhost's ::1."""
    family = cluster.ClusterDnsLookupFamily
    return family.V4_PREFERRED if _has_name(addresses) else family.AUTO


def _has_name(addresses: Sequence[Address]) -> bool:
    return any(not each.path and not is_ip(each.host) for each in addresses)


def _endpoints(name: str, addresses: Sequence[Address]) -> endpoint.ClusterLoadAssignment:
    hosts = [endpoint.LbEndpoint(endpoint=endpoint.Endpoint(address=address(each))) for each in addresses]
    return endpoint.ClusterLoadAssignment(
        cluster_name=name, endpoints=[endpoint.LocalityLbEndpoints(lb_endpoints=hosts)]
    )


def _http2() -> dict[str, Any]:
    explicit = upstream_http.HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=core.Http2ProtocolOptions())
    return {_HTTP_OPTIONS: pack(upstream_http.HttpProtocolOptions(explicit_http_config=explicit))}


def _health_check() -> core.HealthCheck:
    return core.HealthCheck(
        timeout=timedelta(seconds=1),
        interval=timedelta(seconds=2),
        no_traffic_interval=timedelta(seconds=1),
        unhealthy_threshold=2,
        healthy_threshold=1,
        grpc_health_check=core.HealthCheckGrpcHealthCheck(),
    )


def _breakers() -> cluster.CircuitBreakers:
    return cluster.CircuitBreakers(
        thresholds=[cluster.CircuitBreakersThresholds(max_pending_requests=_OPEN_REQUESTS, max_requests=_OPEN_REQUESTS)]
    )
