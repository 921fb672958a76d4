"""Every config that ships: presets load, keys are those of the functions, commands can be given."""

import re
import shlex

import pytest
from processes import ROOT

from jaxlab import launch
from jaxlab.errors import InputError
from jaxlab.launch import config as configs
from jaxlab.launch import help as help_text
from jaxlab.tasks import classification, compression, images, question_generation
from jaxlab.tasks.classification import settings

SECTIONS = {
    "nvae": images.KEYWORDS,
    "classifier": settings.KEYWORDS,
    "theseus": compression.KEYWORDS,
    "qa_generation": question_generation.KEYWORDS,
}
FILES = sorted(p for p in (ROOT / "configs").rglob("*.py") if p.stem != "base")
PRESETS = {
    "studies/flooding": ("sinusoid", "noise0-sgd", "noise20-momentum", "noise40-adam", "tiny"),
    "theseus/study": ("headlines", "headlines-tiny", "rotten_tomatoes-6to3", "iflytek-few"),
}


def cases():
    """(path, preset) of all, the presets being those that `get_config` names."""
    for path in FILES:
        name = str(path.relative_to(ROOT / "configs").with_suffix(""))
        text = re.search(r'def get_config.*?"""(.*?)"""', path.read_text(), re.DOTALL)[1]
        for preset in PRESETS.get(name, ("", *re.findall(r'"(\w[\w-]*)"', text))):
            yield pytest.param(name, preset, id=f"{name}:{preset}")


def read(name, preset):
    return configs.load(f"configs/{name}.py" + (f":{preset}" if preset else ""))


@pytest.mark.parametrize(("name", "preset"), list(cases()))
def test_presets_load_and_their_keys_are_known(name, preset):
    config = read(name, preset)
    for section, known in SECTIONS.get(name.split("/")[0], {}).items():
        configs.check_section(section, config[section].to_dict(), known)
    if name.startswith("studies/"):
        for arm in classification.arms_of(config).values():
            for setting, _ in classification.candidates(config, arm):
                for section, values in setting.items():
                    configs.check_section(section, values, settings.STUDY_KEYWORDS[section])


# What the data or the script say, not the config.
OF_OTHERS = {"nvae.model": {"image_size", "channels", "crop", "likelihood", "bits"}}


@pytest.mark.parametrize("task", ["nvae", "classifier"])
def test_every_option_can_be_set_by_a_flag_in_every_recipe(task):
    for path in FILES:
        if path.parent.name == task:
            config = read(f"{task}/{path.stem}", "")
            for section, known in SECTIONS[task].items():
                left = {*known} - {*config[section]} - OF_OTHERS.get(f"{task}.{section}", set())
                assert not left, (path.stem, section)


@pytest.mark.parametrize(
    "task", ["theseus/study", "qa_generation/english", "qa_generation/chinese"]
)
def test_methods_can_be_set_by_a_flag(task):
    config = read(task, "")
    for section in {"optimizer", "objective"} & {*SECTIONS[task.split("/")[0]]}:
        assert {*SECTIONS[task.split("/")[0]][section]} == {*config[section]}


def commands():
    for path in FILES:
        text = path.read_text().split('"""')[1].replace("\\\\\n", " ").replace("\\\n", " ")
        for line in re.findall(r"(?:^    |`)(python scripts/[^`\n]*)", text, re.MULTILINE):
            yield pytest.param(path, shlex.split(line), id=f"{path.parent.name}/{path.stem}")
        for flag in re.findall(r"`?(--config\.[\w.]+=[^\s`,)]+)", text):
            yield pytest.param(path, [flag], id=f"{path.parent.name}/{path.stem}")


@pytest.mark.parametrize(("path", "words"), list(commands()))
def test_commands_of_the_docstrings_can_be_given(path, words):
    scripts = [word for word in words if word.startswith("scripts/")]
    assert all((ROOT / word).is_file() for word in scripts)
    config = configs.load(configs.given(["", *words]) or str(path))
    known = SECTIONS.get(path.parent.name, {})
    for word in words:
        if match := re.fullmatch(r"--config\.([\w.]+)=.*", word):
            configs._find_key(config, match[1], known)


def test_recipes_are_what_differs_from_the_base():
    """The published numbers, as they were before the recipes shared a base."""
    cifar = read("nvae/cifar10", "")
    assert (cifar.model.groups, cifar.model.flows, cifar.model.remat) == ((30,), 1, "full")
    assert (cifar.optimizer.name, cifar.optimizer.l2, cifar.optimizer.eps) == ("adamax", 3e-4, 1e-3)
    assert (cifar.optimizer.warmup_steps, cifar.step.ema_decay) == (975, 0.9995)
    assert read("nvae/ffhq256", "").optimizer.learning_rate == 8e-3
    assert read("nvae/ffhq256", "").loss.penalty == 1e-1
    assert read("nvae/celebahq256", "").loss.penalty == 1e-2


def test_presets_combine():
    both = read("nvae/cifar10", "cpu,bf16")
    assert (both.model.groups, both.model.dtype) == ((3, 2), "bfloat16")
    assert read("nvae/mnist", "tiny,bf16").model.dtype == "bfloat16"
    later = read("nvae/mnist", "cpu,tiny")
    assert (later.num_steps, later.model.patch) == (10, 2)
    with pytest.raises(InputError, match="preset is 'large', must be one of tiny, bf16, cpu"):
        read("nvae/mnist", "tiny,large")


def test_a_key_that_the_base_lacks_is_an_error():
    with pytest.raises(InputError, match=r"no config key 'model.widht': there are width"):
        launch.recipe({"model": {"width": 1}}, {"model.widht": 2})


def test_an_old_flag_says_where_its_number_is_now():
    config = read("nvae/mnist", "")
    with pytest.raises(configs.UsageError, match=r"'warmup_steps': did you mean optimizer.warmup"):
        configs._find_key(config, "warmup_steps", {})
    with pytest.raises(configs.UsageError, match=r"'optimizer.momentun': did you mean momentum"):
        configs._find_key(config, "optimizer.momentun", images.KEYWORDS)


def test_help_lists_the_config_that_is_given_its_presets_and_types():
    lines = help_text._keys("configs/nvae/mnist.py:tiny,bf16", images.KEYWORDS)
    assert lines[1:3] == [
        'Presets: "tiny", "bf16" and "cpu", or several with commas.',
        "Config keys, with the values of configs/nvae/mnist.py:tiny,bf16:",
    ]
    pairs = [line.strip().split("=", 1) for line in lines[3:] if "=" in line]
    found = {key: shown.split() for key, shown in pairs}
    assert found["--config.model.dtype"] == ["bfloat16", "str"]
    assert found["--config.optimizer.weissi"] == ["None", "float", "or", "None"]
    assert found["--config.num_steps"] == ["10", "int"]
    assert configs.given(["x", "--config=a.py", "--config.b=1", "--config=c.py"]) == "c.py"
