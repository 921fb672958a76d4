"""A table of an NVAE's parts under the names of the paper."""

import jax
import jax.numpy as jnp

from jaxlab.models.nvae.building import parameter_count
from jaxlab.models.nvae.model import NVAE

_PARTS = {  # first part of our module names -> what the paper calls it
    "stem": "bottom-up: first convolution",
    "pre": "bottom-up: pre-processing",
    "enc": "bottom-up: residual cells",
    "down": "bottom-up: to a coarser scale",
    "top": "bottom-up: feature of z_1",
    "h": "top-down: trainable tensor h",
    "group": "top-down: prior, posterior, merge",
    "up": "top-down: to a finer scale",
    "post": "top-down: post-processing",
    "head": "likelihood parameters",
}


def summary(model: NVAE) -> str:
    """Describes a model: its latent groups, and the parameters of each part of the paper's figure.

    Args:
      model: the model; nothing is allocated.

    Returns:
      A table of several lines.

    Example:
      >>> model = NVAE(8, groups=(1,), latents=2, enc_channels=4, dec_channels=4, blocks=1)
      >>> print(summary(model).splitlines()[0])
      NVAE for 8x8x1 images, bernoulli likelihood, arch res_mbconv
    """
    size = (1, model.image_size, model.image_size, model.channels)
    shapes = jax.eval_shape(
        lambda key: model.init(key, jnp.zeros(size), key=key, train=True), jax.random.key(0)
    )["params"]
    totals: dict[str, list[int]] = {}
    for name, tree in shapes.items():
        part, _, place = name.partition("_")
        stacked = part in ("enc", "group") and place != "first"
        copies = jax.tree.leaves(tree)[0].shape[0] if stacked else 1
        totals.setdefault(part, []).extend([parameter_count(tree) // copies] * copies)
    lines = [
        f"NVAE for {model.image_size}x{model.image_size}x{model.channels} images, "
        f"{model.likelihood} likelihood, arch {model.arch}"
    ]
    first = 1
    for scale in reversed(range(len(model.groups))):
        count = model.groups[scale]
        height, width, channels = model.latent_shapes[first - 1]
        which = f"z_{first}" if count == 1 else f"z_{first}..z_{first + count - 1}"
        lines.append(
            f"  {which:12} {count:3d} groups of {height}x{width}x{channels}, scale {scale}"
        )
        first += count
    lines.append(f"  {'part of the paper':38}{'modules':>8}{'parameters':>14}")
    for prefix, title in _PARTS.items():
        if prefix in totals:
            counts = totals[prefix]
            lines.append(f"  {title + ' (' + prefix + ')':38}{len(counts):8d}{sum(counts):14,}")
    total, modules = parameter_count(shapes), sum(map(len, totals.values()))
    lines.append(f"  {'total':38}{modules:8d}{total:14,}")
    return "\n".join(lines)
