"""Text from elsewhere for a terminal: tags are what some client sent, and a terminal obeys escape sequences."""

from typing import Final

LONGEST: Final = 200


def printable(text: str) -> str:
    r"""Return `text` with everything that a terminal would act on spelled out, such as `\x1b`, and cut at LONGEST."""
    shown = "".join(character if character.isprintable() else _spelled(character) for character in text[:LONGEST])
    return shown + "…" if len(text) > LONGEST else shown


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
