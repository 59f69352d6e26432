"""What the keys of `custom_tags` say about each other."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from extproc.policy.codes import EXPOSED_HEADER, REPEATED_TAG
from extproc.policy.document import CustomTag, by_key
from extproc.policy.problems import Finding, Path, sentence, shown
from extproc.policy.yaml_tree import Tree

SECRET_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "x-api-key", "proxy-authorization"})
"""Headers whose values give access to something; a span is no place for them."""

_TAG_KEYS = by_key(CustomTag).keys()
_SOURCES = tuple(key for key in _TAG_KEYS if key not in {"tag", "redact", "hash"})
_HEADER_SOURCES = ("request_header", "response_header")


def tag_findings(parent: dict[str, Any], path: Path, tree: Tree, captures: frozenset[str] | None) -> Iterator[Finding]:
    """The mistakes in one list of tags. `captures` is None where there is no path to capture from."""
    tags = parent.get("custom_tags")
    if not isinstance(tags, list):
        return
    path = (*path, "custom_tags")
    seen: dict[str, Path] = {}
    for index, tag in enumerate(tags):
        if isinstance(tag, dict):
            here = (*path, index)
            yield from _name(tag, here, seen, tree)
            yield from _source(tag, here)
            yield from _secrets(tag, here)
            yield from _capture(tag, here, captures)


def _name(tag: dict[str, Any], path: Path, seen: dict[str, Path], tree: Tree) -> Iterator[Finding]:
    name = tag.get("tag")
    if not isinstance(name, str):
        return
    here = (*path, "tag")
    first = seen.setdefault(name, here)
    if first is not here:
        got = f"{shown(name)} again after line {tree.place(first).line}"
        message = sentence("each tag once in a list", got, "another name or removing one of them")
        yield Finding(here, message, code=REPEATED_TAG)


def _source(tag: dict[str, Any], path: Path) -> Iterator[Finding]:
    given = [key for key in _SOURCES if key in tag]
    expected = f"exactly one source of {', '.join(_SOURCES)}"
    if len(given) > 1:
        yield Finding(path, sentence(expected, " and ".join(given), "a tag for each"))
    elif not given and tag.keys() <= _TAG_KEYS:
        yield Finding(path, sentence(expected, "none", "literal: {value: envoy}"))


def _secrets(tag: dict[str, Any], path: Path) -> Iterator[Finding]:
    if tag.get("redact") is True and "hash" in tag:
        yield Finding((*path, "hash"), sentence("redact or hash, not both", "both", "removing one of them"))
    if tag.get("redact") is True or "hash" in tag:
        return
    for source in _HEADER_SOURCES:
        header = tag.get(source)
        name = header.get("name") if isinstance(header, dict) else None
        if isinstance(name, str) and name.lower() in SECRET_HEADERS:
            message = sentence("a header without secrets, or redact or hash", shown(name), "hash: sha256 beside tag")
            yield Finding((*path, source, "name"), message, code=EXPOSED_HEADER)


def _capture(tag: dict[str, Any], path: Path, captures: frozenset[str] | None) -> Iterator[Finding]:
    name = tag.get("path")
    if not isinstance(name, str) or name in (captures or ()):
        return
    if captures is None:
        message = sentence("a source that every request has", f"the capture {shown(name)}", "the tag in a policy")
    else:
        near = get_close_matches(name, captures, 1) or sorted(captures)[:1]
        advice = f"path: {near[0]}" if near else f'match: {{path: "/api/{{{name}}}"}}'
        message = sentence("a capture of this policy's match.path", shown(name), advice)
    yield Finding((*path, "path"), message)
