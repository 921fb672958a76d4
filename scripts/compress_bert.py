"""Compresses a fine-tuned BERT to fewer layers by module replacing, beside its controls.

    python scripts/fetch_data.py minilm headlines
    python scripts/compress_bert.py --config=configs/theseus/study.py:headlines --workdir=runs/bert

For every seed: the predecessor is fine-tuned; then, for every depth, each arm of

- direct: the first layers of the pretrained model, fine-tuned;
- distill: layers of the predecessor, trained on its soft targets;
- truncated: layers of the predecessor, fine-tuned for as many steps as Theseus, the control;
- constant, curriculum: the same layers by module replacing with a constant or rising rate,
  and then fine-tuned alone.

The same command goes on where a run was stopped, in the middle of a stage too. WORKDIR then holds a
folder a stage (SEED/DEPTH/ARM/STAGE, each with metrics.jsonl, result.json and a Hugging Face folder
`model`), report.md, report.json, accuracy.png and sensitivity_DEPTH_layers.png.
"""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxlab import launch, plots, theseus, timing, train
from jaxlab import mesh as mesh_lib
from jaxlab.checks import check_count, check_counts, check_scalar, check_seeds
from jaxlab.data import data_folder
from jaxlab.data.pipelines.buckets import text_eval_batches, text_pipeline
from jaxlab.data.text import encode, load_text
from jaxlab.data.wordpiece import load_tokenizer, own_tokenizer
from jaxlab.errors import InputError
from jaxlab.files import read_json, to_json, write_atomically
from jaxlab.models import bert
from jaxlab.studies import comparison, stages
from jaxlab.tasks import compression

SECTIONS = {  # what those of the config may hold
    "data": launch.keywords(load_text, but=("data_dir", "split", "limit")),
    "model": launch.keywords(bert.Bert, but=("vocab_size", "name")),
    "head": launch.keywords(bert.SequenceClassifier, but=("num_labels", "name")),
    "distillation": {"temperature": float, "soft": float},
    "step": launch.keywords(train.make_train_step, but=("loss_fn", "tx", "mesh")),
}
ARMS = ("direct", "distill", "truncated", "constant", "curriculum")
REPLACING = ("constant", "curriculum")
STARTS = ("predecessor", "pretrained")  # where a successor's layers may come from


def is_swapped(path):
    """Whether there is a whole sensitivity.json; one torn by an earlier version is made again."""
    try:
        return path.exists() and {"predecessor", "swapped"} <= set(read_json(path))
    except (InputError, TypeError):
        return False


