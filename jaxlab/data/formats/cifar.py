"""CIFAR-10 and CIFAR-100 in the binary files of their authors."""

from pathlib import Path

import numpy as np

from jaxlab.data.formats.arrays import check_labels
from jaxlab.errors import InputError

PIXELS = 3 * 32 * 32
# Name -> folder in the archive, bytes of labels of a record, files by split, file of class names.
CIFAR = {
    "cifar10": (
        "cifar-10-batches-bin",
        1,
        {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
        "batches.meta.txt",
    ),
    "cifar100": (
        "cifar-100-binary",
        2,  # the coarse label, which is not read, and the fine one
        {"train": ["train.bin"], "test": ["test.bin"]},
        "fine_label_names.txt",
    ),
}


def read_cifar(
    folder: Path, name: str, split: str
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
    """Reads all images of a split, in the order of the files.

    Args:
      folder: of the binary files.
      name: "cifar10" or "cifar100".
      split: "train" or "test".

    Returns:
      Images uint8 [N, 32, 32, 3], labels int32 [N] and the names of the classes, None where their
      file is missing.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file does not hold whole records, or a label has no name.
    """
    _, width, files, names_file = CIFAR[name]
    parts = []
    for file in files[split]:
        raw = np.fromfile(folder / file, np.uint8)
        if not raw.size or raw.size % (width + PIXELS):
            raise InputError(
                f"{folder / file}: {raw.size} bytes, needs a multiple of {width + PIXELS}: "
                f"{width} of labels and {PIXELS} of pixels for each image"
            )
        parts.append(raw.reshape(-1, width + PIXELS))
    records = np.concatenate(parts)
    labels = check_labels(str(folder), records[:, width - 1])
    images = records[:, width:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    names = None
    if (folder / names_file).is_file():
        names = tuple((folder / names_file).read_text().split())
        if len(names) <= labels.max():
            raise InputError(
                f"{folder / names_file}: names {len(names)} classes, label {labels.max()} of the "
                f"{split} split has none"
            )
    return np.ascontiguousarray(images), labels, names
