"""NVAE: a deep hierarchical VAE with residual cells.

    x -> stem -> pre blocks -> encoder scales (fine to coarse) -> features
    h -> decoder scales (coarse to fine), one latent group after another, each fed by the feature
         of its own place -> post blocks -> head -> likelihood

Vahdat and Kautz, `NVAE: A Deep Hierarchical Variational Autoencoder
<https://arxiv.org/abs/2007.03898>`_, 2020. docs/methods/nvae.md has the map from paper to code.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlab.checks import check_count, check_counts, check_scalar
from jaxlab.errors import InputError
from jaxlab.models.conv import inside_loop
from jaxlab.models.nvae.cells import Cell, arch
from jaxlab.models.nvae.latent_inputs import by_scale, draw_noise, group_inputs
from jaxlab.models.nvae.latents import LatentGroup, NVAEOutput
from jaxlab.models.nvae.layers import Conv, Dtype
from jaxlab.models.nvae.scan import REMAT, EncoderGroup, is_loop, rematerialised, repeated
from jaxlab.models.vae.likelihoods import Likelihood


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
        scan: Run the groups of a scale as one loop, which compiles in the time of one group;
            otherwise unrolled. Parameters are the same.
        remat: What the backward pass computes again of each group: "none", "convolutions" (all but
            the outputs of convolutions) or "full".
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
    scan: bool = True
    remat: str = "none"
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

    def setup(self):
        check(self)
        ops, dtype = arch(self.arch), self.dtype
        se, scale = self.squeeze_excitation, self.branch_scale
        top = len(self.groups) - 1
        single = self.num_groups == 1

        # Kernels are odd and sit on the first pixel of a patch: they must reach its last one.
        stem_size = max(3, 2 * self.patch - 1)
        self.stem = Conv(self.enc_channels, size=stem_size, stride=self.patch, dtype=dtype)
        self.pre = [
            Cell(ops.pre, "down" if c == self.pre_cells - 1 else "normal", se, scale, dtype=dtype)
            for _ in range(self.blocks)
            for c in range(self.pre_cells)
        ]
        self.enc = [
            repeated(
                EncoderGroup,
                n,
                in_axes=(nn.broadcast,),
                scan=self.scan,
                remat=self.remat,
                cells=self.enc_cells,
                ops=ops.enc,
                squeeze_excitation=se,
                branch_scale=scale,
                dtype=dtype,
            )
            for n in (() if single else self.groups)
        ]
        self.down = [Cell(ops.enc, "down", se, scale, dtype=dtype) for _ in range(top)]
        reduction = 2 ** (self.blocks + top)
        self.top = Conv(self.enc_channels * reduction, size=1, dtype=dtype)
        if not single:
            size = self.latent_shapes[0][0]
            shape = (size, size, self.dec_channels * reduction)
            self.h = self.param("h", jax.nn.initializers.uniform(1.0), shape)
        shared = {
            "latents": self.latents,
            "cells": self.dec_cells,
            "ops": ops.dec,
            "squeeze_excitation": se,
            "branch_scale": scale,
            "residual": self.residual_posterior,
            "flows": self.flows,
            "clamp": self.clamp,
            "sigma_floor": self.sigma_floor,
            "dtype": dtype,
        }
        merge = "replace" if single else "concat"
        first = rematerialised(LatentGroup, self.remat, train_at=3)
        self.group_first = first(first=True, merge=merge, **shared)
        # The coarsest scale has one group less here: the first of all stands alone.
        self.group = [
            repeated(
                LatentGroup,
                n,
                in_axes=(0, nn.broadcast),
                scan=self.scan,
                remat=self.remat,
                **shared,
            )
            if n
            else None
            for n in (*self.groups[:-1], self.groups[-1] - 1)
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
        """All that the posterior sees of x: a feature of every latent group.

        Returns:
            For each scale, coarsest first, [groups, batch, height, width, channels].
        """
        if x.shape[1:] != (self.image_size, self.image_size, self.channels):
            raise InputError(
                f"x has shape {x.shape}, the model needs (batch, {self.image_size}, "
                f"{self.image_size}, {self.channels}); images of data.load are not yet padded, "
                "image_set.padded() and the pipelines give them so"
            )
        y = self.stem(2 * x - 1)
        for cell in self.pre:
            y = cell(y, train)
        features = []
        for s, groups in enumerate(self.enc):
            if s > 0:
                y = self.down[s - 1](y, train)
            with inside_loop(is_loop(self.groups[s], self.scan)):
                y, stack = groups(y, train)
            features.append(stack[::-1])
        top = nn.elu(self.top(nn.elu(y)))[None]
        if features:
            features[-1] = jnp.concatenate([top, features[-1][1:]])
        return tuple(reversed(features)) or (top,)

    def top_down(
        self,
        features: Sequence[jax.Array] | None = None,
        *,
        batch: int | None = None,
        key: jax.Array | None = None,
        noise: Sequence[jax.Array] | None = None,
        latents: Sequence[jax.Array] = (),
        whitened: Sequence[jax.Array] = (),
        num_inferred: int | jax.Array | None = None,
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
            num_inferred: Groups drawn from the posterior, from the top; None is all. An array, so
                that one program serves every number, goes without `whitened`.
            temperature: Factor on prior sigmas, at least 0, one for all or one a group.
            train: Use and update batch statistics.
        """
        known = noise or latents or whitened
        size = features[0].shape[1] if features else known[0].shape[0] if known else batch
        if size is None:
            raise InputError("batch is None and nothing else gives the number of images")
        counts = tuple(reversed(self.groups))
        if noise and len(noise) != self.num_groups:
            raise InputError(f"noise is of {len(noise)} groups, the model has {self.num_groups}")
        inputs = group_inputs(
            counts,
            by_scale(counts, noise) if noise else draw_noise(counts, self.latent_shapes, size, key),
            temperature,
            features=features,
            latents=latents,
            whitened=whitened,
            num_inferred=num_inferred,
        )
        top = self.latent_shapes[0]
        s = jnp.zeros((size, *top[:2], self.dec_channels * 2 ** (self.blocks + self._top)))
        s = s + self.h if self.num_groups > 1 else s
        if self.dtype is not None:
            s = s.astype(self.dtype)
        outputs = []
        for scale, told in zip(reversed(range(len(counts))), inputs, strict=True):
            parts = []
            if scale == self._top:
                s, output = self.group_first(s, jax.tree.map(lambda x: x[0], told), train)
                parts.append(jax.tree.map(lambda x: x[None], output))
                told = jax.tree.map(lambda x: x[1:], told)
            groups: Any = self.group[scale]
            if groups is not None:
                with inside_loop(is_loop(told.noise.shape[0], self.scan)):
                    s, output = groups(s, told, train)
                parts.append(output)
            outputs.append(jax.tree.map(lambda *x: jnp.concatenate(x), *parts))
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
        if from_group is not None:
            check_count("from_group", from_group, at_least=0, below=len(latents) + 1)
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
        check_count("batch", batch)
        return self.top_down(batch=batch, key=key, temperature=temperature, train=train)

    def interpolate(self, a: jax.Array, b: jax.Array, *, steps: int) -> NVAEOutput:
        """A path between two images: their whitened latents, turned into each other on the sphere.

        Args:
            a, b: [image_size, image_size, channels].
            steps: Points on the path, both ends included.

        Returns:
            `NVAEOutput` of a batch of `steps` images.
        """
        check_count("steps", steps)
        ends = self.encode(jnp.stack([a, b]))
        weights = jnp.linspace(0.0, 1.0, steps)
        path = [spherical(g.whitened[0], g.whitened[1], weights) for g in ends.groups]
        return self.top_down(whitened=path)


