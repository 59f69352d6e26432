"""What an unquoted YAML scalar means.

The rules are those of YAML 1.2's core schema, less what surprises: `yes`, `on`, `1:30`, `0123` and `2024-01-01` are
the text that they look like. A number is one as JSON would read it.
"""

import re
from typing import Self

_CONSTANTS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_FIRST_OF_NUMBERS = frozenset("-+.0123456789")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,299}")  # longer ones stay text: int() refuses them at some length
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class Real(float):
    """A number that remembers how it was written: an attribute `1.10` must not become `1.1`."""

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Self:
        """Read `text`, which YAML writes `.inf` and Python `inf`."""
        real = super().__new__(cls, text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        real.text = text
        return real

    def __str__(self) -> str:
        return self.text


def resolve(text: str) -> str | float | bool | None:
    """The value of the plain scalar `text`."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _FIRST_OF_NUMBERS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return Real(text)
    return text
