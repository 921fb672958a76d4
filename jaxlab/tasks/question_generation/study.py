"""Training a generator: its data, the model before training, and the two stages.

`mlm` learns masked tokens on the passages, for a body that comes without a head; `seq2seq` learns
`[CLS] passage [SEP] answer [SEP] question [SEP]` under a prefix mask.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sized
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath

from jaxlab import checkpoints, optim, train
from jaxlab import mesh as mesh_lib
from jaxlab.checks import check_count, check_counts, check_scalar
from jaxlab.data import Found
from jaxlab.data.pipelines.buckets import text_eval_batches, text_pipeline
from jaxlab.data.questions import cutting, segments, sets
from jaxlab.data.text import TokenSet
from jaxlab.data.wordpiece import load_tokenizer, own_tokenizer
from jaxlab.errors import InputError
from jaxlab.metrics import read_metrics
from jaxlab.models import bert
from jaxlab.models.bert.model import attributes
from jaxlab.studies import cells, stages
from jaxlab.tasks.question_generation.folder import Generator, make_layout
from jaxlab.tasks.question_generation.losses import (
    count_targets,
    make_target_loss,
    make_target_metrics,
    per_token,
)

BEST = "validation/nll"
STAGES = ("mlm", "seq2seq")

# Keys of the config on which no result depends, or which each stage has its own of.
_APART = ("stages", "log_every", "fast_compile")


def check_study(config: Mapping[str, Any]) -> segments.Limits:
    """Raises for what makes no sense, before anything is read; returns the limits.

    Args:
      config: the keys of `configs/qa_generation/english.py`.

    Raises:
      ValueError: a number is out of range, or the limits do not fit the buckets.
    """
    optim.make_optimizer(**config["optimizer"], learning_rate=1.0, num_steps=1)
    least = {"max_train": 0, "max_validation": 0, "layers": 0, "vocab_size": 1}
    for name, value in least.items():
        check_count(name, config[name], at_least=value)
    for name, stage in config["stages"].items():
        check_counts(f"stages.{name}.buckets", stage["buckets"])
        check_scalar(f"stages.{name}.learning_rate", stage["learning_rate"], above=0.0)
        least_steps = int(name != "mlm")  # which may be left out
        check_count(f"stages.{name}.num_steps", stage["num_steps"], at_least=least_steps)
    check_scalar("mask_rate", config["mask_rate"], above=0, below=1)
    check_scalar("replace", config["replace"], at_least=0, below=1)
    limits = segments.Limits(**config["limits"])
    for name, longest in (("mlm", limits.passage + 2), ("seq2seq", limits.total)):
        buckets = config["stages"][name]["buckets"]
        if max(buckets) < longest:
            raise InputError(
                f"stages.{name}.buckets are {tuple(buckets)}, the limits allow {longest} tokens"
            )
    return limits


class Study:
    """The data, the model before training, and the two stages.

    Args:
      config: the keys of `configs/qa_generation/english.py`.
      mesh: the devices.
      data_dir: the data folder.
      workdir: where stages and a tokenizer of one's own are kept; None to look only.
      start: (parameters, reader of model folders) to those to start from; see
        `launch.start_params`. None leaves them as they are.
      **options: of `train.run`, such as `tensorboard`, for each stage.

    Attributes:
      sets: split -> its triples, and their tokens.
      model, head, tokenizer: to train, and what it reads.
      keep: ids that the tokens had in the pretrained vocabulary; None without one.
      start: {"bert", "head"} before any training.

    Raises:
      ValueError: an option is unknown or out of range, or the data cannot be read.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        mesh: Any,
        *,
        data_dir: str | None = None,
        workdir: epath.Path | None = None,
        start: Callable[[Any, Any], Any] | None = None,
        **options: Any,
    ):
        self.limits = check_study(config)
        self.config, self.mesh, self.workdir, self._options = config, mesh, workdir, options
        self._unanswered: collections.Counter[str] = collections.Counter()
        self._records = sets.load_records(
            **config["data"], data_dir=data_dir, skipped=self._unanswered
        )
        for split in ("train", "validation"):
            found, most = self._records[split], config[f"max_{split}"]
            if most and most < len(found):
                rng = np.random.default_rng(config["data"]["split_seed"])
                chosen = sorted(rng.permutation(len(found))[:most])
                self._records[split] = [found[i] for i in chosen]
        self._check_size("seq2seq", self._records["train"])  # before anything is written
        self._passages, questions = sets.training_texts(self._records["train"])
        self._make_model(data_dir, self._passages + questions)
        for stage in STAGES:
            buckets = config["stages"][stage]["buckets"]
            if max(buckets) > self.model.max_positions:
                raise InputError(
                    f"stages.{stage}.buckets are {tuple(buckets)}, the position table ends at "
                    f"{self.model.max_positions}"
                )
        order, join = config["order"], config["join"]
        self.layout = make_layout(self.tokenizer, self.limits, order, config["prefix_parts"])
        self.sets = sets.make_sets(
            self._records, self.tokenizer, self.limits, order=order, join=join
        )
        self._check_size("seq2seq", self.sets["train"])
        self._same = cells.depends_on(config, self.arrays, but=_APART)
        if start is not None:
            fresh, self.start = self.start, start(self.start, self._read_folder)
            if not jax.tree.all(jax.tree.map(np.array_equal, fresh, self.start)):
                self._same["start"] = cells.sum_of(self.start)

    @property
    def arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """What all sets hold, by which a run is compared with an earlier one."""
        return {split: found.tokens.arrays for split, found in self.sets.items()}

    def _check_size(self, stage: str, sequences: Sized) -> None:
        """Raises where the training side does not fill a batch."""
        files, size = sets.source_of(self.config["data"]), self.config["batch_size"]
        if len(sequences) < size:
            raise InputError(
                f"{files}: {len(sequences)} sequences to train stage {stage} on, batch_size is "
                f"{size}: lower config.batch_size, or name more files"
            )

    def _read_folder(self, source: epath.Path) -> dict[str, Any] | None:
        """{"bert", "head"} of a model folder; None where it is none."""
        folder = bert.model_folder(source)
        if folder is None:
            return None
        return bert.folder_weights(folder, self.start, self.tokenizer, self.head)

    def _make_model(self, data_dir: str | None, texts: list[str]) -> None:
        """Sets model, head, tokenizer, kept tokens and the parameters to start from."""
        config, key = self.config, jax.random.key(self.config["seed"])
        self.keep, params = None, None
        self.head: Any = None
        if config["pretrained"]:
            folder = bert.find_folder(config["pretrained"], data_dir)
            model, body = bert.load_pretrained(folder, **attributes(config["model"]))
            if config["layers"] > model.num_layers:
                raise InputError(
                    f"layers is {config['layers']}, {folder} has {model.num_layers} layers"
                )
            depth = config["layers"] or model.num_layers
            model = model.clone(num_layers=depth, pooler=False)
            wanted = {"embeddings", *(f"{bert.LAYER_PREFIX}{i}" for i in range(depth))}
            params = {"bert": {name: tree for name, tree in body.items() if name in wanted}}
            if "mlm" in (heads := bert.load_heads(folder)):
                head, params["head"] = heads["mlm"]
                self.head = head.clone(activation=model.activation, norm_eps=model.norm_eps)
            whole = load_tokenizer(str(folder))
            self.keep = segments.keep_tokens(texts, whole, vocab_size=config["vocab_size"])
            model, params = bert.reduce_vocabulary(model, params, self.keep)
            self.tokenizer = segments.reduce_tokenizer(whole, self.keep)
        else:
            place = None if self.workdir is None else self.workdir / "tokenizer"
            make = lambda: own_tokenizer(texts, config["vocab_size"], place)
            self.tokenizer = mesh_lib.first_in_process_0(make)
            size = self.tokenizer.get_vocab_size()
            model = bert.Bert(vocab_size=size, pooler=False, **attributes(config["model"]))
            body = jax.jit(model.init)(key, jnp.zeros((1, 2), jnp.int32))["params"]
            params = {"bert": body}
        self.model = model
        if self.head is None:
            self.head = bert.MaskedLMHead(model.activation, model.norm_eps, model.init_scale)
            top = jax.random.fold_in(key, 1)
            params["head"] = bert.init_head(self.head, top, model.hidden_size, model.vocab_size)
            if not config["stages"]["mlm"]["num_steps"]:
                logging.warning("%s has no head, and there is no mlm stage", config["pretrained"])
        self.head = self.head.clone(dtype=model.dtype)
        self.start = params

    def read(self) -> Found:
        """What was read, used and left out."""
        splits: dict[str, dict[str, Any]] = {
            split: {
                "examples": len(part),
                "classes": None,
                "records": len(self._records[split]),
                "articles": len({r.article for r in self._records[split]}),
                "left_out": dict(sorted(part.skipped.items())),
                "mean_tokens": round(float(part.tokens.lengths.mean()), 1),
            }
            for split, part in self.sets.items()
        }
        lost = sum((part.skipped for part in self.sets.values()), self._unanswered.copy())
        data, size = self.config["data"], self.model.vocab_size
        mean = splits["train"]["mean_tokens"]
        return Found(
            data.get("name") or "squad",
            sets.source_of(data),
            splits,
            f"triples of {mean} tokens, a vocabulary of {size:,}",
            dict(sorted(lost.items())),
        )

    def _objective(self, name: str) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """(mask -> loss, batch -> numbers of targets) of a stage."""
        model, head, config = self.model, self.head, self.config
        if name == "mlm":
            mask_id = self.tokenizer.token_to_id("[MASK]")
            if mask_id is None:
                raise InputError("the vocabulary has no [MASK], which the mlm stage needs")
            make_loss = lambda mask: bert.make_masked_loss(
                model, head, mask_id=mask_id, rate=config["mask_rate"], mask=mask
            )
            return make_loss, bert.count_masked(config["mask_rate"])
        make_loss = lambda mask: make_target_loss(
            model, head, self.layout, mask=mask, replace=config["replace"]
        )
        return make_loss, count_targets(self.layout)

    def blueprint(self, name: str, start: Any) -> train.Blueprint:
        """How a stage trains; its batches also hold "scale", see `bert.normalize_step`."""
        config, stage = self.config, self.config["stages"][name]
        make_loss, count = self._objective(name)
        mask = None
        if config["frozen"]:
            frozen = optim.trainable_mask(start, tuple(config["frozen"]))
            mask = jax.tree.map(lambda x: not x, frozen)
        rate = {name: stage[name] for name in ("learning_rate", "warmup", "num_steps")}
        tx = optim.make_optimizer(**config["optimizer"], **rate, trainable=mask)
        key = jax.random.key((config["seed"] + (name == "seq2seq")) % 2**32)
        shape = (config["batch_size"], max(stage["buckets"]))
        batch = {k: jax.ShapeDtypeStruct(shape, np.int32) for k in ("input_ids", "attention_mask")}
        batch["label"] = jax.ShapeDtypeStruct(shape[:1], np.int32)
        batch["scale"] = jax.eval_shape(count, batch)
        return train.Blueprint(
            functools.partial(train.state_from_params, start, tx, key=key, mesh=self.mesh),
            train.make_train_step(make_loss(mask), tx, mesh=self.mesh, **config["step"]),
            batch,
            num_steps=stage["num_steps"],
            batch_size=config["batch_size"],
            mesh=self.mesh,
        )

    def run(self, draw: Callable[[list[dict[str, Any]], epath.Path, str], None]) -> Generator:
        """Trains what is missing; returns the generator.

        Args:
          draw: called with the rows of a stage that ended, its folder and its name.
        """
        params, needs = self.start, ()
        if self.config["stages"]["mlm"]["num_steps"]:
            tokens = self._segments()
            params, needs = self._train_stage("mlm", tokens, params, draw)
        tokens, evaluate = self.sets["train"].tokens, self._make_evaluate()
        params, _ = self._train_stage("seq2seq", tokens, params, draw, needs, evaluate)
        config = self.config
        layout = (config["order"], config["prefix_parts"], config["join"])
        params = jax.device_get(params)
        return Generator(self.model, self.head, params, self.tokenizer, self.limits, *layout)

    def _train_stage(
        self,
        name: str,
        tokens: TokenSet,
        start: Any,
        draw: Callable[..., None],
        needs: tuple[cells.Cell, ...] = (),
        eval_fn: Any = None,
    ) -> tuple[Any, tuple[cells.Cell, ...]]:
        """Trains a stage unless it is done; returns {"bert", "head"}, and the cells behind it."""
        assert self.workdir is not None
        config, stage, folder = self.config, self.config["stages"][name], self.workdir / name
        best: dict[str, Any] = {"step": "best", "best_metric": BEST} if eval_fn else {}
        saved = lambda: checkpoints.load_params(folder / "checkpoints", ema=False, **best)
        cell = cells.Cell(folder, stage["num_steps"], {**self._same, "stage": stage}, needs)

        def begin():
            logging.info("%s: %d sequences, %d steps", name, len(tokens), stage["num_steps"])
            program = self.blueprint(name, start)
            step = bert.normalize_step(program.step, self._objective(name)[1], mesh=self.mesh)
            data = text_pipeline(
                tokens,
                config["batch_size"],
                buckets=stage["buckets"],
                seed=config["seed"],
                **mesh_lib.this_process(),
            )
            return dataclasses.replace(program, step=step), program.create_state(), data

        def conclude(_):
            used, params, _ = saved()

            def write():
                rows = read_metrics(folder)
                draw(rows, folder, name)
                figures = next((r for r in rows if r["step"] == used and BEST in r), {})
                return {"used_step": used, **figures}

            return params, write

        params = stages.run(
            cell,
            begin,
            conclude=conclude,
            load=lambda: saved()[1],
            best_metric=BEST if eval_fn else None,
            eval_fn=eval_fn,
            log_every=config["log_every"],
            eval_every=config["checkpoint_every"],
            checkpoint_every=config["checkpoint_every"],
            **self._options,
        )
        return params, (cell,)

    def _segments(self) -> TokenSet:
        """All segments of the training passages, for the stage of masked tokens."""
        length = lambda text: len(segments.token_ids(text, self.tokenizer))
        most, join = self.limits.passage, self.config["join"]
        parts = {
            part: None
            for passage in self._passages
            for _, part in cutting.segment(passage, most, length=length, join=join)
            if length(part)
        }
        self._check_size("mlm", parts)
        return segments.encode_passages(parts, self.tokenizer, most)

    def _make_evaluate(self) -> Callable[[train.TrainState], dict[str, float]]:
        """State -> nats per token of the validation targets."""
        batches = text_eval_batches(
            self.sets["validation"].tokens,
            self.config["eval_batch_size"],
            buckets=self.config["stages"]["seq2seq"]["buckets"],
            **mesh_lib.this_process(),
        )
        metrics = make_target_metrics(self.model, self.head, self.layout)
        eval_step = train.make_eval_step(metrics, mesh=self.mesh)

        def evaluate(state):
            means = train.evaluate(
                eval_step, state.params, {}, batches, key=jax.random.key(0), mesh=self.mesh
            )
            names = self.layout.targets
            found = per_token(means, names)
            total = sum(means[f"{n}_tokens"] for n in names)
            found["nll"] = sum(means[f"{n}_nll"] for n in names) / total
            return {f"validation/{name}": value for name, value in found.items()}

        return evaluate


def blueprint(
    config: Mapping[str, Any], mesh: Any, *, data_dir: str | None = None, stage: str = "seq2seq"
) -> train.Blueprint:
    """A stage as planners want it, at its longest bucket; the data are read, nothing is written.

    Args:
      config: the keys of `configs/qa_generation/english.py`.
      mesh: the devices.
      data_dir: the data folder.
      stage: one of `STAGES`.
    """
    study = Study(config, mesh, data_dir=data_dir)
    return study.blueprint(stage, study.start)
