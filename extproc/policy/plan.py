"""The Plan: a policy file fully resolved into plain data, the contract between the cold half and the hot half.

Nothing here knows YAML or pydantic, and nothing holds a closure or a compiled regex: a Plan can be pickled, compared
and serialized, and any engine that reads it must reach the same decisions as `extproc.engine`.
"""

from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_POLICY = "default"
"""How metrics and `explain` name the decision for a request that no policy matches."""

ANY_PATH = "*"
"""The path template of a policy that names no path, and of a request that no policy matches."""


class SpansMode(StrEnum):
    """Whose spans carry the tags: Envoy's own, or ours where Envoy's can't be used."""

    ANNOTATE = "annotate"
    EMIT = "emit"


class Operator(StrEnum):
    """How a string is compared. An absent string satisfies ABSENT and nothing else."""

    EXACT = "exact"
    GLOB = "glob"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"
    PRESENT = "present"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class StringMatch:
    """One comparison of one string.

    `operand` is the text to compare with (RE2 syntax, matching the whole string, for REGEX; empty for PRESENT and
    ABSENT). `chunks` holds a GLOB split at its `*`, so `a*b` is ("a", "b"): always two or more.
    """

    operator: Operator
    operand: str = ""
    chunks: tuple[str, ...] = ()


class SegmentKind(StrEnum):
    """What one segment of a path pattern accepts. None accepts an empty segment but an empty LITERAL."""

    LITERAL = "literal"
    ANY = "any"
    GLOB = "glob"
    CAPTURE = "capture"


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a path pattern: `text` is the literal or the capture's name, `chunks` as in StringMatch."""

    kind: SegmentKind
    text: str = ""
    chunks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path glob, split at `/` after its leading slash.

    `/api/*/x` is head=(api, any, x). `rest` says that any number of segments may follow `head` (`**`), then `tail`.
    A trailing `/*` means `/**` but asks for the slash before the rest: `minimum_rest` is 1 there, else 0.
    """

    template: str
    head: tuple[Segment, ...]
    rest: bool = False
    minimum_rest: int = 0
    tail: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """The fields of one `match` block; an absent field is None or empty.

    Which of them must hold is the reader's rule: all of them in `Policy.match`, none of them in `Policy.exclude`.
    `service` is compared with `_` read as `-`, `host` in lower case and without its port; `methods` are in upper case,
    header names in lower case. Several values of one header are compared joined by `,`, as Envoy does.
    """

    path: PathPattern | None = None
    service: StringMatch | None = None
    methods: frozenset[str] = frozenset()
    host: StringMatch | None = None
    headers: tuple[tuple[str, StringMatch], ...] = ()
    query: tuple[tuple[str, StringMatch], ...] = ()


class SamplerKind(StrEnum):
    """How a new trace is decided."""

    ALWAYS_ON = "always_on"
    ALWAYS_OFF = "always_off"
    PROBABILISTIC = "probabilistic"
    RATE_LIMITED = "rate_limited"
    RESERVOIR = "reservoir"
    ADAPTIVE = "adaptive"


@dataclass(frozen=True, slots=True)
class Adaptive:
    """How ADAPTIVE moves its probability between `min_ratio` and `max_ratio`, once in `interval_seconds`.

    With `cpu`, by the load of the processor: the shares of its time below and above which it is quiet or busy. Without,
    so that the sampler's rate is kept, over all requests or by what `key` names: path, service, method or a tag.
    """

    min_ratio: float
    max_ratio: float
    interval_seconds: float
    cpu: tuple[float, float] | None = None
    key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampling policy.

    `probability` is the share of new traces that is kept whatever went before: 1 for ALWAYS_ON, 0 for ALWAYS_OFF and
    for RATE_LIMITED, for RESERVOIR what it keeps beyond the first of each second, for ADAPTIVE where it begins.
    `threshold` is T of OpenTelemetry's consistent probability sampling, 0 … 2^56: keep a trace whose R >= T.
    RATE_LIMITED, RESERVOIR and ADAPTIVE with a target have a `rate`, in traces per second; `burst` are the tokens that
    RATE_LIMITED saves.
    """

    kind: SamplerKind
    probability: float
    threshold: int
    respect_parent: bool = True
    rate: float | None = None
    burst: float | None = None
    adaptive: Adaptive | None = None

    def settings(self) -> dict[str, str | float | list[str]]:
        """What a policy file would say, the ratio of every sampler that has a fixed one among it."""
        said: dict[str, str | float | list[str]] = {"policy": self.kind.value}
        if self.adaptive is not None:
            said |= self._adaptive(self.adaptive)
        elif self.kind is not SamplerKind.RATE_LIMITED:
            said["ratio"] = self.probability
        if self.rate is not None:
            said["traces_per_second" if self.adaptive is None else "target_traces_per_second"] = self.rate
        if self.burst is not None:
            said["burst"] = self.burst
        return said | {"parent": "respect" if self.respect_parent else "ignore"}

    def _adaptive(self, adaptive: Adaptive) -> dict[str, str | float | list[str]]:
        said: dict[str, str | float | list[str]] = {"min_ratio": adaptive.min_ratio, "max_ratio": adaptive.max_ratio}
        if adaptive.cpu is not None:
            low, high = adaptive.cpu
            said |= {"base_ratio": self.probability, "cpu_low": f"{low * 100:g}%", "cpu_high": f"{high * 100:g}%"}
        if adaptive.key:
            said["key"] = list(adaptive.key)
        return said | {"update_interval": f"{adaptive.interval_seconds:g}s"}


