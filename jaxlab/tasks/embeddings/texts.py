"""The texts that word vectors are learnt from: reading them, and what was found."""

import collections
from collections.abc import Mapping
from typing import Any

from jaxlab.data import Found
from jaxlab.data import corpus as corpora

Counts = collections.Counter[str]


def load(
    config: Mapping[str, Any], data_dir: Any = None, *, left_out: Counts | None = None
) -> corpora.Corpus:
    """The corpus that a config names.

    Args:
      config: with "corpus", and "data", the keyword arguments of `corpora.load_corpus`.
      data_dir: the data folder.
      left_out: to which what is left out is added, by reason.

    Raises:
      FileNotFoundError, ValueError: it cannot be read.
    """
    own = {key: value for key, value in config.get("data", {}).items() if value is not None}
    return corpora.load_corpus(config["corpus"], data_dir, left_out=left_out, **own)


def found(config: Mapping[str, Any], corpus: corpora.Corpus, left_out: Counts) -> Found:
    """What a run reports of its texts.

    Example:
      >>> corpus = corpora.read_texts(["to be or not to be"])
      >>> found({"corpus": "a.txt"}, corpus, collections.Counter()).lines()[0]
      'data: text, a.txt: tokens of 4 words in 1 paragraphs; nothing left out'
    """
    data = config.get("data", {})
    names = data.get("path") or config["corpus"]
    sizes = f"tokens of {len(corpus.words):,} words in {len(corpus.offsets) - 1:,} paragraphs"
    splits = {"train": {"examples": len(corpus), "classes": None}}
    source = names if isinstance(names, str) else ", ".join(filter(None, names))
    return Found(data.get("name") or "text", source, splits, sizes, dict(+left_out))
