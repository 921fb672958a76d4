"""`jaxlab.train.labelled`: objectives, flooding and the gradient penalty for BERT's classifier."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import losses, optim, train
from jaxlab.errors import InputError
from jaxlab.models import bert
from jaxlab.models.bert.objective import apply_classifier, task_loss

MODEL = bert.Bert(
    vocab_size=11, hidden_size=4, num_layers=1, num_heads=2, intermediate_size=8, max_positions=5,
    dropout=0.0, attention_dropout=0.0,
)  # fmt: skip
HEAD = bert.SequenceClassifier(3, dropout=0.0)
COUNTS = np.array([12, 6, 2])
RNG = np.random.default_rng(0)
BATCH = {
    "input_ids": jnp.asarray(RNG.integers(1, 11, (6, 5)), jnp.int32),
    "attention_mask": jnp.ones((6, 5), jnp.int32),
    "label": jnp.array([0, 1, 2, 2, 0, 0]),
}


@functools.cache
def params():
    tree = MODEL.init(jax.random.key(0), BATCH["input_ids"])["params"]
    output = MODEL.apply({"params": tree}, BATCH["input_ids"])
    head = HEAD.init(jax.random.key(1), output)["params"]
    return {"bert": tree, "head": jax.tree.map(lambda p: 30 * p + 0.1, head)}


def logits():
    return apply_classifier(MODEL, HEAD, params(), BATCH)


def make(**objective):
    build = lambda each: bert.make_loss(MODEL, HEAD, per_example=each)
    return train.make_labelled_loss(build, class_counts=COUNTS, plain=task_loss, **objective)


def value(tree=None, **objective):
    tree = params() if tree is None else tree
    return make(**objective)(tree, {}, BATCH, key=jax.random.key(0), step=0)[0]


def test_the_loss_is_the_objective_that_is_named():
    prior = COUNTS / COUNTS.sum()
    want = losses.logit_adjusted_cross_entropy(
        logits(), BATCH["label"], class_prior=prior, tau=1.5
    ).mean()
    assert float(value(name="logit_adjusted", tau=1.5)) == pytest.approx(float(want), rel=1e-5)
    focal = losses.focal_cross_entropy(logits(), BATCH["label"], gamma=1.0).mean()
    assert float(value(name="focal", gamma=1.0)) == pytest.approx(float(focal), rel=1e-5)
    plain = value()
    assert (
        plain == bert.make_loss(MODEL, HEAD)(params(), {}, BATCH, key=jax.random.key(0), step=0)[0]
    )
    assert abs(want - plain) > 0.01


def test_flooding_and_the_gradient_penalty():
    each = task_loss(logits(), BATCH["label"])
    level = float(each.mean()) + 0.1
    flood = lambda x: np.abs(x - level) + level
    found = value(flooding="example", level=level)
    assert float(found) == pytest.approx(float(flood(each).mean()), rel=1e-5)
    found = value(flooding="batch", level=level)
    assert float(found) == pytest.approx(float(flood(each.mean())), rel=1e-5)
    flooded = make(flooding="batch", level=level)
    assert flooded.whole_batch
    _, (_, metrics) = flooded(params(), {}, BATCH, key=jax.random.key(0), step=0)
    assert float(metrics["flooded"]) == 1
    grads = jax.grad(value)(params())
    found = value(gradient_penalty=0.1) - value()
    assert float(found) == pytest.approx(
        0.1 * float(optax.tree.norm(grads, squared=True)), rel=1e-3
    )


def test_flooding_of_the_batch_by_the_optimizer_moves_the_same_way():
    level = float(value()) + 0.1
    section = {"flooding": "batch", "level": level}
    objective, optimizer = optim.flooded_by_optimizer(section, {"name": "sgd"})
    rate = {"learning_rate": 0.5, "num_steps": 1, "schedule": "constant"}
    tx = optim.make_optimizer(**optimizer, **rate)
    loss = make(**objective)
    copy = lambda key: (jax.tree.map(jnp.copy, params()), {})
    state = train.create_state(copy, tx, key=jax.random.key(0), ema=False)
    state, metrics = train.make_train_step(loss, tx)(state, BATCH)
    assert metrics["flooded"] == 1
    grads = jax.grad(lambda p: value(p, **section))(params())
    want = jax.tree.map(lambda p, g: p - 0.5 * g, params(), grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.params, want)


def test_weissi_on_the_pairs_of_a_transformer():
    rate = {"learning_rate": 1.0, "num_steps": 1, "schedule": "constant"}
    tx = optim.make_optimizer("sgd", **rate, weissi=0.01, weissi_mask="query_key+value_output")
    zero = jax.tree.map(jnp.zeros_like, params())
    updates, _ = tx.update(zero, tx.init(params()), params())
    moved = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, u in jax.tree_util.tree_leaves_with_path(updates)
        if u.any()
    }
    layer = "bert/layers_0/attention"
    assert moved == {
        *(f"{layer}/{name}/kernel" for name in ("query", "key", "value")),
        f"{layer}_output/kernel",
    }


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"name": "hinge"}, "objective is 'hinge'"),
        ({"name": "focal", "tau": 1.0}, "tau is 1.0, objective 'focal' takes only gamma"),
        ({"name": "ldam"}, "needs a model with head=.cosine."),
        ({"flooding": "adaptive"}, "flooding is 'adaptive'"),
        ({"level": 0.1}, "level is 0.1, flooding 'none' takes none"),
        ({"flooding": "batch", "level": -1.0}, "level is -1.0"),
        ({"gradient_penalty": -1.0}, "gradient_penalty is -1.0"),
    ],
)
def test_wrong_objectives(objective, message):
    with pytest.raises(InputError, match=message):
        make(**objective)


def test_a_models_own_cross_entropy_is_taken_where_no_more_is_asked():
    batch = {"x": jnp.zeros((1, 3)), "label": jnp.array([1])}
    build = lambda each: (
        lambda params, state, batch, *, key, step: (
            each(batch["x"], batch["label"]).mean(),
            (state, {}),
        )
    )

    def value(**objective):
        own = lambda logits, labels: jnp.full(len(labels), 7.0)
        loss = train.make_labelled_loss(build, class_counts=COUNTS, plain=own, **objective)
        return float(loss(None, {}, batch, key=None, step=0)[0])

    assert value() == value(name="cross_entropy") == 7
    assert value(name="focal", gamma=0.0) == pytest.approx(np.log(3))
    assert value(name="focal") != 7
    assert value(name="logit_adjusted", tau=0.0) == pytest.approx(np.log(3))
