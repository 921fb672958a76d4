"""The whole NVAE restated in NumPy, and its ways in and out step by step."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import numpy_layers
from numpy_layers import elu, gained

from jaxlab.models.nvae import NVAE, cells
from jaxlab.models.nvae.cells import Arch, Op
from jaxlab.models.nvae.model import _depth_to_space, spherical

# Four branches that differ, so that each shows where it stands.
FOUR = Arch(
    pre=(Op("conv", norm=False, activation="elu"),),
    enc=(Op("conv", dilation=2),),
    dec=(Op("conv", activation="elu"),),
    post=(Op("inverted", expansion=2, size=3),),
)


CLAMP, FLOOR, SCALE = 3.0, 0.05, 0.5


def convolved(x, params, stride=1):
    return numpy_layers.conv(x, gained(params), stride) + params.get("bias", 0)


def gaussian(raw):
    mean, log_sigma = (CLAMP * np.tanh(part / CLAMP) for part in raw)
    return mean, np.exp(log_sigma) + FLOOR


def log_normal(z, mean, sigma):
    each = -0.5 * ((z - mean) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)
    return each.sum((1, 2, 3))


class Restated:
    """The model of `MODEL` in evaluation, group by group."""

    def __init__(self, variables):
        self.variables = jax.tree.map(np.float64, variables)
        self.params = self.variables["params"]

    def cell(self, x, ops, kind, *path, place=None):
        def at(tree):
            for part in path:
                tree = tree.get(part, {})
            return tree if place is None else jax.tree.map(lambda leaf: leaf[place], tree)

        own = {kind: at(tree) for kind, tree in self.variables.items()}
        return numpy_layers.Net(False).cell(x, ops, kind, False, SCALE, own)[0]

    def features(self, x):
        """Of every group, finest first, and the top one at the end."""
        y = convolved(2 * x - 1, self.params["stem"], 2)
        y = self.cell(y, FOUR.pre, "normal", "pre_0")
        y = self.cell(y, FOUR.pre, "down", "pre_1")
        found = []
        for scale in (0, 1):
            y = y if scale == 0 else self.cell(y, FOUR.enc, "down", "down_0")
            for g in range(2):
                y = self.cell(y, FOUR.enc, "normal", f"enc_{scale}", "cell_0", place=g)
                found.append(y)
        return [*found[:-1], elu(convolved(elu(y), self.params["top"]))]

    def run(self, features, noise, temperature=1.0):
        """(the head's output, [(z, KL, log q, log p)]); from the prior without features."""
        s = np.broadcast_to(self.params["h"], (2, *self.params["h"].shape))
        groups = []
        places = [("group_first", None), ("group_1", 0), ("group_0", 0), ("group_0", 1)]
        for i, (name, place) in enumerate(places):
            if i == 2:
                s = self.cell(s, FOUR.dec, "up", "up_0")
            first = place is None
            own = self.params[name]
            own = own if first else jax.tree.map(lambda leaf, place=place: leaf[place], own)
            raw = np.zeros_like(noise[i]), np.zeros_like(noise[i])
            if not first:
                s = self.cell(s, FOUR.dec, "normal", name, "cell_0", place=place)
                raw = np.split(convolved(elu(s), own["prior"]), 2, -1)
            prior = gaussian(raw)
            prior = prior[0], prior[1] * temperature
            mean, sigma = prior
            if features:
                feature = features[-1 - i]
                feature = feature if first else feature + convolved(s, own["combine"])
                offsets = np.split(convolved(feature, own["posterior"]), 2, -1)
                mean, sigma = gaussian([a + b for a, b in zip(raw, offsets, strict=True)])
            z = mean + sigma * noise[i]
            ratio, shift = sigma / prior[1], (mean - prior[0]) / prior[1]
            kl = (0.5 * (ratio**2 + shift**2 - 1) - np.log(ratio)).sum((1, 2, 3))
            groups.append((z, kl, log_normal(z, mean, sigma), log_normal(z, *prior)))
            s = convolved(np.concatenate([s, z], -1), own["merge"])
        s = self.cell(s, FOUR.post, "up", "post_0")
        s = self.cell(s, FOUR.post, "normal", "post_1")
        y = convolved(elu(s), self.params["head"])
        out = np.zeros((2, 16, 16, 1))
        for row in (0, 1):
            for column in (0, 1):
                out[:, row::2, column::2, 0] = y[..., 2 * row + column]
        return out, groups


def test_the_model_is_its_restatement_in_numpy(monkeypatch):
    """Two scales of two groups, patches of two pixels; from images, and from the prior."""
    monkeypatch.setitem(cells.ARCHS, "four", FOUR)
    model = NVAE(
        16,
        groups=(2, 2),
        latents=2,
        enc_channels=4,
        dec_channels=4,
        blocks=1,
        pre_cells=2,
        post_cells=2,
        arch="four",
        squeeze_excitation=False,
        branch_scale=SCALE,
        clamp=CLAMP,
        sigma_floor=FLOOR,
        patch=2,
    )
    rng = np.random.default_rng(1)
    x = rng.uniform(size=(2, 16, 16, 1)).astype(np.float32)
    shapes = ((2, 2, 2), (2, 2, 2), (4, 4, 2), (4, 4, 2))
    assert model.latent_shapes == shapes
    assert model.num_groups == 4
    noise = [rng.normal(size=(2, *shape)).astype(np.float32) for shape in shapes]
    variables = numpy_layers.random_variables(model, x)

    @jax.jit
    def run(variables):
        call = functools.partial(model.apply, variables, noise=noise)
        return call(x), call(temperature=0.6, method="top_down")

    restated = Restated(variables)
    close = functools.partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-3)
    seen = restated.features(np.float64(x))
    for output, wanted in zip(
        run(variables), (restated.run(seen, noise), restated.run(None, noise, 0.6)), strict=True
    ):
        parameters, groups = wanted
        close(output.parameters, parameters)
        for ours, (z, kl, log_q, log_p) in zip(output.groups, groups, strict=True):
            close(ours.z, z)
            close(ours.log_p, log_p)
            if output.groups[0].log_q.any():
                close(ours.kl, kl)
                close(ours.log_q, log_q)


