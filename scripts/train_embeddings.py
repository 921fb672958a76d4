"""Trains skip-gram word vectors: a sweep over dimensions, or negative sampling at full speed.

    python scripts/train_embeddings.py --config=configs/embeddings/sweep.py --workdir=runs/sweep
    python scripts/train_embeddings.py --config=configs/embeddings/negative_sampling.py \\
        --workdir=runs/words

The same command goes on where a run was stopped. A sweep leaves metrics.jsonl (a line for each
vocabulary, dimension and seed), summary.json and held_out.png; negative sampling leaves
metrics.jsonl, checkpoints/, vectors.txt (word2vec's text format), neighbours.txt and plane.png.
"""

import dataclasses
import functools
import itertools
import math
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from matplotlib.figure import Figure

from jaxlab import embedding_dim as ed
from jaxlab import launch, train
from jaxlab import mesh as mesh_lib
from jaxlab.checks import check_count, check_counts, check_scalar
from jaxlab.data import corpus as corpora
from jaxlab.data.skipgram import SkipgramBlocks, skipgram_pipeline
from jaxlab.errors import InputError
from jaxlab.files import replacing, to_json, write_atomically
from jaxlab.metrics import MetricsWriter, read_metrics
from jaxlab.models import skipgram
from jaxlab.studies import comparison
from jaxlab.tasks.embeddings import word_vectors

SECTIONS = {  # what those of the config may hold
    "fit": launch.keywords(skipgram.fit_counts, but=("key", "pairs", "held_out", "dim")),
    "blocks": launch.keywords(SkipgramBlocks, but=("corpus", "seed")),
}

# --- Sweep ----------------------------------------------------------------------------------------


def shares(config, corpus, vocab_size):
    """Shares of pairs, train and held out, float32 [seeds, N, N] each, and trained-on pairs."""
    parts = []
    for seed in range(config.seeds):
        part = corpus
        if config.share < 1:
            part = corpora.split_blocks(
                corpus, held_out=config.share, block_tokens=config.block_tokens, seed=1000 + seed
            )[1]
        split = corpora.split_blocks(
            part, held_out=config.held_out, block_tokens=config.block_tokens, seed=seed
        )
        parts.append(
            [corpora.cooccurrence(half, vocab_size, window=config.window) for half in split]
        )
    normal = lambda k: np.stack([(p[k] / p[k].sum()).astype(np.float32) for p in parts])
    return normal(0), normal(1), [p[0].sum() for p in parts]


def judged_pairs(data_dir):
    """Name -> (word pairs, judgements); without those whose file is not there."""
    found = {}
    for name in corpora.WORD_PAIRS:
        try:
            found[name] = corpora.load_word_pairs(name, data_dir)
        except FileNotFoundError as error:
            logging.warning("no rank correlation with %s: %s", name, error)
    return found


def same_data(workdir, corpus, pairs):
    """Refuses to go on with another text or other judgements; new judgements are welcome."""
    seen = {"corpus": {"words": corpus.words, "tokens": corpus.ids, "paragraphs": corpus.offsets}}
    for name, (known, judgements) in pairs.items():
        seen[name] = {"pairs": [" ".join(pair) for pair in known], "judgements": judgements}
    launch.check_data(workdir, seen, allow_change=launch.options().allow_change)


def as_line(judged):
    """What `judge` found, for people."""
    names = [name for name in judged if not name.endswith("_pairs")]
    if not names:
        return f"no judged word pairs, so no rank correlation: `{corpora.FETCH}` brings some"
    shown = lambda name: "none" if math.isnan(judged[name]) else f"{judged[name]:.4f}"
    cells = [f"{name} {shown(name)} (of {judged[f'{name}_pairs']} pairs)" for name in names]
    return f"rank correlation: {', '.join(cells)}"


def judge(vectors, words, pairs, min_pairs):
    """Rank correlations with the judged pairs, and how many pairs there were."""
    found = {}
    for name, (judged, scores) in pairs.items():
        rho, count = word_vectors.rank_correlation(vectors, words, judged, scores)
        found |= {name: rho if count >= min_pairs else math.nan, f"{name}_pairs": count}
    return found


