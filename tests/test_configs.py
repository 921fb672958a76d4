"""Every config that ships: presets load, keys are those of the functions, commands can be given."""

import re
import shlex

import pytest
from processes import ROOT

from jaxlab import launch
from jaxlab.errors import InputError
from jaxlab.launch import config as configs
from jaxlab.launch import help as help_text
from jaxlab.tasks import classification, compression, embeddings, images, question_generation
from jaxlab.tasks.classification import settings

STUDY = {n if n == "report" else f"base.{n}": k for n, k in settings.STUDY_KEYWORDS.items()}
SECTIONS = {
    "nvae": images.KEYWORDS,
    "classifier": settings.KEYWORDS,
    "studies": STUDY,
    "theseus": compression.KEYWORDS,
    "qa_generation": question_generation.KEYWORDS,
    "embeddings": embeddings.KEYWORDS,
    # Files of another kind than their room, and rooms of two kinds.
    "studies/nvae": {f"base.{name}": known for name, known in images.KEYWORDS.items()},
    **{
        f"embeddings/{name}": {part: embeddings.KEYWORDS[part] for part in parts}
        for name, parts in (
            ("sweep", ("fit", "optimizer")),
            *((each, ("blocks", "optimizer")) for each in ("negative_sampling", "text8")),
        )
    },
}
FILES = sorted(p for p in (ROOT / "configs").rglob("*.py") if p.stem != "base")
NAMES = [str(path.relative_to(ROOT / "configs").with_suffix("")) for path in FILES]
PAIRS = {
    "classifier/cifar_long_tail": ("cifar100,adjusted", "cpu,adjusted", "cpu,tiny"),
    "classifier/flooding": ("cifar100,augmented", "jpeg,tiny"),
    "classifier/weissi": ("adamw,jpeg", "adamw,tiny"),
    "embeddings/text8": ("40k,half", "70k,double", "70k,tiny"),
    "studies/flooding": (
        *("noise0-sgd", "noise20-momentum", "noise40-adam", "sinusoid,tiny"),
        *("spiral,paper", "gaussians,paper", "gaussians,paper,tiny"),
    ),
    "studies/long_tail": ("cifar100,tiny", "ir100,tiny", "cifar100_lt,tiny"),
    "studies/weissi": ("resnet-norm,tiny", "sgd,tiny"),
    "theseus/glue": ("mnli,12to6,bf16", "qnli,tiny", "stsb,weissi", "weissi,tiny"),
    "theseus/iflytek": ("12to3,bf16", "12to6,tiny"),
    "theseus/study": ("headlines-tiny", "rotten_tomatoes-6to3", "iflytek-few", "few,6to2,tiny"),
}


def cases():
    """(path, preset) of all, the presets being those that `get_config` names, and some pairs."""
    for path, name in zip(FILES, NAMES, strict=True):
        text = re.search(r'def get_config.*?"""(.*?)"""', path.read_text(), re.DOTALL)[1]
        for preset in ("", *re.findall(r'"(\w[\w-]*)"', text), *PAIRS.get(name, ())):
            yield pytest.param(name, preset, id=f"{name}:{preset}")


def read(name, preset):
    return configs.load(f"configs/{name}.py" + (f":{preset}" if preset else ""))


def known_of(name):
    """Section -> what it may hold."""
    return SECTIONS.get(name) or SECTIONS[name.split("/")[0]]


@pytest.mark.parametrize(("name", "preset"), list(cases()))
def test_presets_load_and_their_keys_are_known(name, preset):
    config = read(name, preset)
    configs.conclude(config, {}, (), known_of(name))  # what a script checks before it starts
    if name.startswith("classifier/"):  # names and numbers that go together
        sections = {part: dict(config[part]) for part in settings.SECTIONS}
        settings.check_setting(sections, num_steps=config.num_steps)
    if name.startswith("theseus/"):
        compression.arms.check_study(config.to_dict())
    if name.startswith("qa_generation/"):
        question_generation.check_study(config.to_dict())
    if name == "studies/nvae":
        images.check_study(config.to_dict())
    elif name.startswith("studies/"):
        for arm in classification.arms_of(config).values():
            for setting, _ in classification.candidates(config, arm):
                for section, values in setting.items():
                    configs.check_section(section, values, settings.STUDY_KEYWORDS[section])


