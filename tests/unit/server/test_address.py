"""The addresses of `--listen`, as both `extproc serve` and `extproc envoy` read them."""

import pytest

from extproc.server.address import Address, expand, parse


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:50051", Address("127.0.0.1", 50051)),
        ("extproc.mesh.svc:1", Address("extproc.mesh.svc", 1)),
        ("my_host:0", Address("my_host", 0)),
        ("[::1]:50051", Address("::1", 50051)),
        ("[fe80::1%eth0]:50051", Address("fe80::1%eth0", 50051)),
        ("unix:/run/extproc.sock", Address(path="/run/extproc.sock")),
    ],
)
def test_parse(text: str, address: Address) -> None:
    """Every form is read, and printing it gives the text back."""
    assert address == parse(text)
    assert text == str(address) == address.grpc_target()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected host:port or unix:/path, got ''; try 127.0.0.1:50051"),
        ("localhost", "expected host:port or unix:/path, got 'localhost'; try localhost:50051"),
        ("50051", "expected host:port or unix:/path, got '50051'; try 127.0.0.1:50051"),
        ("/run/x.sock", "expected host:port or unix:/path, got '/run/x.sock'; try unix:/run/x.sock"),
        (":50051", "expected host:port or unix:/path, got ':50051'; try 127.0.0.1:50051"),
        ("http://a:1", "expected host:port or unix:/path, got 'http://a:1'; try 127.0.0.1:1"),
        ("::1:50051", "expected an IPv6 address in brackets, got '::1:50051'; try [::1]:50051"),
        ("a:70000", "expected a port from 0 to 65535, got '70000' in 'a:70000'; try 50051"),
        ("a:http", "expected a port from 0 to 65535, got 'http' in 'a:http'; try 50051"),
        ("unix:x.sock", "expected unix: and an absolute path, got 'unix:x.sock'; try unix:/run/extproc.sock"),
        ("unix:/", "expected unix: and an absolute path, got 'unix:/'; try unix:/run/extproc.sock"),
    ],
)
def test_parse_refuses(text: str, message: str) -> None:
    """What cannot be read is answered with what to write instead."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
        parse(text)
    assert message == str(caught.value)


def test_parse_refuses_a_path_that_does_not_fit_a_socket() -> None:
    """A path that the kernel would cut is refused while it can still be explained."""
    with pytest.raises(ValueError, match=r"has 107 bytes at most, .* has 108"):
        parse("unix:/" + "x" * 107)


def test_one_worker_keeps_its_addresses() -> None:
    """With one worker nothing is counted up or numbered."""
    addresses = (parse("127.0.0.1:50051"), parse("unix:/run/x.sock"))
    assert [addresses] == expand(addresses, 1)


def test_each_worker_has_its_own_addresses() -> None:
    """Ports count up, Unix paths are numbered, port 0 is left to the kernel."""
    addresses = (parse("127.0.0.1:50051"), parse("unix:/run/x.sock"), parse("[::1]:0"))
    expected = [
        ("127.0.0.1:50051", "unix:/run/x.sock-0", "[::1]:0"),
        ("127.0.0.1:50052", "unix:/run/x.sock-1", "[::1]:0"),
    ]
    assert expected == [tuple(map(str, worker)) for worker in expand(addresses, 2)]


@pytest.mark.parametrize(
    ("texts", "workers", "message"),
    [
        (["a:1"], 0, "expected 1 or more workers, got 0"),
        (["a:65535"], 2, "a:65535 has no port left for worker 1: 65536 is past 65535; try a lower port"),
        (
            ["a:1", "a:2"],
            2,
            "a:2 would be used twice; with N workers each address takes N ports, so leave N between them",
        ),
    ],
)
def test_expand_refuses(texts: list[str], workers: int, message: str) -> None:
    """Workers that cannot all have an address of their own are refused."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
        expand(tuple(map(parse, texts)), workers)
    assert message == str(caught.value)
