"""What Envoy says went wrong: response flags, as in the attribute `response.flags`, and `response.code_details`."""

# Bit by bit, as in Envoy's envoy/stream_info/stream_info.h; names as documented for %RESPONSE_FLAGS%.
_NAMES = (
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX", "SI", "IH",
    "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR", "UDO",
)  # fmt: skip
_NO_ERRORS = frozenset({"DI", "RFCF"})  # an injected delay, a response from the cache
_SERVER_ERROR = 500
_RBAC_DENIAL = "rbac_access_denied"  # the RBAC filter has no flag; the rest of its details names the policy


def error_name(flags: int, details: str) -> str | None:
    """The name of the first flag that stands for an error, else `rbac_access_denied` for such details, or None."""
    return error_flag(flags) or (_RBAC_DENIAL if details.startswith(_RBAC_DENIAL) else None)


def answered_error(status: int, name: str | None) -> str | None:
    """The error type of a request that was answered with `status`: what Envoy names it (see `error_name`), or `5xx`."""
    return name or ("5xx" if status >= _SERVER_ERROR else None)


def error_flag(flags: int) -> str | None:
    """The name of the first flag that stands for an error, or None."""
    while flags > 0:
        lowest = flags & -flags
        bit = lowest.bit_length() - 1
        if bit >= len(_NAMES):
            return None
        if _NAMES[bit] not in _NO_ERRORS:
            return _NAMES[bit]
        flags ^= lowest
    return None
