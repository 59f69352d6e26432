"""Load, by vegeta: at a constant rate, or as much as a number of connections can carry."""

import csv
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench import tools
from bench.processes import BenchError

PERCENTILES = (50, 75, 90, 95, 99, 99.5, 99.9)
SERVICES = 50
PATHS = 1_000
_OK = "200"
_NO_MORE = "no targets to attack"  # stands at the end of the results, too, where requests are counted
_STRIDE = 7_919  # a prime: services far apart take turns, and each gets its turn


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent.

    Attributes:
        rate: Requests a second, sent in time whatever becomes of the earlier ones; None: a connection's next request
            follows the answer to its last one.
        connections: At most so many at once; 0: as many as the rate takes.
        headers: Request headers beside those that every HTTP client sends.
        services: Paths begin with one of so many services' names.
        requests: So many are sent; 0: time decides.
        distinct: Each request has a path of its own, instead of one of 1,000.
    """

    rate: float | None = None
    connections: int = 0
    headers: int = 1
    services: int = SERVICES
    requests: int = 0
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went: `latency_ms` by percentile, as text, and `mean`."""

    requests: int
    failures: int
    seconds: float
    latency_ms: dict[str, float] = field(default_factory=dict)

    @property
    def throughput(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def targets(port: int, load: Load, first: int = 0) -> str:
    """The requests, in vegeta's JSON format; their numbers begin with `first`."""
    headers = {"X-User-Id": ["user-17"]} | {f"X-Bench-{n}": [f"value-{n:012}"] for n in range(load.headers - 1)}
    numbers = range(first, first + (load.requests or PATHS))
    paths = (path(number if load.distinct else number % PATHS, load.services) for number in numbers)
    lines = ({"method": "GET", "url": f"http://127.0.0.1:{port}{each}", "header": headers} for each in paths)
    return "".join(json.dumps(line) + "\n" for line in lines)


def path(number: int, services: int) -> str:
    """The path of a request."""
    return f"/api/service-{number * _STRIDE % services}/{number}"


def send(port: int, load: Load, seconds: float, folder: Path, first: int = 0) -> Outcome:
    """Send it, for so many seconds unless the load has an end of its own.

    Raises:
        BenchError: nothing was sent.
    """
    file, results = folder / "targets", folder / "results"
    file.write_text(targets(port, load, first))
    command: list[str | Path] = [tools.vegeta(), "attack", "-format=json", f"-targets={file}", f"-output={results}"]
    command += ["-lazy", "-duration=0"] if load.requests else [f"-duration={seconds}s"]
    if load.rate is None:
        command += ["-rate=0", f"-max-workers={load.connections}"]
    else:
        command += [f"-rate={load.rate:g}/1s"]
    command += [f"-connections={load.connections or 10_000}", f"-max-connections={load.connections}"]
    _vegeta(command)
    return outcome(_vegeta([tools.vegeta(), "encode", "-to=csv", results]))


def _vegeta(command: Sequence[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))  # noqa: S603
    if done.returncode and _NO_MORE not in done.stderr:
        raise BenchError(f"vegeta: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def outcome(text: str) -> Outcome:
    """The outcome, from vegeta's CSV: time (ns), status, latency (ns), two sizes and error of each request."""
    rows = [(int(row[0]), row[1], int(row[2])) for row in csv.reader(text.splitlines()) if row[5] != _NO_MORE]
    if not rows:
        raise BenchError("vegeta sent nothing")
    began, ended = min(row[0] for row in rows), max(row[0] + row[2] for row in rows)
    latencies = np.array([latency for _, _, latency in rows]) / 1e6
    found = np.percentile(latencies, PERCENTILES)
    by_percentile = {f"{name:g}": round(float(value), 4) for name, value in zip(PERCENTILES, found, strict=True)}
    return Outcome(
        requests=len(rows),
        failures=sum(status != _OK for _, status, _ in rows),
        seconds=(ended - began) / 1e9,
        latency_ms=by_percentile | {"mean": round(float(latencies.mean()), 4)},
    )
