"""Readers and damaged files: what comes out is data, or one line of ours that names the file."""

import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image
from test_formats import idx_bytes, write_jpeg_pack
from test_tables import frame

from jaxlab.data import formats
from jaxlab.data.fetch import packages
from jaxlab.data.formats import rdata
from jaxlab.errors import UserError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 12, 3), np.uint8)
FEW, MANY = 25, 1500


def picture(kind, pixels=PIXELS, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).convert(options.pop("mode", None)).save(out, kind, **options)
    return out.getvalue()


def npz(save=np.savez):
    out = io.BytesIO()
    save(out, x_train=PIXELS[None, ..., 0], y_train=np.array([3]))
    return out.getvalue()


def jpeg_pack(path):
    write_jpeg_pack(path, 3)
    return path.read_bytes()


def archive(kind):
    out = io.BytesIO()
    if kind == "whl":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a/b.txt", b"content " * 50)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w:gz") as file:
        member = tarfile.TarInfo("a/b.txt")
        member.size = 400
        file.addfile(member, io.BytesIO(b"content " * 50))
    if kind == "tgz":
        return out.getvalue()
    data = out.getvalue()
    head = b"data.tar.gz".ljust(48) + str(len(data)).encode().ljust(10) + b"`\n"
    return b"!<arch>\n" + head + data


def read_images(path):
    images = formats.read_images([path], image_size=8)
    assert (images.shape, images.dtype) == ((1, 8, 8, 3), np.uint8)


def read_npz(path):
    images, labels = formats.read_npz(path, "train")
    assert (images.ndim, images.dtype) == (4, np.uint8)
    assert labels is None or (labels.shape, labels.dtype) == ((len(images),), np.int32)


def read_member(path):
    """What a recipe sees of a package whose client left this file."""
    members = packages.open_archive(path.name, path.read_bytes())
    packages.read_member(path.name, members, "a/b.txt")


def read_table(path):
    x, labels, classes = rdata.read_frame(path, "Shuttle", "Class")
    assert np.isfinite(x).all()
    assert labels.min() >= 0
    assert labels.max() < len(classes)


CASES = {
    "png": (picture("PNG"), read_images),
    "palette.png": (picture("PNG", mode="P"), read_images),
    "deep.png": (picture("PNG", PIXELS[..., 0].astype(np.uint16) * 257), read_images),
    "alpha.png": (picture("PNG", mode="RGBA"), read_images),
    "jpg": (picture("JPEG"), read_images),
    "webp": (picture("WEBP"), read_images),
    "bmp": (picture("BMP"), read_images),
    "gif": (picture("GIF", mode="P"), read_images),
    "tif": (picture("TIFF"), read_images),
    "ppm": (picture("PPM"), read_images),
    "npz": (npz(), read_npz),
    "small.npz": (npz(np.savez_compressed), read_npz),
    "pack.npz": (jpeg_pack, lambda path: formats.read_jpeg_pack(path, np.arange)),
    "idx": (idx_bytes(PIXELS), lambda path: formats.read_idx(path, 3)),
    "idx.gz": (gzip.compress(idx_bytes(PIXELS)), lambda path: formats.read_idx(path, 3)),
    "csv.gz": (gzip.compress(b"1,2\n3,4\n"), formats.read_mnist5k),
    "rda": (frame([2, 1, 2, 2]), read_table),
    "rda.gz": (gzip.compress(lzma.compress(frame([2, 1, 2, 2]))), read_table),
    "whl": (archive("whl"), read_member),
    "tgz": (archive("tgz"), read_member),
    "deb": (archive("deb"), read_member),
}


def mutant(content, rng):
    """The content with one to four bits flipped, bytes set, parts lost, doubled or moved."""
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at, kind = int(rng.integers(len(damaged) or 1)), rng.integers(6)
        size = int(rng.integers(1, 1 + min(64, len(damaged) or 1)))
        if kind == 0:
            damaged[at : at + 1] = bytes([damaged[at] ^ 1 << rng.integers(8)]) if damaged else b""
        elif kind == 1:
            damaged[at : at + size] = rng.bytes(len(damaged[at : at + size]))
        elif kind == 2:
            del damaged[at : at + size]
        elif kind == 3:
            damaged[at:at] = damaged[max(0, at - size) : at]
        elif kind == 4:
            damaged[at : at + 4] = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"][size % 3]
        elif rng.random() < 0.3:
            del damaged[at:]
    return bytes(damaged)


def check(name, count, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)  # larger ones only take longer
    content, read = CASES[name]
    path = tmp_path / f"a.{name}"
    content = content(path) if callable(content) else content
    rng = np.random.default_rng(20)
    lines = []
    for _ in range(count):
        damaged = mutant(content, rng)
        path.write_bytes(lzma.compress(damaged) if name == "rda" else damaged)
        try:
            read(path)
        except (UserError, packages.Unreachable) as error:
            lines.append(str(error))
    assert lines  # damage is seen
    for line in lines:
        assert path.name in line
        assert "\n" not in line
        assert len(line) < 800


@pytest.mark.filterwarnings("ignore")  # Pillow's, about damage that it reads over
@pytest.mark.parametrize("name", CASES)
def test_a_few_damaged_files(name, tmp_path, monkeypatch):
    check(name, FEW, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_many_damaged_files(name, tmp_path, monkeypatch):
    check(name, MANY, tmp_path, monkeypatch)
