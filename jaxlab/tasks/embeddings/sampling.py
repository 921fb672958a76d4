"""Skip-gram with negative sampling as a run, on one device."""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from etils import epath

from jaxlab import checkpoints, optim, plots, train
from jaxlab import mesh as mesh_lib
from jaxlab.checks import check_choice, check_count, check_scalar, dtype_by_name, own_keywords
from jaxlab.data import corpus as corpora
from jaxlab.data.skipgram import SkipgramBlocks
from jaxlab.errors import InputError
from jaxlab.files import write_atomically
from jaxlab.models import skipgram
from jaxlab.tasks.embeddings import texts, word_vectors

SGD = {"name": "sgd", "schedule": "floored"}  # word2vec's


def load_words(
    config: Mapping[str, Any],
    data_dir: Any = None,
    *,
    left_out: collections.Counter[str] | None = None,
) -> tuple[corpora.Corpus, int]:
    """The corpus without rare words, and the number of tokens with them.

    Args:
      config: the keys of `configs/embeddings/negative_sampling.py`.
      data_dir: the data folder.
      left_out: to which what is left out is added, by reason.

    Raises:
      ValueError: a number of the config makes no sense, or the corpus cannot be read.
    """
    for name, least in (("dim", 1), ("epochs", 1), ("max_tokens", 0)):
        check_count(name, config[name], at_least=least)
    for name in ("learning_rate", "final_learning_rate", "num_negatives"):
        check_scalar(name, config[name], above=0)
    least, most = config["min_count"], config["max_tokens"]
    whole = texts.load(config, data_dir, left_out=left_out)
    corpus = whole.keep(np.arange(len(whole)) < most) if most else whole
    frequent = corpora.frequent_words(corpus, least, config.get("max_words"))
    if left_out is not None:
        left_out["tokens after the first max_tokens"] += len(whole) - len(corpus)
        rare = f"tokens of words seen less than {least} times"
        if (few := config.get("max_words")) is not None:
            rare += f", or not among the {few:,} most frequent"
        left_out[rare] += len(corpus) - len(frequent)
    return frequent, len(corpus)


def make_run(
    config: Mapping[str, Any], corpus: corpora.Corpus, mesh: Any = None
) -> tuple[SkipgramBlocks, train.Blueprint]:
    """The blocks of text, and the run over them, which takes one device.

    Every process of several does the same on its own, so that each has the whole state at the end.

    Args:
      config: the keys of `configs/embeddings/negative_sampling.py`.
      corpus: from `load_words`.
      mesh: of one device per process.

    Raises:
      ValueError: an argument of the blocks is out of range.
    """
    blocks = SkipgramBlocks(corpus, seed=config["seed"], **config["blocks"])
    num_steps, inner = config["epochs"] * blocks.batches_per_epoch, config["blocks"]["steps"]

    def init(key):
        # word2vec's start: small words, contexts at 0.
        dim = config["dim"]
        return skipgram.init_params(key, len(corpus.words), dim, words=0.29 / dim, contexts=0.0), {}

    tx, steps = _make_steps(config, num_steps, inner)
    whole = None if mesh is None else mesh_lib.replicated(mesh)

    @functools.partial(jax.jit, donate_argnums=0, in_shardings=whole, out_shardings=whole)
    def train_step(state, batch):
        after, metrics = steps(state, batch)
        return dataclasses.replace(after, step=state.step + 1), metrics

    key = jax.random.key(config["seed"])
    return blocks, train.Blueprint(
        functools.partial(train.create_state, init, tx, key=key, mesh=mesh, ema=False),
        train_step,
        {k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in blocks[0].items()},
        num_steps=num_steps,
        batch_size=blocks.words_per_batch,
        mesh=mesh,
    )


def open_run(
    config: Mapping[str, Any],
    workdir: epath.PathLike,
    *,
    params: str = "ema",
    step: int | Literal["best"] | None = None,
    data_dir: str | None = None,
) -> train.LoadedRun:
    """The vectors that negative sampling ended with; see `train.load_run`.

    Parameters are {"words", "contexts"}, `parts` the words; the functions of
    `jaxlab.models.skipgram` take the parameters, and there is no other model. Data are the corpus.

    Raises:
      ValueError: the run is a sweep, which keeps figures and no vectors.
    """
    folder = epath.Path(workdir)
    if config["job"] != "negative_sampling":
        raise InputError(
            f"{folder} holds a sweep, which keeps no vectors: read metrics.jsonl and summary.json"
        )
    found, tables, _ = checkpoints.load_params(
        folder / "checkpoints", step=step, ema=params == "ema"
    )
    words, _ = word_vectors.load_word2vec(folder / "vectors.txt")
    if len(words) != (count := len(tables["words"])):
        raise InputError(f"{folder}/vectors.txt has {len(words)} words, must have {count}")

    def load_data(split: str = "train", *, limit: int | None = None) -> corpora.Corpus:
        check_choice("split", split, ("train",))
        return load_words({**config, "max_tokens": limit or config["max_tokens"]}, data_dir)[0]

    parts = {"words": words}
    return train.LoadedRun(config, found, params, None, tables, {}, load_data, parts)


