"""One worker process, seen from the supervisor: started, asked, told, waited for."""

import asyncio
import itertools
import signal
import socket
import sys
from collections.abc import Callable

from extproc.server.pipe import Answer, Drain, Frame, Pipe, Question
from extproc.telemetry.delta import Delta


class WorkerProcess:
    """A running worker process. Every Delta that it sends, asked or not, goes to `on_delta`."""

    def __init__(self, process: asyncio.subprocess.Process, pipe: Pipe, on_delta: Callable[[Delta], None]) -> None:
        self._process = process
        self.pid = process.pid
        self._pipe = pipe
        self._on_delta = on_delta
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer | None]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def spawn(cls, on_delta: Callable[[Delta], None]) -> "WorkerProcess":
        """Start a worker process; it waits for Start."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "extproc.server.child",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        return cls(process, await Pipe.open(ours), on_delta)

    async def ask(self, question: Question, timeout_seconds: float) -> Answer | None:
        """The answer, or None when none came in time or the process has died."""
        number = next(self._numbers)
        self._waiting[number] = future = asyncio.get_running_loop().create_future()
        self._pipe.send(Frame(number, question))
        if self._reading.done():
            future.set_result(None)
        try:
            return await asyncio.wait_for(future, timeout_seconds)
        except TimeoutError:
            return None
        finally:
            del self._waiting[number]

    def drain(self, grace_seconds: float) -> None:
        """Tell the worker to stop within this time; `wait` says when it has."""
        self._pipe.send(Frame(next(self._numbers), Drain(grace_seconds)))

    async def wait(self) -> str:
        """Wait until the process is gone and its last Delta handled; say how it ended."""
        code = await self._process.wait()
        await self._reading
        await self._pipe.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """End the process at once."""
        if self._process.returncode is None:
            self._process.kill()

    async def _read(self) -> None:
        while (frame := await self._pipe.receive()) is not None:
            if isinstance(frame.body, Delta):
                self._on_delta(frame.body)
            self._answer(frame.number, frame.body)
        for number in tuple(self._waiting):
            self._answer(number, None)

    def _answer(self, number: int, answer: Answer | None) -> None:
        future = self._waiting.get(number)
        if future is not None and not future.done():
            future.set_result(answer)
