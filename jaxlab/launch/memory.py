"""Memory that a step frees is kept for the next one, instead of going back to the system."""

import ctypes
import os
import sys

import jax

# mallopt's names of its parameters (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Lets glibc keep what is freed; call it before the first large array.

    A training step on CPU frees its temporaries and asks for as much a moment later. By default
    glibc returns blocks of that size to the system, which then clears every page anew: 16,500 pages
    per step of 64 digits, a fifth of the step's processor time. With a heap that is never trimmed,
    and no block mapped by itself, there are next to none. That holds for the main thread's heap
    alone, so on CPU programs are run by the thread that calls them. One heap for all threads would
    do as well, but for compilers: what they leave behind makes every later allocation search long
    lists, half of a small step's time. The price: memory once used stays with the process.

    Returns:
      Whether it was done: not without glibc, nor where the environment says how malloc shall work
      (GLIBC_TUNABLES, MALLOC_*) or that JAX shall dispatch (JAX_CPU_ENABLE_ASYNC_DISPATCH).

    Example:
      >>> keep_freed_memory() in (True, False)
      True
    """
    if not sys.platform.startswith("linux"):
        return False
    theirs = ("GLIBC_TUNABLES", "MALLOC_", "JAX_CPU_ENABLE_ASYNC_DISPATCH")
    if any(name.startswith(theirs) for name in os.environ):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _LARGEST, _TOP_PAD: 2**28}
    done = [libc.mallopt(name, value) for name, value in settings.items()]
    return all(done)