class Study:
    """The data, the pretrained model, and the compiled programs that seeds and arms share."""

    def __init__(self, config, workdir, mesh, data_dir):
        self.config, self.workdir, self.mesh = config, workdir, mesh
        if not config.arms:
            raise InputError(f"arms is (), must hold some of {ARMS}")
        check_seeds("seeds", config.seeds)
        for name in ("depths", "buckets"):
            check_counts(name, config[name])
        check_count("latency_repeats", config.latency_repeats)
        check_scalar("weight_decay", config.weight_decay, at_least=0.0)
        for kind, stage in config.stages.items():
            check_scalar(f"stages.{kind}.learning_rate", stage.learning_rate, above=0.0)
            check_count(
                f"stages.{kind}.num_steps",
                stage.num_steps,
                at_least=int(kind not in ("successor", "distill")),
            )
        unknown = sorted(set(config.arms) - set(ARMS))
        if unknown:
            raise InputError(f"arms hold {unknown[0]!r}, known are {ARMS}")
        texts = {
            split: load_text(
                **config.data, data_dir=data_dir, split=split, limit=config.limits[split] or None
            )
            for split in ("train", "validation", "test")
        }
        self.pretrained = None
        if config.pretrained:
            folder = data_folder(data_dir) / config.pretrained
            self.tokenizer = load_tokenizer(folder)
            self.deep, self.pretrained = bert.load_pretrained(folder, **config.model)
            logging.info(
                "%s: %d tokens, an embedding of %d",
                *(folder, self.tokenizer.get_vocab_size(), self.deep.vocab_size),
            )
        else:
            place = None if workdir is None else workdir / "tokenizer"
            make = lambda: own_tokenizer(texts["train"].texts, config.vocab_size, place)
            self.tokenizer = mesh_lib.first_in_process_0(make)
            vocab_size = self.tokenizer.get_vocab_size()
            self.deep = bert.Bert(vocab_size=vocab_size, **config.model)
        self.sets = {
            split: encode(
                found, self.tokenizer, max_length=max(config.buckets), truncate=config.truncate
            )
            for split, found in texts.items()
        }
        if workdir is not None:  # stages that are done have seen the same
            seen = {split: found.arrays for split, found in self.sets.items()}
            launch.check_data(workdir, seen, allow_change=launch.options().allow_change)
        names = texts["train"].label_names
        self.head = bert.SequenceClassifier(len(names), label_names=names, **config.head)
        self.models = {d: compression.make_successor(self.deep, d) for d in config.depths}
        self.models[self.deep.num_layers] = self.deep
        if config.init_from not in STARTS:
            raise InputError(f"init_from is {config.init_from!r}, known are {STARTS}")
        for depth in config.depths:
            theseus.choose_layers(self.deep.num_layers, depth, config.layers)
        for rate in (config.constant_rate, config.curriculum.base):
            theseus.check_rate(rate)
        self.evaluation = {
            split: text_eval_batches(
                tokens, config.eval_batch_size, buckets=config.buckets, **mesh_lib.this_process()
            )
            for split, tokens in self.sets.items()
        }

    def initial(self, seed):
        """{"bert", "head"} before any training."""
        key = jax.random.key(seed)
        ids = jnp.zeros((1, 2), jnp.int32)
        tree = self.pretrained or jax.jit(self.deep.init)(key, ids)["params"]
        output = bert.BertOutput(
            jnp.zeros((1, 2, self.deep.hidden_size)), jnp.zeros((1, self.deep.hidden_size))
        )
        head = self.head.init(jax.random.fold_in(key, 1), output)["params"]
        return {"bert": tree, "head": head}

    @functools.cache  # noqa: B019 (as long-lived as the process)
    def blueprint(self, kind, depth):
        """How a kind of stage trains, for all its seeds and arms, at its longest bucket."""
        config, model, lengths = self.config, self.models[depth], self.config.stages
        stage = lengths["replacing" if kind == "truncated" else kind]
        num_steps = stage.num_steps
        if kind == "distill":  # as long as both stages of Theseus together
            num_steps = lengths.replacing.num_steps + lengths.successor.num_steps

        def initial():
            first = self.initial(0)
            return self.params(kind, self.cut(first, depth), first)

        mask = compression.stage_mask(
            kind,
            jax.eval_shape(initial),
            stage.trainable,
            own_embeddings=config.own_embeddings,
        )
        tx = compression.make_optimizer(
            stage.learning_rate,
            num_steps,
            warmup=stage.warmup,
            weight_decay=config.weight_decay,
            mask=mask,
        )
        loss = compression.make_stage_loss(
            kind, model, self.head, self.deep, mask=mask, **config.distillation
        )
        rates = dict.fromkeys(("rate_base", "rate_slope") if kind == "replacing" else (), 0.0)

        def create_state(params=None, model_state=rates, stream=0):
            params = initial() if params is None else params
            model_state = {name: jnp.float32(value) for name, value in model_state.items()}
            key = jax.random.key(stream)
            return train.state_from_params(
                params, tx, key=key, model_state=model_state, mesh=self.mesh
            )

        rows = lambda *shape: jax.ShapeDtypeStruct((config.batch_size, *shape), np.int32)
        names = ("input_ids", "attention_mask")
        return train.Blueprint(
            create_state,
            train.make_train_step(loss, tx, mesh=self.mesh, **config.step),
            {"label": rows(), **{name: rows(max(config.buckets)) for name in names}},
            num_steps=num_steps,
            batch_size=config.batch_size,
            mesh=self.mesh,
        )

    def params(self, kind, start, predecessor):
        own = self.config.own_embeddings
        return compression.stage_params(kind, start, predecessor, own_embeddings=own)

    def cut(self, params, depth, source=None):
        """{"bert", "head"} with layers of `source`, as many as `depth`, and all else its own."""
        which = "first" if source is None else self.config.layers
        layers = theseus.choose_layers(self.deep.num_layers, depth, which)
        successor = theseus.init_successor((source or params)["bert"], layers)
        both = {"predecessor": params["bert"], "successor": successor}
        return {**params, "bert": theseus.extract_successor(both)}

    def run_stage(self, folder, kind, depth, seed, start, *, predecessor=None, rates=None):
        """Trains a stage unless it is done; returns {"bert", "head"}."""
        config, folder = self.config, self.workdir / folder
        program = self.blueprint(kind, depth)
        if mesh_lib.in_process_0(lambda: stages.finished(folder, program.num_steps)):
            with stages.reading(folder):
                _, tree = bert.load_pretrained(folder / "model")
                return {"bert": tree, "head": bert.load_heads(folder / "model")["classifier"][1]}
        logging.info("%s: %s, %d layers", folder.relative_to(self.workdir), kind, depth)
        # A second stage sees another order. The remainder differs for all seeds of 32 bits but one.
        stream = (2 * seed + (kind == "successor")) % (2**32 - 1)
        state = program.create_state(self.params(kind, start, predecessor), rates or {}, stream)
        data = text_pipeline(
            self.sets["train"],
            config.batch_size,
            buckets=config.buckets,
            seed=stream,
            **mesh_lib.this_process(),
        )
        folder.mkdir(parents=True, exist_ok=True)
        options = launch.options()
        state, checkpointer, writer = train.resume(
            folder,
            state,
            data,
            keep_latest=2,
            tensorboard=options.tensorboard,
            allow_change=options.allow_change,
        )
        state = train.fit(
            state,
            program.step,
            data,
            num_steps=program.num_steps,
            checkpointer=checkpointer,
            writer=writer,
            log_every=config.log_every,
            eval_every=config.eval_every,
            eval_fn=lambda state: self.figures(
                compression.plain_params(kind, state.params), depth, "validation"
            ),
            checkpoint_every=config.checkpoint_every,
            mesh=self.mesh,
            profile_dir=options.profile_dir,
        )
        params = jax.device_get(compression.plain_params(kind, state.params))
        result = {
            **self.figures(params, depth, "validation"),
            **self.figures(params, depth, "test"),
            "parameters": sum(x.size for x in jax.tree.leaves(params)),
            "depth": depth,
        }
        checkpointer.close()

        def conclude():
            bert.save_pretrained(
                folder / "model",
                self.models[depth],
                params["bert"],
                heads={"classifier": (self.head, params["head"])},
                tokenizer=self.tokenizer,
            )
            stages.finish(folder, program.num_steps, result)
            if not config.keep_checkpoints:
                shutil.rmtree(folder / "checkpoints")

        mesh_lib.in_process_0(conclude)
        return params

    @functools.cache  # noqa: B019
    def eval_step(self, depth):
        metrics = bert.make_metrics(self.models[depth], self.head)
        return train.make_eval_step(metrics, mesh=self.mesh)

    def figures(self, params, depth, split):
        """{"test/accuracy": ..., "test/loss": ..., and standard errors}."""
        found = train.evaluate(
            self.eval_step(depth),
            params,
            {},
            self.evaluation[split],
            key=jax.random.key(0),
            mesh=self.mesh,
        )
        return {f"{split}/{name}": value for name, value in found.items()}

    def compress(self, seed, depth, predecessor):
        """Runs all arms of a seed and a depth."""
        config, initial = self.config, self.initial(seed)
        place = f"seed_{seed}/depth_{depth}"
        # The layers may come from the pretrained model; embeddings and head are the predecessor's.
        source = predecessor if config.init_from == "predecessor" else initial
        start = self.cut(predecessor, depth, source)
        num_steps = config.stages.replacing.num_steps
        base, reach = config.curriculum.base, max(1, round(config.curriculum.reach * num_steps))
        rates = {
            "constant": {"rate_base": config.constant_rate, "rate_slope": 0.0},
            "curriculum": {"rate_base": base, "rate_slope": (1 - base) / reach},
        }
        run = functools.partial(self.run_stage, depth=depth, seed=seed, predecessor=predecessor)
        for arm in config.arms:
            if arm == "direct":
                run(f"{place}/direct/direct", "direct", start=self.cut(initial, depth))
            elif arm == "distill":
                run(f"{place}/distill/distill", "distill", start=start)
            else:
                kind = first_stage(arm)
                found = run(f"{place}/{arm}/{kind}", kind, start=start, rates=rates.get(arm))
                if arm in REPLACING:
                    self.sensitivity(f"{place}/{arm}", depth, predecessor, found)
                if config.stages.successor.num_steps:
                    run(f"{place}/{arm}/successor", "successor", start=found)

    def sensitivity(self, folder, depth, predecessor, successor):
        """Test accuracy of the predecessor with one of its modules swapped for the successor's."""
        path = self.workdir / folder / "sensitivity.json"
        if mesh_lib.in_process_0(lambda: is_swapped(path)):
            return
        params = self.params("replacing", successor, predecessor)
        count = compression.num_gates(params, self.models[depth])
        found = []
        for gates in (np.zeros(count, bool), *np.eye(count, dtype=bool)):
            means = train.evaluate(
                self.replaced_step(depth),
                params,
                {"gates": jnp.asarray(gates)},
                self.evaluation["test"],
                key=jax.random.key(0),
                mesh=self.mesh,
            )
            found.append(means["accuracy"])
        text = to_json({"predecessor": found[0], "swapped": found[1:]}) + "\n"
        mesh_lib.in_process_0(lambda: write_atomically(path, text))

    @functools.cache  # noqa: B019
    def replaced_step(self, depth):
        metrics = compression.make_replaced_metrics(self.deep, self.models[depth], self.head)
        return train.make_eval_step(metrics, mesh=self.mesh)

    def latency(self):
        """Median milliseconds of a forward pass, by depth and batch size."""
        runs, length = {}, max(self.config.buckets)
        for depth, model in sorted(self.models.items()):
            ids = jnp.ones((1, 2), jnp.int32)
            params = {"bert": jax.jit(model.init)(jax.random.key(0), ids)["params"]}
            params["head"] = self.initial(0)["head"]
            forward = jax.jit(functools.partial(bert.apply_classifier, model, self.head))
            for batch_size in (1, 32):
                ones = jnp.ones((batch_size, length), jnp.int32)
                batch = {"input_ids": ones, "attention_mask": ones}
                call = functools.partial(forward, params, batch)
                runs[depth, batch_size] = lambda call=call: call().block_until_ready()
        found: dict[int, dict[int, float]] = {}
        for (depth, size), seconds in timing.medians(runs, self.config.latency_repeats).items():
            found.setdefault(depth, {})[size] = 1e3 * seconds
        return found


