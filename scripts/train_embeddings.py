"""Trains skip-gram word vectors: a sweep over dimensions, or negative sampling at full speed.

    python scripts/train_embeddings.py --config=configs/embeddings/sweep.py --workdir=runs/sweep
    python scripts/train_embeddings.py --config=configs/embeddings/negative_sampling.py \\
        --workdir=runs/words
    python scripts/train_embeddings.py --config=configs/embeddings/negative_sampling.py \\
        --workdir=runs/own --config.corpus=FILE,FOLDER,'notes/*.txt.gz'
    python scripts/train_embeddings.py --config=configs/embeddings/negative_sampling.py \\
        --workdir=runs/table --config.data.name=jsonl --config.data.path=FILE \\
        --config.data.text_column=body

`--init_from=RUN|FILE` starts negative sampling from an earlier run, or from a file of vectors in
word2vec's text or binary (`.bin`) format, by word.

The same command goes on where a run was stopped. A sweep leaves metrics.jsonl (a line for each
vocabulary, dimension and seed), results.jsonl (which of them are done), summary.json and
held_out.png; negative sampling leaves metrics.jsonl, checkpoints/, vectors.txt (word2vec's text
format), neighbours.txt and plane.png.
"""

import collections
import dataclasses
import time

import numpy as np
from absl import logging

from jaxlab import launch, plots, train
from jaxlab import mesh as mesh_lib
from jaxlab.data.skipgram import skipgram_pipeline
from jaxlab.errors import InputError
from jaxlab.files import to_json, write_atomically
from jaxlab.tasks import embeddings
from jaxlab.tasks.embeddings import judgements, sampling, sweep, texts


def look_at(config, workdir, options, corpus, left_out):
    """Says what was read, compares it with an earlier call's; the judged pairs of words."""
    pairs = judgements.load_pairs(options.data_dir)
    seen = judgements.described(corpus, pairs)
    launch.check_data(workdir, seen, allow_change=options.allow_change)
    launch.report_data(workdir, texts.found(config, corpus, left_out))
    return pairs


def run_sweep(config, workdir, options):
    mesh_lib.refuse_several("the sweep trains the seeds of a cell in one program")
    launch.refuse_start("a sweep fits each dimension from new vectors")
    config = sweep.check_sweep(config)
    left_out = collections.Counter()
    corpus = sweep.load_words(config, options.data_dir, left_out=left_out)
    pairs = look_at(config, workdir, options, corpus, left_out)
    table = sweep.run(config, workdir, corpus, pairs)
    write_atomically(workdir / "summary.json", to_json(table, indent=2) + "\n")
    plots.dimension_sweep(config["dims"], table, workdir / "held_out.png")
    for entry in table:
        print(sweep.as_line(entry, config["dims"]))


def run_sampling(config, workdir, options):
    left_out = collections.Counter()
    corpus, total = sampling.load_words(config, options.data_dir, left_out=left_out)
    pairs = look_at(config, workdir, options, corpus, left_out)
    blocks, run = sampling.make_run(config, corpus, mesh_lib.one_device_each())
    logging.info(
        "%d words, %d of them in a vocabulary of %d; %d batches of %d places",
        *(total, len(corpus), len(corpus.words), run.num_steps, run.batch_size),
    )
    begun = []  # step and time of the first batch of this call

    def step(state, batch):
        if not begun:
            begun.extend([int(state.step), time.perf_counter()])
        return run.step(state, batch)

    def eval_fn(state):
        return judgements.judge(np.asarray(state.params["words"]), corpus.words, pairs)

    fresh = run.create_state()
    state = train.run(
        dataclasses.replace(run, step=step, mesh=None),  # every process does all of each batch
        skipgram_pipeline(blocks),
        workdir,
        state=launch.start(fresh, workdir, sampling.vectors_of(corpus.words, fresh.params)),
        eval_fn=eval_fn,
        log_every=config["log_every"],
        eval_every=config["eval_every"],
        checkpoint_every=config["checkpoint_every"],
        tensorboard=options.tensorboard,
        allow_change=options.allow_change,
        profile_dir=options.profile_dir,
    )
    end = time.perf_counter()
    vectors, figures = np.asarray(state.params["words"]), eval_fn(state)

    def conclude():
        sampling.show_vectors(config, workdir, vectors, corpus.words)
        if begun:
            seconds = end - begun[1]
            words = total * config["epochs"] * (run.num_steps - begun[0]) / run.num_steps
            print(
                f"{words:.0f} words of text in {seconds:.1f} s, compiling included: "
                f"{words / seconds:.0f} words/s"
            )
        print(judgements.as_line(figures))

    mesh_lib.in_process_0(conclude)


JOBS = {"sweep": run_sweep, "negative_sampling": run_sampling}


def main(config, workdir):
    if config.job not in JOBS:
        raise InputError(f"job is {config.job!r}, must be {' or '.join(JOBS)}")
    JOBS[config.job](config.to_dict(), workdir, launch.options())


if __name__ == "__main__":
    launch.run(
        main,
        default_config="configs/embeddings/sweep.py",
        sections=embeddings.KEYWORDS,
        task="embeddings",
        reads=(*launch.READS, "init"),
    )
