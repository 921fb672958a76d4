"""`jaxlab.launch.config`, `jaxlab.launch.kinds`: config files and the flags that change them: what
is wrong with one is a line before training."""

import json
import logging
import pathlib
import sys
import types
from collections.abc import Sequence
from typing import Any, Literal, Optional

import numpy as np
import pytest
from absl import flags
from processes import ROOT

from jaxlab import data, launch, train
from jaxlab.checkpoints import SaveError
from jaxlab.launch import config as configs
from jaxlab.launch import failures, kinds, log
from jaxlab.models import nvae


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    config = 1", "returns NoneType, must return a ConfigDict"),
        ("    return 3", "returns int, must return a ConfigDict"),
        ("    return undefined", "NameError: name 'undefined' is not defined"),
        ("    raise ValueError('preset is new')", "preset is new"),
        ("    return {'a.b': 1}", "a.b"),
        ("  return (", "SyntaxError"),
    ],
)
def test_config_files_that_are_none(tmp_path, body, message):
    path = tmp_path / "config.py"
    path.write_text(f"def get_config():\n{body}\n")
    with pytest.raises(launch.UsageError, match=message):
        configs.load(str(path))
    with pytest.raises(launch.UsageError, match=r"preset is 'x', .*config.py has none|SyntaxError"):
        configs.load(f"{path}:x")


def test_a_plain_dict_is_a_config_and_a_key_that_it_lacks_is_a_line(tmp_path):
    path = tmp_path / "config.py"
    path.write_text("def get_config():\n    return {'model': {'width': 8}, 'num_steps': 5}\n")
    config = configs.load(str(path))
    assert (config.model.width, config.get("missing", 7)) == (8, 7)
    assert not hasattr(config, "missing")
    for read in (lambda: config.num_step, lambda: config["num_step"]):
        with pytest.raises(
            launch.UsageError, match="no config key 'num_step': did you mean num_steps"
        ):
            read()
    with pytest.raises(launch.UsageError, match="no config key 'layers': there are width"):
        config.model.layers  # noqa: B018


@pytest.mark.parametrize(
    "text", [b"[]", b"null", b"7", b'{"config": []}', b"[" * 100_000, b"\xff\xfe", b'{"a": 1}', b""]
)
def test_records_that_are_none(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"config\.json is not a config record"):
        launch.read_config(tmp_path)


KNOWN = launch.keywords(data.load, but=("data_dir", "split"))


def test_sections_take_what_their_function_takes():
    assert {"image_size", "channels", "pad", "holdout", "crop", "likelihood", "bits", "limit"} <= {
        *KNOWN
    }
    launch.check_section(
        "data", {"name": "folder", "image_size": None, "crop": (0, 0, 8, 8), "bits": 5}, KNOWN
    )
    loss = launch.keywords(nvae.make_loss, but=("model", "total_steps"))
    launch.check_section("loss", {"balancing": None, "kl_portion": 1}, loss)
    step = launch.keywords(train.make_train_step, but=("loss_fn", "tx", "mesh"))
    assert "mesh" not in step
    for section, message in {
        (("imagesize", 3),): r"no config key 'data\.imagesize': did you mean image_size",
        (("image_size", "big"),): r"--config\.data\.image_size is 'big', must be int or None",
        (("image_size", True),): "must be int or None",
        (("channels", None),): r"channels is None, must be int",
        (("crop", (0, 0, 8)),): "a tuple of int, int, int, int",
        (("crop", (0, 0, 8, 8.5)),): "a tuple of int, int, int, int",
    }.items():
        with pytest.raises(launch.UsageError, match=message):
            launch.check_section("data", dict(section), KNOWN)


@pytest.mark.parametrize("seeds", [[2**70], [2**32], [-1], [1.5], [True], [1, 1], []])
def test_seeds(seeds):
    launch.check_seeds("seeds", [0, 2**32 - 1])
    with pytest.raises(launch.UsageError, match="seeds"):
        launch.check_seeds("seeds", seeds)


