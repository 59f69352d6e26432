"""A flame graph out of stacks as py-spy writes them."""

from pathlib import Path

import pytest

from bench.flame import Frame, draw, tree
from bench.processes import BenchError

STACKS = """\
Thread.run (threading.py:982);GrpcServer._serve (extproc/server/grpc_server.py:150) 10
Thread.run (threading.py:982);GrpcServer._serve (extproc/server/grpc_server.py:155);Stream._on_message (extproc/server/grpc_server.py:97);Exchange.receive (extproc/engine/exchange.py:1) 25
Thread.run (threading.py:982);GrpcServer._serve (extproc/server/grpc_server.py:155);Stream._on_message (extproc/server/grpc_server.py:99);Exchange.receive (extproc/engine/exchange.py:2);find (extproc/engine/match.py:3) 5
<module> (extproc/__main__.py:6);Runner.run (asyncio/runners.py:118) 4
<module> (extproc/__main__.py:6);Runner.run (asyncio/runners.py:119) 1
""".splitlines()  # noqa: E501  as they come


def below(frame: Frame) -> dict[str, tuple[str, int]]:
    """What a frame calls."""
    return {name: (call.part, call.samples) for name, call in frame.calls.items()}


def test_stacks_are_added_up_by_function() -> None:
    """Lines do not matter, other threads are one, and CPU time that no sample shows was spent without Python's lock."""
    root = tree(STACKS, 100)
    assert 100 == root.samples
    without = {"gRPC and the kernel: sockets, HTTP/2": ("gRPC", 55)}
    assert {"GrpcServer._serve": ("server", 40), "event loop": ("", 5), **without} == below(root)
    message = root.calls["GrpcServer._serve"].calls["Stream._on_message"]
    assert {"Exchange.receive": ("engine", 30)} == below(message)
    assert {"find": ("engine", 5)} == below(message.calls["Exchange.receive"])


def test_no_sample_of_the_serving_thread_is_an_error() -> None:
    """It says what may be the matter."""
    with pytest.raises(BenchError, match="root"):
        tree(STACKS[-1:], 100)


def test_the_picture_names_what_is_wide(tmp_path: Path) -> None:
    """With shares of the samples; the same stacks give the same picture."""
    first, second = tmp_path / "1.svg", tmp_path / "2.svg"
    for file in (first, second):
        draw(tree(STACKS, 100), "a title", file)
    picture = first.read_text()
    for text in ("a title", "HTTP/2 55%", "Exchange.receive 30%"):
        assert text in picture
    assert picture == second.read_text()
