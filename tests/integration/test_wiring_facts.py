"""The facts about Envoy that the printed configuration rests on, each on a running Envoy that has it."""

import re
import time
from pathlib import Path

import grpc
import pytest
import trustme
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from extproc.demo.otlp_receiver import attributes_of
from wiring_bed import KEEP, Bed, Scripted, flags, run, trace_id, write_policy

_TRACE = "ab" * 16
_PARENT = f"00-{_TRACE}-{'cd' * 8}"
_HELPERS = {"x-client-trace-id", "x-envoy-force-trace"}


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """The path of a policy file that uses everything that wiring looks at."""
    return write_policy(tmp_path)


def _ids(spans: list[Span]) -> list[str]:
    return [span.trace_id.hex() for span in spans]


@pytest.mark.parametrize("options", [[], ["--edge"]])
def test_extproc_decides_about_new_traces(policy: str, options: list[str]) -> None:
    """A new trace is exported, and the upstream told so, only where the server asks for it."""

    async def check(bed: Bed) -> None:
        assert "00" == flags(await bed.get())
        kept = await bed.get(headers=KEEP)
        assert "01" == flags(kept)
        assert [trace_id(kept)] == _ids(await bed.spans())
        assert not _HELPERS & kept.keys()

    run(policy, check, *options)


@pytest.mark.parametrize("options", [[], ["--edge"]])
@pytest.mark.parametrize(
    "headers",
    [
        {"x-client-trace-id": "1"},
        {"x-envoy-force-trace": "true"},
        *({"x-request-id": f"12345678-1234-{reason}234-8234-123456789012"} for reason in "9ab"),
    ],
    ids=str,
)
def test_callers_cannot_force_a_trace(policy: str, options: list[str], headers: dict[str, str]) -> None:
    """None of the headers by which Envoy lets callers ask for a trace does anything."""

    async def check(bed: Bed) -> None:
        upstream = await bed.get(headers=headers)
        assert "00" == flags(upstream)
        assert not _HELPERS & upstream.keys()
        assert [] == await bed.spans()

    run(policy, check, *options)


def test_callers_that_envoy_calls_internal_cannot_either(policy: str) -> None:
    """Envoy itself takes x-envoy-force-trace from callers that it has been told are internal."""
    internal = "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}"

    async def check(bed: Bed) -> None:
        headers = {"x-envoy-force-trace": "true", "x-forwarded-for": "10.0.0.1"}
        assert "00" == flags(await bed.get(headers=headers))

    def trusting(config: str) -> str:
        assert "use_remote_address: false" in config
        return re.sub(r"^( +)use_remote_address: false", rf"\g<0>\n\g<1>{internal}", config, flags=re.MULTILINE)

    run(policy, check, edit=trusting)


def test_a_parent_is_followed(policy: str) -> None:
    """A caller's decision holds both ways, whatever the server asks for."""

    async def check(bed: Bed) -> None:
        for flag in ("00", "01"):
            for headers in ({}, KEEP):
                upstream = await bed.get(headers={"traceparent": f"{_PARENT}-{flag}", **headers})
                assert (_TRACE, flag) == (trace_id(upstream), flags(upstream))
        assert [_TRACE, _TRACE] == _ids(await bed.spans())

    run(policy, check)


def test_at_the_edge_a_parent_is_unknown(policy: str) -> None:
    """With --edge a caller's trace is neither followed nor joined, and its tracestate goes no further."""

    async def check(bed: Bed) -> None:
        for flag in ("00", "01"):
            headers = {"traceparent": f"{_PARENT}-{flag}", "tracestate": "a=b"}
            dropped = await bed.get(headers=headers)
            kept = await bed.get(headers={**headers, **KEEP})
            assert ["00", "01"] == [flags(dropped), flags(kept)]
            assert _TRACE not in (trace_id(dropped), trace_id(kept))
            assert "a=b" != dropped.get("tracestate")
        assert 2 == len(await bed.spans())

    run(policy, check, "--edge")


def test_spans_carry_the_answer(policy: str) -> None:
    """Tags have the answer's values with their types, a span its policy's name, and Envoy's own name without one."""

    async def check(bed: Bed) -> None:
        await bed.get("/named/1", KEEP)
        await bed.get("/other", KEEP)
        spans = await bed.spans()
        assert ["GET /named/{id}", "ingress"] == [span.name for span in spans]
        for span in spans:
            tags = attributes_of(span.attributes)
            expected = {"plan": "gold", "code": 200, "odd name:1": "odd", "sampling.probability": 0.125}
            assert expected == {name: tags[name] for name in expected}
            assert not {"level", "other", "route", "sampling.policy"} & tags.keys()
        resource = attributes_of(bed.collector.spans[0][0].attributes)
        assert ("front", "test") == (resource["service.name"], resource["mesh.name"])

    run(policy, check)


