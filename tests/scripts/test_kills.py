"""Scripts killed at random moments end as if nothing had happened, bit for bit.

JAXLAB_KILLS says how often each is killed (5), JAXLAB_KILL_SEED at which moments (0).
"""

import json
import os
import random
import re
import threading
import time

import jax
import numpy as np
import pytest
from processes import start_script

from jaxlab import checkpoints

pytestmark = pytest.mark.slow  # minutes a script

TEXT = "--config.corpus=WORKSPACE.md,docs/methods/nvae.md,LICENSE"
SCRIPTS = {
    "nvae": (
        *("train_nvae", "--config=configs/nvae/mnist5k.py:tiny", "--config.num_steps=150"),
        *("--config.eval_every=30", "--config.checkpoint_every=15"),
    ),
    "classifier": (
        *("train_classifier", "--config=configs/classifier/fashion_long_tail.py:tiny"),
        *("--config.num_steps=400", "--config.eval_every=40", "--config.checkpoint_every=20"),
    ),
    "negative sampling": (
        *("train_embeddings", "--config=configs/embeddings/negative_sampling.py:tiny", TEXT),
        *("--config.min_count=3", "--config.blocks.steps=1", "--config.epochs=12"),
        *("--config.eval_every=10", "--config.checkpoint_every=5"),
    ),
    "compression": (
        *("compress_bert", "--config=configs/theseus/study.py:headlines-tiny"),
        *("--config.arms=('constant',)", "--config.checkpoint_every=5", "--config.eval_every=10"),
        *(f"--config.stages.{s}.num_steps=30" for s in ("predecessor", "replacing", "successor")),
    ),
    "questions": (
        *("train_qa_generation", "--config=configs/qa_generation/english.py:tiny"),
        *("--config.stages.mlm.num_steps=40", "--config.stages.seq2seq.num_steps=40"),
        "--config.checkpoint_every=5",
    ),
    "compare": (
        *("compare", "--config=configs/studies/long_tail.py:tiny"),
        "--config.base.num_steps=60",
    ),
}
BEGUN = re.compile(r"step \d|\d candidates|resumed from")
# What a clock wrote is not compared: timings, latencies, pictures of them.
SAME = (".jsonl", "result.json", "sensitivity.json", "table.md", ".safetensors", "vectors.txt")


def contents(workdir):
    """Path -> bytes or arrays of all that must not differ."""
    found = {}
    for path in sorted(workdir.rglob("*")):
        name = str(path.relative_to(workdir))
        if path.name == "results.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
        elif path.name == "report.json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if "ms" not in k}
        elif path.name == "checkpoints":
            step, params, state = checkpoints.load_params(path, ema=False)
            leaves = jax.tree.leaves_with_path((params, state))
            found[name] = (
                step,
                {jax.tree_util.keystr(p): np.asarray(x).tobytes() for p, x in leaves},
            )
        elif name.endswith(SAME) and path.name != "timing.jsonl" and "checkpoints" not in name:
            found[name] = path.read_bytes()
    return found


class Watched:
    """A running script: when its training began, and all it says."""

    def __init__(self, arguments):
        (self.process,) = start_script(*arguments)
        self.begun, self.text = threading.Event(), []
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        for line in self.process.stderr:
            self.text.append(line)
            if BEGUN.search(line):
                self.begun.set()
        self.begun.set()

    def end(self):
        """Exit code, once it has ended."""
        code = self.process.wait(timeout=600)
        self.thread.join()
        return code


@pytest.mark.parametrize("name", SCRIPTS)
def test_killed_runs_end_bit_for_bit(tmp_path, data_dir, name):
    kills = int(os.environ.get("JAXLAB_KILLS", "5"))
    draw = random.Random(f"{os.environ.get('JAXLAB_KILL_SEED', '0')} {name}")
    common = (*SCRIPTS[name], f"--data_dir={data_dir}")
    whole, folders, moments = tmp_path / "whole", [tmp_path / "killed_0"], []
    run = Watched((*common, f"--workdir={whole}"))
    run.begun.wait(600)
    started = time.perf_counter()
    assert run.end() == 0, "".join(run.text)
    seconds = time.perf_counter() - started
    for number in range(1, 4 * kills):
        run = Watched((*common, f"--workdir={folders[-1]}"))
        run.begun.wait(600)
        moment = draw.uniform(0, seconds / kills)
        time.sleep(moment)
        run.process.kill()
        if run.end():
            moments.append(round(moment, 2))
        else:  # it was done before: the next kills are another run's
            folders.append(tmp_path / f"killed_{number}")
        if len(moments) == kills:
            break
    run = Watched((*common, f"--workdir={folders[-1]}"))
    assert run.end() == 0, "".join(run.text)
    expected = contents(whole)
    assert len(expected) >= 2
    for folder in folders:
        found = contents(folder)
        assert sorted(found) == sorted(expected)
        assert [path for path in expected if found[path] != expected[path]] == []
    print(
        f"{name}: {len(moments)} kills, {moments} s after a start, of {len(folders)} runs of "
        f"{seconds:.1f} s; {len(expected)} files and checkpoints the same"
    )
    assert len(moments) == kills
