"""Runs a script from any folder, of a clone or of an installed jaxlab.

    python -m jaxlab                       # lists the scripts
    python -m jaxlab train_nvae --config=configs/nvae/mnist5k.py:tiny --workdir=runs/demo

`python -m jaxlab NAME` is `python scripts/NAME.py`, and configs/... are found too.
"""

import ast
import runpy
import sys

from jaxlab.launch.config import ROOT, near


def main(argv: list[str]) -> None:
    """Runs the script that the first argument names; without one, prints what there is.

    Args:
      argv: as `sys.argv`, which the script then finds without its name.
    """
    scripts = {path.stem: path for path in sorted((ROOT / "scripts").glob("*.py"))}
    name = argv[1] if argv[1:] else "--help"
    if name in scripts:
        sys.argv = [str(scripts[name]), *argv[2:]]
        sys.path[0] = str(ROOT / "scripts")
        runpy.run_path(sys.argv[0], run_name="__main__")
    elif name in ("-h", "--help"):
        print(__doc__)
        for name, path in scripts.items():
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            print(f"  {name:24}{text.partition(chr(10))[0]}")
    else:
        print(f"error: no script {name!r}: {near(name, scripts)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv)
