"""What any VAE needs: likelihoods, images as models take them, KL warm-up, the importance bound."""

from jaxlab.models.vae.bound import importance_bound
from jaxlab.models.vae.images import prepare_images
from jaxlab.models.vae.likelihoods import Likelihood
from jaxlab.models.vae.warmup import kl_coefficient

__all__ = ["Likelihood", "importance_bound", "kl_coefficient", "prepare_images"]
