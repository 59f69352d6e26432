"""What the document's validators and `rules` ask for, in JSON Schema's words."""

from typing import Any, Final

from extproc.policy.document import CustomTag, by_key
from extproc.policy.fields import (
    ATTRIBUTE,
    DURATION,
    LARGEST_EXACT_INTEGER,
    LONGEST_TAG,
    MOMENT,
    PERCENT,
    RESERVED_TAGS,
    STATUS,
    TOKEN,
    UNNAMED,
)
from extproc.policy.plan import DEFAULT_POLICY
from extproc.policy.sampling_rules import NEEDED, ONE_MODE, POSSIBLE, RATIOS, TARGET

_Schema = dict[str, Any]

ROOT: Final[_Schema] = {"title": "extproc policy file"}


def _whole(pattern: str) -> _Schema:
    return {"pattern": f"^(?:{pattern})$"}


_PRINTABLE = _whole(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_WORD = _whole(r"[^\x00-\x20\x7f-\x9f\u2028\u2029]+")
_HEADER = _whole(f":?{TOKEN.pattern}")
_DURATION = _whole(DURATION.pattern)
_INTERVAL = _whole(DURATION.pattern.removeprefix("(?:>=|>|)"))
_STATUS = _whole(STATUS.pattern)
_PERCENT = _whole(PERCENT.pattern)
_NAME = {**_PRINTABLE, "not": {"anyOf": [{"const": DEFAULT_POLICY}, _whole(UNNAMED.pattern)]}}
_TAG = {**_PRINTABLE, "maxLength": LONGEST_TAG, "not": {"enum": list(RESERVED_TAGS)}}

KINDS: Final[dict[tuple[str, str], _Schema]] = {
    ("Audit", "file"): {**_PRINTABLE, "not": {"pattern": "/$"}},
    ("Audit", "user_tag"): _TAG,
    ("Boost", "cooldown"): _INTERVAL,
    ("Boost", "for"): _INTERVAL,
    ("BoostWhen", "above"): _PERCENT,
    ("BoostWhen", "status"): _STATUS,
    ("BoostWhen", "window"): _INTERVAL,
    ("Collector", "endpoint"): _whole(r"[^\s:/@\[\]]+:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}|https?://\S+"),
    ("CustomTag", "attribute"): {
        **_whole(ATTRIBUTE.pattern),
        "not": {"pattern": r"^(?:request\.headers|response\.headers|response\.trailers)"},
    },
    ("CustomTag", "cookie"): _whole(TOKEN.pattern),
    ("CustomTag", "query"): _PRINTABLE,
    ("CustomTag", "tag"): _TAG,
    ("EnvironmentSource", "name"): _PRINTABLE,
    ("HeaderSource", "name"): _HEADER,
    ("Keep", "latency"): _DURATION,
    ("Keep", "status"): _STATUS,
    ("LiteralSource", "value"): {"minLength": 1},
    ("MetadataKey", "key"): _PRINTABLE,
    ("MetadataStep", "key"): _PRINTABLE,
    ("Policy", "name"): _NAME,
    ("Policy", "span_name"): _PRINTABLE,
    ("Policy", "until"): _whole(MOMENT.pattern),
    ("Sampling", "cpu_high"): _PERCENT,
    ("Sampling", "cpu_low"): _PERCENT,
    ("Sampling", "update_interval"): _INTERVAL,
}
"""By definition and key, what is asked of a string there."""

for _block in ("Match", "Exclusion"):
    KINDS[_block, "path"] = _whole(r"/[^?#\x00-\x1f\x7f-\x9f\u2028\u2029]*")
    KINDS[_block, "service"] = _WORD
    KINDS[_block, "host"] = {**_whole(r"[^/\x00-\x20\x7f-\x9f\u2028\u2029]+"), "not": {"pattern": ":[0-9]+$"}}
    KINDS[_block, "method"] = _whole(TOKEN.pattern)
for _operator in ("prefix", "suffix", "contains"):
    KINDS["Operators", _operator] = {"minLength": 1}


def _sampler(policy: str) -> _Schema:
    """What stands beside `policy`."""
    keys = ["policy", "parent", *NEEDED[policy], *POSSIBLE.get(policy, ())]
    rule: _Schema = {"propertyNames": {"enum": keys}}
    if NEEDED[policy]:
        rule["required"] = list(NEEDED[policy])
    if policy == "adaptive":
        rule["oneOf"] = [
            {"required": [TARGET], "not": _any_of(ONE_MODE[TARGET])},
            {"required": list(RATIOS), "not": _any_of((TARGET, *ONE_MODE["base_ratio"]))},
        ]
    return {"if": {"properties": {"policy": {"const": policy}}, "required": ["policy"]}, "then": rule}


def _any_of(keys: tuple[str, ...]) -> _Schema:
    return {"anyOf": [{"required": [key]} for key in keys]}


_SOURCES = [key for key in by_key(CustomTag) if key not in {"tag", "redact", "hash"}]
_RATIO_ALONE = {
    "if": {"not": {"required": ["policy"]}},
    "then": {"required": ["ratio"], "propertyNames": {"enum": ["ratio", "parent"]}},
}
_FILE = {"required": ["file"], "properties": {"otlp": {"const": False}}}
_OTLP = {
    "required": ["otlp"],
    "properties": {"otlp": {"const": True}},
    "not": _any_of(("file", "max_bytes", "backups")),
}
_EMITS = {
    "required": ["spans"],
    "properties": {"spans": {"required": ["mode"], "properties": {"mode": {"const": "emit"}}}},
}

DEFINITIONS: Final[dict[str, _Schema]] = {
    "Audit": {"oneOf": [_FILE, _OTLP]},
    "CustomTag": {
        "oneOf": [{"required": [source]} for source in _SOURCES],
        "not": {"required": ["redact", "hash"], "properties": {"redact": {"const": True}}},
    },
    "Keep": {"minProperties": 1},
    "LiteralSource": {
        "allOf": [{"properties": {"value": {"minimum": -LARGEST_EXACT_INTEGER, "maximum": LARGEST_EXACT_INTEGER}}}]
    },
    "Operators": {"minProperties": 1, "maxProperties": 1},
    "Sampling": {"allOf": [_RATIO_ALONE, *map(_sampler, NEEDED)]},
    "Tracing": {
        "allOf": [
            {"if": {"not": _EMITS}, "then": {"properties": {"policies": {"items": {"not": {"required": ["keep"]}}}}}},
            {
                "if": {"not": {"required": ["audit"]}},
                "then": {"properties": {"policies": {"items": {"properties": {"audit": {"const": False}}}}}},
            },
        ]
    },
}
"""By definition, what its keys say about each other."""
