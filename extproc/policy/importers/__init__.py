"""Sampling rules of other systems as policy files."""

from collections.abc import Callable
from typing import Final

from extproc.policy.importers import datadog, jaeger, otel, xray
from extproc.policy.importers.imported import Imported
from extproc.policy.importers.node import Node
from extproc.policy.importers.render import as_yaml
from extproc.policy.problems import START, Finding, PolicyError, Problem, path_text
from extproc.policy.source import decode
from extproc.policy.yaml_reader import parse

FORMATS: Final[dict[str, Callable[[Node], Imported]]] = {
    "jaeger": jaeger.read,
    "xray": xray.read,
    "datadog": datadog.read,
    "otel": otel.read,
}
"""What can be read: Jaeger's strategies, X-Ray's rules, DD_TRACE_SAMPLING_RULES, OpenTelemetry's configuration."""

_WHOLE = "document"


def import_text(content: bytes, name: str, kind: str) -> str:
    """The policy file that says what the rules in `content` say; `kind` is one of FORMATS.

    Raises:
        PolicyError: with every problem in the text, in file order; `name` is what they call the file.
    """
    text = decode(content)
    if isinstance(text, Finding):
        place = text.place or START
        raise PolicyError([Problem(name, *place, _WHOLE, text.message)])
    tree = parse(text)
    root = Node(tree.data)
    found = None if tree.broken else FORMATS[kind](root)
    findings = [*tree.findings, *root.wrong]
    if found is not None and not findings:
        return as_yaml(found)
    places = [(finding.place or tree.place(finding.path), finding) for finding in dict.fromkeys(findings)]
    problems = [Problem(name, *place, _path(finding), finding.message) for place, finding in places]
    raise PolicyError(sorted(problems, key=lambda problem: (problem.line, problem.column)))


def _path(finding: Finding) -> str:
    return path_text(finding.path) if finding.path else _WHOLE
