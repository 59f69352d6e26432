"""Audit records in a file."""

import json
import os
import stat
from pathlib import Path

import pytest

from audits import audited
from extproc.policy import plan
from extproc.telemetry.audit_file import AuditFile, line

LIMIT = 65_536


def opened(path: Path, *, max_bytes: int = LIMIT, backups: int = 2) -> AuditFile:
    """The file at `path`."""
    return AuditFile(plan.AuditFile(str(path), max_bytes, backups))


def resources(path: Path) -> list[str]:
    """What the records in a file are about."""
    return [json.loads(text)["resource"] for text in path.read_text("ascii").splitlines()]


def test_line() -> None:
    """A record is one JSON object with a time that RFC 3339 knows; what is not known is left out."""
    expected = (
        '{"time": "2026-03-01T12:00:00.123Z", "action": "PUT /api/orders/{order_id}", "user": "ann",'
        ' "resource": "/api/orders/7", "status": 200, "policy": "orders", "reason": "policy", "sampled": true,'
        ' "trace_id": "0af7651916cd43dd8448eb211c80319c", "source_address": "10.0.0.1"}\n'
    )
    assert expected.encode() == line(audited())
    lost = line(audited(user=None, status=None, trace_id=None, source_address=None, error_type="stream_reset"))
    assert {"time", "action", "resource", "policy", "reason", "sampled", "error_type"} == set(json.loads(lost))


@pytest.mark.parametrize(
    "hostile", ['/a"b\\', "/a\nb\r\n", "/a\x00\x1b[2J\x7f", "/\x85\u2028\u202e\U0001f600", "/" + "\U0001f600" * 1023]
)
def test_hostile_text_stays_on_its_line(hostile: str) -> None:
    """Whatever a path holds, the line is printable ASCII with one line end, and says the same when read."""
    written = line(audited(resource=hostile, user=hostile))
    assert written.endswith(b"}\n")
    assert [] == [byte for byte in written[:-1] if not 0x20 <= byte < 0x7F]
    assert (hostile, hostile) == (json.loads(written)["resource"], json.loads(written)["user"])
    assert len(written) < LIMIT


def test_new_file_is_its_owners(tmp_path: Path) -> None:
    """Nobody else may read it, whatever the umask says and also if it was there before."""
    new, old = tmp_path / "new.jsonl", tmp_path / "old.jsonl"
    old.write_text("before\n")
    old.chmod(0o644)
    before = os.umask(0)
    try:
        for path in (new, old):
            file = opened(path)
            assert file.write([audited()]) is None
            file.close()
    finally:
        os.umask(before)
    assert [0o600, 0o600] == [stat.S_IMODE(path.stat().st_mode) for path in (new, old)]
    assert old.read_bytes() == b"before\n" + line(audited())


def test_rotation_bounds_the_size(tmp_path: Path) -> None:
    """No file grows above its limit, so many older ones are kept, and of what they hold no record is missing."""
    path, records = tmp_path / "audit.jsonl", [audited(resource=f"/{number:05}") for number in range(1000)]
    size = len(line(records[0]))
    file = opened(path)
    for start in range(0, 1000, 100):
        assert file.write(records[start : start + 100]) is None
    file.close()
    names = [path, tmp_path / "audit.jsonl.1", tmp_path / "audit.jsonl.2"]
    assert names == sorted(tmp_path.iterdir())
    assert [LIMIT // size] * 2 == [name.stat().st_size // size for name in names[1:]]
    assert all(name.stat().st_size <= LIMIT and stat.S_IMODE(name.stat().st_mode) == 0o600 for name in names)
    kept = [resource for name in reversed(names) for resource in resources(name)]
    assert [record.resource for record in records[-len(kept) :]] == kept


def test_a_limit_holds_for_what_was_there(tmp_path: Path) -> None:
    """A file that is full from an earlier run is rotated by the first record."""
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"x" * LIMIT)
    file = opened(path)
    assert file.write([audited(resource="/first")]) is None
    file.close()
    assert ["/first"] == resources(path)
    assert LIMIT == (tmp_path / "audit.jsonl.1").stat().st_size


def test_file_that_was_moved_away(tmp_path: Path) -> None:
    """After someone has renamed or deleted it, records go to a new file of that name."""
    path = tmp_path / "audit.jsonl"
    file = opened(path)
    file.write([audited(resource="/1")])
    path.rename(tmp_path / "moved")
    file.write([audited(resource="/2")])
    path.unlink()
    file.write([audited(resource="/3")])
    file.close()
    assert (["/1"], ["/3"]) == (resources(tmp_path / "moved"), resources(path))


def test_two_servers_with_one_file(tmp_path: Path) -> None:
    """It is not what to do, but no line is torn and nothing is written to a file that the other has rotated away."""
    path = tmp_path / "audit.jsonl"
    first, second = opened(path, backups=9), opened(path, backups=9)
    for number in range(400):
        for file in (first, second):
            assert file.write([audited(resource=f"/{number}")]) is None
    first.close()
    second.close()
    found = [resource for name in tmp_path.iterdir() for resource in resources(name)]
    assert sorted([f"/{number}" for number in range(400)] * 2) == sorted(found)
    assert max(name.stat().st_size for name in tmp_path.iterdir()) <= LIMIT


def test_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is given up and counted, and the next line that fits stands on its own."""
    path = tmp_path / "audit.jsonl"
    file, write = opened(path), os.write
    file.write([audited(resource="/1")])
    with monkeypatch.context() as patch:
        patch.setattr("os.write", lambda descriptor, text: write(descriptor, text[:20]))
        loss = file.write([audited(), audited()])
    file.write([audited(resource="/2")])
    file.close()
    assert loss is not None
    assert (2, f"{path}: No space left on device") == (loss.records, loss.reason)
    assert ["/1", "/2"] == resources(path)


def test_folder_that_vanishes_and_returns(tmp_path: Path) -> None:
    """At run time a file that can't be opened is a loss with its reason, until it can be again."""
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "audit.jsonl"
    file = opened(path)
    path.unlink()
    folder.rmdir()
    loss = file.write([audited()] * 3)
    assert loss is not None
    assert (3, f"{path}: No such file or directory") == (loss.records, loss.reason)
    folder.mkdir()
    assert file.write([audited(resource="/back")]) is None
    file.close()
    assert ["/back"] == resources(path)


@pytest.mark.parametrize("kind", ["missing folder", "folder", "pipe nobody reads", "device"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    """What can't be opened, or could not be rotated, is found at once and nothing waits for it."""
    path = tmp_path / "audit.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe nobody reads":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    else:
        path = tmp_path / "logs" / "audit.jsonl"
    with pytest.raises(OSError, match=r"No such file|Is a directory|No such device|not a regular file"):
        opened(path)
    assert stat.S_IMODE(Path("/dev/null").stat().st_mode) == 0o666


def test_folder_that_allows_no_rotation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of ours in a folder of others could be written, but not renamed once it is full."""
    monkeypatch.setattr("os.access", lambda path, _: path != tmp_path)
    with pytest.raises(PermissionError, match="is not ours to rotate it in"):
        opened(tmp_path / "audit.jsonl")
