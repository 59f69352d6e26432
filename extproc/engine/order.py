"""The legal order of ext_proc messages, as a table.

Each direction of an HTTP exchange sends its headers, then any number of body pieces, then trailers; any of them may be
left out by Envoy's configuration. The two directions are independent: a response may begin before the request ends.
A cell that is not in the table is a protocol error.
"""

from enum import IntEnum

from extproc.engine.outcome import Phase


class Progress(IntEnum):
    """How far one direction has come."""

    NOTHING = 0
    HEADERS = 1
    BODY = 2
    TRAILERS = 3


_ORDER = {
    (Progress.NOTHING, Progress.HEADERS): Progress.HEADERS,
    (Progress.NOTHING, Progress.BODY): Progress.BODY,
    (Progress.NOTHING, Progress.TRAILERS): Progress.TRAILERS,
    (Progress.HEADERS, Progress.BODY): Progress.BODY,
    (Progress.HEADERS, Progress.TRAILERS): Progress.TRAILERS,
    (Progress.BODY, Progress.BODY): Progress.BODY,
    (Progress.BODY, Progress.TRAILERS): Progress.TRAILERS,
}

_REQUEST = {
    Phase.REQUEST_HEADERS: Progress.HEADERS,
    Phase.REQUEST_BODY: Progress.BODY,
    Phase.REQUEST_TRAILERS: Progress.TRAILERS,
}
_RESPONSE = {
    Phase.RESPONSE_HEADERS: Progress.HEADERS,
    Phase.RESPONSE_BODY: Progress.BODY,
    Phase.RESPONSE_TRAILERS: Progress.TRAILERS,
}

State = tuple[Progress, Progress]
"""How far the request and the response have come."""

START: State = (Progress.NOTHING, Progress.NOTHING)


def _legal() -> dict[tuple[State, Phase], State]:
    table: dict[tuple[State, Phase], State] = {}
    for request in Progress:
        for response in Progress:
            for phase, part in _REQUEST.items():
                if (request, part) in _ORDER:
                    table[(request, response), phase] = (_ORDER[request, part], response)
            for phase, part in _RESPONSE.items():
                if (response, part) in _ORDER:
                    table[(request, response), phase] = (request, _ORDER[response, part])
    return table


LEGAL = _legal()
"""(state, phase of the message) -> next state."""
