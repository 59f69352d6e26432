"""What Python itself needs to be told, for steady answers at a low price."""

import ctypes
import gc
import os
import sys

_ARENA_MAX = -8  # glibc's M_ARENA_MAX
_SWITCH_SECONDS = 0.0005
_COLLECT_AFTER = 10_000


def share_heap() -> None:
    """Have all threads allocate from one heap, to be called before there are any; MALLOC_ARENA_MAX wins.

    glibc gives each a heap of its own. What one thread allocates and another frees leaves holes in all of them, and the
    process grew by 5 % in its first million requests; with one heap it is smaller from the start, and no slower.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # there is none in musl
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_ARENA_MAX, 1)


def settle() -> None:
    """Have nothing disturb streams more than can be helped, to be called before the first one.

    Threads that compute give way after half a millisecond, not five: a stream wakes its thread a few times, and would
    wait that long each time.

    Garbage collection no longer visits what is there now, modules and the policy. What streams leave behind is
    collected after every 10,000 objects instead of Python's 700: most of it has gone by itself until then.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
