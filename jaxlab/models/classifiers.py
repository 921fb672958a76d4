"""Small classifiers for studies: an MLP and a residual network.

Both map [batch, ...] to logits [batch, classes], end in a layer named "head", keep running
statistics, where they have any, in the collection "batch_stats", and sow what the head sees as
"last" into the collection "features".
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxlab import losses
from jaxlab.checks import check_arguments, check_count, check_counts, check_scalar, dtype_by_name
from jaxlab.errors import InputError
from jaxlab.models.conv import conv2d

NORMS = ("none", "batch", "layer")
HEADS = ("linear", "cosine")
SHORTCUTS = ("convolution", "normed", "padding")


class Norm(nn.Module):
    """Batch norm, layer norm or nothing.

    Attributes:
      kind: "none", "batch" or "layer".
      dtype: of the result; statistics stay float32.
    """

    kind: str
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if self.kind == "none":
            return x
        if self.kind == "batch":
            return nn.BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                use_fast_variance=False,
                dtype=self.dtype,
            )(x)
        if self.kind == "layer":
            return nn.LayerNorm(use_fast_variance=False, dtype=self.dtype)(x)
        raise InputError(f"norm is {self.kind!r}, must be one of {NORMS}")


class Head(nn.Module):
    """The last layer: affine, or cosines between features and class vectors (for LDAM).

    Attributes:
      num_classes: classes.
      kind: "linear" or "cosine".
      use_bias: whether the linear head has a bias.
    """

    num_classes: int
    kind: str = "linear"
    use_bias: bool = True

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        if self.kind not in HEADS:
            raise InputError(f"head is {self.kind!r}, must be one of {HEADS}")
        shape = (features.shape[-1], self.num_classes)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        if self.kind == "cosine":
            return losses.cosine_logits(features, kernel)
        logits = features @ kernel
        if self.use_bias:
            logits += self.param("bias", nn.initializers.zeros, (self.num_classes,))
        return logits


class Conv(nn.Module):
    """`conv2d` with a trained kernel, without bias, in the form that is fast for many seeds.

    Attributes:
      features: output channels.
      kernel_size: k, odd.
      stride: step between outputs.
      kernel_init: initialiser of the kernel [k, k, in, out].
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    kernel_init: Any = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        return conv2d(x, kernel.astype(x.dtype), stride=self.stride, form="patches")


def _sow(module: nn.Module, x: jax.Array) -> None:
    """Leaves what the head sees in "features", but not in the variables of a new model."""
    if not module.is_initializing():
        module.sow("features", "last", x)


