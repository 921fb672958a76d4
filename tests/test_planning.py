"""Costs read off traces and compiled programs, against closed forms and XLA's own sums."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab import planning, train

# What libtpu writes: trips from the condition, tiles, on-chip memory S(1), cycles, started
# exchanges, and an update in place within a fusion of several results.
TPU_TEXT = """HloModule jit_step, is_scheduled=true

%fused (p0: f32[4,8,128], p1: s32[], p2: f32[8,128]) -> (f32[4,8,128], f32[8,10]) {
  %p0 = f32[4,8,128]{2,1,0:T(8,128)} parameter(0)
  %p1 = s32[]{:T(128)} parameter(1)
  %p2 = f32[8,128]{1,0:T(8,128)S(1)} parameter(2)
  %slice = f32[1,8,128]{2,1,0:T(8,128)} dynamic-slice(%p0, %p1, %p1, %p1), dynamic_slice_sizes={1,8,128}
  %update = f32[4,8,128]{2,1,0:T(8,128)} dynamic-update-slice(%p0, %slice, %p1, %p1, %p1)
  %cut = f32[8,10]{1,0:T(8,128)} slice(%p2), slice={[0:8], [0:10]}
  ROOT %both = (f32[4,8,128]{2,1,0:T(8,128)}, f32[8,10]{1,0:T(8,128)}) tuple(%update, %cut)
}

%body (arg: (s32[], f32[4,8,128], f32[8,128])) -> (s32[], f32[4,8,128], f32[8,128]) {
  %arg = (s32[]{:T(128)}, f32[4,8,128]{2,1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)S(1)}) parameter(0)
  %i = s32[]{:T(128)S(6)} get-tuple-element(%arg), index=0
  %x = f32[4,8,128]{2,1,0:T(8,128)} get-tuple-element(%arg), index=1
  %y = f32[8,128]{1,0:T(8,128)S(1)} get-tuple-element(%arg), index=2
  %pair = (f32[4,8,128]{2,1,0:T(8,128)}, f32[8,10]{1,0:T(8,128)}) fusion(%x, %i, %y), kind=kLoop, calls=%fused, backend_config={"window_config":{"estimated_cycles":"100"}}
  %new = f32[4,8,128]{2,1,0:T(8,128)} get-tuple-element(%pair), index=0
  %all-reduce = f32[8,128]{1,0:T(8,128)S(1)} all-reduce(%y), replica_groups={}, to_apply=%add
  ROOT %out = (s32[]{:T(128)}, f32[4,8,128]{2,1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)S(1)}) tuple(%i, %new, %all-reduce)
}

%condition (arg.1: (s32[], f32[4,8,128], f32[8,128])) -> pred[] {
  %limit = s32[]{:T(128)} constant(5)
  %arg.1 = (s32[]{:T(128)}, f32[4,8,128]{2,1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)S(1)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%arg.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%i.1, %limit), direction=LT
}

