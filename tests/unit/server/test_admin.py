"""The admin HTTP server, and what /policy shows."""

import asyncio
from typing import Any

import aiohttp
import pytest

from extproc.engine.outcome import Reason
from extproc.policy.load import load_text
from extproc.server.address import Address, parse
from extproc.server.admin import Admin, is_loopback
from extproc.server.effective import Rate
from extproc.server.policy_view import policy_view
from extproc.server.reload import FailedReload, PolicyFile
from extproc.telemetry.recorder import Recorder
from extproc.telemetry.store import Store
from outcomes import answered


class Shown:
    """A status to show."""

    ready = False

    async def policy(self) -> dict[str, Any]:
        """Stand in for a policy."""
        return {"digest": "d"}

    async def metrics(self) -> tuple[bytes, str]:
        """Stand in for metrics."""
        return b"m 1\n", "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("method", "path", "ready", "status", "body"),
    [
        ("GET", "/health", False, 200, '{"status": "healthy"}'),
        ("HEAD", "/health", False, 200, ""),
        ("GET", "/ready", False, 503, '{"status": "not ready"}'),
        ("GET", "/ready", True, 200, '{"status": "ready"}'),
        ("HEAD", "/ready", False, 503, ""),
        ("GET", "/policy", True, 200, '{"digest": "d"}'),
        ("GET", "/metrics", True, 200, "m 1\n"),
        ("GET", "/", True, 404, '{"error": "not found"}'),
        ("POST", "/policy", True, 405, '{"error": "method not allowed"}'),
    ],
)
def test_answers(method: str, path: str, ready: bool, status: int, body: str) -> None:  # noqa: FBT001  a row of the table
    """Every path and method has one answer; what is not there is said in JSON too."""

    async def ask() -> tuple[int, str]:
        shown = Shown()
        shown.ready = ready
        admin = Admin(shown)
        address = await admin.start(Address(host="127.0.0.1"))
        try:
            async with aiohttp.request(method, f"http://{address}{path}") as response:
                return response.status, await response.text()
        finally:
            await admin.stop()

    assert (status, body) == asyncio.run(ask())


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/a", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("example.com:1", False),
    ],
)
def test_is_loopback(text: str, loopback: bool) -> None:  # noqa: FBT001  a row of the table
    """Only what cannot be reached from another machine is loopback."""
    assert loopback == is_loopback(parse(text))


POLICY = b"""
tracing:
  sampling: {policy: probabilistic, ratio: 0.5}
  custom_tags: [{tag: secret, literal: {value: s3cr3t-tag}}]
  policies:
    - name: users
      match:
        path: "/api/users/{id}"
        service: user-service
        method: [PUT, POST]
        host: "*.example.com"
        headers: {x-debug: s3cr3t-header}
        query: {key: s3cr3t-query}
        not: {path: "/api/users/0"}
      sampling: {policy: always_off, parent: ignore}
"""


def test_policy_view(tmp_path: Any) -> None:  # noqa: ANN401  a Path
    """All of the policy is shown but what may be secret, with what each policy has decided."""
    store, recorder = Store(), Recorder()

    async def nothing(_: object) -> None:
        """Apply no plan."""

    file = PolicyFile(tmp_path / "policy.yaml", store, nothing)
    file.path.write_bytes(POLICY)
    asyncio.run(file.load())
    file.last_error = FailedReload("2026-01-01T00:00:00+00:00", ("policy.yaml:1:1: bad",))
    recorder.request(answered(policy="users", reason=Reason.POLICY, sampled=False))
    recorder.request(answered(policy="users", reason=Reason.PARENT, sampled=True))
    store.add(recorder.collect(), "0")
    store.count("extproc.policy.reloads", result="error")
    view = policy_view(file, store.snapshot(), {"users": Rate(0.25, 2.5)})
    assert "s3cr3t" not in str(view)
    assert load_text(POLICY, "", {}).digest == view["digest"]
    assert {"ok": 0, "error": 1} == view["reloads"]
    assert {"at": "2026-01-01T00:00:00+00:00", "problems": ["policy.yaml:1:1: bad"]} == view["last_error"]
    assert {"policy": "probabilistic", "ratio": 0.5, "parent": "respect"} == view["default"]["sampling"]
    assert [
        {
            "index": 0,
            "name": "users",
            "match": {
                "path": "/api/users/{id}",
                "service": "user-service",
                "method": ["POST", "PUT"],
                "host": "*.example.com",
                "headers": ["x-debug"],
                "query": ["key"],
            },
            "not": {"path": "/api/users/0"},
            "sampling": {"policy": "always_off", "ratio": 0.0, "parent": "ignore"},
            "effective": {"ratio": 0.25, "traces_per_second": 2.5},
            "counters": {"requests": 2, "sampled": 1, "by_reason": {"policy": 1, "parent": 1}},
        }
    ] == view["policies"]
