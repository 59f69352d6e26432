"""A real Jaeger for tests, on ports of the kernel's choice, ended by its process id."""

import json
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_CONFIG = Path(__file__).parent / "stack" / "jaeger.yaml"
_READY_SECONDS = 20.0
_POLL_SECONDS = 0.02
_STOP_SECONDS = 10.0


class JaegerProcess:
    """A Jaeger that keeps its traces in memory: `otlp` is where it takes them over gRPC, `query` its HTTP API's URL."""

    def __init__(self, executable: Path) -> None:
        self._executable = executable
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed at the end
        self._process: subprocess.Popen[bytes] | None = None
        self.otlp = ""
        self.query = ""

    def __enter__(self) -> Self:
        """Start it and wait until it takes and answers."""
        command = [str(self._executable), "--config", str(_CONFIG)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)  # noqa: S603  our own command
        try:
            self._wait_until_ready()
        except BaseException as error:
            error.add_note(self._log_text())
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End it, by force if it does not end by itself."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _READY_SECONDS
        while not self._ready():
            assert self._process.poll() is None, "Jaeger ended at its start"
            assert time.monotonic() < deadline, "Jaeger does not get ready"
            time.sleep(_POLL_SECONDS)

    def _ready(self) -> bool:
        lines = [json.loads(line) for line in self._log_text().splitlines(keepends=True) if line.startswith("{")]
        for line in lines:
            if "http_addr" in line:
                self.query = f"http://{line['http_addr']}"
            if line.get("otelcol.component.id") == "otlp" and "endpoint" in line:
                self.otlp = line["endpoint"]
        return any(line["msg"].startswith("Everything is ready") for line in lines)

    def _log_text(self) -> str:
        """What it has logged, up to the last whole line."""
        self._log.seek(0)
        return self._log.read().decode().rpartition("\n")[0]