def test_log_lines_of_an_installed_package_are_shown(monkeypatch):
    monkeypatch.setattr(log, "_PACKAGE", pathlib.Path("/env/site-packages/jaxlab"))
    at = lambda path, level=logging.INFO: log.worth_showing(
        logging.LogRecord("absl", level, path, 1, "", None, None)
    )
    assert at("/env/site-packages/jaxlab/train/loop.py")
    assert not at("/env/site-packages/orbax/x.py")
    assert at("/env/site-packages/orbax/x.py", logging.WARNING)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/home/me/train.py", raising=False)
    assert at("/home/me/mine.py")
    assert not at("/home/you/mine.py")


def test_what_the_machine_lacks_is_a_line():
    full = OSError(28, "No space left on device", "/disk/a.json")
    assert failures.message(full).startswith("the disk of /disk/a.json is full")
    assert "out of memory" in failures.message(MemoryError("Unable to allocate 30 GiB"))
    assert "out of memory" in failures.message(RuntimeError("RESOURCE_EXHAUSTED: allocating 9 GB"))
    wrapped = ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device")
    assert failures.message(wrapped).startswith("the disk is full")
    assert failures.is_users(wrapped)
    saving = SaveError("checkpoint /runs/a/20 cannot be written: No space left on device")
    assert failures.message(saving) == str(saving)
    assert not failures.is_users(ValueError("a bug"))


def test_names_near_a_wrong_one():
    names = ("width", "widths", "width_2", "width_3", "depth")
    assert configs.near("widht", ["width", "depth"]) == "did you mean width?"
    assert configs.near("width_", names).count(" or ") == 2  # the nearest three
    assert configs.near("x", ["b", "a"]) == "there are a, b"
    assert configs.near("x", []) == "there are none"


def test_types_of_values_and_of_what_flags_give():
    assert kinds.kind_of(3) is int
    assert kinds.kind_of((1, 2)) == tuple[int, ...]
    assert kinds.kind_of((1, 2.0)) is kinds.kind_of(()) is tuple
    plain = {
        int: int,
        int | None: int,
        tuple[int, ...]: tuple,
        list[int] | None: tuple,
        Sequence[float]: tuple,
        int | str: object,
        Literal["a", "b"]: str,
        Literal["a", 1]: object,
        dict: object,
        Any: object,
    }
    assert {kind: kinds.plain_type(kind) for kind in plain} == plain
    assert kinds._members(Optional[int]) == (int, type(None))  # noqa: UP045


@pytest.mark.parametrize(
    ("kind", "fits", "does_not"),
    [
        (int, [0, -3], [1.0, True, "1", None]),
        (float, [0, 1.5], [False, "1", None]),
        (bool, [True], [1, "True"]),
        (str, [""], [1, None]),
        (int | None, [1, None], [1.5, False]),
        (Literal["a", "b"], ["a", "c"], [1]),  # of its type: the function knows the values
        (tuple, [(), (1, "a"), [1]], [1, "ab"]),
        (tuple[int, ...], [(), (1, 2), [3]], [(1, 2.5), 1]),
        (tuple[int, str], [(1, "a")], [(1,), (1, 2), (1, "a", "b")]),
        (Sequence[float], [(1, 2.5)], [("a",)]),
        (Any, [1, None, "a"], []),
        (object, [1, None], []),
        ("a name", [1], []),
        (dict, [{}], [1]),
    ],
)
def test_values_and_types(kind, fits, does_not):
    assert all(kinds.fits(value, kind) for value in fits)
    assert not any(kinds.fits(value, kind) for value in does_not)


def test_types_in_words():
    shown = {
        int: "int",
        type(None): "None",
        tuple: "a tuple",
        tuple[int, ...]: "a tuple of int",
        tuple[int, str]: "a tuple of int, str",
        list[tuple[float, ...]]: "a tuple of a tuple of float",
    }
    assert {kind: kinds.in_words(kind) for kind in shown} == shown


def test_keys_that_flags_name():
    config = configs.Config({"a": {"b": {"c": 1, "none": None}}, "t": (1, 2), "x": None})
    config.unlock()
    sections = {"a.b": {"c": float, "new": int | None, "free": Any}}
    find = lambda path: configs._find_key(config, path, sections)
    assert find("a.b.c") is float  # of the function, not of the value
    assert find("t") == tuple[int, ...]
    assert find("t[0]") is Any
    assert find("x") is Any
    assert find("a.b.new") == int | None
    config.a.b.new = 3
    with pytest.raises(TypeError):
        config.a.b.new = "a"
    find("a.b.free")
    config.a.b.free = (1, "a")
    for path, message in (
        ("a.bb.c", r"no config section 'a\.bb' for 'a\.bb\.c': did you mean b"),
        ("t.c", r"no config section 't' for 't\.c'"),
        ("a.b.c.d", r"no config section 'a\.b\.c' for"),
        ("a.b.d", r"no config key 'a\.b\.d': there are c, free, new, none"),
    ):
        with pytest.raises(launch.UsageError, match=message):
            find(path)