class MLP(nn.Module):
    """Fully connected layers with ReLU over the flattened input.

    Attributes:
      num_classes: classes.
      features: widths of the hidden layers.
      norm: "none", "batch" or "layer", before each ReLU.
      head: "linear" or "cosine".
      use_bias: whether layers have biases.
      dtype: "bfloat16" for what comes before the head; parameters, statistics and logits stay
        float32. None for that of the input.

    Example:
      >>> model = MLP(num_classes=3, features=(8,))
      >>> params, state = init_variables(model, jax.random.key(0), jnp.zeros((1, 2, 2)))
      >>> model.apply({"params": params}, jnp.zeros((5, 2, 2))).shape
      (5, 3)
    """

    num_classes: int
    features: Sequence[int] = (128, 128)
    norm: str = "none"
    head: str = "linear"
    use_bias: bool = True
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        check(self)
        dtype = dtype_by_name(self.dtype)
        x = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.features):
            x = nn.Dense(
                width,
                use_bias=self.use_bias,
                kernel_init=nn.initializers.he_normal(),
                dtype=dtype,
                name=f"layer_{i}",
            )(x)
            x = nn.relu(Norm(self.norm, dtype, name=f"norm_{i}")(x, train))
        x = _plain(x)
        _sow(self, x)
        return Head(self.num_classes, self.head, self.use_bias, name="head")(x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Attributes:
      features: output channels.
      stride: of the first convolution.
      norm: see `Norm`.
      shortcut: see `ResNet`.
      dtype: see `Norm`.
    """

    features: int
    stride: int
    norm: str
    shortcut: str = "convolution"
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        branch = Conv(self.features, stride=self.stride, name="conv_0")(x)
        branch = nn.relu(Norm(self.norm, self.dtype, name="norm_0")(branch, train))
        # Without a norm the branch starts small, or the sum over blocks explodes.
        init = nn.initializers.variance_scaling(
            0.1 if self.norm == "none" else 2.0, "fan_in", "truncated_normal"
        )
        branch = Conv(self.features, kernel_init=init, name="conv_1")(branch)
        branch = Norm(self.norm, self.dtype, name="norm_1")(branch, train)
        if self.stride > 1 or x.shape[-1] != self.features:
            x = self._shortcut(x, train)
        return nn.relu(x + branch)

    def _shortcut(self, x: jax.Array, train: bool) -> jax.Array:
        if self.shortcut == "padding":
            more = self.features - x.shape[-1]
            if more < 0:
                raise InputError(
                    f"widths fall from {x.shape[-1]} to {self.features}: shortcut 'padding' cannot"
                )
            sides = ((0, 0), (0, 0), (0, 0), (more // 2, more - more // 2))
            return jnp.pad(x[:, :: self.stride, :: self.stride], sides)
        x = Conv(self.features, kernel_size=1, stride=self.stride, name="shortcut")(x)
        if self.shortcut == "convolution":
            return x
        return Norm(self.norm, self.dtype, name="shortcut_norm")(x, train)


class ResNet(nn.Module):
    """A residual network for small images, mean-pooled before its head.

    Attributes:
      num_classes: classes.
      widths: channels of the stages; every stage but the first halves height and width.
      blocks: residual blocks a stage.
      stem_stride: stride of the first convolution; 2 costs a quarter.
      norm: "none", "batch" or "layer".
      head: "linear" or "cosine".
      shortcut: where shapes change: a 1x1 "convolution", one with a norm ("normed"), or "padding"
        with channels of zeros, which has no parameters.
      dtype: see `MLP`.

    He et al.'s networks for CIFAR, `Deep Residual Learning for Image Recognition
    <https://arxiv.org/abs/1512.03385>`_: ResNet-32 is `blocks=5, shortcut="padding"`; ResNet-18 as
    it is used on CIFAR `widths=(64, 128, 256, 512), blocks=2, shortcut="normed"`.

    Example:
      >>> model = ResNet(num_classes=3, widths=(4, 8))
      >>> params, state = init_variables(model, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
      >>> model.apply({"params": params, **state}, jnp.zeros((5, 8, 8, 1))).shape
      (5, 3)
    """

    num_classes: int
    widths: Sequence[int] = (16, 32, 64)
    blocks: int = 1
    stem_stride: int = 1
    norm: str = "batch"
    head: str = "linear"
    shortcut: str = "convolution"
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        if x.ndim != 4:
            raise InputError(
                f"x has shape {x.shape}, ResNet needs [batch, height, width, channels]"
            )
        check(self)
        dtype = dtype_by_name(self.dtype)
        x = x if dtype is None else x.astype(dtype)
        x = Conv(self.widths[0], stride=self.stem_stride, name="stem")(x)
        x = nn.relu(Norm(self.norm, dtype, name="stem_norm")(x, train))
        for stage, width in enumerate(self.widths):
            for block in range(self.blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                name = f"block_{stage}_{block}"
                shape = (width, stride, self.norm, self.shortcut, dtype)
                x = ResidualBlock(*shape, name=name)(x, train)
        x = _plain(x).mean(axis=(1, 2))
        _sow(self, x)
        return Head(self.num_classes, self.head, name="head")(x)


def _plain(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x


MODELS = {"mlp": MLP, "resnet": ResNet}


def make_classifier(kind: str, num_classes: int, **kwargs: Any) -> MLP | ResNet:
    """Returns `MLP` (kind "mlp") or `ResNet` ("resnet") with these fields; None for defaults.

    Raises:
      ValueError: an unknown kind, a field that it does not have, or one out of range.

    Example:
      >>> make_classifier("mlp", 10, features=(32,)).features
      (32,)
    """
    if kind not in MODELS:
        raise InputError(f"model is {kind!r}, must be one of {tuple(MODELS)}")
    given = ("num_classes", "parent", "name")
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    check_arguments(f"model {kind!r}", MODELS[kind], kwargs, given=given)
    model = MODELS[kind](num_classes=num_classes, **kwargs)
    check(model)
    return model


def check(model: MLP | ResNet) -> None:
    """Raises `ValueError` for fields that make no sense."""
    dtype_by_name(model.dtype)
    check_count("num_classes", model.num_classes)
    for name, known in (("norm", NORMS), ("head", HEADS), ("shortcut", SHORTCUTS)):
        if getattr(model, name, known[0]) not in known:
            raise InputError(f"{name} is {getattr(model, name)!r}, must be one of {known}")
    for name in ("features", "widths"):
        if hasattr(model, name):
            check_counts(name, getattr(model, name))
    for name in ("blocks", "stem_stride"):
        if hasattr(model, name):
            check_count(name, getattr(model, name))


def init_variables(model: MLP | ResNet, key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
    """Returns (params, model_state) of a classifier for inputs of the shape of x.

    Args:
      model: the classifier.
      key: typed key.
      x: [batch, ...]; only its shape matters.

    Returns:
      params, and `{"batch_stats": ...}`, or `{}` for a model without running statistics.
    """
    variables = dict(model.init(key, jnp.asarray(x, jnp.float32)))
    return variables.pop("params"), variables


def kernels(params: Any) -> list[jax.Array]:
    """Returns the kernels of an `MLP` from input to output, [in, out] each.

    Example:
      >>> params, _ = init_variables(MLP(3, (8,)), jax.random.key(0), jnp.zeros((1, 4)))
      >>> [k.shape for k in kernels(params)]
      [(4, 8), (8, 3)]
    """
    layers = sorted((n for n in params if n.startswith("layer_")), key=lambda n: int(n[6:]))
    return [params[name]["kernel"] for name in (*layers, "head")]


def scale_kernels(params: Any, gains: Sequence[float]) -> Any:
    """Multiplies the kernels of an `MLP` and, cumulatively, its biases: see `rescale_layers`.

    With gains whose product is 1 the function of a network without norm layers stays the same.

    Args:
      params: of an `MLP`.
      gains: one per layer, the head last, each above 0.

    Returns:
      The scaled parameters.

    Raises:
      ValueError: not one gain a layer, or one that is not above 0.
    """
    flat: dict[Any, Any] = dict(traverse_util.flatten_dict(params))
    layers = sorted((n for n in params if n.startswith("layer_")), key=lambda n: int(n[6:]))
    names = (*layers, "head")
    if len(gains) != len(names):
        raise InputError(f"gains are {tuple(gains)}, the network has {len(names)} layers")
    for gain in gains:
        check_scalar("gains", gain, above=0.0)
    product = 1.0
    for name, gain in zip(names, gains, strict=True):
        product *= gain
        flat[name, "kernel"] *= gain
        if (name, "bias") in flat:
            flat[name, "bias"] *= product
    return traverse_util.unflatten_dict(flat)
