"""What a step will cost, read off its trace and its compiled program before anything runs."""

from jaxlab.planning.chips import CHIPS, Chip, chip_of
from jaxlab.planning.costs import Memory, OutOfMemory, compile_step, matmul_flops, memory
from jaxlab.planning.hlo import Collective, Totals, totals
from jaxlab.planning.scripts import load_script, script_sections

__all__ = [
    "CHIPS",
    "Chip",
    "Collective",
    "Memory",
    "OutOfMemory",
    "Totals",
    "chip_of",
    "compile_step",
    "load_script",
    "matmul_flops",
    "memory",
    "script_sections",
    "totals",
]
