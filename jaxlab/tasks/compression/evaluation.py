"""Figures of a model on the splits of a study, by the loss and by the metrics of its task."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import mesh as mesh_lib
from jaxlab import train
from jaxlab.data.pipelines.buckets import text_eval_batches
from jaxlab.data.text import TokenSet
from jaxlab.models import bert
from jaxlab.tasks.compression.losses import make_replaced_logits, make_replaced_metrics
from jaxlab.tasks.compression.predictions import (
    collect_logits,
    make_classify,
    make_logits_step,
    score,
)


class Scorer:
    """Evaluates models with one head; programs are compiled once for each.

    Args:
      head: of all models.
      sets: split -> tokens.
      metrics: of the task, see `predictions.score`.
      batch_size: texts at a time.
      buckets: lengths to pad to.
      mesh: the devices.
    """

    def __init__(
        self,
        head: bert.SequenceClassifier,
        sets: Mapping[str, TokenSet],
        metrics: Sequence[str],
        batch_size: int,
        buckets: Sequence[int],
        mesh: Any,
    ):
        self.head, self.sets, self.metrics, self.mesh = head, sets, metrics, mesh
        options = {"buckets": buckets, **mesh_lib.this_process()}
        self._batches = {
            split: text_eval_batches(tokens, batch_size, **options)
            for split, tokens in sets.items()
        }
        self._eval_step: Any = functools.cache(self._make_eval_step)
        self._logits_step: Any = functools.cache(self._make_logits_step)

    def _make_eval_step(self, model, deep=None):
        if deep is not None:
            metrics = make_replaced_metrics(deep, model, self.head)
        else:
            metrics = bert.make_metrics(model, self.head)
        return train.make_eval_step(metrics, mesh=self.mesh)

    def _make_logits_step(self, model, deep=None):
        if deep is not None:
            return make_logits_step(make_replaced_logits(deep, model, self.head), mesh=self.mesh)
        return make_classify(model, self.head, mesh=self.mesh)

    def _means(self, step, params, model_state, split):
        batches, key = self._batches[split], jax.random.key(0)
        return train.evaluate(step, params, model_state, batches, key=key, mesh=self.mesh)

    def _scores(self, names, step, params, model_state, split):
        logits = collect_logits(step, params, model_state, self._batches[split], mesh=self.mesh)
        return {name: score(name, logits, self.sets[split].labels) for name in names}

    def figures(self, model: bert.Bert, params: Any, split: str) -> dict[str, float]:
        """{"test/accuracy": ..., "test/loss": ..., and standard errors}, and the task's metrics."""
        found = self._means(self._eval_step(model), params, {}, split)
        if others := [name for name in self.metrics if name not in found]:
            found |= self._scores(others, self._logits_step(model), params, {}, split)
        return {f"{split}/{name}": value for name, value in found.items()}

    def swapped(
        self, deep: bert.Bert, model: bert.Bert, params: Any, gates: np.ndarray, split: str
    ) -> float:
        """The first metric of the mixed model, in which `gates` says what is replaced."""
        state, name = {"gates": jnp.asarray(gates)}, self.metrics[0]
        if name == "accuracy":
            return self._means(self._eval_step(model, deep), params, state, split)[name]
        step = self._logits_step(model, deep)
        return self._scores([name], step, params, state, split)[name]
