"""The text of --help: the script, its flags, and the keys of the config that is given."""

import pathlib
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags

from jaxlab.launch import common_flags, kinds
from jaxlab.launch import config as configs

WIDTH = 60  # of a value; longer ones are cut


def help_text(
    main: Callable[..., Any],
    default_config: str | None,
    sections: Mapping[str, Mapping[str, Any]],
    argv: list[str],
) -> str:
    """The script's docstring, its flags with their defaults, and the keys of its config.

    Args:
      main: of the script.
      default_config: config file; None for a script that takes none.
      sections: what sections of the config may hold.
      argv: the command line; --config in it says whose keys, presets and values are shown.
    """
    module, f = sys.modules[main.__module__], flags.FLAGS
    lines = [(module.__doc__ or "").strip(), ""]
    if not (configs.ROOT / "jaxlab").is_dir():  # installed: there is no folder of scripts
        lines[0] = re.sub(r"python scripts/(\w+)\.py", r"python -m jaxlab \1", lines[0])
    by_module = f.flags_by_module_dict()
    names = {x.name for m in (module.__name__, argv[0]) for x in by_module.get(m, [])}
    ours = {x.name for x in by_module.get(common_flags.__name__, [])}
    helps = {name: f[name].help for name in names | ours}
    if default_config is not None:
        ours |= {"config"}
        helps["config"] = "Config file, with presets after a colon."
    for title, group in (("Flags of this script:", names - ours), ("Common flags:", ours)):
        if group:
            lines += [title]
        for name in sorted(group):
            default = f[name].default if name in f else None
            default = ",".join(default) if isinstance(default, list) else default
            shown = "" if default in (None, False, "") else f" [{default}]"
            lines.append(f"  --{name:22}{' '.join((helps[name] or '').split())}{shown}")
    if default_config is not None:
        lines += _keys(configs.given(argv) or default_config, sections)
    return "\n".join(lines)


def _keys(value: str, sections: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Every key of a config with its value and its type, and the presets there are."""
    config = configs.load(value).to_dict()
    lines = ["", f"Config keys, with the values of {value}:"]
    if presets := _presets(value):
        lines.insert(1, presets)
    for name, found in configs.flat(config).items():
        section, _, key = name.rpartition(".")
        kind = sections.get(section, {}).get(key)
        plain = "" if found is None else kinds.in_words(kinds.kind_of(found))
        shown = plain if kind is None or kind is Any else kinds.in_words(kind)
        text = f"  --config.{name}={textwrap.shorten(str(found), WIDTH)}"
        lines.append(f"{text:48}  {shown}".rstrip())
    for name, known in sections.items():
        more = sorted({*known} - {*configs.inner(config, name)})
        if more:
            also = f"also of {name}: {', '.join(more)}"
            lines += textwrap.wrap(also, 100, initial_indent="  ", subsequent_indent="    ")
    return lines


def _presets(value: str) -> str:
    """What the `get_config` of a config that was loaded says of its presets; "" for nothing."""
    module = sys.modules.get(f"_config_{pathlib.Path(value.split(':', 1)[0]).stem}")
    return " ".join((getattr(module, "get_config", _presets).__doc__ or "").split())
