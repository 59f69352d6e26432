"""Writes Envoy's configuration for the sidecar: envoy/advanced.yaml, with extproc called over a Unix socket.

The cluster is what `extproc envoy` prints for that socket. `make kubernetes` runs this after an edit of advanced.yaml.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SIDECAR = Path(__file__).parent / "overlays" / "sidecar" / "envoy.yaml"
SOCKET = "unix:/run/extproc/extproc.sock"

_HEADER = "# Made of envoy/advanced.yaml by `make kubernetes`: the same, but extproc is called over a Unix socket.\n#\n"
_CLUSTER = re.compile(r"^    - name: extproc\n(?: {5,}.*\n)+", re.MULTILINE)


def config() -> str:
    """The whole configuration."""
    advanced = (ROOT / "envoy" / "advanced.yaml").read_text(encoding="utf-8")
    result, replaced = _CLUSTER.subn(lambda _: _cluster(), advanced)
    if replaced != 1:
        raise SystemExit(f"expected one cluster extproc in envoy/advanced.yaml, found {replaced}")
    return _HEADER + result


def _cluster() -> str:
    command = [sys.executable, "-m", "extproc", "envoy", "--policy", str(ROOT / "policies" / "stack.yaml")]
    command += ["--upstream", "user-service=user-service:8080", "--listen", SOCKET, "--only", "cluster"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603  our own command
    lines = re.split(r"^(?=- name: )", printed, flags=re.MULTILINE)[1].rstrip("\n").split("\n")
    return "".join(f"    {line}\n" for line in lines)


if __name__ == "__main__":
    SIDECAR.write_text(config(), encoding="utf-8")
