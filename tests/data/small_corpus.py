"""A small corpus, and its pairs counted by loops."""

import numpy as np

from jaxlab.data import corpus as corpora


def make_text():
    """60 paragraphs over 40 words whose frequencies differ."""
    rng = np.random.default_rng(0)
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(40)]
    lines = [" ".join(words[min(39, int(x))] for x in rng.exponential(8, 30)) for _ in range(60)]
    return corpora.read_texts(["\n\n".join(lines)])


def pairs_by_hand(corpus, size, window):
    counts = np.zeros((size, size))
    for start, stop in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True):
        ids = corpus.ids[start:stop]
        for i, a in enumerate(ids):
            for j in range(max(0, i - window), min(len(ids), i + window + 1)):
                if i != j and a < size and ids[j] < size:
                    counts[a, ids[j]] += 1
    return counts
