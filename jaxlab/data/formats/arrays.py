"""Arrays from files: raises one line unless they are pictures, or the numbers of classes."""

import numpy as np

from jaxlab.errors import InputError

MOST = float(np.finfo(np.float32).max)  # of a number: its square is one of float64
MOST_CLASSES = 2**20  # counts and rows of a classifier are made for each number up to the largest


def check_images(source: str, images: np.ndarray) -> np.ndarray:
    """Images from a file: raises one line unless they are pictures with values from 0 to 255.

    Args:
      source: the file, and where it holds several arrays the key.
      images: uint8 [N, H, H] or [N, H, H, C], C = 1 or 3.

    Returns:
      uint8 [N, H, H, C].

    Raises:
      ValueError: another shape or dtype, no image, or no value but 0 and 1.

    Example:
      >>> check_images("a.npz, images", np.eye(2, dtype=np.uint8)[None])  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxlab.errors.ValueError: a.npz, images: every value is 0 or 1, which is black among...
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise InputError(
            f"{source}: images are {images.dtype} {images.shape}{_range(images)}, uint8 "
            f"[N, H, W(, C)] from 0 to 255 is needed{_to_bytes(images)}"
        )
    if not images.size:
        raise InputError(f"{source}: images have shape {images.shape}, there is none")
    images = images if images.ndim == 4 else images[..., None]
    if images.shape[3] not in (1, 3) or images.shape[1] != images.shape[2]:
        first = images.shape[1] in (1, 3) and images.shape[2] == images.shape[3]
        raise InputError(
            f"{source}: images have shape {images.shape}, must be [N, H, H, C], square and with 1 "
            f"or 3 channels last{': x.transpose(0, 2, 3, 1)' if first else ''}"
        )
    # Few distinct values may be a drawing; 0 and 1 alone are black and white, stored as such.
    if images.max() == 1 and images.min() == 0:
        raise InputError(
            f"{source}: every value is 0 or 1, which is black among 0 to 255: multiply by 255 "
            "where 1 means white"
        )
    return images


def check_labels(source: str, labels: np.ndarray, count: int | None = None) -> np.ndarray:
    """Labels from a file: raises one line unless they are class numbers, one for each image.

    Args:
      source: the file, and where it holds several arrays the key.
      labels: integers or truth values [N] or [N, 1], from 0.
      count: N, where it is known.

    Returns:
      int32 [N].

    Raises:
      ValueError: another shape or dtype, or a number out of range.

    Example:
      >>> check_labels("a.npz", np.array([0, -1]))  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxlab.errors.ValueError: a.npz: labels are int64 from -1 to 0, class numbers need to be...
    """
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or (count is not None and len(labels) != count):
        count_text = f", {count} images need ({count},)" if count is not None else ""
        advice = ": of one-hot rows take labels.argmax(1)" if labels.ndim == 2 else ""
        raise InputError(f"{source}: labels have shape {labels.shape}{count_text}{advice}")
    if labels.dtype.kind not in "iub":
        whole = labels.dtype.kind == "f" and (labels == np.floor(labels)).all()
        advice = ": np.unique(y, return_inverse=True)[1] numbers them"
        raise InputError(
            f"{source}: labels are {labels.dtype}{_range(labels)}, class numbers need to be "
            f"integers from 0{advice if whole or labels.dtype.kind in 'US' else ''}"
        )
    most = MOST_CLASSES - 1
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) > most):
        raise InputError(
            f"{source}: labels are {labels.dtype}{_range(labels)}, class numbers need to be from 0 "
            f"to {most}"
        )
    return labels.astype(np.int32)


def _to_bytes(images: np.ndarray) -> str:
    """How arrays of another dtype become bytes from 0 to 255, where their range shows it."""
    if images.dtype == bool:
        return ": 255 * x.astype(np.uint8)"
    if images.dtype.kind not in "iuf" or images.dtype == np.uint8 or not images.size:
        return ""
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind == "f" and -1 <= low < 0 and high <= 1:
        return ": np.round(127.5 * (x + 1)).astype(np.uint8) where they are in [-1, 1]"
    if images.dtype.kind == "f" and low >= 0 and high <= 1:
        return ": np.round(255 * x).astype(np.uint8) where they are in [0, 1]"
    if images.dtype == np.uint16 and high > 255:
        return ": np.round(x / 257).astype(np.uint8) where they are in [0, 65535]"
    if low >= 0 and 1 < high <= 255:
        return ": np.round(x).astype(np.uint8) where they are in [0, 255]"
    return ""


def _range(values: np.ndarray) -> str:
    """The smallest and the largest of numbers, in words."""
    if not values.size or values.dtype.kind not in "iufb":
        return ""
    return f" from {values.min()} to {values.max()}"
