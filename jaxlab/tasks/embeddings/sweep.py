"""Which dimension is best? Skip-gram fitted exactly over dimensions, all seeds in one program.

A cell is a vocabulary and a dimension; its record, a line of results.jsonl, names the step of its
rows in metrics.jsonl, one per seed.
"""

import collections
import functools
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath

from jaxlab import embedding_dim as ed
from jaxlab import optim, train
from jaxlab.checks import check_count, check_counts, check_scalar
from jaxlab.data import corpus as corpora
from jaxlab.data.pipelines.endless import describe
from jaxlab.errors import InputError
from jaxlab.metrics import METRICS_FILE, MetricsWriter, read_metrics
from jaxlab.models import skipgram
from jaxlab.studies import cells, comparison
from jaxlab.tasks.embeddings import texts
from jaxlab.tasks.embeddings.judgements import Pairs, described, judge

ADAM = {"name": "adam", "schedule": "constant"}  # the optimizer of a sweep that names none
COLUMNS = ("held_out", "held_out_best")
DRAWS = 1000  # of seeds, for an interval

# Keys of the config on which the result of a cell does not depend; the corpus counts by what it
# holds.
_APART = ("job", "vocab_sizes", "dims", "corpus", "fast_compile", "optimizer")

Rows = Sequence[Mapping[str, Any]]


def check_sweep(config: Mapping[str, Any]) -> dict[str, Any]:
    """Raises where a number makes no sense, before anything is read; returns dimensions in order.

    Args:
      config: the keys of `configs/embeddings/sweep.py`.

    Raises:
      ValueError: a number is out of range, or listed twice.
    """
    check_count("seeds", config["seeds"])
    check_scalar("share", config["share"], above=0, at_most=1)
    for name, least in (("vocab_sizes", 2), ("dims", 1)):
        check_counts(name, config[name], at_least=least)
        if len(set(config[name])) < len(config[name]):
            raise InputError(f"{name} is {config[name]}, must not hold a number twice")
    return {**config, "dims": tuple(sorted(config["dims"]))}  # an optimum lies between neighbours


def load_words(
    config: Mapping[str, Any],
    data_dir: Any = None,
    *,
    left_out: collections.Counter[str] | None = None,
) -> corpora.Corpus:
    """The corpus of a sweep; see `texts.load`.

    Raises:
      ValueError: it has fewer words than a vocabulary of the sweep, or cannot be read.
    """
    corpus = texts.load(config, data_dir, left_out=left_out)
    if max(config["vocab_sizes"]) > len(corpus.words):
        raise InputError(
            f"vocab_sizes is {config['vocab_sizes']}, the corpus has {len(corpus.words)} words"
        )
    return corpus


