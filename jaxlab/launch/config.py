"""Config files and the flags that change them: the only file that knows ml_collections."""

import difflib
import functools
import importlib.util
import inspect
import pathlib
import re
import sys
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, cast

import ml_collections
from absl import flags
from ml_collections import config_dict, config_flags

from jaxlab.checks import check_count
from jaxlab.errors import UserError
from jaxlab.files import RECORD_FILE, read_record
from jaxlab.launch.kinds import fits, in_words, kind_of, plain_type

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "clone"  # what a wheel has of the clone
ROOT = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent  # has configs/ and scripts/
_SEEDS = 2**32
# Numbers that any config may have, at any depth, and the least that each may be.
_COUNTS = {"num_steps": 0, "batch_size": 1, "eval_batch_size": 1, "log_every": 1}
_COUNTS |= {"eval_every": 0, "checkpoint_every": 0, "fsdp": 1}
_CHANGE = re.compile(r"--?(no)?config\.([^=]+)(?:=(.*))?", re.DOTALL)


class UsageError(UserError):
    """The command cannot be run as given."""


class MissingKeyError(UsageError, AttributeError, KeyError):
    """A config lacks a key that the script reads."""

    __str__ = Exception.__str__


class Config(ml_collections.ConfigDict):
    """A config whose missing keys are an error of the user's, with the keys that there are."""

    def __init__(self, initial: Any = None, **kwargs: Any):
        if isinstance(initial, ml_collections.ConfigDict):
            initial = dict(cast(Any, initial).items(preserve_field_references=True))
        sub = lambda v: Config(v) if isinstance(v, Mapping | ml_collections.ConfigDict) else v
        super().__init__({k: sub(v) for k, v in (initial or {}).items()}, **kwargs)

    def __getitem__(self, key: str) -> Any:
        try:
            return super().__getitem__(key)
        except KeyError:
            raise MissingKeyError(f"no config key {key!r}: {near(key, self)}") from None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]


def keywords(
    *functions: Callable[..., Any],
    rows: Iterable[Callable[..., Any]] = (),
    but: Collection[str] = (),
) -> dict[str, Any]:
    """The keyword arguments of functions with their types: what a config section may hold.

    Args:
      *functions: functions or dataclasses.
      rows: of a table of methods, whose numbers may be None: only those of one row are taken.
      but: arguments that the script gives itself.

    Returns:
      Type by name; `Any` where none is known.

    Example:
      >>> def load(name: str, data_dir=None, *, limit: int | None = None): ...
      >>> keywords(load, but=("data_dir",))
      {'name': <class 'str'>, 'limit': int | None}
    """
    found: dict[str, Any] = {}
    for function in functions:
        init = function.__init__ if inspect.isclass(function) else function
        try:
            hints = typing.get_type_hints(init)
        except (NameError, TypeError):
            hints = {}
        for name, parameter in inspect.signature(function).parameters.items():
            plain = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if plain and name not in {*but, "parent"}:
                found.setdefault(name, hints.get(name, Any))
    if rows:
        own = keywords(*rows, but=but)
        found |= {name: own[name] | None for name in own if name not in found}
    return found


