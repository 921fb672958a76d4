"""Classification runs for `jaxlab.studies.program`: data of several seeds, what a run does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlab import attacks, data, losses, optim, regularizers, train
from jaxlab.checks import absent, check_count, check_scalars, check_seeds
from jaxlab.errors import InputError
from jaxlab.models import classifiers
from jaxlab.studies import program as sweep
from jaxlab.tasks.classification.objectives import prepare
from jaxlab.tasks.classification.reports import (
    layer_log_norms,
    nan_unless_sound,
    predict,
    report,
    tau_normalized_logits,
)
from jaxlab.tasks.classification.training import make_training, plain_objective

Setting = Mapping[str, Mapping[str, Any]]


def make_contexts(
    seeds: Sequence[int],
    data_dir: str | None = None,
    *,
    on_found: Callable[[data.Found], None] = lambda _: None,
    **data_args: Any,
) -> dict[str, Any]:
    """Loads the data of several seeds for `sweep.Program`.

    Args:
      seeds: each a choice of examples and wrong labels of its own.
      data_dir: the data folder.
      on_found: gets what was found of the first seed's data.
      **data_args: arguments of `data.load_classification`, without the seed.

    Returns:
      {"train", "validation", "test": {"x", "label"}, "counts"}, arrays [seeds, ...].

    Example:
      >>> sets = make_contexts([0, 1], name="sinusoid", num_train=8, num_validation=4, num_test=4)
      >>> sets["train"]["x"].shape, sets["counts"].shape
      ((2, 8, 2), (2, 2))
    """
    check_seeds("seeds", seeds)
    splits = [data.load_classification(data_dir=data_dir, seed=s, **data_args) for s in seeds]
    if splits[0].found is not None:
        on_found(splits[0].found)
    sets = [
        {
            "train": s.train,
            "validation": s.validation,
            "test": s.test,
            "counts": s.train_counts.astype(np.float32),
        }
        for s in splits
    ]
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *sets)


def split_numbers(setting: Setting) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """Separates the numbers that a program may take as arguments from what shapes the program.

    Args:
      setting: {"objective": arguments of `make_loss`, "optimizer": of `optim.make_optimizer`, ...}.

    Returns:
      ({"objective.tau": 1.0, ...}, the setting without them): floats of the two sections, but for
      those that are 0 and leave their part out, and `optim.STATIC`.

    >>> split_numbers({"objective": {"name": "focal", "gamma": 2.0}, "optimizer": {"l2": 0.0}})
    ({'objective.gamma': 2.0}, {'objective': {'name': 'focal'}, 'optimizer': {'l2': 0.0}})
    """
    numbers: dict[str, float] = {}
    rest = {}
    for section, arguments in setting.items():
        rest[section] = {}
        for name, value in arguments.items():
            if (
                section in ("objective", "optimizer")
                and isinstance(value, float)
                and name not in optim.STATIC
                and not absent(value)
            ):
                numbers[f"{section}.{name}"] = value
            else:
                rest[section][name] = value
    return numbers, rest


def make_program(
    fixed: Setting,
    num_classes: int,
    *,
    num_steps: int,
    seeds: str = "vmap",
    taus: Sequence[float] = (),
    norms: bool = False,
    epsilons: Sequence[float] = (),
    pgd_steps: int = 20,
    num_attacked: int = 500,
    example_losses: bool = False,
) -> sweep.Program:
    """Makes the program that trains a setting; its numbers are the program's `hyper`.

    Args:
      fixed: the second result of `split_numbers`: sections "model" (arguments of
        `make_classifier`, and `gains` for an MLP's layers at the start), "objective", "optimizer".
      num_classes: K.
      num_steps: of the schedule.
      seeds: see `sweep.Program`.
      taus: post-hoc strengths to report, as `posthoc_TAU` and (linear heads) `normalized_TAU`.
      norms: whether to report the log norm of every layer at each evaluation.
      epsilons: radii of l-infinity attacks on test images (uint8) scaled to [0, 1]; reports
        `fgsm_EPS`, `pgd_EPS`, and the input-Jacobian norm. Other inputs raise `ValueError` when the
        program runs.
      pgd_steps: steps of an attack, each 2.5 epsilon / steps long.
      num_attacked: test examples attacked.
      example_losses: whether the last report holds the cross-entropy of every training example.

    Returns:
      A program whose figures are named "validation/error", "test/balanced_error", ...; see
      `report`.
    """
    check_count("pgd_steps", pgd_steps)
    check_count("num_attacked", num_attacked)
    for name, values in (("taus", taus), ("epsilons", epsilons)):
        check_scalars(name, values, at_least=0.0)
    model_args = dict(fixed["model"])
    gains = model_args.pop("gains", None)
    model = classifiers.make_classifier(num_classes=num_classes, **model_args)

    def make_run(hyper, context):
        # The attacks' box [0, 1] would clip the inputs of a table.
        if epsilons and (dtype := context["test"]["x"].dtype) != jnp.uint8:
            raise InputError(
                f"epsilons is {tuple(epsilons)}, attacks need uint8 images, test x is {dtype}"
            )
        arguments = {section: dict(fixed[section]) for section in ("objective", "optimizer")}
        for name, value in hyper.items():
            section, key = name.split(".", 1)
            arguments[section][key] = value
        loss, tx = make_training(
            model, class_counts=context["counts"], num_steps=num_steps, **arguments
        )

        def init(key):
            def variables(key):
                x = prepare(context["train"]["x"][:2])
                params, state = classifiers.init_variables(model, key, x)
                return (classifiers.scale_kernels(params, gains) if gains else params), state

            return train.create_state(variables, tx, key=key, ema=False)

        def evaluate(state):
            figures = {}
            for split in ("validation", "test"):
                held = context[split]
                logits = predict(model, state.params, state.model_state, held["x"])
                shown = report(logits, held["label"], class_counts=context["counts"], taus=taus)
                figures |= {f"{split}/{name}": value for name, value in shown.items()}
            if norms:
                layers = layer_log_norms(state.params)
                figures |= {f"log_norm/{name}": value for name, value in layers.items()}
            return figures

        def finish(state):
            logs = layer_log_norms(state.params)
            figures = {
                "log_norm_sum": sum(logs.values()),
                "squared_norm_sum": 2 * regularizers.l2(state.params, mask=optim.matrices_only),
            }
            if taus and model.head == "linear":
                for split in ("validation", "test"):
                    shown = normalized(state, context[split])
                    figures |= {f"{split}/{name}": value for name, value in shown.items()}
            if epsilons:
                figures |= robustness(state, context["test"])
            if example_losses:
                each = context["train"]
                logits = predict(model, state.params, state.model_state, each["x"])
                figures["train/losses"] = optax.softmax_cross_entropy_with_integer_labels(
                    logits, each["label"]
                )
            return figures

        # One traced body for all strengths: unrolled, they would take most of the compile time.
        def normalized(state, held):
            logits = predict(model, state.params, state.model_state, held["x"])

            def error(tau):
                changed = tau_normalized_logits(logits, state.params["head"], tau)
                wrong = losses.balanced_error(changed.argmax(-1), held["label"], num_classes)
                return nan_unless_sound(changed, wrong.error)

            errors = jax.lax.map(error, jnp.asarray(taus, jnp.float32))
            return {f"normalized_{tau:g}": errors[i] for i, tau in enumerate(taus)}

        def robustness(state, held):
            x, labels = prepare(held["x"][:num_attacked]), held["label"][:num_attacked]
            variables = {"params": state.params, **state.model_state}

            def logits_of(x) -> Any:
                return model.apply(variables, x)

            each = lambda x: optax.softmax_cross_entropy_with_integer_labels(logits_of(x), labels)

            def wrong(x):
                logits = logits_of(x)
                return nan_unless_sound(logits, (logits.argmax(-1) != labels).mean())

            def attacked(epsilon):
                one = attacks.fgsm(each, x, epsilon=epsilon)
                many = attacks.pgd(
                    each,
                    x,
                    epsilon=epsilon,
                    step_size=2.5 * epsilon / pgd_steps,
                    num_steps=pgd_steps,
                    key=state.key,
                )
                return wrong(one), wrong(many)

            errors = jax.lax.map(attacked, jnp.asarray(epsilons, jnp.float32))
            figures = {"test/jacobian_norm": attacks.input_jacobian_norm(logits_of, x).mean()}
            for name, values in zip(("fgsm", "pgd"), errors, strict=True):
                figures |= {f"test/{name}_{e:g}": values[i] for i, e in enumerate(epsilons)}
            return figures

        return sweep.Run(init, train.make_train_step(loss, tx), evaluate, finish)

    return sweep.Program(make_run, seeds=seeds)


def held_out_losses(
    setting: Setting,
    contexts: Any,
    *,
    seeds: Sequence[int],
    num_steps: int,
    batch_size: int,
    folds: int = 2,
) -> np.ndarray:
    """Cross-entropy of every training example under a model that was not trained on it.

    Args:
      setting: of the auxiliary models; see `make_program`.
      contexts: of `make_contexts`.
      seeds: one a context.
      num_steps: of each auxiliary model; few enough not to memorise wrong labels.
      batch_size: examples of a step.
      folds: parts, each scored by a model trained on the others.

    Returns:
      float32 [seeds, N], what `losses.adaflood_levels` takes.

    Raises:
      ValueError: fewer than two folds.
    """
    check_count("folds", folds, at_least=2)
    numbers, fixed = split_numbers(setting)
    num_classes = contexts["counts"].shape[1]
    program = make_program(fixed, num_classes, num_steps=num_steps, example_losses=True)
    size = contexts["train"]["label"].shape[1]
    least = size - -(-size // folds)
    if folds > size or batch_size > least:
        raise InputError(
            f"folds is {folds} and batch_size {batch_size}, there are {size} training examples, of "
            f"which {least} are left to train on"
        )
    parts = [np.random.default_rng((seed, folds)).permutation(size) % folds for seed in seeds]
    scored = np.zeros((len(seeds), size), np.float32)
    for fold in range(folds):
        orders = []
        for part, seed in zip(parts, seeds, strict=True):
            rows = np.flatnonzero(part != fold)
            order = data.epoch_order(len(rows), 0, num_steps * batch_size, seed=seed)
            orders.append(rows[order.reshape(num_steps, batch_size)].astype(np.int32))
        *_, last = program.train(
            numbers,
            contexts,
            seeds=seeds,
            num_steps=num_steps,
            batch_size=batch_size,
            eval_every=num_steps,
            orders=np.stack(orders),
        )
        held = np.stack([part == fold for part in parts])
        scored = np.where(held, last.figures["train/losses"], scored)
    return scored


def flood_levels(config: Mapping[str, Any], data_dir: str | None = None) -> np.ndarray:
    """Levels of every training example of one run, for flooding "adaptive".

    Args:
      config: of `training.describe`, with the sections `data` and `adaptive`: arguments of
        `held_out_losses`, and `gamma` of `losses.adaflood_levels`.
      data_dir: the data folder.

    Returns:
      float32 [N].
    """
    seeds = [config["seed"]]
    contexts = make_contexts(seeds, data_dir, **config["data"])
    own = dict(config["adaptive"])
    gamma = own.pop("gamma")
    plain = {name: dict(config[name]) for name in ("model", "optimizer")}
    plain["objective"] = plain_objective(config["objective"])
    scored = held_out_losses(plain, contexts, seeds=seeds, batch_size=config["batch_size"], **own)
    return np.asarray(losses.adaflood_levels(scored[0], gamma=gamma))
