r"""How wide should an embedding be? The minimum-entropy estimate, and what it assumes.

Skip-gram as one softmax over all pairs, :math:`p_{ij} = e^{\langle u_i, v_j\rangle} / Z`, with N
words and n dimensions. If all vectors are independent and uniform on the sphere of radius
:math:`\sqrt{\kappa n}`, so that logits are :math:`\kappa n \cos\theta`, the entropy of p is

.. math:: H \approx 2 \log N + h_n, \qquad h_n = \log \mathrm{E}\, e^{\kappa n \cos\theta} -
    \frac{\mathrm{E}\, e^{\kappa n \cos\theta} \kappa n \cos\theta}
         {\mathrm{E}\, e^{\kappa n \cos\theta}}
    \approx -\frac{\log \varphi}{2}\, n \quad (\kappa = 1,\ \varphi\ \text{the golden ratio}).

The estimate is the n where H falls to a target below the entropy of the corpus; the target 0 needs
no corpus. It is a matter of orders of magnitude: `docs/methods/embedding_dim.md` says what breaks.

Everything runs on the host in float64 and returns Python numbers, since shapes are static.

Source: kexue.fm/archives/7695; the closed forms and the constant are ours.
"""

from jaxlab.embedding_dim.angles import (
    angle_density,
    angle_entropy,
    asymptotic_coefficients,
)
from jaxlab.embedding_dim.estimates import (
    METHODS,
    PAIRS,
    embedding_dim,
    embedding_dim_root,
    skipgram_entropy,
    vocab_capacity,
)
from jaxlab.embedding_dim.related import (
    empirical_pair_entropy,
    entropy_invariant_scale,
    johnson_lindenstrauss_dim,
)

__all__ = [
    "METHODS",
    "PAIRS",
    "angle_density",
    "angle_entropy",
    "asymptotic_coefficients",
    "embedding_dim",
    "embedding_dim_root",
    "empirical_pair_entropy",
    "entropy_invariant_scale",
    "johnson_lindenstrauss_dim",
    "skipgram_entropy",
    "vocab_capacity",
]
