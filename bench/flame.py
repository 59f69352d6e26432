"""Where the time of the server goes: a flame graph of the thread that serves, sampled by py-spy at full load."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.bed import running, shared
from bench.cases import CASES
from bench.load import Load
from bench.processes import BenchError, started

_ROOT = "GrpcServer._serve"
_WITHOUT_LOCK = "gRPC and the kernel: sockets, HTTP/2"
_OTHER_THREADS = "event loop"
_COLOURS = {"gRPC": "#9ecae1", "engine": "#fdae6b", "telemetry": "#a1d99b", "server": "#dadaea"}
_RATE = 400
_SECONDS = 20
_WARM_UP_SECONDS = 2
_NARROWEST = 0.001  # of all samples: less is not drawn
_CHARACTER = 0.0068  # of the width of the picture


@dataclass(slots=True)
class Frame:
    """A function where it was called, the samples that were taken in it, and what it called."""

    name: str
    part: str
    samples: int = 0
    calls: "dict[str, Frame]" = field(default_factory=dict)

    def add(self, path: Iterable[tuple[str, str]], samples: int) -> None:
        """Add samples of a path of calls, each a name and a part."""
        frame = self
        frame.samples += samples
        for name, part in path:
            frame = frame.calls.setdefault(name, Frame(name, part))
            frame.samples += samples


def write(case: str, file: Path) -> float:
    """Sample the server of a case, draw the graph, and return the microseconds of CPU per request that it is of.

    Raises:
        BenchError: py-spy could not sample it.
    """
    with TemporaryDirectory() as folder, shared() as ports, running(CASES[case], ports) as bed:
        bed.check()
        load, stacks = Load(connections=32), Path(folder, "stacks")
        bed.measure(load, _WARM_UP_SECONDS)
        if bed.server is None:
            raise BenchError(f"{case} has no server to look into")
        options = f"--gil --format raw --rate {_RATE} --duration {_SECONDS} --pid {bed.server.pid}".split()
        spy: list[str | Path] = [Path(sys.executable).parent / "py-spy", "record", *options, "--output", stacks]
        with started(spy, Path(folder, "spy.log")) as sampling:
            cost = bed.measure(load, _SECONDS)
            sampling.end()
        microseconds: float = cost["server_us"]
        root = tree(stacks.read_text().splitlines(), round(microseconds / 1e6 * cost["requests"] * _RATE))
    draw(root, f"{case} at full load: {microseconds:.0f} µs of CPU per request", file)
    return microseconds


def tree(stacks: Iterable[str], samples: int) -> Frame:
    """Add up stacks, each a line of `frame;frame;frame count`, that hold Python's lock.

    py-spy knows for sure only who holds that lock; whether a thread without it works or waits, it guesses badly. So
    what is left of `samples`, which the server's CPU time comes to by the kernel's account, was spent without the lock.

    Raises:
        BenchError: the thread that serves is in none of them.
    """
    root = Frame("extproc serve", "")
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        root.add(_below_root(stack.split(";")), int(count))
    if _ROOT not in root.calls:
        raise BenchError("py-spy has not seen the thread that serves: does it need root's rights here?")
    root.add([(_WITHOUT_LOCK, "gRPC")], max(0, samples - root.samples))
    return root


def _below_root(frames: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and part of each frame of the thread that serves, from its loop on; one name for all other threads."""
    names = [frame.partition(" (")[::2] for frame in frames]
    start = next((place for place, (name, _) in enumerate(names) if name == _ROOT), None)
    if start is None:
        yield _OTHER_THREADS, ""
        return
    for name, file in names[start:]:
        yield name, next((part for part in _COLOURS if f"extproc/{part}/" in file), "")


def draw(root: Frame, title: str, file: Path) -> None:
    """Draw a tree with its root at the bottom; the width of a frame is its share of the samples."""
    with mpl.rc_context({"svg.hashsalt": "extproc", "svg.fonttype": "none", "font.size": 7}):
        height = _height(root)
        canvas = Figure(figsize=(11, 0.26 * height + 0.5), layout="constrained")
        axes = canvas.subplots()
        axes.set(xlim=(0, 1), ylim=(0, height), title=title)
        axes.axis("off")
        for frame, start, level in _placed(root, 0.0, 0, 1 / root.samples):
            width = frame.samples / root.samples
            box = Rectangle(
                (start, level),
                width,
                1,
                facecolor=_COLOURS.get(frame.part, "#eeeeee"),
                edgecolor="white",
                linewidth=0.5,
            )
            axes.add_patch(box)
            label = f"{frame.name} {width:.0%}"
            room = int(width / _CHARACTER)
            if room > 3:  # noqa: PLR2004  fewer characters say nothing
                short = label if len(label) <= room else label[: room - 1] + "…"
                axes.text(start + 0.002, level + 0.5, short, verticalalignment="center")
        axes.legend(
            handles=[Rectangle((0, 0), 1, 1, facecolor=colour, label=part) for part, colour in _COLOURS.items()],
            loc="upper left",
            frameon=False,
        )
        canvas.savefig(file, metadata={"Date": None})


def _placed(frame: Frame, start: float, level: int, unit: float) -> Iterator[tuple[Frame, float, int]]:
    yield frame, start, level
    for call in sorted(frame.calls.values(), key=lambda call: -call.samples):
        if call.samples * unit >= _NARROWEST:
            yield from _placed(call, start, level + 1, unit)
        start += call.samples * unit


def _height(frame: Frame) -> int:
    return 1 + max(map(_height, frame.calls.values()), default=0)
