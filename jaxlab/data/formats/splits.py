"""What the folder, file or arrays of a split may be called."""

# What a split's folder, file or arrays may be called, in any case; the first is our own name.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


def split_names(split: str, ending: str = "") -> tuple[str, ...]:
    """What the folder or file of a split may be called, in lower case."""
    return tuple(name + ending for name in SPLIT_NAMES[split])