def build_cell(config, vocab_size, dim, mesh=None):
    """The fit of one vocabulary and dimension as a run of one step: all seeds from start to end.

    The step is (keys [seeds], {"train", "held_out"} [seeds, N, N]) -> (keys, what it found).
    """
    fit = functools.partial(skipgram.fit_counts, dim=dim, **config.fit)

    @jax.vmap
    def each(key, shares):
        params, found = fit(key, shares["train"], shares["held_out"])
        joint = config.fit.softmax == "joint"
        entropy = skipgram.joint_entropy if joint else lambda x: skipgram.row_entropies(x).mean()
        return params, found, skipgram.norm_ratio(params), entropy(params)

    table = jax.ShapeDtypeStruct((config.seeds, vocab_size, vocab_size), np.float32)
    return train.Blueprint(
        lambda: jax.vmap(jax.random.key)(jnp.arange(config.seeds)),
        jax.jit(lambda keys, shares: (keys, each(keys, shares))),
        {"train": table, "held_out": table},
        num_steps=1,
        batch_size=config.seeds,
        mesh=mesh,
    )


def fit_cell(config, vocab_size, dim, data, words, pairs):
    """Rows of one vocabulary and dimension, one a seed."""
    train_shares, held_out, num_pairs = data
    cell = build_cell(config, vocab_size, dim)
    _, found = cell.step(cell.create_state(), {"train": train_shares, "held_out": held_out})
    params, found, kappa, entropy = jax.device_get(found)
    size = {"pairs": config.fit.softmax}
    for seed in range(config.seeds):
        curve = found["held_out"][seed]
        every = config.fit.num_steps // len(curve)
        best = comparison.lowest(curve)
        best = len(curve) - 1 if best is None else best
        yield {
            "vocab_size": vocab_size,
            "dim": dim,
            "seed": seed,
            "train_pairs": float(num_pairs[seed]),
            "train": found["train"][seed, -1],
            "held_out": curve[-1],
            "held_out_best": curve[best],
            "best_step": (best + 1) * every,
            "norm_ratio": kappa[seed],
            "entropy": entropy[seed],
            "entropy_theory": ed.skipgram_entropy(vocab_size, dim, **size),
            "entropy_theory_at_norm": ed.skipgram_entropy(
                vocab_size, dim, kappa=float(kappa[seed]), **size
            ),
            "entropy_corpus": ed.empirical_pair_entropy(train_shares[seed], **size),
            **judge(params["words"][seed], words[:vocab_size], pairs, config.min_pairs),
        }


def cell_of(row):
    return row["vocab_size"], row["dim"]


def optimum(dims, values):
    """Dimension of the lowest value: the vertex of a parabola in log n through the three lowest.

    Values that are not finite do not count; NaN where none is.
    """
    finite = np.isfinite(values)
    dims, values = np.asarray(dims)[finite], np.asarray(values)[finite]
    if not len(dims):
        return math.nan
    best = int(np.argmin(values))
    if best in (0, len(dims) - 1):
        return float(dims[best])
    x, y = np.log(dims[best - 1 : best + 2]), np.asarray(values[best - 1 : best + 2], np.float64)
    a, b, _ = np.polyfit(x, y, 2)
    return float(np.exp(np.clip(-b / (2 * a), x[0], x[-1])))


def summarize(config, rows):
    """Optima per vocabulary with intervals over the seeds, beside the predictions."""
    dims, rng = list(config.dims), np.random.default_rng(0)
    found = {(*cell_of(r), r["seed"]): r for r in rows}  # of a cell fitted twice the later rows
    several = len(dims) > 1  # one dimension is not the best of anything
    table = []
    for size in config.vocab_sizes:
        entry = {"vocab_size": size, "seeds": config.seeds}
        for column in ("held_out", "held_out_best"):
            grid = np.array(
                [[found[size, n, s][column] for s in range(config.seeds)] for n in dims]
            )
            # Whole seeds are drawn again: each has its own text, start and curve.
            draws = rng.integers(config.seeds, size=(1000, config.seeds))
            spread = np.quantile([optimum(dims, grid[:, d].mean(1)) for d in draws], [0.025, 0.975])
            lost = grid - np.where(np.isfinite(grid), grid, np.inf).min(axis=0)
            # Seeds differ by their text more than by anything else: bars show what is left of that.
            own = grid - grid.mean(axis=0)
            entry[column] = {
                "optimum": optimum(dims, grid.mean(1)) if several else None,
                "interval": spread.tolist() if several else None,
                "per_seed": [optimum(dims, x) for x in grid.T] if several else None,
                "within_0.01_nats": [
                    n for n, x in zip(dims, lost.mean(1), strict=True) if x < 0.01
                ],
                "mean": grid.mean(1).tolist(),
                "sd": own.std(1, ddof=1).tolist() if config.seeds > 1 else None,
            }
        entry["predicted"] = {
            "8.33 log N": ed.embedding_dim_root(size, method="formula"),
            "joint": ed.embedding_dim_root(size),
            "conditional": ed.embedding_dim_root(size, pairs="conditional"),
        }
        table.append(entry)
    return table


