"""What `extproc check` can say: a stable code for each kind of mistake, for filters, suppressions and docs/lint.md."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """An ERROR keeps a file from being used; a WARNING is about a file that does something else than it seems to."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of mistake. `name` is for people, `summary` one sentence."""

    code: str
    name: str
    severity: Severity
    summary: str

    @property
    def anchor(self) -> str:
        """Where it is explained."""
        return f"docs/lint.md#{self.code.lower()}"


UNREADABLE: Final = "EP001"
YAML: Final = "EP002"
VALUE: Final = "EP003"
CONTRADICTION: Final = "EP004"
UNREACHABLE: Final = "EP101"
DUPLICATE: Final = "EP102"
NEVER: Final = "EP103"
STRIPPED_HEADER: Final = "EP104"
CONSTANT_RATIO: Final = "EP201"
LOST_THRESHOLD: Final = "EP202"
PARENT_IGNORED: Final = "EP203"
REPEATED_TAG: Final = "EP301"
RESERVED_TAG: Final = "EP302"
SHADOWING_TAG: Final = "EP303"
EXPOSED_HEADER: Final = "EP304"
CARDINALITY: Final = "EP401"


def _error(code: str, name: str, summary: str) -> Rule:
    return Rule(code, name, Severity.ERROR, summary)


def _warning(code: str, name: str, summary: str) -> Rule:
    return Rule(code, name, Severity.WARNING, summary)


RULES: Final = (
    _error(UNREADABLE, "unreadable-file", "The file cannot be read, or is no text."),
    _error(YAML, "yaml", "The file is no YAML that a policy can be written in."),
    _error(VALUE, "value", "A key is unknown or missing, or its value is of another kind."),
    _error(CONTRADICTION, "contradiction", "Two keys, each right by itself, do not go together."),
    _warning(UNREACHABLE, "unreachable-policy", "Earlier policies decide on every request that this one matches."),
    _warning(DUPLICATE, "duplicate-policy", "An earlier policy matches exactly the same requests."),
    _warning(NEVER, "match-never-holds", "No request can fulfil a condition."),
    _warning(STRIPPED_HEADER, "stripped-header", "Envoy takes this header off before extproc sees the request."),
    _warning(CONSTANT_RATIO, "constant-ratio", "A probabilistic sampler that keeps every trace, or none."),
    _warning(LOST_THRESHOLD, "lost-threshold", "This sampler's traces carry no probability in tracestate."),
    _warning(PARENT_IGNORED, "parent-ignored", "Envoy follows a caller's decision, although the policy says not to."),
    _error(REPEATED_TAG, "repeated-tag", "A tag's name stands twice in one list."),
    _error(RESERVED_TAG, "reserved-tag", "A tag's name is one that the filter itself answers."),
    _warning(SHADOWING_TAG, "shadowing-tag", "A tag takes the place of one that the span has anyway."),
    _error(EXPOSED_HEADER, "exposed-header", "A tag shows a header that gives access to something."),
    _warning(CARDINALITY, "cardinality", "There is more to tell apart than a metric or a sampler can."),
)

BY_CODE: Final = {rule.code: rule for rule in RULES}
