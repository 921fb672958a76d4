"""Times skip-gram with negative sampling against gensim's word2vec, on the same text and settings.

    pip install gensim
    python scripts/benchmark_embeddings.py --epochs=1 --rounds=3 [--data_dir=FOLDER]

Both train 100 dimensions, window 5, 5 negatives, subsampling 1e-3 on the English corpus, words seen
five times or more; gensim with as many workers as there are cores. They take turns. Reading the
text, gensim's vocabulary and our compiling are left out of the words per second, and shown apart.
"""

import os
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from jaxlab import launch
from jaxlab.data import corpus as corpora
from jaxlab.data.skipgram import SkipgramBlocks
from jaxlab.models import skipgram
from jaxlab.tasks.embeddings import word_vectors

EPOCHS = flags.DEFINE_integer("epochs", 1, "Passes over the text in a round.", lower_bound=1)
ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds, each one run of either.", lower_bound=1)
MAX_TOKENS = flags.DEFINE_integer("max_tokens", 0, "Only the first N words; 0 for all.")

DIM, WINDOW, NEGATIVES, RATE, LAST_RATE = 100, 5, 5, 0.025, 1e-4
STEPS = 400


def ours(corpus, epochs, seed):
    """Returns (seconds, vectors): the pipeline's work included, compiling left out."""
    # gensim goes through the text in its order, too.
    blocks = SkipgramBlocks(corpus, seed=seed, steps=STEPS, stretches=8, length=16, shuffle=False)
    total = epochs * blocks.batches_per_epoch
    step = jax.jit(
        lambda params, batch, rates: skipgram.sgd_steps(
            params, batch, rates, num_negatives=NEGATIVES
        )[0]
    )
    params = skipgram.init_params(
        jax.random.key(seed), len(corpus.words), DIM, words=0.29 / DIM, contexts=0.0
    )
    jax.block_until_ready(step(params, blocks[0], jnp.zeros(STEPS)))
    start = time.perf_counter()
    for index in range(total):
        progress = (index + np.arange(STEPS) / STEPS) / total
        rates = np.maximum(RATE * (1 - progress), LAST_RATE).astype(np.float32)
        params = step(params, blocks[index], rates)
    vectors = np.asarray(params["words"])
    return time.perf_counter() - start, vectors


def gensims(corpus, epochs, seed):
    """Returns (seconds, vectors) of gensim's Word2Vec on the same words."""
    from gensim.models import Word2Vec  # pyright: ignore[reportMissingImports]

    words = np.asarray(corpus.words, object)
    parts = np.split(words[corpus.ids], corpus.offsets[1:-1])
    # gensim cuts a text after 10,000 words.
    sentences = [
        part[i : i + 10_000].tolist() for part in parts for i in range(0, len(part), 10_000)
    ]
    model = Word2Vec(
        sg=1,
        vector_size=DIM,
        window=WINDOW,
        negative=NEGATIVES,
        sample=1e-3,
        alpha=RATE,
        min_alpha=LAST_RATE,
        min_count=1,
        workers=os.cpu_count() or 1,
        seed=seed,
    )
    model.build_vocab(sentences)
    start = time.perf_counter()
    model.train(sentences, total_examples=len(sentences), epochs=epochs)
    seconds = time.perf_counter() - start
    return seconds, np.stack([model.wv[word] for word in corpus.words])


def main(config, workdir):
    del config, workdir
    data_dir = launch.options().data_dir
    corpus = corpora.load_corpus("english", data_dir)
    if MAX_TOKENS.value:
        corpus = corpus.keep(np.arange(len(corpus)) < MAX_TOKENS.value)
    corpus = corpora.frequent_words(corpus, 5)
    pairs = {name: corpora.load_word_pairs(name, data_dir) for name in corpora.WORD_PAIRS}
    runs = {"jaxlab": ours, "gensim": gensims}
    try:
        import gensim  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        print("gensim is not installed (pip install gensim): only jaxlab is timed")
        del runs["gensim"]
    words = EPOCHS.value * len(corpus)
    print(f"{words:,} words per run, {len(corpus.words):,} different, {os.cpu_count()} cores")
    speeds = {name: [] for name in runs}
    for seed in range(ROUNDS.value):
        for name, run in runs.items():
            seconds, vectors = run(corpus, EPOCHS.value, seed)
            speeds[name].append(words / seconds)
            judged = {
                pair: word_vectors.rank_correlation(vectors, corpus.words, *known)[0]
                for pair, known in pairs.items()
            }
            print(
                f"seed {seed}  {name}  {seconds:.1f} s  {words / seconds:,.0f} words/s  "
                + "  ".join(f"{pair} {rho:.3f}" for pair, rho in judged.items()),
                flush=True,
            )
    for name, found in speeds.items():
        print(f"{name}: median {np.median(found):,.0f} words/s")
    if len(speeds) == 2:
        ratios = np.array(speeds["jaxlab"]) / np.array(speeds["gensim"])
        print(
            f"jaxlab / gensim: {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        )


if __name__ == "__main__":
    launch.run(main, needs_workdir=False, reads=("data_dir",))
