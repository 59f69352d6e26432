"""What is compared: each case is an Envoy wired in one way, and the ext_proc server behind it, if any."""

import json
from dataclasses import dataclass
from enum import StrEnum


class Server(StrEnum):
    """Who answers Envoy."""

    NONE = "none"
    EXTPROC = "extproc"
    ECHO = "echo"
    OWN_ECHO = "own echo"
    GO = "go"
    GRPCLIB = "grpclib"
    SYNC = "sync"


ECHOES = {Server.ECHO, Server.OWN_ECHO}


class Plain(StrEnum):
    """What stands in the place of ext_proc where there is no server."""

    NOTHING = "nothing"
    LUA = "lua"
    NATIVE = "native"


@dataclass(frozen=True, slots=True)
class Case:
    """One way to do the job.

    Attributes:
        about: What it is, for the report.
        server: Who answers Envoy.
        plain: What Envoy does by itself, where nobody answers it.
        timings: As in `extproc envoy --timings`.
        mode: As in a policy's `spans.mode`.
        unix: Envoy and the server talk by a Unix socket, not by TCP.
        floor: The bare grpc.aio server that is wired alike.
        tags: How many tags, or None for the two of every comparison.
        export_seconds: How often metrics are exported.
    """

    about: str
    server: Server = Server.NONE
    plain: Plain = Plain.NOTHING
    timings: str = "stream"
    mode: str = "annotate"
    unix: bool = False
    workers: int = 1
    policies: int = 50
    tags: int | None = None
    ratio: float = 0.1
    export_seconds: int = 60
    floor: str = ""

    def wanted_tags(self) -> dict[str, str]:
        """What Envoy has to know of the request that is checked."""
        if self.server in ECHOES or (self.server == Server.NONE and self.plain != Plain.LUA):
            return {}
        given = (
            {"user_id": "user-17", "mesh": "envoy"} if self.tags is None else {"tag_0": "first"} if self.tags else {}
        )
        matched = {"sampling.policy": "service-1"} if self.server != Server.NONE and self.policies > 1 else {}
        return given | matched


BASELINE = "none"
MAIN = "extproc"
CHEAPEST = "extproc-log-unix"
OWN_ECHO = "echo-extproc"
CASES = {
    BASELINE: Case("no filter"),
    "lua": Case("Envoy's Lua filter sets the tags, nothing else", plain=Plain.LUA),
    "native": Case("Envoy alone: tags from headers, a ratio per route, stats from its access log", plain=Plain.NATIVE),
    MAIN: Case(
        "as `extproc envoy` wires it: timed by the stream, tags on Envoy's spans, TCP",
        Server.EXTPROC,
        floor="echo-python",
    ),
    "extproc-unix": Case("by Unix socket", Server.EXTPROC, unix=True, floor="echo-python-unix"),
    "extproc-log": Case("timed by the access log", Server.EXTPROC, timings="access-log", floor="echo-python-log"),
    CHEAPEST: Case(
        "timed by the access log, by Unix socket",
        Server.EXTPROC,
        timings="access-log",
        unix=True,
        floor="echo-python-log-unix",
    ),
    "extproc-emit": Case("spans of its own", Server.EXTPROC, mode="emit", floor="echo-python"),
    "extproc-log-emit": Case(
        "timed by the access log, spans of its own",
        Server.EXTPROC,
        timings="access-log",
        mode="emit",
        floor="echo-python-log",
    ),
    "extproc-2-workers": Case("two workers", Server.EXTPROC, workers=2, floor="echo-python"),
    "echo-python": Case("grpc.aio that answers without looking, wired as extproc", Server.ECHO),
    "echo-python-unix": Case("the echo, wired as extproc-unix", Server.ECHO, unix=True),
    "echo-python-log": Case("the echo, wired as extproc-log", Server.ECHO, timings="access-log"),
    "echo-python-log-unix": Case("the echo, wired as extproc-log-unix", Server.ECHO, timings="access-log", unix=True),
    OWN_ECHO: Case("extproc's own gRPC server that answers without looking, wired as extproc", Server.OWN_ECHO),
    "peer-go": Case("the same job in Go: grpc-go, go-control-plane", Server.GO, floor="echo-python"),
    "peer-grpclib": Case("the same job in Python: envoy-data-plane, grpclib", Server.GRPCLIB, floor="echo-python"),
    "peer-grpc-sync": Case("the same job in Python: grpc's threaded server", Server.SYNC, floor="echo-python"),
}


def policy_text(case: Case) -> str:
    """The policy file of a case: so many policies on paths, each with the ratio, and the tags."""
    sampling = {"ratio": case.ratio}
    policies = [
        {"name": f"service-{n}", "match": {"path": f"/api/service-{n}/{{id}}"}, "sampling": sampling}
        for n in range(case.policies)
    ]
    tracing = {
        "sampling": sampling,
        "spans": {"mode": case.mode},
        "custom_tags": _tags(case.tags),
        "policies": policies,
    }
    return json.dumps({"tracing": tracing})


def _tags(count: int | None) -> list[dict[str, object]]:
    if count is not None:
        return [{"tag": f"tag_{n}", "request_header": {"name": f"x-bench-{n}"}} for n in range(count)]
    return [
        {"tag": "user_id", "request_header": {"name": "x-user-id", "default_value": "unknown"}},
        {"tag": "mesh", "literal": {"value": "envoy"}},
    ]
