"""Figures of a finished run on a split: NELBO, importance-weighted bound, latents in use."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxlab import data, train
from jaxlab.errors import DivergedError
from jaxlab.models import nvae
from jaxlab.tasks.images.training import binarize


def evaluate(
    run: train.LoadedRun,
    split: str = "test",
    *,
    limit: int | None = None,
    num_samples: int = 100,
    chunk: int = 10,
    batch_size: int = 100,
    refresh: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """NELBO and importance-weighted bound of a run with their standard errors, in nats.

    Binary images are drawn from the grey values once, with a fixed seed, so the figures repeat.

    Args:
      run: from `train.load_run`.
      split: which images.
      limit: only the first N of them.
      num_samples: K of the bound; 0 leaves it out.
      chunk: samples per image that are decoded at once; must divide K, or be above it.
      batch_size: images at a time.
      refresh: measure batch statistics anew on N training batches first; where the images are
        fewer, on the whole batches among them, or on one batch of all of them.
      seed: of posterior noise and fixed binarisation.

    Returns:
      nelbo, reconstruction, kl, kl_00, ... and bound, each with `_se`; active_groups and
      active_channels of a batch; images, step, weights, split, refresh, seed and bound_samples.

    Raises:
      ValueError: a number is out of range.
      FileNotFoundError: there are no such images.
      FloatingPointError: the NELBO or the bound is not finite.
    """
    model, config, key = run.model, run.config, jax.random.key(seed)
    images = run.load_data(split, limit=limit)
    if num_samples:  # before the work: chunk may not divide
        chunk = min(chunk, num_samples)
        bound = nvae.importance_bound(model, num_samples=num_samples, chunk=chunk)
    variables = run.variables
    if refresh:
        training = run.load_data("train", limit=refresh * config["batch_size"])
        # Whole batches only: the zeros that fill up a last one are no images.
        batches = data.eval_batches(training, min(config["batch_size"], len(training)))
        arrays = (jnp.asarray(batch["image"]) for batch in batches if batch["mask"].all())
        variables["batch_stats"] = nvae.refresh_statistics(model, variables, arrays, key)

    batches = data.eval_batches(images, batch_size, binarize=binarize(config, model), seed=seed)
    eval_step = train.make_eval_step(nvae.make_metrics(model))
    figures: dict[str, Any] = train.evaluate(eval_step, run.params, variables, batches, key=key)
    _check_finite(figures, "nelbo", run)  # before the work of the bound
    if num_samples:
        values = []
        for i, batch in enumerate(batches):
            x = nvae.prepare_images(model, jnp.asarray(batch["image"]), key)
            nats = bound(variables, x, jax.random.fold_in(key, i))
            values.append(nats[batch["mask"] > 0])
            done = sum(map(len, values))
            logging.info("bound of %d/%d images: %.3f", done, len(images), np.mean(values[-1]))
        values = np.concatenate(values)
        figures["bound"] = float(values.mean())
        _check_finite(figures, "bound", run)
        spread = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        figures["bound_se"] = float(spread)
    first = next(iter(batches))
    x = nvae.prepare_images(model, jnp.asarray(first["image"][first["mask"] > 0]), key)
    channels = nvae.active_channels(model)(variables, x, key)
    figures["active_groups"], figures["active_channels"] = nvae.count_active(np.asarray(channels))
    figures |= {"step": run.step, "weights": run.weights, "split": split, "images": len(images)}
    return figures | {"refresh": refresh, "seed": seed, "bound_samples": num_samples}


def _check_finite(figures: Mapping[str, Any], name: str, run: train.LoadedRun) -> None:
    if not np.isfinite(figures[name]):
        raise DivergedError(
            f"{name} of the {run.weights} weights of step {run.step} is {figures[name]}: "
            "take another --step, or --weights"
        )


def table(figures: Mapping[str, Any], model: nvae.NVAE) -> str:
    """Lines to print of what `evaluate` found with a model."""
    scale = 1 / (np.log(2) * (model.image_size - 2 * model.crop) ** 2 * model.channels)
    lines = [
        f"{figures['split']}, {figures['images']} images, {figures['weights']} weights of step "
        f"{figures['step']}"
    ]
    for name in ("nelbo", "reconstruction", "kl", "bound"):
        if name in figures:
            mean, error = figures[name], figures[f"{name}_se"]
            shown = f"{name:15s}{mean:10.3f} " + (f"+- {error:.3f} " if error == error else "")
            lines.append(f"  {shown}nats {mean * scale:9.4f} bits/dim")
    return "\n".join(
        [
            *lines,
            f"  active          {figures['active_groups']} of {model.num_groups} groups, "
            f"{figures['active_channels']} of {model.num_groups * model.latents} channels",
        ]
    )
