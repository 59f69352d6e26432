"""What is asked for: the traces of a service within the last so many seconds that carry certain tags."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

LONGEST_SECONDS: Final = 365 * 86_400
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_PART: Final = re.compile(r"([0-9]{1,6})([smhd])")


@dataclass(frozen=True, slots=True)
class Query:
    """Traces in which `service` took part; each of `tags` must be on one and the same span of it."""

    service: str
    since_seconds: int
    limit: int
    tags: Mapping[str, str] = field(default_factory=dict)


def parse_since(text: str) -> int:
    """Return the seconds that a duration such as `90s`, `15m`, `1h30m` or `7d` has.

    Raises:
        ValueError: it is none, it is nothing, or it is longer than LONGEST_SECONDS.
    """
    parts = _PART.findall(text)
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError(f"expected a duration up to 365d, got {text!r}; try 90s, 15m, 1h30m or 7d")
    return seconds


def parse_tag(text: str) -> tuple[str, str]:
    """Return name and value of `name=value`; the value may hold further equals signs.

    Raises:
        ValueError: there is no equals sign, or no name before it.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"expected name=value, got {text!r}; try http.status_code=500")
    return name, value


def as_tags(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the pairs as a mapping.

    Raises:
        ValueError: a name is there twice. Jaeger wants all of them on one span, where a name has one value.
    """
    tags: dict[str, str] = {}
    for name, value in pairs:
        if tags.setdefault(name, value) != value:
            raise ValueError(f"a span has one value of {name!r}, got {tags[name]!r} and {value!r}; ask twice")
    return tags
