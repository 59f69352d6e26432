"""The JSON Schema of policy files, by an independent validator: it takes what loads and refuses what is built wrong."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from extproc.cli import main
from extproc.policy.codes import UNREADABLE, YAML
from extproc.policy.load import read_text
from extproc.policy.problems import PolicyError
from extproc.policy.schema import schema
from extproc.policy.schema_rules import DEFINITIONS, KINDS
from extproc.policy.yaml_reader import parse

ROOT = Path(__file__).parents[3]
SCHEMA = schema()
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
GOOD = [
    *(ROOT / "policies").glob("*.yaml"),
    *(ROOT / "tests" / "data" / "lint").glob("*.yaml"),
    *(ROOT / "tests" / "data" / "guide").glob("*.yaml"),
]
BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{index}")
    for page in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md")
    for index, block in enumerate(
        re.findall(r"^```yaml(?: \S+)?\n(tracing:.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    )
]
BAD = sorted((ROOT / "tests" / "data" / "bad").glob("*.yaml"))
ONLY_LOADING_FINDS = {
    "endpoint_port",  # a number within a string
    "key_duplicate",  # what a parser has already made one
    "key_number",  # the same: JSON's keys are strings
    "merge_key",  # the same
    "regex",  # whether a regular expression is one
    "tag_captures",  # a name that another string has to hold
}


def loads(content: bytes) -> bool:
    """Whether the text is a policy file without mistakes."""
    try:
        read_text(content, "policy.yaml", {})
    except PolicyError:
        return False
    return True


def errors(content: bytes) -> list[str]:
    """What the validator says of the policy in a file, which may be a ConfigMap."""
    return [error.message for error in VALIDATOR.iter_errors(read_text(content, "policy.yaml", {}).tree.data)]


def test_schema_is_one() -> None:
    """It is valid by the meta-schema of JSON Schema 2020-12."""
    Draft202012Validator.check_schema(SCHEMA)

    assert "https://json-schema.org/draft/2020-12/schema" == SCHEMA["$schema"]


def test_command_prints_it() -> None:
    """`extproc schema` prints the same, alone on standard output."""
    result = CliRunner().invoke(main, ["schema"])

    assert (0, "") == (result.exit_code, result.stderr)
    assert SCHEMA == json.loads(result.stdout)


@pytest.mark.parametrize("file", GOOD, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_example_is_valid(file: Path) -> None:
    """Policies, the guide's among them, keep to the schema."""
    assert [] == errors(file.read_bytes())


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_of_the_docs_is_as_valid_as_it_loads(block: str) -> None:
    """A policy in the docs keeps to the schema, unless it shows a mistake."""
    data = parse(block).data

    assert not loads(block.encode()) or [] == [error.message for error in VALIDATOR.iter_errors(data)]


def test_the_docs_were_found() -> None:
    """The blocks of the test above are there."""
    assert 20 < len(BLOCKS)


def _structural() -> Iterator[Any]:
    """The bad files whose YAML is good."""
    for file in BAD:
        try:
            read_text(file.read_bytes(), file.name, {})
        except PolicyError as error:
            codes = {problem.code for problem in error.problems}
            if not codes & {UNREADABLE} and not parse(file.read_text("utf-8")).broken:
                yield pytest.param(file, id=file.stem)
            else:
                assert codes <= {UNREADABLE, YAML}, file


@pytest.mark.parametrize("file", list(_structural()))
def test_every_bad_file_is_refused(file: Path) -> None:
    """What is built wrong is not valid; a few mistakes are beyond a schema."""
    assert (file.stem in ONLY_LOADING_FINDS) == VALIDATOR.is_valid(parse(file.read_text("utf-8")).data)


def test_every_refinement_is_used() -> None:
    """What is added to the document's own schema is added to keys that there are."""
    definitions = SCHEMA["$defs"]

    assert set() == {(name, key) for name, key in KINDS if key not in definitions[name]["properties"]}
    assert set() == DEFINITIONS.keys() - definitions.keys()


def test_every_key_is_described() -> None:
    """An editor has something to show for each key."""
    models = [SCHEMA, *SCHEMA["$defs"].values()]
    keys = [(key, value) for model in models for key, value in model.get("properties", {}).items()]

    assert 60 < len(keys)
    assert [] == [key for key, value in keys if not value.get("description")]
    assert "null" not in json.dumps(SCHEMA)


WHERE = (
    "policies: [{name: %s}]",
    "policies: [{span_name: %s}]",
    "policies: [{until: %s}]",
    "policies: [{match: {path: %s}}]",
    "policies: [{match: {service: %s}}]",
    "policies: [{match: {host: %s}}]",
    "policies: [{match: {method: %s}}]",
    "policies: [{match: {method: [%s]}}]",
    "policies: [{match: {headers: {x: {prefix: %s}}}}]",
    "policies: [{match: {headers: {x: {exact: %s}}}}]",
    "policies: [{match: {query: {x: %s}}}]",
    "policies: [{match: {headers: {%s: a}}}]",
    "custom_tags: [{tag: %s, literal: {value: 1}}]",
    "custom_tags: [{tag: a, literal: {value: %s}}]",
    "custom_tags: [{tag: a, attribute: %s}]",
    "custom_tags: [{tag: a, cookie: %s}]",
    "custom_tags: [{tag: a, request_header: {name: %s}}]",
    "collector: {endpoint: %s}",
    "audit: {file: %s}",
    "attributes: {a: %s}",
    "spans: {mode: emit}, policies: [{keep: {status: %s}}]",
    "spans: {mode: emit}, policies: [{keep: {latency: %s}}]",
    "sampling: {ratio: %s}",
    "sampling: {policy: rate_limited, traces_per_second: %s}",
    "sampling: {policy: adaptive, target_traces_per_second: 1, update_interval: %s}",
    "sampling: {policy: adaptive, base_ratio: 0.2, min_ratio: 0.1, max_ratio: 0.3, cpu_high: %s}",
)
VALUES = st.one_of(
    st.text(max_size=6),
    st.integers(-2, 2**54),
    st.floats(allow_nan=False),
    st.booleans(),
    st.from_regex(r"\A(>=|>)?[0-9]{1,3}(\.[0-9])?(ms|s|m|xx|%|)\Z"),
    st.from_regex(r"\A(https?://|)[a-z\[\]:.]{1,8}(:[0-9]{1,5})?/?\Z"),
    st.from_regex(r"\A/[a-z*{}?#/]{0,6}\Z"),
    st.sampled_from(
        ["default", "policies[1]", "span_name", "request.headers", "source.address", "2030-01-02 03:04:05Z"]
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(WHERE), VALUES)
def test_nothing_that_loads_is_refused(where: str, value: object) -> None:
    """Whatever value a key gets, the schema takes it if loading does."""
    text = "tracing: {" + where.replace("%s", json.dumps(value)) + "}"

    if loads(text.encode()):
        assert VALIDATOR.is_valid(parse(text).data), text
