"""A worker process: `python -m extproc.server.child FD`, started by the supervisor with one end of a socket pair."""

import asyncio
import os
import signal
import socket
import sys

import uvloop

from extproc.server import logs, runtime
from extproc.server.listen import ListenError, release
from extproc.server.pipe import Answer, Collect, Done, Drain, Failed, Frame, Pipe, Question, Start, Started, Swap
from extproc.server.tls import TlsError
from extproc.server.worker import Worker


class Child:
    """Answers the supervisor's questions with one Worker."""

    def __init__(self, pipe: Pipe, start: Start) -> None:
        self._pipe = pipe
        self._start = start
        self._worker = Worker(start.plan, start.settings)
        self._draining: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()

    async def start(self) -> Started | Failed:
        """Listen."""
        try:
            return Started(await self._worker.start())
        except (ListenError, TlsError) as error:
            return Failed(str(error))

    async def run(self) -> None:
        """Answer until drained, then send what was recorded since the last answer."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._drain, self._start.grace_seconds)
        answering, drained = asyncio.create_task(self._answer_all()), asyncio.create_task(self._drained.wait())
        await asyncio.wait({answering, drained}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.cancel():
            answering.result()  # raises: a deaf worker is worse than a dead one, which is started again
        self._pipe.send(Frame(0, self._worker.collect()))
        await self._pipe.close()

    async def _answer_all(self) -> None:
        while (frame := await self._pipe.receive()) is not None:
            answer = await self._answer(frame.body)
            if answer is not None:
                self._pipe.send(Frame(frame.number, answer))
        self._abandon()

    async def _answer(self, question: Question) -> Answer | None:
        match question:
            case Swap():
                return await self._swap(question)
            case Collect():
                return self._worker.collect()
            case Drain(grace_seconds):
                self._drain(grace_seconds)
        return None

    async def _swap(self, swap: Swap) -> Done | Failed:
        try:
            await self._worker.swap(await asyncio.to_thread(swap.plan))
        except Exception as error:  # noqa: BLE001  whatever an engine makes of a plan, the one that it has goes on
            return Failed(repr(error))
        return Done()

    def _drain(self, grace_seconds: float) -> None:
        """Drain once, however often asked: a service manager signals every process, and the supervisor asks too."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._worker.drain(grace_seconds))
            self._draining.add_done_callback(lambda _: self._drained.set())

    def _abandon(self) -> None:
        """The supervisor has gone: exit at once, for an orphan would hold the port against the next start."""
        for address in self._start.settings.addresses:
            release(address)
        os._exit(1)


async def main(descriptor: int) -> int:
    """Serve until drained, and return the exit code."""
    runtime.level_heap()
    pipe = await Pipe.open(socket.socket(fileno=descriptor))
    frame = await pipe.receive()
    if frame is None:
        return 1
    start: Start = frame.body
    logs.configure(start.log_level, worker=start.number)
    child = Child(pipe, start)
    runtime.settle()
    answer = await child.start()
    pipe.send(Frame(frame.number, answer))
    if isinstance(answer, Failed):
        await pipe.close()
        return 1
    await child.run()
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor drains us
    sys.exit(uvloop.run(main(int(sys.argv[1]))))
