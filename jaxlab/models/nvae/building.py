"""Models for sets of images, from the words of a config, and their size."""

import dataclasses
import math
from typing import Any

import jax

from jaxlab.checks import check_arguments, check_counts, dtype_by_name
from jaxlab.errors import InputError
from jaxlab.models.nvae.model import NVAE, check


def groups_per_scale(scales: int, groups: int, *, adaptive: bool = False, minimum: int = 1):
    """Number of latent groups of each scale, finest first.

    With `adaptive`, every coarser scale has half as many (integer division), at least `minimum`.

    >>> groups_per_scale(5, 16, adaptive=True, minimum=4)
    (16, 8, 4, 4, 4)
    """
    counts = [groups]
    for _ in range(scales - 1):
        counts.append(max(minimum, counts[-1] // 2) if adaptive else groups)
    return tuple(counts)


def for_images(spec: Any, **kwargs: Any) -> NVAE:
    """The model for a set of images.

    Args:
        spec: Has image_size, channels, likelihood, bits and pad (`jaxlab.data.ImageSpec`).
        **kwargs: Other arguments of `NVAE`; dtype may be "float32" or "bfloat16".

    Raises:
        ValueError: another name of a dtype, an unknown argument, one out of range, or a crop that
            is not the spec's pad.
    """
    taken = {"image_size": spec.image_size, **kwargs}
    check_arguments("model", NVAE, taken, given=("parent", "name"))
    kwargs["dtype"] = dtype_by_name(kwargs.get("dtype"))
    if "groups" in kwargs:
        check_counts("groups", kwargs["groups"])
        kwargs["groups"] = tuple(kwargs["groups"])
    model = NVAE(
        **{
            "image_size": spec.image_size,
            "channels": spec.channels,
            "likelihood": spec.likelihood,
            "bits": spec.bits,
            "crop": spec.pad,
            **kwargs,
        }
    )
    check(model)
    if model.crop != spec.pad:  # else bits per dimension would count other pixels than the loss
        raise InputError(
            f"crop is {model.crop}, must be the {spec.pad} of data.pad: leave model.crop out"
        )
    return model


def arguments_of(model: NVAE) -> dict[str, Any]:
    """The arguments that a model was made with, as JSON and configs can hold them.

    Example:
        >>> found = arguments_of(NVAE(image_size=8, groups=(1,), dtype=jax.numpy.bfloat16))
        >>> found["groups"], found["dtype"], "name" in found
        ((1,), 'bfloat16', False)
    """
    names = [f.name for f in dataclasses.fields(model) if f.name not in ("parent", "name")]
    found = {name: getattr(model, name) for name in names}
    dtype = "float32" if model.dtype is None else jax.numpy.dtype(model.dtype).name
    return found | {"groups": tuple(model.groups), "dtype": dtype}


def parameter_count(params: Any) -> int:
    """Number of trainable scalars in a parameter tree (arrays or shapes)."""
    return sum(math.prod(p.shape) for p in jax.tree.leaves(params))
