"""Images as a VAE's likelihood takes them."""

import jax
import jax.numpy as jnp

from jaxlab import distributions
from jaxlab.errors import InputTypeError


def prepare_images(
    images: jax.Array,
    likelihood: str,
    key: jax.Array | None = None,
    *,
    bits: int = 8,
    static: bool = False,
) -> jax.Array:
    """Images as models take them, float32 in [0, 1].

    uint8 values are divided by 255, reduced to `bits`, and for a Bernoulli likelihood drawn as 0
    or 1 with the key (without one they stay grey), or with `static` cut at one half.
    Floating images pass as they are.

    Args:
        images: [..., height, width, channels], uint8 or floating.
        likelihood: Name of a `Likelihood`.
        key: Draws the binary pixels; used by "bernoulli" only.
        bits: Bits that stay, 1 to 8; used by the others.
        static: Cut grey values at one half.

    Returns:
        The same shape.

    Raises:
        TypeError: If images have another dtype.

    Example:
        >>> grey = jnp.array([[[[0], [127], [128], [255]]]], jnp.uint8)
        >>> prepare_images(grey, "bernoulli", static=True).ravel().tolist()
        [0.0, 0.0, 1.0, 1.0]
        >>> prepare_images(grey, "mixture", bits=1).ravel().tolist()
        [0.0, 0.0, 1.0, 1.0]
    """
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images.astype(jnp.float32)
    if images.dtype != jnp.uint8:
        raise InputTypeError(f"images have dtype {images.dtype}, must be uint8 or floating")
    if likelihood == "bernoulli":
        x = images.astype(jnp.float32) / 255
        if static:
            return jnp.round(x)
        return x if key is None else distributions.binarize(key, x)
    return distributions.reduce_bits(images, bits)
