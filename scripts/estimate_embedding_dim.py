"""How wide should an embedding be? Every estimate with what it assumes, and a figure.

    python scripts/estimate_embedding_dim.py --vocab_size=1000,50257
    python scripts/estimate_embedding_dim.py --corpus=book.txt,notes.txt.gz
    python scripts/estimate_embedding_dim.py --corpus=english

A corpus is text files, plain or gzipped, one estimate a file, or `english`, the set that
`scripts/fetch_data.py corpus_en` brings; its pairs are counted over its --top_words most frequent
words, for the estimate that looks at the corpus. Prints a table and writes --out.
"""

import math
import os

import numpy as np
from absl import flags, logging
from etils import epath
from matplotlib.figure import Figure

from jaxlab import embedding_dim as ed
from jaxlab import launch
from jaxlab.data import corpus as corpora
from jaxlab.errors import InputError
from jaxlab.files import check_output, output_folder, replacing

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


def estimates(vocab_size, corpus=None):
    """(name, dimension, exact number or None, assumption) of every method."""
    n = vocab_size
    options = {"kappa": KAPPA.value}

    def row(name, assumes, size=n, **chosen):
        chosen = {**options, **chosen}
        dim = ed.embedding_dim(size, multiple_of=MULTIPLE_OF.value, **chosen)
        return name, dim, ed.embedding_dim_root(size, **chosen), assumes

    norm = f"|u||v| = {KAPPA.value:g} n"
    rows = [
        row("8.33 log N", f"{norm}; 0.2406 rounded to 0.24", method="formula"),
        row("8.3123 log N - 0.31", f"{norm}; large n", method="asymptotic"),
        row("entropy, all pairs", f"{norm}; independent vectors; entropy of 0", method="entropy"),
        row(
            "entropy, a row",
            f"{norm}; softmax over the contexts of one word",
            method="entropy",
            pairs="conditional",
        ),
    ]
    for kappa in (0.5, 0.25):
        rows.append(
            row(f"... |u||v| = {kappa:g} n", "norms as trained", method="entropy", kappa=kappa)
        )
    if corpus is not None:
        top = min(TOP_WORDS.value, len(corpus.words))
        counts = corpora.cooccurrence(corpus, top, window=WINDOW.value)
        entropy = ed.empirical_pair_entropy(counts)
        target = {"method": "entropy", "target_entropy": entropy}
        limit = 2 * math.log(top)
        name = f"entropy of {top} words"
        if entropy < limit:
            assumes = f"that of the corpus, {entropy:.3f} of {limit:.3f} nats, for them alone"
            rows.append(row(name, assumes, size=top, **target))
    for eps in (0.5, 0.9):
        dim = ed.johnson_lindenstrauss_dim(n, eps)
        rows.append((f"Johnson-Lindenstrauss {eps:g}", dim, None, f"distances within {eps:.0%}"))
    return rows


def table(title, rows):
    """Lines to print."""
    lines = [title, f"  {'method':27}{'n':>7}{'exactly':>12}  assumes"]
    for name, dim, root, assumes in rows:
        exact = "" if root is None else f"{root:.4f}"
        lines.append(f"  {name:27}{dim:>7}{exact:>12}  {assumes}")
    return [*lines, ""]


def draw(cases, path):
    """Entropy against dimension, a line a vocabulary, and where it crosses 0."""
    last = max(ed.embedding_dim_root(size, kappa=KAPPA.value) for _, size in cases)
    n = np.unique(np.geomspace(1, 1.25 * last + 4, 200))
    drop = np.array([ed.angle_entropy(x, kappa=KAPPA.value) for x in n])
    figure = Figure(figsize=(6.4, 4.0), layout="constrained", dpi=100)
    panel = figure.subplots()
    for label, size in cases:
        entropy = 2 * math.log(size) + drop
        root = ed.embedding_dim_root(size, kappa=KAPPA.value)
        (line,) = panel.plot(n[n < root], entropy[n < root], label=f"{label}: n = {root:.1f}")
        panel.plot(n[n >= root], entropy[n >= root], ls=":", color=line.get_color())
        panel.plot([root], [0], "o", color=line.get_color())
    panel.axhline(0, color="0.4", lw=0.8)
    panel.set_ylim(bottom=-3)
    panel.set_xlabel("dimension n")
    panel.set_ylabel("entropy of all pairs, 2 log N + h(n), in nats")
    text = "beyond half of the crossing the true entropy lies above the estimate"
    panel.set_title(f"{text} (kappa {KAPPA.value:g})", fontsize=9)
    panel.grid(alpha=0.25)
    panel.legend(fontsize=8)
    with replacing(path) as part:
        figure.savefig(part, format="png")


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
    cases, lines = [], []
    for size in sizes():
        lines += table(f"vocabulary of {size:,} words", estimates(size))
        cases.append((f"N = {size:,}", size))
    for name in CORPUS.value:
        corpus = corpora.load_corpus(name, launch.options().data_dir)
        size = int((corpus.counts >= MIN_COUNT.value).sum())
        if size < 2:
            raise InputError(f"{name}: {size} words occur --min_count={MIN_COUNT.value} times")
        title = f"{name}: {len(corpus):,} tokens, vocabulary of {size:,} words"
        lines += table(title, estimates(size, corpus))
        cases.append((f"{epath.Path(name).name}, N = {size:,}", size))
    if out is not None:
        draw(cases, out)
        logging.info("figure in %s", out)
    print(*lines, sep="\n")  # at the end: whoever reads it may go away


if __name__ == "__main__":
    launch.run(main, needs_workdir=False, reads=("data_dir",))
