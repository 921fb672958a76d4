"""How wide should an embedding be? Every estimate with what it assumes, and a figure.

    python scripts/estimate_embedding_dim.py --vocab_size=1000,50257
    python scripts/estimate_embedding_dim.py --corpus=book.txt,notes.txt.gz
    python scripts/estimate_embedding_dim.py --corpus=english

A corpus is text files, plain or gzipped, one estimate a file, or `english`, the set that
`scripts/fetch_data.py corpus_en` brings; its pairs are counted over its --top_words most frequent
words, for the estimate that looks at the corpus. Prints a table and writes --out.
"""

import os

from absl import flags, logging

from jaxlab import launch, plots
from jaxlab.data import corpus as corpora
from jaxlab.errors import InputError
from jaxlab.files import check_output, output_folder
from jaxlab.tasks.embeddings import estimates

VOCAB_SIZE = flags.DEFINE_list("vocab_size", [], "Sizes of vocabularies, such as 1000,50257.")
CORPUS = flags.DEFINE_list("corpus", [], "Text files, or `english`.")
MIN_COUNT = flags.DEFINE_integer("min_count", 1, "Words of a corpus seen less are left out.")
TOP_WORDS = flags.DEFINE_integer("top_words", 2000, "Words of a corpus whose pairs are counted.")
WINDOW = flags.DEFINE_integer("window", 5, "Largest distance of the words of a pair.")
KAPPA = flags.DEFINE_float("kappa", 1.0, "Mean |u||v| / n; trained vectors have 0.1 to 1.")
MULTIPLE_OF = flags.DEFINE_integer("multiple_of", 1, "Round up to a multiple.")
OUT = flags.DEFINE_string("out", "embedding_dim.png", "The figure; empty for none.")


def sizes():
    """--vocab_size as numbers."""
    found = []
    for text in VOCAB_SIZE.value:
        try:
            found.append(int(text.replace("_", "")))
        except ValueError:
            raise InputError(f"--vocab_size has {text!r}, must be whole numbers") from None
        if found[-1] < 2:
            raise InputError(f"--vocab_size has {found[-1]}, must be at least 2")
    return found


def main(config, workdir):
    del config, workdir
    if not VOCAB_SIZE.value and not CORPUS.value:
        raise InputError("--vocab_size=N,N or --corpus=FILE,FILE is required")
    for flag, least in ((MIN_COUNT, 1), (TOP_WORDS, 2), (WINDOW, 1), (MULTIPLE_OF, 1)):
        if flag.value < least:
            raise InputError(f"--{flag.name} is {flag.value}, must be at least {least}")
    out = None
    if OUT.value:
        output_folder(os.path.dirname(OUT.value) or ".")
        out = check_output(OUT.value)
    options = {"kappa": KAPPA.value, "multiple_of": MULTIPLE_OF.value}
    cases, lines = [], []
    for size in sizes():
        rows = estimates.estimates(size, **options)
        lines.append(estimates.as_text(f"vocabulary of {size:,} words", rows) + "\n")
        cases.append((f"N = {size:,}", size))
    for name in CORPUS.value:
        corpus = corpora.load_corpus(name, launch.options().data_dir)
        size = int((corpus.counts >= MIN_COUNT.value).sum())
        if size < 2:
            raise InputError(f"{name}: {size} words occur --min_count={MIN_COUNT.value} times")
        title = f"{name}: {len(corpus):,} tokens, vocabulary of {size:,} words"
        pairs = {"top_words": TOP_WORDS.value, "window": WINDOW.value}
        rows = estimates.estimates(size, corpus, **options, **pairs)
        lines.append(estimates.as_text(title, rows) + "\n")
        cases.append((f"{os.path.basename(name)}, N = {size:,}", size))
    if out is not None:
        text = "beyond half of the crossing the true entropy lies above the estimate"
        shown = estimates.entropy_lines(cases, kappa=KAPPA.value)
        plots.entropy_lines(*shown, out, title=f"{text} (kappa {KAPPA.value:g})")
        logging.info("figure in %s", out)
    print(*lines, sep="\n")  # at the end: whoever reads it may go away


if __name__ == "__main__":
    launch.run(main, needs_workdir=False, reads=("data_dir",))
