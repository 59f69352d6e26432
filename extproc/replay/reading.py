"""Lines to requests, with a tally of what could not be read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from extproc.policy.problems import sentence, shown
from extproc.replay import json_format, otlp_format, text_format
from extproc.replay.entry import Entry, entry
from extproc.replay.fields import Fields, LineError
from extproc.replay.lines import Line


@dataclass(frozen=True, slots=True)
class BadLine:
    """Where a line could not be read, and why."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(slots=True)
class Reading:
    """What came of reading a log so far.

    Attributes:
        lines: those that are not blank.
        bad: those of them that are no access log.
        first_bad: the first of these.
        requests: requests that were found, of which OTLP has many in a line.
        skipped: what is no HTTP request, or one that is not over: it never came to a filter, or comes again.
        drawn: requests whose trace id the log does not have.
        names: every name that the log has a value for, or says that there is none.
    """

    lines: int = 0
    bad: int = 0
    first_bad: BadLine | None = None
    requests: int = 0
    skipped: int = 0
    drawn: int = 0
    names: set[str] = field(default_factory=set)

    @property
    def failed(self) -> bool:
        """Whether there are lines, and not one of them is an access log's."""
        return bool(self.bad) and self.bad == self.lines

    @property
    def complaint(self) -> str:
        """What could not be read, "" if all could."""
        return f"{self.bad:,} of {self.lines:,} lines left out; the first: {self.first_bad}" if self.bad else ""

    def entries(self, lines: Iterable[Line]) -> Iterator[Entry]:
        """The requests of these lines, in their order."""
        for line in lines:
            self.lines += 1
            try:
                records = _records(line)
            except LineError as error:
                self.bad += 1
                self.first_bad = self.first_bad or BadLine(line.file, line.number, str(error))
                continue
            for fields in records:
                self.names.update(fields)
                found = entry(fields, line)
                if found is None:
                    self.skipped += 1
                    continue
                self.requests += 1
                self.drawn += found.drawn
                yield found


def _records(line: Line) -> list[Fields]:
    if line.unreadable is not None:
        raise LineError(line.unreadable)
    text = line.content.decode(errors="replace")
    if text.startswith("["):
        return [text_format.parse(text)]
    if not text.startswith("{"):
        expected = "an access log in Envoy's default format, as JSON lines or as OTLP JSON lines"
        raise LineError(sentence(expected, shown(text), "one of these formats"))
    data = json_format.load(text)
    return otlp_format.parse(data) if otlp_format.ROOT in data else [json_format.parse(data)]
