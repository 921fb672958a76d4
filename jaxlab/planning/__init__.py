"""What a step will cost, read off its trace and its compiled program before anything runs."""

from jaxlab.planning.benchmark import Variant, measure, timing_record, timing_table
from jaxlab.planning.chips import CHIPS, Chip, chip_of, find_devices
from jaxlab.planning.costs import Memory, OutOfMemory, compile_step, matmul_flops, memory
from jaxlab.planning.hlo import Collective, Totals, totals
from jaxlab.planning.report import plan, reporting, speed, table
from jaxlab.planning.scripts import TASKS, blueprint, sections, task_of

__all__ = [
    "CHIPS",
    "TASKS",
    "Chip",
    "Collective",
    "Memory",
    "OutOfMemory",
    "Totals",
    "Variant",
    "blueprint",
    "chip_of",
    "compile_step",
    "find_devices",
    "matmul_flops",
    "measure",
    "memory",
    "plan",
    "reporting",
    "sections",
    "speed",
    "table",
    "task_of",
    "timing_record",
    "timing_table",
    "totals",
]
