"""`jaxlab.launch.weights`: parameters out of files of arrays, by their names."""

import numpy as np
import pytest

from jaxlab.launch import weights

LEAVES = {"params/dense/kernel": np.ones((2, 3), np.float32), "params/bias": np.zeros(3)}
STATS = {"batch_stats/norm/mean": np.full(3, 2.0)}


def test_names_are_paths_and_what_is_next_to_the_parameters_is_the_state(tmp_path):
    np.savez(tmp_path / "a.npz", **LEAVES, **STATS)
    step, params, state = weights.read_weights(tmp_path / "a.npz")
    assert step is None
    assert params["dense"]["kernel"].shape == (2, 3)
    assert state["batch_stats"]["norm"]["mean"].tolist() == [2, 2, 2]
    bare = {key.removeprefix("params/").replace("/", "."): x for key, x in LEAVES.items()}
    np.savez(tmp_path / "b.npz", **bare)
    _, params, state = weights.read_weights(tmp_path / "b.npz")
    assert (sorted(params), state) == (["bias", "dense"], {})


def test_safetensors_alone_and_in_their_folder(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file(LEAVES, tmp_path / "model.safetensors")
    for source in (tmp_path, tmp_path / "model.safetensors"):
        params = weights.read_weights(source).params
        assert params["dense"]["kernel"].tolist() == [[1, 1, 1], [1, 1, 1]]
    (tmp_path / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"model.safetensors is not a safetensors file"):
        weights.read_weights(tmp_path)


def test_what_is_no_source_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a.npz does not exist: .* a run or a file"):
        weights.read_weights(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match=r"nope does not exist: .* a run or a file"):
        weights.read_weights(tmp_path / "nope")
    with pytest.raises(FileNotFoundError, match=r"neither checkpoints/ of a run nor model.safe"):
        weights.read_weights(tmp_path)
    (tmp_path / "a.csv").write_text("a")
    with pytest.raises(ValueError, match=r"a.csv holds no weights: files end in .safetensors or"):
        weights.read_weights(tmp_path / "a.csv")
    np.savez(tmp_path / "c.npz", **{"a": np.ones(1), "a.b": np.ones(1)})
    with pytest.raises(ValueError, match="an array and a folder of one name"):
        weights.read_weights(tmp_path / "c.npz")


def test_a_task_reads_its_own_files_first(tmp_path):
    own = lambda path: {"words": path.name} if path.suffix == ".vec" else None
    found = weights.read_weights(tmp_path / "a.vec", special=own)
    assert found == (None, {"words": "a.vec"}, {})
    with pytest.raises(FileNotFoundError):
        weights.read_weights(tmp_path / "a.npz", special=own)
