"""Objectives, optimizers and reports by name: each equals what it names."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import classification, losses, optim, regularizers, train
from jaxlab.errors import InputError
from jaxlab.models import classifiers

COUNTS = jnp.array([70.0, 20.0, 10.0])
PRIOR = COUNTS / 100
LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), jnp.float32)
LABELS = jnp.array([0, 1, 2, 2, 1, 0])
MODEL = classifiers.MLP(3, (4,))
COSINE = classifiers.MLP(3, (4,), head="cosine")
BATCH = {
    "x": jnp.asarray(np.random.default_rng(1).integers(0, 256, (6, 2, 2)), jnp.uint8),
    "label": LABELS,
    "level": jnp.linspace(0.5, 2.0, 6),
}


@pytest.fixture(scope="module")
def params():
    return classifiers.init_variables(MODEL, jax.random.key(0), BATCH["x"])[0]


WANT = {
    "cross_entropy": lambda: -jax.nn.log_softmax(LOGITS)[jnp.arange(6), LABELS],
    "logit_adjusted": lambda: losses.logit_adjusted_cross_entropy(
        LOGITS, LABELS, class_prior=PRIOR, tau=1.5
    ),
    "inverse_weights": lambda: WANT["cross_entropy"]() / (3 * PRIOR[LABELS]),
    "class_balanced": lambda: (
        WANT["cross_entropy"]() * losses.class_balanced_weights(COUNTS, beta=0.9)[LABELS]
    ),
    "focal": lambda: losses.focal_cross_entropy(LOGITS, LABELS, gamma=1.5),
    "ldam": lambda: losses.ldam_cross_entropy(
        jnp.tanh(LOGITS), LABELS, class_prior=PRIOR, max_margin=0.4, scale=9.0
    ),
    "equalized": lambda: losses.pairwise_margin_cross_entropy(
        LOGITS, LABELS, margins=losses.equalized_margins(PRIOR, tau=1.5)
    ),
}


@pytest.mark.parametrize("name", classification.OBJECTIVES)
def test_objectives_are_the_losses_they_name(name):
    numbers = {
        "logit_adjusted": {"tau": 1.5},
        "class_balanced": {"beta": 0.9},
        "focal": {"gamma": 1.5},
        "ldam": {"max_margin": 0.4, "scale": 9.0},
        "equalized": {"tau": 1.5},
    }.get(name, {})
    logits = jnp.tanh(LOGITS) if name == "ldam" else LOGITS

    @jax.jit  # numbers and counts may be traced
    def ours(counts, numbers):
        return classification.example_losses(name, class_counts=counts, **numbers)(logits, LABELS)

    np.testing.assert_allclose(ours(COUNTS, numbers), WANT[name](), rtol=2e-5)


def test_label_smoothing_is_the_mixed_target():
    loss = classification.example_losses(
        "cross_entropy", class_counts=COUNTS, label_smoothing=jnp.float32(0.3)
    )
    logp = jax.nn.log_softmax(LOGITS)
    want = 0.7 * WANT["cross_entropy"]() - 0.3 * logp.mean(1)
    np.testing.assert_allclose(loss(LOGITS, LABELS), want, rtol=1e-5)


def run_loss(params, **kwargs):
    loss = classification.make_loss(MODEL, class_counts=COUNTS, **kwargs)
    value, (state, metrics) = loss(params, {}, BATCH, key=jax.random.key(0), step=0)
    assert state == {}
    return value, metrics


def test_flooding_floods_the_mean_the_example_or_its_level(params):
    logits = MODEL.apply({"params": params}, BATCH["x"] / 255)
    each = -jax.nn.log_softmax(logits)[jnp.arange(6), LABELS]
    flood = lambda x, b: np.abs(x - b) + b
    plain, metrics = run_loss(params)
    np.testing.assert_allclose(plain, each.mean(), rtol=1e-5)
    assert "flooded" not in metrics
    value, metrics = run_loss(params, flooding="batch", level=3.0)
    np.testing.assert_allclose(value, flood(each.mean(), 3.0), rtol=1e-5)
    assert metrics["flooded"] == 1
    np.testing.assert_allclose(metrics["objective"], plain, rtol=1e-6)
    value, metrics = run_loss(params, flooding="example", level=1.1)
    np.testing.assert_allclose(value, flood(each, 1.1).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["flooded"], (each < 1.1).mean())
    value, _ = run_loss(params, flooding="adaptive")
    np.testing.assert_allclose(value, flood(each, BATCH["level"]).mean(), rtol=1e-5)


def test_gradient_penalty_adds_the_squared_norm(params):
    plain = lambda p: run_loss(p)[0]
    norm = optax.tree.norm(jax.grad(plain)(params), squared=True)
    value, _ = run_loss(params, gradient_penalty=0.2)
    np.testing.assert_allclose(value, plain(params) + 0.2 * norm, rtol=1e-5)


def step_with(params, name, **numbers):
    tx = classification.make_optimizer(
        name, learning_rate=0.1, num_steps=10, schedule="constant", **numbers
    )
    grads = jax.tree.map(lambda p: 0.3 * jnp.ones_like(p), params)
    return tx.update(grads, tx.init(params), params)[0]


@pytest.mark.parametrize(
    ("number", "penalty"),
    [
        ("l2", functools.partial(regularizers.l2, mask=optim.matrices_only)),
        ("weissi", lambda p: regularizers.weissi(p, log_norm=1.0)),
        ("weissi_direction", lambda p: regularizers.weissi(p, log_norm=0.0, direction=1.0)),
        ("path", lambda p: regularizers.path_norm(classifiers.kernels(p))),
        (
            "spectral",
            lambda p: 0.5 * sum(jnp.linalg.norm(k, ord=2) ** 2 for k in classifiers.kernels(p)),
        ),
    ],
)
def test_coupled_penalties_are_their_gradients(params, number, penalty):
    plain = step_with(params, "sgd")
    ours = step_with(params, "sgd", **{number: 0.05})
    want = jax.tree.map(lambda u, g: u - 0.1 * 0.05 * g, plain, jax.grad(penalty)(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, want)


def test_decoupled_decays_are_those_of_adamw(params):
    ours = step_with(params, "adam", weight_decay=0.2)
    mask = optim.matrices_only(params)
    tx = optax.adamw(0.1, weight_decay=0.2, mask=mask)
    grads = jax.tree.map(lambda p: 0.3 * jnp.ones_like(p), params)
    want = tx.update(grads, tx.init(params), params)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, want)
    ours = step_with(params, "adam", weissi_decay=0.2)
    tx = optim.adamw_weissi(0.1, log_norm=0.2)
    want = tx.update(grads, tx.init(params), params)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, want)


def test_momentum_gathers_speed():
    tx = classification.make_optimizer("momentum", learning_rate=0.1, num_steps=2, momentum=0.5)
    state = tx.init(jnp.zeros(1))
    first, state = tx.update(jnp.ones(1), state, jnp.zeros(1))
    second, _ = tx.update(jnp.ones(1), state, jnp.zeros(1))
    np.testing.assert_allclose([first[0], second[0]], [-0.1, -0.05 * 1.5], rtol=1e-6)


def test_sharpness_takes_the_gradient_at_the_worst_point_nearby(params):
    """Through the train step, which offers the gradient elsewhere."""
    loss = classification.make_loss(MODEL, class_counts=COUNTS)
    tx = classification.make_optimizer(
        "sgd", learning_rate=0.5, num_steps=1, schedule="constant", sharpness=0.1
    )
    state = train.create_state(lambda key: (params, {}), tx, key=jax.random.key(0), ema=False)
    moved, _ = train.make_train_step(loss, tx)(state, BATCH)
    value = lambda p: loss(p, {}, BATCH, key=jax.random.key(0), step=0)[0]
    grads = jax.grad(value)(params)
    norm = optax.tree.norm(grads)
    worst = jax.tree.map(lambda p, g: p + 0.1 * g / norm, params, grads)
    want = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(value)(worst))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved.params, want)


def test_report_counts_by_class():
    labels = jnp.array([0] * 6 + [1] * 2 + [2] * 2)
    predictions = jnp.array([0, 0, 0, 0, 0, 1, 1, 0, 0, 0])
    logits = jax.nn.one_hot(predictions, 3)
    shown = classification.report(logits, labels, class_counts=COUNTS, taus=(0.0, 50.0))
    assert float(shown["error"]) == pytest.approx(0.4)
    assert float(shown["balanced_error"]) == pytest.approx((1 / 6 + 1 / 2 + 1) / 3)
    assert float(shown["head_error"]) == pytest.approx(1 / 6)
    assert float(shown["tail_error"]) == 1
    assert shown["posthoc_0"] == shown["balanced_error"]
    assert float(shown["posthoc_50"]) == pytest.approx(2 / 3)  # everything is called class 2
    # Classes without an example have no error, and a set without one has none at all.
    shown = classification.report(logits[:6], labels[:6], class_counts=COUNTS)
    assert float(shown["balanced_error"]) == pytest.approx(1 / 6)
    assert np.isnan(shown["tail_error"])
    shown = classification.report(logits[:0], labels[:0], class_counts=COUNTS, taus=(1.0,))
    assert all(np.isnan(value) for value in shown.values()), shown


def test_predict_is_the_same_for_any_batch(params):
    want = MODEL.apply({"params": params}, BATCH["x"] / 255)
    for size in (1, 4, 100):
        ours = classification.predict(MODEL, params, {}, BATCH["x"], batch_size=size)
        np.testing.assert_allclose(ours, want, atol=1e-6)


def test_tau_normalized_logits_are_those_of_the_normalized_kernel(params):
    head = {**params["head"], "bias": jnp.array([1.0, -2.0, 0.5])}
    features = jnp.asarray(np.random.default_rng(2).normal(size=(5, 4)), jnp.float32)
    ours = classification.tau_normalized_logits(features @ head["kernel"] + head["bias"], head, 0.7)
    want = features @ losses.tau_normalized_kernel(head["kernel"], tau=0.7)
    np.testing.assert_allclose(ours, want, atol=1e-5)


def test_unknown_names_are_named():
    make = functools.partial(classification.make_optimizer, learning_rate=0.1, num_steps=1)
    with pytest.raises(ValueError, match="optimizer is 'lion'"):
        make("lion")
    with pytest.raises(ValueError, match="schedule is 'linear'"):
        make("sgd", schedule="linear")
    with pytest.raises(ValueError, match="objective is 'hinge'"):
        classification.example_losses("hinge", class_counts=COUNTS)
    with pytest.raises(ValueError, match=r"label_smoothing is 0\.1, objective 'focal' takes none"):
        classification.example_losses("focal", class_counts=COUNTS, label_smoothing=0.1)
    with pytest.raises(ValueError, match="flooding is 'all'"):
        classification.make_loss(MODEL, class_counts=COUNTS, flooding="all")


BAD_OBJECTIVES = [
    ({"objective": "focal", "tau": 7.0}, "tau is 7.0, objective 'focal' takes none, only gamma"),
    ({"objective": "inverse_weights", "beta": 0.5}, "takes none, only the counts"),
    ({"objective": "cross_entropy", "gamma": 1.0}, "takes none, only label_smoothing"),
    ({"label_smothing": 0.1}, "objective has 'label_smothing', must be one of: .*label_smoothing"),
    ({"objective": ()}, "objective is (), must be one of"),
    ({"objective": "logit_adjusted", "tau": -1.0}, "tau is -1.0, must be at least"),
    ({"objective": "logit_adjusted", "tau": "one"}, "tau is 'one', must be a number"),
    ({"objective": "equalized", "tau": float("nan")}, "tau is nan, must be finite"),
    ({"objective": "focal", "gamma": -2.0}, "gamma is -2.0, must be at least"),
    ({"objective": "class_balanced", "beta": 1.0}, "beta is 1.0, must be in"),
    ({"objective": "ldam", "scale": 0.0}, "scale is 0.0, must be above"),
    ({"objective": "ldam", "max_margin": float("inf")}, "max_margin is inf"),
    ({"label_smoothing": 1.5}, "label_smoothing is 1.5, must be at most"),
    ({"flooding": "batch", "level": -0.1}, "level is -0.1, must be at least"),
    ({"flooding": "none", "level": 0.1}, "level is 0.1, flooding 'none' takes none"),
    ({"flooding": "adaptive", "level": 0.1}, "every example has its own"),
    ({"gradient_penalty": float("nan")}, "gradient_penalty is nan"),
    ({"gradient_penalty": -1.0}, "gradient_penalty is -1.0"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_OBJECTIVES)
def test_numbers_of_a_loss_are_its_own_and_in_range(arguments, message):
    with pytest.raises(InputError, match=message.replace("()", r"\(\)")):
        classification.make_loss(COSINE, class_counts=COUNTS, **arguments)
    with pytest.raises(InputError, match=r"'ldam' needs a model with head='cosine'"):
        classification.make_loss(MODEL, class_counts=COUNTS, objective="ldam")


def test_none_and_zero_are_no_numbers():
    """So that a config can hold the numbers of all objectives."""
    none = dict.fromkeys(("tau", "beta", "gamma", "max_margin", "scale"))
    for name in classification.OBJECTIVES:
        loss = classification.example_losses(name, class_counts=COUNTS, label_smoothing=0.0, **none)
        want = classification.example_losses(name, class_counts=COUNTS)
        logits = jnp.tanh(LOGITS)  # cosines, for "ldam"
        np.testing.assert_array_equal(loss(logits, LABELS), want(logits, LABELS))


BAD_OPTIMIZERS = [
    ({"learning_rate": -1.0}, "learning_rate is -1.0, must be above 0"),
    ({"learning_rate": 0.0}, "learning_rate is 0.0, must be above 0"),
    ({"learning_rate": float("nan")}, "learning_rate is nan, must be finite"),
    ({"learning_rate": float("inf")}, "learning_rate is inf, must be finite"),
    ({"num_steps": 0}, "num_steps is 0"),
    ({"num_steps": 2.5}, "num_steps is 2.5"),
    ({"momentum": 1.0}, "momentum is 1.0, must be below 1"),
    ({"momentum": -0.1}, "momentum is -0.1, must be at least 0"),
    ({"name": "sgd", "momentum": 0.5}, "momentum is 0.5, optimizer 'sgd' takes none"),
    *(
        ({name: value}, f"{name} is {value}, must be")
        for name in ("l2", "weissi", "weissi_direction", "path", "spectral", "weight_decay")
        for value in (-1.0, float("nan"))
    ),
    ({"weissi_decay": -1.0}, "weissi_decay is -1.0"),
    ({"sharpness": -0.1}, "sharpness is -0.1"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_OPTIMIZERS)
def test_numbers_of_an_optimizer_are_in_range(arguments, message):
    good = {"name": "momentum", "learning_rate": 0.1, "num_steps": 1}
    with pytest.raises(InputError, match=message):
        classification.make_optimizer(**(good | arguments))


def test_numbers_that_are_traced_still_work(params):
    @jax.jit
    def norm(rate, l2):
        tx = classification.make_optimizer("momentum", learning_rate=rate, num_steps=3, l2=l2)
        grads = jax.tree.map(jnp.ones_like, params)
        return optax.tree.norm(tx.update(grads, tx.init(params), params)[0])

    assert norm(0.2, 0.0) == pytest.approx(2 * float(norm(0.1, 0.0)), rel=1e-6)


def test_a_network_that_diverged_has_no_error():
    """Its argmax is some class, whose error may even be the lowest."""
    labels = jnp.array([0, 0, 0, 1, 2, 2])
    for broken in (LOGITS.at[5, 1].set(jnp.nan), jnp.full((6, 3), jnp.nan)):
        shown = classification.report(broken, labels, class_counts=COUNTS, taus=(1.0,))
        assert all(np.isnan(value) for value in shown.values())
    masked = classification.report(LOGITS.at[:, 1].set(-jnp.inf), labels, class_counts=COUNTS)
    assert np.isfinite(float(masked["error"]))  # a class that is out of the question is none


def test_a_report_of_nothing_is_no_number(params):
    logits = classification.predict(MODEL, params, {}, BATCH["x"][:0])
    assert logits.shape == (0, 3)
    shown = classification.report(logits, LABELS[:0], class_counts=COUNTS, taus=(1.0,))
    assert all(np.isnan(value) for value in shown.values())
    head_only = classification.report(LOGITS[:2], LABELS[:2] * 0, class_counts=COUNTS)
    assert np.isnan(head_only["tail_error"])  # no example of that class
    assert np.isfinite(head_only["head_error"])


def test_held_out_losses_need_folds_to_train_on():
    contexts = classification.make_contexts(
        [0], name="sinusoid", num_train=8, num_validation=4, num_test=4
    )
    setting = {"model": {"kind": "mlp", "features": (4,)}, "objective": {}, "optimizer": {}}
    run = functools.partial(
        classification.held_out_losses, setting, contexts, seeds=[0], num_steps=2
    )
    for folds, batch_size in ((1, 2), (9, 2), (2, 5), (2.5, 2)):
        with pytest.raises(InputError, match="folds is"):
            run(folds=folds, batch_size=batch_size)


@pytest.mark.parametrize("seeds", [(), (3, 3), (-1,), (0.5,), (2**32,)])
def test_seeds_of_a_study_are_distinct_whole_numbers(seeds):
    with pytest.raises(InputError, match=r"^seeds"):
        classification.make_contexts(seeds, name="sinusoid", num_train=8, num_validation=4)


def test_attacks_are_for_images_only():
    contexts = classification.make_contexts(
        [0], name="sinusoid", num_train=8, num_validation=4, num_test=4
    )
    setting = {
        "model": {"kind": "mlp", "features": (4,)},
        "objective": {"objective": "cross_entropy"},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
    }
    numbers, fixed = classification.split_numbers(setting)
    program = classification.make_program(fixed, 2, num_steps=1, epsilons=(0.1,))
    with pytest.raises(ValueError, match=r"epsilons is \(0\.1,\), attacks need uint8 images"):
        next(program.train(numbers, contexts, seeds=[0], num_steps=1, batch_size=4, eval_every=1))
