"""Evaluation of a trained NVAE: importance-weighted bound, active channels, batch statistics."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.checks import check_count
from jaxlab.errors import DivergedError, InputError
from jaxlab.models import vae
from jaxlab.models.nvae.latent_inputs import check_temperature
from jaxlab.models.nvae.layers import MOMENTUM
from jaxlab.models.nvae.model import NVAE
from jaxlab.models.nvae.objective import ACTIVE_NATS, prepare_images


def importance_bound(
    model: NVAE, *, num_samples: int, chunk: int = 10
) -> Callable[[Any, jax.Array, jax.Array], np.ndarray]:
    """Builds the importance-weighted bound on -log p(x); see `vae.importance_bound`.

    The bottom-up pass runs once per image, the decoder for every sample.

    Args:
        model: The model.
        num_samples: K.
        chunk: Samples of every image that go through the decoder at once; must divide K.

    Returns:
        bound(variables, x, key) -> [batch] nats, x being [batch, size, size, channels] in [0, 1].

    Raises:
        ValueError: If chunk does not divide num_samples.
    """

    def log_weights(inputs, key):
        variables, features, x = inputs
        output: Any = model.apply(variables, features, key=key, method="top_down")
        log_w = model.observation.log_prob(x, output.parameters) + output.log_p - output.log_q
        return log_w.reshape(-1, chunk)

    bound = vae.importance_bound(log_weights, num_samples=num_samples, chunk=chunk)

    @jax.jit
    def features_of(variables, x):
        features: Any = model.apply(variables, x, method="bottom_up")
        return tuple(jnp.repeat(f, chunk, axis=1) for f in features), jnp.repeat(x, chunk, axis=0)

    return lambda variables, x, key: bound((variables, *features_of(variables, x)), key)


def active_channels(model: NVAE) -> Callable[[Any, jax.Array, jax.Array], jax.Array]:
    """Builds a function that gives the KL of every latent channel, averaged over a batch.

    Returns:
        (variables, x, key) -> [groups, latents] nats. A channel is in use above `ACTIVE_NATS`.
    """

    @jax.jit
    def kl_per_channel(variables, x, key):
        output: Any = model.apply(variables, x, key=key)
        return jnp.concatenate([jnp.mean(s.kl_per_channel, axis=1) for s in output.scales])

    return kl_per_channel


def count_active(kl_per_channel: np.ndarray) -> tuple[int, int]:
    """(groups, channels) in use, from [groups, latents] nats.

    >>> count_active(np.array([[0.5, 0.2], [0.0, 0.05]]))
    (1, 2)
    """
    active = np.asarray(kl_per_channel) > ACTIVE_NATS
    return int(active.any(axis=1).sum()), int(active.sum())


_DECODER = ("group_", "up_", "post_")


def reestimate_sampling_statistics(
    model: NVAE,
    variables: Any,
    key: jax.Array,
    *,
    temperature: float | Sequence[float],
    batch: int = 16,
    num_batches: int = 100,
) -> Any:
    """Batch statistics of the decoder, measured on prior samples at a temperature.

    At a low temperature activations differ from those of training, and running statistics fitted
    there blur the samples. Cumulative float32 means over num_batches batches replace them; the
    encoder's stay.

    Args:
        model: The model; run it with dtype None here.
        variables: {"params", "batch_stats"}.
        key: Draws the samples.
        temperature: Of the samples, one factor or one per group, coarsest first.
        batch, num_batches: Size and number of batches.

    Returns:
        A new "batch_stats".

    Raises:
        ValueError: A number is out of range.
        FloatingPointError: If a statistic is not finite.
    """
    check_temperature(temperature, model.num_groups)
    factors = np.ravel(temperature)
    heat = float(factors[0]) if len(factors) == 1 else np.asarray(factors, np.float32)
    for name, count in (("batch", batch), ("num_batches", num_batches)):
        check_count(name, count)
    inputs = ((jax.random.fold_in(key, i), heat) for i in range(num_batches))
    run = functools.partial(_sample_statistics, model, batch)
    means = _cumulative(run, variables, inputs)
    old = variables["batch_stats"]
    return {k: means[k] if k.startswith(_DECODER) else old[k] for k in old}


@functools.partial(jax.jit, static_argnums=(0, 1))  # one program for all temperatures
def _sample_statistics(model: NVAE, batch: int, variables: Any, inputs: Any) -> Any:
    key, temperature = inputs
    options: Any = {"train": True, "mutable": ["batch_stats"], "method": "sample"}
    _, updates = model.apply(variables, batch, key=key, temperature=temperature, **options)
    return updates["batch_stats"]


def refresh_statistics(
    model: NVAE, variables: Any, batches: Iterable[jax.Array], key: jax.Array
) -> Any:
    """Batch statistics measured anew on training images, with the parameters given.

    Running statistics belong to the raw parameters of the last steps; averaged (EMA) parameters
    evaluate better with statistics of their own.

    Args:
        batches: Arrays [batch, size, size, channels], uint8 or float in [0, 1].
        key: Draws binarisation and posterior noise.

    Returns:
        A new "batch_stats".
    """

    def run(variables, inputs):
        images, key = inputs
        binary, noise = jax.random.split(key)
        x = prepare_images(model, images, binary)
        _, updates = model.apply(variables, x, key=noise, train=True, mutable=["batch_stats"])
        return updates["batch_stats"]

    inputs = ((b, jax.random.fold_in(key, i)) for i, b in enumerate(batches))
    return _cumulative(jax.jit(run), variables, inputs)


def _cumulative(run, variables, inputs) -> Any:
    # From running values of zero, one pass leaves (1 - momentum) times the batch's own statistic.
    zeros = jax.tree.map(jnp.zeros_like, variables["batch_stats"])
    blank = {"params": variables["params"], "batch_stats": zeros}
    total, count = zeros, 0
    for item in inputs:
        total = jax.tree.map(jnp.add, total, run(blank, item))
        count += 1
    if count == 0:
        raise InputError("no batches to measure statistics on")
    means = jax.tree.map(lambda t: t / (count * (1 - MOMENTUM)), total)
    for path, leaf in jax.tree_util.tree_leaves_with_path(means):
        if not bool(jnp.all(jnp.isfinite(leaf))):
            raise DivergedError(
                f"batch statistic {jax.tree_util.keystr(path)} is not finite after {count} batches"
            )
    return means
