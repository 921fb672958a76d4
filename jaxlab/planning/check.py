"""Checks that a machine trains as it should, before anything is trained on it.

Devices, arithmetic, a step of every training script, speeds, a checkpoint: on data that are made up
here, in a few minutes and without a network.
"""

import gzip
import importlib.metadata
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import checkpoints
from jaxlab.files import to_json, write_atomically
from jaxlab.planning.benchmark import Variant, measure
from jaxlab.planning.parity import KINDS, MODELS, deviations
from jaxlab.planning.scripts import blueprint

PARTS = ("devices", "parity", "steps", "benchmark", "resume")
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
_WORDS = "the a of in red green old new king river house day runs sees finds likes big small two"


class Row(NamedTuple):
    """What was looked at, what was found, and what is wrong with it: "" where nothing is."""

    part: str
    what: str
    found: dict[str, Any]
    wrong: str = ""


def check_devices(devices: Sequence[Any]) -> Iterator[Row]:
    """Versions; and of each device its memory, and a product of whole numbers that must be exact.

    Example:
      >>> [row.wrong for row in check_devices(jax.devices()[:1])]
      ['', '']
    """
    found: dict[str, Any] = {"backend": jax.default_backend(), "devices": len(devices)}
    found["runtime"] = " ".join(str(devices[0].client.platform_version).split())
    for name in LIBRARIES:
        found[name] = importlib.metadata.version(name)
    yield Row("devices", "versions", found)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, (256, 256)).astype(np.float32) for _ in range(2))
    for device in devices:
        limit = (device.memory_stats() or {}).get("bytes_limit")
        here = np.asarray(jax.device_put(a, device) @ jax.device_put(b, device))
        wrong = "" if (here == a @ b).all() else "a product of whole numbers is not exact"
        gib = {} if limit is None else {"memory, GiB": round(limit / 2**30, 1)}
        yield Row("devices", str(device), {"kind": device.device_kind, **gib}, wrong)


def check_parity(
    kinds: Sequence[str] = tuple(KINDS), models: Sequence[str] = MODELS
) -> Iterator[Row]:
    """A small NVAE and a small BERT against the stored values of a CPU."""
    for kind in kinds:
        found, most = deviations(kind, models=models), KINDS[kind].tolerance
        off = [name for name, value in found.items() if not value <= most]  # NaN is off too
        wrong = f"more than {most:g} away from a CPU: {', '.join(off)}" if off else ""
        yield Row("parity", kind, found, wrong)


