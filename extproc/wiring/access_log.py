"""The access log that goes to extproc, where Envoy times requests by it."""

from datetime import timedelta

from extproc.server.timings import FLUSH_SECONDS
from extproc.wiring.protos import access_logs, accesslog, core, pack
from extproc.wiring.settings import EXTPROC_CLUSTER, Settings, Timings

_BUFFER_BYTES = 64 * 1024


def access_log(settings: Settings) -> list[accesslog.AccessLog]:
    """The entries for the HTTP connection manager's `access_log`."""
    if settings.timings is not Timings.ACCESS_LOG:
        return []
    common = access_logs.CommonGrpcAccessLogConfig(
        log_name="extproc",
        grpc_service=core.GrpcService(envoy_grpc=core.GrpcServiceEnvoyGrpc(cluster_name=EXTPROC_CLUSTER)),
        transport_api_version=core.ApiVersion.V3,
        buffer_flush_interval=timedelta(seconds=FLUSH_SECONDS),
        buffer_size_bytes=_BUFFER_BYTES,
    )
    config = access_logs.HttpGrpcAccessLogConfig(common_config=common)
    return [accesslog.AccessLog(name="envoy.access_loggers.http_grpc", typed_config=pack(config))]