def draw_sweep(config, table, path):
    """Held-out cross-entropy against dimension, a panel a vocabulary, with the predicted lines."""
    figure = Figure(figsize=(3.4 * len(table), 3.2), layout="constrained", dpi=90)
    panels = figure.subplots(1, len(table), squeeze=False)[0]
    for panel, entry in zip(panels, table, strict=True):
        for column, label in (("held_out", "last step"), ("held_out_best", "best step")):
            mean, sd = entry[column]["mean"], entry[column]["sd"]
            panel.errorbar(config.dims, mean, sd, marker="o", ms=3, lw=1.2, capsize=2, label=label)
        for (name, value), style in zip(entry["predicted"].items(), ["-", "--", ":"], strict=True):
            if name != "joint":
                shown = name if name != "conditional" else "half of it"
                panel.axvline(value, color="0.4", lw=1, ls=style, label=f"{shown} = {value:.0f}")
        # The first of several dimensions is far worse, and would leave the others no room.
        last = entry["held_out"]["mean"]
        low, high = min(entry["held_out_best"]["mean"]), max(last[1:] or last)
        if high > low:
            panel.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
        panel.set_xscale("log", base=2)
        panel.set_xticks(config.dims, [str(n) for n in config.dims], fontsize=8)
        panel.tick_params(axis="y", labelsize=8)
        alone = "" if len(config.dims) > 1 else ", one dimension"
        panel.set_title(f"N = {entry['vocab_size']}{alone}", fontsize=10)
        panel.set_xlabel("dimension")
        panel.grid(alpha=0.25)
        panel.legend(fontsize=7)
    panels[0].set_ylabel("held-out cross-entropy (nats)")
    with replacing(path) as part:
        figure.savefig(part, format="png", pil_kwargs={"optimize": True})


def unfinished(config, cells, rows):
    """Cells without a row of every seed, and the last step whose rows stay.

    Cells are known by vocabulary and dimension: their numbers change with the config. A step that
    was being written when the run was stopped can only be the last, and goes.
    """
    found = {(*cell_of(row), row["seed"]) for row in rows}
    whole = lambda cell: all((*cell, seed) in found for seed in range(config.seeds))
    last = rows[-1]["step"] if rows else 0
    written = last if not rows or whole(cell_of(rows[-1])) else last - 1
    return [cell for cell in cells if not whole(cell)], written


def check_sweep(config):
    """Raises where a number of the config makes no sense, before anything is read."""
    check_count("seeds", config.seeds)
    check_scalar("share", config.share, above=0, at_most=1)
    for name, least in (("vocab_sizes", 2), ("dims", 1)):
        check_counts(name, config[name], at_least=least)
        if len(set(config[name])) < len(config[name]):
            raise InputError(f"{name} is {config[name]}, must not hold a number twice")


