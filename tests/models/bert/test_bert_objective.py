"""Losses of classification with BERT: closed forms, masks, metrics and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bert_toy import crossed, make_small, reference

from jaxlab.models import bert
from jaxlab.models.bert.objective import apply_classifier, make_loss, make_metrics
from jaxlab.tasks import compression


@pytest.fixture(scope="module")
def small():
    return make_small()


def test_losses_in_closed_form():
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(2, 6, 3)) * 2
    y = np.array([0, 1, 2, 2, 1, 0])
    log = lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))
    hard = -log(s)[np.arange(6), y]
    np.testing.assert_allclose(bert.task_loss(jnp.array(s), y), hard, rtol=1e-5)
    for temperature, soft in ((1.0, 1.0), (3.0, 0.4), (2.0, 0.0)):
        cross = -(np.exp(log(t / temperature)) * log(s / temperature)).sum(-1)
        want = soft * temperature**2 * cross + (1 - soft) * hard
        got = compression.distillation_loss(
            jnp.array(s), jnp.array(t), y, temperature=temperature, soft=soft
        )
        np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(bert.task_loss(jnp.array([1.0, 3.0]), [0.5, 1.0]), [0.25, 4.0])


def test_a_label_outside_the_head():
    with pytest.raises(ValueError, match=r"labels are 0 to 3, the head has classes \[0, 3\)"):
        bert.task_loss(jnp.zeros((2, 3)), jnp.array([0, 3]))
    traced = jax.jit(bert.task_loss)(jnp.zeros((3, 3)), jnp.array([0, 3, -1]))
    assert np.isnan(traced).tolist() == [False, True, True]


def test_a_classifier_sees_the_mask_and_the_types(small):
    deep, _, head, params, _, batch = small
    run = jax.jit(lambda params, fields, key: apply_classifier(deep, head, params, fields, key=key))
    for fields in (batch, {k: v for k, v in batch.items() if k != "token_type_ids"}):
        for key in (None, jax.random.key(4)):
            got = run(params, fields, key)
            np.testing.assert_allclose(got, reference(deep, head, params, fields, key), rtol=1e-6)
    assert np.abs(run(params, batch, None) - run(params, batch, key)).max() > 0.1


def test_metrics_are_counted_by_hand(small):
    deep, _, head, params, _, batch = small
    logits = np.asarray(reference(deep, head, params, batch))
    best, worst = logits.argmax(-1), logits.argmin(-1)
    labels = np.array([best[0], worst[1], best[2], worst[3]])
    metrics = jax.jit(make_metrics(deep, head))
    got = metrics(params, {}, {**batch, "label": jnp.asarray(labels)}, key=None)
    assert set(got) == {"loss", "accuracy"}
    assert got["accuracy"].dtype == jnp.float32
    np.testing.assert_array_equal(got["accuracy"], [1, 0, 1, 0])
    np.testing.assert_allclose(got["loss"], crossed(logits, labels), rtol=1e-5)
    # A head of one number has an error and no accuracy.
    one = head.clone(num_labels=1)
    tree = {**params, "head": jax.tree.map(lambda p: p[..., :1], params["head"])}
    got = jax.jit(make_metrics(deep, one))(tree, {}, {**batch, "label": jnp.arange(4.0)}, key=None)
    assert set(got) == {"loss"}
    np.testing.assert_allclose(got["loss"], (logits[:, 0] - np.arange(4)) ** 2, rtol=1e-5)


def test_the_loss_of_fine_tuning_is_the_mean_with_dropout(small):
    deep, _, head, params, _, batch = small
    key, labels = jax.random.key(2), np.asarray(batch["label"])
    loss_fn = make_loss(deep, head)
    run = jax.jit(lambda p: loss_fn(p, {"a": 1}, batch, key=key, step=0))
    loss, (state, metrics) = run(params)
    want = crossed(reference(deep, head, params, batch, key), labels).mean()
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    assert (state, metrics) == ({"a": 1}, {})
    mask = jax.tree.map(lambda _: False, params)
    mask["head"] = {"dense": {"kernel": True, "bias": False}}
    masked = make_loss(deep, head, mask=mask)
    grads = jax.jit(jax.grad(lambda p: masked(p, {}, batch, key=key, step=0)[0]))(params)
    assert grads["head"]["dense"]["kernel"].any()
    assert not grads["head"]["dense"]["bias"].any()
    assert not any(g.any() for g in jax.tree.leaves(grads["bert"]))


def test_labels_left_out_give_no_gradient_that_is_none():
    """The row of a label outside the head is NaN; the others and their gradients are not."""
    logits = jnp.array([[jnp.inf, 0.0], [1.0, 2.0]])
    run = jax.jit(lambda x, y: bert.task_loss(x, y)[1])
    assert np.isfinite(jax.grad(run)(logits, jnp.array([2, 1]))).all()
    with pytest.raises(ValueError, match=r"labels are -1 to 0, the head has classes \[0, 2\)"):
        bert.task_loss(jnp.zeros((2, 2)), jnp.array([-1, 0]))
    assert bert.task_loss(jnp.zeros((0, 2)), jnp.zeros(0, int)).shape == (0,)
    np.testing.assert_allclose(bert.task_loss(jnp.zeros((2, 2)), [0, 1]), np.log(2), rtol=1e-6)
