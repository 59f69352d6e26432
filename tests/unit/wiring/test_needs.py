"""What a Plan needs from Envoy's configuration."""

from dataclasses import replace

import pytest

from extproc.policy.plan import Plan, Policy, Sampler, SamplerKind, Tag, TagSource, Transform
from extproc.wiring.needs import (
    SpanTag,
    ValueType,
    ignores_parent,
    metadata_namespaces,
    names_spans,
    request_attributes,
    response_attributes,
    span_tags,
)

_ON = Sampler(SamplerKind.ALWAYS_ON, 1.0, 0)
_DEFAULT = Policy("default", -1, _ON)
_CODE = Tag("code", TagSource.ATTRIBUTE, "response.code")
_DECISION = ["sampling.policy", "sampling.reason", "sampling.probability"]


def _plan(*policies: tuple[Tag, ...], default: tuple[Tag, ...] = ()) -> Plan:
    return Plan(
        policies=tuple(Policy(f"p{index}", index, _ON, tags=tags) for index, tags in enumerate(policies)),
        default=replace(_DEFAULT, tags=default),
    )


def test_every_tag_is_shown_once_in_the_order_of_the_file() -> None:
    """Tags for every request come first, then each policy's own, then those about the decision."""
    a, b, c = (Tag(name, TagSource.COOKIE, name) for name in "abc")
    shown = [tag.name for tag in span_tags(_plan((a, c), (a, b), default=(a,)))]
    assert ["a", "c", "b", *_DECISION] == shown


def test_a_tag_named_like_ours_is_shown_once() -> None:
    """A file that names a decision's tag itself does not make Envoy show it twice."""
    assert _DECISION == [tag.name for tag in span_tags(_plan((Tag("sampling.reason", TagSource.COOKIE, "c"),)))]


@pytest.mark.parametrize(
    ("tag", "value_type"),
    [
        (_CODE, ValueType.INT),
        (replace(_CODE, transform=Transform.SHA256), ValueType.STRING),
        (replace(_CODE, name="the code"), ValueType.STRING),
        (Tag("t", TagSource.ATTRIBUTE, "xds.route_name"), ValueType.STRING),
        (Tag("t", TagSource.CONSTANT, default=3.0), ValueType.INT),
        (Tag("t", TagSource.CONSTANT, default=0.5), ValueType.DOUBLE),
        (Tag("t", TagSource.CONSTANT, default="3"), ValueType.STRING),
        (Tag("t", TagSource.REQUEST_HEADER, "content-length"), ValueType.STRING),
    ],
)
def test_numbers_are_shown_as_numbers(tag: Tag, value_type: ValueType) -> None:
    """Known numbers keep their type, unless hashed or under a name that Envoy's formats cannot hold."""
    assert SpanTag(tag.name, value_type) == span_tags(_plan((tag,)))[0]


def test_a_name_with_two_types_is_shown_as_text() -> None:
    """One policy's number is another policy's text."""
    assert SpanTag("code") == span_tags(_plan((_CODE,), (Tag("code", TagSource.COOKIE, "c"),)))[0]


def test_attributes_are_asked_for_by_direction() -> None:
    """The server's own attributes are always there, and each tag's where Envoy knows it."""
    tags = tuple(
        Tag(name, TagSource.ATTRIBUTE, name)
        for name in ("response.code", "xds.route_name", "upstream.address", "xds.route_name")
    )
    assert ("xds.cluster_name", "source.address", "xds.route_name") == request_attributes(_plan(tags))
    always = ("response.flags", "response.code_details", "upstream.address")
    assert (*always, "response.code") == response_attributes(_plan(tags))


def test_metadata_of_other_filters() -> None:
    """Each namespace that a tag reads is named once."""
    tags = tuple(Tag(str(index), TagSource.METADATA, key, ("a",)) for index, key in enumerate("xyx"))
    assert ("x", "y") == metadata_namespaces(_plan(tags))
    assert () == metadata_namespaces(_plan())


def test_names_spans() -> None:
    """One policy with a span name is enough."""
    plan = _plan(())
    assert not names_spans(plan)
    assert names_spans(replace(plan, policies=(replace(plan.policies[0], span_name="x"),)))


def test_ignores_parent() -> None:
    """The default decision counts as well."""
    sampler = replace(_ON, respect_parent=False)
    plan = Plan((Policy("a", 0, _ON), Policy("b", 1, sampler)), replace(_DEFAULT, sampler=sampler))
    assert ("default", "b") == ignores_parent(plan)
