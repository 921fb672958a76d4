"""What can be wrong with a checkpoint."""

from jaxlab.errors import InputError, UserError


class CheckpointMismatchError(InputError):
    """Every checkpoint found belongs to another model; nothing was changed."""


class SaveError(UserError, OSError):
    """A checkpoint could not be written; the earlier ones are as they were."""


class DataChangedError(InputError):
    """The training data are not those that the checkpoint was trained on."""


class UnreadableError(Exception):
    """This checkpoint is truncated or was not written by this file."""


class MismatchError(Exception):
    """This checkpoint holds leaves of other names or shapes."""
