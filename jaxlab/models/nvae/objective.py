"""The training objective of NVAE: warmed-up, balanced ELBO plus penalties.

mean_b [ -log p(x | z) + beta sum_l gamma_l KL_l ]
    + lambda (sum_conv sigma_max(W) + sum_bn max |scale|)
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.checks import check_count, check_counts, check_scalar
from jaxlab.errors import InputError
from jaxlab.models import vae
from jaxlab.models.nvae.model import NVAE
from jaxlab.models.nvae.regularization import batch_norm_penalty, init_spectral, spectral_penalty
from jaxlab.models.vae import kl_coefficient

ACTIVE_NATS = 0.1  # a latent channel is in use if its KL, averaged over images, is above this


def balance_alphas(groups: Sequence[int], kind: str = "square") -> np.ndarray:
    """Expected share of KL of each latent group, coarsest first, the smallest being 1.

    Args:
        groups: Groups of each scale, finest first.
        kind: "equal" 1, "linear" 2^i, "sqrt" 2^(i/2), "square" 4^i / groups, i = 0 coarsest.

    >>> balance_alphas((2, 1)).tolist()
    [1.0, 2.0, 2.0]
    """
    rules = {
        "equal": lambda i, n: 1.0,
        "linear": lambda i, n: 2.0**i,
        "sqrt": lambda i, n: 2.0 ** (i / 2),
        "square": lambda i, n: 4.0**i / n,
    }
    if kind not in rules:
        raise InputError(f"balance is {kind!r}, known are {', '.join(rules)}")
    check_counts("groups", groups)
    coarse_first = list(groups)[::-1]
    alphas = np.concatenate([np.full(n, rules[kind](i, n)) for i, n in enumerate(coarse_first)])
    return alphas / alphas.min()


def balance(kl: jax.Array, alphas: np.ndarray) -> jax.Array:
    """Weights of the groups' KL: above 1 where a group holds more than its share; mean 1.

    ``gamma_l = (a_l / alpha_l) / mean_k (a_k / alpha_k)``, ``a_l = mean_b |KL_l| + 0.01``.

    Args:
        kl: [batch, groups], all rows of the call: where a step accumulates a micro-batch, over all
            devices, else the whole batch. The weights of micro-batches differ a little.
        alphas: [groups] from `balance_alphas`.

    Returns:
        [groups], without gradient.
    """
    size = jnp.mean(jnp.abs(kl), axis=0) + 0.01
    gamma = size / alphas
    return jax.lax.stop_gradient(gamma / jnp.mean(gamma))


def penalty_coefficient(beta, *, final: float, initial: float | None = None):
    """lambda: `final`, or on the way from `initial` to it, geometric in the KL coefficient.

    Raises:
        ValueError: final is negative, or initial is not positive (checked when concrete), so that
            there is no such way.

    >>> print(round(float(penalty_coefficient(0.5, final=0.01, initial=1.0)), 4))
    0.1
    """
    check_scalar("final", final, at_least=0.0)
    if initial is not None:
        check_scalar("initial", initial, above=0.0)
    if initial is None or final == 0:
        return jnp.asarray(final, jnp.float32)
    return jnp.exp((1 - beta) * jnp.log(initial) + beta * jnp.log(final))


def prepare_images(
    model: NVAE, images: jax.Array, key: jax.Array | None = None, *, static: bool = False
) -> jax.Array:
    """Images as the model takes them, float32 in [0, 1].

    See `vae.prepare_images`; likelihood and bits are the model's.
    """
    return vae.prepare_images(images, model.likelihood, key, bits=model.bits, static=static)


def init_variables(model: NVAE, key: jax.Array, images: jax.Array, *, spectral: bool = True):
    """Parameters and model state of a new model.

    Args:
        key: Typed key.
        images: [batch, size, size, channels]; only `arch="res_elu"` depends on its values.
        spectral: Also make singular vectors for the spectral penalty.

    Returns:
        (params, model_state); model_state has "batch_stats" and, if asked, "spectral".
    """
    # A hundred threefry draws of different shapes take half a minute to compile on CPU; the
    # hardware-style generator compiles at once, and initial values need no more.
    key = jax.random.wrap_key_data(jax.random.bits(key, (4,), jnp.uint32), impl="unsafe_rbg")
    init, noise, binary, power = jax.random.split(key, 4)
    x = prepare_images(model, images, binary)
    variables = model.init(init, x, key=noise, train=True)
    state: dict[str, Any] = {"batch_stats": variables.get("batch_stats", {})}
    if spectral:
        state["spectral"] = init_spectral(variables["kernels"], power)
    return variables["params"], state


def elbo_terms(model: NVAE, params, model_state, x: jax.Array, *, key, noise=None, train: bool):
    """Reconstruction and KL of a batch.

    Args:
        key, noise: One of them gives the posterior draws, see `NVAE.__call__`.

    Returns:
        (nats [batch] of -log p(x | z), kl [batch, groups], output, updated collections).
    """
    variables = {"params": params, "batch_stats": model_state["batch_stats"]}
    mutable = ["batch_stats", "kernels"] if train else []
    output, updates = model.apply(variables, x, key=key, noise=noise, train=train, mutable=mutable)
    return -model.observation.log_prob(x, output.parameters), output.kl, output, updates


class Terms(NamedTuple):
    """What the training objective of a batch is made of.

    Attributes:
        nats: [batch], -log p(x | z).
        kl: [batch, groups].
        gamma: [groups], weights of the groups' KL.
        weighted_kl: [batch], beta sum_l gamma_l KL_l.
        spectral: [], sum of the largest singular values; 0 without penalties.
        norms: [], sum of the largest batch-norm factors; 0 without penalties.
    """

    nats: jax.Array
    kl: jax.Array
    gamma: jax.Array
    weighted_kl: jax.Array
    spectral: jax.Array
    norms: jax.Array


def training_objective(
    model: NVAE,
    params,
    model_state,
    x: jax.Array,
    *,
    key: jax.Array | None = None,
    noise: Sequence[jax.Array] | None = None,
    beta,
    alphas: np.ndarray | None,
    coefficient=None,
    spectral_iterations: int = 4,
) -> tuple[jax.Array, tuple[Terms, dict[str, Any]]]:
    """The objective at the top of this file: what training minimises and `parity` compares.

    Args:
        x: [batch, size, size, channels], from `prepare_images`.
        key, noise: One of them gives the posterior draws.
        beta: KL coefficient.
        alphas: From `balance_alphas`; None weighs all groups alike, as does beta = 1.
        coefficient: lambda; None leaves the penalties out.
        spectral_iterations: Power iterations.

    Returns:
        (loss, (terms, model_state)).
    """
    nats, kl, _, updates = elbo_terms(
        model, params, model_state, x, key=key, noise=noise, train=True
    )
    gamma = jnp.ones(kl.shape[1])
    if alphas is not None:
        gamma = jnp.where(beta < 1, balance(kl, alphas), gamma)
    weighted = beta * jnp.sum(gamma * kl, axis=1)
    loss = jnp.mean(nats + weighted)
    state = {**model_state, "batch_stats": updates["batch_stats"]}
    spectral = norms = jnp.zeros(())
    if coefficient is not None:
        spectral, state["spectral"] = spectral_penalty(
            updates["kernels"], model_state["spectral"], iterations=spectral_iterations
        )
        norms = batch_norm_penalty(params)
        loss += coefficient * (spectral + norms)
    return loss, (Terms(nats, kl, gamma, weighted, spectral, norms), state)


def make_loss(
    model: NVAE,
    *,
    total_steps: int,
    kl_portion: float = 0.3,
    kl_constant: float = 1e-4,
    kl_minimum: float = 1e-4,
    balancing: str | None = "square",
    penalty: float = 1e-2,
    penalty_init: float | None = None,
    spectral_iterations: int = 4,
    static_binarization: bool = False,
) -> Callable:
    """Builds ``loss_fn(params, model_state, batch, *, key, step) -> (loss, (state, metrics))``.

    Args:
        total_steps: Length of the run; the KL warm-up is a part of it.
        kl_portion, kl_constant, kl_minimum: See `kl_coefficient`.
        balancing: Kind of `balance_alphas`; None weighs all groups alike. Off once beta is 1.
        penalty, penalty_init: See `penalty_coefficient`; 0 leaves the penalties out.
        spectral_iterations: Power iterations a step.
        static_binarization: Cut grey values at one half instead of drawing pixels anew each step.

    Returns:
        The loss function. batch["image"]: [batch, size, size, channels], see `prepare_images`.

    Raises:
        ValueError: A number is out of range, or balancing is unknown.
    """
    check_count("total_steps", total_steps)
    check_count("spectral_iterations", spectral_iterations)
    check_scalar("kl_portion", kl_portion, at_least=0.0)
    check_scalar("kl_constant", kl_constant, at_least=0.0, at_most=1.0)
    check_scalar("kl_minimum", kl_minimum, at_least=0.0, at_most=1.0)
    check_scalar("penalty", penalty, at_least=0.0)
    if penalty_init is not None:
        check_scalar("penalty_init", penalty_init, above=0.0)
    alphas = None if balancing is None else balance_alphas(model.groups, balancing)

    dims = (model.image_size - 2 * model.crop) ** 2 * model.channels

    def loss_fn(params, model_state, batch, *, key, step):
        binary, noise = jax.random.split(key)
        x = prepare_images(model, batch["image"], binary, static=static_binarization)
        beta = kl_coefficient(
            step, total_steps, portion=kl_portion, constant=kl_constant, minimum=kl_minimum
        )
        coefficient = None
        if penalty > 0:
            coefficient = penalty_coefficient(beta, final=penalty, initial=penalty_init)
        loss, (terms, state) = training_objective(
            model,
            params,
            model_state,
            x,
            key=noise,
            beta=beta,
            alphas=alphas,
            coefficient=coefficient,
            spectral_iterations=spectral_iterations,
        )
        kl = jnp.sum(terms.kl, axis=1)
        metrics = {
            "nelbo": jnp.mean(terms.nats + kl),
            "bits_per_dim": jnp.mean(terms.nats + kl) / (np.log(2) * dims),
            "reconstruction": jnp.mean(terms.nats),
            "kl": jnp.mean(kl),
            "kl_coefficient": beta,
        }
        if coefficient is not None:
            metrics |= {
                "spectral": terms.spectral,
                "batch_norm": terms.norms,
                "penalty": coefficient,
            }
        return loss, (state, metrics)

    return loss_fn


def make_metrics(model: NVAE) -> Callable:
    """Builds ``metric_fn(params, model_state, batch, *, key) -> {name: [batch]}`` for evaluation.

    nelbo, reconstruction and kl in nats, and kl_00, kl_01, ... for every group, coarsest first.
    """

    def metric_fn(params: Any, model_state: Any, batch, *, key) -> dict[str, jax.Array]:
        binary, noise = jax.random.split(key)
        x = prepare_images(model, batch["image"], binary)
        nats, kl, _, _ = elbo_terms(model, params, model_state, x, key=noise, train=False)
        total = jnp.sum(kl, axis=1)
        groups = {f"kl_{i:02d}": kl[:, i] for i in range(kl.shape[1])}
        return {"nelbo": nats + total, "reconstruction": nats, "kl": total, **groups}

    return metric_fn
