"""Memory that a step frees is kept for the next one, instead of going back to the system."""

import ctypes
import os
import sys

# mallopt's names of its parameters (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Lets glibc keep what is freed; call it before the first large array.

    A training step on CPU frees its temporaries and asks for as much a moment later. By default
    glibc returns blocks of that size to the system, which then clears every page anew: 16,500 pages
    per step of the demo, a fifth of the step's processor time. With one arena that is never
    trimmed, and no block mapped by itself, there are next to none. The price: memory once used
    stays with the process.

    Returns:
      Whether it was done: not without glibc, nor where the environment says how malloc shall work
      (GLIBC_TUNABLES, MALLOC_*).

    Example:
      >>> keep_freed_memory() in (True, False)
      True
    """
    if not sys.platform.startswith("linux"):
        return False
    if "GLIBC_TUNABLES" in os.environ or any(n.startswith("MALLOC_") for n in os.environ):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: _LARGEST, _TOP_PAD: 2**28}
    done = [libc.mallopt(name, value) for name, value in settings.items()]
    return all(done)
