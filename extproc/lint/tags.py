"""Tags that hide others, or that no request gives a value."""

from collections.abc import Iterator

from extproc.lint import arrival
from extproc.lint.entry import Entry
from extproc.policy.codes import SHADOWING_TAG, STRIPPED_HEADER
from extproc.policy.plan import SpansMode
from extproc.policy.problems import Finding, Path, sentence, shown

ENVOYS_TAGS = frozenset(
    {
        "component",
        "downstream_cluster",
        "guid:x-request-id",
        "http.method",
        "http.protocol",
        "http.status_code",
        "http.url",
        "node_id",
        "peer.address",
        "request_size",
        "response_flags",
        "response_size",
        "upstream_cluster",
        "upstream_cluster.name",
        "user_agent",
        "zone",
    }
)
"""What Envoy 1.40 itself writes on each of its spans; tests/integration/test_lint_facts.py looks."""

OUR_ATTRIBUTES = frozenset(
    {
        "client.address",
        "client.port",
        "error.type",
        "http.request.method",
        "http.request.method_original",
        "http.response.status_code",
        "http.route",
        "server.address",
        "server.port",
        "url.path",
        "url.scheme",
        "user_agent.original",
    }
)
"""What spans of our own have by OpenTelemetry's conventions for HTTP: see engine/span."""

_SOURCES = {"request_header": arrival.comes_with_requests, "response_header": arrival.comes_with_responses}


def tag_findings(entry: Entry, mode: SpansMode) -> Iterator[Finding]:
    """What is odd in the policy's own `custom_tags`."""
    taken, owner = (OUR_ATTRIBUTES, "extproc") if mode is SpansMode.EMIT else (ENVOYS_TAGS, "Envoy")
    for tag, path in entry.tags():
        if tag["tag"] in taken:
            got = f"{shown(tag['tag'])}, which {owner} itself writes there"
            message = sentence("a name that spans do not have yet", got, f"tag: my.{tag['tag']}")
            yield Finding((*path, "tag"), message, code=SHADOWING_TAG)
        for source, comes in _SOURCES.items():
            if source in tag and not comes(tag[source]["name"].lower()):
                yield _stripped(tag[source]["name"], (*path, source, "name"))


def _stripped(name: str, path: Path) -> Finding:
    advice = 'name: ":authority"' if name.lower() == "host" else "another header"
    return Finding(path, sentence("a header that Envoy passes on", shown(name), advice), code=STRIPPED_HEADER)
