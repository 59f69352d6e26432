"""What a policy file means: the Plan that comes out."""

from collections.abc import Mapping
from hashlib import sha256

import pytest

from extproc.engine.enrich import REDACTED as ENGINE_REDACTED
from extproc.policy.compile import threshold
from extproc.policy.load import load_text
from extproc.policy.plan import (
    Audit,
    AuditFile,
    Collector,
    Keep,
    Match,
    Operator,
    Plan,
    Policy,
    Sampler,
    SamplerKind,
    SpansMode,
    StringMatch,
    Tag,
    TagSource,
    Transform,
)
from extproc.policy.tags import REDACTED

ALWAYS_ON = Sampler(SamplerKind.ALWAYS_ON, 1.0, 0)


def plan_of(tracing: str, environ: Mapping[str, str] | None = None) -> Plan:
    """The Plan of a file with this below `tracing`."""
    return load_text(f"tracing: {tracing}".encode(), "policy.yaml", environ or {})


def tag_of(item: str, environ: Mapping[str, str] | None = None) -> tuple[Tag, ...]:
    """The tags that this item of custom_tags comes to."""
    return plan_of(f"{{custom_tags: [{{tag: t, {item}}}]}}", environ).default.tags


def test_defaults() -> None:
    """A file that says nothing keeps every trace, as OpenTelemetry's SDKs do."""
    plan = plan_of("{}")

    digest = sha256(b"tracing: {}").hexdigest()
    assert Plan((), Policy("default", -1, ALWAYS_ON), enabled=True, mode=SpansMode.ANNOTATE, digest=digest) == plan


def test_collector_and_attributes() -> None:
    """Attributes become text as they are written."""
    plan = plan_of("""{enabled: false, collector: {endpoint: 'http://otel:4318', insecure: true},
        attributes: {a: text, b: 1.10, c: 7, d: True, e: yes}}""")

    assert not plan.enabled
    assert Collector("http://otel:4318", insecure=True) == plan.collector
    assert (("a", "text"), ("b", "1.10"), ("c", "7"), ("d", "true"), ("e", "yes")) == plan.attributes


def test_audit() -> None:
    """A file has its limits, OTLP none; the user is the tag user_id unless told; a policy audits only if it says so."""
    file = plan_of("{audit: {file: a.jsonl}, policies: [{audit: true}, {match: {method: GET}}]}")
    limits = "{custom_tags: [{tag: who, cookie: who}], audit: {file: a, max_bytes: 65536, backups: 1, user_tag: who}}"

    assert Audit("user_id", AuditFile("a.jsonl", max_bytes=16 << 20, backups=7)) == file.audit
    assert [True, False] == [policy.audit for policy in file.policies]
    assert not file.default.audit
    assert Audit("who", AuditFile("a", max_bytes=65536, backups=1)) == plan_of(limits).audit
    assert Audit("user_id") == plan_of("{audit: {otlp: true}}").audit


def test_spans_of_our_own() -> None:
    """A mode of our own, and what is kept by it; a policy that says nothing keeps nothing more."""
    plan = plan_of("{spans: {mode: emit}, policies: [{keep: {status: 5xx, latency: '>2s'}}, {}]}")

    assert SpansMode.EMIT == plan.mode
    assert [Keep((500, 599), 2.0), None] == [policy.keep for policy in plan.policies]
    assert plan.default.keep is None


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("status: '>=500'", Keep((500, 599))),
        ("status: '>499'", Keep((500, 599))),
        ("status: '>598'", Keep((599, 599))),
        ("status: '>=100'", Keep((100, 599))),
        ("status: '503'", Keep((503, 503))),
        ("status: 503", Keep((503, 503))),
        ("status: 4xx", Keep((400, 499))),
        ("latency: '>2s'", Keep(over_seconds=2.0)),
        ("latency: '>=500ms'", Keep(over_seconds=0.5)),
        ("latency: 700ms", Keep(over_seconds=0.7)),
        ("latency: 1.5s", Keep(over_seconds=1.5)),
        ("latency: '>2m'", Keep(over_seconds=120.0)),
    ],
)
def test_keep(keep: str, expected: Keep) -> None:
    """A status code is one, a lower bound or a class; a latency has its unit and is to be exceeded."""
    assert expected == plan_of(f"{{spans: {{mode: emit}}, policies: [{{keep: {{{keep}}}}}]}}").policies[0].keep


@pytest.mark.parametrize("endpoint", ["otel:4317", "[::1]:4317", "https://otel/v1", "http://[::1]:4318"])
def test_endpoint(endpoint: str) -> None:
    """An endpoint is host:port or a URL."""
    assert Collector(endpoint) == plan_of(f"{{collector: {{endpoint: '{endpoint}'}}}}").collector


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ("{policy: always_on}", ALWAYS_ON),
        ("{policy: always_off, parent: ignore}", Sampler(SamplerKind.ALWAYS_OFF, 0.0, 2**56, respect_parent=False)),
        ("{ratio: 0.25}", Sampler(SamplerKind.PROBABILISTIC, 0.25, 0xC0000000000000)),
        ("{policy: probabilistic, ratio: 1}", Sampler(SamplerKind.PROBABILISTIC, 1.0, 0)),
        ("{policy: probabilistic, ratio: 0, parent: respect}", Sampler(SamplerKind.PROBABILISTIC, 0.0, 2**56)),
        ("{ratio: 1e-3}", Sampler(SamplerKind.PROBABILISTIC, 0.001, 2**56 - 72057594037928)),
    ],
)
def test_sampler(sampling: str, expected: Sampler) -> None:
    """A sampler has its probability and its threshold."""
    assert expected == plan_of(f"{{sampling: {sampling}}}").default.sampler


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0, 2**56), (1, 0), (0.5, 2**55), (2**-56, 2**56 - 1), (2**-58, 2**56), (1 - 2**-53, 8)]
)
def test_threshold(ratio: float, expected: int) -> None:
    """T is 2^56 less the ratio's share of it, rounded."""
    assert expected == threshold(ratio)


