"""docs/frameworks.md: every block runs as it stands, and its model learns the rare classes."""

import re

import pytest
from processes import ROOT

from jaxlab import losses

PAGE = (ROOT / "docs" / "frameworks.md").read_text()
FIRST, *SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
BLOCKS = {
    section.splitlines()[0]: code
    for section in SECTIONS
    for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL)
}


@pytest.fixture(scope="module")
def names():
    """What the page's first block defines, which the others follow."""
    names = {}
    exec(re.findall(r"```python\n(.*?)```", FIRST, re.DOTALL)[0], names)
    return names


@pytest.mark.parametrize("section", BLOCKS)
def test_the_block_trains(names, section):
    names = dict(names)
    exec(BLOCKS[section], names)
    error = losses.balanced_error(names["logits"].argmax(-1), names["y"], 3).error
    assert error < 0.05


def test_the_page_has_every_framework():
    assert [name.split(",")[0] for name in BLOCKS] == [
        "Linen", "NNX", "Equinox", "haiku", "Flooding with flax's `TrainState`"
    ]  # fmt: skip
