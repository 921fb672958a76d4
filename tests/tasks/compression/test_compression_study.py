"""`jaxlab.tasks.compression.study`: which stages a study has, and what each result depends on."""

import copy

import numpy as np
import pytest

from jaxlab.data.text import TextSet
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


@pytest.fixture
def cells_of(monkeypatch, tmp_path):
    """Config changes -> the cells of seed 0 by their place; nothing is trained."""

    def load_text(name, data_dir, split, limit, split_seed):
        words = np.random.default_rng(split_seed).choice(["red", "sun", "sea", "moon"], (12, 5))
        labels = np.arange(12, dtype=np.int32) % 2
        return TextSet([" ".join(row) for row in words][:limit], labels[:limit], ("no", "yes"))

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
            return {}

        monkeypatch.setattr(study_lib, "load_text", load_text)
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
    ],
)
def test_a_result_depends_on_its_own_settings_and_those_before(cells_of, change, others):
    before, now = cells_of(), cells_of(**change)
    for place, cell in before.items():
        same = not any(name in place for name in others)
        assert (now[place].key == cell.key) == same, place
