"""What Python itself needs to be told, for steady answers at a low price."""

import gc
import sys

_SWITCH_SECONDS = 0.0005
_COLLECT_AFTER = 10_000


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
