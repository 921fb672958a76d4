"""`jaxlab.checkpoints.positions`: where an iterator goes on, of one process and of several."""

import jax
import pytest

from jaxlab import mesh as mesh_lib
from jaxlab.checkpoints import positions


class Data:
    def __init__(self, state=None):
        self.state = state

    def get_state(self):
        return self.state

    def set_state(self, state):
        self.state = state


@pytest.mark.parametrize("state", [{"next_index": 3, "of": {"sum": 1}}, b"\xff\x00", [1, None], 7])
def test_a_position_comes_back(state):
    data = Data()
    positions.restore(data, positions.gather(Data(state)), False)
    assert data.state == state


def test_no_iterator_has_no_position():
    assert positions.gather(None) is None
    with pytest.raises(positions.MismatchError, match="saved without a data iterator"):
        positions.restore(Data(), None, False)


def test_what_pipelines_compare_is_left_out_where_a_change_is_allowed():
    for allowed, left in ((False, {"at": 1, "of": "a"}), (True, {"at": 1})):
        data = Data()
        positions.restore(data, [{"at": 1, "of": "a"}], allowed)
        assert data.state == left


def test_every_process_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(mesh_lib, "gather_texts", lambda text: ['{"at": 5}', text])
    states = positions.gather(Data({"at": 6}))
    assert states == [{"at": 5}, {"at": 6}]
    data = Data()
    positions.restore(data, states, False)
    assert data.state == {"at": 6}
    positions.restore(data, [{"at": 7}] * 3, False)  # saved by three, all at the same place
    assert data.state == {"at": 7}
    positions.restore(data, [{"at": 8}], False)
    assert data.state == {"at": 8}
    with pytest.raises(positions.MismatchError, match=r"its 3 processes were .* go on with 2"):
        positions.restore(data, [{"at": 7}, {"at": 7}, {"at": 8}], False)
    assert data.state == {"at": 8}
