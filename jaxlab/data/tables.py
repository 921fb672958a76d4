"""Named tables of numbers with a class per row, read from R's data files without R."""

from pathlib import Path

import numpy as np

from jaxlab.checks import check_scalar
from jaxlab.data.folder import data_folder
from jaxlab.data.formats.rdata import read_frame
from jaxlab.errors import InputError

# Name -> file, object in it, column of the class.
TABLES = {"shuttle": ("Shuttle.rda", "Shuttle", "Class")}


def load_table(
    name: str, data_dir: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Reads a table; its numbers are as measured (`standardize` scales them).

    - `shuttle`: 58,000 rows of 9 sensor readings, a natural long tail of 7 classes: 45,586, 8,903,
      3,267, 171, 50, 13 and 10 rows, the most frequent first.

    Args:
      name: one of the above.
      data_dir: the data folder; default $JAXLAB_DATA, then the user's cache folder.

    Returns:
      x float32 [N, D], y int32 [N], and the names of the K classes in the order of their numbers.

    Raises:
      FileNotFoundError: the file is missing; the message says how to get it.
      ValueError: the file is damaged or the name unknown.

    Source: Statlog (Shuttle) of the UCI repository, as R's package mlbench carries it.
    """
    if name not in TABLES:
        raise InputError(f"table is {name!r}, needs to be one of {', '.join(TABLES)}")
    file, table, target = TABLES[name]
    folder = data_folder(data_dir)
    places = [folder / name / f"{file}{end}" for end in (".gz", "")]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{places[0]} is missing: fetch it with "
            f"`python -m jaxlab fetch_data {name} --data_dir={folder}`"
        )
    x, labels, classes = read_frame(path, table, target)
    order = np.argsort(-np.bincount(labels, minlength=len(classes)), kind="stable")
    y = np.argsort(order)[labels].astype(np.int32)
    return x, y, tuple(classes[k] for k in order)


def standardize(
    train: np.ndarray, *others: np.ndarray, tails: float = 0.001
) -> tuple[np.ndarray, ...]:
    """Gives features mean 0 and standard deviation 1 on the training rows, outliers clipped.

    Each feature is clipped to its quantiles `tails` and `1 - tails` first: in shuttle a few
    readings lie a hundred times further out than all others and would set the scale alone.

    Args:
      train: [N, D], whose quantiles, means and deviations count.
      *others: [M, D], rows treated likewise.
      tails: in [0, 0.5); 0 clips other rows to the training rows' range.

    Returns:
      float32 arrays of the same shapes; a constant feature gives zeros.

    Raises:
      ValueError: tails is out of range, rows differ in their number of features, there is no
        training row, or a value is not finite.

    Example:
      >>> train, test = standardize(np.array([[1.0], [3.0]]), np.array([[2.0], [9.0]]), tails=0.0)
      >>> print(train.ravel(), test.ravel())
      [-1.  1.] [0. 1.]
    """
    check_scalar("tails", tails)
    if not 0 <= tails < 0.5:
        raise InputError(f"tails is {tails}, needs to be in [0, 0.5)")
    for rows in (train, *others):
        if rows.ndim != 2 or rows.shape[1] != train.shape[-1]:
            raise InputError(f"rows have shape {rows.shape}, training rows {train.shape}")
        if not np.isfinite(rows).all():
            raise InputError("rows hold a value that is not finite (missing?)")
    if not len(train):
        raise InputError("train has no row, its mean and deviation are needed")
    low, high = np.quantile(np.float64(train), [tails, 1 - tails], axis=0)
    clipped = np.clip(np.float64(train), low, high)
    mean, deviation = clipped.mean(0), clipped.std(0)
    scale = np.where(deviation > 0, deviation, 1.0)
    return tuple(
        ((np.clip(np.float64(rows), low, high) - mean) / scale).astype(np.float32)
        for rows in (train, *others)
    )
