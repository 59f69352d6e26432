"""Other systems' patterns as conditions of ours.

Theirs have `*` for any characters, slashes among them, and `?` for one. Where our globs say something else, a regular
expression on the header in question says the same.
"""

import re
from collections.abc import Callable, Sequence

from extproc.policy import patterns
from extproc.policy.importers.imported import Mapping
from extproc.policy.problems import FieldError

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")

_SPECIAL = frozenset(r"\.+*?()|[]{}^$")
_QUERY = r"(\?.*)?"
_PORT = "(:[0-9]+)?"
_PARAMETER = re.compile(r":(\w+)|<(?:\w+:)?(\w+)>|\{(\w+)(?::[^/]*)?\}", re.ASCII)


def path(pattern: str) -> Mapping:
    """A condition on the path without its query."""
    if pattern == "*":
        return {}
    plain = not _wild(pattern.removesuffix("/*"))
    if plain and _reads(patterns.path_pattern, pattern):
        return {"path": pattern}
    return _any_header(":path", [pattern], "[^?]", _QUERY)


def any_path(options: Sequence[str]) -> Mapping:
    """A condition on the path: one of several patterns."""
    return path(options[0]) if len(options) == 1 else _any_header(":path", options, "[^?]", _QUERY)


def route(template: str) -> Mapping:
    """A condition on the path by a route as frameworks write it: `/users/:id`, `/users/<int:id>`, `/users/{id}`."""
    segments = [_PARAMETER.sub(_capture, segment) for segment in template.split("/")]
    converted = "/".join(segments)
    return {"path": converted} if _reads(patterns.path_pattern, converted) else path(template)


def host(pattern: str) -> Mapping:
    """A condition on the host without its port."""
    if pattern == "*":
        return {}
    if "?" not in pattern and _reads(patterns.host, pattern):
        return {"host": pattern.lower()}
    return any_host([pattern])


def any_host(options: Sequence[str]) -> Mapping:
    """A condition on the host: one of several patterns."""
    return _any_header(":authority", options, ".", _PORT, "(?i)")


def service(pattern: str) -> Mapping | None:
    """A condition on the service; None where there is none."""
    if pattern == "*":
        return {}
    return None if "?" in pattern or not _reads(patterns.service, pattern) else {"service": pattern}


def method(pattern: str) -> Mapping | None:
    """A condition on the method; None for a method that HTTP does not have."""
    return {} if pattern == "*" else any_method([pattern])


def any_method(options: Sequence[str]) -> Mapping | None:
    """A condition on the method: one of several patterns."""
    found = [each for each in METHODS if any(_fits(option, each) for option in options)]
    if not found:
        return None
    return {"method": found[0] if len(found) == 1 else found}


def header(name: str, pattern: str) -> Mapping:
    """A condition on a request header."""
    if pattern == "*":
        return {"headers": {name: {"present": True}}}
    return any_header(name, [pattern]) if "?" in pattern else {"headers": {name: pattern}}


def text(name: str, value: str) -> Mapping:
    """A condition on a request header: this very text."""
    return {"headers": {name: {"exact": value} if "*" in value else value}}


def any_header(name: str, options: Sequence[str]) -> Mapping:
    """A condition on a request header: one of several patterns."""
    return _any_header(name, options, ".", "")


def together(*conditions: Mapping | None) -> Mapping | None:
    """All of the conditions; None if one is None, or if two are about the same field."""
    found: Mapping = {}
    for condition in conditions:
        if condition is None:
            return None
        for key, value in condition.items():
            if key == "headers":
                headers = found.setdefault("headers", {})
                if headers.keys() & value.keys():
                    return None
                headers.update(value)
            elif key in found:
                return None
            else:
                found[key] = value
    return found


def _capture(found: re.Match[str]) -> str:
    return "{" + next(group for group in found.groups() if group) + "}"


def _wild(text: str) -> bool:
    return "*" in text or "?" in text


def _reads(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except FieldError:
        return False
    return True


def _fits(pattern: str, text: str) -> bool:
    return re.fullmatch(_regex(pattern.upper(), "."), text) is not None


def _any_header(name: str, options: Sequence[str], anything: str, after: str, before: str = "") -> Mapping:
    either = "|".join(_regex(option, anything) for option in options)
    return {"headers": {name: {"regex": f"{before}{either if len(options) == 1 else f'({either})'}{after}"}}}


def _regex(pattern: str, anything: str) -> str:
    """In RE2's syntax, with `anything` for one character that a wildcard takes."""
    wildcards = {"*": f"{anything}*", "?": anything}
    return "".join(wildcards.get(letter) or (f"\\{letter}" if letter in _SPECIAL else letter) for letter in pattern)
