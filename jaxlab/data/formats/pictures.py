"""How a folder of pictures becomes arrays: which files count, their classes, and how each is read.

Nothing is lost in silence: what is left out is counted and logged once, and every error names its
file.
"""

import collections
import functools
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxlab.errors import InputError, UserError

# Pillow's decoders that may be tried: a file's content decides, whatever its name says.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".pgm", ".ppm", ".pbm", ".jp2", ".avif"),
)
# Left behind by file managers and archives; names that start with a dot are hidden, too.
HIDDEN = ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")
BACKGROUND = "white"  # behind transparent pixels, whose own colour no viewer shows

Box = tuple[int, int, int, int]
_IN_THREADS = 512  # pictures that are worth threads of their own


class Stored(NamedTuple):
    """A picture file inside another file."""

    content: bytes
    name: str

    def __str__(self) -> str:
        return self.name


def list_images(
    folder: str | Path,
    *,
    classes: Sequence[str] | None = None,
    left_out: collections.Counter[str] | None = None,
) -> tuple[list[Path], np.ndarray | None, list[str]]:
    """The picture files of a folder, sorted; sub-folders that hold pictures are classes.

    Hidden files and folders (`._*`, `.ipynb_checkpoints`, `__MACOSX`, `Thumbs.db`) are passed over,
    links are followed. What else is no picture is left out, counted and logged.

    Args:
      folder: holds picture files (no labels), or one sub-folder for each class.
      classes: names of the classes in the order of their numbers, those of the training split; None
        numbers the sub-folders in the order of their names.
      left_out: gets the numbers of files that are left out, by reason.

    Returns:
      Paths, int32 labels (None without sub-folders) and class names.

    Raises:
      FileNotFoundError: the folder is missing or holds no picture.
      ValueError: images lie next to classes, a class is none of `classes`, a link leads nowhere.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of images")
    left_out = collections.Counter() if left_out is None else left_out
    here, folders = entries(folder, left_out)
    by_class = {p.name: sorted(walk(p, left_out, (folder,))) for p in folders}
    empty = [name for name, paths in by_class.items() if not paths]
    by_class = {name: paths for name, paths in by_class.items() if paths}
    paths = here or [path for paths in by_class.values() for path in paths]
    others = [f"{count} {what}" for what, count in sorted(left_out.items()) if what != "hidden"]
    others += [f"folders without pictures ({', '.join(empty)})"] if empty else []
    if left_out["hidden"]:
        others.append(f"{left_out['hidden']} hidden")
    if not paths:
        also = f"; it has {', '.join(others)}" if others else ""
        raise FileNotFoundError(f"{folder}: holds no {', '.join(IMAGE_SUFFIXES)} file{also}")
    if here and by_class:
        raise InputError(
            f"{folder}: holds {_count(len(here), 'image')} ({here[0].name}, ...) next to folders "
            f"that would be classes ({_some(by_class)}): move the images into a class, or the "
            "folders elsewhere"
        )
    if others:
        say(f"{folder}: {_count(len(paths), 'image')}, left out: {', '.join(others)}")
    if here:
        return paths, None, []
    names = list(classes or by_class)
    unknown = [name for name in by_class if name not in names]
    if unknown:
        raise InputError(
            f"{folder / unknown[0]}: the training split has no class {unknown[0]!r}, its classes "
            f"are {_some(names)}"
        )
    absent = [name for name in names if name not in by_class]
    if absent:
        say(f"{folder}: no image of the training split's classes {_some(absent)}")
    numbers = [names.index(name) for name in by_class]
    labels = np.repeat(np.array(numbers, np.int32), [len(p) for p in by_class.values()])
    return paths, labels, names


def class_names(folder: Path) -> list[str]:
    """The classes that `list_images` gives for a folder; each is looked into up to one picture."""
    ignored: collections.Counter[str] = collections.Counter()
    _, folders = entries(folder, ignored)
    return [p.name for p in folders if next(walk(p, ignored, (folder,)), None)]


def read_images(
    paths: Sequence[Path | Stored],
    *,
    image_size: int | None,
    channels: int = 3,
    crop: Box | None = None,
) -> np.ndarray:
    """Decode image files as viewers show them, crop and resize them.

    The orientation in EXIF is applied, 16-bit grey is scaled to 8 bits, transparent pixels show a
    white background, and of an animation or of several pages the first counts (logged).

    Args:
      paths: the files, or what tables hold of them.
      image_size: height and width of the result; None keeps the pictures' own size, which must then
        be square and the same for all.
      channels: 3 for RGB, 1 for grey.
      crop: box (left, top, right, bottom) in pixels, applied first; without it a picture that is
        not square loses its longer sides, the centre stays (logged).

    Returns:
      uint8 [N, image_size, image_size, channels].

    Raises:
      ValueError: an argument is out of range, a picture cannot be decoded, is too large or holds
        other numbers than 8 or 16 bits for each colour, or sizes differ and `image_size` is None.
    """
    check_geometry(image_size, channels, crop)
    if not len(paths):
        raise InputError("paths is empty, must hold at least one picture")
    notes: dict[str, set[str]] = collections.defaultdict(set)

    def one(path: Path | Stored) -> np.ndarray:
        note = lambda text: notes[text].add(str(path))
        return read_image(path, image_size=image_size, channels=channels, crop=crop, note=note)

    first = one(paths[0])
    shape = (len(paths), *first.shape)
    try:
        images = np.empty(shape, np.uint8)
    except (MemoryError, ValueError) as error:
        raise InputError(f"image_size is {image_size}, {shape} do not fit the memory") from error

    def fill(rows: range) -> None:
        for row in rows:
            picture = one(paths[row])
            if picture.shape != first.shape:
                raise InputError(
                    f"{paths[row]}: is {picture.shape[:2]}, {paths[0].name} is {first.shape[:2]}: "
                    "give an image_size to resize to (--config.data.image_size=N)"
                )
            images[row] = picture

    in_threads(fill, len(paths))
    grey = notes.pop("grey", ())
    for note, which in sorted(notes.items()):
        say(f"{len(which)} of {len(paths)} images are {note}, such as {min(which)}")
    if channels == 3 and len(grey) == len({*map(str, paths)}):
        say(
            f"all {len(paths)} images are grey, such as {min(grey)}: "
            "--config.data.channels=1 reads them so"
        )
    return images


def read_image(
    source: Path | Stored,
    *,
    image_size: int | None,
    channels: int,
    crop: Box | None,
    note: Callable[[str], None] = lambda _: None,
) -> np.ndarray:
    """One picture of `read_images`, uint8 [H, W, channels]; `note` is that of `decode`."""
    content = source.content if isinstance(source, Stored) else source
    picture = decode(content, f"{source}:", channels, note)
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = crop or (left, top, left + side, top + side)
    if box[2] > width or box[3] > height:
        raise InputError(f"{source}: is {width}x{height}, too small for the crop {box}")
    if crop is None and width != height:
        note("not square, their centre square is taken (a crop takes another part)")
    picture = picture.crop(box)
    if image_size is not None and picture.size != (image_size, image_size):
        # With reducing_gap unset, Pillow's bilinear averages over the whole source area.
        picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(*picture.size[::-1], channels)


class LazyImages:
    """Pictures that are read when they are indexed: what fits no memory, as an array would be.

    `shape`, `dtype`, `size` and `nbytes` are those of the array that `read_images` gives, as are
    the rows that indexing with a slice or an array of whole numbers gives.

    Args:
      paths: as for `read_images`.
      image_size: height and width of all.
      channels: 3 or 1.
      crop: as for `read_images`.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(
        self, paths: Sequence[Path | Stored], *, image_size: int, channels: int, crop: Box | None
    ):
        self.paths = paths
        self.geometry: dict[str, Any] = {"image_size": image_size, "channels": channels}
        self.geometry["crop"] = crop
        self.shape = (len(paths), image_size, image_size, channels)
        self.size = self.nbytes = int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: Any) -> np.ndarray:
        chosen = np.arange(len(self))[indices]
        rows = chosen.ravel()
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)

        def fill(part: range) -> None:
            for i in part:
                images[i] = read_image(self.paths[rows[i]], **self.geometry)

        if len(rows) > _IN_THREADS:
            in_threads(fill, len(rows))
        else:  # a batch: the pipeline's threads make several at a time
            fill(range(len(rows)))
        return images.reshape(*chosen.shape, *self.shape[1:])


