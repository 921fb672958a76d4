"""The signals that end a run: SIGTERM, SIGHUP (a closed terminal) and SIGINT (Ctrl-C).

A training loop takes note of the first of them, ends its step, saves, and raises `Interrupted`.
Elsewhere a script raises it at once (`jaxlab.launch`). A signal that was ignored when the process
started stays ignored: SIGHUP under nohup, SIGINT in the background of a shell script.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["NAMES", "Interrupted", "StopFlag", "handle", "say"]

NAMES = {
    getattr(signal, name): shown
    for name, shown in (("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGHUP"), ("SIGINT", "Ctrl-C"))
    if hasattr(signal, name)
}


class Interrupted(BaseException):
    """A signal ended the run.

    No `Exception`, like KeyboardInterrupt: it may be raised anywhere, and whoever catches all that
    a library raises must not take it for a broken checkpoint.

    Attributes:
      saved: whether the state of this moment was saved.
      exit_code: 130 after Ctrl-C, as shells have it; 0 after the others, which ask for an end.
    """

    def __init__(self, message: str, signum: int | None = None, *, saved: bool = False):
        super().__init__(message)
        self.saved = saved
        self.exit_code = 130 if signum == signal.SIGINT else 0


def handle(function: Callable[[int, Any], None], *, but: tuple[int, ...] = ()) -> dict[int, Any]:
    """Lets `function(signum, frame)` handle the signals that end a run, but those ignored so far.

    Args:
      function: as for `signal.signal`.
      but: signals that are left alone.

    Returns:
      The handlers before, by signal; none outside the main thread, which alone may set them.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {s: signal.getsignal(s) for s in NAMES if s not in but}
    # None: set by something else than Python, which could not be put back.
    old = {s: handler for s, handler in found.items() if handler not in (signal.SIG_IGN, None)}
    for signum in old:
        signal.signal(signum, function)
    return old


def say(text: str) -> None:
    """One line on standard error, from within a handler too; none where that is closed."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())


class StopFlag:
    """Takes note of a signal while training; the loop looks at `signum` once per step.

    The first Ctrl-C is noted like the others. A second one stops at once: it kills the process, as
    no handler of Python's runs while XLA compiles, or raises KeyboardInterrupt where that was
    Python's own way until now (a notebook, a script without `launch`).

    Args:
      several: whether this is one of several processes. SIGTERM is then left to jax's preemption
        service, which informs all of them; the other signals are passed on as SIGTERM.

    Attributes:
      signum: the signal that came, None before.
    """

    def __init__(self, *, several: bool = False):
        self.signum: int | None = None
        self._several = several
        self._old: dict[int, Any] = {}

    @property
    def name(self) -> str:
        """What came, for messages; another process's signal is a SIGTERM here."""
        return NAMES[self.signum or signal.SIGTERM]

    def __enter__(self):
        self._old = handle(self._note, but=(signal.SIGTERM,) if self._several else ())
        return self

    def __exit__(self, *_):
        for signum, old in self._old.items():
            signal.signal(signum, old)

    def _note(self, signum, _):
        again = ""
        if signum == signal.SIGINT:
            python = self._old[signum] is signal.default_int_handler
            signal.signal(signum, signal.default_int_handler if python else signal.SIG_DFL)
            again = "; Ctrl-C again stops at once, which loses what no checkpoint holds"
        if self.signum is None:
            self.signum = signum
            if self._several:
                signal.raise_signal(signal.SIGTERM)
        say(f"{NAMES[signum]}: training ends after this step{again}")
