"""What `extproc traces` can be asked."""

import pytest

from extproc.traces.query import as_tags, parse_since, parse_tag


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7_200),
        ("7d", 604_800),
        ("1h30m", 5_400),
        ("1d1s", 86_401),
        ("365d", 31_536_000),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    """A duration is numbers with units, added up."""
    assert seconds == parse_since(text)


@pytest.mark.parametrize("text", ["", "15", "m", "0s", "-5m", "1.5h", "5 m", "15M", "15m!", "366d", "٣m", "15m\n"])
def test_no_durations(text: str) -> None:
    """Whatever else is refused, with examples of what to write."""
    with pytest.raises(ValueError, match=r"expected a duration up to 365d, got .*; try 90s, 15m, 1h30m or 7d"):
        parse_since(text)


@pytest.mark.parametrize(
    ("text", "pair"), [("a=1", ("a", "1")), ("a.b=c=d", ("a.b", "c=d")), ("a=", ("a", "")), ("a= b ", ("a", " b "))]
)
def test_tags(text: str, pair: tuple[str, str]) -> None:
    """The first equals sign ends the name; the value is taken as it is."""
    assert pair == parse_tag(text)


@pytest.mark.parametrize("text", ["", "a", "=1"])
def test_no_tags(text: str) -> None:
    """A tag without a name or without a value is refused."""
    with pytest.raises(ValueError, match="expected name=value, got"):
        parse_tag(text)


def test_two_values_of_one_tag() -> None:
    """No span carries two values of one tag, so asking for both is a mistake; the same value twice is none."""
    assert {"a": "1", "b": "2"} == as_tags([("a", "1"), ("b", "2"), ("a", "1")])
    with pytest.raises(ValueError, match="a span has one value of 'a', got '1' and '2'; ask twice"):
        as_tags([("a", "1"), ("a", "2")])
