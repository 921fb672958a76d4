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

    def _at(self, temperature: float) -> Any:
        """Variables whose batch statistics suit a temperature."""
        if not self.reestimate:
            return self.run.variables
        stats = nvae.reestimate_sampling_statistics(
            self.run.model,
            self.run.variables,
            self.key,
            temperature=temperature,
            num_batches=self.reestimate,
        )
        return {**self.run.variables, "batch_stats": stats}

    def _draw(self, *args: Any, variables: Any = None, **kwargs: Any) -> np.ndarray:
        """Mean images of a model call."""
        model = self.run.model
        output: Any = model.apply(variables or self.run.variables, *args, **kwargs)
        return np.asarray(model.observation.mean(output.parameters))

    def heat(self, temperatures: Sequence[float]) -> float | Sequence[float]:
        """One number, or one per group, as the model takes them.

        Raises:
          ValueError: there are neither one nor as many as the model has groups.
        """
        groups = self.run.model.num_groups
        if len(temperatures) not in (1, groups):
            raise InputError(
                f"--temperature has {len(temperatures)} values, the model {groups} groups"
            )
        return temperatures[0] if len(temperatures) == 1 else temperatures

    def samples(self, temperature: float | Sequence[float] = 1.0) -> np.ndarray:
        """A row from the prior."""
        return self._draw(self.columns, key=self.key, temperature=temperature, method="sample")

    def temperatures(self, values: Sequence[float]) -> np.ndarray:
        """A row of samples for each temperature, the same noise in every row."""
        rows = [
            self._draw(
                self.columns,
                key=self.key,
                temperature=t,
                method="sample",
                variables=self._at(t),
            )
            for t in values
        ]
        return np.concatenate(rows)

    def interpolation(self) -> np.ndarray:
        """A row between each pair of neighbouring held-out images, at most `PAIRS` of them."""
        x = self.images
        pairs = min(PAIRS, len(x) // 2)
        rows = [
            self._draw(x[2 * i], x[2 * i + 1], steps=self.columns, method="interpolate")
            for i in range(pairs)
        ]
        return np.concatenate(rows)

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
        for k in kept:
            heat = {"key": self.key, "temperature": temperature}
            rows.append(self._draw(x, num_groups=k, method="reconstruct", **heat))
        labels = ["image", *(f"{k} of {groups} kept" for k in kept)]
        return np.concatenate(rows), labels, len(x)


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
