"""Where the data sets of this machine are."""

import os
from pathlib import Path

import pooch


def data_folder(data_dir: str | Path | None = None) -> Path:
    """The folder of data sets: the argument, else $JAXLAB_DATA, else the user's cache folder.

    Example:
      >>> data_folder("/data/sets").name
      'sets'
    """
    return Path(data_dir or os.environ.get("JAXLAB_DATA") or pooch.os_cache("jaxlab")).expanduser()
