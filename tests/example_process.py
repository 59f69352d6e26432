"""The sample services in processes of their own, for tests."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[1]
_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")
_POLL_SECONDS = 0.02
_START_SECONDS, _STOP_SECONDS = 30.0, 20.0


class ExampleProcess:
    """`http_service` or `grpc_service` on a free port, which it has named by the time that the block begins.

    Args:
        folder: Where its log goes.
        name: The program.
        environment: Variables to set; all OTEL_* ones of the test run are taken out.
        script: Run the file, as an image does, from a folder that holds nothing; else the module, from the project's.
    """

    def __init__(self, folder: Path, name: str, environment: Mapping[str, str], *, script: bool = False) -> None:
        service = environment.get("OTEL_SERVICE_NAME", name)
        self._log_path = folder / f"{service}.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                [sys.executable, *([str(ROOT / "examples" / f"{name}.py")] if script else ["-m", f"examples.{name}"])],
                cwd=folder if script else ROOT,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**inherited, "PORT": "0", **environment},
            )
        self.port = 0

    def __enter__(self) -> Self:
        """Wait for its port."""
        deadline = time.monotonic() + _START_SECONDS
        while not (found := _ADDRESS.search(self.log)):
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(_POLL_SECONDS)
        self.port = int(found[1])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Kill it, unless it has stopped."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    @property
    def log(self) -> str:
        """What it has written to standard error."""
        return self._log_path.read_text()

    @property
    def url(self) -> str:
        """Where it listens, if it speaks HTTP."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and return its exit code."""
        self._process.send_signal(number)
        return self._process.wait(_STOP_SECONDS)
