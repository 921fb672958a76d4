"""Optimizers with penalties, by name."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import optax

from jaxlab import optim, regularizers
from jaxlab.checks import check_count, check_scalar
from jaxlab.errors import InputError
from jaxlab.models import classifiers
from jaxlab.tasks.classification.numbers import Number, absent
from jaxlab.tasks.classification.objectives import make_loss

OPTIMIZERS = ("sgd", "momentum", "adam")
SCHEDULES = ("constant", "cosine")


def make_optimizer(
    name: str,
    *,
    learning_rate: Number,
    num_steps: int,
    schedule: str = "cosine",
    momentum: Number | None = None,
    l2: Number = 0.0,
    weissi: Number = 0.0,
    weissi_direction: Number = 0.0,
    path: Number = 0.0,
    spectral: Number = 0.0,
    weight_decay: Number = 0.0,
    weissi_decay: Number = 0.0,
    sharpness: Number = 0.0,
) -> optax.GradientTransformation:
    """Makes an optimizer with penalties; those on matrices leave biases and scales alone.

    Args:
      name: "sgd" (plain), "momentum" or "adam".
      learning_rate: peak rate, above 0.
      num_steps: length of the schedule.
      schedule: "constant" or "cosine" (to zero).
      momentum: of "momentum", in [0, 1); None for 0.9.
      l2: coupled, lambda / 2 of the squared norms, added to the gradient.
      weissi: coupled, lambda of the summed log norms.
      weissi_direction: coupled, lambda of the direction term.
      path: coupled, lambda of the path norm (an MLP only).
      spectral: coupled, lambda / 2 of the summed squared spectral norms.
      weight_decay: decoupled L2, as in AdamW.
      weissi_decay: decoupled WEISSI, the exact flow.
      sharpness: radius of sharpness-aware minimisation (two gradients a step).

    Penalties are at least 0; 0 or None leaves one out.

    Raises:
      ValueError: unknown name or schedule, or a number out of range (checked when concrete), or a
        momentum for an optimizer without.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = make_optimizer("sgd", learning_rate=0.5, num_steps=9, schedule="constant", l2=0.1)
      >>> params = {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}
      >>> zero = jax.tree.map(jnp.zeros_like, params)
      >>> updates, _ = tx.update(zero, tx.init(params), params)
      >>> print(updates["kernel"], updates["bias"])
      [[-0.05]] [-0.]
    """
    if name not in OPTIMIZERS:
        raise InputError(f"optimizer is {name!r}, must be one of {OPTIMIZERS}")
    if schedule not in SCHEDULES:
        raise InputError(f"schedule is {schedule!r}, must be one of {SCHEDULES}")
    check_count("num_steps", num_steps)
    check_scalar("learning_rate", learning_rate, above=0.0)
    if name == "momentum":
        momentum = 0.9 if momentum is None else momentum
        check_scalar("momentum", momentum, at_least=0.0, below=1.0)
    elif not absent(momentum):
        raise InputError(f"momentum is {momentum}, optimizer {name!r} takes none: set it to 0")
    strengths = {"l2": l2, "weissi": weissi, "weissi_direction": weissi_direction, "path": path}
    strengths |= {"spectral": spectral, "weight_decay": weight_decay, "weissi_decay": weissi_decay}
    for key, strength in {**strengths, "sharpness": sharpness}.items():
        if strength is not None:
            check_scalar(key, strength, at_least=0.0)
    if schedule == "cosine":
        rate = optax.cosine_decay_schedule(learning_rate, num_steps)
    else:
        rate = optax.constant_schedule(learning_rate)
    chain = []
    if not absent(l2):
        chain.append(optax.add_decayed_weights(l2, optim.matrices_only))
    if not (absent(weissi) and absent(weissi_direction)):
        norms, directions = (0.0 if absent(x) else x for x in (weissi, weissi_direction))
        chain.append(optim.add_weissi(norms, directions))
    if not absent(path):
        chain.append(
            optim.add_penalty(lambda p: regularizers.path_norm(classifiers.kernels(p)), path)
        )
    if not absent(spectral):
        chain.append(_add_spectral(spectral))
    if name == "momentum":
        chain.append(optax.trace(cast(Any, momentum)))
    elif name == "adam":
        chain.append(optax.scale_by_adam())
    if not absent(weight_decay):
        chain.append(optax.add_decayed_weights(weight_decay, optim.matrices_only))
    chain.append(optax.scale_by_learning_rate(rate))
    if not absent(weissi_decay):
        chain.append(optim.weissi_decay(weissi_decay, learning_rate=rate))
    tx = optax.chain(*chain)
    if absent(sharpness):
        return tx
    return optim.sharpness_aware(tx, sharpness)


def make_training(
    model: Any,
    *,
    class_counts: jax.Array,
    num_steps: int,
    objective: Mapping[str, Any],
    optimizer: Mapping[str, Any],
) -> tuple[Callable[..., Any], optax.GradientTransformation]:
    """Makes the loss function and the optimizer of a training step; here flooding finds its place.

    Flooding of the batch's mean loss is left to the optimizer (`optim.flood_updates`, before
    momentum and penalties, behind the first gradient of `sharpness`), which sees the loss of the
    whole batch where the step accumulates. With a gradient penalty it stays in the loss, since the
    penalty must not be turned around, and such a step cannot accumulate.

    Args:
      model: of `models.classifiers`.
      class_counts: [K], training examples of each class.
      num_steps: length of the schedule.
      objective: arguments of `make_loss`.
      optimizer: arguments of `make_optimizer`.

    Returns:
      (loss_fn, tx) for `train.make_train_step`.

    Raises:
      ValueError: see `make_loss` and `make_optimizer`.
    """
    objective, optimizer = dict(objective), dict(optimizer)
    loss_fn = make_loss(model, class_counts=class_counts, **objective)
    tx = make_optimizer(num_steps=num_steps, **optimizer)
    penalised = not absent(objective.get("gradient_penalty"))
    level: Any = objective.get("level")
    if objective.get("flooding") != "batch" or penalised or absent(level):
        return loss_fn, tx
    plain = {**objective, "flooding": "none", "level": 0.0}
    radius = optimizer.pop("sharpness", None)
    inner = make_optimizer(num_steps=num_steps, **optimizer)
    tx = optax.chain(optim.flood_updates(level), inner)
    tx = tx if absent(radius) else optim.sharpness_aware(tx, radius)
    return make_loss(model, class_counts=class_counts, **plain), tx


def _add_spectral(strength: Number) -> optax.GradientTransformation:
    """Half the summed squared spectral norms; the power iteration's vectors are the state."""

    def init(params):
        return regularizers.init_spectral_vectors(params, jax.random.key(0))

    def update(updates, state, params=None):
        penalty = lambda p: regularizers.spectral_norm_penalty(p, state)
        grads, state = jax.grad(penalty, has_aux=True)(params)
        add = lambda u, g: u + 0.5 * strength * g
        return jax.tree.map(add, updates, grads), state

    return optax.GradientTransformation(init, update)
