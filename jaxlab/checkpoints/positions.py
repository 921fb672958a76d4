"""Positions of data iterators as JSON, which any number of processes can go on from."""

import base64
import json
from typing import Any

import jax

from jaxlab import mesh as mesh_lib


class MismatchError(Exception):
    """The position is of other iterators, or of another number of processes."""


def gather(data: Any) -> list[Any] | None:
    """Returns the positions of all processes' iterators, in order."""
    if data is None:
        return None
    state = data.get_state()
    if isinstance(state, bytes):
        state = {"base64": base64.b64encode(state).decode()}
    return [json.loads(text) for text in mesh_lib.gather_texts(json.dumps(state))]


def restore(data: Any, states: list[Any] | None, allow_change: bool) -> None:
    """Moves this process's iterator to where it was saved.

    Args:
      data: iterator with `set_state`.
      states: from `gather`, of as many processes as there were.
      allow_change: leave out what `jaxlab.data`'s iterators compare.

    Raises:
      MismatchError: it cannot go on there.
      ValueError: `set_state` finds other data.
    """
    if states is None:
        raise MismatchError("it was saved without a data iterator")
    if len(states) == jax.process_count():
        state = states[jax.process_index()]
    elif all(s == states[0] for s in states):
        state = states[0]  # all processes were at the same position, so any number may go on
    else:
        raise MismatchError(
            f"its {len(states)} processes were at different positions of the data, "
            f"so it cannot go on with {jax.process_count()}"
        )
    if isinstance(state, dict) and allow_change:
        state.pop("of", None)  # what the iterators of `jaxlab.data` compare
    if isinstance(state, dict) and set(state) == {"base64"}:
        state = base64.b64decode(state["base64"])
    data.set_state(state)
