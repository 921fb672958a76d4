"""`jaxlab.tasks.compression.study`: which stages a study has, what each result depends on, and
what a small one trains."""

import copy
import json
import shutil

import jax
import numpy as np
import pytest

from jaxlab.data.text import TextSet
from jaxlab.metrics import read_metrics
from jaxlab.models import bert
from jaxlab.tasks import compression
from jaxlab.tasks.compression import study as study_lib

pytest.importorskip("tokenizers")

STAGE = {"num_steps": 4, "learning_rate": 1e-3, "warmup": 0.1, "trainable": "layers"}
CONFIG = {
    "seeds": (0, 1),
    "depths": (1,),
    "arms": ("direct", "distill", "truncated", "curriculum"),
    "data": {"name": "headlines", "split_seed": 0},
    "limits": {"train": 0, "validation": 0, "test": 0},
    "buckets": (16,),
    "truncate": True,
    "pretrained": "",
    "model": {
        "hidden_size": 8, "num_layers": 2, "num_heads": 2, "intermediate_size": 8,
        "max_positions": 16,
    },
    "vocab_size": 60,
    "head": {"pooling": "mean"},
    "layers": "first",
    "init_from": "predecessor",
    "own_embeddings": False,
    "constant_rate": 0.5,
    "curriculum": {"base": 0.25, "reach": 0.75},
    "distillation": {"temperature": 2.0, "soft": 0.5},
    "stages": {k: dict(STAGE) for k in ("predecessor", "direct", "replacing", "successor")}
    | {"distill": {**STAGE, "num_steps": 0}},
    "metric": "",
    "keep_best": False,
    "batch_size": 4,
    "objective": {"name": "cross_entropy"},
    "optimizer": {"name": "adamw"},
    "step": {},
    "eval_batch_size": 4,
    "log_every": 1,
    "eval_every": 2,
    "checkpoint_every": 2,
    "keep_checkpoints": True,
    "latency_repeats": 1,
}  # fmt: skip
NEEDS = {
    "predecessor": (),
    "depth_1/direct/direct": (),
    "depth_1/distill/distill": ("predecessor",),
    "depth_1/truncated/truncated": ("predecessor",),
    "depth_1/truncated/successor": ("depth_1/truncated/truncated",),
    "depth_1/curriculum/replacing": ("predecessor",),
    "depth_1/curriculum/successor": ("depth_1/curriculum/replacing",),
}


def load_texts(name, data_dir, split_seed):
    words = np.random.default_rng(split_seed).choice(["red", "sun", "sea", "moon"], (12, 5))
    labels = np.arange(12, dtype=np.int32) % 2
    texts = TextSet([" ".join(row) for row in words], labels, ("no", "yes"))
    return dict.fromkeys(("train", "validation", "test"), texts), None


@pytest.fixture
def cells_of(monkeypatch, tmp_path):
    """Config changes -> the cells of seed 0 by their place; nothing is trained."""

    def collect(**changes):
        config, found = copy.deepcopy(CONFIG), {}
        for path, value in changes.items():
            *keys, last = path.split("__")
            section = config
            for key in keys:
                section = section[key]
            section[last] = value

        def run(cell, begin, *, conclude, load, **options):
            found[str(cell.folder.relative_to(tmp_path / "seed_0"))] = cell
            best = {key: options.get(key) for key in ("best_metric", "best_mode")}
            kept = {"best_metric": "validation/accuracy", "best_mode": "max"}
            assert best == (kept if config["keep_best"] else dict.fromkeys(kept))
            return {}

        monkeypatch.setattr(study_lib, "load_texts", load_texts)
        monkeypatch.setattr(study_lib.stages, "run", run)
        for name in ("initial", "cut", "_sensitivity"):  # of parameters
            monkeypatch.setattr(study_lib.Study, name, lambda *args: {})
        study = compression.Study(config, None, workdir=tmp_path)
        study.run(0)
        return found

    return collect


