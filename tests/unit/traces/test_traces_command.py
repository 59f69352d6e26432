"""`extproc traces` against a local HTTP server in Jaeger's place: what it asks, shows, and says when all goes wrong."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from extproc.cli import main
from extproc.traces import search

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

TRACE = "0af7651916cd43dd8448eb211c80319c"
START = 1_763_000_000_000_000
SPAN = {
    "traceID": TRACE,
    "spanID": "b7ad6b7169203331",
    "operationName": "ingress",
    "references": [],
    "startTime": START,
    "duration": 12_345,
    "tags": [
        {"key": "sampling.policy", "type": "string", "value": "checkout"},
        {"key": "sampling.reason", "type": "string", "value": "policy"},
    ],
    "processID": "p1",
}
EVIL = "\x1b]0;owned\x07[red]x"
"""Sets a terminal's title, and is markup to rich."""


def traces_json(*spans: dict[str, Any], services: tuple[str, ...] = ("front",)) -> web.Response:
    """What /api/traces answers."""
    processes = {f"p{number}": {"serviceName": name} for number, name in enumerate(services, 1)}
    data = [{"traceID": TRACE, "spans": list(spans), "processes": processes}] if spans else []
    return web.json_response({"data": data, "errors": None})


def traces(answer: Answer, *arguments: str) -> Result:
    """Run the command against a server that answers so; $URL in the arguments is the server's."""

    async def run() -> Result:
        application = web.Application()
        application.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        given = [argument.replace("$URL", url) for argument in arguments]
        if not any("--jaeger" in argument for argument in given):
            given += ["--jaeger", url]
        try:
            result = await asyncio.to_thread(CliRunner().invoke, main, ["traces", *given])
        finally:
            await runner.cleanup()
        result.stderr_bytes = result.stderr_bytes.replace(url.encode(), b"$URL")
        return result

    return asyncio.run(run())


def fixed(response: Callable[[], web.Response]) -> Answer:
    """The same answer to everything."""

    async def answer(request: web.Request) -> web.Response:
        del request
        return response()

    return answer


def test_table() -> None:
    """A trace is a line: id, when, how long, spans, errors, where it begins, who took part, which policy kept it."""
    child = SPAN | {"spanID": "1", "processID": "p2", "tags": [{"key": "error", "type": "bool", "value": True}]}
    result = traces(fixed(lambda: traces_json(SPAN, child, services=("front", "orders"))), "--service", "front")
    assert 0 == result.exit_code, result.output
    header, _, line = (text.split() for text in result.stdout.splitlines() if text.strip())
    columns = "trace began (UTC) took spans errors begins with services kept by"
    assert columns == " ".join(header)
    expected = f"{TRACE} 2025-11-13 02:13:20 12.3 ms 2 1 front: ingress front, orders checkout (policy)"
    assert expected == " ".join(line)
    assert "1 trace of front\n" == result.stderr


