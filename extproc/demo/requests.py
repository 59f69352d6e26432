"""The mix of requests that the demo sends, and what each has to lead to."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from extproc.demo.evidence import Parent

_DEBUG_SHARE = 0.02
_PARENT_SHARE = 0.08
_KNOWN_USERS = 500
_ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `policy` is the one that has to decide on it, `tags` what its span has to carry if it is kept."""

    method: str
    path: str
    policy: str
    headers: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    parent: Parent | None = None


def draw_request(rng: random.Random) -> Request:
    """One request of the mix."""
    (shape,) = rng.choices(_SHAPES, _WEIGHTS)
    request = shape(rng)
    if request.policy == "health":
        return request
    request = _with_caller(request, rng)
    if rng.random() < _DEBUG_SHARE:
        request = _with_debug(request)
    return _with_parent(request, rng) if rng.random() < _PARENT_SHARE else request


def _health(rng: random.Random) -> Request:
    del rng
    return Request("GET", "/health", "health")


def _user_list(rng: random.Random) -> Request:
    page = str(rng.randint(1, 9))
    return Request("GET", f"/api/users?page={page}", "users", tags={"page": page})


def _user(rng: random.Random) -> Request:
    return Request("GET", f"/api/users/{rng.randint(1, _KNOWN_USERS)}", "users")


def _order_list(rng: random.Random) -> Request:
    del rng
    return Request("GET", "/api/orders", "default")


def _order(rng: random.Random) -> Request:
    order = _order_id(rng)
    return Request("GET", f"/api/orders/{order}", "orders", tags={"order_id": order})


def _checkout(rng: random.Random) -> Request:
    order = _order_id(rng)
    return Request("POST", f"/api/orders/{order}/checkout", "checkout", tags={"order_id": order})


def _order_id(rng: random.Random) -> str:
    return f"o-{rng.randint(1000, 9999)}"


_MIX: dict[Callable[[random.Random], Request], int] = {
    _user: 26,
    _user_list: 14,
    _order: 30,
    _order_list: 12,
    _checkout: 10,
    _health: 8,
}
_SHAPES, _WEIGHTS = tuple(_MIX), tuple(_MIX.values())


def _with_caller(request: Request, rng: random.Random) -> Request:
    """Some callers are known, and those have a token."""
    user = f"u-{rng.randint(1, _KNOWN_USERS)}" if rng.random() < 0.8 else ""  # noqa: PLR2004  four of five
    if not user:
        return replace(request, tags=request.tags | {"user_id": _ANONYMOUS})
    token = f"Bearer token-of-{user}"
    hashed = hashlib.sha256(token.encode()).hexdigest()
    return replace(
        request,
        headers=request.headers | {"x-user-id": user, "authorization": token},
        tags=request.tags | {"user_id": user, "caller": hashed},
    )


def _with_debug(request: Request) -> Request:
    """The debug policy comes first in the file, so the tags of the one that would have matched are not there."""
    tags = {name: value for name, value in request.tags.items() if name in {"user_id", "caller"}}
    return replace(request, policy="debug", headers=request.headers | {"x-debug": "1"}, tags=tags)


def _with_parent(request: Request, rng: random.Random) -> Request:
    """As if the caller took part in a trace already, kept or not."""
    parent = Parent(f"{rng.getrandbits(127) + 1:032x}", sampled=rng.random() < 0.5)  # noqa: PLR2004  either way
    traceparent = f"00-{parent.trace_id}-{rng.getrandbits(63) + 1:016x}-{int(parent.sampled):02x}"
    return replace(request, headers=request.headers | {"traceparent": traceparent}, parent=parent)
