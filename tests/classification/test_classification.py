"""Objectives, optimizers and reports by name: each equals what it names."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import classification, losses, optim, regularizers, train
from jaxlab.models import classifiers

COUNTS = jnp.array([70.0, 20.0, 10.0])
PRIOR = COUNTS / 100
LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), jnp.float32)
LABELS = jnp.array([0, 1, 2, 2, 1, 0])
MODEL = classifiers.MLP(3, (4,))
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
    numbers = {"tau": 1.5, "beta": 0.9, "gamma": 1.5, "max_margin": 0.4, "scale": 9.0}
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
    with pytest.raises(ValueError, match="label_smoothing goes with cross_entropy"):
        classification.example_losses("focal", class_counts=COUNTS, label_smoothing=0.1)
    with pytest.raises(ValueError, match="flooding is 'all'"):
        classification.make_loss(MODEL, class_counts=COUNTS, flooding="all")


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
