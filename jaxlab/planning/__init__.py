"""What a step will cost, read off its trace and its compiled program before anything runs."""

from jaxlab.planning.benchmark import Variant, measure, timing_record, timing_table
from jaxlab.planning.check import (
    PARTS,
    Row,
    check_benchmark,
    check_devices,
    check_parity,
    check_resume,
    check_steps,
    check_table,
    make_data,
)
from jaxlab.planning.chips import CHIPS, Chip, chip_of, find_devices
from jaxlab.planning.costs import Memory, OutOfMemory, compile_step, matmul_flops, memory
from jaxlab.planning.hlo import Collective, Totals, totals
from jaxlab.planning.parity import KINDS, deviations, parity_values, store_parity
from jaxlab.planning.report import plan, reporting, speed, table
from jaxlab.planning.scripts import TASKS, blueprint, sections, task_of
from jaxlab.planning.variants import make_variant, read_changes

__all__ = [
    "CHIPS",
    "KINDS",
    "PARTS",
    "TASKS",
    "Chip",
    "Collective",
    "Memory",
    "OutOfMemory",
    "Row",
    "Totals",
    "Variant",
    "blueprint",
    "check_benchmark",
    "check_devices",
    "check_parity",
    "check_resume",
    "check_steps",
    "check_table",
    "chip_of",
    "compile_step",
    "deviations",
    "find_devices",
    "make_data",
    "make_variant",
    "matmul_flops",
    "measure",
    "memory",
    "parity_values",
    "plan",
    "read_changes",
    "reporting",
    "sections",
    "speed",
    "store_parity",
    "table",
    "task_of",
    "timing_record",
    "timing_table",
    "totals",
]
