"""NVAE in Flax: model, objective, evaluation, and import of the reference's weights."""

from jaxlab.models.nvae.building import (
    arguments_of,
    for_images,
    groups_per_scale,
    parameter_count,
)
from jaxlab.models.nvae.cells import ARCHS
from jaxlab.models.nvae.evaluation import (
    active_channels,
    count_active,
    importance_bound,
    reestimate_sampling_statistics,
    refresh_statistics,
)
from jaxlab.models.nvae.latents import NVAEOutput
from jaxlab.models.nvae.model import NVAE
from jaxlab.models.nvae.objective import init_variables, make_loss, make_metrics, prepare_images
from jaxlab.models.nvae.reference import load_reference, read_checkpoint
from jaxlab.models.nvae.scan import stacked
from jaxlab.models.nvae.summary import summary
from jaxlab.models.vae.likelihoods import Likelihood

__all__ = [
    "ARCHS",
    "NVAE",
    "Likelihood",
    "NVAEOutput",
    "active_channels",
    "arguments_of",
    "count_active",
    "for_images",
    "groups_per_scale",
    "importance_bound",
    "init_variables",
    "load_reference",
    "make_loss",
    "make_metrics",
    "parameter_count",
    "prepare_images",
    "read_checkpoint",
    "reestimate_sampling_statistics",
    "refresh_statistics",
    "stacked",
    "summary",
]
