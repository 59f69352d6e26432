"""What the supervisor and a worker process say to each other, over a socket pair.

The supervisor asks, the worker answers each question but Drain once, and sends a last Delta unasked before it exits.
Frames are a length and a pickle; both ends are this package in processes that we started, so nothing foreign is ever
unpickled.
"""

import asyncio
import dataclasses
import itertools
import pickle
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from extproc.policy.plan import Plan
from extproc.server.address import Address
from extproc.server.worker import WorkerSettings
from extproc.telemetry.delta import Delta

_LENGTH = struct.Struct("!Q")
_PIECE = 20


@dataclass(frozen=True, slots=True)
class Start:
    """The first question: serve this. Answered by Started or Failed."""

    number: int
    settings: WorkerSettings
    plan: Plan
    log_level: str
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class Swap:
    """Serve new requests by this Plan. Answered by Done or Failed.

    The Plan travels in pieces: unpickling holds the interpreter until it is done, and streams have to go on.
    """

    head: Plan
    pieces: tuple[bytes, ...]

    @classmethod
    def of(cls, plan: Plan) -> "Swap":
        """Pack a Plan."""
        starts = range(0, len(plan.policies), _PIECE)
        pieces = tuple(pickle.dumps(plan.policies[start : start + _PIECE]) for start in starts)
        return cls(dataclasses.replace(plan, policies=()), pieces)

    def plan(self) -> Plan:
        """Unpack the Plan. To be called in a thread, which lets others run after each piece."""
        pieces = (pickle.loads(piece) for piece in self.pieces)  # noqa: S301  see the top
        return dataclasses.replace(self.head, policies=tuple(itertools.chain.from_iterable(pieces)))


@dataclass(frozen=True, slots=True)
class Collect:
    """Answered by the Delta since the last answer."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Stop within this time and exit, which is the answer."""

    grace_seconds: float


@dataclass(frozen=True, slots=True)
class Started:
    """The worker serves, on these real addresses."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot serve this; it exits if it was to start, else it goes on with what it has."""

    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """The worker did as asked."""


Question = Start | Swap | Collect | Drain
Answer = Started | Failed | Done | Delta


@dataclass(frozen=True, slots=True)
class Frame:
    """One message; an answer carries the number of its question, 0 means unasked."""

    number: int
    body: Any


class Pipe:
    """One end of the socket pair. Sending never waits: what the other end is slow to take is kept in memory."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> "Pipe":
        """Take over one end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, frame: Frame) -> None:
        """Send one frame; to an end that has gone it is lost."""
        data = pickle.dumps(frame, protocol=pickle.HIGHEST_PROTOCOL)
        self._writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> Frame | None:
        """The next frame, or None when the other end has gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            frame: Frame = pickle.loads(await self._reader.readexactly(length))  # noqa: S301  see the top
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return frame

    async def close(self) -> None:
        """Wait until everything is sent, then close."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
