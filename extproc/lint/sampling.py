"""Samplers that do something else than they say."""

from collections.abc import Iterator

from extproc.lint.entry import Entry
from extproc.policy.codes import CONSTANT_RATIO, LOST_THRESHOLD, PARENT_IGNORED
from extproc.policy.plan import Sampler, SamplerKind, SpansMode
from extproc.policy.problems import Finding, sentence, shown

_ALL = 0
_NONE = 2**56


def sampling_findings(entry: Entry, mode: SpansMode) -> Iterator[Finding]:
    """What is odd in the policy's own `sampling`."""
    written = entry.items("sampling")
    sampler = entry.policy.sampler
    if not written:
        return
    if sampler.kind is SamplerKind.PROBABILISTIC and sampler.threshold in {_ALL, _NONE}:
        advice = "policy: always_off" if sampler.threshold else "policy: always_on"
        message = sentence("a ratio between 0 and 1 with policy: probabilistic", shown(written["ratio"]), advice)
        yield Finding(entry.at("sampling", "ratio"), message, code=CONSTANT_RATIO)
    if mode is SpansMode.EMIT and _loses_threshold(sampler):
        expected = "a sampler whose probability is known, for th in tracestate"
        message = sentence(expected, str(sampler.kind), "policy: reservoir with a ratio above 0")
        yield Finding(entry.at("sampling", "policy"), message, code=LOST_THRESHOLD)
    if mode is SpansMode.ANNOTATE and not sampler.respect_parent:
        expected = "parent: respect behind an edge, where Envoy's spans follow the caller's decision"
        message = sentence(expected, "ignore", "it with `extproc envoy --edge` alone")
        yield Finding(entry.at("sampling", "parent"), message, code=PARENT_IGNORED)


def _loses_threshold(sampler: Sampler) -> bool:
    """Which traces a rate keeps is a matter of time, not of their randomness; only a share beside it is known."""
    if sampler.kind is SamplerKind.RESERVOIR:
        return sampler.threshold == _NONE
    return sampler.kind is SamplerKind.RATE_LIMITED
