"""Problems in a ConfigMap stand where they are in the outer file."""

import pytest

from extproc.policy.load import load_text
from extproc.policy.problems import PolicyError

HEAD = "kind: ConfigMap\ndata:\n"


def places(text: str) -> list[tuple[int, int, str]]:
    """Where the problems of a ConfigMap with this `data` are."""
    with pytest.raises(PolicyError) as error:
        load_text((HEAD + text).encode(), "policy.yaml", {})
    return [(problem.line, problem.column, problem.path) for problem in error.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a.yaml: |\n    tracing:\n      enabled: 1\n", (5, 7)),
        ("  a.yaml: |-\n\n\n    tracing:\n      enabled: 1\n", (7, 7)),
        ("  a.yaml: |4 # comment\n      # inner\n      tracing: {enabled: 1}\n", (5, 17)),
        ("  a.yaml:\n    |+\n      tracing:\n        enabled: 1\n\n\n", (6, 9)),
        ("  a.yaml: >\n    tracing: {enabled: 1}\n", (3, 3)),
        ("  a.yaml: 'tracing: {enabled: 1}'\n", (3, 3)),
        ("  a.yaml: |\r\n    tracing:\r\n      enabled: 1\r\n", (5, 7)),
    ],
)
def test_place(text: str, expected: tuple[int, int]) -> None:
    """In a literal block to the letter, else at its key."""
    assert [(*expected, "enabled")] == places(text)


def test_duplicate_key_names_the_outer_line() -> None:
    """Lines in messages are the outer file's too."""
    with pytest.raises(PolicyError, match="again after line 5"):
        load_text((HEAD + "  a.yaml: |\n    tracing:\n      enabled: true\n      enabled: true\n").encode(), "x", {})


def test_problems_of_both_files_are_reported() -> None:
    """A duplicate key outside does not hide what is wrong inside."""
    text = "  a.yaml: |\n    tracing: {enabled: 1}\n  b: 1\n  b: 2\n"

    assert [(4, 15, "enabled"), (6, 3, "data.b")] == places(text)


def test_other_texts_may_lie_beside() -> None:
    """Only the text that has tracing at its top is the policy."""
    text = "  notes.yaml: 'a: ['\n  other.json: '{}'\n  tracing.md: 'tracing:'\n  p.yml: 'tracing: {policies: [{}]}'\n"

    assert 1 == len(load_text((HEAD + text).encode(), "x", {}).policies)


def test_data_that_is_no_mapping() -> None:
    """Without texts there is no policy."""
    assert [(2, 1, "data")] == places("  [1]\n")
    assert [(2, 1, "data")] == places("  a.yaml: [1]\n")


def test_control_characters_inside() -> None:
    """An escaped control character in the text is found as in a file."""
    assert [(3, 3, "tracing")] == places('  a.yaml: "tracing: \\0"\n')
