"""The bytes of a policy file as text, or why they are none."""

import re

from extproc.policy.problems import START, Finding, Place, sentence

LARGEST_BYTES = 16 * 2**20

LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""Where YAML 1.1 counts a line, and so where its marks do."""

# YAML's c-printable: everything else is refused, as in YAML.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def decode(content: bytes) -> str | Finding:
    """The text of a file, without its byte order mark."""
    if len(content) > LARGEST_BYTES:
        limit = f"a file of at most {LARGEST_BYTES // 2**20} MiB"
        return Finding((), sentence(limit, "more", "fewer policies with wider globs"), START)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = place_at(content[: error.start].decode("utf-8-sig", "replace"))
        return Finding(
            (), sentence("UTF-8", f"the byte 0x{content[error.start]:02x}", "saving the file as UTF-8"), place
        )
    return unprintable(text) or text


def unprintable(text: str) -> Finding | None:
    """The first character of `text` that no YAML file may hold."""
    found = _UNPRINTABLE.search(text)
    if found is None:
        return None
    got = f"the control character {found[0]!r}"
    return Finding((), sentence("printable text", got, "removing it"), place_at(text[: found.start()]))


def place_at(before: str) -> Place:
    """The place right after the text `before`."""
    lines = LINE_BREAK.split(before)
    return Place(len(lines), len(lines[-1]) + 1)
