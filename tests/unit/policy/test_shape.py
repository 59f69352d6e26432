"""What is said of a value follows from the document's declarations."""

from collections.abc import Iterator

import pytest

from extproc.policy import shape
from extproc.policy.document import Document, Model, by_key


def _models(model: type[Model]) -> Iterator[type[Model]]:
    for inner in model.__subclasses__():
        yield inner
        yield from _models(inner)


@pytest.mark.parametrize("model", list(_models(Model)))
def test_every_field_can_be_reported_missing(model: type[Model]) -> None:
    """There is an expectation and an example for whatever may be absent or wrong."""
    for key, annotation in by_key(model).items():
        if model.__name__ == "Operators":  # only describes what patterns.string_match reads
            continue
        says = shape._says(annotation)  # noqa: SLF001  reached through errors one by one otherwise
        assert says.expected, key
        assert says.example, key


def test_good_data_has_no_findings() -> None:
    """Data of the right shape becomes a document."""
    document, findings = shape.check({"tracing": {}}, Document, nulls=False)

    assert isinstance(document, Document)
    assert [] == findings


def test_null_counts_as_wrong_even_where_it_is_optional() -> None:
    """A key with nothing behind it is reported once, and no document comes out."""
    document, findings = shape.check({"tracing": {"policies": [{"match": None}]}}, Document, nulls=True)

    assert document is None
    assert [("tracing", "policies", 0, "match")] == [finding.path for finding in findings]