ENTRY %main (a: f32[4,8,128], b: f32[8,128]) -> f32[4,8,128] {
  %a = f32[4,8,128]{2,1,0:T(8,128)} parameter(0)
  %b = f32[8,128]{1,0:T(8,128)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %gather-start = (f32[8,128]{1,0:T(8,128)}, f32[16,128]{1,0:T(8,128)S(1)}) all-gather-start(%b), dimensions={0}
  %gather-done = f32[16,128]{1,0:T(8,128)S(1)} all-gather-done(%gather-start)
  %start = (s32[]{:T(128)}, f32[4,8,128]{2,1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)S(1)}) tuple(%zero, %a, %b)
  %loop = (s32[]{:T(128)}, f32[4,8,128]{2,1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)S(1)}) while(%start), condition=%condition, body=%body
  ROOT %result = f32[4,8,128]{2,1,0:T(8,128)} get-tuple-element(%loop), index=1
}
"""  # noqa: E501


def test_a_tpu_program():
    found = planning.totals(TPU_TEXT)
    one = 8 * 128 * 4  # bytes of a row of tiles
    # Each trip reads a slice, writes it back and writes [8, 10], which fills a tile; s32[] is on
    # chip, and so are y and what is reduced. The gather reads one row of tiles.
    assert found.bytes == 5 * 3 * one + one
    assert found.cycles == 500
    assert found.unknown_loops == 0
    assert found.collectives == {
        "all-gather": planning.Collective(1, 2 * one),
        "all-reduce": planning.Collective(5, 5 * one),
    }


def test_a_loop_of_unknown_trips_is_reported():
    found = planning.totals(TPU_TEXT.replace("direction=LT", "direction=NE"))
    assert found.unknown_loops == 1
    assert found.cycles == 100


@pytest.fixture(scope="module")
def scanned():
    """A gradient through scanned layers on 8 devices: trace and compiled program."""
    mesh = mesh_lib.make_mesh()
    whole, rows = mesh_lib.replicated(mesh), mesh_lib.split(mesh)

    def loss(w, x):
        return jnp.sum(jax.lax.scan(lambda x, w: (jnp.sin(x @ w), None), x, w)[0])

    step = jax.jit(jax.grad(loss), in_shardings=(whole, rows), out_shardings=whole)
    traced = step.trace(jnp.ones((6, 32, 32)), jnp.ones((64, 32)))
    return traced, traced.lower().compile()


def test_loops_are_multiplied(scanned):
    traced, compiled = scanned
    # Forward, gradient of inputs, gradient of weights: three products a layer.
    assert planning.matmul_flops(traced.jaxpr) == 6 * 3 * 2 * 64 * 32 * 32
    found = planning.totals(compiled.as_text())
    assert found.unknown_loops == 0
    reduced = found.collectives["all-reduce"]
    assert reduced.bytes == 6 * 32 * 32 * 4  # whether in the loop or after it
    assert found.bytes > 2 * compiled.cost_analysis()["bytes accessed"]


def test_without_loops_the_bytes_are_those_of_xla():
    f = lambda x, w: jnp.tanh(x @ w).sum(0) + x[3]
    compiled = jax.jit(f).lower(jnp.ones((64, 64)), jnp.ones((64, 64))).compile()
    theirs = compiled.cost_analysis()["bytes accessed"]
    assert planning.totals(compiled.as_text()).bytes == pytest.approx(theirs, rel=0.1)


def test_flops_of_convolutions_branches_and_recomputation():
    images, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))

    def convolve(x, k, stride=1):
        return jax.lax.conv_general_dilated(
            x, k, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    count = lambda f, *args: planning.matmul_flops(jax.jit(f).trace(*args).jaxpr)
    once = 2 * (2 * 8 * 8 * 5) * 27
    assert count(convolve, images, kernel) == once
    assert count(lambda x, k: convolve(x, k, 2), images, kernel) == once // 4
    # Each gradient costs as much as the convolution, though the strided one spreads zeros.
    loss = lambda stride: lambda *args: convolve(*args, stride).sum()
    step = lambda stride: jax.value_and_grad(loss(stride), (0, 1))
    assert count(step(1), images, kernel) == 3 * once
    assert count(step(2), images, kernel) == pytest.approx(3 * once // 4, rel=0.1)
    twice = jax.grad(lambda x: jax.checkpoint(lambda x: jnp.sin(x @ x))(x).sum())
    assert count(twice, jnp.ones((4, 4))) == 4 * 2 * 4**3  # forward, again, two gradients
    branch = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)
    assert count(branch, jnp.ones((4, 4))) == 2 * 2 * 4**3


def test_too_much_memory_is_told_in_bytes():
    class Lowered:
        def compile(self):
            raise jax.errors.JaxRuntimeError(
                "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
                "temporaries (24.00G) exceeds available HBM (15.75G). HLO module: jit_step."
            )

    with pytest.raises(planning.OutOfMemory, match="needs 25769803776 bytes") as caught:
        planning.compile_step(Lowered())
    assert caught.value.available == 15.75 * 2**30


def test_chips_are_found_by_device_kind():
    assert planning.chip_of("cpu") is None
    clocks = {chip.name: round(chip.clock / 1e9, 2) for chip in planning.CHIPS.values()}
    assert clocks == {"v4": 1.05, "v5e": 1.5, "v5p": 1.75, "v6e": 1.75}


def test_the_table_of_a_chip():
    chip = planning.CHIPS["TPU v5 lite"]
    record = {
        "chip": "v5e", "chips": 4, "batch_size": 256, "num_steps": 36_000, "flops": 4 * 197e10,
        "memory": {"argument": 2**30, "total": 2**31, "available": chip.hbm_bytes, "over": 0},
        "fits": True, "bytes": 819e7, "cycles": int(chip.clock / 10), "collectives": {},
        "seconds": {"compile": 1.0},
    }  # fmt: skip
    record |= planning.speed(record, chip)
    assert record["step_seconds"]["compiler"] == pytest.approx(0.1)
    assert record["step_seconds"]["roofline"] == pytest.approx(0.01)  # of both
    assert record["utilisation"] == pytest.approx(0.1)
    assert record["examples_per_second"] == pytest.approx(2560)
    assert record["hours"] == pytest.approx(1)
    text = planning.table(record)
    assert "2 GiB of 15.75 GiB: fits" in text
    assert "1.00 hours, 4.0 chip hours" in text
    record["memory"]["over"], record["fits"] = 3 * 2**20, False
    assert "too much by 3 MiB" in planning.table(record)


def test_long_work_tells_of_itself_until_it_ends(caplog):
    with caplog.at_level("INFO", logger="absl"), planning.reporting("compiling", every=0.01):
        time.sleep(0.2)
    told = [r.getMessage() for r in caplog.records]
    assert 1 < len(told) <= 20
    assert told[0].startswith("compiling, 0 s so far")
    time.sleep(0.05)
    assert len(caplog.records) == len(told)


def described(width, devices):
    """A step of one product on its devices, whose count of FLOPs is known."""
    mesh = mesh_lib.make_mesh(jax.devices()[:devices])

    def loss_fn(params, model_state, batch, *, key, step):
        x = batch["image"].astype(jnp.float32) * batch["weight"]
        return jnp.mean((x @ params) ** 2), (model_state, {})

    tx = optax.sgd(0.1)
    init = lambda key: (jnp.ones((6, width)), {})
    batch = {
        "image": jax.ShapeDtypeStruct((8, 6), jnp.uint8),
        "weight": jax.ShapeDtypeStruct((8, 1), jnp.float32),
    }
    return train.Blueprint(
        lambda: train.create_state(init, tx, key=jax.random.key(0), mesh=mesh),
        train.make_train_step(loss_fn, tx, mesh=mesh),
        batch,
        num_steps=1,
        batch_size=8,
        mesh=mesh,
    )


def test_steps_timed_in_turns_make_a_table(monkeypatch):
    variants = [planning.Variant(f"width={w}", d, described(w, d)) for w, d in ((4, 1), (8, 2))]
    assert [v.flops for v in variants] == [2 * 2 * 8 * 6 * 4, 2 * 2 * 8 * 6 * 8]
    images, weights = variants[1].batch["image"], variants[1].batch["weight"]
    assert len(np.unique(images)) > 10
    np.testing.assert_array_equal(weights, 1)
    assert len(images.sharding.device_set) == 2
    order = []
    for v, seconds in zip(variants, (2.0, 4.0), strict=True):
        run = lambda steps, v=v, seconds=seconds: order.append(v.label) or (seconds, 1.0)
        monkeypatch.setattr(v, "run", run)
    seconds, rates = planning.measure(variants, rounds=2, steps=3)
    assert order == ["width=4", "width=8", "width=8", "width=4"]
    assert rates.shape == (2,)
    record = planning.timing_record("train_x", variants, seconds, rates)
    first, second = record["variants"]
    assert (first["examples_per_s"], second["examples_per_s"]) == (4.0, 2.0)
    assert second["ratio"] == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert second["flops_per_s"] == pytest.approx(1536 / 4)
    assert (second["devices"], second["batch_size"]) == (2, 8)
    text = planning.timing_table(record)
    assert text.startswith("train_x, 8 x ")
    assert "4000.00" in text.splitlines()[-1]
    assert text.endswith("2.00 (2.00 to 2.00)  width=8")
