"""The layers and cells of NVAE restated in NumPy, float64, loop by loop; and variables for them."""

import jax
import numpy as np


def random_variables(module, *args, seed=0):
    """Variables of a module's shapes, nothing of which is 0 or 1; variances are positive."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *args))

    def draw(path, shape):
        values = rng.normal(size=shape.shape).astype(np.float32)
        return np.exp(0.3 * values) if "'var'" in str(path) else 0.5 * values

    kept = {k: v for k, v in shapes.items() if k in ("params", "batch_stats")}
    return jax.tree_util.tree_map_with_path(draw, kept)


def conv(x, kernel, stride=1, dilation=1, groups=1):
    """Zero-padded alike on both sides; kernel [k, k, in / groups, out]."""
    size, _, inputs, features = kernel.shape
    pad = dilation * (size - 1) // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = ((n - dilation * (size - 1) - 1) // stride + 1 for n in x.shape[1:3])
    y = np.zeros((len(x), height, width, features))
    each = features // groups
    for i in range(size):
        for j in range(size):
            rows = slice(i * dilation, i * dilation + stride * (height - 1) + 1, stride)
            columns = slice(j * dilation, j * dilation + stride * (width - 1) + 1, stride)
            for g in range(groups):
                out, into = slice(g * each, (g + 1) * each), slice(g * inputs, (g + 1) * inputs)
                y[..., out] += x[:, rows, columns, into] @ kernel[i, j, :, out]
    return y


def gained(params):
    """The kernel in use under weight normalisation."""
    kernel = np.asarray(params["kernel"], np.float64)
    norm = np.sqrt((kernel**2).sum((0, 1, 2)))
    return np.exp(np.float64(params["g"])) * kernel / (norm + 1e-5)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def swish(x):
    return x * sigmoid(x)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def twice(x):
    return x.repeat(2, 1).repeat(2, 2)


class Net:
    """One pass, in training or not; `stats` are the running statistics after it."""

    def __init__(self, train):
        self.train = train

    def norm(self, x, params, stats, copies=1):
        if self.train:
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            n = copies * x[..., 0].size
            moved = {"mean": 0.95 * stats["mean"] + 0.05 * mean,
                     "var": 0.95 * stats["var"] + 0.05 * var * n / (n - 1)}  # fmt: skip
        else:
            mean, var, moved = stats["mean"], stats["var"], stats
        return params["scale"] * (x - mean) / np.sqrt(var + 1e-5) + params["bias"], moved

    def conv_op(self, x, op, kind, params, stats):
        moved = {}
        if op.norm:
            x, moved["norm"] = self.norm(x, params["norm"], stats["norm"])
        x = {"swish": swish, "elu": elu}[op.activation](x)
        x = twice(x) if kind == "up" else x
        inner = params["conv"]
        stride = 2 if kind == "down" else 1
        return conv(x, gained(inner), stride, op.dilation) + inner["bias"], moved

    def inverted(self, x, op, kind, params, stats):
        """Upsamples first, as the reference does."""
        x = twice(x) if kind == "up" else x
        moved = {}

        def norm(name, x):
            y, moved[name] = self.norm(x, params[name], stats[name])
            return y

        hidden = op.expansion * x.shape[-1]
        x = conv(norm("norm_in", x), np.float64(params["expand"]["kernel"]))
        assert x.shape[-1] == hidden
        assert params["spatial"]["kernel"].shape[:2] == (op.size, op.size)
        kernel = np.float64(params["spatial"]["kernel"])
        x = swish(norm("norm_expand", x))
        x = conv(x, kernel, 2 if kind == "down" else 1, groups=op.groups or hidden)
        x = conv(swish(norm("norm_spatial", x)), np.float64(params["project"]["kernel"]))
        return norm("norm_out", x), moved

    def cell(self, x, ops, kind, gate, scale, variables):
        params, stats = variables["params"], variables.get("batch_stats", {})
        if kind == "down":
            skip = down_skip(x, params["skip"])
        else:
            skip = up_skip(x, params["skip"]) if kind == "up" else x
        moved = {}
        for i, op in enumerate(ops):
            run = self.inverted if op.kind == "inverted" else self.conv_op
            name = f"op_{i}"
            x, after = run(x, op, kind if i == 0 else "normal", params[name], stats.get(name, {}))
            moved |= {name: after} if after else {}
        return skip + scale * (squeeze_excitation(x, params["gate"]) if gate else x), moved


def squeeze_excitation(x, params):
    seen = x.mean((1, 2)) @ np.float64(params["squeeze"]["kernel"]) + params["squeeze"]["bias"]
    gate = np.maximum(seen, 0) @ params["excite"]["kernel"] + params["excite"]["bias"]
    return x * sigmoid(gate)[:, None, None]


def down_skip(x, params):
    phases = ((0, 0), (1, 1), (0, 1), (1, 0))
    return np.concatenate(
        [
            swish(x)[:, row::2, column::2] @ gained(params[f"phase_{i}"])[0, 0]
            + params[f"phase_{i}"]["bias"]
            for i, (row, column) in enumerate(phases)
        ],
        axis=-1,
    )


def up_skip(x, params):
    """Bilinear with aligned corners, then the convolution of 1x1."""

    def lines(n):
        at = np.arange(2 * n) * (n - 1) / (2 * n - 1)
        return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n)))

    y = np.einsum("rh,bhwc,sw->brsc", lines(x.shape[1]), x, lines(x.shape[2]))
    return y @ gained(params["conv"])[0, 0]