OF_DATA = {"image_size", "channels", "crop", "likelihood", "bits"}  # not of the config


def missing(name, config):
    """Keys of functions that a config does not hold."""
    found = {}
    for section, known in known_of(name).items():
        others = OF_DATA if "latents" in known else set()
        found[section] = {*known} - {*configs.inner(config, section)} - others
    return {section: keys for section, keys in found.items() if keys}


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_every_recipe_is_there(name):
    assert not missing(name, read(name, ""))


@pytest.mark.parametrize("name", NAMES)
def test_a_key_that_is_missing_is_noticed(name):
    for section, known in known_of(name).items():
        config = read(name, "")
        inner = configs.inner(config, section)
        key = sorted({*inner} & {*known})[0]
        del inner[key]
        assert missing(name, config) == {section: {key}}


def test_sections_are_the_keywords_of_their_functions():
    """What a script takes from a function's signature, by name, of each room."""
    assert {"tau", "gamma", "flooding", "name"} <= {*SECTIONS["theseus"]["objective"]}
    assert {"remat", "dtype", "attention"} <= {*SECTIONS["qa_generation"]["model"]}
    assert {"files", "path", "name", "shares"} <= {*SECTIONS["qa_generation"]["data"]}
    assert not {"data_dir", "skipped"} & {*SECTIONS["qa_generation"]["data"]}
    assert {"norms", "epsilons", "taus"} <= {*STUDY["report"]}
    assert {"path", "skip_factor"} <= {*STUDY["base.optimizer"]}
    assert {"every", "softmax"} <= {*SECTIONS["embeddings"]["fit"]}


def commands():
    for path in FILES:
        text = path.read_text().split('"""')[1].replace("\\\\\n", " ").replace("\\\n", " ")
        for line in re.findall(r"(?:^    |`)(python scripts/[^`\n]*)", text, re.MULTILINE):
            yield pytest.param(path, shlex.split(line), id=f"{path.parent.name}/{path.stem}")
        for flag in re.findall(r"`?(--config\.[\w.]+=[^\s`,)]+)", text):
            yield pytest.param(path, [flag], id=f"{path.parent.name}/{path.stem}")
    text = (ROOT / "docs" / "data.md").read_text().replace("\\\n", " ")
    for line in re.findall(r"^    (python scripts/.*)", text, re.MULTILINE):
        if found := re.search(r"--config=(configs/\w+/\w+\.py)", line):
            yield pytest.param(ROOT / found[1], shlex.split(line), id=f"data.md/{found[1]}")


@pytest.mark.parametrize(("path", "words"), list(commands()))
def test_commands_of_the_docstrings_can_be_given(path, words):
    scripts = [word for word in words if word.startswith("scripts/")]
    assert all((ROOT / word).is_file() for word in scripts)
    config = configs.load(configs.given(["", *words]) or str(path))
    known = known_of(f"{path.parent.name}/{path.stem}")
    for word in words:
        if match := re.fullmatch(r"--config\.([\w.]+)=.*", word):
            configs._find_key(config, match[1], known)


PAGES = [*FILES, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "WORKSPACE.md"]
NAMED = {
    found
    for path in PAGES
    for found in re.findall(r"configs/\w+/\w+\.py(?::[\w,-]+)?", path.read_text())
}
NAMED_PRESETS = sorted(NAMED - {"configs/x.py"})


@pytest.mark.parametrize("given", NAMED_PRESETS)
def test_configs_that_texts_name_load(given):
    if (ROOT / given.split(":")[0]).exists() or ":" in given:
        configs.load(given)


