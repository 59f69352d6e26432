"""docker-compose.yml, run without containers: the same commands as processes, each name and port a free one here."""

import asyncio
import re
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import yaml

from envoy_files import change, filters
from envoy_process import envoy_executable
from image import ROOT, Image

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]

_HEALTHY_SECONDS = 30.0
_POLL_SECONDS = 0.05
_ADDRESS = re.compile(rf"\b({'|'.join(map(re.escape, (*SERVICES, '0.0.0.0', '127.0.0.1')))})([:/])(\d+)\b")  # noqa: S104


def mounts(name: str) -> dict[PurePosixPath, Path]:
    """The files and folders of this checkout that a service sees, by the path where it sees them."""
    parts = (volume.split(":") for volume in SERVICES[name].get("volumes", ()))
    return {PurePosixPath(part[1]): ROOT / part[0] for part in parts if part[0].startswith("./")}


def waits_for(name: str) -> dict[str, str]:
    """The services that a service waits for, each with the condition."""
    return {other: each["condition"] for other, each in SERVICES[name].get("depends_on", {}).items()}


def in_order(names: Iterable[str]) -> list[str]:
    """The services so that each comes after those that it waits for."""
    ordered: list[str] = []
    for name in names:
        ordered += [other for other in (*in_order(waits_for(name)), name) if other not in ordered]
    return ordered


def envoy_listens(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The socket addresses that an Envoy listens on, its admin's last."""
    return [each["address"]["socket_address"] for each in (*config["static_resources"]["listeners"], config["admin"])]


def envoy_dials(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The socket addresses that an Envoy calls."""
    found = (
        endpoint["endpoint"]["address"]
        for cluster in config["static_resources"]["clusters"]
        for locality in cluster["load_assignment"]["endpoints"]
        for endpoint in locality["lb_endpoints"]
    )
    return [address["socket_address"] for address in found if "socket_address" in address]


class Containers:
    """Envoy and our own services, as compose starts them: each when those that it waits for are healthy.

    Args:
        folder: For logs and the edited copy of Envoy's configuration.
        images: Ours, built.
        elsewhere: Ports here of services that are not started, by `name:port`.
        mounted: Other folders in the place of those that compose mounts, by the path in the container.
    """

    def __init__(
        self, folder: Path, images: dict[str, Image], elsewhere: Mapping[str, int], mounted: Mapping[str, Path]
    ) -> None:
        self._folder, self._images, self._mounted = folder, images, mounted
        self._ports = dict(elsewhere)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.exit_codes: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name, process in self._processes.items():
            process.kill()
            process.wait()
            if error is not None:
                error.add_note(f"{name}: {self.log(name)}")

    def port(self, name: str, port: int) -> int:
        """The port here that stands for one of a service."""
        return self._ports.setdefault(f"{name}:{port}", free_port())

    def url(self, name: str, port: int, path: str) -> str:
        """Where a page of a service is."""
        return f"http://127.0.0.1:{self.port(name, port)}{path}"

    def log(self, name: str) -> str:
        """What a service has written."""
        return (self._folder / f"{name}.log").read_text()

    async def start(self) -> None:
        """Start everything, in the order and on the conditions of `depends_on`."""
        for name in in_order([*OURS, "envoy"]):
            if name in OURS or name == "envoy":
                self._start(name)
                await self.wait_healthy(name)

    async def stop(self) -> None:
        """End everything as compose does: the latest first, with SIGTERM and the grace period of each."""
        for name in reversed(list(self._processes)):
            process = self._processes.pop(name)
            process.send_signal(signal.SIGTERM)
            seconds = float(SERVICES[name].get("stop_grace_period", "10s").removesuffix("s"))
            self.exit_codes[name] = await asyncio.to_thread(process.wait, seconds)

    async def wait_healthy(self, name: str) -> None:
        """Return once the health check of a service, compose's or its image's, succeeds."""
        try:
            async with asyncio.timeout(_HEALTHY_SECONDS):
                while not await self.healthy(name):  # noqa: ASYNC110  it happens in another process
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(f"{name} does not become healthy") from None

    async def healthy(self, name: str) -> bool:
        """Run a service's health check once."""
        image = self._images.get(_target(name))
        test = SERVICES[name].get("healthcheck", {}).get("test", [None])[1:] or (image.healthcheck if image else [])
        check = await asyncio.create_subprocess_exec(
            *self._argv(name, test), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._environment(name)
        )
        return await check.wait() == 0

    def _start(self, name: str) -> None:
        service = SERVICES[name]
        image = self._images.get(_target(name))
        entrypoint = service.get("entrypoint") or (image.entrypoint if image else [])
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603  our own commands
                self._argv(name, [*entrypoint, *(service.get("command") or (image.command if image else []))]),
                stdout=log,
                stderr=log,
                env=self._environment(name),
                cwd=image.inside(".") if image else None,
            )

    def _argv(self, name: str, words: list[str]) -> list[str]:
        image = self._images.get(_target(name))
        seen = [self._mount(name, self._local(name, word)) for word in words]
        if image is not None:
            return image.argv(seen)
        return [envoy_executable() if seen[0] == "/usr/local/bin/envoy" else seen[0], *seen[1:]]

    def _environment(self, name: str) -> dict[str, str]:
        image = self._images.get(_target(name))
        found = (image.variables() if image else {}) | SERVICES[name].get("environment", {})
        if "PORT" in found:
            found["PORT"] = str(self.port(name, int(found["PORT"])))
        if "HOST" in found:
            found["HOST"] = "127.0.0.1"
        return {key: self._local(name, value) for key, value in found.items()}

    def _local(self, name: str, text: str) -> str:
        """The text with its addresses replaced by some here; 0.0.0.0 and 127.0.0.1 are the service's own."""

        def here(found: re.Match[str]) -> str:
            host = name if found[1] not in SERVICES else found[1]
            return f"127.0.0.1{found[2]}{self.port(host, int(found[3]))}"

        return _ADDRESS.sub(here, text)

    def _mount(self, name: str, word: str) -> str:
        for place, source in (mounts(name) | {PurePosixPath(key): path for key, path in self._mounted.items()}).items():
            if PurePosixPath(word).is_relative_to(place):
                path = source / PurePosixPath(word).relative_to(place)
                return str(self._envoy(path) if name == "envoy" else path)
        return word

    def _envoy(self, path: Path) -> Path:
        """A copy of Envoy's configuration with addresses here."""
        config = yaml.safe_load(path.read_text())
        for address in (*envoy_listens(config), *envoy_dials(config)):
            host = address["address"] if address["address"] in SERVICES else "envoy"
            address.update(address="127.0.0.1", port_value=self.port(host, address["port_value"]))
        for listener in config["static_resources"]["listeners"]:
            listener["enable_reuse_port"] = False
        # A machine that is slow for a moment is not what is tried.
        change(filters(config)["envoy.filters.http.ext_proc"], "message_timeout", "5s")
        edited = self._folder / "envoy.yaml"
        edited.write_text(yaml.safe_dump(config))
        return edited


def _target(name: str) -> str:
    target: str = SERVICES[name].get("build", {}).get("target", "")
    return target


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