def check_section(name: str, values: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raises unless a section holds keyword arguments of its function, of their types.

    Args:
      name: what the message calls it.
      values: the section.
      known: from `keywords`.

    Raises:
      UsageError: an unknown key, or a value of another type.

    Example:
      >>> check_section("data", {"nmae": "mnist"}, {"name": str})
      Traceback (most recent call last):
      jaxlab.launch.config.UsageError: no config key 'data.nmae': did you mean name?
    """
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"no config key '{name}.{key}': {near(key, known)}")
        _check_type(f"{name}.{key}", value, known[key])


def find(value: str) -> str:
    """`file.py:preset` with the file found in the working folder or in the repository."""
    path, *preset = value.split(":", 1)
    for found in (pathlib.Path(path), ROOT / path):
        if found.is_file():
            return ":".join([str(found), *preset])
    raise UsageError(f"no config file {path}")


def joined(argv: list[str]) -> list[str]:
    """A command line with `--config FILE` as `--config=FILE`.

    Example:
      >>> joined(["train.py", "--config", "a.py:tiny", "--workdir", "b"])
      ['train.py', '--config=a.py:tiny', '--workdir', 'b']
    """
    alone = [a in ("--config", "-config") for a in argv]
    return [
        f"{argv[i - 1]}={a}" if i and alone[i - 1] else a
        for i, a in enumerate(argv)
        if not (alone[i] and i + 1 < len(argv))
    ]


def given(argv: list[str]) -> str | None:
    """The last --config of a command line, or None."""
    return next((a.split("=", 1)[1] for a in reversed(argv[1:]) if _is_file(a)), None)


def _is_file(argument: str) -> bool:
    return argument.startswith(("--config=", "-config="))


def load(value: str) -> Config:
    """Runs `get_config` of `file.py:preset`; whatever goes wrong there is one line.

    `config.json` of a run gives what that run was started with.
    """
    path, *preset = value.split(":", 1)
    if pathlib.Path(path).name == RECORD_FILE and not preset:
        return Config(_tuples(read_record(pathlib.Path(find(path)).parent)["config"]))
    name = f"_config_{pathlib.Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, find(path))
    if spec is None or spec.loader is None:
        raise UsageError(
            f"{path} is not a Python file: a config is FILE.py, FILE.py:PRESET or RUN/config.json"
        )
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT))  # for `from configs.nvae import base`
    try:
        spec.loader.exec_module(module)
        get_config = getattr(module, "get_config", None)
        if get_config is None:
            raise UsageError(f"{path} defines no get_config()")
        if preset and not inspect.signature(get_config).parameters:
            raise UsageError(f"preset is {preset[0]!r}, {path} has none")
        config = get_config(*preset)
    except UserError:
        raise
    except ValueError as error:  # what a config raises on purpose
        raise UsageError(one_line(error)) from error
    except Exception as error:  # a config file runs any code
        raise UsageError(f"{path} fails: {type(error).__name__}: {one_line(error)}") from error
    finally:
        sys.path.remove(str(ROOT))
    if not isinstance(config, Mapping | ml_collections.ConfigDict):
        raise UsageError(
            f"get_config() of {path} returns {type(config).__name__}, must return a ConfigDict"
        )
    try:
        return Config(config)
    except Exception as error:  # keys with dots, keys that are no texts
        raise UsageError(f"{path}: {one_line(error)}") from error


def _tuples(value: Any) -> Any:
    """A value of JSON, which knows no tuples, as a config holds it."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def define(
    default: str, argv: list[str], sections: Mapping[str, Mapping[str, Any]]
) -> tuple[Config, list[str], dict[str, Any], dict[str, None]]:
    """Defines --config and a flag for each value that `argv` changes.

    ml_collections does the parsing. Before it, keys are looked up, so that the message can say
    which there are; keyword arguments that a section does not hold yet become part of it; and None
    is set where it is a value.

    Returns:
      The config, to be changed when the flags are parsed; what is left to parse; the type of each
      key that they change; and the keys to be set to None after that.
    """
    config = load(given(argv) or default)
    config.unlock()
    rest, kinds, nones = [argv[0]], {}, {}
    for argument in argv[1:]:
        match = _CHANGE.fullmatch(argument)
        if match:
            path, text = match[2], match[3]
            kinds[path] = _find_key(config, path, sections)
            if text == "None":
                nones[path] = None
                continue
        if not _is_file(argument):
            rest.append(argument)
    config_flags.DEFINE_config_dict(
        "config",
        config,
        "Config file, with a preset after a colon; --config.KEY=VALUE changes one value.",
        sys_argv=rest,
        lock_config=False,
    )
    flags.FLAGS["config"].present = sum(map(_is_file, argv[1:]))
    return config, rest, kinds, nones


def conclude(
    config: Config,
    kinds: Mapping[str, Any],
    nones: Iterable[str],
    sections: Mapping[str, Mapping[str, Any]],
) -> None:
    """Checks the config that the flags have changed, and locks it."""
    for path, kind in kinds.items():
        if "[" in path:
            continue
        *parents, key = path.split(".")
        holder = functools.reduce(lambda inner, part: inner[part], parents, cast(Any, config))
        if path in nones:
            with holder.ignore_type():
                holder[key] = None
        _check_type(path, holder[key], kind)
    for path, known in sections.items():
        check_section(path, dict(inner(config, path).items()), known)
    for name, value in flat(config.to_dict()).items():
        section, _, key = name.rpartition(".")
        if value is None and fits(None, sections.get(section, {}).get(key, int)):
            continue  # the default of the section's function
        if key == "seed" or key.endswith("_seed"):
            check_seeds(name, [value])
        elif key == "seeds" and isinstance(value, tuple | list):
            check_seeds(name, value)
        elif key in _COUNTS:
            check_count(name, value, at_least=_COUNTS[key])
    config.lock()


