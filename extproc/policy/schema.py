"""The policy file as a JSON Schema (2020-12), for editors and for validators of other people's.

Kinds, keys and descriptions are those of `document`; what its validators ask for beyond that, and what keys say about
each other, is added from `schema_rules`. It refuses nothing that `load` takes; some mistakes only `load` finds, such as
a regular expression that is none.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from extproc.policy.document import Document
from extproc.policy.schema_rules import DEFINITIONS, KINDS, ROOT

Schema = dict[str, Any]

_NULL = {"type": "null"}


def schema() -> Schema:
    """The schema of a policy file."""
    found = _tidied(Document.model_json_schema(by_alias=True))
    for name, definition in found["$defs"].items():
        for key, value in definition.get("properties", {}).items():
            if (name, key) in KINDS:
                _narrow(value, KINDS[name, key])
        definition.update(DEFINITIONS.get(name, {}))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ROOT, **found}


def _tidied(value: Any) -> Any:  # noqa: ANN401  any JSON
    """Without titles, which only repeat the keys, and without null, which no policy file holds."""
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    if not isinstance(value, dict):
        return value
    return dict(_items(value))


def _items(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if key == "title" and isinstance(item, str):
            continue
        if key == "default" and item in (None, [], {}):
            continue
        if key == "properties":
            yield key, {name: _tidied(field) for name, field in item.items()}
        elif key == "anyOf" and _NULL in item:
            kinds = [kind for kind in item if kind != _NULL]
            yield from _items(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})
        else:
            yield key, _tidied(item)


def _narrow(value: Schema, kind: Schema) -> None:
    """Add what `kind` asks of strings, or of the whole value, where that is said."""
    texts = [value, *value.get("anyOf", ())]
    text = next((each for each in texts if each.get("type") == "string"), value)
    text.update(kind)
