"""What is sent, and how what came back is read."""

import json
from urllib.parse import urlsplit

import pytest

from bench.load import PATHS, Load, outcome, path, targets
from bench.processes import BenchError

MILLISECOND = 1_000_000


def sent(load: Load, first: int = 0) -> list[str]:
    """The paths that a load asks for."""
    return [urlsplit(json.loads(line)["url"]).path for line in targets(80, load, first).splitlines()]


def test_paths_take_turns_among_all_services() -> None:
    """A thousand paths reach each of the fifty services equally often."""
    services = [each.split("/")[2] for each in sent(Load())]
    assert {20} == {services.count(f"service-{number}") for number in range(50)}
    assert PATHS == len(set(sent(Load())))


def test_many_services_are_reached_all_over() -> None:
    """With more services than paths, a path's service may be any of them."""
    numbers = [int(path(number, 10_000).split("/")[2].removeprefix("service-")) for number in range(PATHS)]
    assert PATHS == len(set(numbers))
    assert max(numbers) > 9_900
    assert min(numbers) < 100


def test_distinct_paths_go_on_where_the_last_load_stopped() -> None:
    """No path comes twice, in a load or in the next one."""
    load = Load(requests=3_000, distinct=True)
    assert 6_000 == len({*sent(load), *sent(load, 3_000)})


def test_counted_requests_repeat_a_thousand_paths() -> None:
    """Where paths are not to be distinct, more requests bring no further ones."""
    assert PATHS == len(set(sent(Load(requests=3_000), 5_000)))


def test_headers_are_those_asked_for() -> None:
    """As many headers as the load says, the user's id among them."""
    (first, *_) = targets(80, Load(headers=8)).splitlines()
    headers = json.loads(first)["header"]
    assert 8 == len(headers)
    assert ["user-17"] == headers["X-User-Id"]


def test_percentiles_are_those_of_all_requests() -> None:
    """Percentiles come from each request's latency, in milliseconds, and nothing is left out for being slow."""
    rows = [f"{number * MILLISECOND},200,{number * MILLISECOND},0,2,,b2s=,a,0," for number in range(1, 1_001)]
    found = outcome("\n".join(rows))
    assert (1_000, 0) == (found.requests, found.failures)
    assert [500.5, 990.01, 999.001] == [found.latency_ms[each] for each in ("50", "99", "99.9")]
    assert 1.999 == found.seconds
    assert 1_000 / 1.999 == found.throughput


@pytest.mark.parametrize("status", ["0", "404", "503"])
def test_other_answers_are_failures(status: str) -> None:
    """What is not answered with 200 has failed; status 0 is no answer at all."""
    assert 1 == outcome(f"1,200,5,0,2,\n2,{status},5,0,2,").failures


def test_the_end_of_counted_requests_is_no_request() -> None:
    """Vegeta notes that it has no request left as if that were one."""
    found = outcome("1,200,5,0,2,\n2,0,0,0,0,no targets to attack")
    assert (1, 0) == (found.requests, found.failures)


def test_nothing_sent_is_an_error() -> None:
    """Without a request there is no figure."""
    with pytest.raises(BenchError, match="sent nothing"):
        outcome("")
