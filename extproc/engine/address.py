"""Addresses as Envoy and clients write them."""

_LONGEST_PORT = 5


def split_address(text: str) -> tuple[str, int | None]:
    """Host and port of `10.0.0.1:4711`, `[::1]:4711` or `example.com:80`.

    Where there is no port, or one that can't be, the text is the host as it stands: a name alone, or a Unix socket's.
    """
    host, colon, port = text.rpartition(":")
    if not colon or len(port) > _LONGEST_PORT or not (port.isascii() and port.isdigit()):
        return text, None
    return host.removeprefix("[").removesuffix("]"), int(port)
