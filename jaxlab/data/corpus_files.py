"""Where the texts of a corpus are: named sets, files, folders, patterns, and columns of tables."""

import collections
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from etils import epath

from jaxlab.checks import check_choice
from jaxlab.data import sources
from jaxlab.data.folder import data_folder
from jaxlab.data.formats.plain_text import read_text
from jaxlab.errors import InputError

CORPORA = {"english": ("corpus-en/gutenberg.txt.gz", "corpus-en/wikipedia-extract.txt.gz")}
WORD_PAIRS = {"wordsim353": "corpus-en/wordsim353.tsv", "simlex999": "corpus-en/simlex999.txt"}
FETCH = "python -m jaxlab fetch_data corpus_en"
FORMATS = ("text", *sources.TABLES)
ENDINGS = (".txt", ".gz")  # of the files of a folder that are read


def data_file(path: str, data_dir: str | Path | None) -> Path:
    """A file of the named sets, plain or gzipped."""
    found = data_folder(data_dir) / path
    for name in (found, found.with_name(f"{found.name}.gz")):
        if name.is_file():
            return name
    raise FileNotFoundError(f"{found}: no such file; download it with `{FETCH}`")


def text_of(path: str | os.PathLike, *, some_damage: bool = False) -> str:
    """The text of a file."""
    path = epath.Path(path)
    if not path.exists() or path.is_dir():
        raise FileNotFoundError(f"{path}: no such text file (named are {', '.join(CORPORA)})")
    return read_text(path, some_damage=some_damage)


def text_files(
    names: str | Sequence[str], data_dir: str | Path | None = None
) -> list[str | os.PathLike]:
    """The text files that a config names, in a fixed order.

    Args:
      names: one name or several; a text of several has commas between them. A name is that of a set
        of `CORPORA`, a file, a folder, of which (and of those in it) all files are read whose names
        end as `ENDINGS` do, or a pattern with * or **. A file is read once for each name that it
        belongs to. Relative ones start in the working folder, else in the data folder.
      data_dir: the data folder.

    Raises:
      FileNotFoundError: there is no such file, or none in a folder.

    Example:
      >>> import pathlib, tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> for name in ("b.txt", "a.txt.gz", "notes.md"):
      ...     _ = (folder / name).write_text("to be or not")
      >>> [os.path.basename(path) for path in text_files(str(folder))]
      ['a.txt.gz', 'b.txt']
    """
    if isinstance(names, str):
        names = [names] if Path(names).is_file() else names.split(",")
    found: list[str | os.PathLike] = []
    for name in filter(None, map(str.strip, names)):
        if name in CORPORA:
            found += [data_file(path, data_dir) for path in CORPORA[name]]
        else:
            once: dict[str, str | os.PathLike] = {}
            for path in _expand(name, data_dir):
                once.setdefault(os.path.realpath(path), path)
            found += once.values()
    return found


def _expand(name: str, data_dir: Any) -> Sequence[str | os.PathLike]:
    try:
        place = sources.find_path(name, data_dir)
    except FileNotFoundError:
        for folder in (Path(), data_folder(data_dir)):
            pattern = os.path.join(folder, os.path.expanduser(name))
            files = sorted(p for p in glob.glob(pattern, recursive=True) if os.path.isfile(p))
            if files:
                return files
        if glob.has_magic(name):
            raise FileNotFoundError(f"{name}: no file has such a name") from None
        return [name]  # for the message of `text_of`
    if not place.is_dir():
        return [place]
    files = list(_inside(place))
    if not files:
        raise FileNotFoundError(f"{place}: no file whose name ends with {' or '.join(ENDINGS)}")
    return files


def _inside(folder: epath.Path, above: tuple[str, ...] = ()) -> Iterator[epath.Path]:
    """The text files of a folder and of those in it; a link that leads back is not followed."""
    above = (*above, os.path.realpath(folder))
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if os.path.realpath(path) not in above:
                yield from _inside(path, above)
        elif path.name.endswith(ENDINGS):
            yield path


def column_texts(
    name: str,
    path: sources.Paths,
    data_dir: str | Path | None = None,
    *,
    text_column: str | None = None,
    config_name: str | None = None,
    left_out: collections.Counter[str] | None = None,
) -> list[str]:
    """The texts in a column of a table; of one with splits, of the training rows.

    Args:
      name: one of `sources.TABLES`.
      path: see `sources.load_rows`.
      data_dir: the data folder.
      text_column: of the texts; None for "text".
      config_name: see `sources.load_rows`.
      left_out: to which "rows without a text" are added.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: there is no such column, or a cell holds something else than a text.
    """
    column = text_column or "text"
    whole = {"data_dir": data_dir, "shares": (0, 0), "config_name": config_name}
    rows = sources.load_rows(name, path, **whole)["train"]
    texts = rows.column(column, key="data.text_column")
    for i, text in enumerate(texts, 1):
        if not isinstance(text, str | None):
            kind = type(text).__name__
            raise InputError(
                f"{rows.source}, row {i}: {column} is {str(text)[:40]!r} ({kind}), must be a text"
            )
    found = [text for text in texts if text]
    if left_out is not None and len(found) < len(texts):
        left_out["rows without a text"] += len(texts) - len(found)
    return found


def check_format(name: str, text_column: str | None, config_name: str | None) -> None:
    """Raises for an unknown format, and for what files of text do not have."""
    check_choice("data.name", name, FORMATS)
    for key, value in (("text_column", text_column), ("config_name", config_name)):
        if name == "text" and value is not None:
            raise InputError(
                f"data.{key} is {value!r}, files of text have none: set data.name to one of "
                f"{', '.join(sources.TABLES)}"
            )
