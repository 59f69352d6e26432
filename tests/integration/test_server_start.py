"""What `extproc serve` says when it cannot start, and where it listens when it can."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from server_process import POLICY, ServerProcess, serving


def failed(server: ServerProcess, code: int = 1) -> str:
    """What it printed before it gave up."""
    assert code == server.process.wait(30)
    return server.log_text


@pytest.mark.parametrize("workers", ["1", "2"])
def test_port_in_use(tmp_path: Path, workers: str) -> None:
    """A second server on the same port is an error, not half of the traffic."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with ServerProcess(tmp_path, POLICY, "--listen", address, "--workers", workers) as server:
            assert f"Error: cannot listen on {address}: Address already in use\n" in failed(server)
            assert "Traceback" not in server.log_text


def test_admin_port_in_use(tmp_path: Path) -> None:
    """The same for the admin port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with ServerProcess(tmp_path, POLICY, "--admin", address) as server:
            assert f"Error: cannot listen on {address} for admin: Address already in use\n" in failed(server)


def test_bad_policy(tmp_path: Path) -> None:
    """All problems are printed as `check` prints them."""
    with ServerProcess(tmp_path, "tracing:\n  samplin: {}\n  enabled: maybe\n") as server:
        text = failed(server)
    places = [line.removeprefix(str(server.policy)).split(":")[1] for line in text.splitlines()]
    assert ["2", "3"] == places


def test_missing_policy(tmp_path: Path) -> None:
    """A file that is not there is a problem like any other."""
    with ServerProcess(tmp_path, tmp_path / "nothing.yaml") as server:
        assert failed(server).startswith(f"{tmp_path}/nothing.yaml:1:1: ")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--listen", "nonsense"), "--listen: expected host:port or unix:/path"),
        (("--admin", "127.0.0.1:99999"), "--admin: expected a port"),
        (("--listen", "127.0.0.1:65535", "--workers", "2"), "no port left for worker 1"),
        (("--tls-cert", "c.pem"), "TLS needs both --tls-cert and --tls-key"),
        (("--workers", "0"), "--workers"),
        (("--grace", "0"), "--grace"),
    ],
)
def test_wrong_usage(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    """A command line that means nothing exits 2 and says what it should have been."""
    with ServerProcess(tmp_path, POLICY, *flags) as server:
        text = failed(server, code=2)
    assert words in text.replace("Invalid value for ", "")


def test_help_teaches() -> None:
    """`--help` names every option, the signals and the admin paths."""
    command = [sys.executable, "-m", "extproc", "serve", "--help"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603  our own command
    for word in ("--policy", "--listen", "--workers", "--admin", "--grace", "--tls-client-ca", "SIGHUP", "/metrics"):
        assert word in text


def test_stale_socket_is_taken_over(tmp_path: Path) -> None:
    """The socket of a server that was killed does not keep the next one from starting."""
    path = tmp_path / "s.sock"
    with serving(tmp_path, POLICY, "--listen", f"unix:{path}") as server:
        os.killpg(server.process.pid, signal.SIGKILL)
    assert path.is_socket()
    with serving(tmp_path, POLICY, "--listen", f"unix:{path}") as server:
        assert 0 == server.stop()
    assert not path.exists()


def test_live_socket_is_left_alone(tmp_path: Path) -> None:
    """A socket that another server listens on is an error, and that server keeps it."""
    path = tmp_path / "s.sock"
    (tmp_path / "second").mkdir()
    with serving(tmp_path, POLICY, "--listen", f"unix:{path}") as first:
        with ServerProcess(tmp_path / "second", POLICY, "--listen", f"unix:{path}") as second:
            assert f"cannot listen on unix:{path}: another process listens there" in failed(second)
        assert 200 == first.get("/ready")[0]
        assert path.is_socket()


def test_admin_for_other_machines_is_warned_of(tmp_path: Path) -> None:
    """The admin server shows the policy, so who opens it to a network is told."""
    with serving(tmp_path, POLICY, "--admin", "0.0.0.0:0") as server:
        assert "warning" == server.logs("admin is reachable from other machines; it shows the policy")[0]["level"]
