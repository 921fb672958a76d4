"""Recipes with published settings: their shapes, sizes and schedules, and that tiny ones train."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import ROOT

from jaxlab import mesh as mesh_lib
from jaxlab import planning
from jaxlab.data import ClassificationSplits, long_tail_counts
from jaxlab.launch import config as configs
from jaxlab.models import bert
from jaxlab.tasks import classification, compression, question_generation
from jaxlab.tasks.compression.arms import check_study

SHAPES = {"cifar10": (32, 32, 3), "cifar100": (32, 32, 3), "mnist": (28, 28, 1)}


def read(name):
    return configs.load(f"configs/{name}").to_dict()


def made_up(shape, classes, count=20):
    """Images at random of every class, as `load_classification` gives them."""
    rng = np.random.default_rng(0)
    part = {
        "x": rng.integers(0, 256, (count, *shape), np.uint8),
        "label": np.arange(count, dtype=np.int32) % classes,
    }
    return ClassificationSplits(part, part, part, classes)


def described(name):
    config = read(f"classifier/{name}")
    classes = 100 if config["data"]["name"] == "cifar100" else 10
    shape = SHAPES.get(config["data"]["name"], (28, 28, 1))
    sets = made_up(shape, classes, max(20, classes))
    return classification.describe(config, sets)[1]


CLASSIFIERS = {
    "cifar_long_tail.py:cifar10": 464_154,
    "cifar_long_tail.py:cifar100,adjusted": 470_004,
    "flooding.py:mnist": 785_000 + 1_001_000 + 10_010,
    "flooding.py:cifar10,augmented": 11_173_962,
    "weissi.py:weissi": 11_173_962,
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_published_classifier_has_its_size(name):
    state, batch = described(name).arguments()
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == CLASSIFIERS[name]
    assert batch["x"].shape[0] == 128


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CLASSIFIERS, "weissi.py:adamw"])
def test_a_step_of_a_published_classifier_keeps_its_shapes(name):
    run = described(name)
    state, batch = run.arguments()
    after, metrics = jax.eval_shape(run.step, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert metrics["error"].shape == ()


@pytest.mark.parametrize(
    "name",
    [
        "cifar_long_tail.py:tiny",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("cifar_long_tail.py:tiny,adjusted", "flooding.py:tiny", "weissi.py:tiny")
        ),
    ],
)
def test_a_tiny_classifier_trains(name):
    run = described(name)
    state = run.create_state()
    before = jax.tree.map(jnp.copy, state.params)
    sets = made_up((28, 28, 1), 10)
    for first in (0, 8):
        rows = {k: jnp.asarray(x[first : first + 8]) for k, x in sets.train.items()}
        state, metrics = run.step(state, rows)
    assert all(np.isfinite(value) for value in metrics.values())
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, state.params)
    assert max(jax.tree.leaves(moved)) > 0


@pytest.mark.parametrize(("name", "classes", "largest"), [("10", 10, 4990), ("100", 100, 499)])
def test_schedules_of_long_tails_are_200_epochs(name, classes, largest):
    config = read(f"classifier/cifar_long_tail.py:cifar{name}")
    epoch = math.ceil(long_tail_counts(classes, largest, 100).sum() / 128)
    assert config["num_steps"] == 200 * epoch
    assert config["optimizer"]["warmup_steps"] == 5 * epoch
    assert np.multiply(config["optimizer"]["drop_at"], 200).tolist() == [160, 180]
    study = configs.load(f"configs/studies/long_tail.py:cifar{name}_lt").to_dict()
    for section in ("model", "objective", "optimizer"):
        for key, value in study["base"][section].items():
            if value is not None:
                assert value == config[section][key], key
    assert study["base"]["num_steps"] == config["num_steps"]
    assert study["base"]["data"]["num_validation"] == config["data"]["num_validation"]


def test_a_study_of_the_paper_has_its_points_and_levels():
    for name in ("sinusoid", "spiral", "gaussians"):
        config = read(f"studies/flooding.py:{name},paper")
        sizes = [config["base"]["data"][f"num_{part}"] for part in ("train", "validation", "test")]
        assert sizes == [100, 100, 20_000]
        assert config["base"]["data"]["name"] == name
        levels = config["arms"]["flooding"]["grid"]["objective"]["level"]
        assert (levels[0], levels[-1], len(levels)) == (0.0, 0.5, 26)
        optimizer = config["base"]["optimizer"]
        assert (optimizer["name"], optimizer["learning_rate"]) == ("adam", 1e-3)


TASKS = ("mrpc", "rte", "cola", "stsb", "sst2", "qnli", "qqp", "mnli")


@pytest.mark.parametrize("name", TASKS)
def test_glue_recipes_are_the_papers_grid(name):
    config = read(f"theseus/glue.py:{name}")
    check_study(config)
    assert config["data"]["name"] == f"glue/{name}"
    assert max(config["buckets"]) == (256 if name == "qnli" else 128)
    stages = config["stages"]
    reached = round(config["curriculum"]["reach"] * stages["replacing"]["num_steps"])
    assert reached in (1000, 5000, 10_000, 30_000)
    assert stages["predecessor"]["num_steps"] % 4 == 0
    assert {stage["learning_rate"] for stage in stages.values()} == {2e-5}
    check_study(read(f"theseus/glue.py:{name},weissi"))


def test_iflytek_is_the_posts_schedule():
    config = read("theseus/iflytek.py")
    check_study(config)
    epoch = -(-12_133 // config["batch_size"])
    steps = {kind: stage["num_steps"] / epoch for kind, stage in config["stages"].items()}
    assert steps == {"predecessor": 5, "direct": 5, "replacing": 10, "successor": 5, "distill": 0}
    assert (config["constant_rate"], config["init_from"]) == (0.5, "pretrained")


@pytest.mark.parametrize("name", ["squad", "webqa"])
def test_question_recipes_are_consistent(name):
    config = read(f"qa_generation/{name}.py")
    question_generation.check_study(config)
    limits = config["limits"]
    longest = limits["passage"] + limits["answer"] + limits["question"] + 4
    assert longest <= max(config["stages"]["seq2seq"]["buckets"]) <= 512


def test_word_vectors_are_as_wide_as_the_post_says():
    for name, size, dim in (("20k", 20_000, 82), ("40k", 40_000, 88), ("70k", 70_000, 93)):
        config = read(f"embeddings/text8.py:{name}")
        assert (config["max_words"], config["dim"]) == (size, dim)
    assert read("embeddings/text8.py:70k,double")["dim"] == 186
    assert read("embeddings/text8.py:half")["dim"] == 41


def test_bert_base_has_its_parameters():
    """109,482,240 without heads, of 30,522 tokens."""
    model = bert.Bert(vocab_size=30_522)
    ids = jax.ShapeDtypeStruct((1, 8), jnp.int32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), ids)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 109_482_240


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Texts and questions in the places where the recipes look for theirs."""
    place = tmp_path_factory.mktemp("data")
    planning.make_data(place)
    whole = json.loads((place / "questions.json").read_text())
    (place / "squad-qg").mkdir()
    for split, rows in (
        ("train", slice(0, 150)),
        ("dev", slice(150, 175)),
        ("test", slice(175, 200)),
    ):
        part = {**whole, "data": whole["data"][rows]}
        (place / "squad-qg" / f"{split}.json").write_text(json.dumps(part))
    entries = []
    for article in whole["data"]:
        (paragraph,) = article["paragraphs"]
        passage, (asked,) = paragraph["context"], paragraph["qas"]
        answer = asked["answers"][0]["text"]
        found = [{"passage": passage, "answer": answer}, {"passage": passage, "answer": ""}]
        entries.append({"id": asked["id"], "question": asked["question"], "passages": found})
    for name, rows in (("WebQA", entries[:100]), ("SogouQA", entries[100:])):
        (place / f"{name}.json").write_text(json.dumps(rows))
    return place


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["sst2,12to6", "weissi,12to6"])
def test_a_replacing_step_of_bert_base_has_its_shapes(preset, folder):
    config = planning.check.made_up_config(
        "compress_bert", read(f"theseus/glue.py:{preset}"), folder
    )
    mesh = mesh_lib.make_mesh(jax.devices()[:1])
    run = compression.blueprint(config, mesh, data_dir=str(folder))
    state, batch = run.arguments()
    assert batch["input_ids"].shape == (32, 128)
    after, metrics = jax.eval_shape(run.step, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert metrics["loss"].shape == ()


COMMANDS = [
    ("compress_bert", "theseus/glue.py:tiny", "--config.data.name=headlines"),
    ("compress_bert", "theseus/glue.py:weissi,tiny", "--config.data.name=headlines"),
    ("compress_bert", "theseus/iflytek.py:tiny", "--config.data.name=headlines"),
    ("train_qa_generation", "qa_generation/squad.py:tiny", ""),
    ("train_qa_generation", "qa_generation/webqa.py:tiny", ""),
    ("train_embeddings", "embeddings/text8.py:tiny", "--config.corpus={folder}/corpus.txt"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("script", "config", "flag"), COMMANDS)
def test_a_tiny_recipe_runs_from_its_script(script, config, flag, folder, run, tmp_path):
    assert (ROOT / "configs" / config.split(":")[0]).is_file()
    flags = [flag.format(folder=folder)] if flag else []
    done = run(
        script,
        f"--config=configs/{config}",
        f"--workdir={tmp_path / 'run'}",
        f"--data_dir={folder}",
        *flags,
    )
    assert done.returncode == 0
