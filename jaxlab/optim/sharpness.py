"""Sharpness-aware minimisation for jaxlab's train step."""

import jax
import optax
from optax import contrib


def sharpness_aware(
    inner: optax.GradientTransformation, radius: float | jax.Array
) -> optax.GradientTransformationExtraArgs:
    r"""Steps by the gradient at the worst point nearby, :math:`\theta + r g / \lVert g \rVert`.

    Two gradients a step, both on the step's batch. `optax.contrib.sam` in its opaque mode, which
    takes no other extra argument than the gradient function: this one lets the others pass by.

    Args:
      inner: what turns that gradient into a step, such as `optax.sgd(0.1)`.
      radius: r > 0.

    Returns:
      A transformation whose `update` needs `params` and `grad_fn(params, _)`, which
      `make_train_step` gives.

    >>> import jax.numpy as jnp
    >>> grad = jax.grad(lambda w: 0.5 * w**2)
    >>> tx = sharpness_aware(optax.sgd(1.0), 0.5)
    >>> w = jnp.float32(2.0)
    >>> print(tx.update(grad(w), tx.init(w), w, grad_fn=lambda w, _: grad(w))[0])
    -2.5

    Source: Foret et al., 2021, arXiv:2010.01412.
    """
    ascent = optax.chain(contrib.normalize(), optax.scale_by_learning_rate(radius))
    sam = contrib.sam(inner, ascent, sync_period=2, opaque_mode=True)

    def update(updates, state, params=None, *, grad_fn=None, **extra_args):
        del extra_args
        return sam.update(updates, state, params, grad_fn=grad_fn)

    return optax.GradientTransformationExtraArgs(sam.init, update)
