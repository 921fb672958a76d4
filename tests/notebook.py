"""The example of a method page that opens a finished run, with another folder."""

import re
from typing import Any

from processes import ROOT


def run_example(page: str, workdir: Any) -> dict[str, Any]:
    """Runs the one block of docs/methods/PAGE.md that calls `train.load_run`; its names."""
    text = (ROOT / "docs" / "methods" / f"{page}.md").read_text()
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "load_run(" in b]
    assert len(block.splitlines()) <= 13
    code, count = re.subn(r'"runs/[^"]*"', repr(str(workdir)), block)
    assert count == 1
    names: dict[str, Any] = {}
    exec(compile(code, page, "exec"), names)
    return names
