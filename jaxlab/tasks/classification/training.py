"""How a classifier is trained: loss and optimizer, the run, its figures, and flood levels."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from etils import epath

from jaxlab import checkpoints, data, optim, regularizers, train
from jaxlab import mesh as mesh_lib
from jaxlab.checks import check_choice
from jaxlab.data.classification import ClassificationSplits
from jaxlab.models import classifiers
from jaxlab.tasks.classification.objectives import make_loss, prepare
from jaxlab.tasks.classification.reports import predict, report


def path(given: optim.Given, /, *, path: float = 0.0) -> optax.GradientTransformation:
    """Lambda of the path norm; of an MLP only."""
    del given
    return optim.add_penalty(lambda p: regularizers.path_norm(classifiers.kernels(p)), path)


PENALTIES = {**optim.PENALTIES, "path": ("coupled", path)}


def make_training(
    model: Any,
    *,
    class_counts: jax.Array,
    num_steps: int,
    objective: Mapping[str, Any],
    optimizer: Mapping[str, Any],
) -> tuple[Callable[..., Any], optax.GradientTransformation]:
    """Makes the loss function and the optimizer of a training step.

    Flooding of the batch's mean loss is left to the optimizer, see `optim.flooded_by_optimizer`.

    Args:
      model: of `models.classifiers`.
      class_counts: [K], training examples of each class.
      num_steps: length of the schedule.
      objective: arguments of `make_loss`.
      optimizer: arguments of `optim.make_optimizer`, with one more penalty: `path`.

    Returns:
      (loss_fn, tx) for `train.make_train_step`.

    Raises:
      ValueError: see `make_loss` and `optim.make_optimizer`, or both flood the batch's loss.
    """
    make_loss(model, class_counts=class_counts, **objective)  # as given: what it raises
    objective, optimizer = optim.flooded_by_optimizer(objective, optimizer)
    loss_fn = make_loss(model, class_counts=class_counts, **objective)
    return loss_fn, optim.make_optimizer(num_steps=num_steps, penalties=PENALTIES, **optimizer)


def describe(
    config: Mapping[str, Any],
    sets: ClassificationSplits,
    mesh: jax.sharding.Mesh | None = None,
    *,
    levels: np.ndarray | None = None,
) -> tuple[Any, train.Blueprint, dict[str, np.ndarray]]:
    """Describes a run on data that are read.

    Args:
      config: `seed`, `num_steps`, `batch_size`, and the sections `model` (of `make_classifier`),
        `objective` (of `make_loss`), `optimizer` (of `optim.make_optimizer`) and `step` (of
        `train.make_train_step`).
      sets: the data.
      mesh: devices; None for one.
      levels: [N], of every training example, for flooding "adaptive"; None for zeros there.

    Returns:
      (model, blueprint, arrays to train on).

    Raises:
      ValueError: a name or number of a section is wrong.
    """
    model = classifiers.make_classifier(num_classes=sets.num_classes, **config["model"])
    loss_fn, tx = make_training(
        model,
        class_counts=jnp.asarray(sets.train_counts, jnp.float32),
        num_steps=config["num_steps"],
        objective=config["objective"],
        optimizer=config["optimizer"],
    )
    arrays = dict(sets.train)
    if config["objective"].get("flooding") == "adaptive":
        zeros = np.zeros(len(arrays["label"]), np.float32)
        arrays["level"] = zeros if levels is None else levels
    first = prepare(jnp.asarray(arrays["x"][:2]))
    rows = lambda a: jax.ShapeDtypeStruct((config["batch_size"], *a.shape[1:]), a.dtype)
    create_state = functools.partial(
        train.create_state,
        lambda key: classifiers.init_variables(model, key, first),
        tx,
        key=jax.random.key(config["seed"]),
        mesh=mesh,
        ema=False,
    )
    described = train.Blueprint(
        create_state,
        train.make_train_step(loss_fn, tx, mesh=mesh, **config["step"]),
        {name: rows(values) for name, values in arrays.items()},
        num_steps=config["num_steps"],
        batch_size=config["batch_size"],
        mesh=mesh,
    )
    return model, described, arrays


def blueprint(
    config: Mapping[str, Any], mesh: jax.sharding.Mesh | None = None, data_dir: str | None = None
) -> train.Blueprint:
    """The run as planners want it; data are read, for their shapes and the sizes of the classes.

    Args:
      config: of `describe`, and the section `data` (of `data.load_classification`).
      mesh: devices; None for one.
      data_dir: the data folder.

    Example:
      >>> config = {"seed": 0, "num_steps": 9, "batch_size": 4, "step": {}, "objective": {},
      ...           "data": {"name": "sinusoid", "num_train": 8, "num_validation": 4},
      ...           "model": {"kind": "mlp", "features": (3,)},
      ...           "optimizer": {"name": "sgd", "learning_rate": 0.1}}
      >>> blueprint(config).batch["x"].shape
      (4, 2)
    """
    sets = data.load_classification(**config["data"], data_dir=data_dir, seed=config["seed"])
    return describe(config, sets, mesh)[1]


def make_eval_fn(
    model: Any,
    sets: ClassificationSplits,
    *,
    taus: Sequence[float] = (),
    mesh: jax.sharding.Mesh | None = None,
) -> Callable[[train.TrainState], dict[str, float]]:
    """Builds state -> "validation/FIGURE" and "test/FIGURE", the figures of `report`.

    Args:
      model: of `models.classifiers`.
      sets: the data.
      taus: strengths of post-hoc adjustment.
      mesh: devices; None for one.
    """
    counts = jnp.asarray(sets.train_counts, jnp.float32)

    @jax.jit
    def figures(params, model_state, held):
        logits = predict(model, params, model_state, held["x"])
        return report(logits, held["label"], class_counts=counts, taus=taus)

    held = {"validation": sets.validation, "test": sets.test}
    if mesh is not None:
        held = mesh_lib.place(held, mesh_lib.replicated(mesh))

    def eval_fn(state):
        return {
            f"{split}/{name}": float(value)
            for split, arrays in held.items()
            for name, value in figures(state.params, state.model_state, arrays).items()
        }

    return eval_fn


def plain_objective(objective: Mapping[str, Any]) -> dict[str, Any]:
    """The objective of models that score examples: the same name, without numbers and flooding.

    Example:
      >>> plain_objective({"name": "focal", "gamma": 1.0, "flooding": "adaptive"})
      {'name': 'focal'}
    """
    return {"name": objective.get("name", "cross_entropy")}


def open_run(
    config: Mapping[str, Any],
    workdir: Any,
    *,
    params: str = "ema",
    step: int | Literal["best"] | None = None,
    data_dir: str | None = None,
) -> train.LoadedRun:
    """The finished run in `workdir`; see `train.load_run`. Its data are read for their classes.

    The best step is that of the validation figure `select` of the config.
    """
    sets = data.load_classification(**config["data"], data_dir=data_dir, seed=config["seed"])
    model = classifiers.make_classifier(num_classes=sets.num_classes, **config["model"])
    found, values, state = checkpoints.load_params(
        epath.Path(workdir) / "checkpoints",
        step=step,
        best_metric=f"validation/{config['select']}",
    )

    def load_data(split: str = "test", *, limit: int | None = None) -> dict[str, np.ndarray]:
        check_choice("split", split, data.SPLITS)
        return {name: rows[:limit] for name, rows in getattr(sets, split).items()}

    return train.LoadedRun(config, found, params, model, values, state, load_data)
