"""`axis=` and `where=` of the losses: optax's, and as if the classes stood last."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import losses

RNG = np.random.default_rng(0)
SHAPE = (2, 3, 4)
X = RNG.normal(size=SHAPE).astype(np.float32)
AXES = (-1, 1, (2, 0))
HARD = {
    "logit adjusted": lambda x, y, prior, **kw: losses.logit_adjusted_cross_entropy(
        x, y, class_prior=prior, tau=0.0, **kw
    ),
    "pairwise": lambda x, y, prior, **kw: losses.pairwise_margin_cross_entropy(x, y, **kw),
    "focal": lambda x, y, prior, **kw: losses.focal_cross_entropy(x, y, gamma=0.0, **kw),
    "ldam": lambda x, y, prior, **kw: losses.ldam_cross_entropy(
        jnp.tanh(x), y, class_prior=prior, max_margin=0.0, scale=1.0, **kw
    ),
}
# With numbers that matter, to compare with the same loss over the last axis.
FULL = {
    "logit adjusted": lambda x, y, prior, **kw: losses.logit_adjusted_cross_entropy(
        x, y, class_prior=prior, tau=1.5, **kw
    ),
    "pairwise": lambda x, y, prior, **kw: losses.pairwise_margin_cross_entropy(
        x, y, weights=prior, margins=prior[:, None] - 2 * prior, **kw
    ),
    "focal": lambda x, y, prior, **kw: losses.focal_cross_entropy(x, y, **kw),
    "ldam": lambda x, y, prior, **kw: losses.ldam_cross_entropy(
        jnp.tanh(x), y, class_prior=prior, weights=prior, **kw
    ),
}


def rows_of(axis):
    axes = tuple(a % 3 for a in np.atleast_1d(axis))
    return tuple(a for a in range(3) if a not in axes), axes


def labels_and_prior(axis):
    rows, axes = rows_of(axis)
    num_classes = int(np.prod([SHAPE[a] for a in axes]))
    rng = np.random.default_rng(1)
    labels = rng.integers(0, num_classes, [SHAPE[a] for a in rows])
    return labels, (np.arange(1.0, num_classes + 1) / sum(range(num_classes + 1))).astype("f")


def last(x, axis):
    rows, axes = rows_of(axis)
    x = x.transpose(rows + axes)
    return x.reshape(*x.shape[: len(rows)], -1)


def masks(axis, labels):
    """None, rows, and classes, with the label's own among them."""
    some = np.random.default_rng(2).random(SHAPE) > 0.4
    label = jax.nn.one_hot(labels, last(X, axis).shape[-1], dtype=bool)
    rows, axes = rows_of(axis)
    back = np.reshape(label, [SHAPE[a] for a in rows + axes]).transpose(np.argsort(rows + axes))
    return {"all": None, "rows": last(some, axis)[..., 0], "classes": some | back, "any": some}


def assert_pairs_close(make):
    """Of a function of logits that returns {name: (found, wanted)}, compiled as one program."""
    for name, (found, want) in jax.jit(make)(X).items():
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6, err_msg=str(name))
        assert found.dtype == jnp.float32


@pytest.mark.parametrize("axis", AXES)
def test_labels_as_in_optax(axis):
    labels, prior = labels_and_prior(axis)
    optax_loss = optax.losses.softmax_cross_entropy_with_integer_labels

    def pairs(x):
        return {
            (name, kind): (
                loss(x, labels, prior, axis=axis, where=where),
                optax_loss(jnp.tanh(x) if name == "ldam" else x, labels, axis=axis, where=where),
            )
            for kind, where in masks(axis, labels).items()
            for name, loss in HARD.items()
            # p_y > 1 has no focal loss: there the label's class always counts.
            if (name, kind) != ("focal", "any")
        }

    assert_pairs_close(pairs)


@pytest.mark.parametrize("axis", [*AXES, None])
def test_targets_as_in_optax(axis):
    targets = RNG.dirichlet(np.ones(24)).reshape(SHAPE).astype(np.float32)
    prior = labels_and_prior(range(3) if axis is None else axis)[1]
    some = RNG.random(SHAPE) > 0.4
    rows = None if axis is None else some.any(axis)
    soft = {
        "soft": losses.soft_cross_entropy,
        "adjusted": lambda x, t, **kw: losses.logit_adjusted_soft_cross_entropy(
            x, t, class_prior=prior, tau=0.0, **kw
        ),
    }
    assert_pairs_close(
        lambda x: {
            (name, kind): (
                loss(x, targets, axis=axis, where=where),
                optax.losses.softmax_cross_entropy(x, targets, axis=axis, where=where),
            )
            for kind, where in enumerate((None, some, rows))
            for name, loss in soft.items()
        }
    )