def overrides() -> dict[str, Any]:
    """The values that flags have given, by key."""
    return dict(config_flags.get_override_values(flags.FLAGS["config"]))


def inner(config: Any, path: str) -> Any:
    """The section at "a.b"; empty where there is none."""
    for part in path.split("."):
        config = config.get(part, {})
    return config


def check_seeds(name: str, seeds: Iterable[Any]) -> None:
    """Raises unless all are different whole numbers of 32 bits, as JAX and grain take them.

    Example:
      >>> check_seeds("seed", [2**40])
      Traceback (most recent call last):
      jaxlab.launch.config.UsageError: seed has 1099511627776, must be a whole number from 0 to \
2**32 - 1
    """
    seeds = list(seeds)
    for seed in seeds:
        whole = isinstance(seed, int) and not isinstance(seed, bool)
        if not whole or not 0 <= seed < _SEEDS:
            raise UsageError(f"{name} has {seed!r}, must be a whole number from 0 to 2**32 - 1")
    if len({*seeds}) < len(seeds):
        raise UsageError(f"{name} is {tuple(seeds)}, its seeds must differ")
    if not seeds:
        raise UsageError(f"{name} is (), must hold at least one seed")


def unknown_flag(error: Exception, config: Config | None) -> str:
    """The message about a flag that there is not."""
    name = getattr(error, "flagname", "")
    if name in ("distributed", "coordinator_address", "num_processes", "process_id"):
        return f"--{name} is not known here: this script runs in one process, start it alone"
    if config is not None and name:
        keys = [k for k in flat(config.to_dict()) if name in (k, k.rpartition(".")[2])]
        if keys:
            return f"Unknown command line flag '{name}': did you mean --config.{keys[0]}?"
    return str(error)


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"a.b": leaf} of nested dicts."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        name: leaf
        for key, value in tree.items()
        for name, leaf in flat(value, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def one_line(error: BaseException) -> str:
    """The message without line breaks; the type where there is none."""
    text = " ".join(str(error).split())
    plain = text and not (isinstance(error, KeyError) and not isinstance(error, UserError))
    return text if plain else f"{type(error).__name__}: {text}"


def near(key: str, known: Iterable[str]) -> str:
    """What somebody who wrote `key` may have meant, or all there is.

    Example:
      >>> near("dept", ["depth", "width"]), near("x", ["depth", "width"])
      ('did you mean depth?', 'there are depth, width')
    """
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there are {', '.join(names)}" if names else "there are none"


def _find_key(config: Config, path: str, sections: Mapping[str, Mapping[str, Any]]) -> Any:
    """The type of a key that a flag names; one that its section may hold is added, as None."""
    if "[" in path:  # into a tuple: left to ml_collections
        return Any
    *parents, key = path.split(".")
    holder, known = config, sections.get(".".join(parents), {})
    for i, part in enumerate(parents):
        inner = holder.get(part) if isinstance(holder, ml_collections.ConfigDict) else None
        if not isinstance(inner, ml_collections.ConfigDict):
            where = ".".join(parents[: i + 1])
            raise UsageError(f"no config section '{where}' for '{path}': {near(part, holder)}")
        holder = inner
    if key not in holder and key not in known:
        moved = [n for n in flat(config.to_dict()) if n.rpartition(".")[2] == key]
        hint = f"did you mean {' or '.join(moved)}?" if moved else near(key, {*holder, *known})
        raise UsageError(f"no config key '{path}': {hint}")
    value = holder.get(key)
    kind = known.get(key, Any if value is None else kind_of(value))
    if value is None:  # a placeholder takes what a flag gives, of its type
        with holder.ignore_type():
            holder[key] = config_dict.placeholder(plain_type(kind))
    return kind


def _check_type(name: str, value: Any, kind: Any) -> None:
    if not fits(value, kind):
        raise UsageError(f"--config.{name} is {value!r}, must be {in_words(kind)}")