def test_stages_stand_on_each_other(cells_of):
    cells = cells_of()
    assert list(cells) == list(NEEDS)
    for place, needs in NEEDS.items():
        assert cells[place].needs == tuple(cells[name] for name in needs)
    steps = {place: cell.num_steps for place, cell in cells.items()}
    assert steps.pop("depth_1/distill/distill") == 8  # as many as both stages of an arm
    assert set(steps.values()) == {4}
    assert len({cell.key for cell in cells.values()}) == len(NEEDS)
    without = cells_of(stages__successor__num_steps=0)
    assert [place for place in NEEDS if "successor" not in place] == list(without)


LATER = ("distill", "truncated", "curriculum")


@pytest.mark.parametrize(
    ("change", "others"),
    [
        ({"latency_repeats": 2, "log_every": 2, "seeds": (0,), "depths": (1, 2)}, ()),
        ({"stages__successor__learning_rate": 2e-3}, ("successor",)),
        ({"stages__direct__learning_rate": 2e-3}, ("direct",)),
        # Distillation has steps as many as both, and starts from the predecessor.
        ({"stages__predecessor__warmup": 0.2}, ("predecessor", *LATER)),
        ({"curriculum__base": 0.5}, ("curriculum",)),
        ({"distillation__soft": 0.25}, ("distill",)),
        ({"optimizer__weight_decay": 0.1}, ("predecessor", "direct", *LATER)),
        ({"data__split_seed": 1}, ("predecessor", "direct", *LATER)),
        ({"limits__test": 8}, ("predecessor", "direct", *LATER)),
        ({"keep_best": True}, ("predecessor", "direct", *LATER)),
        ({"data__path": None, "metric": ""}, ()),  # as in records of earlier versions
    ],
)
def test_a_result_depends_on_its_own_settings_and_those_before(cells_of, change, others):
    before, now = cells_of(), cells_of(**change)
    for place, cell in before.items():
        same = not any(name in place for name in others)
        assert (now[place].key == cell.key) == same, place


SEED = 2**32 - 2  # of which twice would be above 32 bits


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study of one seed and one arm that was trained, with the seeds of its batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_lib, "load_texts", load_texts)
        streams, pipeline = [], study_lib.text_pipeline

        def recorded(*args, seed, **options):
            streams.append(seed)
            return pipeline(*args, seed=seed, **options)

        patch.setattr(study_lib, "text_pipeline", recorded)
        config = {**CONFIG, "arms": ("curriculum",), "limits": {**CONFIG["limits"], "test": 7}}
        workdir = tmp_path_factory.mktemp("study")
        study = compression.Study(config, None, workdir=workdir)
        study.run(SEED)
        yield study, workdir / f"seed_{SEED}", streams


ARM = "depth_1/curriculum"


def test_a_stage_trains_the_layers_alone_at_its_rate(trained):
    study, place, streams = trained
    assert streams == [2**32 - 3, 2**32 - 3, 2**32 - 2]  # the last stage sees another order
    trees = {}
    for stage in ("predecessor", f"{ARM}/replacing", f"{ARM}/successor"):
        params = bert.load_pretrained(place / stage / "model")[1]
        head = bert.load_heads(place / stage / "model")["classifier"][1]
        trees[stage] = {"bert": params, "head": head}
    first, replaced, last = trees.values()
    same = lambda a, b: jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))
    initial, key = study.initial(SEED), jax.random.key(SEED)
    assert same(initial["bert"], jax.jit(study.deep.init)(key, np.zeros((1, 2), int))["params"])
    output = bert.BertOutput(np.zeros((1, 2, 8)), np.zeros((1, 8)))
    head = study.head.init(jax.random.fold_in(key, 1), output)["params"]
    assert same(initial["head"], head)
    for tree, before in ((first, initial), (replaced, first), (last, replaced)):
        layers = {n for n in tree["bert"] if n.startswith("layers_")}
        assert len(layers) == (2 if tree is first else 1)
        for name in tree["bert"]:
            assert same(tree["bert"][name], before["bert"][name]) == (name not in layers), name
        assert same(tree["head"], before["head"])
    rows = read_metrics(place / ARM / "replacing")
    # 0.25 to 1 over three of the four steps.
    assert [row["rate"] for row in rows if "rate" in row] == [0.25, 0.5, 0.75, 1.0]