def first_stage(arm):
    return "replacing" if arm in REPLACING else "truncated"


def last_stage(config, arm):
    return "successor" if config.stages.successor.num_steps else first_stage(arm)


def collect(config, workdir, deep):
    """Rows of the report: name -> depth, parameters, accuracies [seeds]."""
    rows, places = {}, {f"predecessor, {deep} layers": "predecessor"}
    for depth in config.depths:
        for arm in config.arms:
            last = arm if arm in ("direct", "distill") else last_stage(config, arm)
            places[f"{arm}, {depth} layers"] = f"depth_{depth}/{arm}/{last}"
    for name, place in places.items():
        results = [stages.finished(workdir / f"seed_{seed}" / place) or {} for seed in config.seeds]
        rows[name] = {
            key: [r[key] for r in results]
            for key in ("validation/accuracy", "test/accuracy", "test/loss")
        } | {"depth": results[0]["depth"], "parameters": results[0]["parameters"]}
    return rows


def write_report(config, workdir, study):
    """report.md, report.json and the figures."""
    rows, latency = collect(config, workdir, study.deep.num_layers), study.latency()
    swaps, arms = {}, [arm for arm in config.arms if arm in REPLACING]
    for depth in config.depths:
        for arm in arms:
            files = [
                workdir / f"seed_{seed}/depth_{depth}/{arm}/sensitivity.json"
                for seed in config.seeds
            ]
            found = [read_json(file) for file in files]
            swaps[f"{arm}, {depth} layers"] = [
                [100 * (f["predecessor"] - x) for x in f["swapped"]] for f in found
            ]
    record = {"rows": rows, "latency_ms": latency, "sensitivity_points": swaps}
    write_atomically(workdir / "report.json", to_json(record, indent=2) + "\n")
    lines = [
        f"{len(config.seeds)} seeds, {len(study.sets['train'])} training texts, "
        f"{len(study.sets['test'])} test texts; accuracies in %, mean ± standard error over seeds.",
        "",
        "| | parameters | validation | test | minus truncated | ms, batch 1 | ms, batch 32 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        control = rows.get(f"truncated, {row['depth']} layers")
        ms, accuracy, versus = latency[row["depth"]], row["test/accuracy"], ""
        if control is not None and control is not row:
            versus = comparison.percent_difference(accuracy, control["test/accuracy"])
        cells = [comparison.percent(x) for x in (row["validation/accuracy"], accuracy)] + [versus]
        cells += [f"{ms[1]:.1f}", f"{ms[32]:.0f}"]
        lines.append(f"| {name} | {row['parameters'] / 1e6:.2f} M | {' | '.join(cells)} |")
    for name, values in swaps.items():
        drops = ", ".join(f"{x:.2f}" for x in np.mean(values, 0))
        lines += [
            "",
            f"Points lost when one module of the predecessor is swapped ({name}): {drops}",
        ]
    write_atomically(workdir / "report.md", "\n".join(lines) + "\n")
    accuracy = {name: 100 * np.array(row["test/accuracy"]) for name, row in rows.items()}
    plots.dots(accuracy, workdir / "accuracy.png", xlabel="test accuracy (%)")
    for depth in config.depths if arms else ():
        plots.bars(
            {arm: np.mean(swaps[f"{arm}, {depth} layers"], 0) for arm in arms},
            workdir / f"sensitivity_{depth}_layers.png",
            title=f"one module swapped ({depth} layers)",
            xlabel="module",
            ylabel="accuracy lost (points)",
        )
    print("\n".join(lines))  # at the end: whoever reads it may go away


def blueprint(config, mesh, data_dir=None, stage="replacing"):
    """A kind of stage as planners want it; the data are read, nothing is written."""
    study = Study(config, None, mesh, data_dir)
    return study.blueprint(
        stage, study.deep.num_layers if stage == "predecessor" else max(config.depths)
    )


def main(config, workdir):
    study = Study(config, workdir, mesh_lib.make_mesh(), launch.options().data_dir)
    for seed in config.seeds:
        predecessor = study.run_stage(
            f"seed_{seed}/predecessor",
            "predecessor",
            study.deep.num_layers,
            seed,
            study.initial(seed),
        )
        for depth in config.depths:
            study.compress(seed, depth, predecessor)
    mesh_lib.in_process_0(lambda: write_report(config, workdir, study))


if __name__ == "__main__":
    launch.run(main, default_config="configs/theseus/study.py", sections=SECTIONS)