def test_values_are_checked_once_flags_have_changed_them():
    def conclude(config, kinds=(), nones=(), sections=()):
        config = configs.Config(config)
        config.unlock()
        configs.conclude(config, dict(kinds), dict.fromkeys(nones), dict(sections))
        return config

    config = conclude({"a": {"b": 1}, "seed": 3, "x": 2}, {"a.b": int | None}, ["a.b"])
    assert config.a.b is None
    assert config.is_locked
    conclude({"t": (1,)}, {"t[0]": Any})
    conclude({"seeds": (1, 2), "name_seed": 2**32 - 1, "seedling": -1, "other": {"seeds": "all"}})
    for config, more in (
        ({"a": {"b": 1.5}}, {"kinds": {"a.b": int}}),
        ({"a": {"b": 1.5}}, {"sections": {"a": {"b": int}}}),
        ({"a": {"c": 1}}, {"sections": {"a": {"b": int}}}),
        ({"a": {"seed": -1}}, {}),
        ({"a": {"data_seed": 2**32}}, {}),
        ({"a": {"seeds": (1, 1)}}, {}),
    ):
        with pytest.raises(launch.UsageError):
            conclude(config, **more)


def test_sections_and_leaves_by_path():
    config = {"a": {"b": {"c": 1}}, "d": ()}
    assert configs.inner(config, "a.b") == {"c": 1}
    assert configs.inner(config, "a.x.y") == {}
    assert configs.flat(config) == {"a.b.c": 1, "d": ()}
    assert configs.flat({1: {2: 3}}) == {"1.2": 3}
    assert configs.one_line(ValueError("a\n  b")) == "a b"
    assert configs.one_line(ValueError()) == "ValueError: "
    assert configs.one_line(KeyError("a")) == "KeyError: 'a'"
    assert configs.one_line(configs.MissingKeyError("no key")) == "no key"


def test_flags_that_are_keys_of_the_config():
    error = flags.UnrecognizedFlagError("width")
    config = configs.Config({"model": {"width": 1}, "depth": 2})
    said = lambda name, config: configs.unknown_flag(flags.UnrecognizedFlagError(name), config)
    assert said("width", config).endswith("'width': did you mean --config.model.width?")
    assert said("model.width", config).endswith("did you mean --config.model.width?")
    assert said("depth", config).endswith("did you mean --config.depth?")
    assert said("height", config) == said("height", None) == "Unknown command line flag 'height'"
    assert configs.unknown_flag(error, None) == "Unknown command line flag 'width'"
    assert configs.unknown_flag(ValueError("other"), config) == "other"


