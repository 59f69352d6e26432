"""YAML as it is read: values, places, aliases."""

import pytest
import yaml

from extproc.policy import yaml_reader
from extproc.policy.problems import Place
from extproc.policy.scalars import Real, resolve
from extproc.policy.yaml_reader import MOST_REPEATED, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("0.5", 0.5),
        (".5", 0.5),
        ("5e-3", 0.005),
        (".inf", float("inf")),
        ("-.Inf", float("-inf")),
        ("yes", "yes"),
        ("on", "on"),
        ("0123", "0123"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1.0.0", "1.0.0"),
        ("-", "-"),
        ("10.0.0.1", "10.0.0.1"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_scalar(text: str, expected: object) -> None:
    """A plain scalar is a number, a boolean or null only where it looks like nothing else."""
    assert expected == resolve(text)
    assert type(expected) in type(resolve(text)).__mro__


def test_number_remembers_its_text() -> None:
    """How a number was written is not lost."""
    assert "1.10" == str(Real("1.10"))


def test_quotes_and_the_string_tag_make_text() -> None:
    """What is quoted is text, and so is what is tagged !!str."""
    assert {"a": "1", "b": "true", "c": "5"} == parse("{a: '1', b: \"true\", c: !!str 5}").data
    assert {"d": "6\n"} == parse("d: |\n  6\n").data


def test_places_are_those_of_keys_and_items() -> None:
    """A path leads to its key or item; what is missing is where its mapping is."""
    tree = parse("a:\n  - b: 1\n    c: [x, y]\n  -   d\n")

    assert Place(1, 1) == tree.place(("a",))
    assert Place(2, 5) == tree.place(("a", 0))
    assert Place(3, 5) == tree.place(("a", 0, "c"))
    assert Place(3, 12) == tree.place(("a", 0, "c", 1))
    assert Place(4, 7) == tree.place(("a", 1))
    assert Place(2, 5) == tree.place(("a", 0, "missing"))
    assert Place(1, 1) == tree.place(())


def test_parser_in_python_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML has no libyaml, its own parser gives the same tree."""
    text = "a: &a [1, '2', ~, !!str 3]\nb: |\n  x\n*a : [y\n"
    with_libyaml = parse(text)
    monkeypatch.setattr(yaml_reader, "_LOADER", yaml.SafeLoader)
    without = parse(text)

    assert (with_libyaml.data, with_libyaml.place(("a", 2))) == (without.data, without.place(("a", 2)))
    assert without.broken


def test_alias_is_the_value_of_its_anchor() -> None:
    """Aliases work for values and for keys."""
    assert {"a": "k", "b": [1], "c": [1], "k": 2} == parse("a: &k k\nb: &b [1]\nc: *b\n*k : 2\n").data


def test_aliases_are_counted() -> None:
    """A few repetitions are fine, a great many are refused."""
    values = f"a: &a [{'x, ' * 1000}]\n"
    fine = parse(values + "b: [" + "*a, " * (MOST_REPEATED // 1001) + "]")
    many = parse(values + "b: [" + "*a, " * (MOST_REPEATED // 1001 + 1) + "]")

    assert not fine.findings
    assert many.broken


def test_all_mistakes_of_the_yaml_are_found_at_once() -> None:
    """A duplicate key does not hide the next mistake."""
    tree = parse("a: 1\na: 2\n3: x\nb: !t 1\n")

    assert [Place(2, 1), Place(3, 1), Place(4, 4)] == [finding.place for finding in tree.findings]
    assert {("b",)} == tree.unread


def test_first_of_two_equal_keys_stays() -> None:
    """The value that a duplicate brings is left out, whatever it is."""
    assert {"a": 1, "b": 2} == parse("a: 1\na: {x: [y]}\nb: 2\n").data
