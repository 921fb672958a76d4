"""Trains a BERT to write answers and questions from passages.

    python scripts/train_qa_generation.py --config=configs/qa_generation/english.py \\
        --workdir=runs/questions

Stages, each of which goes on where it was stopped: `mlm` (masked tokens on the passages, for a body
that comes without a head) and `seq2seq` (`[CLS] passage [SEP] answer [SEP] question [SEP]` under a
prefix mask). WORKDIR then holds config.json, data.json (what was read, and what was left out), a
folder a stage with metrics.jsonl, curves.png and result.json, and `model`: a Hugging Face folder
with head, tokenizer and kept tokens, for generate_qa.py and evaluate_qa_generation.py.
"""

import collections
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxlab import checkpoints, launch, optim, plots, train
from jaxlab import mesh as mesh_lib
from jaxlab.checks import check_count, check_counts, check_scalar
from jaxlab.data import data_folder
from jaxlab.data.pipelines.buckets import text_eval_batches, text_pipeline
from jaxlab.data.questions import cutting, segments, sets
from jaxlab.data.wordpiece import load_tokenizer, own_tokenizer
from jaxlab.errors import InputError
from jaxlab.files import to_json, write_atomically
from jaxlab.metrics import read_metrics
from jaxlab.models import bert
from jaxlab.studies import stages
from jaxlab.tasks import compression, question_generation
from jaxlab.tasks.question_generation.folder import Generator, make_layout, save_generator

SECTIONS = {  # what those of the config may hold
    "data": launch.keywords(sets.load_records, but=("data_dir",)),
    "limits": launch.keywords(segments.Limits),
    "model": launch.keywords(bert.Bert, but=("vocab_size", "pooler", "name")),
    "step": launch.keywords(train.make_train_step, but=("loss_fn", "tx", "mesh")),
}
BEST = "validation/nll"


def check_numbers(config):
    """Raises where a number of the config makes no sense, before anything is read."""
    least = {"max_train": 0, "max_validation": 0, "layers": 0, "vocab_size": 1}
    for name, value in least.items():
        check_count(name, config[name], at_least=value)
    for name in ("mlm", "seq2seq"):
        check_counts(f"stages.{name}.buckets", config.stages[name].buckets)
        check_count(
            f"stages.{name}.num_steps",
            config.stages[name].num_steps,
            at_least=int(name == "seq2seq"),
        )
    check_scalar("mask_rate", config.mask_rate, above=0, below=1)
    check_scalar("replace", config.replace, at_least=0, below=1)