def test_data() -> None:
    """JSON has every span with its tags, and nothing else is on stdout."""
    child = SPAN | {
        "spanID": "c",
        "references": [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": SPAN["spanID"]}],
        "startTime": START + 1,
        "tags": [{"key": "http.status_code", "type": "int64", "value": 200}],
    }
    result = traces(fixed(lambda: traces_json(SPAN, child)), "--service", "front", "--format", "json")
    assert 0 == result.exit_code, result.output
    common = {"service": "front", "operation": "ingress", "duration_seconds": 0.012345, "failed": False}
    expected = {
        "trace_id": TRACE,
        "start": "2025-11-13T02:13:20.000000Z",
        "duration_seconds": 0.012346,
        "errors": 0,
        "services": ["front"],
        "root": {"service": "front", "operation": "ingress"},
        "sampling": {"policy": "checkout", "reason": "policy"},
        "spans": [
            common
            | {
                "span_id": SPAN["spanID"],
                "parent_id": None,
                "start": "2025-11-13T02:13:20.000000Z",
                "tags": {"sampling.policy": "checkout", "sampling.reason": "policy"},
            },
            common
            | {
                "span_id": "c",
                "parent_id": SPAN["spanID"],
                "start": "2025-11-13T02:13:20.000001Z",
                "tags": {"http.status_code": 200},
            },
        ],
    }
    assert {"traces": [expected]} == json.loads(result.stdout)
    assert "" == result.stderr


def test_question() -> None:
    """Jaeger is asked for the service, the time, the tags and the limit, under the prefix that it is served at."""
    asked: list[tuple[str, dict[str, str]]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path, dict(request.query)))
        return traces_json(SPAN)

    arguments = ("--since", "1h", "--tag", "a=1", "--tag", "b.c=d=e", "--limit", "1", "--jaeger", "$URL/jaeger/")
    result = traces(answer, "--service", "a b&c", *arguments)
    assert 0 == result.exit_code, result.output
    ((path, query),) = asked
    assert "/jaeger/api/traces" == path
    assert {"a": "1", "b.c": "d=e"} == json.loads(query.pop("tags"))
    assert 3_600_000_000 == int(query.pop("end")) - int(query.pop("start"))
    assert {"service": "a b&c", "limit": "1"} == query
    assert "1 trace of a b&c, and maybe more: --limit\n" == result.stderr


def test_terminal_escapes() -> None:
    """What a client smuggled into a name is spelled out, not sent to the terminal nor taken as markup."""
    tags = [{"key": "sampling.policy", "value": EVIL}]
    result = traces(
        fixed(lambda: traces_json(SPAN | {"operationName": EVIL, "tags": tags}, services=(EVIL,))), "--service", "front"
    )
    assert 0 == result.exit_code, result.output
    assert "\x1b" not in result.output
    assert "\x07" not in result.output
    assert 4 == result.stdout.count(r"\x1b]0;owned\x07[red]x")
    json_answer = fixed(lambda: traces_json(SPAN | {"operationName": EVIL}))
    data = traces(json_answer, "--service", "front", "--format", "json")
    assert "\x1b" not in data.stdout
    assert EVIL == json.loads(data.stdout)["traces"][0]["root"]["operation"]


def services(*names: str) -> Answer:
    """A Jaeger that has no trace, and knows these services."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/api/services":
            return web.json_response({"data": list(names) or None})
        return traces_json()

    return answer


def test_no_traces() -> None:
    """No trace of a service that Jaeger knows is an answer: an empty list, and exit code 0."""
    result = traces(services("front"), "--service", "front", "--format", "json")
    assert (0, {"traces": []}) == (result.exit_code, json.loads(result.stdout))
    result = traces(services("front"), "--service", "front")
    assert (0, "", "0 traces of front\n") == (result.exit_code, result.stdout, result.stderr)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (("order-service", "user-service"), "'order_service'; it knows order-service, user-service"),
        (("front",), "'order_service'; it knows front"),
        ((), "'order_service', nor any other: no span has reached it"),
        (("order_service" + EVIL,), r"'order_service'; it knows order_service\x1b]0;owned\x07[red]x"),
    ],
)
def test_unknown_service(known: tuple[str, ...], said: str) -> None:
    """A service that Jaeger has never heard of is an error that names the nearest ones."""
    result = traces(services(*known), "--service", "order_service")
    assert (1, f"Error: Jaeger knows no service {said}\n") == (result.exit_code, result.stderr)


def redirect() -> web.Response:
    """A proxy that wants a login first."""
    return web.Response(status=302, headers={"Location": "https://login.example.com/"})


def refused() -> web.Response:
    """Jaeger's own error."""
    return web.Response(status=500, text=json.dumps({"data": None, "errors": [{"code": 500, "msg": f"no {EVIL}"}]}))