class TagSource(StrEnum):
    """Where a tag's value comes from."""

    CONSTANT = "constant"
    REQUEST_HEADER = "request_header"
    RESPONSE_HEADER = "response_header"
    METADATA = "metadata"
    ATTRIBUTE = "attribute"
    PATH = "path"
    QUERY = "query"
    COOKIE = "cookie"


class Transform(StrEnum):
    """What is done to a value before it leaves; a default value stays as it is."""

    NONE = "none"
    REDACT = "redact"
    SHA256 = "sha256"


@dataclass(frozen=True, slots=True)
class Tag:
    """One span tag.

    `key` is the header (lower case), attribute, capture, query parameter, cookie or metadata namespace, by `source`;
    `metadata_path` leads to the value inside that namespace. A CONSTANT (a literal, or the environment read at load)
    has its value in `default`; for the others `default` stands in for a missing value, and None leaves the tag out.
    """

    name: str
    source: TagSource
    key: str = ""
    metadata_path: tuple[str, ...] = ()
    default: str | float | None = None
    transform: Transform = Transform.NONE

    @property
    def in_response(self) -> bool:
        """Whether the value is known only once response headers have arrived."""
        if self.source is TagSource.ATTRIBUTE:
            return self.key.startswith(("response.", "upstream."))
        return self.source is TagSource.RESPONSE_HEADER


@dataclass(frozen=True, slots=True)
class Keep:
    """What makes a response worth a span although its trace was not sampled: either condition is enough.

    `statuses` are the lowest and the highest status code, inclusive; `over_seconds` is a duration to be exceeded. None
    is no condition.
    """

    statuses: tuple[int, int] | None = None
    over_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Boost:
    """When and for how long a policy keeps more traces.

    When of the responses of the last `window_seconds` more than the share `above` has a status from the first to the
    last of `statuses`, new traces are kept with at least `ratio`, whose T is `threshold`, for `seconds`. Another boost
    begins `cooldown_seconds` after that at the earliest.
    """

    statuses: tuple[int, int]
    above: float
    window_seconds: float
    ratio: float
    threshold: int
    seconds: float
    cooldown_seconds: float


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy, or the default decision (`index` -1, matching everything).

    A request is the policy's when all of `match` and none of `exclude` holds. `tags` are those for every request and
    the policy's own, one per name. `audit` says whether each of its requests leaves an audit record; Plan.audit is
    there then. From `until`, in Unix seconds, on it matches nothing. With `dry_run` its decision is made, counted and
    told, but requests are another's: that of the first policy after it that matches and is no dry run.
    """

    name: str
    index: int
    sampler: Sampler
    match: Match = field(default_factory=Match)
    exclude: Match = field(default_factory=Match)
    tags: tuple[Tag, ...] = ()
    span_name: str | None = None
    keep: Keep | None = None
    audit: bool = False
    until: float | None = None
    dry_run: bool = False
    boost: Boost | None = None

    @property
    def path_template(self) -> str:
        """The `path` of this policy's metrics: bounded by the file, never taken from a request."""
        return self.match.path.template if self.match.path else ANY_PATH


@dataclass(frozen=True, slots=True)
class Collector:
    """Where OTLP goes when no OTEL_EXPORTER_OTLP_* variable says so. `endpoint` is host:port or a URL."""

    endpoint: str
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class AuditFile:
    """A file of JSON lines: never larger than `max_bytes`, with at most `backups` older ones beside it."""

    path: str
    max_bytes: int
    backups: int


@dataclass(frozen=True, slots=True)
class Audit:
    """Where audit records go: to `file`, or as OTLP logs where that is None. `user_tag` names the tag that says who."""

    user_tag: str
    file: AuditFile | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """How many replicas share each policy's rate. One has it all.

    With `store`, the URL of a Redis, they share by their traffic; without, or while that is away, in equal parts.
    """

    replicas: int = 1
    store: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a policy file says. `digest` is the SHA-256 of the file's bytes, in hex."""

    policies: tuple[Policy, ...]
    default: Policy
    enabled: bool = True
    mode: SpansMode = SpansMode.ANNOTATE
    collector: Collector | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    audit: Audit | None = None
    share: Share = field(default_factory=Share)
    digest: str = ""
