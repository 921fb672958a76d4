"""Optimizers and penalties by name, from the keyword arguments of a config section.

Adding one is a function and a row of `OPTIMIZERS` or `PENALTIES`; the numbers of its own are the
function's keyword-only arguments.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import optax

from jaxlab import regularizers
from jaxlab.checks import absent, check_choice, check_scalar, own_keywords, takes
from jaxlab.errors import InputError
from jaxlab.optim import penalties as transformations
from jaxlab.optim.flooding import flood_updates
from jaxlab.optim.freezing import train_only
from jaxlab.optim.schedules import SCHEDULES, make_schedule
from jaxlab.optim.sharpness import sharpness_aware
from jaxlab.optim.skipping import skip_large_updates
from jaxlab.regularizers import Mask

Transformation = optax.GradientTransformation

# Numbers that shape the program, so that they cannot be traced as the others can.
STATIC = ("warmup", "drop_factor", "skip_factor")


@dataclasses.dataclass(frozen=True)
class Given:
    """What the functions of the tables know besides their own numbers.

    Attributes:
      rate: the schedule.
      decoupled: penalties that an optimizer adds before it multiplies by the rate.
      decay_mask: leaves that L2 and weight decay are for.
      weissi_mask: leaves that WEISSI is for.
      stacked: leaves with a leading layer axis.
    """

    rate: optax.Schedule
    decoupled: tuple[Transformation, ...] = ()
    decay_mask: Mask = regularizers.matrices_only
    weissi_mask: Mask = regularizers.matrices_only
    stacked: Mask = False

    def finish(self, *scaling: Transformation) -> Transformation:
        """Scaling of the gradient, decoupled penalties, rate: the chain of every optimizer."""
        rate = optax.scale_by_learning_rate(self.rate)
        return optax.chain(*scaling, *self.decoupled, rate)

    def decay(self, strength: float) -> Transformation:
        """The gradient of L2."""
        return optax.add_decayed_weights(strength, regularizers.for_optax(self.decay_mask))


def sgd(given: Given, /) -> Transformation:
    """Plain gradient descent."""
    return given.finish()


def momentum(given: Given, /, *, momentum: float = 0.9, nesterov: bool = False) -> Transformation:
    """Heavy ball; momentum is in [0, 1)."""
    check_scalar("momentum", momentum, at_least=0.0, below=1.0)
    check_choice("nesterov", nesterov, (False, True))
    return given.finish(optax.trace(momentum, nesterov))


def adam(
    given: Given, /, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> Transformation:
    """Adam; b1 and b2 are in [0, 1), eps is at least 0."""
    _check_moments(b1, b2, eps)
    return given.finish(optax.scale_by_adam(b1, b2, eps))


def adamax(
    given: Given, /, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> Transformation:
    """Adam by the largest gradient instead of the mean square."""
    _check_moments(b1, b2, eps)
    return given.finish(optax.scale_by_adamax(b1, b2, eps))


def adamw(
    given: Given,
    /,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-4,
) -> Transformation:
    """Adam and decoupled L2."""
    _check_moments(b1, b2, eps)
    check_scalar("weight_decay", weight_decay, at_least=0.0)
    return given.finish(optax.scale_by_adam(b1, b2, eps), given.decay(weight_decay))


def adamw_weissi(
    given: Given,
    /,
    *,
    log_norm: float | None = None,
    direction: float = 0.0,
    min_norm: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> Transformation:
    """Adam and decoupled WEISSI, see `optim.adamw_weissi`; no other decoupled penalty."""
    if log_norm is None:
        raise InputError("log_norm is None, optimizer 'adamw_weissi' needs it, such as 1e-3")
    for key, value in (("log_norm", log_norm), ("direction", direction), ("min_norm", min_norm)):
        check_scalar(key, value, at_least=0.0)
    if given.decoupled:
        raise InputError("optimizer 'adamw_weissi' decays by WEISSI: set weight_decay to None")
    return transformations.adamw_weissi(
        given.rate,
        b1,
        b2,
        eps,
        log_norm=log_norm,
        direction=direction,
        min_norm=min_norm,
        mask=given.weissi_mask,
        stacked=given.stacked,
    )


# Name -> (Given, its own numbers) -> transformation.
OPTIMIZERS: dict[str, Callable[..., Transformation]] = {
    "sgd": sgd,
    "momentum": momentum,
    "adam": adam,
    "adamax": adamax,
    "adamw": adamw,
    "adamw_weissi": adamw_weissi,
}


def l2(given: Given, /, *, l2: float = 0.0) -> Transformation:
    """Lambda / 2 of the squared norms."""
    return given.decay(l2)


def weissi(
    given: Given, /, *, weissi: float = 0.0, weissi_direction: float = 0.0
) -> Transformation:
    """Lambda of the summed log norms, and of the direction term."""
    return transformations.add_weissi(
        weissi, weissi_direction, mask=given.weissi_mask, stacked=given.stacked
    )


def spectral(given: Given, /, *, spectral: float = 0.0) -> Transformation:
    """Lambda / 2 of the summed squared spectral norms; the power iteration's vectors are state."""
    stacked = given.stacked

    def init(params):
        return regularizers.init_spectral_vectors(params, jax.random.key(0), stacked=stacked)

    def update(updates, state, params=None):
        penalty = lambda p: regularizers.spectral_norm_penalty(p, state, stacked=stacked)
        grads, state = transformations.penalty_grads(penalty, updates, params, has_aux=True)
        return transformations.add_to(updates, lambda g: 0.5 * spectral * g, grads), state

    return optax.GradientTransformation(init, update)


