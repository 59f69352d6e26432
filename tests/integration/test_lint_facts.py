"""What `extproc check` says of Envoy, asked of a running Envoy with the configuration that `extproc envoy` prints."""

import asyncio
from pathlib import Path

import pytest
from yarl import URL

from extproc.lint.arrival import REMOVED, as_sent, path_comes
from extproc.lint.tags import ENVOYS_TAGS
from extproc.policy.patterns import path_pattern
from wiring_bed import KEEP, Bed, run, write_policy

_PATHS = r"""
/ /a /a/ /a/b //b /a// //a//b /a/./b /a/. /. /a/../b /a/.. /.. /a..b /... /a/.../b /.a /a%2Fb /a%2fb /a%5Cb /a\b /a%2F/b
/a/%2e/b /a/%2E%2E/b /%2e /a%2eb /a%2Db /a%5Fb /a%7eb /a%41b /a%31 /a%2gb /a% /a%3Ab /a%3fb /a%20b /caf%C3%A9 /caf%c3%a9
/a;x=1 /a!$&'()*+,;=:@b /a[b] /a"b /a<b> /a|b /a^b /a`b
"""
PATHS = _PATHS.split()


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """The path of a policy file."""
    return write_policy(tmp_path)


async def _send(bed: Bed, path: str, *lines: str, body: str = "") -> dict[str, str] | None:
    """Send a request as it is written, and return the headers that extproc was asked about; None if it was not."""
    url = URL(bed.envoy.url("/"))
    reader, writer = await asyncio.open_connection(url.host, url.port)
    before = len(bed.server.received)
    head = "\r\n".join([f"GET {path} HTTP/1.1", "host: example.com", *lines])
    writer.write(f"{head}\r\n\r\n{body}".encode())
    await reader.read(1)
    writer.close()
    for message in bed.server.received[before:]:
        if message.WhichOneof("request") == "request_headers":
            return {each.key: each.raw_value.decode() for each in message.request_headers.headers.headers}
    return None


@pytest.mark.parametrize("options", [[], ["--edge"]])
def test_headers_that_never_come(policy: str, options: list[str]) -> None:
    """Envoy removes each of the headers, and no other that is sent with them."""
    values = {"transfer-encoding": "chunked", "host": ""}
    lines = [f"{name}: {values.get(name, '1')}" for name in sorted(REMOVED - {"host"})]

    async def check(bed: Bed) -> None:
        received = await _send(bed, "/", *lines, "x-other: 1", "x-envoy-attempt-count: 2", body="0\r\n\r\n")
        assert received is not None
        assert set() == REMOVED & received.keys()
        assert ("example.com", "1", "2") == tuple(
            received[name] for name in (":authority", "x-other", "x-envoy-attempt-count")
        )

    run(policy, check, *options)


def test_paths_are_written_as_predicted(policy: str) -> None:
    """Each path arrives as `as_sent` has it, so one that it changes never does."""

    async def check(bed: Bed) -> None:
        received = {path: (await _send(bed, path) or {}).get(":path") for path in PATHS}
        assert {path: as_sent(path) for path in PATHS} == received
        arrived = set(received.values())
        assert arrived == {path for path in (*PATHS, *map(as_sent, PATHS)) if path_comes(path_pattern(path))}

    run(policy, check)


def test_two_slashes_alone_stay(policy: str) -> None:
    """The one path whose slashes are not merged, and the patterns that it fits."""

    async def check(bed: Bed) -> None:
        received = await _send(bed, "//")
        assert received is not None
        assert "//" == received[":path"]

    run(policy, check)
    assert all(path_comes(path_pattern(text)) for text in ("//", "//*", "//**", "/**//"))


@pytest.mark.parametrize("path", ["/a b", "/café", "/a#b"])
def test_paths_that_no_request_has(policy: str, path: str) -> None:
    """A space, a letter beyond ASCII and a fragment do not get past Envoy."""

    async def check(bed: Bed) -> None:
        assert await _send(bed, path) is None

    run(policy, check)


def test_names_of_tags_that_are_taken(policy: str) -> None:
    """Each of these names stands on a span that no policy has tagged."""

    async def check(bed: Bed) -> None:
        await bed.get(headers=KEEP)
        (span,) = await bed.spans()
        assert set() == ENVOYS_TAGS - {attribute.key for attribute in span.attributes}

    run(policy, check)


def test_a_tag_of_such_a_name_takes_its_place(tmp_path: Path) -> None:
    """Of a tag and Envoy's own of the same name one is left."""
    policy = Path(write_policy(tmp_path))
    tag = "  custom_tags:\n    - {tag: component, request_header: {name: x-component}}\n"
    policy.write_text(policy.read_text().replace("  custom_tags:\n", tag))

    async def check(bed: Bed) -> None:
        await bed.get(headers=KEEP)
        (span,) = await bed.spans()
        assert 1 == sum(attribute.key == "component" for attribute in span.attributes)

    run(str(policy), check)
