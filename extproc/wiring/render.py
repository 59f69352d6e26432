"""Configuration data as text: JSON for machines, commented YAML for people."""

import io
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import yaml

Path: TypeAlias = tuple[str, ...]
"""Where something stands: the keys that lead to it, with the `name` or `tag` of a list's item, else its number."""

Comments: TypeAlias = Mapping[Path, str]
"""Texts by the last keys of the path that they stand above, two or more keys where one would be ambiguous."""

_WIDTH = 118
_NAMES = ("name", "tag")


def as_json(data: object) -> str:
    """Indented JSON with an ending newline."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def as_yaml(data: object, comments: Comments) -> str:
    """YAML, with each comment on the lines above what it is about. What is short and not commented takes one line."""
    root = _Dumper(io.StringIO(), sort_keys=False).represent_data(data)
    _lay_out(root, comments)
    text = yaml.serialize(root, Dumper=_Dumper, width=4 * _WIDTH, allow_unicode=True)
    assert isinstance(text, str)  # noqa: S101  without a stream and an encoding that is what it returns
    return _commented(text, comments)


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, so that a comment's indentation shows what it belongs to."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002  PyYAML's
        del indentless
        super().increase_indent(flow, False)  # noqa: FBT003  PyYAML's


def _lay_out(root: yaml.Node, comments: Comments) -> None:
    blocks: set[Path] = set()
    for path, _ in _places(root):
        if _comment(path, comments):
            blocks.update(path[:length] for length in range(len(path)))
    _set_style(root, (), blocks)


def _set_style(node: yaml.Node, path: Path, blocks: set[Path]) -> None:
    if isinstance(node, yaml.CollectionNode):
        node.flow_style = path not in blocks and _fits(node, 2 * len(path))
        for key, child in _children(node):
            _set_style(child, (*path, key), blocks)


def _fits(node: yaml.Node, indent: int) -> bool:
    """Whether it reads well on one line: a short one, and no extension with a type of its own."""
    if any(path[-1] == "@type" for path, _ in _places(node)):
        return False
    return indent + len(_one_line(node)) <= _WIDTH


def _one_line(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    children = _children(node)
    if isinstance(node, yaml.MappingNode):
        return "{" + ", ".join(f"{key}: {_one_line(child)}" for key, child in children) + "}"
    return "[" + ", ".join(_one_line(child) for _, child in children) + "]"


def _commented(text: str, comments: Comments) -> str:
    lines = text.splitlines()
    above: dict[int, list[str]] = {}
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None  # noqa: S101  we have just written it
    for path, node in _places(root):
        if found := _comment(path, comments):
            above.setdefault(node.start_mark.line, []).append(found)
    result = []
    for number, line in enumerate(lines):
        indent = " " * (len(line) - len(line.lstrip()))
        for comment in above.get(number, ()):
            result += textwrap.wrap(comment, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        result.append(line)
    return "\n".join(result) + "\n"


def _comment(path: Path, comments: Comments) -> str | None:
    return next((comments[path[start:]] for start in range(len(path)) if path[start:] in comments), None)


def _places(node: yaml.Node, path: Path = ()) -> Iterator[tuple[Path, yaml.Node]]:
    """Every place below a node, with the node on whose line a comment about it belongs: the key, or the item."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, key.value), key
            yield from _places(value, (*path, key.value))
    else:
        for name, item in _children(node):
            yield (*path, name), item
            yield from _places(item, (*path, name))


def _children(node: yaml.Node) -> list[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return [(key.value, value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(_item_name(item, index), item) for index, item in enumerate(node.value)]
    return []


def _item_name(item: yaml.Node, index: int) -> str:
    named = dict(_children(item)) if isinstance(item, yaml.MappingNode) else {}
    return next((named[key].value for key in _NAMES if key in named), str(index))
