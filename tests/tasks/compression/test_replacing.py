"""`jaxlab.tasks.compression.replacing`: module replacing in BERT: shared or own embeddings,
export, and a whole small compression."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import theseus
from jaxlab.models import bert
from jaxlab.tasks import compression


@pytest.fixture(scope="module")
def deep():
    return bert.Bert(
        vocab_size=20, hidden_size=8, num_layers=2, num_heads=2, intermediate_size=12,
        max_positions=6, dropout=0.2, attention_dropout=0.2, init_scale=0.4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shallow(deep):
    return compression.make_successor(deep, 1)


@pytest.fixture(scope="module")
def ids():
    return jnp.array([[2, 9, 7, 8, 3], [2, 5, 3, 0, 0]])


@pytest.fixture(scope="module")
def params(deep, ids):
    """The successor starts from layer 1, moved a little, with embeddings of its own."""
    tree = jax.jit(deep.init)(jax.random.key(0), ids)["params"]
    own = theseus.init_successor(tree, (1,), own=("embeddings",))
    own = jax.tree.map(lambda p: p * 1.1 + 0.01, own)
    return {"predecessor": tree, "successor": own}


@pytest.fixture(scope="module")
def run(deep, shallow, ids):
    """(params, gates, key) -> output; a key turns dropout on."""

    def out(params, gates, key=None):
        return compression.apply_replaced(deep, shallow, params, gates, ids, ids != 0, key=key)

    return jax.jit(out)


@pytest.fixture(scope="module")
def alone(deep, shallow, ids, params):
    """The outputs of the two models on their own, and of the successor with dropout."""

    @jax.jit
    def both(params, key):
        new = {"params": theseus.extract_successor(params)}
        return (
            shallow.apply(new, ids, ids != 0),
            deep.apply({"params": params["predecessor"]}, ids, ids != 0),
            shallow.apply(new, ids, ids != 0, train=True, rngs={"dropout": key}),
        )

    return both(params, jax.random.key(5))


def close(got, want):
    np.testing.assert_allclose(got.last_hidden_state, want.last_hidden_state, atol=2e-6)
    np.testing.assert_allclose(got.pooled, want.pooled, atol=2e-6)


def test_all_and_nothing_are_the_two_models(run, alone, params):
    """With the embeddings as one more module."""
    close(run(params, jnp.array([True, True])), alone[0])
    close(run(params, jnp.array([False, False])), alone[1])
    close(run(params, jnp.array([True, True]), jax.random.key(5)), alone[2])


def test_shared_embeddings_are_those_of_the_predecessor(deep, shallow, alone, params, ids):
    layers = {k: v for k, v in params["successor"].items() if k != "embeddings"}
    tree = {**params, "successor": layers}
    assert (compression.num_gates(tree, shallow), compression.num_gates(params, shallow)) == (1, 2)
    apply = lambda gates: compression.apply_replaced(deep, shallow, tree, gates, ids, ids != 0)
    close(apply([False]), alone[1])
    plain = shallow.apply({"params": theseus.extract_successor(tree)}, ids, ids != 0)
    close(apply([True]), plain)
    assert np.abs(plain.pooled - alone[0].pooled).max() > 1e-3


def test_dropout_is_active_in_the_kept_modules_too(run, params):
    gates = jnp.array([False, False])
    a, b = (run(params, gates, jax.random.key(i)).pooled for i in range(2))
    assert np.abs(a - b).max() > 1e-3


def test_gradients_pass_through_kept_modules_to_the_embeddings_of_the_successor(
    deep, shallow, params, ids
):
    def loss(params, gates):
        return jnp.sum(compression.apply_replaced(deep, shallow, params, gates, ids).pooled ** 2)

    grads = jax.jit(jax.grad(loss))(params, jnp.array([True, False]))
    norms = {k: float(jnp.abs(jax.tree.leaves(v)[0]).max()) for k, v in grads["successor"].items()}
    assert norms["embeddings"] > 1e-4
    assert norms["layers_0"] == 0
    assert all(not g.any() for g in jax.tree.leaves(grads["predecessor"]))


def test_the_extracted_successor_is_a_plain_model_on_disk(shallow, params, tmp_path):
    tree = theseus.extract_successor(params)
    bert.save_pretrained(tmp_path, shallow, tree)
    model, loaded = bert.load_pretrained(tmp_path)
    assert model == shallow
    assert model.num_layers == 1
    jax.tree.map(np.testing.assert_array_equal, loaded, tree)


def test_a_depth_that_does_not_divide_is_refused(deep, params, ids):
    with pytest.raises(ValueError, match="successor has 3 layers, must divide the predecessor's 2"):
        compression.make_successor(deep, 3)
    with pytest.raises(ValueError, match=r"gates has shape \(1,\), 2 modules"):
        compression.apply_replaced(deep, compression.make_successor(deep, 1), params, [1], ids)


def test_a_module_is_as_many_layers_as_the_ratio_of_depths(ids):
    deep = bert.Bert(
        vocab_size=20, hidden_size=8, num_layers=4, num_heads=2, intermediate_size=8,
        max_positions=6, init_scale=0.4,
    )  # fmt: skip
    tree = jax.jit(deep.init)(jax.random.key(0), ids)["params"]
    own = jax.tree.map(lambda p: p * 1.1 + 0.01, theseus.init_successor(tree, (1, 3)))
    half = compression.make_successor(deep, 2)
    both = {"predecessor": tree, "successor": own}
    got = compression.apply_replaced(deep, half, both, [False, True], ids, ids != 0)
    # Layers 0 and 1 of the predecessor, then the second of the successor.
    mixed = {k: v for k, v in tree.items() if k not in ("layers_2", "layers_3")}
    mixed["layers_2"] = own["layers_1"]
    three = deep.clone(num_layers=3)
    close(got, three.apply({"params": mixed}, ids, ids != 0))