def test_a_preset_is_all_behind_the_first_colon(tmp_path, monkeypatch):
    (tmp_path / "c.py").write_text("def get_config(preset='none'):\n    return {'got': preset}\n")
    assert configs.load(f"{tmp_path}/c.py:a:b").got == "a:b"
    assert configs.load(f"{tmp_path}/c.py").got == "none"
    monkeypatch.setattr(configs, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    assert configs.find("c.py:x") == f"{tmp_path}/c.py:x"  # of the repository
    monkeypatch.chdir(tmp_path)
    assert configs.find("c.py") == "c.py"  # of the working folder, which comes first


def test_arguments_of_several_functions_the_first_type_counts():
    def first(a: int, *rest, b=1, **more): ...

    def second(a: str, parent: int, *, c: "unknown" = 3): ...  # noqa: F821

    assert launch.keywords(first, second) == {"a": int, "b": Any, "c": Any}
    assert launch.keywords(second, first, but=("c",)) == {"a": Any, "b": Any}


@pytest.mark.parametrize("value", [-1, 2.5, "8", None, True, (8,), 2**31])
def test_numbers_that_every_config_has_are_checked_by_their_key(value):
    for key in ("batch_size", "eval_batch_size", "log_every", "eval_every", "fsdp", "num_steps"):
        config = configs.Config({"stages": {"first": {key: value}}})
        with pytest.raises(ValueError, match=rf"^stages\.first\.{key} is .*, must be "):
            configs.conclude(config, {}, (), {})


@pytest.mark.parametrize("waiting", [False, True])
def test_other_data_are_noticed(tmp_path, monkeypatch, caplog, waiting):
    labels, path = np.arange(4), tmp_path / "config.json"
    record = {"config": {"a": 1}}
    if waiting:  # for the first file of the run: nothing is written
        monkeypatch.setitem(launch.record._unwritten, str(path), record)
    else:
        path.write_text(json.dumps(record))
    read = lambda: record if waiting else json.loads(path.read_text())
    launch.check_data(tmp_path, {"test": {"label": labels}})
    launch.check_data(tmp_path, {"test": {"label": labels}, "texts": {"text": ["a", "b"]}})
    assert set(read()["data"]) == {"test", "texts"}
    assert path.exists() != waiting
    before = json.dumps(read())
    for sets, message in (
        ({"test": {"label": labels[::-1]}}, "test: label has other values"),
        ({"test": {"label": labels[1:]}}, r"test: label int64\[4\] -> int64\[3\]"),
        ({"texts": {"text": ["a", "c"]}}, "texts: text has other values"),
    ):
        with pytest.raises(launch.UsageError, match=message + ".*go on with --allow_config_change"):
            launch.check_data(tmp_path, sets)
        assert json.dumps(read()) == before
    launch.check_data(tmp_path, {"test": {"label": labels[1:]}}, allow_change=True)
    assert "data changed: test: label int64[4] -> int64[3]" in caplog.text
    launch.check_data(tmp_path, {"test": {"label": labels[1:]}})


def test_every_script_that_goes_on_looks_at_its_data():
    goes_on = [p for p in (ROOT / "scripts").glob("*.py") if "allow_change" in p.read_text()]
    assert len(goes_on) == 6
    for path in goes_on:
        assert "launch.check_data(" in path.read_text(), path


def test_without_a_run_there_is_nothing_to_compare_data_with(tmp_path):
    launch.check_data(tmp_path, {"test": {"label": np.arange(4)}})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", [-1, 2**32, 2**80])
def test_a_seed_of_any_script_has_32_bits(monkeypatch, seed):
    values = flags.FlagValues()
    flags.DEFINE_integer("seed", 0, "Seed.", flag_values=values)
    monkeypatch.setattr(flags, "FLAGS", values)
    assert launch._parse_flags(["script", f"--seed={2**32 - 1}", "rest"]) == ["script", "rest"]
    with pytest.raises(launch.UsageError, match=f"--seed has {seed}, must be a whole number from"):
        launch._parse_flags(["script", f"--seed={seed}"])


def test_every_argument_is_looked_at_once(tmp_path, monkeypatch):
    path = tmp_path / "config.py"
    path.write_text("def get_config():\n    return {'model': {'width': 8}, 'num_steps': 5}\n")
    seen, flag = [], types.SimpleNamespace(present=0)
    define = lambda *args, **options: seen.append((args[:2], options))
    monkeypatch.setattr(configs.config_flags, "DEFINE_config_dict", define)
    monkeypatch.setattr(configs.flags, "FLAGS", {"config": flag})
    argv = ["run.py", "--config.num_steps=7", f"--config={path}", "--config.model.width=None", "-v"]
    config, rest, kinds, nones = configs.define("none.py", argv, {})
    assert config.to_dict() == {"model": {"width": 8}, "num_steps": 5}
    assert rest == ["run.py", "--config.num_steps=7", "-v"]
    assert (list(kinds), nones) == (["num_steps", "model.width"], {"model.width": None})
    assert flag.present == 1
    assert seen == [(("config", config), {"sys_argv": rest, "lock_config": False})]
    assert configs.define("none.py", [argv[0], argv[2]], {})[1] == ["run.py"]
    with pytest.raises(launch.UsageError, match="num_step"):
        configs.define("none.py", [argv[0], "--config.num_step=7", argv[2]], {})
