"""What a small NVAE and a small BERT compute, against stored values of a CPU.

Parameters, inputs and noise are NumPy's, from fixed seeds, so that nothing but the arithmetic
differs between two machines: forward pass, and gradients of all parameters.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlab.checks import check_choice
from jaxlab.files import read_json, to_json, write_atomically
from jaxlab.models import bert, nvae
from jaxlab.models.nvae.objective import elbo_terms

STORED = Path(__file__).with_name("parity.json")


class Kind(NamedTuple):
    """How a model computes.

    Attributes:
      dtype: of its layers.
      precision: of float32 matrix products, see `jax.default_matmul_precision`.
      tolerance: largest difference that counts as equal, as a share of the largest stored value.
    """

    dtype: str
    precision: str | None
    tolerance: float


# Sums of float32 in another order differ by some 1e-6. What accelerators do with float32 by default
# (TF32, or products of bfloat16), and bfloat16, which differs by 5e-3 on CPU, are allowed 2e-2.
KINDS = {
    "float32": Kind("float32", "highest", 1e-4),
    "float32, default products": Kind("float32", None, 2e-2),
    "bfloat16": Kind("bfloat16", None, 2e-2),
}
MODELS = ("nvae", "bert")


def parity_values(model: str, *, dtype: str = "float32") -> dict[str, np.ndarray]:
    """What a small model computes on the default device.

    Args:
      model: "nvae" (depthwise cells, squeeze-and-excitation, two groups, a mixture of logistics on
        colours) or "bert" (one layer, padding).
      dtype: of the layers.

    Returns:
      "output", some figures of the forward pass, and "gradients", of each part of the model the
      norm of the loss's gradient; float64 vectors.

    Raises:
      ValueError: there is no such model.
    """
    check_choice("model", model, MODELS)
    value, params = (_nvae if model == "nvae" else _bert)(jnp.dtype(dtype))

    @jax.jit
    def values(params):
        (_, output), gradients = jax.value_and_grad(value, has_aux=True)(params)
        norms = [optax.tree.norm(gradients[name]) for name in sorted(gradients)]
        return {"output": output, "gradients": jnp.stack(norms)}

    return {name: np.asarray(x, np.float64) for name, x in values(params).items()}


def deviations(
    kind: str, *, models: Sequence[str] = MODELS, stored: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """How far this machine's default device is from the stored values of a CPU.

    Args:
      kind: of `KINDS`.
      models: of `MODELS`.
      stored: as `store_parity` writes it; None reads the package's own.

    Returns:
      "bert output", "bert gradients" and so on: the largest difference, as a share of the largest
      stored value; NaN where a value is not finite.

    Raises:
      ValueError: an unknown kind or model.

    Example:
      >>> found = deviations("float32", models=("bert",))
      >>> sorted(found), max(found.values()) < KINDS["float32"].tolerance
      (['bert gradients', 'bert output'], True)
    """
    check_choice("kind", kind, tuple(KINDS))
    dtype, precision, _ = KINDS[kind]
    stored = dict(read_json(STORED)) if stored is None else stored
    found = {}
    for model in models:
        with jax.default_matmul_precision(precision):
            values = parity_values(model, dtype=dtype)
        for part, here in values.items():
            there = np.asarray(stored[dtype][model][part])
            found[f"{model} {part}"] = float(np.abs(here - there).max() / np.abs(there).max())
    return found


def store_parity(path: Path = STORED, *, models: Sequence[str] = MODELS) -> None:
    """Writes the values of this machine, which is to be a CPU, for `deviations` elsewhere."""
    values = {
        dtype: {
            model: {part: x.tolist() for part, x in parity_values(model, dtype=dtype).items()}
            for model in models
        }
        for dtype in ("float32", "bfloat16")
    }
    write_atomically(path, to_json(values, indent=1) + "\n")


def _filled(shapes: Any, seed: int) -> Any:
    """NumPy's numbers in the shapes of parameters: kernels of unit gain, scales around 1."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        draw = rng.normal(size=leaf.shape)
        name = jax.tree_util.keystr(path[-1:])
        if "scale" in name or "var" in name:
            return jnp.asarray(1 + 0.1 * np.abs(draw), jnp.float32)
        inputs = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 100
        return jnp.asarray(0.5 * draw / np.sqrt(max(1, inputs)), jnp.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def _nvae(dtype):
    """(params -> (loss, figures), params)."""
    model = nvae.NVAE(
        **{"image_size": 16, "channels": 3, "likelihood": "mixture", "num_mixtures": 2},
        **{"groups": (2,), "latents": 4, "enc_channels": 8, "dec_channels": 8, "blocks": 1},
        **{"pre_cells": 1, "post_cells": 1, "enc_cells": 0, "scan": False, "dtype": dtype},
    )
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (4, 16, 16, 3), np.uint8))
    noise = [jnp.asarray(rng.normal(size=(4, *s)), jnp.float32) for s in model.latent_shapes]
    shapes = jax.eval_shape(lambda: nvae.init_variables(model, jax.random.key(0), images))
    params, state = _filled(shapes[0], 1), _filled(shapes[1], 2)
    x = nvae.prepare_images(model, images)

    def value(params):
        terms = elbo_terms(model, params, state, x, key=None, noise=noise, train=False)
        nats, kl = terms[0], terms[1]
        return nats.mean() + kl.sum(1).mean(), jnp.concatenate([nats, kl.ravel()])

    return value, params


def _bert(dtype):
    model = bert.Bert(
        **{"vocab_size": 60, "hidden_size": 32, "num_layers": 1, "num_heads": 4},
        **{"intermediate_size": 64, "max_positions": 16, "dtype": dtype},
    )
    rng = np.random.default_rng(3)
    ids = jnp.asarray(rng.integers(1, 60, (4, 16)), jnp.int32)
    mask = jnp.arange(16) < jnp.array([16, 9, 12, 3])[:, None]
    weights = jnp.asarray(rng.normal(size=(4, 32)), jnp.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), ids)["params"])

    def value(params):
        out: Any = model.apply({"params": params}, ids, attention_mask=mask)
        hidden = (out.last_hidden_state.astype(jnp.float32) * mask[..., None]).sum(1)
        figures = jnp.concatenate([(hidden * weights).sum(1), (out.pooled * weights).sum(1)])
        return jnp.square(figures).mean(), figures

    return value, _filled(shapes, 4)
