"""`jaxlab.theseus`: module replacing: gates, schedules, masks, and the forward pass on a plain
residual stack."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import optim, theseus, train

WIDTH, DEEP, SHALLOW = 6, 4, 2


def block(weights, x):
    """A residual block, of no library."""
    return x + jnp.tanh(x @ weights["a"]) @ weights["b"]


def stack(tree, x):
    for i in range(sum(name.startswith("layers_") for name in tree)):
        x = block(tree[f"layers_{i}"], x)
    return x


@pytest.fixture(scope="module")
def deep():
    rng = np.random.default_rng(0)
    draw = lambda: jnp.asarray(rng.normal(scale=0.5, size=(WIDTH, WIDTH)), jnp.float32)
    tree = {f"layers_{i}": {"a": draw(), "b": draw()} for i in range(DEEP)}
    return {**tree, "shared": jnp.ones(2)}


@pytest.fixture(scope="module")
def params(deep):
    layers = theseus.choose_layers(DEEP, SHALLOW, "spread")
    return {"predecessor": deep, "successor": theseus.init_successor(deep, layers)}


def modules(params):
    """The predecessor in modules of two blocks, the successor in modules of one."""
    old, new = params["predecessor"], params["successor"]
    size = theseus.module_size(DEEP, SHALLOW)
    part = lambda i: {f"layers_{k}": old[f"layers_{i * size + k}"] for k in range(size)}
    olds = [lambda x, i=i: stack(part(i), x) for i in range(SHALLOW)]
    news = [lambda x, i=i: block(new[f"layers_{i}"], x) for i in range(SHALLOW)]
    return olds, news


@pytest.fixture(scope="module")
def x():
    return jnp.asarray(np.random.default_rng(1).normal(size=(5, WIDTH)), jnp.float32)


@pytest.fixture(scope="module")
def run(x):
    """(params, gates) -> output, and its gradient, compiled once for all gates."""

    def out(params, gates):
        return theseus.forward(*modules(params), gates, x)

    def frozen(params, gates):
        olds, news = modules(
            {**params, "predecessor": jax.lax.stop_gradient(params["predecessor"])}
        )
        return theseus.forward(olds, news, gates, x, frozen_below=True)

    loss = lambda f: lambda params, gates: jnp.sum(f(params, gates) ** 3)
    return jax.jit(
        lambda params, gates: (
            out(params, gates),
            jax.grad(loss(out))(params, gates),
            jax.grad(loss(frozen))(params, gates),
        )
    )


def test_all_and_nothing_are_the_two_models_exactly(run, params, x):
    alone = theseus.extract_successor(params)
    for tree, gate in ((alone, True), (params["predecessor"], False)):
        want = stack(tree, x)
        got = theseus.forward(*modules(params), [gate] * SHALLOW, x)
        np.testing.assert_array_equal(got, want)
        # Compiled, sums may be taken in another order.
        got = run(params, jnp.array([gate] * SHALLOW))[0]
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)


def test_known_gates_choose_when_traced(run, params, x):
    for gates in ([1, 0], [0, 1]):
        now = theseus.forward(*modules(params), gates, x)
        np.testing.assert_allclose(run(params, jnp.array(gates))[0], now, rtol=1e-6)
    text = str(jax.make_jaxpr(lambda x: theseus.forward(*modules(params), [1, 1], x))(x))
    assert "cond" not in text
    assert text.count("dot_general") == 4  # two blocks of two products, none of the predecessor's


def test_gradients_reach_what_is_chosen_and_pass_through_what_is_kept(run, params):
    norm = lambda tree: float(optax.tree.norm(tree))
    for gates in np.ndindex(2, 2):
        _, grads, frozen = run(params, jnp.array(gates, bool))
        for i in range(SHALLOW):
            # Lower modules learn through kept upper ones, unchosen modules not at all.
            assert (norm(grads["successor"][f"layers_{i}"]) > 1e-3) == bool(gates[i])
        for i in range(DEEP):
            kept = not gates[i // 2]
            assert (norm(grads["predecessor"][f"layers_{i}"]) > 1e-3) == kept
        assert norm(frozen["predecessor"]) == 0
        jax.tree.map(
            # Two programs; entries are near 100, of which 1e-5 is an ulp.
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
            grads["successor"],
            frozen["successor"],
        )


def test_the_module_not_chosen_is_not_computed():
    """A blend 0 * NaN would be NaN, in the value or in the gradient."""
    broken = lambda w: lambda x: jnp.log(w * x - 10)
    sound = lambda w: lambda x: w * x
    value = lambda w, gate: theseus.forward([broken(w)], [sound(w)], gate[None], jnp.float32(2))
    calls = []

    def counted(w):
        def module(x):
            jax.debug.callback(lambda: calls.append(1))
            return w * x

        return module

    out, grad = jax.jit(jax.value_and_grad(value))(3.0, jnp.array(True))
    assert (float(out), float(grad)) == (6.0, 2.0)
    counts = jax.jit(
        lambda gate: theseus.forward([counted(2.0)] * 2, [sound(1.0)] * 2, gate, jnp.float32(2))
    )
    jax.block_until_ready(counts(jnp.array([True, False])))
    jax.effects_barrier()
    assert len(calls) == 1


def test_gates_are_independent_with_the_rate_of_the_step():
    keys = jax.random.split(jax.random.key(0), 20_000)
    draw = jax.jit(jax.vmap(theseus.sample_gates, (0, None, None)), static_argnums=2)
    for rate in (0.3, 0.8):
        gates = np.asarray(draw(keys, rate, 3), float)
        np.testing.assert_allclose(gates.mean(0), rate, atol=0.015)
        assert np.abs(np.corrcoef(gates.T) - np.eye(3)).max() < 0.03
    assert np.asarray(draw(keys, 1.0, 3)).all()
    assert draw._cache_size() == 1  # a changing rate compiles nothing


def test_schedules():
    rate = theseus.replacement_schedule(0.3, 0.7 / 100)
    values = [float(jax.jit(rate)(t)) for t in (0, 50, 100, 1000)]
    np.testing.assert_allclose(values, [0.3, 0.65, 1, 1], rtol=1e-5)
    rate = theseus.replacement_schedule(0.5, full_from=10)
    assert [float(rate(t)) for t in (0, 9, 10, 99)] == [0.5, 0.5, 1, 1]
    cosine = optax.cosine_decay_schedule(1.0, 100, alpha=0.5)
    gates = jax.jit(lambda t: theseus.sample_gates(jax.random.key(0), cosine(t), 4))(50)
    assert gates.shape == (4,)


def test_the_successor_starts_as_the_chosen_layers(deep):
    for which, layers in {
        "first": (0, 1),
        "spread": (1, 3),
        "last": (2, 3),
        (3, 0): (3, 0),
    }.items():
        chosen = theseus.choose_layers(DEEP, SHALLOW, which)
        assert chosen == layers
        tree = theseus.init_successor(deep, chosen, own=("shared",))
        assert set(tree) == {"layers_0", "layers_1", "shared"}
        for i, layer in enumerate(layers):
            jax.tree.map(
                np.testing.assert_array_equal, tree[f"layers_{i}"], deep[f"layers_{layer}"]
            )
    extracted = theseus.extract_successor({"predecessor": deep, "successor": tree})
    assert set(extracted) == set(tree)


def test_a_replacing_run_moves_the_successor_alone_and_recovers(params, deep, x):
    """From wrong layers to half the error, with frozen leaves unchanged to the last bit."""
    mask = optim.trainable_mask(params, ["successor"])
    tx = optim.train_only(optax.adam(3e-3), mask)
    rate = theseus.replacement_schedule(0.4, 0.6 / 150)
    target = stack(deep, x)
    traces = []

    def loss_fn(p, model_state, batch, *, key, step):
        traces.append(1)
        p = optim.freeze(p, mask)
        gates = theseus.sample_gates(key, rate(step), SHALLOW)
        out = theseus.forward(*modules(p), gates, batch["x"], frozen_below=True)
        return jnp.mean((out - batch["y"]) ** 2), (model_state, {"rate": rate(step)})

    state = train.create_state(
        lambda key: (jax.tree.map(jnp.copy, params), {}), tx, key=jax.random.key(0), ema=False
    )
    step = train.make_train_step(loss_fn, tx)
    error = lambda p: float(jnp.mean((stack(theseus.extract_successor(p), x) - target) ** 2))
    before, frozen = error(state.params), jax.tree.map(np.asarray, state.params["predecessor"])
    for _ in range(250):
        state, metrics = step(state, {"x": x, "y": target})
    assert error(state.params) < 0.3 * before
    assert float(metrics["rate"]) == 1
    jax.tree.map(np.testing.assert_array_equal, state.params["predecessor"], frozen)
    assert len(traces) == 1
    moments = jax.tree.leaves(state.opt_state)
    assert sum(m.size for m in moments) < 3 * 4 * WIDTH**2 + 10  # none for what is frozen


def test_masks_name_paths(params):
    mask = optim.trainable_mask(params, ["successor", "predecessor/layers_1/a"])
    flat = {jax.tree_util.keystr(k, simple=True, separator="/"): v
            for k, v in jax.tree.leaves_with_path(mask)}  # fmt: skip
    assert {k for k, v in flat.items() if v} == {
        "predecessor/layers_1/a",
        *(f"successor/layers_{i}/{n}" for i in range(2) for n in "ab"),
    }
    with pytest.raises(ValueError, match="'predecessor/layer_1', no leaf"):
        optim.trainable_mask(params, ["predecessor/layer_1"])


def test_errors_state_value_and_rule(params, x):
    key, (olds, news) = jax.random.key(0), modules(params)
    wide = lambda x: jnp.concatenate([x, x])
    for call, message in [
        (lambda: theseus.module_size(6, 4), "successor has 4 layers, must divide .* 6"),
        (lambda: theseus.module_size(6, 0), "successor has 0 layers"),
        (lambda: theseus.sample_gates(key, 0.0, 3), "rate is 0.0, must be above 0"),
        (lambda: theseus.sample_gates(key, 1.5, 3), "rate is 1.5, must be at most 1"),
        (lambda: theseus.replacement_schedule(0.0), "rate is 0.0"),
        (lambda: theseus.replacement_schedule(0.5, -1), "slope is -1"),
        (lambda: theseus.replacement_schedule(0.5, full_from=-1), "full_from is -1"),
        (lambda: theseus.forward(olds, news, [1], x), r"gates has shape \(1,\), 2 modules"),
        (lambda: theseus.forward(olds, [wide] * 2, [1, 1], x), r"module 0 gives float32\[5, 6\]"),
        (lambda: theseus.choose_layers(6, 7), "has 7 layers, must have 1 to 6"),
        (lambda: theseus.choose_layers(6, 4, "spread"), "must divide"),
        (lambda: theseus.choose_layers(6, 2, "top"), "'top', known are"),
        (lambda: theseus.choose_layers(6, 2, (0, 6)), r"\(0, 6\), must be 2 indices"),
        (lambda: theseus.init_successor(params["predecessor"], (4,)), "'layers_4' is not in"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_only_what_is_named_is_copied_trained_and_frozen():
    params = {"layers_0": jnp.zeros(1), "layers_1": jnp.ones(1), "pooler": jnp.ones(2) * 3}
    tree = theseus.init_successor(params, (1, 0), own=("pooler",))
    assert {name: float(leaf[0]) for name, leaf in tree.items()} == {
        "layers_0": 1, "layers_1": 0, "pooler": 3,
    }  # fmt: skip
    assert tree["pooler"] is not params["pooler"]
    assert set(theseus.init_successor(params, (1,))) == {"layers_0"}
    named = {"block0": jnp.zeros(1), "block1": jnp.ones(1), "layers_0": 7}
    assert set(theseus.init_successor(named, (1,), prefix="block")) == {"block0"}
    extracted = theseus.extract_successor(
        {"predecessor": named, "successor": {"block0": 5}}, prefix="block"
    )
    assert extracted == {"layers_0": 7, "block0": 5}
    # A path is a whole name: "a" is not above "ab".
    mask = optim.trainable_mask({"a": {"b": 1}, "ab": 2, "c": 3}, ["a"])
    assert mask == {"a": {"b": True}, "ab": False, "c": False}
    grads = jax.grad(lambda p: sum(jax.tree.leaves(optim.freeze(p, mask))))(
        {"a": {"b": 1.0}, "ab": 2.0, "c": 3.0}
    )
    assert jax.tree.map(float, grads) == {"a": {"b": 1.0}, "ab": 0.0, "c": 0.0}


def test_sizes_and_layers_at_their_limits():
    assert [theseus.module_size(*sizes) for sizes in ((6, 6), (6, 1), (1, 1))] == [1, 6, 1]
    choose = theseus.choose_layers
    assert choose(3, 3) == choose(3, 3, "last") == choose(3, 3, "spread") == (0, 1, 2)
    assert choose(4, 1) == (0,)
    assert choose(4, 1, "last") == choose(4, 1, "spread") == (3,)
    assert choose(6, 2, "spread") == (2, 5)
    assert choose(4, 2, [0, 3]) == (0, 3)
    for which in ((0,), (0, 4), (-1, 0)):
        with pytest.raises(ValueError, match=r"must be 2 indices in \[0, 4\)"):
            choose(4, 2, which)
    theseus.check_rate(1.0)
    for rate in (1.0001, -0.1):
        with pytest.raises(ValueError, match="rate is"):
            theseus.check_rate(rate)
    rate = theseus.replacement_schedule(0.25)
    assert float(rate(10_000)) == 0.25  # constant, and for ever
    assert float(theseus.replacement_schedule(0.25, full_from=0)(0)) == 1
    assert float(theseus.replacement_schedule(0.25, 0.125)(jnp.int32(2))) == 0.5


def test_known_gates_below_the_lowest_replaced_module_have_no_backward_pass():
    """With frozen_below, x is cut until something trained has been passed."""
    old = [lambda x: 2 * x, lambda x: 3 * x]
    new = [lambda x: 5 * x, lambda x: 7 * x]

    def slope(gates, **kw):
        return float(jax.grad(lambda x: theseus.forward(old, new, gates, x, **kw))(1.0))

    for gates, want in (([0, 0], 6), ([1, 0], 15), ([0, 1], 14), ([1, 1], 35)):
        assert slope(gates) == slope(jnp.array(gates)) == want
        assert slope(gates, frozen_below=True) == 0
        traced = jax.jit(jax.grad(lambda x, g: theseus.forward(old, new, g, x, frozen_below=True)))
        assert float(traced(1.0, jnp.array(gates))) == 0
    shifted = lambda w, gates: theseus.forward(
        [lambda x: x + 0 * w, lambda x: 3 * x], [lambda x: x * w, lambda x: 7 * x], gates,
        jnp.float32(2), frozen_below=True,
    )  # fmt: skip
    for gates, want in (([1, 0], 6.0), ([1, 1], 14.0)):
        assert float(jax.grad(shifted)(1.0, gates)) == want
        assert float(jax.jit(jax.grad(shifted))(1.0, jnp.array(gates))) == want
