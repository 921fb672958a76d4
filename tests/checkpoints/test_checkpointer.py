"""`jaxlab.checkpoints.checkpointer`: what is saved, kept and read back."""

import pathlib
import sys
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_toy import Position, equal, fill, make_state
from orbax.checkpoint import v1 as ocp

from jaxlab import checkpoints, mesh, train
from jaxlab.checkpoints import Checkpointer, CheckpointMismatchError, checkpointer, load_params


@pytest.mark.parametrize("ema", [True, False])
def test_everything_comes_back_bit_for_bit(tmp_path, ema):
    state = make_state(4, ema=ema, value=0.1)
    saved, position = Checkpointer(tmp_path), Position({"a": {"next_index": 4}})
    saved.save(state, position)
    position.state = None
    restored = Checkpointer(tmp_path).restore_latest(make_state(ema=ema), position)
    equal(restored, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(restored.opt_state, state.opt_state)
    assert type(restored.opt_state) is type(state.opt_state)
    assert position.state == {"a": {"next_index": 4}}


def test_shapes_are_enough_to_restore(tmp_path):
    state = make_state(4, value=0.1)
    Checkpointer(tmp_path).save(state)
    equal(Checkpointer(tmp_path).restore_latest(jax.eval_shape(make_state)), state)


def test_positions_may_be_bytes(tmp_path):
    Checkpointer(tmp_path).save(make_state(1), Position(b"\xff\x00"))
    position = Position(b"")
    Checkpointer(tmp_path).restore_latest(make_state(), position)
    assert position.state == b"\xff\x00"


def test_an_empty_folder_restores_nothing(tmp_path):
    assert Checkpointer(tmp_path / "new").restore_latest(make_state()) is None
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        load_params(tmp_path / "new")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_params(tmp_path / "never")


@pytest.mark.parametrize(("mode", "best"), [("min", 2), ("max", 4)])
def test_the_latest_and_the_best_are_kept(tmp_path, mode, best):
    saved = Checkpointer(tmp_path, keep_latest=2, best_metric="nelbo", best_mode=mode)
    for step, nelbo in enumerate((5.0, 1.0, np.nan, 9.0, 4.0, None, 3.0), start=1):
        saved.save(make_state(step), metrics=None if nelbo is None else {"nelbo": nelbo})
    assert saved.steps == [best, 6, 7]
    again = Checkpointer(tmp_path, best_metric="nelbo", best_mode=mode)
    assert again.best_step == best
    assert int(again.restore(make_state(), step="best").step) == best
    step, *_ = load_params(tmp_path, step="best", best_metric="nelbo", best_mode=mode)
    assert step == best


def test_saving_a_step_again_replaces_it(tmp_path):
    saved = Checkpointer(tmp_path)
    saved.save(make_state(5, value=1.0))
    saved.save(make_state(5, value=2.0))
    assert saved.steps == [5]
    assert float(saved.restore_latest(make_state()).params["dense"]["kernel"][0, 0]) == 2.0


def damage(path: pathlib.Path, how: str) -> None:
    if how == "truncate":
        with open(path, "r+b") as file:
            file.truncate(path.stat().st_size // 2)
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["truncate", "delete"])
@pytest.mark.parametrize(
    "pattern",
    [
        "_CHECKPOINT_METADATA",
        "state/_METADATA",
        "state/manifest.ocdbt",
        "state/d/*",
        "state/ocdbt.process_0/d/*",
    ],
)
def test_a_truncated_checkpoint_is_named_and_the_one_before_used(tmp_path, warnings, pattern, how):
    fill(tmp_path)
    for path in (tmp_path / "30").glob(pattern):
        damage(path, how)
    position = Position(None)
    saved = Checkpointer(tmp_path)
    restored = saved.restore_latest(make_state(), position)
    equal(restored, make_state(20, value=20.0))
    assert position.state == {"next_index": 20}
    assert any("checkpoint 30 not used" in text and "truncated" in text for text in warnings())
    # It is out of the way, and kept.
    assert saved.steps == [10, 20]
    assert (tmp_path / "30.unusable").is_dir()
    saved.save(make_state(30))
    assert Checkpointer(tmp_path).steps == [10, 20, 30]


def test_a_foreign_folder_is_named_and_passed_over(tmp_path, warnings):
    fill(tmp_path)
    (tmp_path / "900").mkdir()
    (tmp_path / "900" / "model.bin").write_text("theirs")
    (tmp_path / "notes").mkdir()
    (tmp_path / "700").write_text("a file")
    saved = Checkpointer(tmp_path, keep_latest=1)
    assert int(saved.restore_latest(make_state()).step) == 30
    assert any("checkpoint 900 not used" in text and "foreign" in text for text in warnings())
    saved.save(make_state(40))
    assert saved.steps == [40]  # and not 900, which would have pushed it out
    assert (tmp_path / "900.unusable" / "model.bin").read_text() == "theirs"
    assert (tmp_path / "notes").is_dir()


def test_another_model_is_an_error_that_lists_the_leaves(tmp_path):
    fill(tmp_path, width=5)
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    state = make_state(width=3)
    state = state.replace(params={**state.params, "extra": jnp.ones(2)})
    with pytest.raises(CheckpointMismatchError) as caught:
        Checkpointer(tmp_path, keep_latest=1).restore_latest(state)
    text = str(caught.value)
    assert "params/dense/kernel seen float32[2, 5], wanted float32[2, 3]" in text
    assert "params/extra seen absent, wanted float32[2]" in text
    assert "opt_state/1/0/mu/dense/bias" in text
    assert "30, 20, 10: does not fit" in text
    assert "\n" not in text
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before


def test_one_checkpoint_of_another_model_is_passed_over(tmp_path, warnings):
    fill(tmp_path, steps=(10,))
    saved = Checkpointer(tmp_path)
    saved.save(make_state(20, width=5))
    assert int(saved.restore_latest(make_state()).step) == 10
    assert any("checkpoint 20 not used" in t and "does not fit" in t for t in warnings())


def test_every_checkpoint_truncated_is_an_error_not_a_fresh_start(tmp_path):
    fill(tmp_path)
    for step in (10, 20, 30):
        damage(tmp_path / str(step) / "state" / "manifest.ocdbt", "truncate")
    with pytest.raises(CheckpointMismatchError, match="no usable checkpoint"):
        Checkpointer(tmp_path).restore_latest(make_state())
    assert (tmp_path / "30").is_dir()


@pytest.mark.parametrize("reading", ["checkpointables_metadata", "load_checkpointables"])
def test_sigterm_while_reading_is_no_broken_checkpoint(tmp_path, monkeypatch, reading):
    fill(tmp_path)
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    saved = Checkpointer(tmp_path)

    def stopped(*_):
        raise train.Interrupted("SIGTERM")

    monkeypatch.setattr(checkpointer.ocp, reading, stopped)
    with pytest.raises(train.Interrupted):
        saved.restore_latest(make_state())
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before


def test_what_a_killed_save_left_is_swept_away(tmp_path):
    fill(tmp_path)
    left = tmp_path / "40.orbax-checkpoint-tmp"
    left.mkdir()
    (left / "part").write_text("x")
    saved = Checkpointer(tmp_path)
    assert saved.steps == [10, 20, 30]
    assert int(saved.restore_latest(make_state()).step) == 30
    saved.save(make_state(40))
    assert not left.exists()


def test_reading_disturbs_no_running_save(tmp_path, warnings):
    fill(tmp_path)
    writing = tmp_path / "40.orbax-checkpoint-tmp"
    writing.mkdir()
    load_params(tmp_path)
    damage(tmp_path / "30" / "state" / "manifest.ocdbt", "truncate")
    saved = Checkpointer(tmp_path, read_only=True)
    assert int(saved.restore_latest(make_state()).step) == 20
    assert any("checkpoint 30 not used, left alone" in text for text in warnings())
    assert writing.exists()
    assert (tmp_path / "30").exists()
    with pytest.raises(ValueError, match="read-only"):
        saved.save(make_state(50))


@pytest.mark.parametrize("ema", [True, False])
def test_parameters_load_without_model_or_optimizer(tmp_path, ema):
    state = make_state(3, value=0.5)
    state = state.replace(ema_params=jax.tree.map(lambda x: x + 1, state.params))
    Checkpointer(tmp_path).save(state)
    step, params, model_state = load_params(tmp_path, ema=ema)
    assert step == 3
    chex.assert_trees_all_equal(params, state.ema_params if ema else state.params)
    chex.assert_trees_all_equal(model_state, state.model_state)


def test_parameters_of_a_run_without_averages(tmp_path):
    state = make_state(3, ema=False).replace(model_state={})
    Checkpointer(tmp_path).save(state)
    _, params, model_state = load_params(tmp_path)
    chex.assert_trees_all_equal(params, state.params)
    assert model_state == {}


def test_a_state_moves_between_numbers_of_devices(tmp_path):
    state = make_state(3, value=0.5)
    Checkpointer(tmp_path).save(state)
    whole = mesh.replicated(mesh.make_mesh())
    restored = Checkpointer(tmp_path).restore_latest(jax.device_put(make_state(), whole))
    assert all(leaf.sharding == whole for leaf in jax.tree.leaves(restored))
    equal(restored, state)


def test_states_other_than_ours(tmp_path):
    class Pair(NamedTuple):
        a: jax.Array
        b: None

    state = {"step": jnp.int32(2), "nested": [Pair(jnp.ones(2), None)]}
    Checkpointer(tmp_path).save(state)
    restored = Checkpointer(tmp_path).restore_latest(state)
    assert isinstance(restored["nested"][0], Pair)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"keep_latest": 0}, "keep_latest is 0"), ({"best_mode": "low"}, "best_mode is 'low'")],
)
def test_wrong_arguments(tmp_path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        Checkpointer(tmp_path, **kwargs)


def test_a_position_of_another_form_is_passed_over(tmp_path, warnings):
    class Strict(Position):
        def set_state(self, state):
            self.state = {"next_index": state["next_index"]}

    saved = Checkpointer(tmp_path)
    saved.save(make_state(10), Strict({"next_index": 10}))
    saved.save(make_state(20), Strict({"place": 20}))
    assert int(saved.restore_latest(make_state(), Strict(None)).step) == 10
    assert any("20 not used" in line and "position" in line for line in warnings())


def test_checkpoints_of_earlier_versions_are_read(tmp_path):
    """They left metrics to orbax, in a file of their own, and kept no checksum."""
    with ocp.training.Checkpointer(tmp_path) as old:
        for step, loss in ((1, 2.0), (2, 1.0), (3, float("nan")), (4, 3.0)):
            state = {"step": jnp.int32(step), "w": jnp.ones(2)}
            metadata = {"jaxlab": {"data": [{"next_index": step}]}}
            metrics = {"loss": loss}
            old.save_checkpointables(
                step, {"state": state}, metrics=metrics, custom_metadata=metadata
            )
    (tmp_path / "4" / "metrics" / "metrics").write_text("[]")
    saved, position = Checkpointer(tmp_path, best_metric="loss"), Position(None)
    assert saved.best_step == 2
    assert int(saved.restore_latest(state, position)["step"]) == 4
    assert position.state == {"next_index": 4}


@pytest.mark.parametrize("name", ["lr[0.1]", "[seed]", "a**b/**"])
def test_names_that_the_checkpoint_library_takes_for_patterns(tmp_path, name):
    with pytest.raises(ValueError, match="choose another name"):
        Checkpointer(tmp_path / name / "checkpoints")


@pytest.mark.parametrize("name", ["run 1", "a{b}c", "lr=0.1,ü", "what?"])
def test_other_odd_names(tmp_path, name):
    saved = Checkpointer(tmp_path / name)
    saved.save(make_state(1))
    assert int(saved.restore_latest(make_state()).step) == 1


def test_a_save_that_left_out_a_part_is_an_error(tmp_path, monkeypatch):
    whole = checkpointer.ocp.save_checkpointables

    def partial(path, items, **kwargs):
        state = {k: v for k, v in items["state"].items() if k != "params/dense/bias"}
        whole(path, {"state": state}, **kwargs)

    monkeypatch.setattr(checkpointer.ocp, "save_checkpointables", partial)
    with pytest.raises(checkpoints.SaveError, match="not whole: params/dense/bias seen absent"):
        Checkpointer(tmp_path).save(make_state(1))


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        ValueError(
            "RESOURCE_EXHAUSTED: Error writing local file: Failed to write: No space left on "
            "device [OS error 28: ENOSPC No space left on device] [source locations='x.cc:1']"
        ),
        ValueError(
            'RESOURCE_EXHAUSTED: Error writing local file "/a/b": Failed writing: "/a/b.__lock": '
            "Failed to write 113 bytes to file 11: No space left on device [os_error_code='28']"
        ),
        ExceptionGroup("two", [KeyError("x"), OSError(28, "No space left on device")]),
    ],
)
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, error):
    fill(tmp_path, steps=(10,))

    def full(*_, **__):
        raise RuntimeError("save failed") from error

    saved = Checkpointer(tmp_path)
    monkeypatch.setattr(checkpointer.ocp, "save_checkpointables", full)
    with pytest.raises(checkpoints.SaveError) as caught:
        saved.save(make_state(20))
    assert str(caught.value) == (
        f"checkpoint {tmp_path / '20'} cannot be written: No space left on device; the earlier "
        "ones are as they were, and the same command goes on from there"
    )
    assert int(saved.restore_latest(make_state()).step) == 10


def test_hooks_are_as_before_after_a_failed_read(tmp_path):
    fill(tmp_path)
    hooks = sys.excepthook, sys.unraisablehook
    damage(tmp_path / "30" / "state" / "manifest.ocdbt", "truncate")
    assert int(Checkpointer(tmp_path).restore_latest(make_state()).step) == 20
    assert (sys.excepthook, sys.unraisablehook) == hooks


@pytest.mark.parametrize("order", [(np.nan, 3.0, 2.0), (2.0, np.nan, 3.0), (3.0, 2.0, np.nan)])
def test_nan_is_never_the_best(tmp_path, order):
    saved = Checkpointer(tmp_path, keep_latest=1, best_metric="loss")
    for step, loss in enumerate(order, 1):
        saved.save(make_state(step), metrics={"loss": loss})
    assert saved.best_step == order.index(2.0) + 1
