"""Learning rates over the steps, by name: adding one is a function and a row of `SCHEDULES`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import optax

from jaxlab.checks import absent, call_by_name, check_count, check_scalar
from jaxlab.errors import InputError


def warmup_linear_decay(peak: float, num_steps: int, *, warmup: float = 0.1) -> optax.Schedule:
    """Rises from 0 to `peak` in a share of the steps, and falls to 0 in the rest: BERT's schedule.

    Args:
      peak: the highest rate, >= 0.
      num_steps: steps of the run, >= 1; the rate is 0 from there on.
      warmup: share of the steps that rise, in [0, 1).

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> rate = warmup_linear_decay(1.0, 10, warmup=0.2)
      >>> [round(float(rate(t)), 3) for t in (0, 1, 2, 6, 10, 20)]
      [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    check_scalar("peak", peak, at_least=0.0)
    return linear(peak, num_steps, warmup=warmup)


def constant(
    peak: float, num_steps: int, /, *, warmup: float | None = None, warmup_steps: int | None = None
) -> optax.Schedule:
    """The same rate to the end."""
    rise = _rise(num_steps, warmup, warmup_steps)
    return _after(rise, peak, optax.constant_schedule(peak))


def cosine(
    peak: float,
    num_steps: int,
    /,
    *,
    final_learning_rate: float = 0.0,
    warmup: float | None = None,
    warmup_steps: int | None = None,
) -> optax.Schedule:
    """Falls to `final_learning_rate` along half a wave."""
    rise = _rise(num_steps, warmup, warmup_steps)
    check_scalar("final_learning_rate", final_learning_rate, at_least=0.0)
    alpha = 0.0 if absent(final_learning_rate) else final_learning_rate / peak
    return _after(rise, peak, optax.cosine_decay_schedule(peak, num_steps - rise, alpha=alpha))


def step(
    peak: float,
    num_steps: int,
    /,
    *,
    drop_at: Sequence[float] = (0.5, 0.75),
    drop_factor: float = 0.1,
    warmup: float | None = None,
    warmup_steps: int | None = None,
) -> optax.Schedule:
    """Is multiplied by `drop_factor` at each of these shares of the run."""
    rise = _rise(num_steps, warmup, warmup_steps)
    check_scalar("drop_factor", drop_factor, at_least=0.0)
    if not isinstance(drop_at, tuple | list):
        raise InputError(f"drop_at is {drop_at!r}, must hold shares of the steps")
    for i, share in enumerate(drop_at):
        check_scalar(f"drop_at[{i}]", share, above=0.0, below=1.0)
    drops = {round(share * num_steps) - rise: drop_factor for share in drop_at}
    if len(drops) < len(drop_at) or min(drops, default=1) < 1:
        raise InputError(f"drop_at is {drop_at}, must name different steps after the warm-up")
    return _after(rise, peak, optax.piecewise_constant_schedule(peak, drops))


def linear(
    peak: float,
    num_steps: int,
    /,
    *,
    final_learning_rate: float = 0.0,
    warmup: float | None = None,
    warmup_steps: int | None = None,
) -> optax.Schedule:
    """Falls to `final_learning_rate` along a line."""
    rise = _rise(num_steps, warmup, warmup_steps)
    check_scalar("final_learning_rate", final_learning_rate, at_least=0.0)
    return _after(rise, peak, optax.linear_schedule(peak, final_learning_rate, num_steps - rise))


def floored(
    peak: float,
    num_steps: int,
    /,
    *,
    final_learning_rate: float = 0.0,
    warmup: float | None = None,
    warmup_steps: int | None = None,
) -> optax.Schedule:
    """Falls along the line to 0, but not below `final_learning_rate`: word2vec's schedule."""
    rise = _rise(num_steps, warmup, warmup_steps)
    check_scalar("final_learning_rate", final_learning_rate, at_least=0.0)
    line = lambda t: peak * (1 - t / (num_steps - rise))
    return _after(rise, peak, lambda t: jnp.maximum(line(t), final_learning_rate))


# Name -> (highest rate, steps of the run, its own numbers) -> schedule.
SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "step": step,
    "linear": linear,
    "floored": floored,
}


def make_schedule(
    name: str, learning_rate: float, num_steps: int, **numbers: Any
) -> optax.Schedule:
    """A named schedule; all of them can rise from 0 before.

    Args:
      name: one of `SCHEDULES`.
      learning_rate: the highest rate, above 0; may be traced.
      num_steps: steps of the run.
      **numbers: of that schedule: `warmup`, share of the steps that rise, in [0, 1), or
        `warmup_steps`, how many do; `final_learning_rate` of "cosine", "linear" and "floored";
        `drop_at` and `drop_factor` of "step". None stands for the default.

    Raises:
      ValueError: an unknown name, a number out of range, or one that the schedule does not take.

    Example:
      >>> rate = make_schedule("step", 1.0, 10, drop_at=(0.5,), warmup_steps=2)
      >>> [round(float(rate(t)), 3) for t in (0, 1, 2, 4, 5, 9)]
      [0.0, 0.5, 1.0, 1.0, 0.1, 0.1]
    """
    check_count("num_steps", num_steps)
    check_scalar("learning_rate", learning_rate, above=0.0)
    return call_by_name("schedule", SCHEDULES, name, numbers, learning_rate, num_steps)


def _rise(num_steps: int, warmup: float | None, warmup_steps: int | None) -> int:
    """Steps of the warm-up, fewer than the run has."""
    check_count("num_steps", num_steps)
    if warmup is not None and warmup_steps is not None:
        raise InputError(f"warmup is {warmup} and warmup_steps {warmup_steps}, must be one of them")
    if warmup is not None:
        check_scalar("warmup", warmup, at_least=0.0, below=1.0)
        return min(round(warmup * num_steps), num_steps - 1)
    steps = 0 if warmup_steps is None else warmup_steps
    check_count("warmup_steps", steps, at_least=0)
    if steps >= num_steps:
        raise InputError(f"warmup_steps is {steps}, must be below num_steps {num_steps}")
    return steps


def _after(rise: int, peak: float, schedule: optax.Schedule) -> optax.Schedule:
    if not rise:
        return schedule
    return optax.join_schedules([optax.linear_schedule(0.0, peak, rise), schedule], [rise])
