"""`python -m bench.micro`: pyperf times the pieces of a request, and decisions and loading at 1 to 10,000 policies.

All options of pyperf are there: `-o FILE` keeps the figures, `python -m pyperf compare_to BEFORE AFTER` compares two
such files, `--fast` is quicker and coarser. `--only read` takes names that begin so.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator

import pyperf

from bench.micro.pieces import Call, pieces
from bench.micro.scale import COUNTS, KINDS, deciding, loading

DEAREST_DECISION = 1.2
"""What a decision at 10,000 policies may cost, over one at 10."""

LONGEST_LOAD_SECONDS = 2.0
_FEW, _MANY = 10, 10_000
Benches = dict[str, pyperf.Benchmark]


def main() -> int:
    """Measure, print, and say whether the limits hold."""
    runner = pyperf.Runner(
        values=3, processes=5, program_args=("-m", "bench.micro"), add_cmdline_args=_hand_on, min_time=0.05
    )
    runner.argparser.description = __doc__
    runner.argparser.add_argument("--only", default="", help="names that begin so")
    only = runner.parse_args().only
    found: Benches = {}
    for name, make in _all():
        if name.startswith(only) and (bench := runner.bench_time_func(name, _timed, make)) is not None:
            found[name] = bench
    if runner.args.worker:
        return 0
    failed = [line for line, holds in _limits(found) if not holds]
    for line, holds in _limits(found):
        print(f"{'ok' if holds else 'FAILED'}: {line}")
    return 1 if failed else 0


def _all() -> Iterator[tuple[str, Callable[[], Call]]]:
    yield from pieces().items()
    for kind in KINDS:
        for count in COUNTS:
            yield f"decide, {kind}, {count}", lambda kind=kind, count=count: deciding(kind, count)  # type: ignore[misc]
    for kind in KINDS:
        for count in COUNTS:
            yield f"load, {kind}, {count}", lambda kind=kind, count=count: loading(kind, count)  # type: ignore[misc]


def _timed(loops: int, make: Callable[[], Call]) -> float:
    """Seconds for so many calls, without those to get ready."""
    call = make()
    rounds = range(loops)
    began = time.perf_counter()
    for _ in rounds:
        call()
    return time.perf_counter() - began


def _limits(found: Benches) -> Iterator[tuple[str, bool]]:
    """What is promised of the scale, and whether it is so; nothing where it was not measured.

    The least of all values is compared: it is the one that nothing else on the machine has disturbed.
    """
    for kind in KINDS:
        few, many = (found.get(f"decide, {kind}, {count}") for count in (_FEW, _MANY))
        if few and many:
            ratio = min(many.get_values()) / min(few.get_values())
            yield (
                f"decide, {kind}: {ratio:.2f} times at {_MANY:,} policies of {_FEW}, at most {DEAREST_DECISION}",
                ratio <= DEAREST_DECISION,
            )
        if load := found.get(f"load, {kind}, {_MANY}"):
            seconds = min(load.get_values())
            yield (
                f"load, {kind}: {seconds:.2f} s for {_MANY:,} policies, under {LONGEST_LOAD_SECONDS:g} s",
                seconds < LONGEST_LOAD_SECONDS,
            )


def _hand_on(command: list[str], arguments: argparse.Namespace) -> None:
    """The options of ours that pyperf's worker processes need to know."""
    if arguments.only:
        command += ["--only", arguments.only]


if __name__ == "__main__":
    sys.exit(main())
