"""What a user reads of an exception: one line, in words that say what to do."""

from jaxlab import mesh as mesh_lib
from jaxlab.errors import UserError
from jaxlab.launch.config import one_line


def is_users(error: BaseException) -> bool:
    """Whether the message is meant for the user: an error of ours, or one of the machine."""
    return isinstance(error, UserError | OSError | MemoryError) or bool(_machine(error))


def lost_peer(error: BaseException) -> bool:
    """Whether another process of this run has ended."""
    return mesh_lib.is_distributed() and mesh_lib.is_about_peers(error)


def _machine(error: BaseException) -> str:
    """What the machine lacks, in our words, where a library says it in pages; "" for the others."""
    if isinstance(error, UserError):
        return ""  # complete as it is, such as a checkpoint's that names its folder
    text = str(error)
    if "No space left on device" in text or "Disk quota exceeded" in text:
        names = [] if not isinstance(error, OSError) else [error.filename]
        where = "".join(f" of {name}" for name in names if name)
        return f"the disk{where} is full: make room, and the same command goes on"
    memory = isinstance(error, MemoryError) or "std::bad_alloc" in text
    if memory or (isinstance(error, RuntimeError | ValueError) and "RESOURCE_EXHAUSTED" in text):
        first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
        return f"out of memory ({first}): take a smaller batch_size or model"
    if lost_peer(error):
        return (
            "another process of this run has ended: start the same command in all of them again, "
            "it goes on from the last checkpoint"
        )
    return ""


def message(error: BaseException) -> str:
    """The line."""
    return _machine(error) or one_line(error)
