"""Checks this package's NVAE against arrays exported from the reference implementation.

    python scripts/verify_nvae_import.py --arrays=reference.npz
    python scripts/verify_nvae_import.py --checkpoint=checkpoint.pt

The first prints, for every quantity in the file, the largest relative error, and exits with 1 if
one is above its tolerance (1e-4; gradient norms 1e-3). The second imports a checkpoint of the
reference (needs torch) and prints what it holds.
"""

import sys
import zipfile
import zlib

import numpy as np
from absl import flags

from jaxlab import launch
from jaxlab.errors import InputError
from jaxlab.models.nvae import parameter_count, parity, reference

ARRAYS = flags.DEFINE_string("arrays", None, "Parity file (.npz).")
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Checkpoint of the reference (.pt).")


def verify(path: str) -> int:
    """Prints the table of errors; returns the exit code."""
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is not a readable .npz file: {error}") from error
    errors = parity.compare(arrays)
    failed = [name for name, error in errors.items() if not error <= parity.tolerance(name)]
    print(f"{'quantity':24s} {'relative error':>14s} {'tolerance':>10s}")
    for name, error in errors.items():
        verdict = "FAIL" if name in failed else "ok"
        print(f"{name:24s} {error:14.2e} {parity.tolerance(name):10.0e}  {verdict}")
    print(f"{len(errors) - len(failed)} of {len(errors)} quantities agree")
    return 1 if failed else 0


def describe(path: str) -> int:
    """Imports a checkpoint and prints its model."""
    try:
        arrays, flag_values = reference.read_checkpoint(path)
    except ImportError as error:
        raise InputError(str(error)) from error
    model, variables = reference.load_reference(arrays, flag_values)
    print(model)
    print(f"{parameter_count(variables['params']):,} parameters in {model.num_groups} groups")
    return 0


def main(config, workdir) -> None:
    del config, workdir
    if ARRAYS.value and not CHECKPOINT.value:
        sys.exit(verify(ARRAYS.value))
    if CHECKPOINT.value and not ARRAYS.value:
        sys.exit(describe(CHECKPOINT.value))
    raise InputError("give one of --arrays=FILE.npz and --checkpoint=FILE.pt")


if __name__ == "__main__":
    launch.run(main, needs_workdir=False, reads=())
