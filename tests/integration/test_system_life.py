"""The whole system while its parts come, change and go: no request may fail for it."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
import trustme
import yaml

from envoy_process import EnvoyProcess
from system import System, running

ON = "tracing: {sampling: {policy: always_on}}\n"
OFF = "tracing: {sampling: {policy: always_off}}\n"


async def wait_until_traced(system: System, flags: str) -> None:
    """Returns once the policy in force gives new traces these flags."""
    async with asyncio.timeout(5):
        while system.upstream_trace((await system.send("/probe"))[1])[1] != flags:
            pass


def test_reload_under_load(tmp_path: Path) -> None:
    """An edit is in force at once, back and forth, and no request fails for it."""

    async def check() -> None:
        async with running(tmp_path, ON) as system:

            async def edit() -> None:
                for text, flags in [(OFF, "00"), (ON, "01"), (OFF, "00")]:
                    system.server.policy.write_text(text)
                    async with asyncio.timeout(3):  # a second is what is promised, and a test machine may be busy
                        await wait_until_traced(system, flags)

            statuses = await system.load_while(edit)
            assert {200} == set(statuses)
            assert 3 == len(await asyncio.to_thread(system.server.logs, "policy reloaded"))

    asyncio.run(check())


def test_a_bad_edit_changes_nothing(tmp_path: Path) -> None:
    """The old policy stays in force, the first problem's place is logged once and shown, and a good edit heals it."""

    async def check() -> None:
        async with running(tmp_path, ON) as system:
            system.server.policy.write_text("tracing:\n  sampling:\n    policy: sometimes\n")
            line = await asyncio.to_thread(system.server.wait_for_log, "policy not reloaded, the last good one stays")
            assert "policy.yaml:3:5: sampling.policy" in json.dumps(line)
            await wait_until_traced(system, "01")
            view = await asyncio.to_thread(system.server.policy_view)
            assert 1 == view["reloads"]["error"]
            assert "policy.yaml:3:5: sampling.policy" in view["last_error"]["problems"][0]
            assert 1 == await system.metric('extproc_policy_reloads_total{result="error"}')
            system.server.policy.write_text(OFF)
            await wait_until_traced(system, "00")
            assert None is (await asyncio.to_thread(system.server.policy_view))["last_error"]

    asyncio.run(check())


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_with_fail_open(tmp_path: Path, workers: int) -> None:
    """A server that vanishes costs traces, never a request."""

    async def check() -> None:
        listen = ("--listen", f"unix:{tmp_path}/extproc", "--workers", str(workers))
        async with running(tmp_path, ON, listen=listen) as system:

            async def kill() -> None:
                await system.send("/before")
                os.kill(system.server.process.pid, signal.SIGKILL)
                await asyncio.to_thread(system.server.process.wait, 5)
                await wait_until_traced(system, "00")

            assert {200} == set(await system.load_while(kill))

    asyncio.run(check())


def test_fail_closed(tmp_path: Path) -> None:
    """With --fail-closed a request that nobody answers for is refused, and works again with the server."""

    async def check() -> None:
        async with running(tmp_path, ON, wiring=("--fail-closed",)) as system:
            assert 200 == (await system.send("/before"))[0]
            os.kill(system.server.process.pid, signal.SIGKILL)
            await asyncio.to_thread(system.server.process.wait, 5)
            assert 500 <= (await system.send("/after"))[0] < 600

    asyncio.run(check())


