"""Configuration data as text."""

import json

import yaml

from extproc.wiring.render import as_json, as_yaml

_DATA = {
    "first": {"a": 1, "b": [1, 2]},
    "clusters": [{"name": "x", "type": "STATIC", "deep": {"type": "other"}}, {"name": "y", "type": "STATIC"}],
    "typed_config": {"@type": "url", "value": "%X%"},
    "long": ["x" * 40, "y" * 40, "z" * 40],
}


def test_json_is_the_data() -> None:
    """Nothing is added to JSON."""
    assert _DATA == json.loads(as_json(_DATA))


def test_yaml_is_the_data() -> None:
    """Comments and layout change nothing in what is read."""
    assert _DATA == yaml.safe_load(as_yaml(_DATA, {("first",): "one", ("x", "type"): "two", ("b", "1"): "three"}))


def test_layout() -> None:
    """What is short takes one line, what has a comment or a type of its own does not."""
    expected = f"""\
first: {{a: 1, b: [1, 2]}}
clusters:
  - name: x
    # Why it is static.
    type: STATIC
    deep: {{type: other}}
  - {{name: y, type: STATIC}}
# A typed
# one.
typed_config:
  '@type': url
  value: '%X%'
long:
  - {"x" * 40}
  - {"y" * 40}
  - {"z" * 40}
"""
    comments = {("x", "type"): "Why it is static.", ("typed_config",): "A typed " + " " * 120 + "one."}
    assert expected == as_yaml(_DATA, comments)
