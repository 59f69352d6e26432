"""What the benchmark needs besides Python packages, built from Go modules on first use and kept.

The load generator is vegeta. It sends at a constant rate from as many workers as that takes, so a slow answer delays no
later request and hides none (no coordinated omission), and it hands over the latency of each request, from which
percentiles are exact. It is kept in $EXTPROC_BENCH_CACHE (~/.cache/extproc-bench), with the Go peer of peers/go.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.processes import BenchError, run

VEGETA_VERSION = "12.13.0"
CACHE = Path(os.environ.get("EXTPROC_BENCH_CACHE") or Path.home() / ".cache" / "extproc-bench")
_PEER = Path(__file__).parent / "peers" / "go"
_GO_FLAGS = ("-p=2", "-trimpath", "-buildvcs=false")


def vegeta() -> Path:
    """The load generator."""
    module = f"github.com/tsenart/vegeta/v12@v{VEGETA_VERSION}"
    return (
        _cached(f"vegeta-{VEGETA_VERSION}", lambda to: run((go(), "install", *_GO_FLAGS, module), GOBIN=str(to)))
        / "vegeta"
    )


def go_peer() -> Path:
    """The ext_proc server in Go."""
    sources = sorted(path for path in _PEER.iterdir() if path.suffix in {".go", ".mod", ".sum"})
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    build = (go(), "build", "-C", _PEER, *_GO_FLAGS)
    return _cached(f"go-peer-{digest}", lambda to: run((*build, "-o", to / "peer", "."))) / "peer"


def go() -> str:
    """The Go toolchain.

    Raises:
        BenchError: there is none.
    """
    found = shutil.which("go")
    if found is None:
        raise BenchError("go is not on the PATH: the load generator and a peer are built with Go 1.25 or newer")
    return found


def _cached(name: str, make: Callable[[Path], object]) -> Path:
    """The folder of this name, made as a whole or not at all."""
    folder = CACHE / name
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
            made = Path(temporary, name)
            made.mkdir()
            make(made)
            made.rename(folder)
    return folder
