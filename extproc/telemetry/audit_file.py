"""Audit records as lines of JSON, in a file that only its owner may read and that never grows beyond a size."""

import errno
import json
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from extproc.engine.audit import AuditRecord
from extproc.policy import plan
from extproc.telemetry.outbox import Loss

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK  # not to wait where the path is a pipe
_OWNER_ONLY = 0o600


class AuditFile:
    """A Sink: the file that the policy file names.

    A line is written at once and whole, or not at all. `logging`'s RotatingFileHandler would keep what did not fit on a
    full disk and put the rest of it between later lines, and write on to a file that somebody has moved away.

    Raises:
        OSError: It cannot be opened, or could not be rotated.
    """

    def __init__(self, settings: plan.AuditFile) -> None:
        self._path = Path(settings.path)
        self._max_bytes = settings.max_bytes
        self._backups = settings.backups
        self._descriptor = _open(self._path)
        self._size = 0
        if not os.access(self._path.parent, os.W_OK | os.X_OK):
            self.close()
            raise PermissionError(errno.EACCES, f"its folder {self._path.parent} is not ours to rotate it in")

    def write(self, records: Sequence[AuditRecord]) -> Loss | None:
        """See Sink."""
        done = 0
        try:
            self._look()
            for record in records:
                self._append(line(record))
                done += 1
        except OSError as error:
            return Loss(len(records) - done, f"{self._path}: {error.strerror}")
        return None

    def interrupt(self) -> None:
        """See Sink. A write to a file can't be interrupted."""

    def close(self) -> None:
        """See Sink."""
        os.close(self._descriptor)

    def _look(self) -> None:
        """Open the path again if our file is no longer there."""
        ours, there = os.fstat(self._descriptor), None
        with suppress(FileNotFoundError):
            there = self._path.stat()
        if there is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            self._replace()
        self._size = os.fstat(self._descriptor).st_size

    def _append(self, text: bytes) -> None:
        if self._size + len(text) > self._max_bytes:
            self._rotate()
        written = os.write(self._descriptor, text)
        if written < len(text):
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def _rotate(self) -> None:
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._backups + 1))]
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            with suppress(FileNotFoundError):
                newer.replace(older)
        self._replace()
        self._size = 0

    def _replace(self) -> None:
        descriptor = _open(self._path)
        os.close(self._descriptor)
        self._descriptor = descriptor


def line(record: AuditRecord) -> bytes:
    """One line of JSON. Whatever a client sent is ASCII here, and its control characters are escaped."""
    time = datetime.fromtimestamp(record.unix_seconds, UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": time.replace("+00:00", "Z"), **record.fields()}).encode("ascii") + b"\n"


def _open(path: Path) -> int:
    descriptor = os.open(path, _FLAGS, _OWNER_ONLY)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file")  # noqa: TRY301
        if stat.S_IMODE(mode) != _OWNER_ONLY:
            os.fchmod(descriptor, _OWNER_ONLY)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
