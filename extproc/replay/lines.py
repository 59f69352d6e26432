"""The lines of log files, one file after the other: plain or gzip, never more than one line in memory."""

import gzip
import io
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from extproc.policy.problems import sentence

STDIN: Final = "-"
LONGEST: Final = 16 << 20
"""Bytes of the longest line that is read: a line of OTLP holds a whole batch."""
_BUFFER: Final = 1 << 18
_GZIP: Final = b"\x1f\x8b"


class LogError(Exception):
    """A log that cannot be read at all."""


class Line(NamedTuple):
    """A line that is not blank, with its place. `unreadable` says why there is no `content`, None where there is."""

    file: str
    number: int
    content: bytes
    unreadable: str | None = None


class Logs:
    """Log files in the order in which they are given; `-` is standard input. Gzip is known by its first bytes.

    Attributes:
        size: how many bytes all of them have; None where one is a pipe.
        position: how many of these have been read.

    Raises:
        LogError: one of them is not there, or is a folder.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        sizes = [_size(file) for file in files]
        known = [size for size in sizes if size is not None]
        self.size = sum(known) if len(known) == len(sizes) else None
        self.position = 0

    def __iter__(self) -> Iterator[Line]:
        """Read them. Raises LogError where one cannot be opened or read any further."""
        for file in self._files:
            name = "<stdin>" if file == STDIN else file
            try:
                if file == STDIN:
                    yield from self._lines(name, sys.stdin.buffer)
                else:
                    with Path(file).open("rb") as content:
                        yield from self._lines(name, content)
            except OSError as error:
                raise LogError(f"{name}: {_reason(error)}") from error

    def _lines(self, name: str, content: BinaryIO) -> Iterator[Line]:
        counted = io.BufferedReader(_Counted(content, self), _BUFFER)
        if counted.peek(len(_GZIP))[: len(_GZIP)] != _GZIP:
            yield from _split(name, counted)
            return
        number = 0
        try:
            for line in _split(name, gzip.GzipFile(fileobj=counted)):
                number = line.number
                yield line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            message = sentence("a whole gzip file", f"{str(error).lower()!r}", "the file before it was cut")
            yield Line(name, number + 1, b"", message)


class _Counted(io.RawIOBase):
    """Bytes on their way, counted."""

    def __init__(self, content: BinaryIO, logs: Logs) -> None:
        self._content = content
        self._logs = logs

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # BufferedReader hands in nothing else
        data = self._content.read1(len(buffer))  # type: ignore[attr-defined]  # what is open for reading has it
        buffer[: len(data)] = data
        self._logs.position += len(data)
        return len(data)


def _split(name: str, content: BinaryIO | gzip.GzipFile) -> Iterator[Line]:
    number = 0
    while line := content.readline(LONGEST):
        number += 1
        if len(line) == LONGEST and not line.endswith(b"\n"):
            while len(rest := content.readline(LONGEST)) == LONGEST and not rest.endswith(b"\n"):
                pass
            yield Line(name, number, b"", sentence(f"a line of at most {LONGEST >> 20} MiB", "more", "smaller batches"))
        elif line := line.strip():
            yield Line(name, number, line)


def _size(file: str) -> int | None:
    if file == STDIN:
        return None
    try:
        found = Path(file).stat()
    except (OSError, ValueError) as error:
        raise LogError(f"{file}: {_reason(error)}") from error
    if stat.S_ISDIR(found.st_mode):
        raise LogError(f"{file}: it is a folder; try the files in it")
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _reason(error: Exception) -> str:
    return ((error.strerror if isinstance(error, OSError) else None) or str(error)).lower()
