"""What Python itself needs to be told, for steady answers at a low price."""

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_SWITCH_SECONDS = 0.0005
_USUAL_SWITCH_SECONDS = sys.getswitchinterval()
_COLLECT_AFTER = 10_000

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


async def beside_streams(
    function: Callable[_Arguments, _Result], *arguments: _Arguments.args, **keywords: _Arguments.kwargs
) -> _Result:
    """Call a function that computes for long in a thread, while streams go on.

    Meanwhile threads take turns every half millisecond, not every five: one stream wakes the loop half a dozen times,
    and would wait that long each time.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        return await asyncio.to_thread(function, *arguments, **keywords)
    finally:
        sys.setswitchinterval(_USUAL_SWITCH_SECONDS)


def settle() -> None:
    """Have garbage collection disturb streams as little as can be, to be called before the first one.

    What is there now, modules and the policy, is no longer visited. What streams leave behind is collected after every
    10,000 objects instead of Python's 700: most of it has gone by itself until then.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
