"""Losses and stages of compression: closed forms, what each stage trains, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import theseus, train
from jaxlab.models import bert


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
        got = bert.distillation_loss(
            jnp.array(s), jnp.array(t), y, temperature=temperature, soft=soft
        )
        np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(bert.task_loss(jnp.array([1.0, 3.0]), [0.5, 1.0]), [0.25, 4.0])


def test_a_label_outside_the_head():
    with pytest.raises(ValueError, match=r"labels are 0 to 3, the head has classes \[0, 3\)"):
        bert.task_loss(jnp.zeros((2, 3)), jnp.array([0, 3]))
    traced = jax.jit(bert.task_loss)(jnp.zeros((3, 3)), jnp.array([0, 3, -1]))
    assert np.isnan(traced).tolist() == [False, True, True]


def test_distillation_is_checked_and_leaves_the_teacher_alone():
    x = jnp.ones((1, 2))
    for kwargs, message in [
        ({"temperature": 0.0, "soft": 0.5}, "temperature is 0.0"),
        ({"temperature": 1.0, "soft": 1.5}, "soft is 1.5, must be at most 1"),
        ({"temperature": 1.0, "soft": -0.5}, "soft is -0.5"),
    ]:
        with pytest.raises(ValueError, match=message):
            bert.distillation_loss(x, x, jnp.array([0]), **kwargs)
    loss = lambda t: bert.distillation_loss(x, t, jnp.array([0]), temperature=1.0, soft=1.0)[0]
    assert not jax.grad(loss)(x * 2).any()


START = {"bert": {"embeddings": 1.0, "layers_0": 2.0, "pooler": 3.0}, "head": 4.0}
DEEP = {"bert": {**START["bert"], "layers_1": 5.0}, "head": 6.0}


def test_what_stages_hold_and_train():
    plain = bert.stage_params("truncated", START, DEEP)
    assert plain == START
    assert bert.stage_mask("truncated", plain, "layers") == {
        "bert": {"embeddings": False, "layers_0": True, "pooler": False},
        "head": False,
    }
    # The control of "replacing" trains what that trains, whatever is said.
    assert bert.stage_mask("truncated", plain, "all", own_embeddings=True) == {
        "bert": {"embeddings": True, "layers_0": True, "pooler": False},
        "head": False,
    }
    assert all(jax.tree.leaves(bert.stage_mask("direct", plain, "all")))
    student = bert.stage_params("distill", START, DEEP)
    assert student == {**START, "teacher": DEEP}
    mask = bert.stage_mask("distill", student, "all")
    assert not any(jax.tree.leaves(mask["teacher"]))
    both = bert.stage_params("replacing", START, DEEP, own_embeddings=True)
    assert both["successor"] == {"layers_0": 2.0, "embeddings": 1.0}
    mask = bert.stage_mask("replacing", both, "layers")
    assert [any(jax.tree.leaves(mask[name])) for name in sorted(both)] == [False, False, True]
    assert bert.plain_params("replacing", both) == START
    with pytest.raises(ValueError, match="kind is 'fade', known are"):
        bert.stage_params("fade", START, DEEP)
    with pytest.raises(ValueError, match="trainable is 'top', known are"):
        bert.stage_mask("direct", plain, "top")


@pytest.mark.slow  # seconds of compilation; the script's test looks at every stage's files
def test_a_replacing_stage_changes_the_successor_alone():
    deep = bert.Bert(
        vocab_size=12, hidden_size=8, num_layers=2, num_heads=2, intermediate_size=8,
        max_positions=4, init_scale=0.3,
    )  # fmt: skip
    model, head = bert.make_successor(deep, 1), bert.SequenceClassifier(2, pooling="mean")
    ids = jnp.array([[2, 5, 7], [2, 8, 0]])
    batch = {"input_ids": ids, "attention_mask": ids != 0, "label": jnp.array([0, 1])}
    tree = jax.jit(deep.init)(jax.random.key(0), ids)["params"]
    top = {"dense": {"kernel": jnp.ones((8, 2)) * jnp.array([1.0, -1.0]), "bias": jnp.zeros(2)}}
    cut = {"embeddings": tree["embeddings"], **theseus.init_successor(tree, (0,))}
    start = {"bert": cut, "head": top}
    params = bert.stage_params("replacing", start, {"bert": tree, "head": top})
    mask = bert.stage_mask("replacing", params)
    tx = theseus.train_only(optax.adam(1e-2), mask)
    step = train.make_train_step(
        bert.make_stage_loss("replacing", model, head, deep, mask=mask), tx, clip_norm=1.0
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
