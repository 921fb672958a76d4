"""Standard output that may go away: `script | head -1`, a full disk, an ASCII terminal."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator

from jaxlab import signals


class OutputGoneError(BrokenPipeError):
    """Standard output takes no more; what a script writes to files is not concerned."""


class _Stdout(io.FileIO):
    """Tells its own failure apart from that of every other file, once."""

    gone = False

    def write(self, data, /):
        if self.gone:
            return len(memoryview(data))
        try:
            return super().write(data)
        except OSError as error:
            self.gone = True
            if error.errno != errno.EPIPE:  # a reader that has had enough is no news
                signals.say(f"warning: standard output is lost: {error.strerror}")
            raise OutputGoneError(*error.args) from error


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Standard output raises `OutputGoneError` when it cannot be written, here or at the end.

    Characters that its encoding lacks are written as escapes, as standard error does.
    """
    old = sys.stdout
    try:
        raw = _Stdout(os.dup(old.fileno()), "w")
    except (AttributeError, OSError, ValueError):  # closed, or not a file of the system's
        yield
        return
    buffer = raw if getattr(old, "write_through", False) else io.BufferedWriter(raw)
    sys.stdout = io.TextIOWrapper(
        buffer,  # type: ignore[arg-type]
        encoding=old.encoding,
        errors="backslashreplace",
        line_buffering=getattr(old, "line_buffering", False),
        write_through=getattr(old, "write_through", False),
    )
    try:
        yield
        sys.stdout.flush()
    finally:
        with contextlib.suppress(OutputGoneError):
            sys.stdout.close()
        sys.stdout = old
