"""Names of the reference's weights, and where each belongs in our trees."""

from collections.abc import Iterator

from jaxlab.models.nvae.cells import Op, arch
from jaxlab.models.nvae.model import NVAE

# Collection, and path inside it: names, and at the end a place in the leaf's first axis if the
# leaf is a stack over the groups of a scale.
Target = tuple[str, tuple[str | int, ...]]


def reference_names(model: NVAE) -> dict[str, Target]:
    """Maps every reference name that carries a value to (collection, path) of ours."""
    return dict(_Walker(model).walk())


class _Walker:
    """Visits the modules in the reference's order, counting its flat module lists."""

    def __init__(self, model: NVAE):
        self.model, self.arch = model, arch(model.arch)

    def walk(self) -> Iterator[tuple[str, Target]]:
        model = self.model
        top, single = len(model.groups) - 1, model.num_groups == 1
        if not single:
            yield "prior_ftr0", ("params", ("h",))
        yield from _conv("stem", ("stem",))
        yield from self._blocks("pre_process", "pre", model.pre_cells, "down", model.pre_cells - 1)
        yield from _conv("enc0.1", ("top",))
        yield from self._encoder()
        yield from self._decoder()
        i = 0
        for scale in reversed(range(top + 1)):
            for g in range(model.groups[scale]):
                yield from self._in_group(scale, g, self._latents(i))
                i += 1
        yield from self._blocks("post_process", "post", model.post_cells, "up", 0)
        yield from _conv("image_conditional.1", ("head",))

    def _in_group(self, scale, g, targets):
        """Puts targets inside a latent group: the first, or a place in its scale's stack."""
        top = len(self.model.groups) - 1
        if (scale, g) == (top, 0):
            return _inside("group_first", targets)
        return _inside(f"group_{scale}", targets, g - (scale == top))

    def _latents(self, i):
        yield from _conv(f"enc_sampler.{i}", ("posterior",))
        if i > 0:
            yield from _conv(f"dec_sampler.{i - 1}.1", ("prior",))
        for n in range(self.model.flows):
            yield from _flow(f"nf_cells.{i * self.model.flows + n}", (f"flow_{n}",))

    def _blocks(self, name, place, cells, kind, resizing):
        for i in range(self.model.blocks * cells):
            cell_kind = kind if i % cells == resizing else "normal"
            yield from self._cell(f"{name}.{i}", (f"{place}_{i}",), place, cell_kind)

    def _encoder(self):
        model, index = self.model, 0
        if model.num_groups == 1:
            return
        for scale, groups in enumerate(model.groups):
            for g in range(groups):
                for c in range(model.enc_cells):
                    cell = self._cell(f"enc_tower.{index}", (f"cell_{c}",), "enc", "normal")
                    yield from _inside(f"enc_{scale}", cell, g)
                    index += 1
                if (scale, g) != (len(model.groups) - 1, groups - 1):
                    # The decoder walks a scale's features backwards.
                    combine = _conv(f"enc_tower.{index}.conv", ("combine",))
                    yield from self._in_group(scale, groups - 1 - g, combine)
                    index += 1
            if scale < len(model.groups) - 1:
                yield from self._cell(f"enc_tower.{index}", (f"down_{scale}",), "enc", "down")
                index += 1

    def _decoder(self):
        model, index, top = self.model, 0, len(self.model.groups) - 1
        if model.num_groups == 1:
            yield from _conv("stem_decoder", ("group_first", "merge"))
            return
        for scale in reversed(range(top + 1)):
            for g in range(model.groups[scale]):
                if (scale, g) != (top, 0):
                    for c in range(model.dec_cells):
                        cell = self._cell(f"dec_tower.{index}", (f"cell_{c}",), "dec", "normal")
                        yield from self._in_group(scale, g, cell)
                        index += 1
                merge = _conv(f"dec_tower.{index}.conv", ("merge",))
                yield from self._in_group(scale, g, merge)
                index += 1
            if scale > 0:
                yield from self._cell(f"dec_tower.{index}", (f"up_{top - scale}",), "dec", "up")
                index += 1

    def _cell(self, name, path, place, kind):
        ops: tuple[Op, ...] = getattr(self.arch, place)
        if kind == "down":
            for i in range(4):
                yield from _conv(f"{name}.skip.conv_{i + 1}", (*path, "skip", f"phase_{i}"))
        elif kind == "up":
            yield from _conv(f"{name}.skip.1", (*path, "skip", "conv"), bias=False)
        for i, op in enumerate(ops):
            ours, theirs = (*path, f"op_{i}"), f"{name}._ops.{i}"
            if op.kind == "conv":
                if op.norm:
                    norm = "bn_act" if op.activation == "swish" else "bn"
                    yield from _norm(f"{theirs}.{norm}", (*ours, "norm"))
                yield from _conv(f"{theirs}.conv_0", (*ours, "conv"))
            else:
                first = 1 if kind == "up" and i == 0 else 0
                yield from _inverted(f"{theirs}.conv", first, ours)
        if self.model.squeeze_excitation:
            for index, layer in ((0, "squeeze"), (2, "excite")):
                for theirs, ours in (("weight", "kernel"), ("bias", "bias")):
                    target = ("params", (*path, "gate", layer, ours))
                    yield f"{name}.se.se.{index}.{theirs}", target


def _inside(block: str, targets, place: int | None = None) -> Iterator[tuple[str, Target]]:
    """The same targets as parts of a block, and of the leaf at a place of its stack."""
    end = () if place is None else (place,)
    for name, (collection, path) in targets:
        yield name, (collection, (block, *path, *end))


def _conv(name: str, path, *, bias: bool = True, gain: bool = True) -> Iterator[tuple[str, Target]]:
    yield f"{name}.weight", ("params", (*path, "kernel"))
    if bias:
        yield f"{name}.bias", ("params", (*path, "bias"))
    if gain:
        yield f"{name}.log_weight_norm", ("params", (*path, "g"))


def _norm(name: str, path) -> Iterator[tuple[str, Target]]:
    yield f"{name}.weight", ("params", (*path, "scale"))
    yield f"{name}.bias", ("params", (*path, "bias"))
    yield f"{name}.running_mean", ("batch_stats", (*path, "mean"))
    yield f"{name}.running_var", ("batch_stats", (*path, "var"))


def _inverted(name: str, first: int, path) -> Iterator[tuple[str, Target]]:
    yield from _norm(f"{name}.{first}", (*path, "norm_in"))
    for offset, layer in ((1, "expand"), (2, "spatial")):
        inner = f"{name}.{first + offset}.conv"
        yield from _conv(f"{inner}.0", (*path, layer), bias=False, gain=False)
        yield from _norm(f"{inner}.1", (*path, f"norm_{layer}"))
    yield from _conv(f"{name}.{first + 3}", (*path, "project"), bias=False, gain=False)
    yield from _norm(f"{name}.{first + 4}", (*path, "norm_out"))


def _flow(name: str, path) -> Iterator[tuple[str, Target]]:
    for theirs, ours in (("cell1", "forward"), ("cell2", "backward")):
        for index, layer in ((0, "expand"), (2, "spatial")):
            inner = f"{name}.{theirs}.conv.convz.{index}"
            yield from _conv(inner, (*path, ours, layer), bias=False)
        yield from _conv(f"{name}.{theirs}.mu.conv_0", (*path, ours, "project"))
