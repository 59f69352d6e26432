"""Policies that do not get the requests that they ask for."""

from collections.abc import Iterator, Sequence

from extproc.lint import arrival
from extproc.lint.entry import Entry
from extproc.lint.reach import Shadow, shadows
from extproc.lint.space import Space, space
from extproc.policy.codes import DUPLICATE, NEVER, STRIPPED_HEADER, UNREACHABLE
from extproc.policy.plan import Match
from extproc.policy.problems import Finding, sentence, shown

_FEW = 3
_BLOCKS = (("match",), ("match", "not"))


def matching_findings(entries: Sequence[Entry]) -> Iterator[Finding]:
    """What no request fulfils, and what earlier policies leave none for."""
    spaces = [space(entry.policy) for entry in entries]
    hopeless = set()
    for position, (entry, requests) in enumerate(zip(entries, spaces, strict=True)):
        impossible = [*_contradiction(entry, requests), *_path(entry, entry.policy.match, *_BLOCKS[0])]
        if impossible:
            hopeless.add(position)
        yield from impossible
        yield from _path(entry, entry.policy.exclude, *_BLOCKS[1])
        yield from _headers(entry)
    lasting = [entry.policy.until is None and not entry.policy.dry_run for entry in entries]
    for shadow in shadows(spaces, lasting):
        if hopeless.isdisjoint((shadow.position, *shadow.by)):
            yield _shadowed(entries, shadow)


def _contradiction(entry: Entry, requests: Space) -> Iterator[Finding]:
    field = requests.contradiction()
    if field is None:
        return
    kind, name = field
    keys = [kind]
    if name:
        block = {"header": "headers"}.get(kind, kind)
        written = entry.items("match", "not", block)
        keys = [block, next(key for key in written if name in {key, key.lower()})]
    message = sentence("a condition that spares some of match", "one that all of match fulfils", "a narrower one")
    yield Finding(entry.at("match", "not", *keys), message, code=NEVER)


def _path(entry: Entry, match: Match, *block: str) -> Iterator[Finding]:
    if match.path is not None and not arrival.path_comes(match.path):
        template = match.path.template
        message = sentence("a path as Envoy writes it", shown(template), f'path: "{arrival.as_sent(template)}"')
        yield Finding(entry.at(*block, "path"), message, code=NEVER)


def _headers(entry: Entry) -> Iterator[Finding]:
    for block in _BLOCKS:
        for name in entry.items(*block, "headers"):
            if not arrival.comes_with_requests(name.lower()):
                advice = "host beside headers" if name.lower() == "host" else "another header"
                message = sentence("a header that Envoy passes on", shown(name), advice)
                yield Finding(entry.at(*block, "headers", name), message, code=STRIPPED_HEADER)


def _shadowed(entries: Sequence[Entry], shadow: Shadow) -> Finding:
    entry = entries[shadow.position]
    path = entry.at("match")
    earlier = [str(entries[position]) for position in shadow.by]
    if shadow.same and not entry.policy.dry_run:
        message = sentence("each match once", f"that of {earlier[0]} again", "one policy for both")
        return Finding(path, message, code=DUPLICATE)
    takes = "takes them all" if len(earlier) == 1 else "take them all"
    names = [*earlier[:_FEW], "others"] if len(earlier) > _FEW + 1 else earlier
    got = f"none, since {' and '.join(names)} {takes}"
    message = sentence("requests that no earlier policy takes", got, "moving it up, or removing it")
    return Finding(path, message, code=UNREACHABLE)