class Study:
    """The data, the model before training, and the two stages."""

    def __init__(self, config, workdir, mesh, data_dir):
        self.config, self.workdir, self.mesh = config, workdir, mesh
        check_scalar("weight_decay", config.weight_decay, at_least=0.0)
        for name, stage in config.stages.items():
            check_counts(f"stages.{name}.buckets", stage.buckets)
            check_scalar(f"stages.{name}.learning_rate", stage.learning_rate, above=0.0)
            check_count(f"stages.{name}.num_steps", stage.num_steps, at_least=int(name != "mlm"))
        self.limits = segments.Limits(**config.limits)
        check_numbers(config)
        for stage, longest in (("mlm", self.limits.passage + 2), ("seq2seq", self.limits.total)):
            if max(config.stages[stage].buckets) < longest:
                raise InputError(
                    f"stages.{stage}.buckets are {tuple(config.stages[stage].buckets)}, the limits "
                    f"allow {longest} tokens"
                )
        self.unanswered = collections.Counter()
        self.records = sets.load_records(**config.data, data_dir=data_dir, skipped=self.unanswered)
        for split, most in (("train", config.max_train), ("validation", config.max_validation)):
            found = self.records[split]
            if most and most < len(found):
                chosen = np.random.default_rng(config.data.split_seed).permutation(len(found))
                self.records[split] = [found[i] for i in sorted(chosen[:most])]
        self.check_size("seq2seq", self.records["train"])  # before anything is written
        self.passages, questions = sets.training_texts(self.records["train"])
        self.make_model(data_folder(data_dir), self.passages + questions)
        for stage in ("mlm", "seq2seq"):
            if max(config.stages[stage].buckets) > self.model.max_positions:
                raise InputError(
                    f"stages.{stage}.buckets are {tuple(config.stages[stage].buckets)}, the "
                    f"position table ends at {self.model.max_positions}"
                )
        self.layout = make_layout(self.tokenizer, self.limits, config.order, config.prefix_parts)
        self.sets = sets.make_sets(
            self.records, self.tokenizer, self.limits, order=config.order, join=config.join
        )
        self.check_size("seq2seq", self.sets["train"])
        if workdir is not None:  # a stage that is done has seen the same
            seen = {split: found.tokens.arrays for split, found in self.sets.items()}
            launch.check_data(workdir, seen, allow_change=launch.options().allow_change)

    def check_size(self, stage, sequences):
        """Raises where the training side does not fill a batch."""
        files, size = ", ".join(self.config.data.files), self.config.batch_size
        if len(sequences) < size:
            raise InputError(
                f"{files}: {len(sequences)} sequences to train stage {stage} on, batch_size is "
                f"{size}: lower config.batch_size, or name more files"
            )

    def make_model(self, folder, texts):
        """Sets model, head, tokenizer, kept tokens and the parameters to start from."""
        config, key = self.config, jax.random.key(self.config.seed)
        self.keep, params = None, None
        self.head: Any = None
        if config.pretrained:
            folder = folder / config.pretrained
            model, body = bert.load_pretrained(folder, **config.model)
            if config.layers > model.num_layers:
                raise InputError(
                    f"layers is {config.layers}, {folder} has {model.num_layers} layers"
                )
            depth = config.layers or model.num_layers
            model = model.clone(num_layers=depth, pooler=False)
            wanted = {"embeddings", *(f"{bert.LAYER_PREFIX}{i}" for i in range(depth))}
            params = {"bert": {name: tree for name, tree in body.items() if name in wanted}}
            if "mlm" in (heads := bert.load_heads(folder)):
                head, params["head"] = heads["mlm"]
                self.head = head.clone(activation=model.activation, norm_eps=model.norm_eps)
            whole = load_tokenizer(folder)
            self.keep = segments.keep_tokens(texts, whole, vocab_size=config.vocab_size)
            model, params = bert.reduce_vocabulary(model, params, self.keep)
            self.tokenizer = segments.reduce_tokenizer(whole, self.keep)
        else:
            place = None if self.workdir is None else self.workdir / "tokenizer"
            make = lambda: own_tokenizer(texts, config.vocab_size, place)
            self.tokenizer = mesh_lib.first_in_process_0(make)
            size = self.tokenizer.get_vocab_size()
            model = bert.Bert(vocab_size=size, pooler=False, **config.model)
            body = jax.jit(model.init)(key, jnp.zeros((1, 2), jnp.int32))["params"]
            params = {"bert": body}
        self.model = model
        if self.head is None:
            self.head = bert.MaskedLMHead(model.activation, model.norm_eps, model.init_scale)
            top = jax.random.fold_in(key, 1)
            params["head"] = bert.init_head(self.head, top, model.hidden_size, model.vocab_size)
            if not config.stages.mlm.num_steps:
                logging.warning("%s has no head, and there is no mlm stage", config.pretrained)
        self.start = params

    def report(self):
        """Writes what was read, used and left out."""
        found: dict[str, Any] = {
            split: {
                "records": len(self.records[split]),
                "articles": len({r.article for r in self.records[split]}),
                "triples": len(part),
                "skipped": dict(sorted(part.skipped.items())),
                "mean_tokens": round(float(part.tokens.lengths.mean()), 1),
            }
            for split, part in self.sets.items()
        }
        found["vocab_size"] = self.model.vocab_size
        found["questions_left_out"] = dict(sorted(self.unanswered.items()))
        for split in self.sets:
            logging.info("%s: %s", split, found[split])
        text = to_json(found, indent=2) + "\n"
        mesh_lib.in_process_0(lambda: write_atomically(self.workdir / "data.json", text))

    def objective(self, name):
        """(mask -> loss, batch -> numbers of targets) of a stage."""
        model, head, config = self.model, self.head, self.config
        if name == "mlm":
            mask_id = self.tokenizer.token_to_id("[MASK]")
            if mask_id is None:
                raise InputError("the vocabulary has no [MASK], which the mlm stage needs")
            make_loss = lambda mask: bert.make_masked_loss(
                model, head, mask_id=mask_id, rate=config.mask_rate, mask=mask
            )
            return make_loss, bert.count_masked(config.mask_rate)
        make_loss = lambda mask: question_generation.make_target_loss(
            model, head, self.layout, mask=mask, replace=config.replace
        )
        return make_loss, question_generation.count_targets(self.layout)

    def blueprint(self, name, start):
        """How a stage trains; its batches hold "scale" besides, see `bert.normalize_step`."""
        config, stage = self.config, self.config.stages[name]
        make_loss, count = self.objective(name)
        mask = None
        if config.frozen:
            frozen = optim.trainable_mask(start, tuple(config.frozen))
            mask = jax.tree.map(lambda x: not x, frozen)
        tx = compression.make_optimizer(
            stage.learning_rate,
            stage.num_steps,
            warmup=stage.warmup,
            weight_decay=config.weight_decay,
            mask=mask,
        )
        key = jax.random.key((config.seed + (name == "seq2seq")) % 2**32)
        shape = (config.batch_size, max(stage.buckets))
        batch = {k: jax.ShapeDtypeStruct(shape, np.int32) for k in ("input_ids", "attention_mask")}
        batch["label"] = jax.ShapeDtypeStruct(shape[:1], np.int32)
        batch["scale"] = jax.eval_shape(count, batch)
        return train.Blueprint(
            functools.partial(train.state_from_params, start, tx, key=key, mesh=self.mesh),
            train.make_train_step(make_loss(mask), tx, mesh=self.mesh, **config.step),
            batch,
            num_steps=stage.num_steps,
            batch_size=config.batch_size,
            mesh=self.mesh,
        )

    def run_stage(self, name, tokens, start, *, eval_fn=None):
        """Trains a stage unless it is done; returns {"bert", "head"}."""
        config, stage, folder = self.config, self.config.stages[name], self.workdir / name
        best: dict[str, Any] = {"step": "best", "best_metric": BEST} if eval_fn else {}
        saved = lambda: checkpoints.load_params(folder / "checkpoints", ema=False, **best)
        if mesh_lib.in_process_0(lambda: stages.finished(folder, stage.num_steps)):
            with stages.reading(folder):
                return saved()[1]
        logging.info("%s: %d sequences, %d steps", name, len(tokens), stage.num_steps)
        run = self.blueprint(name, start)
        step = bert.normalize_step(run.step, self.objective(name)[1], mesh=self.mesh)
        state = run.create_state()
        data = text_pipeline(
            tokens,
            config.batch_size,
            buckets=stage.buckets,
            seed=config.seed,
            **mesh_lib.this_process(),
        )
        folder.mkdir(parents=True, exist_ok=True)
        options = launch.options()
        state, checkpointer, writer = train.resume(
            folder,
            state,
            data,
            keep_latest=2,
            best_metric=BEST if eval_fn else None,
            tensorboard=options.tensorboard,
            allow_change=options.allow_change,
        )
        train.fit(
            state,
            step,
            data,
            num_steps=run.num_steps,
            checkpointer=checkpointer,
            writer=writer,
            log_every=config.log_every,
            eval_every=config.checkpoint_every,
            eval_fn=eval_fn,
            checkpoint_every=config.checkpoint_every,
            mesh=self.mesh,
            profile_dir=options.profile_dir,
        )
        checkpointer.close()
        used, params, _ = saved()

        def conclude():
            rows = read_metrics(folder)
            plots.curves(rows, folder / "curves.png", title=name)
            figures = next((r for r in rows if r["step"] == used and BEST in r), {})
            stages.finish(folder, stage.num_steps, {"used_step": used, **figures})

        mesh_lib.in_process_0(conclude)
        return params

    def warm_up(self, start):
        """The stage of masked tokens, on all segments of the training passages."""
        length = lambda text: len(segments.token_ids(text, self.tokenizer))
        parts = {
            part: None
            for passage in self.passages
            for _, part in cutting.segment(
                passage, self.limits.passage, length=length, join=self.config.join
            )
            if length(part)
        }
        self.check_size("mlm", parts)
        tokens = segments.encode_passages(parts, self.tokenizer, self.limits.passage)
        return self.run_stage("mlm", tokens, start)

    def learn(self, start):
        """The stage of generation."""
        batches = text_eval_batches(
            self.sets["validation"].tokens,
            self.config.eval_batch_size,
            buckets=self.config.stages.seq2seq.buckets,
            **mesh_lib.this_process(),
        )
        metrics = question_generation.make_target_metrics(self.model, self.head, self.layout)
        eval_step = train.make_eval_step(metrics, mesh=self.mesh)

        def evaluate(state):
            means = train.evaluate(
                eval_step, state.params, {}, batches, key=jax.random.key(0), mesh=self.mesh
            )
            names = self.layout.targets
            found = question_generation.per_token(means, names)
            total = sum(means[f"{n}_tokens"] for n in names)
            found["nll"] = sum(means[f"{n}_nll"] for n in names) / total
            return {f"validation/{name}": value for name, value in found.items()}

        return self.run_stage("seq2seq", self.sets["train"].tokens, start, eval_fn=evaluate)


def blueprint(config, mesh, data_dir=None, stage="seq2seq"):
    """A stage as planners want it, at its longest bucket; the data are read, nothing is written."""
    study = Study(config, None, mesh, data_dir)
    return study.blueprint(stage, study.start)


def main(config, workdir):
    study = Study(config, workdir, mesh_lib.make_mesh(), launch.options().data_dir)
    study.report()
    params = study.start
    if config.stages.mlm.num_steps:
        params = study.warm_up(params)
    generator = Generator(
        study.model,
        study.head,
        jax.device_get(study.learn(params)),
        study.tokenizer,
        study.limits,
        config.order,
        config.prefix_parts,
        config.join,
    )
    folder = workdir / "model"
    mesh_lib.in_process_0(lambda: save_generator(folder, generator, keep_tokens=study.keep))
    logging.info("the model is in %s", folder)


if __name__ == "__main__":
    launch.run(main, default_config="configs/qa_generation/english.py", sections=SECTIONS)