def check_geometry(image_size: Any, channels: Any, crop: Any) -> None:
    """Raises one line unless pictures can be read with these arguments; see `read_images`."""
    whole = lambda value: isinstance(value, int | np.integer) and not isinstance(value, bool)
    if image_size is not None and not (whole(image_size) and 1 <= image_size <= 65535):
        raise InputError(
            f"image_size is {image_size!r}, must be a whole number of pixels, at least 1, or None"
        )
    if not whole(channels) or channels not in (1, 3):
        raise InputError(f"channels is {channels!r}, must be 1 (grey) or 3 (RGB)")
    if crop is None:
        return
    if not isinstance(crop, tuple | list) or len(crop) != 4 or not all(map(whole, crop)):
        raise InputError(
            f"crop is {crop!r}, must be four whole numbers (left, top, right, bottom), or None"
        )
    left, top, right, bottom = crop
    if not (0 <= left < right and 0 <= top < bottom):
        raise InputError(
            f"crop is {tuple(crop)}, must be (left, top, right, bottom) with 0 <= left < right and "
            "0 <= top < bottom"
        )
    if image_size is None and right - left != bottom - top:
        raise InputError(
            f"crop is {tuple(crop)}, {right - left}x{bottom - top} pixels: a square is needed, or "
            "an image_size to resize to"
        )


