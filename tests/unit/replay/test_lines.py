"""Log files as lines: every form they come in, and bounded memory."""

import gzip
import io
import sys
import tracemalloc
from pathlib import Path

import pytest

from extproc.replay import lines
from extproc.replay.lines import Line, LogError, Logs

TEXT = b"first\n\n  \r\nfourth\r\nlast"
LINES = [(1, b"first"), (4, b"fourth"), (5, b"last")]


def write(path: Path, content: bytes) -> str:
    """A file."""
    path.write_bytes(content)
    return str(path)


def read(logs: Logs) -> list[tuple[int, bytes]]:
    """Numbers and contents of all lines."""
    return [(line.number, line.content) for line in logs]


def test_plain(tmp_path: Path) -> None:
    """Lines keep their numbers, blank ones are left out, and the last needs no end."""
    assert LINES == read(Logs([write(tmp_path / "a.log", TEXT)]))


def test_gzip_by_content(tmp_path: Path) -> None:
    """What is gzip is unpacked whatever it is called, also where several were put one behind the other."""
    name = write(tmp_path / "access.log.1", gzip.compress(TEXT) + gzip.compress(b"\nmore"))
    assert [*LINES, (6, b"more")] == read(Logs([name]))


def test_several_files(tmp_path: Path) -> None:
    """Files are read in the order in which they are given, each with numbers of its own."""
    names = [write(tmp_path / name, name.encode()) for name in ("b", "a")]
    assert [Line(names[0], 1, b"b"), Line(names[1], 1, b"a")] == list(Logs(names))


@pytest.mark.parametrize("content", [TEXT, gzip.compress(TEXT)], ids=["plain", "gzip"])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """`-` is standard input, whose size nobody knows."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    logs = Logs(["-"])
    assert None is logs.size
    assert [("<stdin>", *line) for line in LINES] == [(line.file, line.number, line.content) for line in logs]


def test_position(tmp_path: Path) -> None:
    """Progress is in the bytes of the files as they are, packed or not."""
    packed = gzip.compress(TEXT)
    logs = Logs([write(tmp_path / "a", TEXT), write(tmp_path / "b", packed)])
    assert (len(TEXT) + len(packed), 0) == (logs.size, logs.position)
    list(logs)
    assert logs.size == logs.position


def test_a_file_that_was_cut(tmp_path: Path) -> None:
    """What was packed before the cut is read, the rest is one unreadable line, and the next file follows."""
    packed = gzip.compress(b"\n".join(str(number).encode() for number in range(50_000)))
    cut = write(tmp_path / "cut.gz", packed[: len(packed) // 2])
    found = list(Logs([cut, write(tmp_path / "next", b"next")]))
    assert (b"0", 1) == (found[0].content, found[0].number)
    assert (cut, len(found) - 1, b"") == (found[-2].file, found[-2].number, found[-2].content)
    expected = "expected a whole gzip file, got 'compressed file ended before the end-of-stream marker was reached'"
    assert f"{expected}; try the file before it was cut" == found[-2].unreadable
    assert b"next" == found[-1].content


def test_gzip_in_name_only(tmp_path: Path) -> None:
    """Two bytes of gzip and then something else is one unreadable line, not an end."""
    (line,) = Logs([write(tmp_path / "a.gz", b"\x1f\x8bnot at all")])
    assert (1, b"") == (line.number, line.content)
    assert line.unreadable


def test_long_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line above the limit is unreadable, keeps its number, and takes no memory; the longest one is read."""
    monkeypatch.setattr(lines, "LONGEST", 1 << 20)
    longest = b"y" * ((1 << 20) - 1)
    name = write(tmp_path / "a", b"x" * (32 << 20) + b"\n" + longest + b"\nz")
    tracemalloc.start()
    found = [(line.number, line.unreadable, len(line.content)) for line in Logs([name])]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    message = "expected a line of at most 1 MiB, got more; try smaller batches"
    assert [(1, message, 0), (2, None, len(longest)), (3, None, 1)] == found
    assert peak < 8 << 20


def test_memory_does_not_grow(tmp_path: Path) -> None:
    """A gzip file of 64 MiB takes less than two of memory."""
    name = str(tmp_path / "big.gz")
    with gzip.open(name, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write((b"x" * 1023 + b"\n") * 1024)
    tracemalloc.start()
    count = sum(1 for _ in Logs([name]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 64 * 1024 == count
    assert peak < 2 << 20


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.log", "missing.log: no such file or directory"), (".", ".: it is a folder; try the files in it")],
)
def test_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    """What cannot be a log is said before anything is read."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LogError) as caught:
        Logs([write(tmp_path / "good", b""), name])
    assert message == str(caught.value)


def test_a_log_that_went_away(tmp_path: Path) -> None:
    """A log that is gone when its turn comes ends the reading with its name."""
    name = write(tmp_path / "a.log", b"a")
    logs = Logs([name])
    Path(name).unlink()
    with pytest.raises(LogError, match=r"a\.log: no such file or directory"):
        list(logs)
