"""YAML text to a Tree.

Built from the parser's events rather than from composed nodes: composing recurses in C, and a file of a hundred
thousand brackets would end the process instead of being refused.
"""

from collections.abc import Callable, Iterator
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from extproc.policy.problems import Finding, Path, sentence, shown
from extproc.policy.scalars import resolve
from extproc.policy.syntax import syntax_message
from extproc.policy.yaml_tree import Relocate, Tree

DEEPEST = 64
MOST_REPEATED = 100_000
"""How many values aliases may add to those that are written out."""

_PLAIN_TAGS = {
    ScalarEvent: {None, "!", "tag:yaml.org,2002:str"},
    MappingStartEvent: {None, "!", "tag:yaml.org,2002:map"},
    SequenceStartEvent: {None, "!", "tag:yaml.org,2002:seq"},
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Fatal(Exception):  # noqa: N818  never seen outside: it only ends the reading
    """Reading cannot go on."""


class _Frame:
    """A collection that is still open. `key` is the pair being read, None for a pair that is left out."""

    __slots__ = ("anchor", "awaits_key", "count", "data", "key", "marks")

    def __init__(self, data: dict[str, Any] | list[Any], anchor: str | None, count: int) -> None:
        self.data = data
        self.awaits_key = isinstance(data, dict)
        self.marks: Any = {} if self.awaits_key else []
        self.key: str | None = None
        self.anchor = anchor
        self.count = count


def parse(text: str, relocate: Relocate = lambda place: place) -> Tree:
    """The single document in `text`. Never raises: what is wrong is in the tree's findings."""
    tree = Tree(relocate)
    reader = _Reader(tree)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            handler = reader.handlers.get(type(event))
            if handler is not None:
                handler(event)
    except _Fatal as error:
        tree.fail(error.args[0])
    except yaml.YAMLError as error:
        message, mark = syntax_message(error)
        tree.fail(Finding((), message, tree.at(mark)))
    return tree


class _Reader:
    """Events in, tree out: a handler for each kind of event that matters."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._stack: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}  # the value, and how many values it holds: 0 while open
        self._count = 0
        self._repeated = 0
        self._documents = 0
        self.handlers: dict[type[Event], Callable[[Any], None]] = {
            ScalarEvent: self._scalar,
            MappingStartEvent: self._open,
            SequenceStartEvent: self._open,
            MappingEndEvent: self._close,
            SequenceEndEvent: self._close,
            AliasEvent: self._alias,
            DocumentStartEvent: self._document,
        }

    def _document(self, event: DocumentStartEvent) -> None:
        self._documents += 1
        if self._documents > 1:
            raise self._fatal("one document", "a second one after '---'", "a file of its own for it", event)

    def _scalar(self, event: ScalarEvent) -> None:
        self._count += 1
        value: Any = event.value
        if event.tag is not None:
            self._check_tag(event)
        elif event.style is None or event.implicit[0]:
            value = resolve(value)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.awaits_key:
            self._key(frame, value, event)
            return
        if value is None:
            self._tree.nulls = True
        elif event.style == "|" and frame is not None and frame.key is not None:
            self._tree.blocks[id(frame.data), frame.key] = event.start_mark.line + 1 if event.start_mark else 0
        self._add(value, event)

    def _key(self, frame: _Frame, key: Any, event: NodeEvent) -> None:  # noqa: ANN401  any YAML value
        refusal = self._refused_key(frame, key, event)
        if refusal:
            path = self._path()
            self._find((*path, key) if isinstance(key, str) else path, refusal, event)
            frame.key = None
        else:
            frame.key = key
            frame.marks[key] = event.start_mark
        frame.awaits_key = False

    def _refused_key(self, frame: _Frame, key: Any, event: NodeEvent) -> str | None:  # noqa: ANN401
        if not isinstance(key, str):
            advice = f'"{event.value}"' if isinstance(event, ScalarEvent) and event.value else "a name in quotes"
            got = shown(key).replace("an empty", "a")  # it has not been read yet
            return sentence("a string as key", got, advice)
        if key in frame.marks:
            got = f"{shown(key)} again after line {self._tree.at(frame.marks[key]).line}"
            return sentence("each key once", got, "removing one of them")
        if key == "<<" and isinstance(event, ScalarEvent) and not event.style:
            return sentence("keys that are written out", "the merge key '<<'", "an alias for a whole value")
        return None

    def _add(self, value: Any, event: Event) -> None:  # noqa: ANN401  any YAML value
        if not self._stack:
            self._tree.data = value
            return
        frame = self._stack[-1]
        if isinstance(frame.data, list):
            frame.data.append(value)
            frame.marks.append(event.start_mark)
            return
        if frame.key is not None:
            frame.data[frame.key] = value
        frame.awaits_key = True

    def _open(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        if len(self._stack) == DEEPEST:
            raise self._fatal(f"at most {DEEPEST} levels", "more", "less nesting", event, path=())
        if event.tag is not None:
            self._check_tag(event)
        data: Any = {} if isinstance(event, MappingStartEvent) else []
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.awaits_key:
            self._key(frame, data, event)  # which refuses it
            frame.awaits_key = True
        else:
            self._add(data, event)
            if frame is not None:
                frame.awaits_key = False  # not before this collection is closed
        if event.anchor is not None:
            self._anchors[event.anchor] = (data, 0)
        self._stack.append(_Frame(data, event.anchor, self._count))
        self._count += 1

    def _close(self, event: Event) -> None:
        del event
        frame = self._stack.pop()
        self._tree.keep(frame.data, frame.marks)
        if frame.anchor is not None:
            self._anchors[frame.anchor] = (frame.data, self._count - frame.count)
        if self._stack and isinstance(self._stack[-1].data, dict):
            parent = self._stack[-1]
            parent.awaits_key = not parent.awaits_key  # what is closed was its key or its value

    def _alias(self, event: AliasEvent) -> None:
        value, count = self._anchors.get(str(event.anchor), (None, -1))
        name = shown(f"*{event.anchor}")
        if count < 0:
            raise self._fatal("an alias of an anchor above it", name, f"defining &{event.anchor} first", event)
        if count == 0:
            raise self._fatal("an alias of a finished value", f"{name} inside itself", "writing the value out", event)
        self._count += count
        self._repeated += count
        if self._repeated > MOST_REPEATED:
            expected = f"aliases that repeat at most {MOST_REPEATED:,} values"
            raise self._fatal(expected, "more", "fewer aliases", event)
        frame = self._stack[-1]  # there is one: the anchor of a whole document is still open
        if frame.awaits_key:
            self._key(frame, value, event)
        else:
            self._add(value, event)

    def _check_tag(self, event: ScalarEvent | MappingStartEvent | SequenceStartEvent) -> None:
        if event.tag in _PLAIN_TAGS[type(event)]:
            return
        path = self._path()
        self._tree.unread.add(path)
        tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
        self._find(path, sentence("a plain value", f"the tag {shown(tag)}", "the value without it"), event)

    def _find(self, path: Path, message: str, event: Event) -> None:
        self._tree.findings.append(Finding(path, message, self._tree.at(event.start_mark)))

    def _fatal(self, expected: str, got: str, advice: str, event: Event, path: Path | None = None) -> _Fatal:
        place = self._tree.at(event.start_mark)
        return _Fatal(Finding(self._path() if path is None else path, sentence(expected, got, advice), place))

    def _path(self) -> Path:
        """The path of the value that comes next; of its mapping while that awaits a key."""
        return tuple(self._steps())

    def _steps(self) -> Iterator[str | int]:
        last = len(self._stack) - 1
        for position, frame in enumerate(self._stack):
            if isinstance(frame.data, list):
                yield len(frame.data) if position == last else len(frame.data) - 1
            elif not frame.awaits_key and frame.key is not None:
                yield frame.key
