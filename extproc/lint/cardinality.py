"""How much there is to tell apart, against how much can be told apart."""

from collections import Counter
from collections.abc import Iterator, Sequence

from extproc.lint.entry import Entry
from extproc.policy import patterns
from extproc.policy.codes import CARDINALITY
from extproc.policy.plan import Policy, SamplerKind, TagSource
from extproc.policy.problems import Finding, sentence
from extproc.telemetry.instruments import CARDINALITY_LIMIT, DECISIONS, POLICY_RATIO, REQUESTS

_FIXED = (SamplerKind.ALWAYS_ON, SamplerKind.ALWAYS_OFF)


def key_findings(entry: Entry) -> Iterator[Finding]:
    """A key with a value for each id in the path."""
    adaptive = entry.policy.sampler.adaptive
    captures = patterns.captures(entry.policy.match.path) if entry.policy.match.path else ()
    if adaptive is None or not captures or "key" not in entry.items("sampling"):
        return
    from_path = {"path", *(tag.name for tag in entry.policy.tags if tag.source is TagSource.PATH)}
    if name := next((name for name in adaptive.key if name in from_path), None):
        got = f"{name}, of which there is one for each {{{captures[0]}}}"
        message = sentence("a key with few values", got, "key: [service, method]")
        yield Finding(entry.at("sampling", "key"), message, code=CARDINALITY)


def cardinality_findings(default: Entry, policies: Sequence[Entry]) -> Iterator[Finding]:
    """The metric that is furthest beyond its limit; one set of the limit is the overflow set."""
    metric, count = _sets(entry.policy for entry in (default, *policies)).most_common(1)[0]
    limit = CARDINALITY_LIMIT - 1
    if count > limit:
        got = f"{count:,} from {len(policies):,} policies"
        expected = f"at most {limit:,} attribute sets of {metric}, beyond which they become one"
        yield Finding(
            (*default.path, "policies"), sentence(expected, got, "fewer policies with wider globs"), code=CARDINALITY
        )


def _sets(policies: Iterator[Policy]) -> Counter[str]:
    """The attribute sets that the policies alone account for, at one status and one service each."""
    found: Counter[str] = Counter()
    paths = set()
    for policy in policies:
        found[DECISIONS.name] += (1 if policy.sampler.kind in _FIXED else 2) + 2 * policy.sampler.respect_parent
        found[POLICY_RATIO.name] += 1
        paths |= {(policy.path_template, method) for method in policy.match.methods or {""}}
    found[REQUESTS.name] = len(paths)
    return found
