"""The audit log through a real Envoy: every matched request once, whatever happens around it, and no secret."""

import asyncio
import json
import re
import signal
import stat
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from extproc.demo.otlp_receiver import attributes_of
from server_process import ServerProcess
from system import ID, System, running

DROPPED = 'extproc_export_dropped_total{signal="audit"}'
POLICY = """
tracing:
  sampling: {policy: always_off}
  custom_tags:
    - {tag: user_id, request_header: {name: x-user-id}}
    - {tag: caller, request_header: {name: authorization}, hash: sha256}
    - {tag: has_key, request_header: {name: x-api-key}, redact: true}
  audit: AUDIT
  policies:
    - name: orders
      match: {path: "/orders/**"}
      sampling: {policy: probabilistic, ratio: 0.5}
      audit: true
    - name: failures
      match: {path: "/{kind}", method: [GET, POST]}
      audit: true
    - name: statuses
      match: {path: "/status/{code}"}
"""


def policy(path: Path, more: str = "") -> str:
    """The policy with its records in a file."""
    return POLICY.replace("AUDIT", f"{{file: '{path}'{more}}}")


def records(path: Path) -> list[dict[str, Any]]:
    """What a file holds."""
    return [json.loads(line) for line in path.read_text("ascii").splitlines()] if path.exists() else []


async def written(path: Path, count: int) -> list[dict[str, Any]]:
    """The records of a file, once there are so many."""
    found: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(15):
            while len(found := records(path)) < count:  # noqa: ASYNC110  it happens in another process
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{len(found)} records, not {count}") from None
    return found


