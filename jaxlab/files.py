"""Writing files whole: a killed process leaves the old file or the new one, never a part."""

import contextlib
import os
import uuid

from etils import epath

__all__ = ["write_atomically"]


def write_atomically(path: epath.PathLike, content: str | bytes) -> None:
    """Writes `content` next to `path`, brings it to the disk, and renames it.

    Args:
      path: a file on a disk or in a bucket (gs://...), where a write is whole by itself.
      content: text, written as UTF-8, or bytes.

    Raises:
      OSError: the file cannot be written; what was there before is unchanged.

    Example:
      >>> import pathlib, tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.json"
      >>> write_atomically(path, "{}")
      >>> path.read_text(), len(list(path.parent.iterdir()))
      ('{}', 1)
    """
    data = content.encode() if isinstance(content, str) else content
    name = os.fspath(path)
    if "://" in name:
        epath.Path(name).write_bytes(data)
        return
    # A name of its own for every write: two processes must not write into one part.
    part = f"{name}.{uuid.uuid4().hex[:8]}.part"
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, name)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
