"""Pictures that a finished run draws: arrays [N, size, size, channels] in [0, 1]."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import data, train
from jaxlab.errors import InputError
from jaxlab.models import nvae
from jaxlab.models.nvae.latent_inputs import check_temperature, draw_noise
from jaxlab.models.nvae.model import spherical

PAIRS = 6  # rows of an interpolation, at most


@dataclasses.dataclass(frozen=True)
class Pictures:
    """A finished run, and how its outputs become pictures.

    Attributes:
      run: from `train.load_run`.
      columns: images in a row.
      seed: of all draws; the same noise in every row.
      reestimate: batches of samples on which batch statistics are measured anew at each
        temperature; 0 keeps those of training.
    """

    run: train.LoadedRun
    columns: int = 10
    seed: int = 0
    reestimate: int = 0

    @property
    def key(self) -> jax.Array:
        """Draws samples and binary pixels."""
        return jax.random.key(self.seed)

    @functools.cached_property
    def images(self) -> jax.Array:
        """The first held-out images, two rows of them, as the model takes them."""
        split = self.run.config["eval_split"]
        held_out = self.run.load_data(split, limit=2 * self.columns)
        batch = next(iter(data.eval_batches(held_out, len(held_out))))["image"]
        return nvae.prepare_images(self.run.model, jnp.asarray(batch), self.key)

    @functools.cached_property
    def _program(self) -> Any:
        """One program draws all rows; what a row does not use is zeros."""
        model = self.run.model
        counts = tuple(reversed(model.groups))
        weights = jnp.linspace(0.0, 1.0, self.columns)

        @jax.jit
        def draw(variables, key, features, num_inferred, temperature, is_path, ends):
            drawn = draw_noise(counts, model.latent_shapes, self.columns, key)
            drawn = [group for scale in drawn for group in scale]
            # Latents in units of the prior are what noise is.
            paths = [spherical(pair[0], pair[1], weights) for pair in ends]
            noise = [jnp.where(is_path, p, d) for p, d in zip(paths, drawn, strict=True)]
            output: Any = model.apply(
                variables,
                features,
                noise=noise,
                num_inferred=num_inferred,
                temperature=temperature,
                method="top_down",
            )
            return model.observation.mean(output.parameters)

        return draw

    @functools.cached_property
    def _encode(self) -> Any:
        """Of each image: what the posterior sees, and latents in units of the prior."""
        model = self.run.model

        @jax.jit
        def encode(variables, x):
            features = model.apply(variables, x, method="bottom_up")
            output: Any = model.apply(variables, features, method="top_down")
            return features, [group.whitened for group in output.groups]

        return encode

    @property
    def _shape(self) -> tuple[int, ...]:
        """Of two rows of images."""
        model = self.run.model
        return 2 * self.columns, model.image_size, model.image_size, model.channels

    @functools.cached_property
    def _encoded(self) -> tuple[Any, list[jax.Array]]:
        """Two rows of images; a small set is repeated, so that there are rows to fill."""
        return self._encode(self.run.variables, jnp.resize(self.images, self._shape))

    @functools.cached_property
    def _blank(self) -> tuple[Any, list[jax.Array]]:
        """In the place of `_encoded` for rows from the prior, which need no data."""
        x = jax.ShapeDtypeStruct(self._shape, jnp.float32)
        shapes = jax.eval_shape(self._encode, self.run.variables, x)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    @functools.cached_property
    def _measured(self) -> dict[tuple[float, ...], Any]:
        """Statistics by temperature: several pictures are drawn at the same one."""
        return {}

    def variables_at(self, temperature: float | Sequence[float]) -> Any:
        """Variables whose batch statistics suit a temperature, one or one per group."""
        check_temperature(temperature, self.run.model.num_groups)
        if not self.reestimate:
            return self.run.variables
        factors = tuple(np.ravel(temperature).tolist())
        if factors not in self._measured:
            self._measured[factors] = nvae.reestimate_sampling_statistics(
                self.run.model,
                self.run.variables,
                self.key,
                temperature=factors,
                num_batches=self.reestimate,
            )
        return {**self.run.variables, "batch_stats": self._measured[factors]}

    def _row(
        self,
        *,
        kept: int = 0,
        temperature: float | Sequence[float] = 1.0,
        pair: int | None = None,
        variables: Any = None,
        key: jax.Array | None = None,
    ) -> np.ndarray:
        """Mean images of a row: from the prior, from images' first groups, or between a pair."""
        from_prior = not kept and pair is None
        features, whitened = self._blank if from_prior else self._encoded
        first = [x[:, : self.columns] for x in features]
        ends = [x[2 * (pair or 0) :][:2] for x in whitened]
        heat = np.broadcast_to(np.asarray(temperature, np.float32), self.run.model.num_groups)
        args = (first, jnp.int32(kept), heat, pair is not None, ends)
        key = self.key if key is None else key
        return np.asarray(self._program(variables or self.run.variables, key, *args))

    def heat(self, temperatures: Sequence[float | Sequence[float]]) -> float | Sequence[float]:
        """One number, or one per group, as the model takes them.

        Raises:
          ValueError: there are neither one nor as many as the model has groups.
        """
        groups = self.run.model.num_groups
        values = [float(value) for each in temperatures for value in np.ravel(each)]
        if len(values) not in (1, groups):
            raise InputError(f"--temperature has {len(values)} values, the model {groups} groups")
        return values[0] if len(values) == 1 else values

    def samples(self, temperature: float | Sequence[float] = 1.0, *, rows: int = 1) -> np.ndarray:
        """Rows from the prior, each with noise of its own; the first is that of `temperatures`."""
        values, keys = self.variables_at(temperature), [self.key]
        keys += [jax.random.fold_in(self.key, i) for i in range(1, rows)]
        drawn = [self._row(temperature=temperature, variables=values, key=key) for key in keys]
        return np.concatenate(drawn)

    def temperatures(self, values: Sequence[float | Sequence[float]]) -> np.ndarray:
        """A row of samples for each temperature, one or one per group; the same noise in all."""
        return np.concatenate(
            [self._row(temperature=t, variables=self.variables_at(t)) for t in values]
        )

    def interpolation(self) -> np.ndarray:
        """A row between each pair of neighbouring held-out images, at most `PAIRS` of them.

        Raises:
          ValueError: there is only one image.
        """
        pairs = min(PAIRS, len(self.images) // 2)
        if not pairs:
            raise InputError("interpolation needs two held-out images, there is one: leave it out")
        return np.concatenate([self._row(pair=i) for i in range(pairs)])

    def resampled(
        self, temperature: float | Sequence[float] = 1.0
    ) -> tuple[np.ndarray, list[str], int]:
        """Rows that keep ever fewer groups of the posterior; the last is all prior.

        Returns:
          (pictures, a label per row, images per row); the first row is the images themselves.
        """
        x, groups = self.images[: self.columns], self.run.model.num_groups
        kept = sorted({round(k) for k in np.linspace(groups, 0, min(groups + 1, 6))}, reverse=True)
        rows = [np.asarray(self.run.model.observation.inner(x))]
        rows += [self._row(kept=k, temperature=temperature)[: len(x)] for k in kept]
        labels = ["image", *(f"{k} of {groups} kept" for k in kept)]
        return np.concatenate(rows), labels, len(x)


def read_temperature(text: str) -> float | tuple[float, ...]:
    """Factors on the prior's sigma from a command line: a number, or one per group with colons.

    Raises:
      ValueError: one is no finite number of at least 0.

    Example:
      >>> read_temperature("0.8"), read_temperature("1.2:0.5")
      (0.8, (1.2, 0.5))
    """
    values = []
    for part in text.split(":"):
        try:
            value = float(part)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise InputError(
                f"temperature is {text!r}, it must be a number of at least 0, or several: 1.2:0.5"
            )
        values.append(value)
    return values[0] if len(values) == 1 else tuple(values)


def temperature_label(temperature: float | Sequence[float]) -> str:
    """What a row of samples is called.

    Example:
      >>> temperature_label(0.8), temperature_label((1.2, 0.5))
      ('t = 0.8', 't = 1.2:0.5')
    """
    return "t = " + ":".join(f"{value:g}" for value in np.ravel(temperature))


def nearest(samples: np.ndarray, images: np.ndarray, count: int) -> np.ndarray:
    """Indices [n, count] of the images nearest to each sample, by Euclidean distance.

    Args:
      samples: [n, height, width, channels] in [0, 1].
      images: uint8 [N, height, width, channels].
      count: neighbours per sample, nearest first.

    Example:
      >>> images = np.array([0, 255, 100], np.uint8).reshape(3, 1, 1, 1)
      >>> nearest(np.full((1, 1, 1, 1), 0.6, np.float32), images, 2).tolist()
      [[2, 1]]
    """
    flat = samples.reshape(len(samples), -1)
    squares = np.concatenate(
        [  # by blocks: a large set in float would not fit
            np.sum(block**2, axis=1) - 2 * flat @ block.T
            for start in range(0, len(images), 4096)
            for block in [images[start : start + 4096].reshape(-1, flat.shape[1]) / np.float32(255)]
        ],
        axis=1,
    )
    return np.argsort(squares, axis=1)[:, :count]
