"""`jaxlab.data.formats.pictures`: how a folder of pictures becomes a set: nothing lost, nothing
read as something it is not."""

import functools
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxlab import data
from jaxlab.data import formats
from jaxlab.data.formats import pictures

RAMP = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
EIGHT = np.round(RAMP / 257).astype(int)  # the same ramp with 8 bits


@pytest.fixture
def said(caplog):
    """The lines logged so far, each once."""
    pictures.say.cache_clear()
    return lambda: list(dict.fromkeys(r.getMessage() for r in caplog.records))


def save(path, grey=0, size=(8, 8), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (grey,) * 3 if mode == "RGB" else grey).save(path, **options)


def read(path, channels=1):
    return formats.read_images([path], image_size=None, channels=channels)[0].astype(int)


def tiff(bits, photometric, content):
    """A TIFF of one grey strip of 8x8 pixels, as microscopes and scanners write it."""
    fields = [(256, 8), (257, 8), (258, bits), (259, 1), (262, photometric)]
    fields += [(273, 8), (277, 1), (278, 8), (279, len(content))]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in fields)
    start = struct.pack("<I", 8 + len(content))
    return b"II*\0" + start + content + struct.pack("<H", len(fields)) + entries + bytes(4)


# --- Pixels ---------------------------------------------------------------------------------------


def twelve_bits():
    first, second = (RAMP >> 4).reshape(-1, 2).T.astype(int)
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "kind", ["png", "tif", "big-endian.tif", "pgm", "white-is-0.tif", "12.tif"]
)
def test_deep_grey_is_scaled_to_eight_bits(tmp_path, kind, channels):
    path, want = tmp_path / f"a.{kind}", EIGHT
    if kind == "pgm":
        path.write_bytes(b"P5 8 8 65535\n" + RAMP.astype(">u2").tobytes())
    elif kind == "white-is-0.tif":
        path.write_bytes(tiff(16, 0, (65535 - RAMP).tobytes()))
    elif kind == "12.tif":
        path.write_bytes(tiff(12, 1, twelve_bits().tobytes()))
    else:
        Image.fromarray(RAMP.astype(">u2") if kind == "big-endian.tif" else RAMP).save(path)
    np.testing.assert_allclose(read(path, channels), np.stack([want] * channels, -1), atol=1)


