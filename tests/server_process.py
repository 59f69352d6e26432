"""A real `extproc serve` in a process of its own, for tests."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

_Found = TypeVar("_Found")

POLICY = "tracing: {sampling: {policy: always_on}}\n"


class ServerProcess:
    """`extproc serve` on ports of the kernel's choice.

    Args:
        folder: Where the policy file and the log go.
        policy: The policy file's text, or a path to serve that file as it is.
        flags: More of the command line; `--listen` and `--admin` default to port 0 on loopback.
        environment: Variables to set; all OTEL_* ones of the test run are taken out.
    """

    def __init__(
        self, folder: Path, policy: str | Path = POLICY, *flags: str, environment: Mapping[str, str] | None = None
    ) -> None:
        if isinstance(policy, str):
            self.policy = folder / "policy.yaml"
            self.policy.write_text(policy)
        else:
            self.policy = policy
        self._log_path = folder / "server.log"
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603  our own command
                [sys.executable, "-m", "extproc", "serve", "--policy", str(self.policy), *_with_defaults(flags)],
                stderr=log,
                env=_environment(environment or {}),
                start_new_session=True,  # a test may signal the whole group, as a terminal's Ctrl-C does
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def log_text(self) -> str:
        """Everything that it wrote to standard error."""
        return self._log_path.read_text()

    def logs(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log lines, of one event or all. A line still being written is left out."""
        complete = [line for line in self.log_text.splitlines(keepends=True) if line.endswith("\n")]
        lines = [json.loads(line) for line in complete if line.startswith("{")]
        return [line for line in lines if event in {None, line.get("event")}]

    def wait_for_log(self, event: str, count: int = 1, timeout_seconds: float = 20) -> dict[str, Any]:
        """The `count`-th line of `event`, once it is there."""

        def find() -> dict[str, Any] | None:
            found = self.logs(event)
            return found[count - 1] if len(found) >= count else None

        return self.poll(find, f"{count} log lines {event!r}", timeout_seconds)

    def wait_ready(self) -> Self:
        """Wait until it listens and /ready says so."""
        self.wait_for_log("listening")
        self.poll(lambda: self.get("/ready")[0] == 200 or None, "/ready")
        return self

    @property
    def grpc(self) -> list[str]:
        """The addresses that Envoy may call, as gRPC targets."""
        return list(self.wait_for_log("listening")["grpc"])

    @property
    def admin(self) -> str:
        """The admin server's URL."""
        return f"http://{self.wait_for_log('listening')['admin']}"

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Status and body of an admin request."""
        request = urllib.request.Request(self.admin + path, method=method)  # noqa: S310  our own server
        try:
            with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def policy_view(self) -> dict[str, Any]:
        """GET /policy."""
        view: dict[str, Any] = json.loads(self.get("/policy")[1])
        return view

    def metric(self, series: str) -> float:
        """The value of one series of /metrics, 0 if it is not there."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(series + " "):
                return float(line.removeprefix(series + " "))
        return 0.0

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_seconds: float = 20) -> int:
        """Signal it and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout_seconds)

    def poll(self, find: Callable[[], _Found | None], what: str, timeout_seconds: float = 20) -> _Found:
        """Call `find` until it returns something."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if (found := find()) is not None:
                return found
            if self.process.poll() is not None and find() is None:
                break
            time.sleep(0.01)
        raise AssertionError(f"no {what}; exit code {self.process.poll()}, log:\n{self.log_text}")


@contextmanager
def serving(
    folder: Path, policy: str | Path = POLICY, *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """A ServerProcess that is ready; killed at the end unless it has stopped."""
    with ServerProcess(folder, policy, *flags, environment=environment) as server:
        yield server.wait_ready()


def _with_defaults(flags: tuple[str, ...]) -> list[str]:
    defaults = {"--listen": "127.0.0.1:0", "--admin": "127.0.0.1:0"}
    missing = [text for flag, value in defaults.items() if flag not in flags for text in (flag, value)]
    return [*missing, *flags]


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**inherited, **extra}
