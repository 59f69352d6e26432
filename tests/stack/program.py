"""A program of the stack in a process of its own."""

import asyncio
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

_READY_SECONDS, _STOP_SECONDS, _POLL_SECONDS = 30.0, 20.0, 0.05
_OK = 200


@dataclass
class Program:
    """A program that answers `ready_url` with 200 once it is ready. It may be started again after it was stopped."""

    command: tuple[str | Path, ...]
    ready_url: str
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    async def start(self, client: aiohttp.ClientSession) -> None:
        """Start it and wait until it is ready."""
        process = self._process = self._spawn()
        async with asyncio.timeout(_READY_SECONDS):
            while not await self._ready(client):
                assert process.poll() is None, self.log.read_text()
                await asyncio.sleep(_POLL_SECONDS)

    async def stop(self) -> None:
        """End it, by force if it does not end by itself."""
        if self._process is not None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, _STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
            self._process = None

    def _spawn(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self.environment}
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  our own command
                self.command, cwd=self.log.parent, stdout=log, stderr=log, env=environment
            )

    async def _ready(self, client: aiohttp.ClientSession) -> bool:
        try:
            async with client.get(self.ready_url) as response:
                return response.status == _OK
        except aiohttp.ClientError:
            return False