PUBLISHED = [
    name for name, path in zip(NAMES, FILES, strict=True) if "ublished" in path.read_text()
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_say_number_hardware_hours_and_command(name):
    text = " ".join((ROOT / f"configs/{name}.py").read_text().split('"""')[1].split())
    assert f"--config=configs/{name}.py" in text
    for words in (("Published",), ("hours", "minutes"), ("ardware", "used", "GPU", "GTX")):
        assert any(word in text for word in words), words


def test_recipes_are_what_differs_from_the_base():
    """The published numbers, as they were before the recipes shared a base."""
    cifar = read("nvae/cifar10", "")
    assert (cifar.model.groups, cifar.model.flows, cifar.model.remat) == ((30,), 1, "full")
    assert (cifar.optimizer.name, cifar.optimizer.l2, cifar.optimizer.eps) == ("adamax", 3e-4, 1e-3)
    assert (cifar.optimizer.warmup_steps, cifar.step.ema_decay) == (975, 0.9995)
    assert read("nvae/ffhq256", "").optimizer.learning_rate == 8e-3
    assert read("nvae/ffhq256", "").loss.penalty == 1e-1
    assert read("nvae/celebahq256", "").loss.penalty == 1e-2


def test_presets_of_studies_combine():
    tiny, both = read("studies/flooding", "tiny"), read("studies/flooding", "sinusoid,tiny")
    assert tiny.to_dict() == both.to_dict()
    assert read("studies/weissi", "tiny,tiny").to_dict() == read("studies/weissi", "tiny").to_dict()
    noise = read("studies/flooding", "tiny,noise40-adam")
    assert (noise.base.data.name, noise.base.data.noise) == ("fashion_mnist", 0.4)
    assert (noise.base.optimizer.name, noise.base.num_steps) == ("adam", 6)
    assert noise.arms.flooding.grid.objective.level == (0.8,)
    net = read("studies/weissi", "resnet-norm,tiny").base.model
    assert (net.kind, net.norm, net.widths, net.features) == ("resnet", "batch", (4,), None)
    few = read("theseus/study", "rotten_tomatoes,few,6to3")
    assert (few.data.name, few.depths, few.limits.train) == ("rotten_tomatoes", (3,), 1000)
    assert read("theseus/study", "headlines,tiny").depths == (1,)
    less = read("embeddings/sweep", "less,conditional")
    assert (less.share, less.fit.softmax) == (0.1, "conditional")
    with pytest.raises(InputError, match="preset is 'ir7', must be one of ir10, ir50"):
        read("studies/long_tail", "ir7")


def test_recipes_of_studies_are_what_differs():
    """Settings behind the figures of the pages, as they were before the recipes shared a base."""
    flooding = read("studies/flooding", "noise40-sgd")
    assert (flooding.base.num_steps, flooding.base.optimizer.learning_rate) == (4000, 0.1)
    assert (flooding.base.batch_size, flooding.average_last, len(flooding.order)) == (64, 3, 10)
    sinusoid = read("studies/flooding", "sinusoid").base
    assert (sinusoid.num_steps, sinusoid.batch_size, sinusoid.model.norm) == (1500, 100, "batch")
    assert sinusoid.optimizer.learning_rate == 0.01
    spread = read("studies/weissi", "spread").base
    assert (spread.model.gains, spread.num_steps) == ((4.0, 1.0, 0.25, 1.0), 3000)
    assert "path norm" not in read("studies/weissi", "norm").arms
    cifar = read("studies/long_tail", "cifar100")
    assert (cifar.seeds_in_program, cifar.base.num_steps) == ("map", 800)
    assert read("studies/long_tail", "shuttle").base.data.largest is None
    iflytek = read("theseus/study", "iflytek").stages
    assert (iflytek.predecessor.num_steps, iflytek.successor.learning_rate) == (700, 2e-4)
    chinese = read("qa_generation/chinese", "")
    assert (chinese.stages.mlm.learning_rate, chinese.model.max_positions) == (5e-4, 256)


def test_presets_combine():
    both = read("nvae/cifar10", "cpu,bf16")
    assert (both.model.groups, both.model.dtype) == ((4, 2), "bfloat16")
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
        'Presets: "tiny", "bf16", "cpu" and "cpu_long", or several with commas.',
        "Config keys, with the values of configs/nvae/mnist.py:tiny,bf16:",
    ]
    pairs = [line.strip().split("=", 1) for line in lines[3:] if "=" in line]
    found = {key: shown.split() for key, shown in pairs}
    assert found["--config.model.dtype"] == ["bfloat16", "str"]
    assert found["--config.optimizer.weissi"] == ["None", "float", "or", "None"]
    assert found["--config.num_steps"] == ["10", "int"]
    assert configs.given(["x", "--config=a.py", "--config.b=1", "--config=c.py"]) == "c.py"
