"""From the head's output to images: the three likelihoods of NVAE behind one small interface."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxlab import distributions
from jaxlab.checks import check_count
from jaxlab.errors import InputError

NAMES = ("bernoulli", "normal", "mixture")


@dataclass(frozen=True)
class Likelihood:
    """p(x | z), given the head's output.

    name: "bernoulli" (binary x), "normal" (a density on [-1, 1]) or "mixture" (discretised
        logistic mixture over 2**bits values).
    channels: Of the image.
    bits, num_mixtures, edge: Of "mixture"; edge "exact" sums to 1 over all values, "reference"
        keeps the published code's rule at the edges.
    crop: Border pixels that the likelihood ignores and that samples lose (padding of the input).
    """

    name: str = "bernoulli"
    channels: int = 1
    bits: int = 8
    num_mixtures: int = 10
    edge: str = "exact"
    crop: int = 0

    def __post_init__(self):
        for name in ("channels", "bits", "num_mixtures"):
            check_count(name, getattr(self, name))
        check_count("crop", self.crop, at_least=0)
        if self.bits > 8:
            raise InputError(f"bits is {self.bits}, must be at most 8")
        if self.name not in NAMES:
            raise InputError(f"likelihood is {self.name!r}, known are {', '.join(NAMES)}")
        if self.name == "mixture" and self.channels not in (1, 3):
            raise InputError(f"likelihood mixture needs 1 or 3 channels, not {self.channels}")

    @property
    def num_parameters(self) -> int:
        """Channels of the head."""
        if self.name == "mixture":
            return self.num_mixtures * (10 if self.channels == 3 else 3)
        return self.channels * (2 if self.name == "normal" else 1)

    def inner(self, x: jax.Array) -> jax.Array:
        """Removes the ignored border. x: [batch, height, width, channels]."""
        c = self.crop
        return x[:, c : x.shape[1] - c, c : x.shape[2] - c]

    def log_prob(self, x: jax.Array, parameters: jax.Array) -> jax.Array:
        """Log-likelihood in nats, summed over the image.

        Args:
            x: [batch, height, width, channels] in [0, 1].
            parameters: [batch, height, width, num_parameters].

        Returns:
            [batch] float32.
        """
        x, parameters = self.inner(x), self.inner(parameters).astype(jnp.float32)
        if self.name == "bernoulli":
            terms = distributions.bernoulli_log_prob(x, parameters)
        elif self.name == "normal":
            terms = distributions.normal_decoder_log_prob(x, parameters)
        else:
            terms = distributions.discretized_logistic_mixture_log_prob(
                x, parameters, bits=self.bits, num_mixtures=self.num_mixtures, edge=self.edge
            )
        return jnp.sum(terms, axis=tuple(range(1, terms.ndim)))

    def mean(self, parameters: jax.Array) -> jax.Array:
        """Mean image in [0, 1], [batch, height, width, channels], without the ignored border."""
        parameters = self.inner(parameters).astype(jnp.float32)
        if self.name == "bernoulli":
            return jax.nn.sigmoid(parameters)
        if self.name == "normal":
            return distributions.normal_decoder_mean(parameters)
        return distributions.discretized_logistic_mixture_mean(
            parameters, num_mixtures=self.num_mixtures
        )

    def sample(self, key: jax.Array, parameters: jax.Array, temperature=1.0) -> jax.Array:
        """Draws images in [0, 1]; temperature < 1 lowers the variance ("bernoulli" has none)."""
        parameters = self.inner(parameters).astype(jnp.float32)
        if self.name == "bernoulli":
            return distributions.bernoulli_sample(key, parameters)
        if self.name == "normal":
            return distributions.normal_decoder_sample(key, parameters, temperature=temperature)
        return distributions.discretized_logistic_mixture_sample(
            key, parameters, num_mixtures=self.num_mixtures, temperature=temperature
        )