def test_the_server_may_set_one_header(policy: str) -> None:
    """Every other header that the server sets is refused, and Envoy counts it."""
    names = ("x-envoy-force-trace", "x-other", "authorization", "x-client-trace-id")
    server = Scripted(set_headers=dict.fromkeys(names, "true"))

    async def check(bed: Bed) -> None:
        upstream = await bed.get(headers=KEEP)
        assert "01" == flags(upstream)
        assert not {"x-other", "authorization"} & upstream.keys()
        assert {"http.http.ext_proc.rejected_header_mutations": 3} == await bed.envoy.stats("rejected_header_mutations")

    run(policy, check, server=server)


def test_paths_have_one_spelling(policy: str) -> None:
    """What the server matches is the path that the upstream gets, whatever way it was written."""

    async def check(bed: Bed) -> None:
        await bed.get("/a%2Fb//c/../d?q=1")
        headers = bed.server.received[0].request_headers.headers.headers
        assert [b"/a/b/d?q=1"] == [header.raw_value for header in headers if header.key == ":path"]

    run(policy, check)


@pytest.mark.parametrize(("options", "status"), [([], 200), (["--fail-closed"], 504)])
def test_without_an_answer(policy: str, options: list[str], status: int) -> None:
    """A request that gets no answer in time goes on untraced, or fails where that is wanted."""

    async def check(bed: Bed) -> None:
        began = time.monotonic()
        assert status == await bed.status(headers=KEEP)
        assert 0.05 < time.monotonic() - began < 5.0

    run(policy, check, "--message-timeout", "100ms", *options, server=Scripted(silent=True))


def test_a_server_that_comes_later_is_found(policy: str, tmp_path: Path) -> None:
    """Without a server requests pass untouched and nothing is dialled for them; within seconds it is found."""
    path = tmp_path / "x.sock"

    async def check(bed: Bed) -> None:
        assert "00" == flags(await bed.get(headers=KEEP))
        assert 1 == (await bed.envoy.stats("upstream_cx_none_healthy"))["cluster.extproc.upstream_cx_none_healthy"]
        async with Scripted(socket=path).serving():
            await bed.envoy.wait_for_stat("cluster.extproc.membership_healthy", 1, timeout_seconds=5)
            assert "01" == flags(await bed.get(headers=KEEP))

    run(policy, check, server=Scripted(socket=path, absent=True), healthy=False)


def test_every_worker_takes_part_as_soon_as_it_is_found(policy: str, tmp_path: Path) -> None:
    """Of workers that come at the same time none is left waiting."""
    workers = [Scripted(socket=tmp_path / name) for name in ("a", "b")]

    async def check(bed: Bed) -> None:
        async with workers[0].serving(), workers[1].serving():
            await bed.envoy.wait_for_stat("cluster.extproc.membership_healthy", 2)
            for _ in range(40):
                await bed.get()
        assert all(worker.received for worker in workers)

    absent = Scripted(socket=workers[0].socket, absent=True)
    run(policy, check, "--listen", f"unix:{workers[1].socket}", server=absent, healthy=False)


def test_the_stream_lasts_as_long_as_the_response(policy: str) -> None:
    """Envoy keeps the stream to the server open until the response has been sent."""
    closed = "http.http.ext_proc.streams_closed"

    async def check(bed: Bed) -> None:
        async with bed.client.get(bed.envoy.url("/slow")) as response:
            assert b"begin" == await response.content.readany()
            await bed.get()
            await bed.envoy.wait_for_stat(closed, 1)
            assert {closed: 1} == await bed.envoy.stats(closed)
            bed.release.set()
            await response.read()
        await bed.envoy.wait_for_stat(closed, 2)

    run(policy, check)


def test_nothing_is_warned_about(policy: str) -> None:
    """Envoy starts without a warning."""

    async def check(bed: Bed) -> None:
        assert "" == bed.envoy.log

    run(policy, check)


def test_over_a_unix_socket(policy: str, tmp_path: Path) -> None:
    """Envoy reaches the server by a Unix socket."""

    async def check(bed: Bed) -> None:
        assert "01" == flags(await bed.get(headers=KEEP))

    run(policy, check, server=Scripted(socket=tmp_path / "x.sock"))


@pytest.mark.parametrize(("host", "flag"), [("127.0.0.1", "01"), ("elsewhere.example.com", "00")])
def test_over_mutual_tls(policy: str, tmp_path: Path, host: str, flag: str) -> None:
    """Envoy shows its certificate, and talks to a server only whose own names the address that is dialled."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    envoy = ca.issue_cert("envoy.example.com")
    envoy.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    envoy.private_key_pem.write_to_path(tmp_path / "key.pem")
    own = ca.issue_cert(host)
    pair = (own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes())
    server = Scripted(credentials=grpc.ssl_server_credentials([pair], ca.cert_pem.bytes(), require_client_auth=True))

    async def check(bed: Bed) -> None:
        assert flag == flags(await bed.get(headers=KEEP))

    options = [f"--tls-{name}={tmp_path / name}.pem" for name in ("ca", "cert", "key")]
    run(policy, check, *options, server=server, healthy=flag == "01")
