"""Checkpoints of a training state and its data iterator: the only file that imports orbax.

A checkpoint is one folder a step, `checkpoints/<step>`. Leaves are stored flat under readable
names (`params/Dense_0/kernel`), so that what does not fit can be named, and so that parameters can
be read without the optimizer that made them. The iterator's position is plain JSON next to them,
which lets a run that was saved by one process go on with two.
"""

from jaxlab.checkpoints.checkpointer import Checkpointer
from jaxlab.checkpoints.errors import CheckpointMismatchError, DataChangedError, SaveError
from jaxlab.checkpoints.reading import load_params

__all__ = [
    "CheckpointMismatchError",
    "Checkpointer",
    "DataChangedError",
    "SaveError",
    "load_params",
]
