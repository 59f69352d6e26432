"""Document to Plan: every default filled in, every inheritance carried out. It cannot fail."""

from collections.abc import Mapping

from extproc.policy import document
from extproc.policy.plan import (
    DEFAULT_POLICY,
    Adaptive,
    Audit,
    AuditFile,
    Boost,
    Collector,
    Keep,
    Match,
    Plan,
    Policy,
    Sampler,
    SamplerKind,
    Share,
    SpansMode,
    StringMatch,
    Tag,
)
from extproc.policy.tags import compiled_tag

_EVERYTHING = Match()
_NEVER = 2**56
_AUDIT_BYTES = 16 << 20
_AUDIT_BACKUPS = 7
_USER_TAG = "user_id"
_CPU_LOW, _CPU_HIGH = 0.2, 0.8
_BOOST_WINDOW, _BOOST_SECONDS, _BOOST_COOLDOWN = 30.0, 60.0, 300.0
_CPU_SECONDS, _TARGET_SECONDS = 60.0, 10.0
_ALWAYS_ON = Sampler(SamplerKind.ALWAYS_ON, 1.0, 0)
"""As in OpenTelemetry's SDKs: where nothing is said, every trace is kept."""


def compiled(tracing: document.Tracing, environ: Mapping[str, str], digest: str) -> Plan:
    """The Plan of a document without mistakes."""
    sampler = _sampler(tracing.sampling) if tracing.sampling else _ALWAYS_ON
    tags = _tags(tracing.custom_tags, {}, environ)
    merged = _present(tags)
    policies = []
    for index, policy in enumerate(tracing.policies):
        own = _present(_tags(policy.custom_tags, tags, environ)) if policy.custom_tags else merged
        policies.append(_policy(policy, index, sampler, own))
    return Plan(
        policies=tuple(policies),
        default=Policy(DEFAULT_POLICY, -1, sampler, tags=merged),
        enabled=tracing.enabled,
        mode=SpansMode(tracing.spans.mode),
        collector=_collector(tracing.collector),
        attributes=tuple(tracing.attributes.items()),
        audit=_audit(tracing.audit),
        share=Share(tracing.share.replicas, tracing.share.store) if tracing.share else Share(),
        digest=digest,
    )


def threshold(ratio: float) -> int:
    """T of OpenTelemetry's consistent probability sampling: of the 2^56 values of R, the share `ratio` is >= T."""
    return _NEVER - round(ratio * _NEVER)


def _policy(policy: document.Policy, index: int, default: Sampler, tags: tuple[Tag, ...]) -> Policy:
    match = policy.match
    return Policy(
        name=policy.name or f"policies[{index}]",
        index=index,
        sampler=_sampler(policy.sampling) if policy.sampling else default,
        match=_match(match) if match else _EVERYTHING,
        exclude=_match(match.not_) if match and match.not_ else _EVERYTHING,
        tags=tags,
        span_name=policy.span_name,
        keep=Keep(policy.keep.status, policy.keep.latency) if policy.keep else None,
        audit=policy.audit,
        until=policy.until,
        dry_run=policy.dry_run,
        boost=_boost(policy.boost) if policy.boost else None,
    )


def _match(conditions: document.Conditions) -> Match:
    return Match(
        path=conditions.path,
        service=conditions.service,
        methods=conditions.method or frozenset(),
        host=conditions.host,
        headers=_strings(conditions.headers),
        query=_strings(conditions.query),
    )


def _strings(values: dict[str, StringMatch] | None) -> tuple[tuple[str, StringMatch], ...]:
    return tuple(values.items()) if values else ()


def _sampler(sampling: document.Sampling) -> Sampler:
    respect_parent = sampling.parent == "respect"
    kind = SamplerKind(sampling.policy or "probabilistic")
    if kind is SamplerKind.ALWAYS_ON:
        return Sampler(kind, 1.0, 0, respect_parent)
    if kind is SamplerKind.ALWAYS_OFF:
        return Sampler(kind, 0.0, _NEVER, respect_parent)
    if kind is SamplerKind.ADAPTIVE:
        return _adaptive(sampling, respect_parent=respect_parent)
    ratio, rate, burst = float(sampling.ratio or 0), sampling.traces_per_second, None
    if kind is SamplerKind.RATE_LIMITED:
        burst = float(sampling.burst or max(1.0, rate or 0))
    return Sampler(kind, ratio, threshold(ratio), respect_parent, rate, burst)


def _adaptive(sampling: document.Sampling, *, respect_parent: bool) -> Sampler:
    target = sampling.target_traces_per_second
    low = 0.0 if sampling.min_ratio is None else sampling.min_ratio
    high = 1.0 if sampling.max_ratio is None else sampling.max_ratio
    first, cpu = high, None
    if target is None:
        first = sampling.base_ratio or 0.0
        cpu = (
            _CPU_LOW if sampling.cpu_low is None else sampling.cpu_low,
            _CPU_HIGH if sampling.cpu_high is None else sampling.cpu_high,
        )
    interval = sampling.update_interval or (_CPU_SECONDS if target is None else _TARGET_SECONDS)
    adaptive = Adaptive(low, high, interval, cpu, tuple(sampling.key or ()))
    return Sampler(SamplerKind.ADAPTIVE, first, threshold(first), respect_parent, target, adaptive=adaptive)


def _boost(boost: document.Boost) -> Boost:
    ratio = 1.0 if boost.ratio is None else boost.ratio
    return Boost(
        boost.when.status,
        boost.when.above,
        boost.when.window or _BOOST_WINDOW,
        ratio,
        threshold(ratio),
        boost.for_ or _BOOST_SECONDS,
        boost.cooldown or _BOOST_COOLDOWN,
    )


def _collector(collector: document.Collector | None) -> Collector | None:
    return Collector(collector.endpoint, collector.insecure) if collector else None


def _audit(audit: document.Audit | None) -> Audit | None:
    if audit is None:
        return None
    file = None
    if audit.file is not None:
        file = AuditFile(audit.file, audit.max_bytes or _AUDIT_BYTES, audit.backups or _AUDIT_BACKUPS)
    return Audit(audit.user_tag or _USER_TAG, file)


def _tags(
    own: list[document.CustomTag], inherited: Mapping[str, Tag | None], environ: Mapping[str, str]
) -> dict[str, Tag | None]:
    """The tags by name, those of the same name replaced. None is a tag that has no value in this environment."""
    return {**inherited, **{tag.tag: compiled_tag(tag, environ) for tag in own}}


def _present(tags: Mapping[str, Tag | None]) -> tuple[Tag, ...]:
    return tuple([tag for tag in tags.values() if tag is not None])
