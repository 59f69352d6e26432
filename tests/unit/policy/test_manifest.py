"""A policy is found among several documents, and its problems stand where they are in the whole file."""

import pytest

from extproc.policy.load import load_text
from extproc.policy.problems import PolicyError

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: extproc}\n"
OTHER = "kind: ConfigMap\ndata:\n  collector.yaml: |\n    receivers: {otlp: {}}\n"
POLICY = "kind: ConfigMap\nmetadata: {name: policy}\ndata:\n  policy.yaml: |\n    tracing:\n      enabled: ENABLED\n"
MESSAGE = "m.yaml:1:1: tracing: expected one ConfigMap with a policy, got {}; try a file of its own for each policy"


def manifest(*documents: str) -> bytes:
    """The documents as one file."""
    return "---\n".join(documents).encode()


def problems(text: bytes) -> list[str]:
    """What is wrong with a file."""
    with pytest.raises(PolicyError) as error:
        load_text(text, "m.yaml", {})
    return [str(problem) for problem in error.value.problems]


def test_the_configmap_among_other_documents() -> None:
    """What `kubectl kustomize` prints is a policy file if one of its ConfigMaps holds a policy."""
    assert not load_text(manifest(SERVICE, OTHER, POLICY.replace("ENABLED", "false"), SERVICE), "m.yaml", {}).enabled


@pytest.mark.parametrize("before", ["", "# a comment\n", "\n\n", "%YAML 1.1\n"])
def test_places_are_those_of_the_whole_file(before: str) -> None:
    """A mistake in the third document has the line that an editor shows, whatever stands above."""
    text = before.encode() + b"---\n" + manifest(SERVICE, OTHER, POLICY.replace("ENABLED", "1"))
    line = before.count("\n") + 1 + 4 + 5 + 6

    assert [f"m.yaml:{line}:7: enabled: expected true or false, got 1; try enabled: true"] == problems(text)


def test_documents_end_at_their_marker_whatever_is_open() -> None:
    """A literal block does not go on behind a --- that begins a line; one that is indented is text."""
    text = manifest("kind: ConfigMap\ndata:\n  a.yaml: |\n    ---\n    tracing: {policies: [{}]}\n", SERVICE)

    assert 1 == len(load_text(text, "m.yaml", {}).policies)


def test_one_document_after_comments_is_no_manifest() -> None:
    """A marker at the top of a plain policy file changes nothing."""
    assert 1 == len(load_text(b"# mine\n---\ntracing: {policies: [{}]}\n", "m.yaml", {}).policies)


def test_two_policies_are_one_too_many() -> None:
    """Which of two policies is meant is not guessed."""
    policy = POLICY.replace("ENABLED", "true")

    assert [MESSAGE.format("2 in 3 ConfigMaps")] == problems(manifest(OTHER, policy, policy))


def test_no_policy_among_several_configmaps() -> None:
    """It is said once that there is none, where the first ConfigMap stands."""
    assert [MESSAGE.format("none in 2 ConfigMaps")] == problems(manifest(OTHER, OTHER))


def test_a_policy_with_a_syntax_error_is_the_one_that_is_meant() -> None:
    """Beside a ConfigMap of something else, the text that cannot be read is reported."""
    found = problems(manifest(OTHER, POLICY.replace("ENABLED", "[")))

    assert 1 == len(found)
    assert found[0].startswith("m.yaml:12:5: tracing: expected valid YAML")


def test_a_configmap_with_a_syntax_error_of_its_own() -> None:
    """A document that is broken outside of its texts is reported, with its line."""
    found = problems(manifest(SERVICE, "kind: ConfigMap\ndata: {\n"))

    assert 1 == len(found)
    assert found[0].startswith("m.yaml:7:1: tracing: expected valid YAML")


def test_documents_without_a_configmap() -> None:
    """Several plain documents are still refused, where the second one begins."""
    assert [
        "m.yaml:2:1: tracing: expected one document, got a second one after '---'; try a file of its own for it"
    ] == (problems(b"tracing: {}\n---\ntracing: {}\n"))
