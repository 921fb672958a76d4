"""Latent groups: prior, posterior, sample and merge, one block a group.

A decoder group turns the top-down state s into s', drawing its latents z on the way. All groups
of a scale after the first group of the model have the same structure and shapes
(`jaxlab.models.nvae.scan` runs them as one block).
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jaxlab import distributions
from jaxlab.models.nvae.cells import Op, normal_cells
from jaxlab.models.nvae.flows import FlowPair
from jaxlab.models.nvae.layers import Conv, Dtype


@flax.struct.dataclass
class GroupOutput:
    """What one latent group reports; every term summed over space and channels.

    z: [batch, height, width, latents], after flows.
    whitened: (z - prior mean) / prior sigma, same shape.
    kl: [batch] in nats; analytic, or log q - log p at z with flows; 0 where z was not inferred.
    kl_per_channel: [batch, latents]; its sum over channels is kl.
    log_q, log_p: [batch] log-densities of z under posterior and prior; log_q is 0 if not inferred.
    """

    z: jax.Array
    whitened: jax.Array
    kl: jax.Array
    kl_per_channel: jax.Array
    log_q: jax.Array
    log_p: jax.Array


@flax.struct.dataclass
class NVAEOutput:
    """What a pass through the decoder gives.

    parameters: [batch, height, width, p], the head's output; `Likelihood` reads it.
    scales: a `GroupOutput` a scale, coarsest first, its arrays with the scale's groups in front.
    """

    parameters: jax.Array
    scales: tuple[GroupOutput, ...]

    @property
    def groups(self) -> tuple[GroupOutput, ...]:
        """One `GroupOutput` a latent group, coarsest first."""
        pick = lambda scale, i: jax.tree.map(lambda x: x[i], scale)
        return tuple(pick(scale, i) for scale in self.scales for i in range(len(scale.z)))

    @property
    def latents(self) -> tuple[jax.Array, ...]:
        """Z of every group, each [batch, height, width, latents]."""
        return tuple(z for scale in self.scales for z in scale.z)

    @property
    def kl(self) -> jax.Array:
        """[batch, groups] in nats."""
        return jnp.concatenate([scale.kl for scale in self.scales]).T

    @property
    def log_q(self) -> jax.Array:
        """[batch], log-density of all latents under the posterior."""
        return sum((jnp.sum(scale.log_q, axis=0) for scale in self.scales), jnp.zeros(()))

    @property
    def log_p(self) -> jax.Array:
        """[batch], log-density of all latents under the prior."""
        return sum((jnp.sum(scale.log_p, axis=0) for scale in self.scales), jnp.zeros(()))


@flax.struct.dataclass
class GroupInput:
    """Inputs of one latent group; a field that is None is not used as a source of z.

    noise: standard normal noise of the draw; the draw is the mean where it is zero.
    temperature: [] factor on the prior's sigma.
    feature: [batch, height, width, encoder channels] for a posterior.
    given: z itself.
    inferred, is_given: bool [], whether feature and given count; None where they always do. The
        posterior comes first, then what is given, then the prior.
    """

    noise: jax.Array
    temperature: jax.Array
    feature: jax.Array | None = None
    given: jax.Array | None = None
    inferred: jax.Array | None = None
    is_given: jax.Array | None = None


class LatentGroup(nn.Module):
    """Prior from s, posterior from (feature, s), a draw, and s' = conv1x1([s, z]).

    first: the group at the top. Its prior is fixed (mean 0, raw log-sigma 0), its posterior sees
    the feature alone, and it has no cells before it.
    merge: "concat", or "replace" (s' = conv1x1(z), the model of one single group).
    residual: the posterior's raw parameters are added to the prior's.
    clamp: raw values v become clamp * tanh(v / clamp); sigma = exp(raw) + sigma_floor.
    """

    latents: int
    cells: int
    ops: tuple[Op, ...]
    squeeze_excitation: bool
    branch_scale: float
    residual: bool
    flows: int
    clamp: float
    sigma_floor: float
    dtype: Dtype
    first: bool = False
    merge: str = "concat"

    @nn.compact
    def __call__(self, s: jax.Array, inputs: GroupInput, train: bool):
        if not self.first:
            for cell in normal_cells(
                self.cells, self.ops, self.squeeze_excitation, self.branch_scale, self.dtype
            ):
                s = cell(s, train)
        prior_raw = self._prior(s, inputs)
        prior = self._gaussian(prior_raw, inputs.temperature)
        if inputs.feature is None:
            output = self._generated(inputs, prior)
        else:
            output = self._inferred(s, inputs, prior_raw, prior)
            inferred = inputs.inferred
            if inferred is not None:
                other = self._generated(inputs, prior)
                output = jax.tree.map(lambda a, b: jnp.where(inferred, a, b), output, other)
        merge = Conv(s.shape[-1], size=1, dtype=self.dtype, name="merge")
        z = output.z.astype(s.dtype)
        s = merge(z if self.merge == "replace" else jnp.concatenate([s, z], axis=-1))
        return s, output

    def _prior(self, s, inputs):
        if self.first:
            zeros = jnp.zeros_like(inputs.noise)
            return zeros, zeros
        raw = Conv(2 * self.latents, size=1, dtype=self.dtype, name="prior")(nn.elu(s))
        return jnp.split(raw.astype(jnp.float32), 2, axis=-1)

    def _gaussian(self, raw, temperature: float | jax.Array = 1.0):
        mean, log_sigma = (distributions.soft_clamp(r, self.clamp) for r in raw)
        return mean, (jnp.exp(log_sigma) + self.sigma_floor) * temperature

    def _inferred(self, s, inputs, prior_raw, prior):
        feature = inputs.feature
        if not self.first:
            width = feature.shape[-1]
            feature = feature + Conv(width, size=1, dtype=self.dtype, name="combine")(s)
        raw = Conv(2 * self.latents, dtype=self.dtype, name="posterior")(feature)
        raw = jnp.split(raw.astype(jnp.float32), 2, axis=-1)
        if self.residual and not self.first:
            raw = [q + p for q, p in zip(raw, prior_raw, strict=True)]
        mean, sigma = self._gaussian(raw)
        z = mean + sigma * inputs.noise
        log_q = distributions.normal_log_prob(z, mean, sigma)
        for i in range(self.flows):
            z = FlowPair(dtype=self.dtype, name=f"flow_{i}")(z)
        log_p = distributions.normal_log_prob(z, *prior)
        kl = log_q - log_p if self.flows else distributions.normal_kl(mean, sigma, *prior)
        return self._output(z, prior, jnp.sum(kl, axis=(1, 2)), log_q, log_p)

    def _generated(self, inputs, prior):
        mean, sigma = prior
        z = mean + sigma * inputs.noise
        if inputs.given is not None:
            always = inputs.is_given is None
            z = inputs.given if always else jnp.where(inputs.is_given, inputs.given, z)
        log_p = distributions.normal_log_prob(z, mean, sigma)
        nothing = jnp.zeros((z.shape[0], self.latents))
        return self._output(z, prior, nothing, jnp.zeros_like(log_p), log_p)

    def _output(self, z, prior, kl_per_channel, log_q, log_p):
        mean, sigma = prior
        total = lambda x: jnp.sum(x, axis=(1, 2, 3))
        return GroupOutput(
            z=z,
            whitened=(z - mean) / sigma,
            kl=jnp.sum(kl_per_channel, axis=-1),
            kl_per_channel=kl_per_channel,
            log_q=total(log_q),
            log_p=total(log_p),
        )
