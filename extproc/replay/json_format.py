"""An access log of JSON objects, one a line, as Envoy's `json_format` writes them."""

import json
from collections.abc import Mapping
from typing import Any, Final

from extproc.policy.problems import sentence, shown
from extproc.replay.fields import METHOD, Fields, LineError, add

_NAMESPACE: Final = "extproc"  # %DYNAMIC_METADATA(extproc)% is an object
_MOST_KEYS_SHOWN: Final = 3


def load(text: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises LineError."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LineError(sentence("a JSON object", shown(text), f"a whole line ({error})")) from None
    if not isinstance(data, dict):
        raise LineError(sentence("a JSON object", shown(text), "an object with the keys method and path"))
    return data


def parse(data: Mapping[str, object]) -> Fields:
    """The fields of one request. Raises LineError where no key is that of a method."""
    fields: Fields = {}
    for key, value in data.items():
        if key == _NAMESPACE and isinstance(value, dict):
            for name, inner in value.items():
                add(fields, name, inner)
        else:
            add(fields, key, value)
    if METHOD not in fields:
        names = ", ".join(map(shown, list(data)[:_MOST_KEYS_SHOWN])) or "none"
        raise LineError(sentence("the keys method and path", names, "method: '%REQ(:METHOD)%' in json_format"))
    return fields
