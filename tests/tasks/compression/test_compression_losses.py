"""Losses and stages of compression: closed forms, what each stage trains, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from bert_toy import crossed, make_small, reference

from jaxlab import optim, theseus, train
from jaxlab.models import bert
from jaxlab.tasks import compression
from jaxlab.tasks.compression import losses as objective
from jaxlab.tasks.compression.losses import (
    make_distillation_loss,
    make_replaced_metrics,
    make_replacing_loss,
)

START = {"bert": {"embeddings": 1.0, "layers_0": 2.0, "pooler": 3.0}, "head": 4.0}
DEEP = {"bert": {**START["bert"], "layers_1": 5.0}, "head": 6.0}


@pytest.fixture(scope="module")
def small():
    return make_small()


def test_distillation_is_checked_and_leaves_the_teacher_alone():
    x = jnp.ones((1, 2))
    for kwargs, message in [
        ({"temperature": 0.0, "soft": 0.5}, "temperature is 0.0"),
        ({"temperature": 1.0, "soft": 1.5}, "soft is 1.5, must be at most 1"),
        ({"temperature": 1.0, "soft": -0.5}, "soft is -0.5"),
    ]:
        with pytest.raises(ValueError, match=message):
            compression.distillation_loss(x, x, jnp.array([0]), **kwargs)
    loss = lambda t: compression.distillation_loss(x, t, jnp.array([0]), temperature=1.0, soft=1.0)[
        0
    ]
    assert not jax.grad(loss)(x * 2).any()
    s, t = jnp.array([[0.0, np.log(3.0)]]), jnp.array([[0.0, np.log(16.0)]])
    found = [
        compression.distillation_loss(s, t, jnp.array([0]), temperature=2.0, soft=soft)[0]
        for soft in (1.0, 0.0, 0.25)
    ]
    # At temperature 2 the teacher has 1/5 and 4/5, the student 1 and sqrt(3) over their sum.
    soft = 4 * (np.log(1 + 3**0.5) - 0.8 * np.log(3**0.5))
    wanted = [soft, np.log(4.0), 0.25 * soft + 0.75 * np.log(4.0)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_what_stages_hold_and_train():
    plain = compression.stage_params("truncated", START, DEEP)
    assert plain == START
    assert compression.stage_mask("truncated", plain, "layers") == {
        "bert": {"embeddings": False, "layers_0": True, "pooler": False},
        "head": False,
    }
    # The control of "replacing" trains what that trains, whatever is said.
    assert compression.stage_mask("truncated", plain, "all", own_embeddings=True) == {
        "bert": {"embeddings": True, "layers_0": True, "pooler": False},
        "head": False,
    }
    assert all(jax.tree.leaves(compression.stage_mask("direct", plain, "all")))
    student = compression.stage_params("distill", START, DEEP)
    assert student == {**START, "teacher": DEEP}
    mask = compression.stage_mask("distill", student, "all")
    assert not any(jax.tree.leaves(mask["teacher"]))
    both = compression.stage_params("replacing", START, DEEP, own_embeddings=True)
    assert both["successor"] == {"layers_0": 2.0, "embeddings": 1.0}
    mask = compression.stage_mask("replacing", both, "layers")
    assert [any(jax.tree.leaves(mask[name])) for name in sorted(both)] == [False, False, True]
    assert compression.plain_params("replacing", both) == START
    with pytest.raises(ValueError, match="kind is 'fade', known are"):
        compression.stage_params("fade", START, DEEP)
    with pytest.raises(ValueError, match="trainable is 'top', known are"):
        compression.stage_mask("direct", plain, "top")


@pytest.mark.slow  # seconds of compilation; the script's test looks at every stage's files
def test_a_replacing_stage_changes_the_successor_alone():
    deep = bert.Bert(
        vocab_size=12, hidden_size=8, num_layers=2, num_heads=2, intermediate_size=8,
        max_positions=4, init_scale=0.3,
    )  # fmt: skip
    model, head = compression.make_successor(deep, 1), bert.SequenceClassifier(2, pooling="mean")
    ids = jnp.array([[2, 5, 7], [2, 8, 0]])
    batch = {"input_ids": ids, "attention_mask": ids != 0, "label": jnp.array([0, 1])}
    tree = jax.jit(deep.init)(jax.random.key(0), ids)["params"]
    top = {"dense": {"kernel": jnp.ones((8, 2)) * jnp.array([1.0, -1.0]), "bias": jnp.zeros(2)}}
    cut = {"embeddings": tree["embeddings"], **theseus.init_successor(tree, (0,))}
    start = {"bert": cut, "head": top}
    params = compression.stage_params("replacing", start, {"bert": tree, "head": top})
    mask = compression.stage_mask("replacing", params)
    tx = optim.train_only(optax.adam(1e-2), mask)
    step = train.make_train_step(
        compression.make_stage_loss("replacing", model, head, deep, mask=mask), tx, clip_norm=1.0
    )
    state = train.TrainState(
        step=jnp.zeros((), jnp.int32),
        params=jax.tree.map(jnp.copy, params),
        model_state={"rate_base": jnp.float32(0.5), "rate_slope": jnp.float32(0.25)},
        opt_state=tx.init(params),
        ema_params=None,
        key=jax.random.key(1),
    )
    replaced = []
    for _ in range(6):
        state, metrics = step(state, batch)
        replaced.append(float(metrics["replaced"]))
        assert float(metrics["rate"]) == min(1.0, 0.5 + 0.25 * (len(replaced) - 1))
    assert replaced[2:] == [1.0] * 4  # from the third step on the rate is 1
    for name in ("predecessor", "head"):
        jax.tree.map(np.testing.assert_array_equal, state.params[name], params[name])
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, params)
    assert all(jax.tree.leaves(moved["successor"]["layers_0"]["output"]))
    assert step._cache_size() == 1


def test_the_loss_of_distillation_hears_the_teacher_without_dropout(small):
    deep, shallow, head, params, short, batch = small
    key, labels = jax.random.key(2), np.asarray(batch["label"])
    both = {**short, "teacher": jax.tree.map(lambda p: p * 1.3, params)}
    student = np.asarray(reference(shallow, head, short, batch, key), np.float64)
    teacher = np.asarray(reference(deep, head, both["teacher"], batch), np.float64)
    log = lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))
    for said, temperature, soft in (({}, 2.0, 0.5), ({"temperature": 3.0, "soft": 0.8}, 3.0, 0.8)):
        cross = -(np.exp(log(teacher / temperature)) * log(student / temperature)).sum(-1)
        want = soft * temperature**2 * cross + (1 - soft) * crossed(student, labels)
        loss_fn = make_distillation_loss(shallow, head, deep, **said)
        loss, (state, metrics) = jax.jit(
            lambda p, loss_fn=loss_fn: loss_fn(p, {"a": 1}, batch, key=key, step=0)
        )(both)
        np.testing.assert_allclose(loss, want.mean(), rtol=1e-4)
        assert (state, metrics) == ({"a": 1}, {})
    mask = {
        **jax.tree.map(lambda _: True, both),
        "head": jax.tree.map(lambda _: False, both["head"]),
    }
    loss_fn = make_distillation_loss(shallow, head, deep, mask=mask)
    grads = jax.jit(jax.grad(lambda p: loss_fn(p, {}, batch, key=key, step=0)[0]))(both)
    assert grads["bert"]["embeddings"]["word"]["embedding"].any()
    assert not any(g.any() for g in jax.tree.leaves((grads["teacher"], grads["head"])))


def test_the_loss_of_replacing_draws_at_the_rate_of_the_step(small, monkeypatch):
    deep, shallow, head, params, short, batch = small
    both = compression.stage_params("replacing", short, params)
    rates, found = [], []

    def record(key, rate, count):
        rates.append((float(rate), count))
        return jnp.array([len(rates) % 2 == 1])

    monkeypatch.setattr(objective.theseus, "sample_gates", record)
    loss_fn = make_replacing_loss(deep, shallow, head)
    state = {"rate_base": jnp.float32(0.5), "rate_slope": jnp.float32(0.125)}
    key, labels = jax.random.key(2), np.asarray(batch["label"])
    for step in (0, 1, 6):
        loss, (after, metrics) = loss_fn(both, state, batch, key=key, step=step)
        found.append((float(loss), float(metrics["rate"]), float(metrics["replaced"])))
        assert after is state
    assert rates == [(0.5, 1), (0.625, 1), (1.0, 1)]
    assert [x[1:] for x in found] == [(0.5, 1.0), (0.625, 0.0), (1.0, 1.0)]
    # With all replaced it is the successor's own loss, drawn with the second and third key.
    _, body, top = jax.random.split(key, 3)
    out = shallow.apply(
        {"params": short["bert"]}, batch["input_ids"], batch["attention_mask"],
        batch["token_type_ids"], train=True, rngs={"dropout": body},
    )  # fmt: skip
    logits = head.apply(
        {"params": short["head"]}, out, batch["attention_mask"], train=True, rngs={"dropout": top}
    )
    want = crossed(logits, labels).mean()
    np.testing.assert_allclose([found[0][0], found[2][0]], want, rtol=1e-5)
    assert abs(found[1][0] - want) > 1e-3
    mask = jax.tree.map(lambda _: False, both)
    frozen = make_replacing_loss(deep, shallow, head, mask=mask)
    monkeypatch.undo()
    grads = jax.jit(jax.grad(lambda p: frozen(p, state, batch, key=key, step=0)[0]))(both)
    assert not any(g.any() for g in jax.tree.leaves(grads))


def test_metrics_of_the_mixed_model_are_those_of_the_gates(small):
    deep, shallow, head, params, short, batch = small
    moved = {**short, "bert": jax.tree.map(lambda p: p * 1.2, short["bert"])}
    both = compression.stage_params("replacing", moved, params)
    metrics = jax.jit(make_replaced_metrics(deep, shallow, head))
    # Only its layer is the successor's own: embeddings are shared.
    mixed = {"bert": theseus.extract_successor(both), "head": params["head"]}
    for gate, model, tree in ((False, deep, params), (True, shallow, mixed)):
        logits = np.asarray(reference(model, head, tree, batch))
        labels = np.where([1, 0, 0, 1], logits.argmax(-1), logits.argmin(-1))
        state = {"gates": jnp.array([gate])}
        got = metrics(both, state, {**batch, "label": jnp.asarray(labels)}, key=None)
        assert set(got) == {"loss", "accuracy"}
        np.testing.assert_array_equal(got["accuracy"], np.float32([1, 0, 0, 1]))
        np.testing.assert_allclose(got["loss"], crossed(logits, labels), rtol=1e-4, atol=1e-6)


def test_regression_has_squared_errors_to_the_teacher_and_to_the_label():
    s, t, y = (jnp.array(x, float) for x in ([1.0, 2.0], [3.0, 2.5], [0.0, 2.0]))
    each = compression.distillation_loss(s, t, y, temperature=2.0, soft=0.25)
    np.testing.assert_allclose(each, [0.25 * 4 + 0.75 * 1, 0.25 * 0.25], rtol=1e-6)
    grad = jax.grad(
        lambda t: compression.distillation_loss(s, t, y, temperature=1.0, soft=1.0).sum()
    )(t)
    assert not grad.any()
