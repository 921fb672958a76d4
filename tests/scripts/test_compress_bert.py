"""The compression script as a process: a tiny study, the same resumed, and its errors."""

import functools
import json
import shutil

import pytest
from processes import complaint

from jaxlab.metrics import read_metrics
from jaxlab.models import bert

pytest.importorskip("tokenizers")
pytestmark = pytest.mark.slow  # a minute and a half on two cores

TINY = "--config=configs/theseus/study.py:headlines-tiny"
STAGES = {
    "predecessor",
    "depth_1/direct/direct",
    "depth_1/distill/distill",
    "depth_1/truncated/truncated",
    "depth_1/truncated/successor",
    "depth_1/constant/replacing",
    "depth_1/constant/successor",
    "depth_1/curriculum/replacing",
    "depth_1/curriculum/successor",
}


@pytest.fixture(scope="module")
def compress(run, data_dir):
    """Runs the script on its tiny preset; returns the finished process."""
    return functools.partial(run, "compress_bert", TINY, f"--data_dir={data_dir}")


@pytest.fixture(scope="module")
def studied(compress, tmp_path_factory):
    """Folder of a finished tiny study."""
    workdir = tmp_path_factory.mktemp("study") / "run"
    compress(f"--workdir={workdir}")
    return workdir


def test_a_study_leaves_its_stages_and_its_report(studied):
    seed = studied / "seed_0"
    assert {str(p.parent.relative_to(seed)) for p in seed.rglob("result.json")} == STAGES
    names = {p.name for p in studied.iterdir()}
    assert {"report.md", "report.json", "accuracy.png", "config.json", "tokenizer"} <= names
    table = (studied / "report.md").read_text()
    for row in ("predecessor, 2 layers", "truncated, 1 layers", "curriculum, 1 layers"):
        assert f"| {row} |" in table
    report = json.loads((studied / "report.json").read_text())
    assert len(report["sensitivity_points"]["constant, 1 layers"][0]) == 1
    assert set(report["latency_ms"]) == {"1", "2"}


def test_every_stage_trained_what_it_should(studied):
    """The folders are plain models; embeddings and head stay the predecessor's, layers move."""
    top = studied / "seed_0"
    deep, parent = bert.load_pretrained(top / "predecessor" / "model")
    head = bert.load_heads(top / "predecessor" / "model")["classifier"][1]
    same = lambda a, b: bool((a == b).all())
    for stage in sorted(STAGES - {"predecessor"}):
        model, params = bert.load_pretrained(top / stage / "model")
        assert (model.num_layers, deep.num_layers) == (1, 2)
        heads = bert.load_heads(top / stage / "model")["classifier"][1]
        frozen = not stage.startswith(("depth_1/direct", "depth_1/distill"))
        words = [p["embeddings"]["word"]["embedding"] for p in (params, parent)]
        assert same(*words) == frozen
        assert same(heads["dense"]["kernel"], head["dense"]["kernel"]) == frozen
        kernels = [p["layers_0"]["intermediate"]["kernel"] for p in (params, parent)]
        assert not same(*kernels)
    rows = read_metrics(top / "depth_1" / "curriculum" / "replacing")
    rates = [row["rate"] for row in rows if "rate" in row]
    assert rates[0] < rates[-1] == 1


def test_a_study_goes_on_in_the_middle_of_a_stage(compress, studied, tmp_path):
    again = tmp_path / "run"
    shutil.copytree(studied, again)
    arm = again / "seed_0" / "depth_1" / "curriculum"
    (arm / "replacing" / "result.json").unlink()
    shutil.rmtree(arm / "replacing" / "model")
    shutil.rmtree(arm / "replacing" / "checkpoints" / "6")
    shutil.rmtree(arm / "successor")
    done = compress(f"--workdir={again}")
    assert "resumed from step 3" in done.stderr
    weights = "model/model.safetensors"
    for file in (
        *("replacing/metrics.jsonl", f"replacing/{weights}"),
        *("successor/metrics.jsonl", f"successor/{weights}", "successor/result.json"),
    ):
        first = studied / "seed_0" / "depth_1" / "curriculum" / file
        assert (arm / file).read_bytes() == first.read_bytes(), file
    reports = [json.loads((w / "report.json").read_text())["rows"] for w in (studied, again)]
    assert reports[0] == reports[1]


WRONG = {
    "depth": (["--config.depths=(3,)"], "successor has 3 layers, must divide the predecessor's 2"),
    "arm": (["--config.arms=('direkt',)"], "arms hold 'direkt', known are"),
    "rate": (["--config.constant_rate=0.0"], "rate is 0.0, must be above 0"),
    "start": (["--config.init_from=pretraind"], "init_from is 'pretraind', known are"),
    "layers": (["--config.layers=midle"], "layers are 'midle', known are"),
    "set": (["--config.data.name=news"], "text set is 'news', known are"),
    "long text": (["--config.truncate=False", "--config.buckets=(8,)"], "max_length is 8"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_clear_line(compress, name, tmp_path):
    args, message = WRONG[name]
    done = compress(f"--workdir={tmp_path}", *args, code=2)
    assert message in complaint(done)


def test_no_pretrained_folder_is_an_error_that_names_it(compress, tmp_path):
    done = compress(f"--workdir={tmp_path}", "--config.pretrained=minilm_", code=2)
    assert "minilm_" in complaint(done)