def test_figures_are_of_the_stages_own_model(trained):
    study, place, _ = trained
    for stage, depth in (("predecessor", 2), (f"{ARM}/replacing", 1), (f"{ARM}/successor", 1)):
        record = json.loads((place / stage / "result.json").read_text())
        model, params = bert.load_pretrained(place / stage / "model")
        head = bert.load_heads(place / stage / "model")["classifier"][1]
        assert record["depth"] == model.num_layers == depth
        assert record["parameters"] == sum(x.size for x in jax.tree.leaves((params, head)))
        for split, count in (("validation", 12), ("test", 7)):
            tokens = study.sets[split]
            mask = np.arange(16) < tokens.lengths[:, None]
            ids = np.zeros_like(mask, int)
            ids[mask] = np.concatenate(tokens.ids)
            output = model.apply({"params": params}, ids, mask)
            logits = study.head.apply({"params": head}, output, mask)
            log_probs = jax.nn.log_softmax(logits)[np.arange(count), tokens.labels]
            assert record[f"{split}/loss"] == pytest.approx(-float(log_probs.mean()), rel=1e-5)
            hits = logits.argmax(-1) == tokens.labels
            assert record[f"{split}/accuracy"] == pytest.approx(float(hits.mean()))
    path = place / ARM / "sensitivity.json"
    swapped = json.loads(path.read_text())
    key = swapped.pop("key")  # of the stage: swaps of another successor are none of this one
    assert study_lib._is_swapped(path, key)
    assert not study_lib._is_swapped(path, "another")
    record = lambda stage: json.loads((place / stage / "result.json").read_text())
    accuracy = lambda stage: record(stage)["test/accuracy"]
    # With one module in all, the one that is swapped in is the successor.
    assert swapped == {
        "predecessor": pytest.approx(accuracy("predecessor")),
        "swapped": [pytest.approx(accuracy(f"{ARM}/replacing"))],
    }


def test_a_stage_goes_on_from_its_middle(trained):
    study, place, streams = trained
    last = place / ARM / "successor"
    before = (last / "model" / "model.safetensors").read_bytes()
    (last / "result.json").unlink()
    shutil.rmtree(last / "checkpoints" / "4")
    streams.clear()
    study.run(SEED)
    assert (last / "model" / "model.safetensors").read_bytes() == before
    assert streams == [2**32 - 2]  # what is done is read, not trained


@pytest.mark.parametrize(
    ("stage", "parts", "depth", "steps", "rates"),
    [
        ("predecessor", {"bert", "head"}, 2, 4, set()),
        ("replacing", {"predecessor", "successor", "head"}, 1, 5, {"rate_base", "rate_slope"}),
        ("distill", {"bert", "head", "teacher"}, 1, 11, set()),
    ],
)
def test_a_stage_as_planners_want_it(monkeypatch, stage, parts, depth, steps, rates):
    monkeypatch.setattr(study_lib, "load_texts", load_texts)
    stages = copy.deepcopy(CONFIG["stages"])
    stages["replacing"]["num_steps"], stages["successor"]["num_steps"] = 5, 6
    config = {**CONFIG, "stages": stages, "buckets": (8, 16)}
    described = study_lib.blueprint(config, None, stage=stage)
    assert (described.num_steps, described.batch_size) == (steps, 4)
    shapes = {name: x.shape for name, x in described.batch.items()}
    assert shapes == {"label": (4,), "input_ids": (4, 16), "attention_mask": (4, 16)}
    state = jax.eval_shape(described.create_state)
    assert set(state.params) == parts
    assert set(state.model_state) == rates
    tree = state.params["successor" if stage == "replacing" else "bert"]
    assert sum(name.startswith("layers_") for name in tree) == depth