def decode(
    source: Path | bytes, name: str, channels: int, note: Callable[[str], None] = lambda _: None
) -> Image.Image:
    """One picture in mode RGB or L as a viewer shows it; see `read_images`.

    Args:
      source: a file, or its content.
      name: what messages start with.
      channels: 3 for RGB, 1 for grey.
      note: gets a few words where something about the picture is worth a line.
    """
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=FORMATS) as picture:
            if picture.format != "MPO" and getattr(picture, "is_animated", False):
                note("animated or have several pages, only the first is read")
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            shown = _eight_bits(picture, note)
        if shown.mode in ("1", "L"):
            note("grey")
        shown = shown.convert("RGB") if shown.mode == "LAB" else shown  # it has no way to grey
        return shown.convert("RGB" if channels == 3 else "L")
    except UserError as error:
        raise InputError(f"{name} {error}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name} cannot be decoded (none of {', '.join(FORMATS)})") from error
    except Exception as error:
        # Decoders meet damage with whatever it leads them to: SyntaxError, struct.error, KeyError,
        # DecompressionBombError, MemoryError, ... All mean the same here.
        raise InputError(f"{name} cannot be decoded ({reason(error)})") from error


@functools.lru_cache(maxsize=1024)
def say(message: str) -> None:
    """Logs a line once, however often the same files are read."""
    logging.warning("%s", message)


def reason(error: Exception) -> str:
    """An exception's text in one line; its kind where it has none."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def in_threads(work: Callable[[range], None], count: int, chunk: int = 256) -> None:
    """Run `work` over ranges of rows; Pillow decodes outside the interpreter's lock."""
    rows = [range(start, min(start + chunk, count)) for start in range(0, count, chunk)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(work, rows))


def _eight_bits(picture: Image.Image, note: Callable[[str], None]) -> Image.Image:
    """The picture with 8 bits for each colour and nothing transparent."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture)
        tags = getattr(picture, "tag_v2", {})
        # Pillow gives 16-bit PNG and PPM as mode "I", too; in a TIFF these are 32 bits.
        sixteen = picture.mode.startswith("I;16") or picture.format in ("PNG", "PPM")
        if picture.mode == "F" or not sixteen:
            kind = "floating-point numbers" if picture.mode == "F" else "32-bit integers"
            raise InputError(
                f"holds {kind} from {values.min()} to {values.max()}: scale them, and save the "
                "picture with 8 or 16 bits for each colour"
            )
        top = 2 ** min(int(tags.get(258, (16,))[0]), 16) - 1  # BitsPerSample, 12 in some
        values = np.clip(values, 0, top).astype(np.int64)
        if top > 255 and 0 < values.max() < 256:
            note("of more than 8 bits with no number above 255, which is read as black")
        if tags.get(262) == 0:  # PhotometricInterpretation: 0 is white
            values = top - values
        hidden = picture.info.get("transparency")
        values = np.where(values == hidden, top, values) if isinstance(hidden, int) else values
        return Image.fromarray(((values * 255 + top // 2) // top).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, BACKGROUND), picture)
    return picture


def entries(folder: Path, left_out: collections.Counter[str]) -> tuple[list[Path], list[Path]]:
    """Picture files and sub-folders right in a folder, sorted; the others are counted."""
    pictures, folders = [], []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = folder / entry.name
            if entry.name.startswith(".") or entry.name in HIDDEN:
                left_out["hidden"] += 1
            elif entry.is_symlink() and not os.path.exists(path):
                target = os.readlink(path)
                raise InputError(f"{path}: is a link to {target}, which is not there: remove it")
            elif entry.is_dir():
                folders.append(path)
            elif entry.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
                pictures.append(path)
            else:
                left_out[path.suffix.lower() or "without an ending"] += 1
    return pictures, folders


def walk(
    folder: Path, left_out: collections.Counter[str], above: tuple[Path, ...]
) -> Iterator[Path]:
    """Picture files in a folder and below it."""
    if any(os.path.samefile(folder, parent) for parent in above):
        left_out["links to a folder above them"] += 1
        return
    pictures, folders = entries(folder, left_out)
    yield from pictures
    for path in folders:
        yield from walk(path, left_out, (*above, folder))


def _some(names: Any, most: int = 8) -> str:
    """Names in words, the first few of many."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
