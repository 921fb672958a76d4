"""Checks this package's NVAE against arrays exported from the reference implementation.

    python scripts/verify_nvae_import.py --arrays=reference.npz
    python scripts/verify_nvae_import.py --checkpoint=checkpoint.pt

The first prints, for every quantity in the file, the largest relative error, and exits with 1 if
one is above its tolerance (1e-4; gradient norms 1e-3). The second imports a checkpoint of the
reference (needs torch) and prints what it holds.
"""

import sys

from absl import flags

from jaxlab import launch
from jaxlab.errors import InputError
from jaxlab.models.nvae import parameter_count, parity, reference

ARRAYS = flags.DEFINE_string("arrays", None, "Parity file (.npz).")
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Checkpoint of the reference (.pt).")


def main(config, workdir) -> None:
    del config, workdir
    if bool(ARRAYS.value) == bool(CHECKPOINT.value):
        raise InputError("give one of --arrays=FILE.npz and --checkpoint=FILE.pt")
    if ARRAYS.value:
        text, agrees = parity.table(parity.compare(parity.read(ARRAYS.value)))
        print(text)
        sys.exit(0 if agrees else 1)
    try:
        arrays, flag_values = reference.read_checkpoint(str(CHECKPOINT.value))
    except ImportError as error:
        raise InputError(str(error)) from error
    model, variables = reference.load_reference(arrays, flag_values)
    print(model)
    print(f"{parameter_count(variables['params']):,} parameters in {model.num_groups} groups")


if __name__ == "__main__":
    launch.run(main, needs_workdir=False, reads=())
