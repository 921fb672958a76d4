"""Sharpness-aware minimisation for jaxlab's train step."""

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from jaxlab.checks import at_least_float32, check_scalar
from jaxlab.errors import InputError
from jaxlab.optim.freezing import filled, moving


def sharpness_aware(
    inner: optax.GradientTransformation, radius: float | jax.Array
) -> optax.GradientTransformationExtraArgs:
    r"""Steps by the gradient at the worst point nearby, :math:`\theta + r g / \lVert g \rVert`.

    Two gradients a step, both on the step's batch. `optax.contrib.sam` in its opaque mode, which
    takes no other extra argument than the gradient function: this one hands the others to `inner`.
    Where the gradient is zero the point stays where it is.

    Args:
      inner: what turns that gradient into a step, such as `optax.sgd(0.1)`.
      radius: r >= 0.

    Returns:
      A transformation whose `update` needs `params` and `grad_fn(params, _)`, which
      `make_train_step` gives.

    Raises:
      ValueError: radius is negative or not finite; later, `grad_fn` is missing, or a mask is around
        it, which hides parameters that the gradient elsewhere needs.

    Example:
      >>> grad = jax.grad(lambda w: 0.5 * w**2)
      >>> tx = sharpness_aware(optax.sgd(1.0), 0.5)
      >>> w = jnp.float32(2.0)
      >>> print(tx.update(grad(w), tx.init(w), w, grad_fn=lambda w, _: grad(w))[0])
      -2.5

    Source: Foret et al., 2021, arXiv:2010.01412.
    """
    check_scalar("radius", radius, at_least=0.0)
    inner = optax.with_extra_args_support(inner)
    # optax's `normalize` divides by a norm of zero, and takes norms in bfloat16.
    ascent = optax.chain(optax.stateless(_unit), optax.scale_by_learning_rate(radius))

    def sam(**extra):
        bound = optax.GradientTransformation(
            inner.init,
            lambda updates, state, params=None: inner.update(updates, state, params, **extra),
        )
        return contrib.sam(bound, ascent, sync_period=2, opaque_mode=True)

    def update(updates, state, params=None, *, grad_fn=None, **extra):
        if grad_fn is None:
            raise InputError(
                "grad_fn is None, sharpness_aware needs it: update(..., grad_fn=...), which passes "
                "through no optax.MultiSteps"
            )
        masked = lambda x: isinstance(x, optax.MaskedNode)
        if any(map(masked, jax.tree.leaves(updates, is_leaf=masked))):
            raise InputError(
                "a mask (optax.masked, optax.multi_transform) is around sharpness_aware, which "
                "needs all parameters for the gradient elsewhere: give it the masked "
                "transformation, sharpness_aware(optax.masked(tx, mask), radius)"
            )
        grad = lambda part, step: moving(updates, grad_fn(filled(part, params), step))
        return sam(**extra).update(updates, state, moving(updates, params), grad_fn=grad)

    return optax.GradientTransformationExtraArgs(sam().init, update)


def _unit(updates, params):
    """Updates of norm 1, zeros where all of them are zero."""
    del params
    norm = optax.tree.norm(jax.tree.map(at_least_float32, updates))
    return jax.tree.map(
        lambda u: (u / jnp.where(norm > 0, norm, 1.0)).astype(jnp.result_type(u)), updates
    )
