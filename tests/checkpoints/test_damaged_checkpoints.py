"""`jaxlab.checkpoints.checkpointer`: any file of any checkpoint may be damaged."""

import shutil

import numpy as np
import pytest
from checkpoint_toy import Position, equal, make_state

from jaxlab.checkpoints import Checkpointer, load_params

FILES = sorted(  # of a checkpoint; the names of data files are random
    {"state/d/*", "state/ocdbt.process_0/d/*", "state/manifest.ocdbt", "state/_METADATA",
     "state/ocdbt.process_0/manifest.ocdbt", "state/_sharding", "state/array_metadatas/process_0",
     "_CHECKPOINT_METADATA", "commit_success.txt", "orbax.checkpoint", "sums.json"}
)  # fmt: skip
DAMAGE = {
    "emptied": lambda raw: b"",
    "cut": lambda raw: raw[: len(raw) // 2],
    "garbage": lambda raw: bytes(255 - b for b in raw),
    "a list": lambda raw: b"[1, 2]",
    "a number": lambda raw: b"7",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three checkpoints to be copied and damaged."""
    folder = tmp_path_factory.mktemp("whole")
    saved = Checkpointer(folder, best_metric="loss")
    for step in (10, 20, 30):
        position = Position({"next_index": step})
        saved.save(make_state(step, value=float(step)), position, {"loss": 1 / step})
    saved.close()
    return folder


def check_damaged(folder, damaged, warned):
    """Only the damaged checkpoint may be lost, and nothing wrong may come out."""
    before = sorted(str(path) for path in folder.rglob("*"))
    shared = {"best_metric": "loss"}
    step, params, _ = load_params(folder, step="best", **shared)
    assert float(params["dense"]["kernel"][0, 0]) == step
    for read_only in (True, False):
        position = Position(None)
        saved = Checkpointer(folder, read_only=read_only, **shared)
        restored = saved.restore_latest(make_state(), position)
        step = int(restored.step)
        equal(restored, make_state(step, value=float(step)))
        assert position.state == {"next_index": step}
        assert step == 30 or (damaged == 30 and step == 20 and warned())
        saved.close()
        if read_only:
            assert sorted(str(path) for path in folder.rglob("*")) == before
    saved = Checkpointer(folder, **shared)
    saved.save(make_state(40), Position({"next_index": 40}), {"loss": 1.0})
    assert saved.steps[-1] == 40
    saved.close()


@pytest.mark.parametrize("how", ["emptied", "a list"])
@pytest.mark.parametrize("step", [10, 30])
def test_metadata_of_any_checkpoint_may_be_damaged(tmp_path, whole, warnings, how, step):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    path = tmp_path / str(step) / "_CHECKPOINT_METADATA"
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    check_damaged(tmp_path, step, warnings)


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("step", [10, 30])
def test_every_file_of_every_checkpoint_may_be_damaged(tmp_path, whole, warnings, name, how, step):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    found = list((tmp_path / str(step)).glob(name))
    assert found
    for path in found:
        path.write_bytes(DAMAGE[how](path.read_bytes()))
    check_damaged(tmp_path, step, warnings)


def test_the_files_of_a_checkpoint_are_those_that_are_damaged_above(whole):
    named = {path for name in FILES for path in (whole / "30").glob(name)}
    assert named == {path for path in (whole / "30").rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_flipped_bits_are_found(tmp_path, whole, warnings, seed):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = sorted(path for path in (tmp_path / "30").rglob("*") if path.is_file())
    path = paths[seed % len(paths)]
    raw = bytearray(path.read_bytes())
    if raw:
        raw[rng.integers(len(raw))] ^= 1 << rng.integers(8)
    path.write_bytes(raw)
    check_damaged(tmp_path, 30, warnings)


def test_a_changed_position_is_found_by_its_checksum(tmp_path, whole, warnings):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "30" / "_CHECKPOINT_METADATA"
    text = path.read_text()
    assert '"next_index": 30' in text
    path.write_text(text.replace('"next_index": 30', '"next_index": 31'))
    check_damaged(tmp_path, 30, warnings)
    assert any("30 not used" in line and "not as they were written" in line for line in warnings())


def test_a_flipped_bit_of_a_large_array_is_found(tmp_path, whole, warnings):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    path = max((tmp_path / "30" / "state" / "ocdbt.process_0" / "d").iterdir(), key=size_of)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    check_damaged(tmp_path, 30, warnings)
    assert load_params(tmp_path)[0] == 40


def size_of(path):
    return path.stat().st_size


def test_checkpoints_without_sums_are_read(tmp_path, whole):
    """Of earlier versions, and of a process killed just before it wrote them."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (tmp_path / "30" / "sums.json").unlink()
    assert int(Checkpointer(tmp_path).restore_latest(make_state()).step) == 30
