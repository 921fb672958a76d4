"""NVAE: a deep hierarchical VAE with residual cells.

    x -> stem -> pre blocks -> encoder scales (fine to coarse) -> features
    h -> decoder scales (coarse to fine), one latent group after another, each fed by the feature
         of its own place -> post blocks -> head -> likelihood

Vahdat and Kautz, `NVAE: A Deep Hierarchical Variational Autoencoder
<https://arxiv.org/abs/2007.03898>`_, 2020. docs/methods/nvae.md has the map from paper to code.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxlab.models.nvae.cells import Cell, Op, arch
from jaxlab.models.nvae.latents import GroupInput, GroupOutput, LatentGroup
from jaxlab.models.nvae.layers import Conv, Dtype
from jaxlab.models.nvae.likelihoods import Likelihood


@flax.struct.dataclass
class NVAEOutput:
    """What a pass through the decoder gives.

    parameters: [batch, height, width, p], the head's output; `Likelihood` reads it.
    groups: one `GroupOutput` a latent group, coarsest first.
    """

    parameters: jax.Array
    groups: tuple[GroupOutput, ...]

    @property
    def latents(self) -> tuple[jax.Array, ...]:
        """z of every group, each [batch, height, width, latents]."""
        return tuple(g.z for g in self.groups)

    @property
    def kl(self) -> jax.Array:
        """[batch, groups] in nats."""
        return jnp.stack([g.kl for g in self.groups], axis=1)

    @property
    def log_q(self) -> jax.Array:
        """[batch], log-density of all latents under the posterior."""
        return sum((g.log_q for g in self.groups), jnp.zeros(()))

    @property
    def log_p(self) -> jax.Array:
        """[batch], log-density of all latents under the prior."""
        return sum((g.log_p for g in self.groups), jnp.zeros(()))


def groups_per_scale(scales: int, groups: int, *, adaptive: bool = False, minimum: int = 1):
    """Number of latent groups of each scale, finest first.

    With `adaptive`, every coarser scale has half as many (integer division), at least `minimum`.

    >>> groups_per_scale(5, 16, adaptive=True, minimum=4)
    (16, 8, 4, 4, 4)
    """
    counts = [groups]
    for _ in range(scales - 1):
        counts.append(max(minimum, counts[-1] // 2) if adaptive else groups)
    return tuple(counts)


class EncoderGroup(nn.Module):
    """The bottom-up cells of one latent group."""

    cells: int
    ops: tuple[Op, ...]
    squeeze_excitation: bool
    branch_scale: float
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for c in range(self.cells):
            cell = Cell(
                self.ops,
                "normal",
                self.squeeze_excitation,
                self.branch_scale,
                dtype=self.dtype,
                name=f"cell_{c}",
            )
            x = cell(x, train)
        return x


class NVAE(nn.Module):
    """Hierarchical VAE; all methods are pure functions through `model.apply`.

    Calling the model encodes and decodes: `model.apply(variables, x, key=key)` -> `NVAEOutput`.
    Other methods by name: `model.apply(variables, x, key=key, method="encode")`.

    Args:
        image_size: Height and width of x, padding included.
        likelihood: "bernoulli", "normal" or "mixture"; see `Likelihood`, also for channels, bits,
            num_mixtures, edge and crop.
        groups: Latent groups of each scale, finest first (see `groups_per_scale`).
        latents: Channels of z in a group.
        enc_channels, dec_channels: Width at full resolution; it doubles at every halving.
        blocks: Down cells before the latent scales and up cells after them.
        pre_cells, post_cells: Cells of such a block, the one that resizes included.
        enc_cells, dec_cells: Cells of a latent group on each side.
        arch: Name in `cells.ARCHS`.
        squeeze_excitation: Gate every cell's branch.
        branch_scale: Factor on every cell's branch. The paper's 0.1 keeps deep models calm; shallow
            ones learn several times faster with 1.
        residual_posterior: Posterior parameters are offsets from the prior's.
        flows: Pairs of autoregressive flows in each posterior.
        clamp, sigma_floor: Squash raw parameters by clamp * tanh(raw / clamp); added to sigma.
        patch: Pixels a side that stem and head take as one position (1 in the paper; 2 quarters
            the cost of everything).
        remat: Recompute each latent and encoder group in the backward pass.
        dtype: Of layer arithmetic; parameters, statistics, latents and likelihood stay float32.
    """

    image_size: int
    likelihood: str = "bernoulli"
    channels: int = 1
    bits: int = 8
    num_mixtures: int = 10
    edge: str = "exact"
    crop: int = 0
    groups: Sequence[int] = (2, 1)
    latents: int = 20
    enc_channels: int = 32
    dec_channels: int = 32
    blocks: int = 2
    pre_cells: int = 3
    post_cells: int = 3
    enc_cells: int = 1
    dec_cells: int = 1
    arch: str = "res_mbconv"
    squeeze_excitation: bool = True
    branch_scale: float = 0.1
    residual_posterior: bool = True
    flows: int = 0
    clamp: float = 5.0
    sigma_floor: float = 0.01
    patch: int = 1
    remat: bool = False
    dtype: Dtype = None

    @property
    def observation(self) -> Likelihood:
        """The likelihood of this model's images."""
        return Likelihood(
            self.likelihood, self.channels, self.bits, self.num_mixtures, self.edge, self.crop
        )

    @property
    def num_groups(self) -> int:
        """Latent groups of all scales."""
        return sum(self.groups)

    @property
    def latent_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(height, width, channels) of z of every group, coarsest first."""
        shapes = []
        for scale in reversed(range(len(self.groups))):
            size = self.image_size // (self.patch * 2 ** (self.blocks + scale))
            shapes += [(size, size, self.latents)] * self.groups[scale]
        return tuple(shapes)

    def _validate(self):
        reduction = self.patch * 2 ** (self.blocks + len(self.groups) - 1)
        if self.image_size % reduction:
            raise ValueError(
                f"image_size is {self.image_size}, patch {self.patch}, {self.blocks} blocks and "
                f"{len(self.groups)} latent scales need a multiple of {reduction}"
            )
        if not self.groups or min(self.groups) < 1:
            raise ValueError(f"groups is {tuple(self.groups)}, every scale needs at least 1")
        for name in ("latents", "enc_channels", "dec_channels", "pre_cells", "post_cells"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")

    def setup(self):
        self._validate()
        ops, dtype = arch(self.arch), self.dtype
        se, scale = self.squeeze_excitation, self.branch_scale
        top = len(self.groups) - 1
        single = self.num_groups == 1

        # At stride `patch`, the kernel must reach every pixel.
        stem_size = max(3, self.patch + 1 - self.patch % 2)
        self.stem = Conv(self.enc_channels, size=stem_size, stride=self.patch, dtype=dtype)
        self.pre = [
            Cell(ops.pre, "down" if c == self.pre_cells - 1 else "normal", se, scale, dtype=dtype)
            for _ in range(self.blocks)
            for c in range(self.pre_cells)
        ]
        # static_argnums: `train`, counted from self.
        encoder = nn.remat(EncoderGroup, static_argnums=(2,)) if self.remat else EncoderGroup
        self.enc = [
            [encoder(self.enc_cells, ops.enc, se, scale, dtype) for _ in range(n)]
            for n in (() if single else self.groups)
        ]
        self.down = [Cell(ops.enc, "down", se, scale, dtype=dtype) for _ in range(top)]
        reduction = 2 ** (self.blocks + top)
        self.top = Conv(self.enc_channels * reduction, size=1, dtype=dtype)
        if not single:
            size = self.latent_shapes[0][0]
            shape = (size, size, self.dec_channels * reduction)
            self.h = self.param("h", jax.nn.initializers.uniform(1.0), shape)
        group = nn.remat(LatentGroup, static_argnums=(3,)) if self.remat else LatentGroup
        self.group = [
            [
                group(
                    latents=self.latents,
                    cells=self.dec_cells,
                    ops=ops.dec,
                    first=(s, g) == (top, 0),
                    merge="replace" if single else "concat",
                    squeeze_excitation=se,
                    branch_scale=scale,
                    residual=self.residual_posterior,
                    flows=self.flows,
                    clamp=self.clamp,
                    sigma_floor=self.sigma_floor,
                    dtype=dtype,
                )
                for g in range(n)
            ]
            for s, n in enumerate(self.groups)
        ]
        self.up = [Cell(ops.dec, "up", se, scale, dtype=dtype) for _ in range(top)]
        self.post = [
            Cell(ops.post, "up" if c == 0 else "normal", se, scale, dtype=dtype)
            for _ in range(self.blocks)
            for c in range(self.post_cells)
        ]
        self.head = Conv(self.observation.num_parameters * self.patch**2, dtype=dtype)

    def __call__(self, x: jax.Array, *, key=None, noise=None, train: bool = False) -> NVAEOutput:
        """Encodes and decodes.

        Args:
            x: [batch, image_size, image_size, channels] in [0, 1].
            key: Draws the posterior noise; None gives posterior means.
            noise: Standard normal noise of every group instead of a key, shapes as latent_shapes.
            train: Use and update batch statistics.
        """
        return self.top_down(self.bottom_up(x, train=train), key=key, noise=noise, train=train)

    def bottom_up(self, x: jax.Array, *, train: bool = False) -> tuple[jax.Array, ...]:
        """Features of every latent group, coarsest first; all that the posterior sees of x."""
        if x.shape[1:] != (self.image_size, self.image_size, self.channels):
            raise ValueError(
                f"x has shape {x.shape}, the model needs (batch, {self.image_size}, "
                f"{self.image_size}, {self.channels})"
            )
        y = self.stem(2 * x - 1)
        for cell in self.pre:
            y = cell(y, train)
        features = []
        for s, groups in enumerate(self.enc):
            if s > 0:
                y = self.down[s - 1](y, train)
            for group in groups:
                y = group(y, train)
                features.append(y)
        top = nn.elu(self.top(nn.elu(y)))
        return (top, *reversed(features[:-1]))

    def top_down(
        self,
        features: Sequence[jax.Array] | None = None,
        *,
        batch: int | None = None,
        key: jax.Array | None = None,
        noise: Sequence[jax.Array] | None = None,
        latents: Sequence[jax.Array] = (),
        whitened: Sequence[jax.Array] = (),
        num_inferred: int | None = None,
        temperature: float | Sequence[float] | jax.Array = 1.0,
        train: bool = False,
    ) -> NVAEOutput:
        """Runs the decoder; every group's z comes from the first source that has one.

        Order: the posterior (groups below num_inferred, if there are features), `latents`,
        `whitened`, a draw from the prior with `noise` or `key`, the prior's mean.

        Args:
            features: From `bottom_up`.
            batch: Number of images, where nothing else tells.
            key, noise: Of all draws, posterior ones too; None means no noise.
            latents, whitened: z of the first groups, plain or in units of the prior.
            num_inferred: Groups drawn from the posterior, from the top; None is all.
            temperature: Factor on prior sigmas, one for all or one a group.
            train: Use and update batch statistics.
        """
        shapes = self.latent_shapes
        known = features or noise or latents or whitened
        size = known[0].shape[0] if known else batch
        if size is None:
            raise ValueError("batch is None and nothing else gives the number of images")
        inferred = 0 if features is None else len(shapes) if num_inferred is None else num_inferred
        draws = _group_noise(shapes, size, key, noise)
        temperatures = jnp.broadcast_to(jnp.asarray(temperature, jnp.float32), (len(shapes),))
        s = jnp.zeros((size, *shapes[0][:2], self.dec_channels * 2 ** (self.blocks + self._top)))
        s = s + self.h if self.num_groups > 1 else s
        if self.dtype is not None:
            s = s.astype(self.dtype)
        outputs = []
        for scale in reversed(range(len(self.groups))):
            for group in self.group[scale]:
                i = len(outputs)
                s, output = group(
                    s,
                    GroupInput(
                        noise=draws[i],
                        temperature=temperatures[i],
                        feature=features[i] if features is not None and i < inferred else None,
                        given=latents[i] if i < len(latents) else None,
                        whitened=whitened[i] if i < len(whitened) else None,
                    ),
                    train,
                )
                outputs.append(output)
            if scale > 0:
                s = self.up[self._top - scale](s, train)
        for cell in self.post:
            s = cell(s, train)
        parameters = self.head(nn.elu(s)).astype(jnp.float32)
        return NVAEOutput(_depth_to_space(parameters, self.patch), tuple(outputs))

    @property
    def _top(self) -> int:
        return len(self.groups) - 1

    def encode(self, x: jax.Array, *, key=None) -> NVAEOutput:
        """Latents of x: posterior draws with a key, posterior means without."""
        return self(x, key=key)

    def decode(
        self,
        latents: Sequence[jax.Array],
        *,
        from_group: int | None = None,
        key=None,
        temperature=1.0,
    ) -> NVAEOutput:
        """Images from the first `from_group` latents (None: all); the rest comes from the prior.

        Args:
            latents: z of at least from_group groups, coarsest first.
            from_group: First group that is drawn anew.
            key, temperature: Of those draws; without a key they are prior means.
        """
        kept = tuple(latents[: len(latents) if from_group is None else from_group])
        batch = latents[0].shape[0] if latents else None
        return self.top_down(latents=kept, batch=batch, key=key, temperature=temperature)

    def reconstruct(
        self, x: jax.Array, *, num_groups: int | None = None, key=None, temperature=1.0
    ) -> NVAEOutput:
        """Images from the posterior of the first num_groups groups (None: all), then the prior."""
        return self.top_down(
            self.bottom_up(x), num_inferred=num_groups, key=key, temperature=temperature
        )

    def sample(
        self, batch: int, *, key: jax.Array, temperature=1.0, train: bool = False
    ) -> NVAEOutput:
        """Images from the prior. temperature: one factor on sigma, or one a group."""
        return self.top_down(batch=batch, key=key, temperature=temperature, train=train)

    def interpolate(self, a: jax.Array, b: jax.Array, *, steps: int) -> NVAEOutput:
        """A path between two images: their whitened latents, turned into each other on the sphere.

        Args:
            a, b: [image_size, image_size, channels].
            steps: Points on the path, both ends included.

        Returns:
            `NVAEOutput` of a batch of `steps` images.
        """
        ends = self.encode(jnp.stack([a, b]))
        weights = jnp.linspace(0.0, 1.0, steps)
        path = [_spherical(g.whitened[0], g.whitened[1], weights) for g in ends.groups]
        return self.top_down(whitened=path)


def for_images(spec: Any, **kwargs: Any) -> NVAE:
    """The model for a set of images.

    Args:
        spec: Has image_size, channels, likelihood, bits and pad (`jaxlab.data.ImageSpec`).
        **kwargs: Other arguments of `NVAE`; dtype may be a name such as "bfloat16".
    """
    if isinstance(kwargs.get("dtype"), str):
        kwargs["dtype"] = jnp.dtype(kwargs["dtype"])
    if "groups" in kwargs:
        kwargs["groups"] = tuple(kwargs["groups"])
    return NVAE(
        **{
            "image_size": spec.image_size,
            "channels": spec.channels,
            "likelihood": spec.likelihood,
            "bits": spec.bits,
            "crop": spec.pad,
            **kwargs,
        }
    )


def _group_noise(shapes, size: int, key, noise) -> Sequence[jax.Array]:
    """Standard normal noise of every group: given, from one draw with the key, or none."""
    if noise is not None:
        return noise
    if key is None:
        return [jnp.zeros((size, *shape)) for shape in shapes]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    draw = jax.random.normal(key, (size, int(ends[-1])))
    parts = jnp.split(draw, ends[:-1].tolist(), axis=1)
    return [part.reshape(size, *shape) for part, shape in zip(parts, shapes, strict=True)]


def _spherical(a: jax.Array, b: jax.Array, weights: jax.Array) -> jax.Array:
    cosine = jnp.sum(a * b) / jnp.maximum(jnp.linalg.norm(a) * jnp.linalg.norm(b), 1e-6)
    angle = jnp.arccos(jnp.clip(cosine, -0.9999, 0.9999))
    w = weights.reshape(-1, *[1] * a.ndim)
    return (jnp.sin((1 - w) * angle) * a + jnp.sin(w * angle) * b) / jnp.sin(angle)


def _depth_to_space(x: jax.Array, patch: int) -> jax.Array:
    if patch == 1:
        return x
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, patch, patch, channels // patch**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * patch, width * patch, -1)


def parameter_count(params: Any) -> int:
    """Number of trainable scalars in a parameter tree (arrays or shapes)."""
    return sum(math.prod(p.shape) for p in jax.tree.leaves(params))
