"""Where the latents of every group come from, gathered scale by scale."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.checks import check_count, concrete
from jaxlab.errors import InputError
from jaxlab.models.nvae.latents import GroupInput


def by_scale(counts: Sequence[int], arrays: Sequence[jax.Array]) -> list[Any]:
    """Stacks arrays of the first groups scale by scale, zeros for the groups beyond.

    Args:
      counts: groups of each scale, coarsest first.
      arrays: of the first groups, coarsest first; equal shapes within a scale.

    Returns:
      For each scale [count, ...], None where it has none of the arrays.

    Example:
      >>> stacks = by_scale((1, 2), [jnp.ones(1), jnp.ones(2)])
      >>> stacks[1].tolist()
      [[1.0, 1.0], [0.0, 0.0]]
    """
    stacks = []
    start = 0
    for count in counts:
        given = list(arrays[start : start + count])
        given += [jnp.zeros_like(given[0])] * (count - len(given)) if given else []
        stacks.append(jnp.stack(given) if given else None)
        start += count
    return stacks


def draw_noise(
    counts: Sequence[int], shapes: Sequence[tuple[int, ...]], batch: int, key: jax.Array | None
) -> list[jax.Array]:
    """Standard normal noise of every scale, from one draw with the key; zeros without one.

    Args:
      counts: groups of each scale, coarsest first.
      shapes: (height, width, latents) of every group, coarsest first.
      batch: number of images.
      key: typed key or None.

    Returns:
      For each scale [count, batch, height, width, latents].
    """
    starts = np.cumsum([0, *counts[:-1]])
    sizes = [(count, *shapes[i]) for count, i in zip(counts, starts, strict=True)]
    if key is None:
        return [jnp.zeros((count, batch, *shape)) for count, *shape in sizes]
    ends = np.cumsum([math.prod(size) for size in sizes])
    draw = jax.random.normal(key, (batch, int(ends[-1])))  # one draw compiles faster than many
    parts = jnp.split(draw, ends[:-1].tolist(), axis=1)
    return [
        jnp.moveaxis(part.reshape(batch, *size), 1, 0)
        for part, size in zip(parts, sizes, strict=True)
    ]


def check_temperature(temperature: float | Sequence[float] | jax.Array, num_groups: int) -> None:
    """Checks that it is one factor or one per group, finite and at least 0.

    Raises:
      ValueError: it is not; of a traced array the shape alone is checked.

    Example:
      >>> check_temperature((0.8, 1.0), 3)
      Traceback (most recent call last):
      jaxlab.errors.ValueError: temperature has 2 values, the model 3 groups
    """
    values, shape = concrete(temperature), np.shape(temperature)
    if values is not None and not (
        values.dtype.kind in "iuf" and (np.isfinite(values) & (values >= 0)).all()
    ):
        raise InputError(f"temperature is {temperature}, must be finite and at least 0")
    if len(shape) > 1:
        raise InputError(f"temperature has shape {shape}, must be one number or one per group")
    if shape not in ((), (1,), (num_groups,)):
        raise InputError(
            f"temperature has {math.prod(shape)} values, the model {num_groups} groups"
        )


def group_inputs(
    counts: Sequence[int],
    noise: Sequence[jax.Array],
    temperature: float | Sequence[float] | jax.Array,
    *,
    features: Sequence[jax.Array] | None = None,
    latents: Sequence[jax.Array] = (),
    whitened: Sequence[jax.Array] = (),
    num_inferred: int | jax.Array | None = None,
) -> list[GroupInput]:
    """Inputs of the groups of each scale; see `NVAE.top_down` for the arguments.

    Args:
      counts: groups of each scale, coarsest first.
      noise, features: for each scale, groups in front.

    Returns:
      A `GroupInput` a scale, its arrays with the scale's groups in front.

    Raises:
      ValueError: there are more latents than groups, or num_inferred is not from 0 to their number.
    """
    total = sum(counts)
    for name, arrays in (("latents", latents), ("whitened", whitened)):
        if len(arrays) > total:
            raise InputError(f"{name} are of {len(arrays)} groups, the model has {total}")
    if num_inferred is not None and not isinstance(num_inferred, jax.Array):
        check_count("num_inferred", num_inferred, at_least=0, below=total + 1)
    inferred: Any = 0 if features is None else total if num_inferred is None else num_inferred
    check_temperature(temperature, total)
    temperatures = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), (total,))
    if whitened and len(whitened) > inferred:  # these are what noise is: units of the prior
        every = [x for stack in noise for x in stack]
        every[inferred : len(whitened)] = whitened[inferred:]
        noise = by_scale(counts, every)
    given = by_scale(counts, latents)
    inputs, start = [], 0
    for i, count in enumerate(counts):
        end = start + count
        told = GroupInput(noise=noise[i], temperature=temperatures[start:end])
        if features is not None and (isinstance(inferred, jax.Array) or start < inferred):
            mask = _first(inferred, start, end)
            told = dataclasses.replace(told, feature=features[i], inferred=mask)
        if start < len(latents):
            mask = _first(len(latents), start, end)
            told = dataclasses.replace(told, given=given[i], is_given=mask)
        inputs.append(told)
        start = end
    return inputs


def _first(limit: int | jax.Array, start: int, end: int) -> jax.Array | None:
    """Which of the groups from start to end are among the first `limit`; None for all."""
    everyone = not isinstance(limit, jax.Array) and end <= limit
    return None if everyone else jnp.arange(start, end) < limit
