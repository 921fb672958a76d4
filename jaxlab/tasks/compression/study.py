"""A study of compression: the predecessor of each seed, and the arms that compress it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from etils import epath

from jaxlab import checkpoints, optim, theseus, train
from jaxlab import mesh as mesh_lib
from jaxlab.data.pipelines.buckets import text_pipeline
from jaxlab.data.text import encode, load_texts
from jaxlab.errors import InputError
from jaxlab.files import read_json, to_json, write_atomically
from jaxlab.models import bert
from jaxlab.models.bert.objective import task_loss
from jaxlab.studies import cells, stages
from jaxlab.tasks.compression import kinds
from jaxlab.tasks.compression.arms import (
    REPLACING,
    STARTS,
    check_study,
    first_stage,
    replacing_rates,
)
from jaxlab.tasks.compression.beginnings import begin, start_special
from jaxlab.tasks.compression.evaluation import Scorer
from jaxlab.tasks.compression.predictions import metrics_of
from jaxlab.tasks.compression.replacing import make_successor, num_gates

# Keys of the config on which no result depends, or which each stage has its own of.
_APART = ("seeds", "depths", "arms", "stages", "distillation", "constant_rate", "curriculum")
_APART += ("log_every", "eval_every", "checkpoint_every", "keep_checkpoints", "latency_repeats")
_APART += ("fast_compile",)
_LATER = ("metric", "keep_best")


class Trained(NamedTuple):
    """A stage that is done: its cell, and {"bert", "head"}."""

    cell: cells.Cell
    params: dict[str, Any]


class Study:
    """The data, the pretrained model, and the compiled programs that seeds and arms share.

    Args:
      config: the keys of `configs/theseus/study.py`.
      mesh: the devices.
      data_dir: the data folder.
      workdir: where stages and a tokenizer of one's own are kept; None to look only.
      start: (parameters, reader of model folders) to those that the predecessor starts from; see
        `launch.start_params`. None leaves them as they are.
      **options: of `train.run`, such as `tensorboard`, for each stage.

    Attributes:
      found: what was read, for `launch.report_data`.
      metrics: of the task, the first the one to report and to choose by.

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
        check_study(config)
        self.config, self.mesh, self.workdir, self._options = config, mesh, workdir, options
        given = {key: value for key, value in config["data"].items() if value is not None}
        sets, self.found = load_texts(**given, data_dir=data_dir)
        texts = {split: part.first(config["limits"][split] or None) for split, part in sets.items()}
        places = {"data_dir": data_dir, "workdir": workdir}
        begun = begin(config, texts["train"], **places, started=start is not None)
        self.tokenizer, self.deep, self.head = begun.tokenizer, begun.model, begun.head
        self._begun, self._start = begun, start
        self.metrics = metrics_of(config, self.head.num_labels)
        longest, cut = max(config["buckets"]), config["truncate"]
        self.sets = {
            split: encode(part, self.tokenizer, max_length=longest, truncate=cut)
            for split, part in texts.items()
        }
        self.models = {d: make_successor(self.deep, d) for d in config["depths"]}
        self.models[self.deep.num_layers] = self.deep
        if config["init_from"] not in STARTS:
            raise InputError(f"init_from is {config['init_from']!r}, known are {STARTS}")
        for depth in config["depths"]:
            theseus.choose_layers(self.deep.num_layers, depth, config["layers"])
        for rate in (config["constant_rate"], config["curriculum"]["base"]):
            theseus.check_rate(rate)
        sizes = (config["eval_batch_size"], config["buckets"])
        self.scorer = Scorer(self.head, self.sets, self.metrics, *sizes, mesh)
        # Keys that earlier versions did not have count where they are given.
        known = {**config, "data": given}
        known = {key: value for key, value in known.items() if key not in _LATER or value}
        self._same = cells.depends_on(known, self.arrays, but=_APART)
        # One program for all seeds and arms.
        self.blueprint = functools.cache(self._blueprint)
        self._first = functools.cache(self._predecessor_start)

    @property
    def arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """What all sets hold, by which a run is compared with an earlier one."""
        return {split: found.arrays for split, found in self.sets.items()}

    def initial(self, seed: int) -> dict[str, Any]:
        """{"bert", "head"} before any training."""
        return self._begun.initial(seed)

    def _predecessor_start(self, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """{"bert", "head"} that the predecessor starts from, and what tells it from `initial`."""
        fresh = self.initial(seed)
        if self._start is None:
            return fresh, {}
        params = self._start(fresh, start_special(self._begun, fresh))
        same = jax.tree.map(np.array_equal, fresh, params)
        whole = jax.tree.all(same)
        no_head = jax.tree.all(same["head"]) and (self._begun.top is None or not whole)
        if no_head and not self._stage("predecessor")["num_steps"]:
            raise InputError(
                "stages.predecessor.num_steps is 0, and --init_from has no classifier to take as "
                "it is: name a fine-tuned model, or train it"
            )
        return (fresh, {}) if whole else (params, {"start": cells.sum_of(params)})

    def _stage(self, kind: str) -> dict[str, Any]:
        """Settings of a kind of stage, with its number of steps."""
        found = self.config["stages"]
        stage = dict(found["replacing" if kind == "truncated" else kind])
        if kind == "distill":  # as long as both stages of Theseus together
            stage["num_steps"] = sum(found[k]["num_steps"] for k in ("replacing", "successor"))
        return stage

    def _blueprint(self, kind: str, depth: int) -> train.Blueprint:
        """How a kind of stage trains, for all its seeds and arms, at its longest bucket."""
        config, model, stage = self.config, self.models[depth], self._stage(kind)

        def initial():
            first = self.initial(0)
            return self._params(kind, self.cut(first, depth), first)

        mask = kinds.stage_mask(
            kind,
            jax.eval_shape(initial),
            stage["trainable"],
            own_embeddings=config["own_embeddings"],
        )
        objective, optimizer = optim.flooded_by_optimizer(config["objective"], config["optimizer"])
        rate = {name: stage[name] for name in ("learning_rate", "warmup", "num_steps")}
        tx = optim.make_optimizer(**optimizer, **rate, trainable=mask)
        given = {"mask": mask, **config["distillation"]}
        labels, count = self.sets["train"].labels, self.head.num_labels
        regression = count == 1
        if regression and objective["name"] != "cross_entropy":
            raise InputError(
                f"objective.name is {objective['name']!r}, which is of classes: labels are numbers"
            )
        loss = train.make_labelled_loss(
            lambda per_example: kinds.make_stage_loss(
                kind, model, self.head, self.deep, per_example=per_example, **given
            ),
            class_counts=np.ones(2) if regression else np.bincount(labels, minlength=count),
            plain=task_loss,
            **objective,
        )
        rates = dict.fromkeys(("rate_base", "rate_slope") if kind == "replacing" else (), 0.0)

        def create_state(params=None, model_state=rates, stream=0):
            params = initial() if params is None else params
            model_state = {name: jnp.float32(value) for name, value in model_state.items()}
            key = jax.random.key(stream)
            return train.state_from_params(
                params, tx, key=key, model_state=model_state, mesh=self.mesh
            )

        shape = (config["batch_size"], max(config["buckets"]))
        names = ["input_ids", "attention_mask"]
        names += ["token_type_ids"] if self.sets["train"].type_ids is not None else []
        batch = {name: jax.ShapeDtypeStruct(shape, np.int32) for name in names}
        batch["label"] = jax.ShapeDtypeStruct(shape[:1], labels.dtype)
        return train.Blueprint(
            create_state,
            train.make_train_step(loss, tx, mesh=self.mesh, **config["step"]),
            batch,
            num_steps=stage["num_steps"],
            batch_size=config["batch_size"],
            mesh=self.mesh,
        )

    def _params(self, kind, start, predecessor):
        own = self.config["own_embeddings"]
        return kinds.stage_params(kind, start, predecessor, own_embeddings=own)

    def cut(self, params: Any, depth: int, source: Any = None) -> dict[str, Any]:
        """{"bert", "head"} with layers of `source`, as many as `depth`, and all else its own."""
        which = "first" if source is None else self.config["layers"]
        layers = theseus.choose_layers(self.deep.num_layers, depth, which)
        successor = theseus.init_successor((source or params)["bert"], layers)
        both = {"predecessor": params["bert"], "successor": successor}
        return {**params, "bert": theseus.extract_successor(both)}

    def train_stage(
        self,
        folder: str,
        kind: str,
        depth: int,
        seed: int,
        start: Any,
        *,
        predecessor: Any = None,
        rates: Mapping[str, float] | None = None,
        needs: tuple[cells.Cell, ...] = (),
        more: Mapping[str, Any] | None = None,
    ) -> Trained:
        """Trains a stage unless it is done.

        Args:
          folder: of the stage, below the work folder.
          kind: one of `kinds.KINDS`.
          depth: layers of the model to train.
          seed: of the run.
          start: {"bert", "head"} to start from.
          predecessor: {"bert", "head"} of the deep model.
          rates: of replacing.
          needs: the stages that `start` and `predecessor` come from.
          more: what else its result depends on.
        """
        assert self.workdir is not None
        config, place, stage = self.config, self.workdir / folder, self._stage(kind)
        depends: dict[str, Any] = {**self._same, "kind": kind, "depth": depth, "seed": seed}
        depends |= {"stage": stage, "rates": rates or {}, **(more or {})}
        if kind == "distill":
            depends["distillation"] = config["distillation"]
        cell = cells.Cell(place, stage["num_steps"], depends, needs)

        def begin():
            logging.info("%s: %s, %d layers", folder, kind, depth)
            # A second stage sees another order. The remainder differs for all seeds of 32 bits
            # but one.
            stream = (2 * seed + (kind == "successor")) % (2**32 - 1)
            if not stage["num_steps"]:
                key = jax.random.key(stream)
                return None, train.state_from_params(start, optax.identity(), key=key), None
            program = self.blueprint(kind, depth)
            params = self._params(kind, start, predecessor)
            data = text_pipeline(
                self.sets["train"],
                config["batch_size"],
                buckets=config["buckets"],
                seed=stream,
                **mesh_lib.this_process(),
            )
            return program, program.create_state(params, rates or {}, stream), data

        def load():
            _, tree = bert.load_pretrained(place / "model")
            return {"bert": tree, "head": bert.load_heads(place / "model")["classifier"][1]}

        best: dict[str, Any] = {}
        if config["keep_best"] and stage["num_steps"]:
            best = {"best_metric": f"validation/{self.metrics[0]}", "best_mode": "max"}

        def conclude(state):
            used, tree = stage["num_steps"], state.params
            if best:
                saved = place / "checkpoints"
                used, tree, _ = checkpoints.load_params(saved, step="best", ema=False, **best)
            params = jax.device_get(kinds.plain_params(kind, tree))
            figures = {
                **self.figures(params, depth, "validation"),
                **self.figures(params, depth, "test"),
                "parameters": sum(x.size for x in jax.tree.leaves(params)),
                "depth": depth,
                **({"used_step": used} if best else {}),
            }

            def write():
                heads = {"classifier": (self.head, params["head"])}
                model, tokenizer = self.models[depth], self.tokenizer
                bert.save_pretrained(
                    place / "model", model, params["bert"], heads=heads, tokenizer=tokenizer,
                    pairs=self.sets["train"].type_ids is not None,
                )  # fmt: skip
                return figures

            return params, write

        params = stages.run(
            cell,
            begin,
            conclude=conclude,
            load=load,
            keep_checkpoints=config["keep_checkpoints"],
            **best,
            eval_fn=lambda state: self.figures(
                kinds.plain_params(kind, state.params), depth, "validation"
            ),
            log_every=config["log_every"],
            eval_every=config["eval_every"],
            checkpoint_every=config["checkpoint_every"],
            **self._options,
        )
        return Trained(cell, params)

    def figures(self, params: Any, depth: int, split: str) -> dict[str, float]:
        """{"test/accuracy": ..., "test/loss": ..., and standard errors}, and the task's metrics."""
        return self.scorer.figures(self.models[depth], params, split)

    def run(self, seed: int) -> None:
        """Trains what is missing of a seed: the predecessor, and all arms of all depths."""
        deep = self.deep.num_layers
        start, more = self._first(seed)
        place = f"seed_{seed}/predecessor"
        first = self.train_stage(place, "predecessor", deep, seed, start, more=more)
        for depth in self.config["depths"]:
            self._compress(seed, depth, first)

    def _compress(self, seed: int, depth: int, first: Trained) -> None:
        """Trains all arms of a seed and a depth."""
        config, initial, predecessor = self.config, self.initial(seed), first.params
        place, steps = f"seed_{seed}/depth_{depth}", config["stages"]["replacing"]["num_steps"]
        # The layers may come from the pretrained model; embeddings and head are the predecessor's.
        source = predecessor if config["init_from"] == "predecessor" else initial
        start = self.cut(predecessor, depth, source)
        rates = replacing_rates(config["constant_rate"], steps, **config["curriculum"])
        run = functools.partial(self.train_stage, depth=depth, seed=seed, predecessor=predecessor)
        for arm in config["arms"]:
            if arm == "direct":
                run(f"{place}/direct/direct", "direct", start=self.cut(initial, depth))
                continue
            kind = "distill" if arm == "distill" else first_stage(arm)
            folder, needs = f"{place}/{arm}", (first.cell,)
            found = run(f"{folder}/{kind}", kind, start=start, rates=rates.get(arm), needs=needs)
            if arm in REPLACING:
                self._sensitivity(folder, depth, predecessor, found)
            if arm != "distill" and config["stages"]["successor"]["num_steps"]:
                run(f"{folder}/successor", "successor", start=found.params, needs=(found.cell,))

    def _sensitivity(self, folder, depth, predecessor, successor):
        """Test figure of the predecessor with one of its modules swapped for the successor's."""
        path, key = self.workdir / folder / "sensitivity.json", successor.cell.key
        if mesh_lib.in_process_0(lambda: _is_swapped(path, key)):
            return
        params = self._params("replacing", successor.params, predecessor)
        count = num_gates(params, self.models[depth])
        found = []
        for gates in (np.zeros(count, bool), *np.eye(count, dtype=bool)):
            mixed = (self.deep, self.models[depth], params, gates)
            found.append(self.scorer.swapped(*mixed, "test"))
        text = to_json({"predecessor": found[0], "swapped": found[1:], "key": key}) + "\n"
        mesh_lib.in_process_0(lambda: write_atomically(path, text))


def _is_swapped(path: epath.Path, key: str) -> bool:
    """Whether there is a whole sensitivity.json of that stage; without a key it counts."""
    try:
        found = dict(read_json(path)) if path.exists() else {}
        return {"predecessor", "swapped"} <= set(found) and found.get("key", key) == key
    except (InputError, TypeError):
        return False


def blueprint(
    config: Mapping[str, Any],
    mesh: Any,
    *,
    data_dir: str | None = None,
    stage: str = "replacing",
) -> train.Blueprint:
    """A kind of stage as planners want it; the data are read, nothing is written.

    Args:
      config: the keys of `configs/theseus/study.py`.
      mesh: the devices.
      data_dir: the data folder.
      stage: one of `kinds.KINDS`.
    """
    study = Study(config, mesh, data_dir=data_dir)
    deep = stage == "predecessor"
    return study.blueprint(stage, study.deep.num_layers if deep else max(config["depths"]))
