"""The programs that tests/stack/ runs, got on first use and kept: `python tests/stack/tools.py` gets them all.

OpenTelemetry's builder makes a collector from builder.yaml, and promtool is built from its Go module: both are kept in
$EXTPROC_STACK_CACHE (~/.cache/extproc-stack), in folders named by their versions. Prometheus, Alertmanager and
Redis are Debian's packages. Needs Go, and either those packages or the right to install them.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml

CACHE: Final = Path(os.environ.get("EXTPROC_STACK_CACHE") or Path.home() / ".cache" / "extproc-stack")

MANIFEST: Final = Path(__file__).parent / "builder.yaml"
COLLECTOR_VERSION: Final = str(yaml.safe_load(MANIFEST.read_text())["dist"]["version"])

PROMETHEUS_VERSION: Final = "3.16.0"
"""Of promtool; the module's version is v0.316.0. Debian's knows no service discovery in Kubernetes."""

JAEGER_VERSION: Final = "2.13.0"
"""The module's version is v1.76.0, the last for which it has one: Jaeger 2 is no Go module of its own."""

KUSTOMIZE_VERSION: Final = "5.8.2"
COMPOSE_VERSION: Final = "5.0.2"
OPERATOR_VERSION: Final = "0.85.0"

_DEBIAN_PACKAGES: Final = ("prometheus", "prometheus-alertmanager", "redis-server")
_GO_FLAGS: Final = ("-p=2", "-trimpath", "-buildvcs=false")


class ToolError(Exception):
    """A program cannot be got here."""


def collector() -> Path:
    """OpenTelemetry Collector, with the components of builder.yaml."""
    content = hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:12]

    def build(folder: Path) -> None:
        builder = f"go.opentelemetry.io/collector/cmd/builder@v{COLLECTOR_VERSION}"
        _run(folder, _go(), "run", builder, f"--config={MANIFEST}", GOFLAGS=" ".join(_GO_FLAGS))
        sources = folder / "otelcol"
        (sources / "otelcol").rename(folder / "collector")
        shutil.rmtree(sources)

    return _cached(f"collector-{COLLECTOR_VERSION}-{content}", build) / "collector"


def promtool() -> Path:
    """Prometheus' tool, of the version that the deployments run."""

    def build(folder: Path) -> None:
        module = f"github.com/prometheus/prometheus/cmd/promtool@v0.{PROMETHEUS_VERSION.replace('.', '', 1)}"
        tags = "remove_all_sd,enable_kubernetes_sd"
        _run(folder, _go(), "install", *_GO_FLAGS, "-ldflags=-s -w", "-tags", tags, module, GOBIN=str(folder))

    return _cached(f"promtool-{PROMETHEUS_VERSION}", build) / "promtool"


def jaeger() -> Path:
    """Jaeger, without its UI, whose files are no part of the module."""

    def build(folder: Path) -> None:
        # In the module's own folder, for its go.mod replaces a module, and `go install` takes none that does.
        sources = _sources(folder, "github.com/jaegertracing/jaeger@v1.76.0")
        version = f"-X=github.com/jaegertracing/jaeger/internal/version.latestVersion=v{JAEGER_VERSION}"
        command = (_go(), "build", *_GO_FLAGS, f"-ldflags=-s -w {version}", f"-o={folder}/jaeger", "./cmd/jaeger")
        _run(sources, *command, CGO_ENABLED="0")

    return _cached(f"jaeger-{JAEGER_VERSION}", build) / "jaeger"


def kustomize() -> Path:
    """What makes manifests of deploy/kubernetes/, as kubectl does."""

    def build(folder: Path) -> None:
        module = f"sigs.k8s.io/kustomize/kustomize/v5@v{KUSTOMIZE_VERSION}"
        _run(folder, _go(), "install", *_GO_FLAGS, "-ldflags=-s -w", module, GOBIN=str(folder))

    return _cached(f"kustomize-{KUSTOMIZE_VERSION}", build) / "kustomize"


def compose() -> Path:
    """Docker Compose, whose reading of a file needs no engine."""

    def build(folder: Path) -> None:
        module = f"github.com/docker/compose/v5/cmd@v{COMPOSE_VERSION}"
        _run(folder, _go(), "install", *_GO_FLAGS, "-ldflags=-s -w", module, GOBIN=str(folder))

    return _cached(f"compose-{COMPOSE_VERSION}", build) / "cmd"


def operator_schemas() -> Path:
    """The folder with the Prometheus operator's custom resource definitions."""

    def fetch(folder: Path) -> None:
        sources = _sources(folder, f"github.com/prometheus-operator/prometheus-operator@v{OPERATOR_VERSION}")
        shutil.copytree(sources / "example" / "prometheus-operator-crd", folder / "crd")

    return _cached(f"prometheus-operator-{OPERATOR_VERSION}", fetch) / "crd"


def debian(program: str) -> Path:
    """A program of Debian's packages, installed if need be: of Prometheus, Alertmanager or Redis."""
    if shutil.which(program) is None:
        install = (*_as_root(), "env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", _apt(), "--quiet", "--yes")
        with _progress(" ".join(_DEBIAN_PACKAGES)):
            if not _succeeds(_made(CACHE), *install, "install", "--no-install-recommends", *_DEBIAN_PACKAGES):
                _run(CACHE, *install, "update")
                _run(CACHE, *install, "install", "--no-install-recommends", *_DEBIAN_PACKAGES)
    return Path(_need(program, f"Debian's packages {' and '.join(_DEBIAN_PACKAGES)}"))


def main() -> int:
    """Get everything, saying what takes how long."""
    try:
        debian("prometheus")
        for get in (collector, promtool, jaeger, kustomize, compose, operator_schemas):
            print(get())  # noqa: T201  what was asked for
    except ToolError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _sources(folder: Path, module: str) -> Path:
    """A Go module's folder. `folder` is one without a go.mod, where none but its own versions count."""
    answer = subprocess.run(  # noqa: S603  our own command
        [_go(), "mod", "download", "-json", module], cwd=folder, stdout=subprocess.PIPE, check=True
    )
    return Path(json.loads(answer.stdout)["Dir"])


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of this name, made as a whole or not at all."""
    folder = CACHE / name
    if not folder.exists():
        with _progress(name), tempfile.TemporaryDirectory(dir=_made(CACHE)) as temporary:
            made = Path(temporary) / name
            made.mkdir()
            make(made)
            made.rename(folder)
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _progress(name: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"{name}: being made, which takes minutes", file=sys.stderr, flush=True)  # noqa: T201
    yield
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)  # noqa: T201


def _run(folder: Path, *command: str | Path, **environment: str) -> None:
    """Run a command with low priority, saying what it prints only if it fails."""
    done = subprocess.run(  # noqa: S603  our own commands
        ["nice", *command],  # noqa: S607
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ToolError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}")


def _succeeds(folder: Path, *command: str | Path) -> bool:
    try:
        _run(folder, *command)
    except ToolError:
        return False
    return True


def _go() -> str:
    return _need("go", "Go 1.26 or newer")


def _need(program: str, what: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise ToolError(f"{program} is not on PATH: tests/stack/ needs {what}")
    return found


def _apt() -> str:
    return _need("apt-get", f"Debian's packages {' and '.join(_DEBIAN_PACKAGES)}, or apt-get to install them")


def _as_root() -> tuple[str, ...]:
    return () if os.geteuid() == 0 else (_need("sudo", "root, or sudo without a password, to install packages"), "-n")


if __name__ == "__main__":
    sys.exit(main())
