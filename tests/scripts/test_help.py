"""`--help` of every script exits with 0, and names the flags that the script takes, no others."""

import re

import pytest
from processes import ROOT

SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
# What a script does with a common flag of launch.
READS = {"tensorboard": r"\.tensorboard|options\)", "profile": r"\.profile_dir|options\)"}
READS |= {"data_dir": "data_dir|options", "workdir": "workdir"}
READS |= {"allow_config_change": r"allow_change|options\)"}
READS |= dict.fromkeys(("weights", "step", "best", "pretrained"), r"launch\.load_run\(")
READS |= dict.fromkeys(("init_from", "init_weights", "init_skip"), r"launch\.start(_params)?\b")
OF_LAUNCH = {"compile_cache", "debug", "distributed", "coordinator_address", "num_processes"}
OF_LAUNCH |= {"process_id", "join_timeout", "weights", "step", "best"}
OF_LAUNCH |= {"init_from", "init_weights", "init_skip"}  # which it reads itself


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(call, name):
    code, shown = call(name, "--help")
    assert (code, shown.err) == (0, "")
    source = (ROOT / "scripts" / f"{name}.py").read_text()
    assert shown.out.startswith(source.split('"""')[1].splitlines()[0])
    assert f"python scripts/{name}.py" in shown.out
    assert "\\\n" not in source.split('"""')[1].replace("\\\\\n", "")  # would join two lines
    listed = set(re.findall(r"^  --(\w+) ", shown.out, re.MULTILINE))
    listed -= {"config"}
    defined = {n for n in listed if re.search(rf'flags\.DEFINE_\w+\(\s*"{n}"', source)}
    assert set(re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', source)) == defined
    for flag in listed - defined - OF_LAUNCH:
        assert re.search(READS[flag], source), flag
    keys = set(re.findall(r"^  --config\.([\w.]+)=", shown.out, re.MULTILINE))
    assert bool(keys) == ("default_config=" in source) == ("Presets: " in shown.out)


@pytest.mark.parametrize("form", [("--config=configs/nvae/cifar10.py:cpu",), None])
def test_help_is_that_of_the_config_that_is_given(call, form):
    code, shown = call(
        "train_nvae", "--help", *(form or ("--config", "configs/nvae/cifar10.py:cpu"))
    )
    assert code == 0
    assert "Config keys, with the values of configs/nvae/cifar10.py:cpu:" in shown.out
    assert 'Presets: "tiny", "bf16" and "cpu"' in shown.out
    assert re.search(r"--config.num_steps=18000 +int", shown.out)


def test_help_for_a_config_that_is_not_there_is_one_line(call):
    code, shown = call("train_nvae", "--help", "--config=configs/nowhere.py")
    assert (code, shown.out, shown.err) == (2, "", "error: no config file configs/nowhere.py\n")
