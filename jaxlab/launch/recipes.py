"""What configs and sections are written with: complete sections, and presets that combine."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import ml_collections

from jaxlab import optim
from jaxlab.checks import own_keywords
from jaxlab.errors import InputError
from jaxlab.launch.config import keywords

GIVEN = ("num_steps", "trainable", "stacked", "penalties")  # what scripts give `make_optimizer`
OF_STAGES = (*GIVEN, "learning_rate", "warmup", "warmup_steps")  # where each stage has its own
_PLAIN = (bool, int, float, str, tuple, type(None))


def optimizer_keywords(
    penalties: Mapping[str, Any] = optim.PENALTIES, *, but: Collection[str] = GIVEN
) -> dict[str, Any]:
    """What a section for `optim.make_optimizer` may hold: its names, and the numbers of all rows.

    Example:
      >>> sorted(optimizer_keywords())[:4]
      ['b1', 'b2', 'decay_mask', 'direction']
    """
    return keywords(optim.make_optimizer, rows=optim.rows(penalties), but=but)


def defaults(
    *functions: Callable[..., Any],
    rows: Iterable[Callable[..., Any]] = (),
    but: Collection[str] = (),
) -> dict[str, Any]:
    """A section with every keyword argument of functions, so that a flag can set each.

    Args:
      *functions: functions or dataclasses, as for `keywords`.
      rows: of a table of methods; their numbers are None, which stands for the row's default.
      but: arguments that the script gives itself.

    Returns:
      Default by name; None where there is none, or where it is no value that a flag can give.

    Example:
      >>> def load(name, data_dir=None, *, limit: int = 3, dtype=float): ...
      >>> defaults(load, but=("data_dir",))
      {'name': None, 'limit': 3, 'dtype': None}
    """
    found: dict[str, Any] = {}
    for function in functions:
        for name, p in inspect.signature(function).parameters.items():
            plain = p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            if plain and name not in {*but, "parent"}:
                known = p.default is not p.empty and isinstance(p.default, _PLAIN)
                found.setdefault(name, p.default if known else None)
    for row in rows:
        found = {**dict.fromkeys(name for name in own_keywords(row) if name not in but), **found}
    return found


def or_none(known: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of a section where None stands for a default that is not the function's.

    Example:
      >>> or_none({"width": int})
      {'width': int | None}
    """
    return {name: kind | None for name, kind in known.items()}


def recipe(
    base: Mapping[str, Any],
    *changes: Mapping[str, Any],
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    preset: str = "",
) -> ml_collections.ConfigDict:
    """A config: a base, what differs from it, and presets one after the other.

    Args:
      base: nested.
      *changes: "a.b" -> value of keys that the base has.
      presets: name -> changes.
      preset: names joined by commas, each later one on top of the earlier ones; "" for none.

    Raises:
      ValueError: an unknown preset, or a key that the base lacks.

    Example:
      >>> presets = {"tiny": {"model.width": 2}, "bf16": {"model.dtype": "bfloat16"}}
      >>> base = {"model": {"width": 64, "dtype": "float32"}, "steps": 9}
      >>> recipe(base, {"steps": 5}, presets=presets, preset="tiny,bf16").to_dict()
      {'model': {'dtype': 'bfloat16', 'width': 2}, 'steps': 5}
    """
    config = ml_collections.ConfigDict(base)
    presets = presets or {}
    for change in (*changes, *(presets[name] for name in chosen(preset, presets))):
        for path, value in change.items():
            *parents, key = path.split(".")
            holder: Any = config
            for part in parents:
                holder = holder.get(part) if isinstance(holder, ml_collections.ConfigDict) else None
            section = holder if isinstance(holder, ml_collections.ConfigDict) else config
            if section is not holder or key not in holder:
                raise InputError(f"no config key {path!r}: there are {', '.join(section)}")
            with holder.ignore_type():
                holder[key] = value
    return config


def nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes as a config can hold them, whose keys have no dots.

    Raises:
      ValueError: they are no dict.

    Example:
      >>> nested({"model.width": 2, "model.depth": 3, "steps": 5})
      {'model': {'width': 2, 'depth': 3}, 'steps': 5}
    """
    if not isinstance(changes, Mapping):
        raise InputError(f"changes are {changes!r}, must be a dict of keys and values")
    found: dict[str, Any] = {}
    for path, value in changes.items():
        *parents, key = path.split(".")
        holder = found
        for part in parents:
            holder = holder.setdefault(part, {})
        holder[key] = value
    return found


def chosen(preset: str, presets: Collection[str]) -> list[str]:
    """The names in a preset, "tiny,bf16" or "tiny-bf16", each of which must be known.

    Example:
      >>> chosen("tiny,bf16", ("tiny", "bf16")), chosen("", ("tiny",))
      (['tiny', 'bf16'], [])
      >>> chosen("net-norm,tiny", ("net", "norm", "net-norm", "tiny"))
      ['net-norm', 'tiny']
      >>> chosen("tinny", ("tiny", "bf16"))
      Traceback (most recent call last):
      jaxlab.errors.ValueError: preset is 'tinny', must be one of tiny, bf16, or several with commas
    """
    parts = preset.split(",") if preset else []
    names = [n for part in parts for n in ([part] if part in presets else part.split("-"))]
    for name in names:
        if name not in presets:
            known = ", ".join(presets)
            raise InputError(f"preset is {name!r}, must be one of {known}, or several with commas")
    return names
