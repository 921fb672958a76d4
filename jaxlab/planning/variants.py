"""Changed configs, and the steps that they compile to."""

import ast
import re
from collections.abc import Mapping
from typing import Any

import jax

from jaxlab import mesh as mesh_lib
from jaxlab.errors import InputError
from jaxlab.planning.benchmark import Variant
from jaxlab.planning.scripts import blueprint


def read_changes(text: str) -> dict[str, Any]:
    """Changes of a config as they stand in a command: dotted keys and Python values.

    Raises:
      ValueError: the text is none of that.

    Example:
      >>> read_changes("model.remat='full', batch_size=8")
      {'model.remat': 'full', 'batch_size': 8}
    """
    # Python's own reader of keyword arguments, whose names hold no dots.
    undotted = re.sub(r"[.](?=[A-Za-z_][\w.]*\s*=)", "__dot__", text)
    try:
        call = ast.parse(f"dict({undotted})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise InputError("values have no names")
        pairs = [(k.arg or "", ast.literal_eval(k.value)) for k in call.keywords]
        return {name.replace("__dot__", "."): value for name, value in pairs}
    except (SyntaxError, ValueError) as error:
        raise InputError(
            f"variant is {text!r}, must be like \"model.dtype='bfloat16',batch_size=8\""
        ) from error


def make_variant(
    script: str,
    config: Any,
    label: str,
    changes: Mapping[str, Any],
    *,
    data_dir: str | None = None,
    made: bool = False,
) -> Variant:
    """The step of a changed config, compiled.

    Args:
      script: the training script, without folder and ending.
      config: a `ConfigDict`, which is left as it is.
      label: what the variant is called.
      changes: dotted keys and values; `devices` is on how many it runs.
      data_dir: folder of the data sets.
      made: whether devices were made on a CPU: one that names none then takes one.

    Raises:
      ValueError: a change does not fit the config, or there are not as many devices.
    """
    changes, config = dict(changes), config.copy_and_resolve_references()
    count = changes.pop("devices", 1 if made else len(jax.devices()))
    if not 1 <= count <= len(jax.devices()):
        raise InputError(f"devices is {count}, there are {len(jax.devices())}")
    try:
        config.update_from_flattened_dict(changes)
        mesh = mesh_lib.make_mesh(jax.devices()[:count], fsdp=config.get("fsdp", 1))
        run = blueprint(script, config.to_dict(), mesh, data_dir=data_dir)
    except (AttributeError, KeyError, TypeError) as error:
        text = str(error).strip("'\"")
        raise InputError(f"{label or 'the config'} does not fit: {text}") from error
    return Variant(label, count, run)
