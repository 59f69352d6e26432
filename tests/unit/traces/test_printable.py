"""Text from elsewhere does nothing to a terminal."""

import pytest

from extproc.traces.printable import LONGEST, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /api/orders/7", "GET /api/orders/7"),
        ("Zürich 東京 🥋", "Zürich 東京 🥋"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\rb\nc\td\x00\x7f", r"a\rb\nc\td\x00\x7f"),
        ("\u202egnp.exe\u2066\u200b", r"\u202egnp.exe\u2066\u200b"),
        ("[red]no markup[/red]", "[red]no markup[/red]"),
    ],
)
def test_spelled_out(text: str, shown: str) -> None:
    """Letters of any script stay; control characters, C1 ones and those that turn the direction are spelled out."""
    assert shown == printable(text)


def test_cut() -> None:
    """A tag of a megabyte is cut."""
    assert "x" * LONGEST + "…" == printable("x" * 1_000_000)
    assert "x" * LONGEST == printable("x" * LONGEST)
