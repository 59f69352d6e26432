"""What Python itself needs to be told for steady answers while a large policy file is read beside the loop."""

import gc
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

_SWITCH_SECONDS = 0.0005

_Result = TypeVar("_Result")


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run `main` on uvloop.

    A thread that reads a policy file lets the loop have the interpreter every half millisecond, not every five: one
    stream wakes the loop half a dozen times, and would wait that long each time.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    return uvloop.run(main)


def settle() -> None:
    """Take everything that is there now out of garbage collection, to be called before the first stream.

    A collection stops the loop for as long as it takes to visit what exists, most of which is modules and the policy.
    """
    gc.collect()
    gc.freeze()