def test_ways_in_are_what_the_decoder_is_told(monkeypatch):
    """With a decoder that gives its arguments back."""
    monkeypatch.setattr(NVAE, "bottom_up", lambda self, x, train=False: ("features", x, train))
    monkeypatch.setattr(NVAE, "top_down", lambda self, *args, **kwargs: (args, kwargs))
    model = NVAE(8, groups=(1,), blocks=0)
    call = lambda *args, **kwargs: model.apply({}, *args, **kwargs)
    plain = {"key": 1, "noise": None, "train": False}
    assert call("x", key=1) == ((("features", "x", False),), plain)
    assert call("x", noise=2, train=True)[1] == {"key": None, "noise": 2, "train": True}
    assert call("x", noise=2, train=True)[0] == (("features", "x", True),)
    assert call("x", key=1, method="encode") == call("x", key=1)
    z = tuple(np.full((5, 1), i) for i in range(3))
    (args, told) = call(z, key=1, temperature=0.5, method="decode")
    assert args == ()
    assert told == {"latents": z, "batch": 5, "key": 1, "temperature": 0.5}
    assert call(z, from_group=0, method="decode")[1]["latents"] == ()
    assert call(z, from_group=2, method="decode")[1]["latents"] == z[:2]
    assert call(z, method="decode")[1] == {**told, "key": None, "temperature": 1.0}
    features = (("features", "x", False),)
    told = {"num_inferred": 2, "key": 1, "temperature": 0.5}
    args = {"num_groups": 2, "key": 1, "temperature": 0.5}
    assert call("x", **args, method="reconstruct") == (features, told)
    plain = {"num_inferred": None, "key": None, "temperature": 1.0}
    assert call("x", method="reconstruct") == (features, plain)
    told = {"batch": 3, "key": 1, "temperature": 1.0, "train": False}
    assert call(3, key=1, method="sample") == ((), told)
    told = {"batch": 3, "key": 1, "temperature": 0.5, "train": True}
    assert call(3, key=1, temperature=0.5, train=True, method="sample") == ((), told)


def test_a_path_on_the_sphere(monkeypatch):
    """Between perpendicular points, equal ones and opposite ones; of every group, ends included."""
    a, b = np.array([3.0, 0.0]), np.array([0.0, 3.0])
    path = spherical(a, b, np.array([0.0, 1 / 3, 1.0]))
    third = 3 * np.array([np.cos(np.pi / 6), np.sin(np.pi / 6)])
    np.testing.assert_allclose(path, [a, third, b], atol=1e-6)
    longer = spherical(a, 2 * b, np.array([0.25]))
    angle = np.pi / 8
    np.testing.assert_allclose(longer, [[3 * np.cos(angle), 6 * np.sin(angle)]], rtol=1e-5)
    ends = np.array([0.0, 1.0])
    np.testing.assert_allclose(spherical(a, a, np.array([0.5])), [a], rtol=1e-4)
    np.testing.assert_allclose(spherical(a, -a, ends), [a, -a], rtol=1e-4)
    np.testing.assert_allclose(spherical(0 * a, b, ends), [0 * a, b], atol=1e-5)
    wide = np.stack([np.eye(2), 2 * np.eye(2)])  # a grid counts as one vector
    assert spherical(wide[0], wide[1], ends).shape == (2, 2, 2)

    whitened = [np.stack([a, b]), np.stack([2 * b, a])]
    groups = [SimpleNamespace(whitened=w) for w in whitened]
    encode = lambda self, x, key=None: SimpleNamespace(groups=groups, x=x)
    monkeypatch.setattr(NVAE, "encode", encode)
    monkeypatch.setattr(NVAE, "top_down", lambda self, **kwargs: kwargs)
    told = NVAE(8, groups=(1,), blocks=0).apply({}, a, b, steps=3, method="interpolate")
    (first, second) = told["whitened"]
    half = np.sqrt(0.5)
    np.testing.assert_allclose(first, [a, [3 * half, 3 * half], b], atol=1e-5)
    np.testing.assert_allclose(second, [2 * b, [3 * half, 6 * half], a], atol=1e-5)


def test_patches_are_laid_out_row_by_row():
    x = jnp.arange(2 * 3 * 8.0).reshape(1, 2, 3, 8)  # patches of 2 x 2, two channels
    y = _depth_to_space(x, 2)
    assert y.shape == (1, 4, 6, 2)
    for row in (0, 1):
        for column in (0, 1):
            part = slice(4 * row + 2 * column, 4 * row + 2 * column + 2)
            np.testing.assert_array_equal(y[:, row::2, column::2], x[..., part])
    assert _depth_to_space(x, 1) is x