def weight_decay(given: Given, /, *, weight_decay: float = 0.0) -> Transformation:
    """Decoupled L2, as in AdamW."""
    return given.decay(weight_decay)


def weissi_decay(
    given: Given, /, *, weissi_decay: float = 0.0, weissi_min_norm: float = 0.0
) -> Transformation:
    """Decoupled WEISSI, the exact flow."""
    return transformations.weissi_decay(
        weissi_decay,
        learning_rate=given.rate,
        min_norm=weissi_min_norm,
        mask=given.weissi_mask,
        stacked=given.stacked,
    )


# Name -> (where, (Given, its own numbers) -> transformation): "coupled" penalties are added to the
# gradient, "decoupled" ones to the optimizer's direction, "last" ones to its step.
PENALTIES: dict[str, tuple[str, Callable[..., Transformation]]] = {
    "l2": ("coupled", l2),
    "weissi": ("coupled", weissi),
    "spectral": ("coupled", spectral),
    "weight_decay": ("decoupled", weight_decay),
    "weissi_decay": ("last", weissi_decay),
}


def rows(penalties: Mapping[str, tuple[str, Callable[..., Any]]] = PENALTIES) -> tuple[Any, ...]:
    """All functions whose numbers a section of `make_optimizer` may hold.

    Example:
      >>> sgd in rows(), l2 in rows()
      (True, True)
    """
    functions = [function for _, function in penalties.values()]
    return (*OPTIMIZERS.values(), *SCHEDULES.values(), *functions)


def make_optimizer(
    name: str,
    *,
    learning_rate: float,
    num_steps: int,
    schedule: str = "cosine",
    decay_mask: str = "matrices",
    weissi_mask: str = "matrices",
    flooding: float | None = None,
    sharpness: float | None = None,
    skip_factor: float | None = None,
    trainable: Mask | None = None,
    stacked: Mask = False,
    penalties: Mapping[str, tuple[str, Callable[..., Any]]] = PENALTIES,
    **numbers: Any,
) -> optax.GradientTransformation:
    """Makes an optimizer with its schedule, penalties and guards.

    Args:
      name: one of `OPTIMIZERS`.
      learning_rate: the highest rate, above 0.
      num_steps: length of the schedule.
      schedule: one of `SCHEDULES`.
      decay_mask: one of `regularizers.MASKS`, which leaves `l2` and `weight_decay` are for.
      weissi_mask: the same for `weissi`, `weissi_decay` and "adamw_weissi", one of which must be
        given where it is not the default.
      flooding: level of the batch's mean loss below which gradients are turned around, see
        `flood_updates`; momentum sees them turned, penalties stay as they are.
      sharpness: radius of `sharpness_aware` (two gradients per step).
      skip_factor: of `skip_large_updates`, above 1.
      trainable: mask of the leaves that are trained at all; None for all.
      stacked: leaves with a leading layer axis.
      penalties: the table of penalties.
      **numbers: of the optimizer, of the schedule, and of penalties.

    Numbers may be traced, but for `STATIC`. None stands for the default; a penalty whose numbers
    are all 0 or None is left out, like flooding, sharpness and skipping.

    Raises:
      ValueError: an unknown name, a number out of range (checked when concrete), or one that
        nothing of what is named takes.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = make_optimizer("sgd", learning_rate=0.5, num_steps=9, schedule="constant", l2=0.1)
      >>> params = {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}
      >>> zero = jax.tree.map(jnp.zeros_like, params)
      >>> updates, _ = tx.update(zero, tx.init(params), params)
      >>> print(updates["kernel"], updates["bias"])
      [[-0.05]] [-0.]
      >>> make_optimizer("adam", learning_rate=0.5, num_steps=9, momentum=0.9)  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxlab.errors.ValueError: momentum is 0.9, optimizer 'adam' takes only b1, b2, eps; ...
    """
    check_choice("optimizer", name, OPTIMIZERS)
    check_choice("schedule", schedule, SCHEDULES)
    left = {key: value for key, value in numbers.items() if value is not None}
    take = lambda row: {key: left.pop(key) for key in own_keywords(row) if key in left}
    own, shape = take(OPTIMIZERS[name]), take(SCHEDULES[schedule])
    chosen = {key: take(row) for key, (_, row) in penalties.items()}
    if left:
        _refuse(left, name, schedule, penalties)
    strengths = {k: v for taken in chosen.values() for k, v in taken.items()}
    for key, value in {**strengths, "flooding": flooding, "sharpness": sharpness}.items():
        if value is not None:
            check_scalar(key, value, at_least=0.0)
    used = name == "adamw_weissi" or strengths.keys() & {
        "weissi",
        "weissi_direction",
        "weissi_decay",
    }
    if weissi_mask != "matrices" and not used:
        raise InputError(
            f"weissi_mask is {weissi_mask!r}, but nothing is penalised by WEISSI: set weissi or "
            "weissi_decay (0 is a strength, too), or optimizer 'adamw_weissi'"
        )
    if not absent(skip_factor):
        check_scalar("skip_factor", skip_factor, above=1.0)
    given = Given(
        make_schedule(schedule, learning_rate, num_steps, **shape),
        decay_mask=regularizers.mask_by_name("decay_mask", decay_mask, stacked=stacked),
        weissi_mask=regularizers.mask_by_name("weissi_mask", weissi_mask, stacked=stacked),
        stacked=stacked,
    )
    places: dict[str, list[Any]] = {"coupled": [], "decoupled": [], "last": []}
    for key, taken in chosen.items():
        if not all(absent(value) for value in taken.values()):
            place, row = penalties[key]
            places[place].append(row(given, **taken))
    given = dataclasses.replace(given, decoupled=tuple(places["decoupled"]))
    first = [] if absent(flooding) else [flood_updates(cast(Any, flooding))]
    tx = optax.chain(*first, *places["coupled"], OPTIMIZERS[name](given, **own), *places["last"])
    tx = tx if trainable is None else train_only(tx, trainable)
    tx = tx if absent(sharpness) else sharpness_aware(tx, cast(Any, sharpness))
    return tx if absent(skip_factor) else skip_large_updates(tx, factor=cast(Any, skip_factor))


