"""Which files hold a split of images, and which of their rows belong to it."""

import collections
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxlab.data import formats, sources
from jaxlab.errors import InputError

SPLITS = ("train", "test", "validation")
VALIDATION_SIZE = 5000
ORDER_SEED = 20200708  # of the fixed shuffle of files that come ordered by class
ARRAYS = (".npz", ".npy")
_NO_TEST = (
    'or take shares of the training images (--config.data.shares="(0.1, 0.1)"), '
    "or evaluate on part of the training images (--config.eval_split=validation with "
    "--config.data.holdout=N; in Python split validation, holdout=N)"
)
# What of the files is a split: {} all, None as `Part.indices` says, else shares that are taken out.
Taken = Mapping[str, float] | None


@dataclasses.dataclass(frozen=True)
class Part:
    """Which part of the files' images is asked for; see `images.load`."""

    split: str
    holdout: int = 0
    limit: int | None = None
    shares: Sequence[float] | None = None
    split_seed: int = 0

    @property
    def source(self) -> str:
        """The files to read where there are none for validation."""
        return "test" if self.split == "test" else "train"

    def indices(self, total: int, *, whole: bool = False) -> slice:
        """Rows of the source that belong to the part; `whole` if the files hold just the split."""
        start, stop = 0, total
        if not whole:
            held = self.holdout or (VALIDATION_SIZE if self.split == "validation" else 0)
            if held >= total:
                raise InputError(
                    f"holdout is {held}, the training files hold {total} images: hold out fewer "
                    "(--config.data.holdout=N), or evaluate on the test split "
                    "(--config.eval_split=test)"
                )
            start, stop = (total - held, total) if self.split == "validation" else (0, total - held)
        return slice(start, stop if self.limit is None else min(stop, start + self.limit))

    def rows(
        self,
        total: int,
        taken: Taken,
        *,
        labels: Sequence[Any] | None = None,
        groups: Sequence[Any] | None = None,
        shuffle: bool = False,
    ) -> Any:
        """A slice or indices of the files' rows, in their order or in a fixed random one."""
        order = shuffled(total) if shuffle else np.arange(total)
        if not taken:
            rows = self.indices(total, whole=taken is not None)
            return order[rows] if shuffle else rows
        seed = self.split_seed
        parts = sources.split_rows(total, taken, labels=labels, groups=groups, seed=seed)
        chosen = np.zeros(total, bool)
        chosen[parts[self.split]] = True
        return order[chosen[order]][: self.limit]


def shuffled(total: int) -> np.ndarray:
    """A random order that depends on the number alone."""
    return np.random.default_rng(ORDER_SEED).permutation(total)


def find_split(folder: Path, split: str, endings: Sequence[str] = ()) -> Path | None:
    """The folder of a split, or with endings the file, in upper or lower case."""
    if not folder.is_dir():
        return None
    exists = Path.is_file if endings else Path.is_dir
    names = {name for ending in endings or ("",) for name in formats.split_names(split, ending)}
    found = [folder / name for name in sorted(os.listdir(folder)) if name.lower() in names]
    found = [path for path in found if exists(path)]
    if len(found) > 1:
        raise InputError(
            f"{folder}: {' and '.join(path.name for path in found)} both name the {split} split, "
            "keep one"
        )
    return found[0] if found else None


def split_place(
    folder: Path, part: Part, find: Callable[[str], Path | None], endings: Sequence[str] = ()
) -> tuple[Path, Taken]:
    """Where the images of a split are, and what is to be taken of them.

    Args:
      folder: of the set, or the one file that holds it.
      part: which split, and how much is held out.
      find: split -> where it has files of its own.
      endings: of files; () for folders.

    Raises:
      FileNotFoundError: there are no such files.
      ValueError: a holdout, where validation has files.
    """
    places = {split: find(split) for split in SPLITS}
    place, train = places[part.split], places["train"]
    _check_holdout(part, places["validation"] is not None, folder, places["validation"])
    if any(places.values()) and not endings:
        pictures, folders = formats.entries(folder, collections.Counter())
        if others := [p.name for p in (*pictures, *folders) if p not in places.values()]:
            formats.say(f"{folder}: left out next to the splits: {', '.join(others[:6])}")
    taken: dict[str, float] = {}
    if part.shares is not None:
        shares = sources.check_shares(part.shares)
        taken = {s: share for s, share in shares.items() if places[s] is None and share}
    if place and part.split != "train":
        return place, {}
    # Without split folders all images are one set; with some, the parent would hold theirs twice.
    all_in_one = folder.is_file() or (folder.is_dir() and not endings and not any(places.values()))
    source = train or (folder if all_in_one else None)
    if source and (part.split != "test" or "test" in taken):
        if part.shares is not None and (part.split == "train" or part.split in taken):
            return source, taken
        if part.shares is None:
            # Training images give up a holdout only where validation has no files of its own.
            return source, {} if places["validation"] else None
    ending = endings[0] if endings else ""
    missing = f"{folder / (part.split + ending)} is missing: no {part.split} split in {folder}"
    if folder.is_file() and part.split == "test":
        raise InputError(
            f"{folder} has no test split: call its arrays x_test and y_test, {_NO_TEST}"
        )
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{missing}, which is no folder; --data_dir or data.path say where to look"
        )
    if part.shares is not None and part.split != "train":
        raise FileNotFoundError(f"{missing}, and data.shares is {tuple(part.shares)}")
    if part.split == "test":
        raise FileNotFoundError(f"{missing}; add one, {_NO_TEST}")
    raise FileNotFoundError(f"{missing}, which has {_listing(folder)}")


def _check_holdout(part: Part, explicit: bool, folder: Path, place: Path | None) -> None:
    if explicit and part.holdout and part.split != "test":
        where = f"the arrays of {folder}" if folder.is_file() else str(place)
        raise InputError(
            f"holdout is {part.holdout}, but {where} hold the validation split: give holdout 0 "
            "(--config.data.holdout=0), or take these files away"
        )


def _listing(folder: Path, most: int = 6) -> str:
    names = sorted(os.listdir(folder))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "no files"
