"""Comparison with arrays exported from the reference implementation, quantity by quantity.

A parity file (.npz, NCHW, PyTorch names) holds weights ("state/..."), the flags ("config"), an
input, the noise of every latent group, and what the reference computed from them in evaluation
mode, for prior samples, and in one training pass.
"""

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.models.nvae import objective, reference
from jaxlab.models.nvae.regularization import (
    batch_norm_penalty,
    init_spectral,
    spectral_penalty,
)

GRADIENT_TOLERANCE = 1e-3
TOLERANCE = 1e-4
SPECTRAL_ITERATIONS = 500  # from a random start, as the files are made


def tolerance(quantity: str) -> float:
    """Largest relative error allowed for a quantity of `compare`."""
    return GRADIENT_TOLERANCE if quantity.startswith("train/grad_norm") else TOLERANCE


def compare(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Relative error of every quantity in a parity file, against our computation.

    Errors are relative to the largest magnitude in the array; gradient norms to the larger of the
    value and 1e-3 times the largest norm. All "train/grad_norm/..." and "train/after/..." entries
    count as one quantity each, the worst.

    Raises:
        ValueError: If the file has no config, input, noise or weights, or weights do not fit.
    """
    for name in ("config", "input/x", "eps/0"):
        if name not in arrays:
            raise ValueError(f"the file has no {name!r}, so it is not a parity file")
    flags = json.loads(str(arrays["config"]))
    state = {k: v for k, v in arrays.items() if k.startswith("state/")}
    model, variables = reference.load_reference(state, flags)
    x = jnp.asarray(arrays["input/x"]).transpose(0, 2, 3, 1)
    noise = [jnp.asarray(arrays[f"eps/{i}"]).transpose(0, 2, 3, 1) for i in range(model.num_groups)]
    with jax.default_matmul_precision("highest"):
        ours = {
            **_evaluation(model, variables, x, noise),
            **_samples(model, variables, noise, arrays),
            **_training(model, variables, x, noise, arrays, flags),
        }
    given = ("train/kl_coeff", "train/lambda", "sample/temperature")
    errors: dict[str, float] = {}
    for name, value in arrays.items():
        group = name.split("/")[0]
        if group not in ("eval", "sample", "train") or name in given:
            continue
        quantity = "/".join(name.split("/")[:2])
        if name not in ours:
            raise ValueError(f"{name} of the file has no counterpart here")
        errors[quantity] = max(errors.get(quantity, 0.0), _error(name, value, ours[name], arrays))
    return errors


def _error(name: str, theirs, ours, arrays) -> float:
    theirs, ours = np.asarray(theirs, np.float64), np.asarray(ours, np.float64)
    if theirs.shape != ours.shape:
        raise ValueError(f"{name} has shape {theirs.shape} in the file, {ours.shape} here")
    scale = np.abs(theirs).max(initial=0.0)
    if name.startswith("train/grad_norm/"):
        if theirs == -1:  # the reference gives this parameter no gradient
            return float(np.abs(ours))
        norms = [float(v) for k, v in arrays.items() if k.startswith("train/grad_norm/")]
        scale = max(scale, 1e-3 * max(norms))
    return float(np.abs(theirs - ours).max(initial=0.0) / max(scale, 1e-12))


def _nchw(x) -> np.ndarray:
    return np.asarray(x).transpose(0, 3, 1, 2)


def _evaluation(model, variables, x, noise) -> dict[str, Any]:
    output = jax.jit(lambda v: model.apply(v, x, noise=noise))(variables)
    return {
        "eval/logits": _nchw(output.parameters),
        "eval/recon_loss": -model.observation.log_prob(x, output.parameters),
        "eval/kl": output.kl,
        "eval/log_q": output.log_q,
        "eval/log_p": output.log_p,
    }


def _samples(model, variables, noise, arrays) -> dict[str, Any]:
    if "sample/temperature" not in arrays:
        return {}
    heat = float(arrays["sample/temperature"])
    run = lambda v: model.apply(v, noise=noise, temperature=heat, method="top_down")
    return {"sample/logits": _nchw(jax.jit(run)(variables).parameters)}


def _training(model, variables, x, noise, arrays, flags) -> dict[str, Any]:
    if "train/kl_coeff" not in arrays:
        return {}
    beta, weight = float(arrays["train/kl_coeff"]), float(arrays["train/lambda"])
    alphas = objective.balance_alphas(model.groups, "square")
    init = lambda: model.init(jax.random.key(0), x, noise=noise, train=True)["kernels"]
    kernels = jax.eval_shape(init)
    start = init_spectral(
        jax.tree.map(lambda k: jnp.zeros(k.shape), kernels), jax.random.key(0), iterations=0
    )

    def run(params):
        every = {"params": params, "batch_stats": variables["batch_stats"]}
        output, updates = model.apply(
            every, x, noise=noise, train=True, mutable=["batch_stats", "kernels"]
        )
        nats = -model.observation.log_prob(x, output.parameters)
        gamma = objective.balance(output.kl, alphas) if beta < 1 else jnp.ones(alphas.shape)
        balanced = beta * jnp.sum(gamma * output.kl, axis=1)
        spectral, _ = spectral_penalty(updates["kernels"], start, iterations=SPECTRAL_ITERATIONS)
        norms = batch_norm_penalty(params)
        total = jnp.mean(nats + balanced) + weight * (spectral + norms)
        values = {
            "recon_loss": nats,
            "kl": output.kl,
            "balanced_kl": balanced,
            "gamma": gamma,
            "alpha": jnp.asarray(alphas),
            "spectral_sum": spectral,
            "bn_sum": norms,
            "total": total,
        }
        return total, (values, updates["batch_stats"])

    gradients, (values, after) = jax.jit(jax.grad(run, has_aux=True))(variables["params"])
    ours = {f"train/{name}": value for name, value in values.items()}
    names = reference.reference_names(model)
    spelled = {
        short: name.split("/", 2)[2]
        for name in arrays
        if name.startswith(("train/grad_norm/", "train/after/"))
        for short in reference.canonical_names({name.split("/", 2)[2]: None})
    }
    for name, (collection, path) in names.items():
        if collection == "params":
            leaf = _at(gradients, path)
            ours[f"train/grad_norm/{spelled.get(name, name)}"] = jnp.linalg.norm(leaf.ravel())
        else:
            ours[f"train/after/{spelled.get(name, name)}"] = _at(after, path)
    if model.num_groups == 1:  # there the reference holds h, but never uses it
        ours["train/grad_norm/prior_ftr0"] = jnp.zeros(())
    return ours


def _at(tree, path):
    for part in path:
        tree = tree[part]
    return tree
