"""What an image set is: its description (`ImageSpec`), and the images in memory (`ImageSet`)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlab.checks import check_count
from jaxlab.data.formats import ChosenRows, LazyImages
from jaxlab.data.sources import Found, count_classes
from jaxlab.errors import InputError

LIKELIHOODS = ("bernoulli", "mixture", "normal")


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """What a model must know about a set of images.

    Attributes:
      name: as given to `load`.
      channels: 1 (grey) or 3 (RGB).
      image_size: height and width handed to the model, after padding.
      pad: zeros that the pipeline adds on each side; losses leave them out.
      likelihood: "bernoulli" (pixels binarised), "mixture" (discretized logistics) or "normal".
      bits: bits per colour value that the mixture models, 1 to 8.

    Raises:
      ValueError: one of them is out of range.

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
        for name, least in (("channels", 1), ("image_size", 1), ("pad", 0), ("bits", 1)):
            check_count(name, getattr(self, name), at_least=least)
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

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image as the pipelines give it to a model, padded.

        Example:
          >>> ImageSpec("mnist", pad=2).shape
          (32, 32, 1)
        """
        return self.image_size, self.image_size, self.channels


# The sets that come with a name of their own. "folder" and "npz" take their spec from what is read.
SPECS = {
    spec.name: spec
    for spec in (
        ImageSpec("mnist", pad=2),
        ImageSpec("mnist5k", pad=2),
        ImageSpec("fashion_mnist", pad=2, likelihood="mixture"),
        # Re-encoded as JPEG: bits/dim does not compare with published CIFAR-10, hence the name.
        ImageSpec("cifar10_jpeg", channels=3, likelihood="mixture"),
        ImageSpec("cifar10", channels=3, likelihood="mixture"),
        ImageSpec("cifar100", channels=3, likelihood="mixture"),
    )
}


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in memory, as the files hold them; models see them padded.

    Of sets larger than memory, `images` only behaves like an array: rows are read when indexed.

    With a pad (2 for the 28x28 digits) `images` is smaller than what `train_pipeline` and
    `eval_batches` hand to a model: `spec.shape` is the latter's, and `padded` makes it.

    Attributes:
      images: uint8 [N, H, W, C], not yet padded: H = W = spec.image_size - 2 * spec.pad.
      labels: int32 [N], or None.
      spec: the set's description.
      class_names: of the labels, or None where the set has none.
      source: files or folder.
      left_out: reason -> count of what was there and is not read.

    Example:
      >>> digits = ImageSet(np.zeros((5, 28, 28, 1), np.uint8), None, ImageSpec("mnist", pad=2))
      >>> digits
      ImageSet('mnist', 5 images 28x28x1, which pipelines pad to 32x32x1)
      >>> digits.padded([0, 1]).shape
      (2, 32, 32, 1)
    """

    images: np.ndarray | LazyImages | ChosenRows
    labels: np.ndarray | None
    spec: ImageSpec
    class_names: tuple[str, ...] | None = None
    source: str = ""
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

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

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape[1:]))
        pad = f", which pipelines pad to {'x'.join(map(str, self.spec.shape))}"
        return (
            f"ImageSet({self.spec.name!r}, {len(self)} images {shape}{pad * bool(self.spec.pad)})"
        )

    def padded(self, indices: Any = slice(None)) -> np.ndarray:
        """Copies of the images at some indices, zeros around them: what pipelines hand to a model.

        Args:
          indices: int [n] or a slice; all images by default.

        Returns:
          uint8 [n, S, S, C] with `spec.shape` = (S, S, C).
        """
        chosen, pad = self.images[indices], self.spec.pad
        images = np.zeros((len(chosen), *self.spec.shape), np.uint8)
        images[:, pad : self.spec.image_size - pad, pad : self.spec.image_size - pad] = chosen
        return images

    @property
    def lazy(self) -> bool:
        """Whether rows are decoded when indexed."""
        return isinstance(self.images, LazyImages)

    def count(self) -> dict[str, int] | None:
        """Images of each class by name; None without labels."""
        if self.labels is None:
            return None
        names = self.class_names or tuple(map(str, range(int(self.labels.max(initial=-1)) + 1)))
        return count_classes(self.labels, names)


def describe_sets(sets: Mapping[str, ImageSet]) -> Found:
    """What was read of a set of images, for the log and `data.json`.

    Args:
      sets: split -> images, of one set.

    Example:
      >>> one = ImageSet(np.zeros((5, 2, 2, 1), np.uint8), None, ImageSpec("a", image_size=2))
      >>> describe_sets({"train": one}).lines()[1]
      'data: train 5'
    """
    first = next(iter(sets.values()))
    spec, size = first.spec, "x".join(map(str, first.images.shape[1:]))
    pad = f" padded to {'x'.join(map(str, spec.shape))}" if spec.pad else ""
    when = ", read when needed" if any(s.lazy for s in sets.values()) else ""
    left_out: dict[str, int] = {}
    for places in {s.source: s.left_out for s in sets.values()}.values():
        for reason, count in places.items():
            left_out[reason] = left_out.get(reason, 0) + count
    return Found(
        spec.name,
        ", ".join(dict.fromkeys(s.source for s in sets.values() if s.source)),
        {k: {"examples": len(s), "classes": s.count()} for k, s in sets.items()},
        f"{size}{pad}, {spec.likelihood} likelihood{when}",
        left_out,
    )
