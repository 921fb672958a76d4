"""`jaxlab.studies.stages`: which stages of a run are done."""

import pytest

from jaxlab.studies import stages


def test_a_stage_is_done_once_it_is_finished(tmp_path):
    assert stages.finished(tmp_path, 5) is None
    stages.finish(tmp_path, 5, {"loss": 0.25})
    assert stages.finished(tmp_path, 5) == {"num_steps": 5, "loss": 0.25}
    assert stages.finished(tmp_path) == {"num_steps": 5, "loss": 0.25}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_stage_of_another_length_is_an_error(tmp_path):
    stages.finish(tmp_path, 5, {})
    with pytest.raises(ValueError, match=r"was trained for 5 steps, the config has 6: choose"):
        stages.finished(tmp_path, 6)


@pytest.mark.parametrize("text", ["", '{"num_steps": 5', "[5]", '{"loss": 1.0}'])
def test_a_damaged_record_is_an_error(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ValueError, match=r"result.json is damaged: delete it"):
        stages.finished(tmp_path, 5)


def test_what_a_finished_stage_left_can_be_made_again(tmp_path):
    match = r"nowhere.*delete .*, and the same command trains it again"
    with pytest.raises(ValueError, match=match), stages.reading(tmp_path):
        open("/nowhere")  # noqa: SIM115
    with pytest.raises(KeyError), stages.reading(tmp_path):  # an error of ours stays one
        raise KeyError("bug")


def test_what_a_record_looks_like(tmp_path):
    stages.finish(tmp_path, 5, {"loss": 0.25, "name": "a"})
    text = (tmp_path / "result.json").read_text()
    assert text == '{\n  "num_steps": 5,\n  "loss": 0.25,\n  "name": "a"\n}\n'
    stages.finish(tmp_path, 6, {})
    assert stages.finished(tmp_path, 6) == {"num_steps": 6}
    stages.finish(tmp_path, 0, {})
    assert stages.finished(tmp_path, 0) == {"num_steps": 0}
