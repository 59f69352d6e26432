"""What the keys about auditing say about each other."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from extproc.policy.document import Audit, Tracing, by_key
from extproc.policy.fields import AUDIT_FILE
from extproc.policy.problems import Finding, Path, sentence, shown

_TRACING_KEYS = by_key(Tracing).keys()
_AUDIT_KEYS = by_key(Audit).keys()
_FILE = f"file: {AUDIT_FILE}"


def audit_findings(tracing: dict[str, Any], path: Path) -> Iterator[Finding]:
    """The mistakes in `audit` and in the policies that rely on it."""
    audit = tracing.get("audit")
    if isinstance(audit, dict):
        yield from _place(audit, (*path, "audit"))
        yield from _user_tag(audit.get("user_tag"), (*path, "audit", "user_tag"), tracing)
    if "audit" in tracing or not tracing.keys() <= _TRACING_KEYS:  # it may be misspelt
        return
    for index, policy in enumerate(_list(tracing.get("policies"))):
        if isinstance(policy, dict) and policy.get("audit") is True:
            message = sentence("a place for audit records", "none", f"audit: {{{_FILE}}} under tracing")
            yield Finding((*path, "policies", index, "audit"), message)


def _place(audit: dict[str, Any], path: Path) -> Iterator[Finding]:
    otlp = audit.get("otlp") is True
    if "file" in audit:
        if otlp:
            yield Finding((*path, "otlp"), sentence("file or otlp: true, not both", "both", "removing one of them"))
    elif not otlp and audit.keys() <= _AUDIT_KEYS:
        yield Finding((*path, "file"), sentence("file or otlp: true", "neither", _FILE))
    elif otlp:
        for key in ("max_bytes", "backups"):
            if key in audit:
                yield Finding((*path, key), sentence(f"{key} with file alone", "otlp: true", "removing it"))


def _user_tag(name: object, path: Path, tracing: dict[str, Any]) -> Iterator[Finding]:
    """A tag that no list has would leave `user` out of every record."""
    if not isinstance(name, str):
        return
    lists = [tracing, *_list(tracing.get("policies"))]
    tags = [tag for item in lists if isinstance(item, dict) for tag in _list(item.get("custom_tags"))]
    names = [str(tag["tag"]) for tag in tags if isinstance(tag, dict) and "tag" in tag]
    if name not in names:
        near = get_close_matches(name, names, 1)
        advice = f"user_tag: {near[0]}" if near else "a tag of that name in custom_tags"
        yield Finding(path, sentence("the name of a tag in custom_tags", shown(name), advice))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
