"""What Python itself needs to be told, for steady answers at a low price."""

import ctypes
import gc
import os
import sys

_ARENA_MAX, _MMAP_THRESHOLD = -8, -3  # glibc's M_ARENA_MAX and M_MMAP_THRESHOLD
_LARGE = 64 << 10
_SWITCH_SECONDS = 0.0005
_COLLECT_AFTER = 10_000


def level_heap() -> None:
    """Keep memory level over millions of requests, to be called before there are threads. MALLOC_ARENA_MAX wins.

    glibc gives each thread a heap of its own. What one allocates and another frees leaves holes in all of them, so
    there is to be one heap. And what is large, such as a batch that is exported, goes back to the system when freed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # there is none in musl
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, _LARGE)


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
