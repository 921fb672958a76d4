"""Penalties: parameter tree to scalar; masks that say which leaves; the scale of layers.

Norms are float32 whatever the dtype of the parameters (float64 for float64). By default `weissi`
and its kin take leaves with two or more axes and leave biases and scales alone.
"""

from jaxlab.regularizers.baselines import (
    SpectralVectors,
    init_spectral_vectors,
    path_norm,
    spectral_norm_penalty,
)
from jaxlab.regularizers.masks import (
    MASKS,
    Mask,
    Params,
    all_of,
    any_of,
    convolutions,
    expand_mask,
    feed_forward,
    for_optax,
    mask_by_name,
    matching,
    matrices_only,
    named,
    none_of,
    query_key,
    select,
    value_output,
    vectors_only,
)
from jaxlab.regularizers.norms import (
    gradient_norm_penalty,
    l2,
    log_norm_sum,
    squared_gradient_norm,
    squared_norm,
    weissi,
    weissi_grad,
)
from jaxlab.regularizers.scale import balanced_gains, rescale_layers, residual_log_bound

__all__ = [
    "MASKS",
    "Mask",
    "Params",
    "SpectralVectors",
    "all_of",
    "any_of",
    "balanced_gains",
    "convolutions",
    "expand_mask",
    "feed_forward",
    "for_optax",
    "gradient_norm_penalty",
    "init_spectral_vectors",
    "l2",
    "log_norm_sum",
    "mask_by_name",
    "matching",
    "matrices_only",
    "named",
    "none_of",
    "path_norm",
    "query_key",
    "rescale_layers",
    "residual_log_bound",
    "select",
    "spectral_norm_penalty",
    "squared_gradient_norm",
    "squared_norm",
    "value_output",
    "vectors_only",
    "weissi",
    "weissi_grad",
]