def vectors_of(words: Sequence[str], fresh: Mapping[str, Any]) -> Any:
    """What reads vectors for `launch.start`: an earlier run, or a file of word vectors.

    Rows are taken by word; words that the source lacks, and contexts of a file, stay fresh.

    Args:
      words: of the vocabulary.
      fresh: {"words", "contexts"}.
    """

    def read(source: epath.Path) -> dict[str, np.ndarray] | None:
        tables: dict[str, Any] = {}
        if (source / "vectors.txt").exists():
            known, _ = word_vectors.load_word2vec(source / "vectors.txt")
            _, tables, _ = checkpoints.load_params(source / "checkpoints")
        elif source.is_dir() or source.suffix in (".npz", ".safetensors"):
            return None
        else:
            known, tables["words"] = word_vectors.load_word2vec(source)
        found = {}
        for name, rows in fresh.items():
            if (given := tables.get(name)) is not None and given.shape[1] != rows.shape[1]:
                raise InputError(
                    f"{source} has vectors of {given.shape[1]} numbers, dim is {rows.shape[1]}"
                )
            own = np.asarray(rows)
            found[name] = (
                own if given is None else word_vectors.align(words, known, np.asarray(given), own)
            )
        shared = len({*words} & {*known})
        logging.info("%d of %d words are in %s, the others are new", shared, len(words), source)
        return found

    return read


def _make_steps(config, num_steps, inner):
    """The optimizer, and (state, batch) -> (state, metrics) over the blocks of a batch."""
    section: dict[str, Any] = SGD | {
        k: v for k, v in config.get("optimizer", {}).items() if v is not None
    }
    if section.pop("final_learning_rate", None) is not None:
        raise InputError("optimizer.final_learning_rate is given, set final_learning_rate")
    if section.get("warmup_steps") is not None:
        raise InputError(
            f"optimizer.warmup_steps is {section['warmup_steps']}, which would be of blocks in "
            "batches: set optimizer.warmup, a share of the run"
        )
    peak, sizes = config["learning_rate"], {"num_negatives": config["num_negatives"]}
    sizes["dtype"] = dtype_by_name(config.get("dtype"))
    own = own_keywords(optim.SCHEDULES.get(section["schedule"], len))
    if "final_learning_rate" in own:
        section["final_learning_rate"] = config["final_learning_rate"]
    tx = optim.make_optimizer(**section, learning_rate=peak, num_steps=num_steps * inner)
    shape = {name: section.pop(name) for name in ("schedule", *own) if name in section}
    if section == {"name": "sgd"}:
        rate = optim.make_schedule(shape.pop("schedule"), peak, num_steps, **shape)

        def sparse(state, batch):
            """The rows that occur alone; rates between whole batches."""
            rates: Any = jax.vmap(rate)(state.step + jnp.arange(inner) / inner)
            params, loss = skipgram.sgd_steps(state.params, batch, rates, **sizes)
            moved = optax.tree.norm(jax.tree.map(jnp.subtract, params, state.params))
            metrics = {"loss": loss, "grad_norm": moved / rates.sum()}  # of a mean block
            return dataclasses.replace(state, params=params), metrics

        return optax.identity(), sparse

    def loss_fn(params, model_state, block, *, key, step):
        del key, step
        loss, pairs = skipgram.summed_loss(params, block, **sizes)
        return loss, (model_state, {"pair_loss": loss / jnp.maximum(pairs, 1)})

    step = train.make_train_step(loss_fn, tx)

    def dense(state, batch):
        after, each = jax.lax.scan(step, state, batch)
        metrics = {name: values.mean() for name, values in each.items()}
        in_a_row = {k: v[-1] for k, v in each.items() if k == "skipped_in_a_row"}
        return after, metrics | in_a_row | {"loss": each["pair_loss"][0]}

    return tx, dense


def neighbour_lines(
    vectors: np.ndarray, words: Sequence[str], queries: Sequence[str], *, count: int = 8
) -> list[str]:
    """A line with the nearest words of each query that is one of the words.

    Example:
      >>> vectors = np.array([[1.0, 0], [1, 1], [0, 1]])
      >>> neighbour_lines(vectors, ["a", "b", "c"], ["a", "z"], count=1)
      ['a: b 0.71']
    """
    lines = []
    for query in queries:
        if query in words:
            near = word_vectors.nearest(vectors, words, query, count=count)
            lines.append(f"{query}: " + ", ".join(f"{word} {cosine:.2f}" for word, cosine in near))
    return lines


def place_groups(
    vectors: np.ndarray, words: Sequence[str], chosen: Sequence[str]
) -> tuple[np.ndarray, list[str], list[int]]:
    """Groups of words on the two main directions of their unit vectors.

    Args:
      vectors: [V, n].
      words: the V words, the most frequent first.
      chosen: words of each group, separated by spaces. Where fewer than three are known, the 40
        most frequent words are one group.

    Returns:
      Places [M, 2], the M words, and the number of the group of each.

    Example:
      >>> places, names, groups = place_groups(np.eye(3), ["a", "b", "c"], ["a c", "b z"])
      >>> places.shape, names, groups
      ((3, 2), ['a', 'c', 'b'], [0, 0, 1])
    """
    number = {word: i for i, word in enumerate(words)}
    known = [[number[w] for w in group.split() if w in number] for group in chosen]
    if sum(map(len, known)) < 3:
        known = [list(range(min(len(words), 40)))]
    rows = vectors[[i for group in known for i in group]]
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    names = [words[i] for group in known for i in group]
    return word_vectors.plane(unit), names, [k for k, group in enumerate(known) for _ in group]


def show_vectors(
    config: Mapping[str, Any], workdir: epath.Path, vectors: np.ndarray, words: Sequence[str]
) -> None:
    """Writes vectors, neighbours and the picture; prints the neighbours.

    Args:
      config: the keys of `configs/embeddings/negative_py`.
      workdir: of the run.
      vectors: [V, n].
      words: the V words.
    """
    word_vectors.save_word2vec(workdir / "vectors.txt", words, vectors)
    lines = neighbour_lines(vectors, words, config["show"])
    write_atomically(workdir / "neighbours.txt", "".join(line + "\n" for line in lines))
    places, names, groups = place_groups(vectors, words, config["plane"])
    plots.words_in_plane(places, names, groups, workdir / "plane.png")
    print(*lines, sep="\n")
