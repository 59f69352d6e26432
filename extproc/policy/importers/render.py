"""Imported rules as the text of a policy file."""

import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from extproc.policy.importers.imported import Imported, Rule

_WIDTH = 118
_GAP = "What a rule that was left out would have taken goes to the policies after it."
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "default"}


def as_yaml(imported: Imported) -> str:
    """A policy file, with a comment wherever the original says more or something else."""
    gaps = [_GAP] if any(rule.left_out is not None for rule in imported.rules) else []
    lines = [*_comments([*imported.notes, *gaps], ""), "tracing:"]
    lines += [*_comments(imported.sampling_notes, "  "), f"  sampling: {_flow(imported.sampling)}"]
    if any(rule.left_out is None for rule in imported.rules):
        lines += ["", "  policies: # in order: the first that matches decides"]
    names: set[str] = set()
    for rule in imported.rules:
        lines += _policy(rule, _unique(rule.name, names)) if rule.left_out is None else _left_out(rule)
    return "\n".join(lines) + "\n"


def _policy(rule: Rule, name: str) -> Iterator[str]:
    yield from _comments(rule.notes, "    ")
    yield f"    - name: {_flow(name)}"
    if rule.match:
        yield from _match(rule.match)
    yield f"      sampling: {_flow(rule.sampling)}"


def _match(match: dict[str, Any]) -> Iterator[str]:
    line = f"      match: {_flow(match)}"
    if len(line) <= _WIDTH:
        yield line
        return
    yield "      match:"
    for key, value in match.items():
        yield f"        {key}: {_flow(value)}"


def _left_out(rule: Rule) -> Iterator[str]:
    return _comments([f"Left out: {rule.name}. {rule.left_out}"], "    ")


def _comments(notes: Iterable[str], indent: str) -> Iterator[str]:
    for note in notes:
        yield from textwrap.wrap(
            note, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_long_words=False
        )


def _unique(name: str, taken: set[str]) -> str:
    """`name`, or with a number behind it where it stands for another policy."""
    clean = "".join(letter for letter in name if letter.isprintable()) or "imported"
    if clean == "default" or clean.startswith("policies["):
        clean = f"imported {clean}"
    number, unique = 1, clean
    while unique in taken:
        number += 1
        unique = f"{clean} ({number})"
    taken.add(unique)
    return unique


def _flow(value: Any) -> str:  # noqa: ANN401  any YAML value
    """`value` on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str) and value and value[0].isalpha() and set(value) <= _PLAIN and value not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