def test_other_modes_are_read_as_viewers_show_them(tmp_path):
    grey = Image.fromarray(EIGHT.astype(np.uint8))
    for mode, kind in (("CMYK", "jpg"), ("CMYK", "tif"), ("YCbCr", "tif"), ("LA", "png")):
        path = tmp_path / f"{mode}.{kind}"
        grey.convert("RGB" if mode != "LA" else "L").convert(mode).save(path, quality=100)
        np.testing.assert_allclose(read(path)[..., 0], EIGHT, atol=2)
    Image.fromarray(RAMP > 30000).save(tmp_path / "1.png")
    np.testing.assert_array_equal(read(tmp_path / "1.png")[..., 0], 255 * (RAMP > 30000))
    Image.fromarray(RAMP.astype(np.int32)).save(tmp_path / "long.tif")
    with pytest.raises(
        ValueError, match=r"long\.tif: holds 32-bit integers from 0 to 65535: scale"
    ):
        read(tmp_path / "long.tif")
    Image.fromarray((RAMP / 65535).astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(
        ValueError, match=r"float\.tif: holds floating-point numbers from 0\.0 to 1"
    ):
        read(tmp_path / "float.tif")


def test_transparent_pixels_are_white_and_not_their_hidden_colour(tmp_path):
    pixels = np.full((8, 8, 4), (200, 0, 0, 0), np.uint8)
    pixels[0] = (10, 20, 30, 255)
    pixels[1] = (0, 0, 0, 128)
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    got = read(tmp_path / "rgba.png", 3)[:3, 0]
    np.testing.assert_allclose(got, [[10, 20, 30], [127] * 3, [255] * 3], atol=1)
    grey = Image.fromarray(EIGHT.astype(np.uint8))
    first = {}
    for name, picture, hidden in (
        ("p.png", grey.convert("P"), 0),
        ("p.gif", grey.convert("P"), 0),
        ("l.png", grey, 0),
        ("deep.png", Image.fromarray(RAMP), 0),
        ("rgb.png", grey.convert("RGB"), (0, 0, 0)),
    ):
        picture.save(tmp_path / name, transparency=hidden)
        first[name] = read(tmp_path / name)[0, :2, 0].tolist()
    assert all(pixels == [255, EIGHT[0, 1]] for pixels in first.values()), first


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_the_orientation_in_exif_is_applied(tmp_path, ending):
    upright = np.zeros((12, 8, 3), np.uint8)
    upright[:3], upright[:, :2] = 255, (255, 0, 0)
    stored = {  # the value of the tag -> how a camera stores it (EXIF 2.3, tag 0x0112)
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    best = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(ending, {})
    for tag, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = tag
        path = tmp_path / f"{tag}.{ending}"
        Image.fromarray(np.ascontiguousarray(pixels)).save(path, exif=exif, **best)
        shown = formats.read_images([path], image_size=None, crop=(0, 0, 8, 8))[0].astype(int)
        np.testing.assert_allclose(shown, upright[:8], atol=6, err_msg=f"orientation {tag}")


def test_of_animations_the_first_picture_counts_and_it_is_said(tmp_path, said):
    frames = [Image.new("RGB", (8, 8), (90 * i,) * 3) for i in range(3)]
    names = ("a.gif", "a.png", "a.webp", "a.tif")
    for name in (*names, "phone.mpo"):
        frames[1].save(tmp_path / name, save_all=True, append_images=frames[2:])
    (tmp_path / "phone.mpo").rename(tmp_path / "phone.jpg")  # a photo with a second one for depth
    paths, _, _ = formats.list_images(tmp_path)
    assert (formats.read_images(paths, image_size=4) == 90).all()
    assert any("4 of 5 images are animated or have several pages" in line for line in said())


def test_the_content_decides_whatever_the_name_says(tmp_path):
    save(tmp_path / "a.png", 9)
    (tmp_path / "a.png").rename(tmp_path / "A.JPG")
    paths, _, _ = formats.list_images(tmp_path)
    assert read(paths[0])[0, 0, 0] == 9


def test_cuts_to_the_centre_and_grey_read_as_colour_are_said(tmp_path, said):
    save(tmp_path / "a.png", 9, (6, 4))
    save(tmp_path / "b.png", 9, (4, 4), "L")
    paths, _, _ = formats.list_images(tmp_path)
    formats.read_images(paths, image_size=4)
    formats.read_images(paths, image_size=4)
    (line,) = said()
    assert line.startswith("1 of 2 images are not square, their centre square is taken")
    assert line.endswith("a.png")
    formats.read_images(paths[1:], image_size=4)
    assert "channels=1 reads them so" in said()[-1]


# --- Damage and arguments -------------------------------------------------------------------------


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(EIGHT.astype(np.uint8)).save(whole, "PNG")
    content = whole.getvalue()
    header = content[12:16] + struct.pack(">II", 20000, 20000) + content[24:29]
    huge = content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    (tmp_path / "huge.png").write_bytes(huge)
    (tmp_path / "cut.png").write_bytes(content[:-30])
    (tmp_path / "chunk.png").write_bytes(content.replace(b"IDAT", b"\0\0\0\0"))
    (tmp_path / "crc.png").write_bytes(content[:30] + b"\xff" + content[31:])
    (tmp_path / "text.png").write_text("<html>not found</html>")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "page.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=rf"^{path}: cannot be decoded \(.*\)$"):
            formats.read_images([path], image_size=8)
    with pytest.raises(ValueError, match=r"huge\.png.*400000000 pixels"):
        formats.read_images([tmp_path / "huge.png"], image_size=8)
    with pytest.raises(ValueError, match="paths is empty"):
        formats.read_images([], image_size=8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size is 0, must be a whole number"),
        ({"image_size": -32}, "image_size is -32, must be a whole number"),
        ({"image_size": 32.5}, r"image_size is 32\.5, must be"),
        ({"image_size": "big"}, "image_size is 'big', must be"),
        ({"image_size": True}, "image_size is True, must be"),
        ({"image_size": 10**7}, "image_size is 10000000, must be"),
        ({"channels": 2}, "channels is 2, must be 1"),
        ({"channels": 4}, "channels is 4, must be 1"),
        ({"channels": None}, "channels is None, must be 1"),
        ({"crop": (8, 0, 0, 8)}, r"crop is \(8, 0, 0, 8\), must be \(left, top, right, bottom\)"),
        ({"crop": (0, 0, 8)}, r"crop is \(0, 0, 8\), must be four whole numbers"),
        ({"crop": (-1, 0, 7, 8)}, r"crop is \(-1, 0, 7, 8\), must be"),
        ({"crop": (0, 4, 8, 4)}, r"crop is \(0, 4, 8, 4\), must be"),
        ({"crop": (0, 0, 8.5, 8)}, "must be four whole numbers"),
        ({"crop": 8}, "crop is 8, must be four whole numbers"),
        ({"crop": (0, 0, 8, 6), "image_size": None}, "8x6 pixels: a square is needed"),
    ],
)
def test_arguments_are_refused_before_anything_is_read(tmp_path, arguments, message):
    arguments = {"image_size": 8, **arguments}
    with pytest.raises(ValueError, match=message):
        formats.read_images([tmp_path / "not there.png"], **arguments)
    with pytest.raises(ValueError, match=message):
        data.load("folder", tmp_path / "not there", **arguments)


# --- Which files count ----------------------------------------------------------------------------


def test_hidden_files_are_passed_over_and_others_counted(tmp_path, said):
    for name in ("a.png", "b.TIF", "c.gif", ".thumb.png", ".ipynb_checkpoints/a.png"):
        save(tmp_path / name)
    save(tmp_path / "__MACOSX" / "a.png")
    for name in ("._a.png", "Thumbs.db", "notes.txt", "old.txt", "photo.heic", "LICENSE"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        paths, labels, names = formats.list_images(tmp_path)
    assert ([p.name for p in paths], labels, names) == (["a.png", "b.TIF", "c.gif"], None, [])
    assert said() == [
        f"{tmp_path}: 3 images, left out: 1 .heic, 2 .txt, 1 without an ending, folders without "
        "pictures (empty), 5 hidden"
    ]


def test_images_next_to_class_folders_are_not_lost(tmp_path):
    for name in ("0.png", "1.png", "thumbs/0.png"):
        save(tmp_path / name)
    with pytest.raises(
        ValueError, match=r"holds 2 images \(0\.png, \.\.\.\) next to folders .*thumbs"
    ):
        formats.list_images(tmp_path)


def test_a_folder_without_pictures_says_what_it_has(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=r"holds no \.png.* file; it has 1 \.heic"):
        formats.list_images(tmp_path)


def test_links_are_followed_and_those_that_lead_nowhere_named(tmp_path, said):
    save(tmp_path / "store" / "cat" / "0.png", 10)
    save(tmp_path / "store" / "dog" / "0.png", 20)
    place = tmp_path / "set"
    place.mkdir()
    (place / "cat").symlink_to(tmp_path / "store" / "cat")
    (place / "dog").mkdir()
    (place / "dog" / "1.png").symlink_to(tmp_path / "store" / "dog" / "0.png")
    (place / "dog" / "up").symlink_to(place)  # a circle
    paths, labels, names = formats.list_images(place)
    assert ([p.name for p in paths], labels.tolist(), names) == (
        ["0.png", "1.png"],
        [0, 1],
        ["cat", "dog"],
    )
    assert "1 links to a folder above them" in said()[0]
    for name in ("dog/2.png", "wolf"):
        (place / name).symlink_to(tmp_path / "gone")
        with pytest.raises(ValueError, match=rf"{name}: is a link to .*gone, which is not there"):
            formats.list_images(place)
        os.unlink(place / name)
    (place / "dog" / "3.png").symlink_to("3.png")  # to itself
    with pytest.raises(ValueError, match=r"dog/3\.png: is a link"):
        formats.list_images(place)


# --- Splits and classes ---------------------------------------------------------------------------


def by_pixel(place, split, **options):
    found = data.load("folder", place, split, **options)
    return dict(sorted(zip(found.images[:, 0, 0, 0].tolist(), found.labels.tolist(), strict=True)))


def test_the_training_split_numbers_the_classes_of_all(tmp_path, said):
    greys = {"cat": 10, "dog": 20, "fish": 30}
    for split, names in (("train", "cat dog fish"), ("val", "dog"), ("test", "cat fish")):
        for name in names.split():
            save(tmp_path / split / name / "0.png", greys[name])
    assert by_pixel(tmp_path, "train") == {10: 0, 20: 1, 30: 2}
    assert by_pixel(tmp_path, "validation") == {20: 1}
    assert by_pixel(tmp_path, "test") == {10: 0, 30: 2}
    assert f"{tmp_path / 'test'}: no image of the training split's classes dog" in said()
    save(tmp_path / "test" / "wolf" / "0.png")
    with pytest.raises(ValueError, match=r"wolf: the training split has no class 'wolf', its clas"):
        data.load("folder", tmp_path, "test")


@pytest.mark.parametrize("name", ["val", "valid", "dev", "validation", "Val", "VALIDATION"])
def test_the_validation_split_has_many_names(tmp_path, name):
    sets = {"Train": np.full((3, 4, 4), 40, np.uint8), name: np.full((2, 4, 4), 220, np.uint8)}
    (tmp_path / "npz").mkdir()
    for split, images in sets.items():
        np.savez(tmp_path / "npz" / f"{split}.npz", images=images)
        for i, pixels in enumerate(images):
            (tmp_path / "folder" / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "folder" / split / f"{i}.png")
    np.savez(tmp_path / "one.npz", X_train=sets["Train"], **{f"x_{name}": sets[name]})
    np.savez(tmp_path / "two.npz", train_images=sets["Train"], **{f"{name}_images": sets[name]})
    for kind in ("folder", "npz", "one.npz", "two.npz"):
        load = functools.partial(data.load, kind.rpartition(".")[2], tmp_path / kind)
        assert load("train").images[:, 0, 0, 0].tolist() == [40] * 3
        assert load("validation").images[:, 0, 0, 0].tolist() == [220] * 2
        for split in ("train", "validation"):
            with pytest.raises(ValueError, match=r"holdout is 1, but .* hold the validation split"):
                load(split, holdout=1)


def test_two_folders_for_one_split_are_refused(tmp_path):
    for name in ("train", "val", "valid"):
        save(tmp_path / name / "0.png")
    with pytest.raises(ValueError, match="val and valid both name the validation split"):
        data.load("folder", tmp_path, "train")


def test_messages_about_splits_name_the_remedy(tmp_path):
    save(tmp_path / "0.png", 5)
    with pytest.raises(
        FileNotFoundError, match=r"no test split.*eval_split=validation with .*holdout"
    ):
        data.load("folder", tmp_path, "test")
    with pytest.raises(FileNotFoundError, match=r"--data_dir or data\.path say where to look"):
        data.load("folder", tmp_path / "nowhere", "test")
    with pytest.raises(
        ValueError, match=r"hold 1 images: hold out fewer \(--config\.data\.holdout"
    ):
        data.load("folder", tmp_path, "validation")


def test_splits_are_found_where_they_are_and_nothing_next_to_them_is_lost(tmp_path, said):
    for place in ("a/Training/cat", "a/testing/cat", "a/eval/cat", "b/images/train", "c/cat/val"):
        save(tmp_path / place / "0.png", 9)
    save(tmp_path / "a" / "loose.png")
    assert by_pixel(tmp_path / "a", "train") == by_pixel(tmp_path / "a", "test") == {9: 0}
    assert f"{tmp_path / 'a'}: left out next to the splits: loose.png, eval" in said()
    for place, below in (("b", "b/images/train"), ("c", "c/cat/val")):
        with pytest.raises(ValueError, match=f"{below}: is the folder of a split, but not in"):
            data.load("folder", tmp_path / place)


def test_classes_of_a_split_may_be_called_like_splits(tmp_path):
    save(tmp_path / "train" / "val" / "0.png", 7)
    save(tmp_path / "train" / "test" / "0.png", 8)
    assert by_pixel(tmp_path, "train") == {8: 0, 7: 1}


def test_numbers_that_a_picture_cannot_show_are_never_black_in_silence(tmp_path, said):
    (tmp_path / "a.ppm").write_bytes(b"Pf\n2 2\n-1.0\n" + np.float32([0, 0.5, 0.7, 1]).tobytes())
    with pytest.raises(ValueError, match=r"a.ppm: holds floating-point numbers from 0.0 to 1.0"):
        read(tmp_path / "a.ppm")
    Image.fromarray(np.full((8, 8), 100, np.uint16)).save(tmp_path / "b.png")
    assert read(tmp_path / "b.png").max() == 0
    assert any("of more than 8 bits with no number above 255" in line for line in said())
    Image.new("LAB", (8, 8), (255, 128, 128)).save(tmp_path / "c.tif")
    assert read(tmp_path / "c.tif").min() == 255


@pytest.mark.parametrize("wrong", [{"image_size": 4}, {"channels": 1}, {"crop": (0, 0, 4, 4)}])
def test_only_pictures_of_a_folder_are_resized_cropped_or_turned_grey(tmp_path, wrong):
    np.savez(tmp_path / "a.npz", x=np.full((2, 8, 8, 3), 9, np.uint8))
    assert len(data.load("npz", tmp_path / "a.npz", image_size=8)) == 2
    with pytest.raises(
        ValueError, match=rf"{next(iter(wrong))} is .*, the images of npz are 8x8x3"
    ):
        data.load("npz", tmp_path / "a.npz", **wrong)