@pytest.mark.parametrize("axis", AXES[1:])
def test_as_if_the_classes_stood_last(axis):
    labels, prior = labels_and_prior(axis)
    adjusted = lambda x, t, prior, **kw: losses.logit_adjusted_soft_cross_entropy(
        x, t, class_prior=prior, **kw
    )
    move = {
        "adjust": lambda x, **kw: losses.adjust_logits(x, class_prior=prior, tau=0.5, **kw),
        "prior": lambda x, **kw: losses.logits_for_prior(
            x, test_prior=prior[::-1], class_prior=prior, **kw
        ),
    }

    def pairs(x):
        found = {name: (last(f(x, axis=axis), axis), f(last(x, axis))) for name, f in move.items()}
        soft = (jnp.abs(x), last(jnp.abs(x), axis))
        found["soft"] = (
            adjusted(x, soft[0], prior, axis=axis),
            adjusted(last(x, axis), soft[1], prior),
        )
        for kind, where in masks(axis, labels).items():
            moved = where if where is None or where.ndim < 3 else last(where, axis)
            for name, loss in FULL.items():
                found[f"{name}, {kind}"] = (
                    loss(x, labels, prior, axis=axis, where=where),
                    loss(last(x, axis), labels, prior, where=moved),
                )
        return found

    assert_pairs_close(pairs)


@pytest.mark.parametrize("padding", [np.nan, np.inf])
def test_what_does_not_count_may_be_anything(padding):
    """Labels of -1, logits that are NaN: no error, a loss of 0, and gradients of 0."""
    labels, prior = np.array([2, -1, 0, 1]), np.array([0.5, 0.25, 0.25], np.float32)
    empty, full = [padding] * 3, [0.2, 0.1, 0.9]
    logits = np.array([[0.3, padding, 0.1], empty, full, empty], np.float32)
    classes = np.array([[True, False, True], [False] * 3, [True] * 3, [False] * 3])
    targets = np.array([[0.5, 0.0, 0.5], full, [1.0, 0.0, 0.0], full], np.float32)
    fine = np.array([[0.3, -np.inf, 0.1], full, full, full], np.float32)
    kept = np.array([2, 0, 0, 0])
    calls = {
        **{name: FULL[name] for name in ("logit adjusted", "pairwise", "focal")},
        "soft": lambda x, y, prior, **kw: losses.soft_cross_entropy(x, targets, **kw),
    }

    @jax.jit
    def run(x, plain):
        found = {}
        for name, loss in calls.items():
            each, pull = jax.vjp(lambda x, l=loss: l(x, labels, prior, where=classes), x)
            rows = loss(x, labels, prior, where=np.arange(4) == 2)
            found[name] = each, rows, pull(jnp.ones(4))[0], loss(plain, kept, prior)
        return found

    for each, rows, grads, plain in run(logits, fine).values():
        np.testing.assert_allclose(each, [plain[0], 0.0, plain[2], 0.0], rtol=1e-5)
        np.testing.assert_allclose(rows, [0.0, 0.0, plain[2], 0.0], rtol=1e-5)
        np.testing.assert_array_equal(grads[~classes], 0.0)
        assert np.isfinite(grads).all()
        assert (grads[classes] != 0).all()
    cosines = np.array([[2.0, 3.0, np.nan], [0.5, 0.1, -0.5]])
    each = losses.ldam_cross_entropy(cosines, [-1, 0], class_prior=prior, where=[False, True])
    assert each[0] == 0 < each[1]


@pytest.mark.parametrize("padding", [0.3, -np.inf])
def test_where_only_the_label_counts_it_is_certain(padding):
    logits, where = (
        np.array([[1.0, padding, padding]], np.float32),
        np.array([[True, False, False]]),
    )
    for name in ("logit adjusted", "pairwise", "focal"):
        loss = lambda x, name=name: FULL[name](x, [0], np.float32([0.5, 0.3, 0.2]), where=where)[0]
        value, grads = jax.value_and_grad(loss)(logits)
        assert value == 0, name
        np.testing.assert_array_equal(grads, 0.0, err_msg=name)


def test_labels_of_padding_count_nowhere():
    labels, where = np.array([0, 1, 1, -1]), np.array([True, True, True, False])
    np.testing.assert_allclose(losses.estimate_class_prior(labels, 2, where=where), [1 / 3, 2 / 3])
    moved = losses.update_class_prior([0.5, 0.5], labels, decay=0.0, where=where)
    np.testing.assert_allclose(moved, [1 / 3, 2 / 3], rtol=1e-6)
    report = losses.balanced_error(np.zeros(4, int), labels, 2, where=where)
    np.testing.assert_array_equal(report.per_class, [0.0, 1.0])


LABELS = np.zeros((2, 3), int)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.focal_cross_entropy(X, LABELS, axis=3), "axis is 3, logits of shape .* -3"),
        (lambda: losses.focal_cross_entropy(X, LABELS, axis=1.0), r"axis is 1\.0"),
        (lambda: losses.focal_cross_entropy(X, LABELS[0], axis=(0, -3)), "its axes must differ"),
        (
            lambda: losses.focal_cross_entropy(X, LABELS, axis=0),
            r"labels has shape \(2, 3\), logits need labels of shape \(3, 4\)",
        ),
        (
            lambda: losses.focal_cross_entropy(X, LABELS, where=np.ones(3, bool)),
            r"where has shape \(3,\), must have shape \(2, 3\) or \(2, 3, 4\)",
        ),
        (
            lambda: losses.focal_cross_entropy(X, LABELS - 1, where=np.eye(2, 3) > 0),
            "labels has value -1",
        ),
        (
            lambda: losses.adjust_logits(X, class_prior=[0.5, 0.5], axis=1),
            r"class_prior has shape \(2,\), must have shape \(3,\)",
        ),
    ],
)
def test_wrong_axes_and_masks(call, message):
    with pytest.raises(ValueError, match=message):
        call()
