"""Log densities, divergences and samplers of the image models, as pure functions.

All arithmetic is float32, whatever the dtype of the inputs: densities lose their meaning in half
precision. Results are elementwise unless a docstring says which axes it sums. Images handed to
the likelihoods are float in [0, 1], channels last.

Source of the decoder distributions: NVAE (Vahdat & Kautz, 2020, arXiv:2007.03898) and its
published code; the discretized logistic mixture is PixelCNN++ (Salimans et al., 2017,
arXiv:1701.05517).
"""

from jaxlab.distributions.elementary import (
    bernoulli_log_prob,
    bernoulli_sample,
    normal_kl,
    normal_log_prob,
    normal_sample,
    soft_clamp,
)
from jaxlab.distributions.logistic_mixture import (
    discretized_logistic_mixture_log_prob,
    discretized_logistic_mixture_mean,
    discretized_logistic_mixture_sample,
)
from jaxlab.distributions.pixels import (
    binarize,
    bits_per_dim,
    normal_decoder_log_prob,
    normal_decoder_mean,
    normal_decoder_sample,
    reduce_bits,
)

__all__ = [
    "bernoulli_log_prob",
    "bernoulli_sample",
    "binarize",
    "bits_per_dim",
    "discretized_logistic_mixture_log_prob",
    "discretized_logistic_mixture_mean",
    "discretized_logistic_mixture_sample",
    "normal_decoder_log_prob",
    "normal_decoder_mean",
    "normal_decoder_sample",
    "normal_kl",
    "normal_log_prob",
    "normal_sample",
    "reduce_bits",
    "soft_clamp",
]