async def raw(system: System, request: bytes) -> None:
    """Sends bytes to Envoy as they are, and reads until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(system.envoy.url("").rpartition(":")[2].strip("/")))
    writer.write(request)
    await reader.read()
    writer.close()


@pytest.mark.parametrize("wiring", [(), ("--timings", "access-log")], ids=["stream", "access log"])
@pytest.mark.parametrize("workers", [1, 2])
def test_each_matched_request_leaves_one_record(tmp_path: Path, workers: int, wiring: tuple[str, ...]) -> None:
    """As many records as requests of policies that audit, whoever served them, and each says what happened."""
    path, listen = tmp_path / "audit.jsonl", ("--listen", f"unix:{tmp_path}/e.sock", "--workers", str(workers))

    async def check() -> None:
        async with running(tmp_path, policy(path), listen=listen, wiring=wiring) as system:
            await system.envoy.wait_for_stat("cluster.extproc.membership_healthy", workers)
            answers = await system.send_all((f"/orders/{number}" for number in range(300)), {"x-user-id": "ann"})
            await system.send_all(["/status/404"] * 40)
            await system.send("/orders/last", method="DELETE")
            found = await written(path, 301)
            assert 0 == await asyncio.to_thread(system.server.stop)
            assert found == records(path)
            traces = {f"/orders/{number}": system.upstream_trace(name) for number, (_, name) in enumerate(answers)}
            for record in found:
                if record["action"] == "DELETE /orders/**":
                    assert ("/orders/last", None) == (record["resource"], record.get("user"))
                    continue
                trace_id, flags = traces.pop(record["resource"])
                assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("time"))
                expected = {
                    "action": "GET /orders/**",
                    "user": "ann",
                    "resource": record["resource"],
                    "status": 200,
                    "policy": "orders",
                    "reason": "policy",
                    "sampled": flags == "01",
                    "trace_id": trace_id,
                    "source_address": "127.0.0.1",
                }
                assert expected == record
            assert {} == traces
            assert 0o600 == stat.S_IMODE(path.stat().st_mode)

    asyncio.run(check())


def test_metrics_count_audited_requests_once(tmp_path: Path) -> None:
    """Following a request to its end for the audit log does not record it beside the access log."""
    path = tmp_path / "audit.jsonl"

    async def check() -> None:
        async with running(tmp_path, policy(path), wiring=("--timings", "access-log")) as system:
            await system.send_all(f"/orders/{number}" for number in range(50))
            series = (
                'envoy_http_requests_total{method="GET",path="/orders/**",service="user_service",status_code="200"}'
            )
            await system.wait_for_metric(series, 50)
            await written(path, 50)
            assert 50 == await system.metric(series)
            assert 0 == await system.metric('extproc_stream_errors_total{type="recorded_twice"}')

    asyncio.run(check())


def test_no_secret_is_written(tmp_path: Path) -> None:
    """Credentials and queries are nowhere in the file; a user that is a hashed tag stands there as its hash."""
    path = tmp_path / "audit.jsonl"
    secret = {"authorization": "Bearer t0p-s3cret", "x-api-key": "t0p-s3cret", "cookie": "a=t0p-s3cret"}

    async def check(user_tag: str) -> None:
        async with running(tmp_path, policy(path, f", user_tag: {user_tag}")) as system:
            before = len(records(path))
            await system.send("/orders/1?password=t0p-s3cret", secret | {"x-user-id": "ann", "x-other": "t0p-s3cret"})
            await written(path, before + 1)

    for user_tag in ("user_id", "caller"):
        asyncio.run(check(user_tag))
    assert ["ann", sha256(b"Bearer t0p-s3cret").hexdigest()] == [record["user"] for record in records(path)]
    assert b"s3cret" not in path.read_bytes()


def test_hostile_text_stays_on_its_line(tmp_path: Path) -> None:
    """Quotes, escapes, bytes that are no UTF-8 and a path of 8 kB: one line each, cut where it is too long.

    Envoy refuses worse in a path, and writes what it takes in its own way; the file's unit tests go further.
    """
    path = tmp_path / "audit.jsonl"
    sent = {b'/orders/"}\\{': "/orders/%22%7D/%7B", b"/orders/%0d%0a%22": "/orders/%0d%0a%22"}
    sent[b"/orders/" + b"a" * 8000] = "/orders/" + "a" * 1016

    async def check() -> None:
        async with running(tmp_path, policy(path)) as system:
            for target in sent:
                head = b'GET %b HTTP/1.1\r\nhost: a\r\nx-user-id: \xff"},{"\\\r\nconnection: close\r\n\r\n' % target
                await raw(system, head)
            found = await written(path, len(sent))
            assert [*sent.values()] == [record["resource"] for record in found]
            assert {'\ufffd"},{"\\'} == {record["user"] for record in found}
            assert [] == [byte for byte in path.read_bytes() if not 0x20 <= byte < 0x7F and byte != 0x0A]

    asyncio.run(check())


def test_requests_that_fail_have_their_record(tmp_path: Path) -> None:
    """A client that gives up, an upstream that hangs up and one that is too slow: each once, with what went wrong."""
    path = tmp_path / "audit.jsonl"

    async def check() -> None:
        def impatient(config: str) -> str:
            return config.replace("timeout: 0s", "timeout: 1s")

        async with running(tmp_path, policy(path), edit=impatient) as system:
            await system.send("/reset", method="POST")
            await system.send("/slow?seconds=3")
            hasty = asyncio.create_task(system.send("/slow?seconds=3", {ID: "hasty", "x-user-id": "hasty"}))
            async with asyncio.timeout(10):
                while "hasty" not in system.upstream.seen:  # noqa: ASYNC110  nothing tells of it
                    await asyncio.sleep(0.01)
            hasty.cancel()
            found = await written(path, 3)
            ends = [(record.get("status"), record["error_type"], record.get("user")) for record in found]
            assert [(503, "UC", None), (504, "UT", None), (None, "stream_reset", "hasty")] == ends

    asyncio.run(check())


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_lost_on_sigterm(tmp_path: Path, workers: int) -> None:
    """What was recorded a moment ago, and what is still under way, is in the file when the server has stopped."""
    path, listen = tmp_path / "audit.jsonl", ("--listen", f"unix:{tmp_path}/e.sock", "--workers", str(workers))

    async def check() -> None:
        async with running(tmp_path, policy(path), listen=listen, flags=("--grace", "4")) as system:
            late = asyncio.create_task(system.send("/late?seconds=0.7"))
            await system.send_all(f"/orders/{number}" for number in range(200))
            system.server.process.send_signal(signal.SIGTERM)
            assert 0 == await asyncio.to_thread(system.server.process.wait, 20)
            assert 200 == (await late)[0]
            assert Counter({"orders": 200, "failures": 1}) == Counter(record["policy"] for record in records(path))

    asyncio.run(check())


def test_rotation(tmp_path: Path) -> None:
    """The files never hold more than they may, and together every record that is left to hold."""
    path, limit = tmp_path / "logs" / "audit.jsonl", 65_536
    path.parent.mkdir()

    async def check() -> None:
        async with running(tmp_path, policy(path, f", max_bytes: {limit}, backups: 2")) as system:
            for start in range(0, 1200, 200):
                await system.send_all(f"/orders/{number}" for number in range(start, start + 200))
            assert 0 == await asyncio.to_thread(system.server.stop)

    asyncio.run(check())
    files = [path, *(Path(f"{path}.{number}") for number in (1, 2))]
    assert files == sorted(path.parent.iterdir())
    assert max(file.stat().st_size for file in files) <= limit
    found = [record["resource"] for file in reversed(files) for record in records(file)]
    newest = {f"/orders/{number}" for number in range(1200 - len(found), 1200)}
    assert 400 < len(found) == len(set(found)) < 1200
    assert len(newest - set(found)) <= 16  # so many requests at a time, which may end in any order


def test_otlp_logs(tmp_path: Path) -> None:
    """With otlp: true a receiver of logs gets each record once, in its trace and with our resource."""

    async def check() -> None:
        text = POLICY.replace("AUDIT", "{otlp: true}").replace(
            "tracing:", "tracing:\n  attributes: {service.name: shop}"
        )
        async with running(tmp_path, text) as system:
            answers = await system.send_all((f"/orders/{number}" for number in range(40)), {"x-user-id": "ann"})
            await system.collector.wait_until(lambda: len(system.collector.logs) >= 40)
            await system.send("/orders/flushed")
            assert 0 == await asyncio.to_thread(system.server.stop)
            logs = {str(attributes_of(log.attributes)["audit.resource"]): log for _, log in system.collector.logs}
            assert 41 == len(system.collector.logs) == len(logs)
            for number, (_, name) in enumerate(answers):
                log, (trace_id, flags) = logs[f"/orders/{number}"], system.upstream_trace(name)
                assert (trace_id, int(flags, 16), b"") == (log.trace_id.hex(), log.flags, log.span_id)
                assert ("extproc.audit", "GET /orders/**", "INFO") == (
                    log.event_name,
                    log.body.string_value,
                    log.severity_text,
                )
                expected = {
                    "audit.user": "ann",
                    "audit.resource": f"/orders/{number}",
                    "audit.status": 200,
                    "audit.policy": "orders",
                    "audit.reason": "policy",
                    "audit.sampled": flags == "01",
                    "audit.source_address": "127.0.0.1",
                }
                assert expected == attributes_of(log.attributes)
            resources = {
                str(attributes_of(resource.attributes)["service.name"]) for resource, _ in system.collector.logs
            }
            assert {"shop"} == resources

    asyncio.run(check())


def test_receiver_that_is_down_fails_no_request(tmp_path: Path) -> None:
    """Records that no receiver takes are counted and told, requests go on, and the server stops in time."""

    async def check() -> None:
        text = POLICY.replace("AUDIT", "{otlp: true}")
        async with running(tmp_path, text, flags=("--grace", "4")) as system:
            await system.collector.stop()
            answers = await system.send_all(f"/orders/{number}" for number in range(20))
            assert {200} == {status for status, _ in answers}
            assert 0 == await asyncio.to_thread(system.server.stop)
            line = system.server.logs("audit records not delivered")[0]
            assert 20 == line["records"]

    asyncio.run(check())


def test_file_that_cannot_be_written_fails_no_request(tmp_path: Path) -> None:
    """While the disk refuses records, requests go on; each record lost is counted, told once, and later ones arrive."""
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "audit.jsonl"

    async def check() -> None:
        async with running(tmp_path, policy(path)) as system:
            path.unlink()
            folder.rmdir()
            for number in range(3):
                assert 200 == (await system.send(f"/orders/{number}"))[0]
                await system.wait_for_metric(DROPPED, number + 1)
            lines = system.server.logs("audit records not delivered")
            assert [f"{path}: No such file or directory"] == [line["reason"] for line in lines]
            folder.mkdir()
            await system.send("/orders/back")
            assert ["/orders/back"] == [record["resource"] for record in await written(path, 1)]
            await asyncio.to_thread(system.server.wait_for_log, "audit records are delivered again")

    asyncio.run(check())


NO_FILE = (
    "audit.file: expected a file that can be written, got '/nowhere/audit.jsonl': No such file or directory; "
    "try another path or its permissions"
)
NO_ENDPOINT = (
    "audit.otlp: expected an OTLP endpoint, got none; "
    "try collector in the policy file, OTEL_EXPORTER_OTLP_ENDPOINT, or audit.file"
)


@pytest.mark.parametrize(
    ("audit", "message"), [("{file: '/nowhere/audit.jsonl'}", NO_FILE), ("{otlp: true}", NO_ENDPOINT)]
)
def test_no_place_for_records_is_found_at_the_start(tmp_path: Path, audit: str, message: str) -> None:
    """A server that could not audit does not begin to serve."""
    with ServerProcess(tmp_path, POLICY.replace("AUDIT", audit)) as server:
        assert 1 == server.process.wait(20)
        assert f"Error: {server.policy}: {message}\n" == server.log_text


def test_otlp_that_the_environment_switches_off(tmp_path: Path) -> None:
    """Records that were asked for are not given up silently."""
    environment = {"OTEL_LOGS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    with ServerProcess(tmp_path, POLICY.replace("AUDIT", "{otlp: true}"), environment=environment) as server:
        assert 1 == server.process.wait(20)
        assert "expected an OTLP endpoint, got export switched off by the environment" in server.log_text


@pytest.mark.parametrize("workers", ["1", "2"])
def test_reload_moves_the_records(tmp_path: Path, workers: str) -> None:
    """A new place is used at once, one that can't be opened changes nothing, and none at all ends the audit."""
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    listen = ("--listen", f"unix:{tmp_path}/e.sock", "--workers", workers)

    async def check() -> None:
        async with running(tmp_path, policy(first), listen=listen) as system:
            server = system.server
            await system.send("/orders/1")
            await written(first, 1)
            server.policy.write_text(policy(Path("/nowhere/audit.jsonl")))
            line = await asyncio.to_thread(server.wait_for_log, "policy not reloaded, the last good one stays")
            assert f"{server.policy}: {NO_FILE}" == line["problem"]
            await system.send("/orders/2")
            await written(first, 2)
            server.policy.write_text(policy(second))
            await asyncio.to_thread(server.wait_for_log, "policy reloaded")
            await system.send("/orders/3")
            await written(second, 1)
            server.policy.write_text("tracing: {}")
            await asyncio.to_thread(server.wait_for_log, "policy reloaded", 2)
            await system.send("/orders/4")
            assert 0 == await asyncio.to_thread(server.stop)
            found = [record["resource"] for path in (first, second) for record in records(path)]
            assert ["/orders/1", "/orders/2", "/orders/3"] == found

    asyncio.run(check())
