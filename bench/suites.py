"""What is measured with what: each suite is a set of cases that take turns, round after round."""

import itertools
import os
from dataclasses import dataclass, replace

from bench.cases import CASES, CHEAPEST, MAIN, OWN_ECHO, Case
from bench.load import Load


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how often; the defaults are the full run's.

    Attributes:
        rounds: Rounds of the comparison.
        overhead_rounds: Rounds of `overhead`.
        growth_rounds: Rounds of each growth curve.
        seconds: Of one measurement in the comparison.
        warm_up_seconds: Of each phase of each case before the first round.
        growth_seconds: Of one measurement anywhere else.
        overhead_rate: Requests a second of `overhead`, whose servers are all quick.
        rate: Requests a second, well below what the slowest case can do.
        single_rate: The same on one connection.
        connections: Of the full load, where each sends its next request when it has its answer.
        memory_requests: Of each of the two runs whose memory is watched.
        short: Growth curves have their ends only.
    """

    rounds: int = 5
    overhead_rounds: int = 6
    growth_rounds: int = 3
    seconds: float = 2.5
    warm_up_seconds: float = 1.0
    growth_seconds: float = 2.0
    overhead_rate: float = 400
    rate: float = 150
    single_rate: float = 50
    connections: int = 32
    memory_requests: int = 100_000
    short: bool = False


SHORT = Settings(
    rounds=1,
    overhead_rounds=1,
    growth_rounds=1,
    seconds=0.4,
    warm_up_seconds=0.1,
    growth_seconds=0.3,
    memory_requests=2_000,
    short=True,
)


@dataclass(frozen=True, slots=True)
class Point:
    """One case of a suite, with the load that each phase of a round sends."""

    case: Case
    phases: dict[str, Load]


@dataclass(frozen=True, slots=True)
class Suite:
    """Cases that take turns.

    Attributes:
        about: What it shows.
        points: The cases.
        rounds: How often each has its turn.
        seconds: How long a measurement takes, unless its load has an end of its own.
        axis: What grows from point to point, '' where nothing does.
        whole: One process has to go through all rounds, so a part of them is worth nothing.
    """

    about: str
    points: dict[str, Point]
    rounds: int
    seconds: float
    axis: str = ""
    whole: bool = False


PAIRS = (CHEAPEST, CASES[CHEAPEST].floor), (MAIN, CASES[MAIN].floor), (MAIN, OWN_ECHO)
"""Cases of `overhead`, and the echoes that they are divided by."""
RATE, SINGLE, FULL = "rate", "single", "full"
COMPARISON, OVERHEAD, MEMORY = "comparison", "overhead", "memory"


def suites(settings: Settings) -> dict[str, Suite]:
    """All suites, in the order in which they run."""
    steady = Load(rate=settings.rate)
    full = Load(connections=settings.connections)
    phases = {RATE: steady, SINGLE: Load(rate=settings.single_rate, connections=1), FULL: full}
    paired = {
        name: Point(CASES[name], {RATE: Load(rate=settings.overhead_rate), FULL: full})
        for name in dict.fromkeys(itertools.chain.from_iterable(PAIRS))
    }
    compared = {name: Point(case, phases) for name, case in CASES.items()}
    main, both = CASES[MAIN], {RATE: steady, FULL: full}

    def curve(axis: str, points: dict[str, Point]) -> Suite:
        names = [*points][:: len(points) - 1] if settings.short else [*points]
        chosen = {name: points[name] for name in names}
        return Suite(f"growth with {axis}", chosen, settings.growth_rounds, settings.growth_seconds, axis)

    def alike(number: int, phases: dict[str, Load]) -> dict[str, Load]:
        return {name: replace(load, headers=number) for name, load in phases.items()}

    return {
        COMPARISON: Suite("every case beside the others", compared, settings.rounds, settings.seconds),
        OVERHEAD: Suite("the server's CPU over a bare echo's", paired, settings.overhead_rounds, settings.seconds),
        "policies": curve(
            "policies",
            {
                str(count): Point(
                    replace(main, policies=count),
                    {name: replace(load, services=count) for name, load in both.items()},
                )
                for count in (1, 10, 100, 1_000, 10_000)
            },
        ),
        "tags": curve("tags", {str(n): Point(replace(main, tags=n), alike(33, both)) for n in (0, 1, 2, 4, 8, 16, 32)}),
        "headers": curve("request headers", {str(n): Point(main, alike(n, both)) for n in (8, 16, 32, 64)}),
        "concurrency": curve(
            "connections", {str(n): Point(main, {FULL: replace(full, connections=n)}) for n in (1, 4, 16, 64, 256)}
        ),
        "ratio": curve(
            "sampling ratio", {f"{r:g}": Point(replace(CASES["extproc-emit"], ratio=r), both) for r in (0, 0.1, 0.5, 1)}
        ),
        "workers": curve("workers", {str(n): Point(replace(main, workers=n), both) for n in _workers()}),
        MEMORY: _memory(settings, main),
    }


def _memory(settings: Settings, case: Case) -> Suite:
    """Requests in equal steps, of which warming up takes the first. Exports come as often as in a far longer run."""
    case = replace(case, export_seconds=5)
    same = Load(connections=settings.connections, requests=settings.memory_requests // (MEMORY_STEPS + 1))
    points = {
        "1,000 paths": Point(case, {FULL: same}),
        "distinct paths": Point(case, {FULL: replace(same, distinct=True)}),
    }
    return Suite("resident memory over many requests", points, MEMORY_STEPS, 0, "requests", whole=True)


MEMORY_STEPS = 19


def _workers() -> list[int]:
    return [count for count in (1, 2, 4, 8, 16) if count <= max(2, os.cpu_count() or 1)]
