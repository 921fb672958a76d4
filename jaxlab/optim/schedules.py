"""Learning rates over the steps that optax does not have ready."""

import optax

from jaxlab.checks import check_count, check_scalar


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
    check_count("num_steps", num_steps)
    check_scalar("warmup", warmup, at_least=0.0, below=1.0)
    rise = min(round(warmup * num_steps), num_steps - 1)
    schedules = [
        optax.schedules.linear_schedule(0.0, peak, rise),
        optax.schedules.linear_schedule(peak, 0.0, num_steps - rise),
    ]
    return optax.schedules.join_schedules(schedules, [rise])