def test_policies_inherit_sampling_and_tags() -> None:
    """What a policy does not say is as for every request; a tag of the same name is replaced in its place."""
    plan = plan_of("""
  sampling: {policy: always_off}
  custom_tags: [{tag: a, literal: {value: 1}}, {tag: b, literal: {value: x}}]
  policies:
    - {}
    - name: own
      sampling: {policy: always_on}
      custom_tags: [{tag: c, literal: {value: 2.5}}, {tag: a, query: q}]
      span_name: "GET {x}"
""")
    a, b = Tag("a", TagSource.CONSTANT, default=1), Tag("b", TagSource.CONSTANT, default="x")
    own = (Tag("a", TagSource.QUERY, "q"), b, Tag("c", TagSource.CONSTANT, default=2.5))

    assert ("policies[0]", 0, plan.default.sampler, (a, b)) == (
        plan.policies[0].name,
        plan.policies[0].index,
        plan.policies[0].sampler,
        plan.policies[0].tags,
    )
    assert Policy("own", 1, ALWAYS_ON, tags=own, span_name="GET {x}") == plan.policies[1]


def test_match_and_exclude() -> None:
    """Header names are in lower case; `not` becomes what is excluded; an empty match is everything."""
    plan = plan_of("""{policies: [
        {match: {headers: {X-Tier: gold, ':path': {prefix: /a}}, query: {Page: 1}, not: {method: get}}},
        {match: {}}]}""")

    headers = (("x-tier", StringMatch(Operator.EXACT, "gold")), (":path", StringMatch(Operator.PREFIX, "/a")))
    expected = Match(headers=headers, query=(("Page", StringMatch(Operator.EXACT, "1")),))
    assert expected == plan.policies[0].match
    assert Match(methods=frozenset({"GET"})) == plan.policies[0].exclude
    assert (Match(), Match()) == (plan.policies[1].match, plan.policies[1].exclude)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("request_header: {name: X-A}", Tag("t", TagSource.REQUEST_HEADER, "x-a")),
        ("response_header: {name: x-a, default_value: d}", Tag("t", TagSource.RESPONSE_HEADER, "x-a", default="d")),
        ("literal: {value: 5}", Tag("t", TagSource.CONSTANT, default=5)),
        ("attribute: source.address", Tag("t", TagSource.ATTRIBUTE, "source.address")),
        ("query: Page", Tag("t", TagSource.QUERY, "Page")),
        ("cookie: Plan", Tag("t", TagSource.COOKIE, "Plan")),
        (
            "metadata: {kind: {request: {}}, metadata_key: {key: jwt, path: [{key: a}, {key: b}]}, default_value: d}",
            Tag("t", TagSource.METADATA, "jwt", ("a", "b"), "d"),
        ),
        (
            "request_header: {name: Authorization}, hash: sha256",
            Tag("t", TagSource.REQUEST_HEADER, "authorization", transform=Transform.SHA256),
        ),
        ("cookie: plan, redact: true", Tag("t", TagSource.COOKIE, "plan", transform=Transform.REDACT)),
        ("literal: {value: a}, hash: sha256", Tag("t", TagSource.CONSTANT, default=sha256(b"a").hexdigest())),
    ],
)
def test_tag(item: str, expected: Tag) -> None:
    """Each source becomes the Plan's."""
    assert (expected,) == tag_of(item)


def test_environment_is_read_at_load() -> None:
    """A variable is a constant, its default stands in for it, and without both the tag is left out."""
    environ = {"REGION": "eu", "EMPTY": ""}

    assert (Tag("t", TagSource.CONSTANT, default="eu"),) == tag_of("environment: {name: REGION}", environ)
    assert (Tag("t", TagSource.CONSTANT, default=""),) == tag_of("environment: {name: EMPTY}", environ)
    assert () == tag_of("environment: {name: NONE}", environ)
    assert (Tag("t", TagSource.CONSTANT, default="d"),) == tag_of(
        "environment: {name: NONE, default_value: d}, redact: true", environ
    )


def test_environment_that_is_no_text_can_be_sent() -> None:
    """What no UTF-8 can say is replaced, so that nothing fails at the first request."""
    assert (Tag("t", TagSource.CONSTANT, default="a?"),) == tag_of("environment: {name: X}", {"X": "a\udcff"})


def test_constants_are_transformed_as_the_engine_would() -> None:
    """A redacted variable reads like a redacted header."""
    tags = tag_of("environment: {name: TOKEN}, redact: true", {"TOKEN": "secret"})

    assert ENGINE_REDACTED == REDACTED
    assert (Tag("t", TagSource.CONSTANT, default=REDACTED),) == tags


def test_unset_variable_of_a_policy_hides_the_tag_of_all() -> None:
    """A policy's tag replaces the one for every request even where it has no value itself."""
    plan = plan_of("""{custom_tags: [{tag: a, literal: {value: 1}}],
        policies: [{custom_tags: [{tag: a, environment: {name: NONE}}]}]}""")

    assert () == plan.policies[0].tags


def test_path_capture_in_a_tag() -> None:
    """A tag may take what the policy's own path captures."""
    plan = plan_of("{policies: [{match: {path: '/o/{id}'}, custom_tags: [{tag: o, path: id}]}]}")

    assert (Tag("o", TagSource.PATH, "id"),) == plan.policies[0].tags