def sweep(config, workdir, data_dir):
    mesh_lib.refuse_several("the sweep trains the seeds of a cell in one program")
    check_sweep(config)
    config.dims = tuple(sorted(config.dims))  # an optimum lies between neighbours
    cells = list(itertools.product(config.vocab_sizes, config.dims))
    corpus = corpora.load_corpus(config.corpus, data_dir)
    if max(config.vocab_sizes) > len(corpus.words):
        raise InputError(
            f"vocab_sizes is {config.vocab_sizes}, the corpus has {len(corpus.words)} words"
        )
    pairs = judged_pairs(data_dir)
    same_data(workdir, corpus, pairs)
    writer = MetricsWriter(workdir)
    missing, written = cells, 0
    if (workdir / "metrics.jsonl").exists():
        missing, written = unfinished(config, cells, read_metrics(workdir))
        writer.truncate(written)
        logging.info("%d of %d cells are done", len(cells) - len(missing), len(cells))
    data, size = None, None
    for i, (vocab_size, dim) in enumerate(missing, 1):
        number = written + i
        start = time.perf_counter()
        if size != vocab_size:
            data, size = shares(config, corpus, vocab_size), vocab_size
        rows = list(fit_cell(config, vocab_size, dim, data, corpus.words, pairs))
        for row in rows:
            writer.write(number, row)
        seconds = time.perf_counter() - start
        writer.write_timing(number, {"seconds": seconds})
        mean = lambda name, rows=rows: float(np.mean([row[name] for row in rows]))
        logging.info(
            "%d of %d: N %d, n %d: held out %.4f (best %.4f), |u||v|/n %.2f, entropy %.2f, %.1f s",
            *(len(cells) - len(missing) + i, len(cells), vocab_size, dim),
            *(mean("held_out"), mean("held_out_best")),
            *(mean("norm_ratio"), mean("entropy"), seconds),
        )
    table = summarize(config, read_metrics(workdir))
    write_atomically(workdir / "summary.json", to_json(table, indent=2) + "\n")
    draw_sweep(config, table, workdir / "held_out.png")
    for entry in table:
        last, best = entry["held_out"], entry["held_out_best"]
        if len(config.dims) == 1:
            print(
                f"N = {entry['vocab_size']}: only dimension {config.dims[0]}, so no best one; held "
                f"out {last['mean'][0]:.4f} at the last step, {best['mean'][0]:.4f} at the best"
            )
            continue
        print(
            f"N = {entry['vocab_size']}: best dimension {last['optimum']:.0f} "
            f"[{last['interval'][0]:.0f}, {last['interval'][1]:.0f}] at the last step, "
            f"{best['optimum']:.0f} [{best['interval'][0]:.0f}, {best['interval'][1]:.0f}] at the "
            f"best; 8.33 log N = {entry['predicted']['8.33 log N']:.0f}, conditional "
            f"{entry['predicted']['conditional']:.0f}"
        )


# --- Negative sampling ----------------------------------------------------------------------------


def frequent_words(config, data_dir):
    """The corpus without rare words, and the number of tokens with them."""
    for name, least in (("dim", 1), ("epochs", 1), ("max_tokens", 0)):
        check_count(name, config[name], at_least=least)
    for name in ("learning_rate", "final_learning_rate", "num_negatives"):
        check_scalar(name, config[name], above=0)
    corpus = corpora.load_corpus(config.corpus, data_dir)
    if config.max_tokens:
        corpus = corpus.keep(np.arange(len(corpus)) < config.max_tokens)
    return corpora.frequent_words(corpus, config.min_count), len(corpus)


