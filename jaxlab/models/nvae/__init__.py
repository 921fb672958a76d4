"""NVAE in Flax: model, objective, evaluation, and import of the reference's weights."""

from jaxlab.models.nvae.cells import ARCHS
from jaxlab.models.nvae.likelihoods import Likelihood
from jaxlab.models.nvae.model import NVAE, NVAEOutput, groups_per_scale, parameter_count

__all__ = ["ARCHS", "NVAE", "Likelihood", "NVAEOutput", "groups_per_scale", "parameter_count"]
