"""The accelerator check: what it finds where all is well, and that it finds what is not."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab import planning
from jaxlab.files import read_json
from jaxlab.launch.config import load
from jaxlab.planning import check
from jaxlab.planning import parity as parity_lib


@pytest.fixture(scope="module")
def one():
    return mesh_lib.make_mesh(jax.devices()[:1])


@pytest.fixture
def folder(tmp_path):
    planning.make_data(tmp_path)
    return tmp_path


def tiny():
    return load("configs/classifier/fashion_long_tail.py:tiny").to_dict()


def test_every_device_multiplies_whole_numbers():
    versions, *rows = planning.check_devices(jax.devices()[:2])
    assert versions.found["devices"] == 2
    assert versions.found["jax"] == jax.__version__
    assert [row.wrong for row in rows] == ["", ""]
    assert rows[1].found["kind"] == jax.devices()[1].device_kind


def test_bert_is_as_stored_and_a_wrong_activation_is_not(monkeypatch):
    (row,) = planning.check_parity(("float32",), ("bert",))
    assert row.wrong == ""
    assert 0 <= max(row.found.values()) < 1e-4
    monkeypatch.setattr(
        parity_lib.bert, "Bert", lambda make=parity_lib.bert.Bert, **k: make(activation="relu", **k)
    )
    (row,) = planning.check_parity(("bfloat16",), ("bert",))
    assert row.wrong == "more than 0.02 away from a CPU: bert gradients"


def test_values_that_are_not_finite_are_off():
    stored = read_json(parity_lib.STORED)
    stored["float32"]["bert"]["output"][0] = float("nan")
    found = planning.deviations("float32", models=("bert",), stored=stored)
    assert np.isnan(found["bert output"])
    assert not found["bert output"] <= planning.KINDS["float32"].tolerance


@pytest.mark.slow
def test_the_stored_values_are_those_of_this_code(tmp_path):
    planning.store_parity(tmp_path / "now.json")
    now, stored = read_json(tmp_path / "now.json"), read_json(parity_lib.STORED)
    for dtype, models in stored.items():
        for model, parts in models.items():
            for part, values in parts.items():
                most = 1e-4 if dtype == "float32" else 2e-2
                error = np.abs(np.subtract(now[dtype][model][part], values)).max()
                assert error <= most * np.abs(values).max(), (dtype, model, part)


def test_a_step_of_a_script_is_timed_and_an_error_does_not_end_the_rest(one, folder):
    configs = {"train_classifier": tiny(), "train_nvae": {**tiny(), "model": {}}}
    good, bad = planning.check_steps(configs, one, folder, steps=2)
    assert good.wrong == ""
    assert good.found["steps/s"] > 0
    assert bad.wrong.startswith("ValueError: the config is not one of train_nvae")


def test_figures_that_are_not_finite_are_named(one, folder):
    config = tiny()
    config["optimizer"] |= {"learning_rate": 1e30, "schedule": "constant"}
    (row,) = planning.check_steps({"train_classifier": config}, one, folder, steps=4)
    assert row.wrong.startswith("not finite: ")
    assert "objective" in row.wrong


def test_a_checkpoint_goes_on_bit_for_bit(one, folder, monkeypatch):
    (row,) = planning.check_resume("train_classifier", tiny(), one, folder)
    assert row.wrong == ""
    assert row.found["arrays"] > 4

    def damaged(self, like):
        state = original(self, like)
        return dataclasses.replace(state, params=jax.tree.map(lambda x: x + 1e-6, state.params))

    original = check.checkpoints.Checkpointer.restore_latest
    monkeypatch.setattr(check.checkpoints.Checkpointer, "restore_latest", damaged)
    (row,) = planning.check_resume("train_classifier", tiny(), one, folder / "other")
    assert row.wrong.endswith("arrays differ from those saved")


def test_bits_are_compared_not_values():
    a = {"x": jnp.float32(0.0), "key": jax.random.key(0)}
    assert check._differing(a, a) == 0
    assert check._differing(a, {**a, "x": jnp.float32(-0.0)}) == 1
    assert check._differing(a, {**a, "key": jax.random.key(1)}) == 1


def test_the_batch_is_made_a_multiple_of_the_devices(folder, monkeypatch):
    monkeypatch.setattr(check, "Variant", lambda script, devices, found: found)
    mesh = mesh_lib.make_mesh(jax.devices()[:3])
    assert check.compiled("train_classifier", tiny(), mesh, folder).batch_size == 9


def test_a_benchmark_compares_steps_with_a_product(one, folder, monkeypatch):
    monkeypatch.setattr("jaxlab.planning.benchmark._make_product", lambda: (lambda: 1.0, 1e9))
    (row,) = planning.check_benchmark({"mine": ("train_classifier", tiny())}, one, folder, steps=1)
    assert row.wrong == ""
    assert {"compile, s", "ms/step", "examples/s", "TFLOP/s"} < set(row.found)


def test_the_table_says_what_is_off():
    rows = [planning.Row("steps", "a", {"steps/s": 2.0}), planning.Row("resume", "b", {}, "lost")]
    lines = planning.check_table(rows).splitlines()
    assert lines == ["steps      a  steps/s 2", "resume     b  OFF: lost", "1 of 2 checks off"]
    assert planning.check_table(rows[:1]).endswith("none of 1 checks off")


@pytest.mark.slow
def test_the_script_checks_everything_without_a_data_folder(run, tmp_path):
    out = tmp_path / "check.json"
    done = run("check_accelerator", "--tiny", f"--out={out}")
    assert "none of 13 checks off" in done.stdout
    record = json.loads(out.read_text())
    assert {row["part"] for row in record["checks"]} == {*planning.PARTS}
    assert not any(row["wrong"] for row in record["checks"])
