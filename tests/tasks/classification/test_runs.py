"""`jaxlab.tasks.classification.runs`: what a study reports of a run, against the run's own
parameters in NumPy and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import attacks
from jaxlab.errors import InputError
from jaxlab.models import classifiers
from jaxlab.tasks import classification

K, SIDE = 3, 3
TAUS, EPSILONS = (0.0, 0.5, 1.0), (0.02, 0.04, 0.06, 0.08)
SETTING = {
    "model": {"kind": "mlp", "features": (32,)},
    "objective": {"name": "cross_entropy"},
    "optimizer": {"name": "adam", "learning_rate": 0.03, "schedule": "constant"},
}


def split(rng, size, shift):
    """Images whose brightness says the class, differently in each split, so that none is another's
    stand-in."""
    label = rng.choice(K, size, p=(0.6, 0.3, 0.1))
    x = rng.integers(0, 160, (size, SIDE, SIDE)) + 30 * label[:, None, None] + shift
    return {"x": x.clip(0, 255).astype(np.uint8), "label": label}


@pytest.fixture(scope="module")
def contexts():
    rng = np.random.default_rng(0)
    sets = {
        "train": split(rng, 60, 0),
        "validation": split(rng, 50, 8),
        "test": split(rng, 70, 16),
    }
    sets["counts"] = np.bincount(sets["train"]["label"], minlength=K).astype(np.float32)
    return jax.tree.map(lambda x: jnp.asarray(x)[None], sets)


@pytest.fixture(scope="module")
def trained(contexts):
    numbers, fixed = classification.split_numbers(SETTING)
    program = classification.make_program(
        fixed,
        K,
        num_steps=120,
        taus=TAUS,
        norms=True,
        epsilons=EPSILONS,
        pgd_steps=7,
        num_attacked=65,
        example_losses=True,
    )
    *_, last = program.train(
        numbers, contexts, seeds=[4], num_steps=120, batch_size=10, eval_every=60
    )
    return last.figures, jax.tree.map(lambda x: x[0], last.states)


def forward(params, x):
    """The MLP in float64."""
    h = x.reshape(len(x), -1).astype(np.float64) / 255
    weights = lambda name: (np.asarray(params[name][k], np.float64) for k in ("kernel", "bias"))
    (first,) = (name for name in params if name != "head")
    kernel, bias = weights(first)
    h = np.maximum(h @ kernel + bias, 0)
    kernel, bias = weights("head")
    return h @ kernel + bias, h


def balanced(predicted, label):
    return np.mean([(predicted[label == k] != k).mean() for k in range(K)])


@pytest.mark.parametrize("name", ["validation", "test"])
def test_every_split_is_reported_from_its_own_examples(trained, contexts, name):
    figures, state = trained
    held = {k: np.asarray(v[0]) for k, v in contexts[name].items()}
    logits, hidden = forward(state.params, held["x"])
    label, predicted = held["label"], logits.argmax(1)
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    shown = lambda figure: float(figures[f"{name}/{figure}"][0])
    assert shown("error") == pytest.approx((predicted != label).mean(), abs=1e-6)
    assert shown("balanced_error") == pytest.approx(balanced(predicted, label), abs=1e-6)
    want = -logp[np.arange(len(label)), label].mean()
    assert shown("cross_entropy") == pytest.approx(want, rel=1e-4)
    counts = np.asarray(contexts["counts"][0])
    kernel = np.asarray(state.params["head"]["kernel"], np.float64)
    seen = set()
    for tau in TAUS:
        adjusted = logits - tau * np.log(counts / counts.sum())
        error = balanced(adjusted.argmax(1), label)
        assert shown(f"posthoc_{tau:g}") == pytest.approx(error, abs=1e-6)
        normalized = hidden @ (kernel / np.linalg.norm(kernel, axis=0) ** tau)
        error = balanced(normalized.argmax(1), label)
        assert shown(f"normalized_{tau:g}") == pytest.approx(error, abs=1e-6)
        seen.add(shown(f"posthoc_{tau:g}"))
    assert len(seen) > 1  # the strengths matter here


def test_the_splits_differ(trained):
    figures, _ = trained
    for figure in ("error", "cross_entropy", "posthoc_1", "normalized_0.5"):
        assert figures[f"validation/{figure}"][0] != figures[f"test/{figure}"][0]


def test_attacks_are_reported_under_their_names(trained, contexts):
    figures, state = trained
    model = classifiers.make_classifier(num_classes=K, kind="mlp", features=(32,))
    x = contexts["test"]["x"][0][:65].astype(jnp.float32) / 255
    label = contexts["test"]["label"][0][:65]
    logits_of = lambda x: model.apply({"params": state.params}, x)
    each = lambda x: -jax.nn.log_softmax(logits_of(x))[jnp.arange(65), label]
    wrong = lambda x: float((logits_of(x).argmax(-1) != label).mean())
    differ = []
    for epsilon in EPSILONS:
        one = attacks.fgsm(each, x, epsilon=epsilon)
        many = attacks.pgd(
            each, x, epsilon=epsilon, step_size=2.5 * epsilon / 7, num_steps=7, key=state.key
        )
        assert figures[f"test/fgsm_{epsilon:g}"][0] == pytest.approx(wrong(one), abs=1e-6)
        assert figures[f"test/pgd_{epsilon:g}"][0] == pytest.approx(wrong(many), abs=1e-6)
        differ.append(wrong(one) != wrong(many))
    assert any(differ)
    norms = attacks.input_jacobian_norm(logits_of, x)
    assert figures["test/jacobian_norm"][0] == pytest.approx(float(norms.mean()), rel=1e-4)


def test_norms_and_training_losses(trained, contexts):
    figures, state = trained
    kernels = [np.asarray(p["kernel"], np.float64) for p in state.params.values()]
    logs = [np.log(np.linalg.norm(k)) for k in kernels]
    assert figures["log_norm_sum"][0] == pytest.approx(sum(logs), rel=1e-4)
    squares = sum((k**2).sum() for k in kernels)
    assert figures["squared_norm_sum"][0] == pytest.approx(squares, rel=1e-4)
    shown = [float(v[0]) for name, v in figures.items() if name.startswith("log_norm/")]
    np.testing.assert_allclose(sorted(shown), sorted(logs), rtol=1e-4)
    train = {k: np.asarray(v[0]) for k, v in contexts["train"].items()}
    logits, _ = forward(state.params, train["x"])
    want = np.log(np.exp(logits).sum(1)) - logits[np.arange(60), train["label"]]
    np.testing.assert_allclose(figures["train/losses"][0], want, rtol=1e-3, atol=1e-5)


def test_held_out_losses_are_of_models_that_did_not_see_the_example():
    """Every example has a pixel of its own, and labels follow no rule: what was seen is learnt by
    heart, and the rest cannot be known."""
    size = 16
    x = (255 * np.eye(size, dtype=np.uint8)).reshape(1, size, 4, 4)
    label = np.random.default_rng(1).permutation(np.arange(size) % 2)[None]
    sets = {
        name: {"x": jnp.asarray(x), "label": jnp.asarray(label)}
        for name in ("train", "validation", "test")
    }
    contexts = {**sets, "counts": jnp.full((1, 2), size / 2)}
    setting = {**SETTING, "optimizer": {**SETTING["optimizer"], "learning_rate": 0.1}}
    run = {"num_steps": 60, "batch_size": 8}
    scored = classification.held_out_losses(setting, contexts, seeds=[0], folds=2, **run)
    assert scored.shape == (1, size)
    numbers, fixed = classification.split_numbers(setting)
    program = classification.make_program(fixed, 2, num_steps=60, example_losses=True)
    *_, last = program.train(numbers, contexts, seeds=[0], eval_every=60, **run)
    assert last.figures["train/losses"].max() < 0.1  # by heart, when seen
    assert scored.mean() > 0.7  # guesses, half of them wrong


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
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
    }
    numbers, fixed = classification.split_numbers(setting)
    program = classification.make_program(fixed, 2, num_steps=1, epsilons=(0.1,))
    with pytest.raises(ValueError, match=r"epsilons is \(0\.1,\), attacks need uint8 images"):
        next(program.train(numbers, contexts, seeds=[0], num_steps=1, batch_size=4, eval_every=1))