def check(model: NVAE) -> None:
    """Raises `ValueError` for attributes that make no sense or do not go together."""
    check_counts("groups", model.groups)
    names = ("image_size", "patch", "latents", "enc_channels", "dec_channels")
    for name in (*names, "pre_cells", "post_cells"):
        check_count(name, getattr(model, name))
    for name in ("blocks", "enc_cells", "dec_cells", "flows"):
        check_count(name, getattr(model, name), at_least=0)
    check_scalar("branch_scale", model.branch_scale)
    check_scalar("clamp", model.clamp, above=0.0)
    check_scalar("sigma_floor", model.sigma_floor, at_least=0.0)
    halvings = model.blocks + len(model.groups) - 1
    if halvings > model.image_size.bit_length():  # before a power that fills the memory
        raise InputError(
            f"blocks is {model.blocks} and groups has {len(model.groups)} scales: they halve "
            f"images of {model.image_size} pixels {halvings} times"
        )
    reduction = model.patch * 2**halvings
    if model.image_size % reduction:
        raise InputError(
            f"image_size is {model.image_size}, patch {model.patch}, {model.blocks} blocks and "
            f"{len(model.groups)} latent scales need a multiple of {reduction}: data.image_size "
            "resizes pictures, data.pad puts zeros around them"
        )
    if 2 * model.crop >= model.image_size:
        raise InputError(f"crop is {model.crop}, leaves nothing of {model.image_size} pixels")
    if model.remat not in REMAT:
        raise InputError(f"remat is {model.remat!r}, known are {', '.join(REMAT)}")
    arch(model.arch)
    _ = model.observation  # has checks of its own


def spherical(a: jax.Array, b: jax.Array, weights: jax.Array) -> jax.Array:
    """A path from a to b, arrays of one shape, turned into each other: [len(weights), *shape]."""
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