def flooded_by_optimizer(
    objective: Mapping[str, Any], optimizer: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Leaves flooding of the batch's mean loss to the optimizer, which sees the whole batch.

    A loss that floods its mean cannot be accumulated over micro-batches, `flood_updates` can. With
    a gradient penalty flooding stays in the loss, since the penalty must not be turned around.

    Args:
      objective: section with `flooding`, `level` and `gradient_penalty`, or without.
      optimizer: section of `make_optimizer`.

    Returns:
      Both, changed.

    Raises:
      ValueError: both flood.

    Example:
      >>> flooded_by_optimizer({"flooding": "batch", "level": 0.5}, {"name": "sgd"})
      ({'flooding': 'none', 'level': None}, {'name': 'sgd', 'flooding': 0.5})
    """
    objective, optimizer = dict(objective), dict(optimizer)
    level = objective.get("level")
    own = optimizer.get("flooding")
    if objective.get("flooding", "none") != "none" and not absent(own):
        raise InputError(
            f"flooding of the optimizer is {own} and that of the objective "
            f"{objective['flooding']!r}: must be one of them"
        )
    if not absent(objective.get("gradient_penalty")):
        if not absent(own):
            raise InputError(
                f"flooding of the optimizer is {own}, it would turn the gradient penalty around: "
                "set objective.flooding to 'batch' and objective.level"
            )
    elif objective.get("flooding") == "batch" and not absent(level):
        objective |= {"flooding": "none", "level": None}
        optimizer["flooding"] = level
    return objective, optimizer


def _refuse(left, name, schedule, penalties):
    """Raises for the first number that nothing takes, and lists what is taken."""
    key, value = next(iter(left.items()))
    every = dict.fromkeys(k for row in rows(penalties) for k in own_keywords(row))
    if key not in every:
        raise InputError(f"optimizer has {key!r}, must be one of: {', '.join(every)}")
    listed = lambda row: takes(own_keywords(row))
    raise InputError(
        f"{key} is {value}, optimizer {name!r} takes {listed(OPTIMIZERS[name])}; schedule "
        f"{schedule!r} {listed(SCHEDULES[schedule])}; the penalties are {', '.join(penalties)}: "
        f"set {key} to None"
    )


def _check_moments(b1: Any, b2: Any, eps: Any) -> None:
    for name, decay in (("b1", b1), ("b2", b2)):
        check_scalar(name, decay, at_least=0.0, below=1.0)
    check_scalar("eps", eps, at_least=0.0)