@pytest.mark.parametrize("wiring", [(), ("--fail-closed",)], ids=["fail-open", "fail-closed"])
def test_drain_under_load(tmp_path: Path, wiring: tuple[str, ...]) -> None:
    """SIGTERM with one long response in flight: it is not cut, the exit code is 0, and fail-open fails no request.

    Every request that the server answered is in the metrics that it flushed at the end.
    """

    async def check() -> None:
        async with running(tmp_path, ON, wiring=wiring, flags=("--grace", "4")) as system:
            long = asyncio.create_task(system.send("/late?seconds=6"))
            await system.wait_for_metric("envoy_active_connections", 1)

            async def drain() -> None:
                system.server.process.send_signal(signal.SIGTERM)
                assert 0 == await asyncio.to_thread(system.server.process.wait, 8)

            load = drain() if wiring else system.load_while(drain)
            assert {200} == set(await load or [200])
            assert 200 == (await long)[0]
            count = system.collector.value
            traced = [name for name in system.upstream.seen if system.upstream_trace(name)[1] == "01"]
            assert len(traced) == count("envoy_http_requests_total")

    asyncio.run(check())


def test_mutual_tls(tmp_path: Path) -> None:
    """Envoy and the server authenticate each other by certificate files."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("server", "client"):
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    flags = ("--tls-cert", f"{tmp_path}/server.pem", "--tls-key", f"{tmp_path}/server.key")
    wiring = ("--tls-ca", f"{tmp_path}/ca.pem", "--tls-cert", f"{tmp_path}/client.pem")

    async def check() -> None:
        async with running(
            tmp_path,
            ON,
            flags=(*flags, "--tls-client-ca", f"{tmp_path}/ca.pem"),
            wiring=(*wiring, "--tls-key", f"{tmp_path}/client.key"),
        ) as system:
            await wait_until_traced(system, "01")

    asyncio.run(check())


HAND_WRITTEN = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          early_header_mutation_extensions:
          - name: parent
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
              mutations: [{append: {header: {key: x-client-trace-id, value: "%REQ(traceparent)%"}}}]
          tracing:
            random_sampling: {value: 0}
            custom_tags:
            - {tag: user, metadata: {kind: {request: {}}, metadata_key: {key: extproc, path: [{key: user}]}}}
            provider:
              name: otel
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                grpc_service: {envoy_grpc: {cluster_name: collector}}
                service_name: envoy
          route_config:
            request_headers_to_remove: [x-client-trace-id, x-envoy-force-trace]
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: users}}]}
          http_filters:
          - name: extproc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {envoy_grpc: {cluster_name: extproc}}
              mutation_rules: {allow_envoy: true}
              metadata_options: {receiving_namespaces: {untyped: [extproc]}}
              processing_mode: {request_header_mode: SEND, response_header_mode: SEND}
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters: []
"""
HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def hand_written(ports: dict[str, int]) -> str:
    """The configuration with its clusters."""
    config = yaml.safe_load(HAND_WRITTEN)
    for name, port in ports.items():
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
        cluster = {"name": name, "load_assignment": assignment}
        if name != "users":
            cluster["typed_extension_protocol_options"] = HTTP2
        config["static_resources"]["clusters"].append(cluster)
    return json.dumps(config)


def test_a_hand_written_configuration(tmp_path: Path) -> None:
    """The least that sampling and tags need of Envoy, without what `extproc envoy` adds, gets both exactly."""
    policy = """
tracing:
  sampling: {policy: probabilistic, ratio: 0.5}
  custom_tags: [{tag: user, request_header: {name: x-user}}]
"""

    async def check() -> None:
        async with running(tmp_path, policy) as system:
            port = int(system.server.grpc[0].rpartition(":")[2])
            config = hand_written({"extproc": port, "collector": system.collector.port, "users": system.upstream.port})
            async with EnvoyProcess(config) as envoy:
                system.envoy = envoy
                answers = await system.send_all([f"/{number}" for number in range(200)], {"x-user": "ann"})
                assert {200} == {status for status, _ in answers}
                traces = [system.upstream_trace(name) for _, name in answers]
                kept = {trace_id for trace_id, _ in traces if int(trace_id[-14:], 16) >= 1 << 55}
                assert kept == {trace_id for trace_id, flags in traces if flags == "01"}
                spans = await system.wait_for_spans(kept)
                assert kept == set(spans)
                assert {"ann"} == {system.tags(span)["user"] for span in spans.values()}

    asyncio.run(check())