def made_up_config(script: str, config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A config that reads what `make_data` has written, or needs no data at all.

    Args:
      script: that the config is for.
      config: as plain dicts.
      folder: of `make_data`.
    """
    config = dict(config)
    if script == "train_classifier" and config["model"]["kind"] == "mlp":
        config["data"] = {"name": "sinusoid", "num_train": 64, "num_validation": 8, "num_test": 8}
    if script == "compress_bert":
        config["data"] = {**config["data"], "name": "headlines"}
        config["limits"] = dict.fromkeys(config["limits"], 0)
        config["pretrained"] = ""
    if script == "train_qa_generation":
        config["data"] = {**config["data"], "files": ("questions.json",), "shares": (0.2, 0.2)}
        config["limits"] = {"passage": 40, "answer": 14, "question": 24}
        config["pretrained"], config["max_train"], config["max_validation"] = "", 0, 0
    if script == "train_embeddings":
        config["corpus"] = str(folder / "corpus.txt")
        # A made-up batch is one word over and over, whose summed steps diverge at word2vec's rate.
        config["learning_rate"], config["final_learning_rate"] = 1e-4, 1e-4
    return config


def make_data(folder: Path) -> None:
    """Writes texts, questions and a corpus of made-up sentences, for `made_up_config`."""
    rng, words = np.random.default_rng(0), _WORDS.split()
    sentence = lambda: " ".join(rng.choice(words, 8))
    lines = [f"{i % 2}\t{sentence()} {i}" for i in range(400)]
    text = "\n".join(lines) + "\n"
    write_atomically(folder / "headlines-sarcasm.tsv.gz", gzip.compress(text.encode()))
    articles = []
    for i in range(200):
        text = sentence()
        answer = {"text": text.split()[0], "answer_start": 0}
        asked = {"id": f"{i}", "question": f"{sentence()}?", "answers": [answer]}
        articles.append({"title": f"{i}", "paragraphs": [{"context": text, "qas": [asked]}]})
    write_atomically(folder / "questions.json", to_json({"version": "1.1", "data": articles}))
    words = "\n".join(sentence() for _ in range(4000))
    write_atomically(folder / "corpus.txt", words + "\n")


def compiled(script: str, config: Mapping[str, Any], mesh: Any, folder: Path) -> Variant:
    """The compiled step of a script on made-up data, its batch a multiple of the devices."""
    config = made_up_config(script, config, folder)
    if "batch_size" in config:
        config["batch_size"] = -(-config["batch_size"] // mesh.size) * mesh.size
    found = blueprint(script, config, mesh, data_dir=str(folder))
    return Variant(script, mesh.size, found)


def check_steps(
    configs: Mapping[str, Mapping[str, Any]], mesh: Any, folder: Path, *, steps: int = 5
) -> Iterator[Row]:
    """A training step of each script: seconds to compile, steps per second, finite figures.

    Args:
      configs: script -> config.
      mesh: the devices.
      folder: of `make_data`.
      steps: that are timed.
    """
    for script, config in configs.items():
        yield guarded("steps", script, lambda s=script, c=config: _step(s, c, mesh, folder, steps))


def _step(script, config, mesh, folder, steps):
    variant = compiled(script, config, mesh, folder)
    seconds, _ = variant.run(steps)
    spent = sum(variant.seconds[name] for name in ("trace", "lower", "compile"))
    found = {"compile, s": round(spent, 1), "steps/s": float(f"{1 / seconds:.3g}")}
    off = [name for name, x in variant.figures.items() if not np.isfinite(np.asarray(x)).all()]
    return found, f"not finite: {', '.join(off)}" if off else ""


def check_benchmark(
    runs: Mapping[str, tuple[str, Mapping[str, Any]]], mesh: Any, folder: Path, *, steps: int = 5
) -> Iterator[Row]:
    """Steps of larger configs, and how much of a large matrix product's rate they reach.

    Args:
      runs: name -> (script, config).
      mesh: the devices.
      folder: of `make_data`.
      steps: in each of two rounds that are timed.
    """
    for name, (script, config) in runs.items():

        def run(script=script, config=config):
            variant = compiled(script, config, mesh, folder)
            times, rates = measure([variant], rounds=2, steps=steps)
            seconds, rate = float(np.median(times[script][:, 0])), float(np.median(rates))
            spent = sum(variant.seconds[part] for part in ("trace", "lower", "compile"))
            found = {
                "compile, s": round(spent, 1),
                "ms/step": float(f"{1e3 * seconds:.4g}"),
                "examples/s": float(f"{variant.batch_size / seconds:.4g}"),
                "TFLOP/s": float(f"{variant.flops / seconds / 1e12:.3g}"),
                "of a product's": f"{100 * variant.flops / seconds / rate:.1f} %",
            }
            if peak := (mesh.devices.flat[0].memory_stats() or {}).get("peak_bytes_in_use"):
                found["peak, GiB"] = round(peak / 2**30, 2)
            return found, ""

        yield guarded("benchmark", name, run)


def check_resume(
    script: str, config: Mapping[str, Any], mesh: Any, folder: Path, *, steps: int = 3
) -> Iterator[Row]:
    """Saves a run, restores it, and goes on with both: every bit must be the same."""

    def run():
        variant = compiled(script, config, mesh, folder)
        variant.run(steps)
        begun = time.perf_counter()
        saved = checkpoints.Checkpointer(folder / "checkpoints")
        saved.save(variant.state)
        seconds = time.perf_counter() - begun
        other = saved.restore_latest(variant.state)
        at_once = _differing(variant.state, other)
        variant.run(steps)
        first, variant.state = variant.state, other
        variant.run(steps)
        later = _differing(first, variant.state)
        wrong = f"{at_once} arrays differ from those saved" if at_once else ""
        if later and not at_once:
            wrong = f"{steps} steps on, {later} arrays differ: this machine's sums do not repeat"
            if jax.default_backend() == "gpu":
                wrong += "; XLA_FLAGS=--xla_gpu_deterministic_ops=true makes them"
        return {"save, s": round(seconds, 2), "arrays": len(jax.tree.leaves(other))}, wrong

    yield guarded("resume", script, run)


def _differing(a, b) -> int:
    """Leaves that are not the same bit for bit."""

    def bits(x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x = jax.random.key_data(x)
        return np.asarray(x).tobytes()

    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return sum(bits(x) != bits(y) for x, y in pairs)


def guarded(part: str, what: str, run: Callable[[], tuple[dict[str, Any], str]]) -> Row:
    """The row of a check; whatever it raises is what is wrong there, and the others go on."""
    try:
        return Row(part, what, *run())
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        return Row(part, what, {}, f"{type(error).__name__}: {text.splitlines()[0]}")


def check_table(rows: Sequence[Row]) -> str:
    """Lines to print.

    Example:
      >>> print(check_table([Row("steps", "train_nvae", {"steps/s": 9.0}, "not finite: nelbo")]))
      steps      train_nvae  OFF: not finite: nelbo (steps/s 9)
      1 of 1 checks off
    """
    width = max(len(row.what) for row in rows)
    lines = []
    for row in rows:
        text = ", ".join(
            f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.found.items()
        )
        text = f"OFF: {row.wrong} ({text})" if row.wrong else text
        lines.append(f"{row.part:10} {row.what:{width}}  {text}".removesuffix(" ()"))
    off = sum(bool(row.wrong) for row in rows)
    return "\n".join([*lines, f"{off or 'none'} of {len(rows)} checks off"])
