"""Warm-up of the KL term."""

import jax.numpy as jnp

from jaxlab.checks import check_scalar


def kl_coefficient(step, total_steps: int, *, portion=0.3, constant=1e-4, minimum=1e-4):
    """KL warm-up: minimum for `constant` of the run, then linear to 1 over `portion` of it.

    Args:
        step: Steps done.
        total_steps: Length of the run.
        portion: Share of the run that rises, at least 0; 0 is no warm-up.
        constant, minimum: In [0, 1].

    Raises:
        ValueError: A number is out of range (checked when concrete).

    >>> [round(float(kl_coefficient(s, 1000, constant=0.0)), 4) for s in (0, 150, 300, 900)]
    [0.0001, 0.5, 1.0, 1.0]
    """
    check_scalar("portion", portion, at_least=0.0)
    check_scalar("constant", constant, at_least=0.0, at_most=1.0)
    check_scalar("minimum", minimum, at_least=0.0, at_most=1.0)
    if portion == 0:
        return jnp.ones(())
    ramp = (step - constant * total_steps) / (portion * total_steps)
    return jnp.clip(ramp, minimum, 1.0)
