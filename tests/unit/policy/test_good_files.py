"""The guide's files, the examples and the documentation load."""

import re
from pathlib import Path

import pytest

from extproc.policy.document import (
    Audit,
    Boost,
    BoostWhen,
    CustomTag,
    Keep,
    Match,
    Model,
    Operators,
    Policy,
    Sampling,
    Share,
    Spans,
    Tracing,
    by_key,
)
from extproc.policy.load import load, load_text
from extproc.policy.plan import Keep as PlanKeep
from extproc.policy.plan import Plan, SamplerKind, SpansMode
from extproc.policy.yaml_reader import parse

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "tests" / "data" / "guide"
EXAMPLES = sorted((ROOT / "policies").glob("*.yaml"))
PAGES = [ROOT / "docs" / "policy.md", ROOT / "README.md"]
BLOCKS = [block for page in PAGES for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]


@pytest.mark.parametrize("name", ["envoy-tracing-policy.configmap.yaml", "tracing-policy.yaml"])
def test_guides_policies_load(name: str) -> None:
    """The guide's tracing policy means the same as a ConfigMap and as the text in it."""
    plan = load(GUIDE / name)

    assert [0.1, 0.2, 0.15] == [policy.sampler.probability for policy in plan.policies]
    assert ["/api/*", "*", "*"] == [policy.path_template for policy in plan.policies]
    assert SamplerKind.ALWAYS_ON == plan.default.sampler.kind


@pytest.mark.parametrize("name", ["service-tracing-config.configmap.yaml", "tracing.yaml"])
def test_guides_service_configuration_loads(name: str) -> None:
    """The guide's service configuration means the same as a ConfigMap and as the text in it."""
    plan = load(GUIDE / name)

    assert plan.collector is not None
    assert ("otel-collector:4317", True) == (plan.collector.endpoint, plan.collector.insecure)
    assert ("service.name", "go-envoy-app") == plan.attributes[0]
    assert 0.1 == plan.default.sampler.probability


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_example_loads(file: Path) -> None:
    """Every example can be used as it is."""
    assert isinstance(load(file), Plan)


def test_example_of_our_own_spans_keeps_failures() -> None:
    """policies/emit.yaml emits spans, and keeps those of failed requests, or of slow ones too."""
    plan = load(ROOT / "policies" / "emit.yaml")

    assert SpansMode.EMIT == plan.mode
    assert [None, PlanKeep((500, 599)), PlanKeep((500, 599), 2.0)] == [policy.keep for policy in plan.policies]


def test_documentation_has_examples() -> None:
    """The blocks that the next test reads were found."""
    assert len(PAGES) < len(BLOCKS)


@pytest.mark.parametrize("block", BLOCKS)
def test_block_of_documentation_loads(block: str) -> None:
    """Every YAML block in docs/policy.md and README.md is a policy file."""
    assert isinstance(load_text(block.encode(), "docs/policy.md", {}), Plan)


@pytest.mark.parametrize(
    "model", [Tracing, Policy, Match, Sampling, Spans, CustomTag, Operators, Keep, Audit, Boost, BoostWhen, Share]
)
def test_complete_example_has_every_key(model: type[Model]) -> None:
    """policies/complete.yaml and docs/policy.md name every key there is."""
    example = (ROOT / "policies" / "complete.yaml").read_text(encoding="utf-8")
    text = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")

    assert set() == {key for key in by_key(model) if f"{key}:" not in example}
    assert set() == {key for key in by_key(model) if key not in text}


def test_every_key_is_described() -> None:
    """Each field says what it is for: a JSON schema is made from that."""
    schema = Tracing.model_json_schema()
    models = [schema, *schema["$defs"].values()]

    properties = [item for model in models for item in model.get("properties", {}).items()]

    assert [] == [key for key, value in properties if "description" not in value]


def test_file_with_windows_line_ends_and_mark_loads() -> None:
    """A byte order mark and CRLF change nothing."""
    text = (ROOT / "policies" / "starter.yaml").read_bytes()
    marked = b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")

    assert parse(text.decode()).data == parse(marked.decode("utf-8-sig")).data
    assert load_text(text, "a", {}).policies == load_text(marked, "b", {}).policies


def test_json_is_yaml() -> None:
    """A policy may be written as JSON."""
    plan = load_text(b'{"tracing": {"sampling": {"ratio": 0.5}}}', "policy.json", {})

    assert 0.5 == plan.default.sampler.probability
