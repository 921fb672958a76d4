"""The verification script as a process: what it prints and how it exits."""

import functools

import numpy as np
import pytest
from processes import run_script

verify = functools.partial(run_script, "verify_nvae_import")


@pytest.fixture
def arrays(fixtures_dir):
    """The stored arrays without their training part, which is most of the time."""
    with np.load(fixtures_dir / "nvae_reference_mnist.npz") as file:
        names = [name for name in file.files if not name.startswith("train/")]
        return {name: file[name] for name in names}


def save(path, arrays):
    np.savez(path, **arrays)
    return f"--arrays={path}"


def errors(process):
    """Lines of stderr that are no log lines."""
    return [line for line in process.stderr.splitlines() if not line[:2].isdigit()]


@pytest.mark.slow
def test_agreement_is_exit_code_0(tmp_path, arrays):
    process = verify(save(tmp_path / "arrays.npz", arrays))
    assert "6 of 6 quantities agree" in process.stdout
    assert "FAIL" not in process.stdout


@pytest.mark.slow
def test_the_whole_file_agrees(fixtures_dir):
    process = verify(f"--arrays={fixtures_dir / 'nvae_reference_mnist.npz'}")
    assert "16 of 16 quantities agree" in process.stdout


def test_disagreement_is_exit_code_1(tmp_path, arrays):
    kernel = "state/dec_tower.2._ops.0.conv.2.conv.0.weight"
    arrays[kernel] = arrays[kernel][..., ::-1]  # mirrored
    process = verify(save(tmp_path / "arrays.npz", arrays), code=1)
    [line] = [line for line in process.stdout.splitlines() if line.startswith("eval/logits")]
    assert line.endswith("FAIL")
    assert errors(process) == []


def test_a_truncated_file_is_one_line_and_exit_code_2(tmp_path, fixtures_dir):
    whole = (fixtures_dir / "nvae_reference_mnist.npz").read_bytes()
    path = tmp_path / "half.npz"
    path.write_bytes(whole[: len(whole) // 2])
    process = verify(f"--arrays={path}", code=2)
    [line] = errors(process)
    assert line.startswith(f"error: {path} is not a readable .npz file")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--arrays=/nowhere/arrays.npz"], "No such file"),
        ([], "give one of"),
        (["--array=x.npz"], "array"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(args, message):
    process = verify(*args, code=2)
    [line] = errors(process)
    assert line.startswith("error: ")
    assert message in line


def test_weights_that_do_not_fit_are_exit_code_2(tmp_path, arrays):
    del arrays["state/stem.bias"]
    process = verify(save(tmp_path / "arrays.npz", arrays), code=2)
    [line] = errors(process)
    assert "missing stem.bias" in line