def draw_plane(vectors, words, chosen, path):
    """Chosen words on the two main directions of their unit vectors; frequent ones if unknown."""
    number = {word: i for i, word in enumerate(words)}
    known = [[number[w] for w in group.split() if w in number] for group in chosen]
    if sum(map(len, known)) < 3:
        known = [list(range(min(len(words), 40)))]
    rows = vectors[[i for group in known for i in group]]
    xy = word_vectors.plane(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
    figure = Figure(figsize=(6.4, 4.8), layout="constrained", dpi=90)
    panel = figure.subplots()
    panel.scatter(*xy.T, s=0)  # sets the limits
    named = [(words[i], f"C{color}") for color, group in enumerate(known) for i in group]
    for (x, y), (word, color) in zip(xy, named, strict=True):
        panel.text(x, y, word, fontsize=8, ha="center", va="center", color=color)
    panel.set_xticks([])
    panel.set_yticks([])
    with replacing(path) as part, warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        figure.savefig(part, format="png", pil_kwargs={"optimize": True})
    lacks = {str(w.message) for w in found if "missing from font" in str(w.message)}
    if lacks:
        logging.warning("%s: boxes stand for %d characters that its font lacks", path, len(lacks))


def build_sampling(config, corpus, mesh=None):
    """The blocks of text, and the run of negative sampling, which takes one device.

    Every process of several does the same on its own, so that each has the whole state at the end.
    """
    blocks = SkipgramBlocks(corpus, seed=config.seed, **config.blocks)
    num_steps, inner = config.epochs * blocks.batches_per_epoch, config.blocks.steps

    def init(key):
        # word2vec's start: small words, contexts at 0.
        return skipgram.init_params(
            key, len(corpus.words), config.dim, words=0.29 / config.dim, contexts=0.0
        ), {}

    whole = None if mesh is None else mesh_lib.replicated(mesh)

    @functools.partial(jax.jit, donate_argnums=0, in_shardings=whole, out_shardings=whole)
    def train_step(state, batch):
        progress = (state.step + jnp.arange(inner) / inner) / num_steps
        rates = jnp.maximum(config.learning_rate * (1 - progress), config.final_learning_rate)
        params, loss = skipgram.sgd_steps(
            state.params, batch, rates, num_negatives=config.num_negatives
        )
        moved = optax.tree.norm(jax.tree.map(jnp.subtract, params, state.params))
        metrics = {"loss": loss, "grad_norm": moved / rates.sum()}  # of a mean block
        return dataclasses.replace(state, params=params, step=state.step + 1), metrics

    key = jax.random.key(config.seed)
    return blocks, train.Blueprint(
        functools.partial(
            train.create_state, init, optax.identity(), key=key, mesh=mesh, ema=False
        ),
        train_step,
        {k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in blocks[0].items()},
        num_steps=num_steps,
        batch_size=blocks.words_per_batch,
        mesh=mesh,
    )


def blueprint(config, mesh, data_dir=None):
    """The run as planners want it, on one device of the mesh; of a sweep its largest cell."""
    one = None if mesh is None else mesh_lib.make_mesh(mesh.devices.ravel()[:1])
    if config.job == "sweep":
        check_sweep(config)
        return build_cell(config, max(config.vocab_sizes), max(config.dims), one)
    corpus, _ = frequent_words(config, data_dir)
    return build_sampling(config, corpus, one)[1]


def negative_sampling(config, workdir, options):
    corpus, total = frequent_words(config, options.data_dir)
    pairs = judged_pairs(options.data_dir)
    same_data(workdir, corpus, pairs)
    blocks, run = build_sampling(config, corpus, mesh_lib.one_device_each())
    logging.info(
        "%d words, %d of them in a vocabulary of %d; %d batches of %d places",
        *(total, len(corpus), len(corpus.words), run.num_steps, run.batch_size),
    )

    def eval_fn(state):
        return judge(np.asarray(state.params["words"]), corpus.words, pairs, 3)

    state = run.create_state()
    batches = skipgram_pipeline(blocks)
    state, checkpointer, writer = train.resume(
        workdir, state, batches, tensorboard=options.tensorboard, allow_change=options.allow_change
    )
    start, first = time.perf_counter(), int(state.step)
    state = train.fit(
        state,
        run.step,
        batches,
        num_steps=run.num_steps,
        checkpointer=checkpointer,
        writer=writer,
        log_every=config.log_every,
        eval_every=config.eval_every,
        eval_fn=eval_fn,
        checkpoint_every=config.checkpoint_every,
        batch_size=run.batch_size,
        profile_dir=options.profile_dir,
    )
    seconds = time.perf_counter() - start
    words_seen = total * config.epochs * (run.num_steps - first) / run.num_steps
    vectors, figures = np.asarray(state.params["words"]), eval_fn(state)

    def conclude():
        show_vectors(config, workdir, vectors, corpus.words)
        if words_seen:
            print(
                f"{words_seen:.0f} words of text in {seconds:.1f} s, compiling included: "
                f"{words_seen / seconds:.0f} words/s"
            )
        print(as_line(figures))

    mesh_lib.in_process_0(conclude)


def show_vectors(config, workdir, vectors, words):
    """Writes vectors, neighbours and the picture; prints the neighbours."""
    word_vectors.save_word2vec(workdir / "vectors.txt", words, vectors)
    lines = []
    for query in config.show:
        if query in words:
            near = word_vectors.nearest(vectors, words, query, count=8)
            lines.append(f"{query}: " + ", ".join(f"{word} {cosine:.2f}" for word, cosine in near))
    write_atomically(workdir / "neighbours.txt", "".join(line + "\n" for line in lines))
    draw_plane(vectors, words, config.plane, workdir / "plane.png")
    print(*lines, sep="\n")


def main(config, workdir):
    options = launch.options()
    if config.job == "sweep":
        sweep(config, workdir, options.data_dir)
    elif config.job == "negative_sampling":
        negative_sampling(config, workdir, options)
    else:
        raise InputError(f"job is {config.job!r}, must be sweep or negative_sampling")


if __name__ == "__main__":
    launch.run(main, default_config="configs/embeddings/sweep.py", sections=SECTIONS)