def pair_shares(
    config: Mapping[str, Any], corpus: corpora.Corpus, vocab_size: int
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Shares of word pairs, train and held out, float32 [seeds, N, N] each, and trained-on pairs.

    Args:
      config: the keys of `configs/embeddings/sweep.py`.
      corpus: the text, of which each seed holds out its own blocks.
      vocab_size: N, the most frequent words.
    """
    parts, block_tokens = [], config["block_tokens"]
    for seed in range(config["seeds"]):
        part = corpus
        if config["share"] < 1:
            part = corpora.split_blocks(
                corpus, held_out=config["share"], block_tokens=block_tokens, seed=1000 + seed
            )[1]
        split = corpora.split_blocks(
            part, held_out=config["held_out"], block_tokens=block_tokens, seed=seed
        )
        window = config["window"]
        parts.append([corpora.cooccurrence(half, vocab_size, window=window) for half in split])
    normal = lambda k: np.stack([(p[k] / p[k].sum()).astype(np.float32) for p in parts])
    return normal(0), normal(1), [p[0].sum() for p in parts]


def make_cell(
    config: Mapping[str, Any], vocab_size: int, dim: int, mesh: Any = None
) -> train.Blueprint:
    """The fit of one vocabulary and dimension as a run of one step: all seeds from start to end.

    The step is (keys [seeds], {"train", "held_out"} [seeds, N, N]) -> (keys, what it found).
    """
    own = _given(config["fit"])
    rate = {"learning_rate": own["learning_rate"], "num_steps": own["num_steps"]}
    tx = optim.make_optimizer(**ADAM | _given(config.get("optimizer", {})), **rate)
    fit = functools.partial(skipgram.fit_counts, dim=dim, tx=tx, **own)
    joint = own["softmax"] == "joint"

    @jax.vmap
    def each(key, shares):
        params, found = fit(key, shares["train"], shares["held_out"])
        entropy = skipgram.joint_entropy if joint else lambda x: skipgram.row_entropies(x).mean()
        return params, found, skipgram.norm_ratio(params), entropy(params)

    seeds = config["seeds"]
    table = jax.ShapeDtypeStruct((seeds, vocab_size, vocab_size), np.float32)
    return train.Blueprint(
        lambda: jax.vmap(jax.random.key)(jnp.arange(seeds)),
        jax.jit(lambda keys, shares: (keys, each(keys, shares))),
        {"train": table, "held_out": table},
        num_steps=1,
        batch_size=seeds,
        mesh=mesh,
    )


def fit_cell(
    config: Mapping[str, Any],
    vocab_size: int,
    dim: int,
    shares: tuple[np.ndarray, np.ndarray, list[float]],
    words: Sequence[str],
    pairs: Pairs,
) -> Iterator[dict[str, Any]]:
    """Rows of one vocabulary and dimension, one per seed.

    Args:
      config: the keys of `configs/embeddings/sweep.py`.
      vocab_size: N.
      dim: the dimension.
      shares: from `pair_shares`.
      words: the most frequent words, at least N.
      pairs: from `judgements.load_pairs`.
    """
    train_shares, held_out, num_pairs = shares
    cell = make_cell(config, vocab_size, dim)
    _, found = cell.step(cell.create_state(), {"train": train_shares, "held_out": held_out})
    params, found, kappa, entropy = jax.device_get(found)
    size = {"pairs": config["fit"]["softmax"]}
    for seed in range(config["seeds"]):
        curve = found["held_out"][seed]
        every = config["fit"]["num_steps"] // len(curve)
        best = comparison.lowest(curve)
        best = len(curve) - 1 if best is None else best
        theory = functools.partial(ed.skipgram_entropy, vocab_size, dim, **size)
        vectors = params["words"][seed]
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
            "entropy_theory": theory(),
            "entropy_theory_at_norm": theory(kappa=float(kappa[seed])),
            "entropy_corpus": ed.empirical_pair_entropy(train_shares[seed], **size),
            **judge(vectors, words[:vocab_size], pairs, min_pairs=config["min_pairs"]),
        }


def run(
    config: Mapping[str, Any], workdir: epath.PathLike, corpus: corpora.Corpus, pairs: Pairs
) -> list[dict[str, Any]]:
    """Fits the cells that are missing; returns what `summarize` says of all.

    Args:
      config: from `check_sweep`.
      workdir: of metrics.jsonl, a row per cell and seed, and results.jsonl, a line per cell.
      corpus: from `load_words`.
      pairs: from `judgements.load_pairs`.
    """
    wanted = list(itertools.product(config["vocab_sizes"], config["dims"]))
    # Judgements that come later are welcome, and change no vector.
    same = {name: value for name, value in config.items() if name not in _APART}
    same["fit"] = _given(config["fit"])
    if (optimizer := ADAM | _given(config.get("optimizer", {}))) != ADAM:
        same["optimizer"] = optimizer  # else the key is that of a record without one
    same["data"] = describe(described(corpus, {})["corpus"])
    key = lambda cell: cells.key_of({**same, "vocab_size": cell[0], "dim": cell[1]})
    records = _read_records(workdir, config["seeds"], key)
    missing = [cell for cell in wanted if key(cell) not in records]
    with MetricsWriter(workdir) as writer:
        written = max(records.values(), default=0)
        if (epath.Path(workdir) / METRICS_FILE).exists():
            writer.truncate(written)
            logging.info("%d of %d cells are done", len(wanted) - len(missing), len(wanted))
        shares: Any = None
        size = None
        for i, (vocab_size, dim) in enumerate(missing, 1):
            start = time.perf_counter()
            if size != vocab_size:
                shares, size = pair_shares(config, corpus, vocab_size), vocab_size
            rows = list(fit_cell(config, vocab_size, dim, shares, corpus.words, pairs))
            for row in rows:
                writer.write(written + i, row)
            seconds = time.perf_counter() - start
            writer.write_timing(written + i, {"seconds": seconds})
            _append_record(workdir, key((vocab_size, dim)), vocab_size, dim, written + i)
            mean = lambda name, rows=rows: float(np.mean([row[name] for row in rows]))
            logging.info(
                "%d of %d: N %d, n %d: held out %.4f (best %.4f), |u||v|/n %.2f, entropy %.2f, "
                "%.1f s",
                *(len(wanted) - len(missing) + i, len(wanted), vocab_size, dim),
                *(mean("held_out"), mean("held_out_best")),
                *(mean("norm_ratio"), mean("entropy"), seconds),
            )
    steps = set(map(_read_records(workdir, config["seeds"], key).get, map(key, wanted)))
    rows = [row for row in read_metrics(workdir) if row["step"] in steps]
    sizes, dims = config["vocab_sizes"], config["dims"]
    return summarize(rows, vocab_sizes=sizes, dims=dims, seeds=config["seeds"])


def _append_record(workdir, key, vocab_size, dim, step):
    cells.append_record(workdir, key, {"vocab_size": vocab_size, "dim": dim, "step": step})


def _given(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if value is not None}


def _read_records(workdir, seeds, key) -> dict[str, int]:
    """Key -> step of the cells of which there are a record and a row of every seed."""
    workdir = epath.Path(workdir)
    if not (workdir / METRICS_FILE).exists():
        return {}
    groups = {
        step: list(rows)
        for step, rows in itertools.groupby(read_metrics(workdir), lambda row: row["step"])
    }
    whole = {
        step: rows
        for step, rows in groups.items()
        if {row["seed"] for row in rows} >= set(range(seeds))
    }
    if not (workdir / cells.RESULTS).exists():  # as earlier versions left it: rows without keys
        for step, rows in whole.items():
            cell = rows[0]["vocab_size"], rows[0]["dim"]
            _append_record(workdir, key(cell), *cell, step)
    found = cells.read_lines(workdir, {"step": int})
    return {name: record["step"] for name, record in found.items() if record["step"] in whole}


def optimum(dims: Sequence[float], values: Sequence[float] | np.ndarray) -> float:
    """Dimension of the lowest value: the vertex of a parabola in log n through the three lowest.

    Args:
      dims: rising, above 0.
      values: of each; those that are not finite do not count.

    Returns:
      The dimension, the first or last one itself where the lowest value is there; NaN where no
      value is finite.

    Example:
      >>> optimum([1, 2, 4], [1.0, 0.0, 1.0]), optimum([1, 2], [0.0, 1.0])
      (2.0, 1.0)
    """
    finite = np.isfinite(values)
    dims, values = np.asarray(dims)[finite], np.asarray(values)[finite]  # type: ignore[assignment]
    if not len(dims):
        return math.nan
    best = int(np.argmin(values))
    if best in (0, len(dims) - 1):
        return float(dims[best])
    x, y = np.log(dims[best - 1 : best + 2]), np.asarray(values[best - 1 : best + 2], np.float64)
    a, b, _ = np.polyfit(x, y, 2)
    return float(np.exp(np.clip(-b / (2 * a), x[0], x[-1])))


def summarize(
    rows: Rows, *, vocab_sizes: Sequence[int], dims: Sequence[int], seeds: int
) -> list[dict[str, Any]]:
    """Best dimension of each vocabulary, with intervals over the seeds and the predictions.

    Args:
      rows: of every vocabulary, dimension and seed.
      vocab_sizes: the vocabularies.
      dims: the dimensions, rising.
      seeds: their number.

    Returns:
      Per vocabulary {"vocab_size", "seeds", "held_out", "held_out_best", "predicted"}: of the last
      and of the best step the optimum, its interval, that of each seed, dimensions within 0.01
      nats, means and deviations.
    """
    rng = np.random.default_rng(0)
    found = {(r["vocab_size"], r["dim"], r["seed"]): r for r in rows}
    several = len(dims) > 1  # one dimension is not the best of anything
    table = []
    for size in vocab_sizes:
        entry: dict[str, Any] = {"vocab_size": size, "seeds": seeds}
        for column in COLUMNS:
            grid = np.array([[found[size, n, s][column] for s in range(seeds)] for n in dims])
            # Whole seeds are drawn again: each has its own text, start and curve.
            draws = rng.integers(seeds, size=(DRAWS, seeds))
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
                "sd": own.std(1, ddof=1).tolist() if seeds > 1 else None,
            }
        entry["predicted"] = {
            "8.33 log N": ed.embedding_dim_root(size, method="formula"),
            "joint": ed.embedding_dim_root(size),
            "conditional": ed.embedding_dim_root(size, pairs="conditional"),
        }
        table.append(entry)
    return table


def as_line(entry: Mapping[str, Any], dims: Sequence[int]) -> str:
    """An entry of `summarize` for people."""
    last, best = entry["held_out"], entry["held_out_best"]
    if len(dims) == 1:
        return (
            f"N = {entry['vocab_size']}: only dimension {dims[0]}, so no best one; held out "
            f"{last['mean'][0]:.4f} at the last step, {best['mean'][0]:.4f} at the best"
        )
    at = lambda x: f"{x['optimum']:.0f} [{x['interval'][0]:.0f}, {x['interval'][1]:.0f}]"
    predicted = entry["predicted"]
    return (
        f"N = {entry['vocab_size']}: best dimension {at(last)} at the last step, {at(best)} at the "
        f"best; 8.33 log N = {predicted['8.33 log N']:.0f}, conditional "
        f"{predicted['conditional']:.0f}"
    )