NOT_JAEGER = "Error: what answers at $URL is not Jaeger's query API ({}); that has port 16686 where nobody changed it\n"


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (lambda: web.Response(status=404, text="404 page not found"), NOT_JAEGER.format("status 404")),
        (redirect, NOT_JAEGER.format("status 302, to https://login.example.com/")),
        (
            lambda: web.Response(text="<!DOCTYPE html>", content_type="text/html"),
            NOT_JAEGER.format("Invalid JSON: expected value at line 1 column 1"),
        ),
        (lambda: web.json_response({"status": "success"}), NOT_JAEGER.format("data: Field required")),
        (
            lambda: traces_json(SPAN | {"startTime": -1}),
            NOT_JAEGER.format("data.0.spans.0.startTime: Input should be greater than or equal to 0"),
        ),
        (refused, "Error: Jaeger answers 500: no \\x1b]0;owned\\x07[red]x\n"),
    ],
)
def test_bad_answers(response: Callable[[], web.Response], said: str) -> None:
    """Whatever answers in Jaeger's place gets one line that says what is wrong with it, and exit code 1."""
    result = traces(fixed(response), "--service", "front")
    assert (1, "", said) == (result.exit_code, result.stdout, result.stderr)


@pytest.mark.parametrize("compressed", [False, True])
def test_endless_answer(monkeypatch: pytest.MonkeyPatch, *, compressed: bool) -> None:
    """An answer is not read further than we want to hold, also where it is small on the wire."""
    monkeypatch.setattr(search, "LARGEST_BYTES", 2 * 1024**2)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if compressed:
            response.enable_compression(web.ContentCoding.gzip)
        await response.prepare(request)
        while request.transport is not None:
            await response.write(b" " * 65_536)
        return response

    result = traces(answer, "--service", "front")
    said = "Error: Jaeger's answer is larger than 2 MiB; ask for less with --since and --limit\n"
    assert (1, said) == (result.exit_code, result.stderr)


def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and says nothing is given up."""
    monkeypatch.setattr(search, "_TIMEOUT", aiohttp.ClientTimeout(total=0.1))

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response(text=request.path)

    result = traces(answer, "--service", "front")
    assert (1, "Error: $URL does not answer; ask for less with --since and --limit\n") == (
        result.exit_code,
        result.stderr,
    )


def test_broken_answer() -> None:
    """A connection that breaks off in the middle is not taken for an answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"data": [')
        assert request.transport is not None
        request.transport.abort()
        return response

    result = traces(answer, "--service", "front")
    assert 1 == result.exit_code
    assert result.stderr.startswith("Error: no answer from Jaeger at $URL: ")


def test_nobody_there() -> None:
    """Where nothing listens, the address and the reason are named, but no password."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and not listening
        url = f"http://user:secret@127.0.0.1:{held.getsockname()[1]}"
        result = CliRunner().invoke(main, ["traces", "--service", "front", "--jaeger", url])
    said = f"no answer from Jaeger at {url.replace('user:secret@', '')}: Connection refused; --jaeger says where it is"
    assert (1, f"Error: {said}\n") == (result.exit_code, result.stderr)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "Missing option '--service'."),
        ("--service s --since 15", "'--since': expected a duration up to 365d, got '15'; try 90s, 15m, 1h30m or 7d"),
        ("--service s --tag error", "'--tag': expected name=value, got 'error'; try http.status_code=500"),
        ("--service s --tag a=1 --tag a=2", "--tag: a span has one value of 'a', got '1' and '2'; ask twice"),
        ("--service s --limit 0", "'--limit': 0 is not in the range 1<=x<=1500."),
        ("--service s --jaeger localhost:16686", "expected a URL, got 'localhost:16686'; try http://127.0.0.1:16686"),
        ("--service s --jaeger http://a:b", "expected a URL, got 'http://a:b'; try http://127.0.0.1:16686"),
    ],
)
def test_usage(arguments: str, said: str) -> None:
    """A command line that means nothing exits with 2 and says what to write."""
    result = CliRunner().invoke(main, ["traces", *arguments.split()])
    assert 2 == result.exit_code
    assert said in result.stderr
