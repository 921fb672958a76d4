"""Comparison with arrays exported from the reference implementation, quantity by quantity.

A parity file (.npz, NCHW, PyTorch names) holds weights ("state/..."), the flags ("config"), an
input, the noise of every latent group, and what the reference computed from them in evaluation
mode, for prior samples, and in one training pass.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.errors import InputError
from jaxlab.models.nvae import objective, reference
from jaxlab.models.nvae.reference_names import reference_names
from jaxlab.models.nvae.regularization import stack_matrices

GRADIENT_TOLERANCE = 1e-3
TOLERANCE = 1e-4
# Every program here runs once, so nearly all the time goes into compiling. Hence also numpy for
# small things: outside a jitted function, jax compiles each operation for each shape.
_COMPILE_QUICKLY: dict[str, Any] = {"xla_backend_optimization_level": 0}


def tolerance(quantity: str) -> float:
    """Largest relative error allowed for a quantity of `compare`."""
    return GRADIENT_TOLERANCE if quantity.startswith("train/grad_norm") else TOLERANCE


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a parity file.

    Raises:
        ValueError: If it is not a readable .npz file.
    """
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is not a readable .npz file: {error}") from error


def weights(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The weights among the arrays of a file, and its flags: what `load_reference` takes.

    Raises:
        ValueError: There is no config, or it is not JSON.
    """
    _require(arrays, "config")
    try:
        flags = json.loads(np.asarray(arrays["config"]).item())
    except (TypeError, ValueError) as error:
        raise InputError(f"the file's config is not the JSON text of flags: {error}") from error
    return {k: v for k, v in arrays.items() if k.startswith("state/")}, flags


def table(errors: Mapping[str, float]) -> tuple[str, bool]:
    """Lines to print of what `compare` found, and whether all of it agrees.

    Example:
        >>> text, agrees = table({"eval/kl": 1e-6, "eval/logits": float("nan")})
        >>> print(text)
        quantity                 relative error  tolerance
        eval/kl                        1.00e-06      1e-04  ok
        eval/logits                         nan      1e-04  FAIL
        1 of 2 quantities agree
        >>> agrees
        False
    """
    agree = {name: error <= tolerance(name) for name, error in errors.items()}
    lines = [f"{'quantity':24s} {'relative error':>14s} {'tolerance':>10s}"]
    for name, error in errors.items():
        verdict = "ok" if agree[name] else "FAIL"
        lines.append(f"{name:24s} {error:14.2e} {tolerance(name):10.0e}  {verdict}")
    lines.append(f"{sum(agree.values())} of {len(errors)} quantities agree")
    return "\n".join(lines), all(agree.values())


def compare(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Relative error of every quantity in a parity file, against our computation.

    Errors are relative to the largest magnitude in the array; gradient norms to the larger of the
    value and 1e-3 times the largest norm. All "train/grad_norm/..." and "train/after/..." entries
    count as one quantity each, the worst.

    Raises:
      ValueError: the file has no config, input, noise or weights, or weights do not fit.
    """
    _require(arrays, "config", "input/x")
    state, flags = weights(arrays)
    model, variables = reference.load_reference(state, flags)
    _require(arrays, *(f"eps/{i}" for i in range(model.num_groups)))
    x = _nhwc(arrays, "input/x", (model.image_size, model.image_size, model.channels))
    noise = [_nhwc(arrays, f"eps/{i}", shape) for i, shape in enumerate(model.latent_shapes)]
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
            raise InputError(f"{name} of the file has no counterpart here")
        error = _error(name, value, ours[name], arrays)
        errors[quantity] = float(np.maximum(errors.get(quantity, 0.0), error))  # keeps NaN
    return errors


def _require(arrays, *names: str) -> None:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InputError(f"the file has no {', '.join(missing)}, so it is not a parity file")


def _error(name: str, theirs, ours, arrays) -> float:
    theirs, ours = np.asarray(theirs, np.float64), np.asarray(ours, np.float64)
    if theirs.shape != ours.shape:
        raise InputError(f"{name} has shape {theirs.shape} in the file, {ours.shape} here")
    scale = np.abs(theirs).max(initial=0.0)
    if name.startswith("train/grad_norm/"):
        if theirs == -1:  # the reference gives this parameter no gradient
            return float(np.abs(ours))
        norms = [float(v) for k, v in arrays.items() if k.startswith("train/grad_norm/")]
        scale = max(scale, 1e-3 * max(norms))
    return float(np.abs(theirs - ours).max(initial=0.0) / max(scale, 1e-12))


def _run_once(function, *args):
    lowered = jax.jit(function).lower(*args)
    try:
        compiled = lowered.compile(compiler_options=_COMPILE_QUICKLY)
    except (jax.errors.JaxRuntimeError, ValueError):  # an XLA without these options
        compiled = lowered.compile()
    return compiled(*args)


def _nhwc(arrays, name: str, shape) -> np.ndarray:
    array = arrays[name]
    wanted = (len(arrays["input/x"]), shape[2], *shape[:2])
    if array.shape != wanted:
        raise InputError(f"{name} has shape {array.shape}, this model needs {wanted}")
    return array.transpose(0, 2, 3, 1)


def _nchw(x) -> np.ndarray:
    return np.asarray(x).transpose(0, 3, 1, 2)


def _evaluation(model, variables, x, noise) -> dict[str, Any]:
    def run(variables):
        output = model.apply(variables, x, noise=noise)
        nats = -model.observation.log_prob(x, output.parameters)
        return output.parameters, nats, output.kl, output.log_q, output.log_p

    logits, nats, kl, log_q, log_p = _run_once(run, variables)
    return {
        "eval/logits": _nchw(logits),
        "eval/recon_loss": nats,
        "eval/kl": kl,
        "eval/log_q": log_q,
        "eval/log_p": log_p,
    }


def _samples(model, variables, noise, arrays) -> dict[str, Any]:
    if "sample/temperature" not in arrays:
        return {}
    heat = float(arrays["sample/temperature"])
    run = lambda v: model.apply(v, noise=noise, temperature=heat, method="top_down")
    return {"sample/logits": _nchw(_run_once(run, variables).parameters)}


def _training(model, variables, x, noise, arrays, flags) -> dict[str, Any]:
    if "train/kl_coeff" not in arrays:
        return {}
    beta, weight = float(arrays["train/kl_coeff"]), float(arrays["train/lambda"])
    alphas = objective.balance_alphas(model.groups, "square")
    vectors = _singular_vectors(model, variables, x, noise)

    state = {"batch_stats": variables["batch_stats"], "spectral": vectors}

    def run(params):
        total, (terms, after) = objective.training_objective(
            model, params, state, x, noise=noise, beta=beta, alphas=alphas, coefficient=weight
        )
        values = {
            "recon_loss": terms.nats,
            "kl": terms.kl,
            "balanced_kl": terms.weighted_kl,
            "gamma": terms.gamma,
            "alpha": jnp.asarray(alphas),
            "spectral_sum": terms.spectral,
            "bn_sum": terms.norms,
            "total": total,
        }
        return total, (values, after["batch_stats"])

    gradients, (values, after) = _run_once(jax.grad(run, has_aux=True), variables["params"])
    ours = {f"train/{name}": value for name, value in values.items()}
    names = reference_names(model)
    spelled = {
        short: name.split("/", 2)[2]
        for name in arrays
        if name.startswith(("train/grad_norm/", "train/after/"))
        for short in reference.canonical_names({name.split("/", 2)[2]: None})
    }
    for name, (collection, path) in names.items():
        if collection == "params":
            leaf = np.asarray(_at(gradients, path)).ravel()
            ours[f"train/grad_norm/{spelled.get(name, name)}"] = np.linalg.norm(leaf)
        else:
            ours[f"train/after/{spelled.get(name, name)}"] = _at(after, path)
    if model.num_groups == 1:  # there the reference holds h, but never uses it
        ours["train/grad_norm/prior_ftr0"] = 0.0
    return ours


def _singular_vectors(model, variables, x, noise):
    """Where power iteration ends.

    The files take 500 iterations from a random start, which for two close singular values is not
    always the end, but near enough.
    """

    def matrices(variables):
        updates = model.apply(variables, x, noise=noise, mutable=["kernels"])[1]
        return stack_matrices(updates["kernels"])

    vectors = {}
    for shape, stack in _run_once(matrices, variables).items():
        u, _, v = np.linalg.svd(np.asarray(stack), full_matrices=False)
        vectors[shape] = {"u": u[:, :, 0], "v": v[:, 0]}
    return vectors


def _at(tree, path):
    for part in path:
        tree = tree[part]
    return tree
