"""The reference NVAE said again in PyTorch, to make parity files of any shape.

Written from its description, independently of `jaxlab.models.nvae`: no code is shared, and module
names follow the reference's state dict. `parity_arrays(flags)` builds a model with random weights
and returns what a parity file holds. NCHW throughout.
"""

import json
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch_layers import BRANCHES, Cell, Combiner, Conv, FlowPair, Norm


def clamp5(x):
    return 5 * torch.tanh(x / 5)


class Gaussian:
    def __init__(self, mean, log_sigma, temperature=1.0):
        self.mean = clamp5(mean)
        self.sigma = (clamp5(log_sigma).exp() + 0.01) * temperature

    def log_p(self, z):
        scaled = (z - self.mean) / self.sigma
        return -0.5 * scaled**2 - 0.5 * math.log(2 * math.pi) - self.sigma.log()

    def kl(self, p):
        shift, ratio = (self.mean - p.mean) / p.sigma, self.sigma / p.sigma
        return 0.5 * (shift**2 + ratio**2) - 0.5 - ratio.log()


class Model(nn.Module):
    """Modules are registered in the reference's places; `place` lists say who does what."""

    def __init__(self, flags, image_size):
        super().__init__()
        self.flags = flags
        enc, dec, pre, post = BRANCHES[flags["arch_instance"]]
        gate, latents = flags["use_se"], flags["num_latent_per_group"]
        self.binary = flags["dataset"] in ("mnist", "omniglot")
        self.groups = group_counts(flags)
        scales, blocks = len(self.groups), flags["num_preprocess_blocks"]
        self.single = sum(self.groups) == 1
        e, d = flags["num_channels_enc"], flags["num_channels_dec"]

        self.stem = Conv(1 if self.binary else 3, e, 3, padding=1)
        self.pre_process, width = nn.ModuleList(), e
        for _ in range(blocks):
            for c in range(flags["num_preprocess_cells"]):
                down = c == flags["num_preprocess_cells"] - 1
                self.pre_process.append(Cell(pre, width, 2 if down else 1, gate))
                width *= 2 if down else 1
        self.enc_tower = nn.ModuleList()
        for s in range(0 if self.single else scales):
            for g in range(self.groups[s]):
                for _ in range(flags["num_cell_per_cond_enc"]):
                    self.enc_tower.append(Cell(enc, width, 1, gate))
                if (s, g) != (scales - 1, self.groups[s] - 1):
                    self.enc_tower.append(Combiner(width // e * d, width))
            if s < scales - 1:
                self.enc_tower.append(Cell(enc, width, 2, gate))
                width *= 2
        self.enc0 = nn.Sequential(nn.ELU(), Conv(width, width, 1), nn.ELU())
        times = width // e
        self.prior_ftr0 = nn.Parameter(
            torch.rand(d * times, image_size // times, image_size // times)
        )
        self.enc_sampler, self.dec_sampler = nn.ModuleList(), nn.ModuleList()
        self.nf_cells, self.dec_tower, self.shapes = nn.ModuleList(), nn.ModuleList(), []
        for s in reversed(range(scales)):
            for g in range(self.groups[s]):
                first = (s, g) == (scales - 1, 0)
                self.shapes.append((latents, image_size // times, image_size // times))
                self.enc_sampler.append(Conv(e * times, 2 * latents, 3, padding=1))
                self.nf_cells.extend(FlowPair(latents) for _ in range(flags["num_nf"]))
                if not first:
                    self.dec_sampler.append(
                        nn.Sequential(nn.ELU(), Conv(d * times, 2 * latents, 1))
                    )
                    for _ in range(flags["num_cell_per_cond_dec"]):
                        self.dec_tower.append(Cell(dec, d * times, 1, gate))
                if not self.single:
                    self.dec_tower.append(Combiner(d * times + latents, d * times))
            if s > 0:
                self.dec_tower.append(Cell(dec, d * times, -1, gate))
                times //= 2
        if self.single:
            self.stem_decoder = Conv(latents, d * times, 1)
        self.post_process = nn.ModuleList()
        for _ in range(flags["num_postprocess_blocks"]):
            for c in range(flags["num_postprocess_cells"]):
                self.post_process.append(Cell(post, d * times, -1 if c == 0 else 1, gate))
                times //= 2 if c == 0 else 1
        mixtures = flags["num_mixture_dec"]
        outputs = 1 if self.binary else 6 if mixtures == 1 else 10 * mixtures
        self.image_conditional = nn.Sequential(nn.ELU(), Conv(d * times, outputs, 3, padding=1))

    def encode(self, x):
        """The top feature, and (feature, combiner) of the other groups, finest first."""
        y, remembered = self.stem(2 * x - 1), []
        for cell in self.pre_process:
            y = cell(y)
        for cell in self.enc_tower:
            if isinstance(cell, Combiner):
                remembered.append((y, cell))
            else:
                y = cell(y)
        return self.enc0(y), remembered

    def forward(self, eps, x=None, temperature=1.0):
        """Decodes posterior draws, or prior draws without x; returns logits, kl, log q, log p."""
        top, remembered = (None, []) if x is None else self.encode(x)
        zeros = torch.zeros_like(eps[0])
        s = self.prior_ftr0.expand(len(zeros), -1, -1, -1)
        kls, log_qs, log_ps = [], [], []

        def draw(feature, raw_prior):
            i = len(log_ps)
            prior = Gaussian(*raw_prior, temperature)
            if feature is None:
                z = prior.mean + prior.sigma * eps[i]
                log_ps.append(prior.log_p(z))
                return z
            raw = self.enc_sampler[i](feature).chunk(2, dim=1)
            if self.flags["res_dist"] and i > 0:
                raw = [a + b for a, b in zip(raw_prior, raw, strict=True)]
            posterior = Gaussian(*raw)
            z = posterior.mean + posterior.sigma * eps[i]
            log_qs.append(posterior.log_p(z))
            flows = self.flags["num_nf"]
            for n in range(flows):
                z = self.nf_cells[i * flows + n](z)
            log_ps.append(prior.log_p(z))
            kls.append(log_qs[-1] - log_ps[-1] if flows else posterior.kl(prior))
            return z

        z = draw(top, (zeros, zeros))
        if self.single:
            s = self.stem_decoder(z)
        for cell in self.dec_tower:
            if isinstance(cell, Combiner):
                if z is None:
                    raw_prior = self.dec_sampler[len(log_ps) - 1](s).chunk(2, dim=1)
                    feature = None
                    if x is not None:
                        y, combiner = remembered.pop()
                        feature = y + combiner.conv(s)
                    z = draw(feature, raw_prior)
                s, z = cell.conv(torch.cat([s, z], dim=1)), None
            else:
                s = cell(s)
        for cell in self.post_process:
            s = cell(s)
        sums = lambda terms: [t.sum(dim=(1, 2, 3)) for t in terms]
        return self.image_conditional(s), sums(kls), sums(log_qs), sums(log_ps)

    def nats(self, x, logits):
        """-log p(x), [batch]."""
        if self.binary:
            terms = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
            return terms[:, :, 2:-2, 2:-2].sum(dim=(1, 2, 3))
        if self.flags["num_mixture_dec"] == 1:
            return -Gaussian(*logits.chunk(2, dim=1)).log_p(2 * x - 1).sum(dim=(1, 2, 3))
        return mixture_nats(x, logits, self.flags["num_mixture_dec"], self.flags["num_x_bits"])

    def convolutions(self):
        return [m for m in self.modules() if isinstance(m, Conv) and m.effective is not None]


def group_counts(flags):
    counts = [flags["num_groups_per_scale"]]
    while len(counts) < flags["num_latent_scales"]:
        halved = max(flags["min_groups_per_scale"], counts[-1] // 2)
        counts.append(halved if flags["ada_groups"] else counts[-1])
    return counts


def mixture_nats(x, logits, m, bits):
    batch, _, height, width = logits.shape
    top, y = 2.0**bits - 1, 2 * x - 1
    weights = F.log_softmax(logits[:, :m], dim=1)
    rest = logits[:, m:].reshape(batch, 3, 3 * m, height, width)
    mean, log_scale, c = rest.split(m, dim=2)
    log_scale, c = log_scale.clamp(min=-7.0), torch.tanh(c)
    red, green = y[:, 0:1], y[:, 1:2]
    mean = torch.stack(
        [mean[:, 0], mean[:, 1] + c[:, 0] * red, mean[:, 2] + c[:, 1] * red + c[:, 2] * green],
        dim=1,
    )
    y = y[:, :, None]
    d, i = y - mean, torch.exp(-log_scale)
    plus, minus, middle = i * (d + 1 / top), i * (d - 1 / top), i * d
    mass = torch.sigmoid(plus) - torch.sigmoid(minus)
    density = middle - log_scale - 2 * F.softplus(middle) - math.log(top / 2)
    inner = torch.where(mass > 1e-5, mass.clamp(min=1e-10).log(), density)
    inner = torch.where(y > 0.99, -F.softplus(minus), inner)
    log_mass = torch.where(y < -0.999, plus - F.softplus(plus), inner)
    return -torch.logsumexp(log_mass.sum(dim=1) + weights, dim=1).sum(dim=(1, 2))


def spectral_sum(model, iterations):
    """Sum of u^T W v; vectors from power iteration, without gradient."""
    unit = lambda vector: F.normalize(vector, dim=0, eps=1e-3)
    total = 0.0
    for conv in model.convolutions():
        matrix = conv.effective.flatten(1)
        with torch.no_grad():
            u, v = unit(torch.randn(matrix.shape[0])), None
            for _ in range(iterations):
                v = unit(matrix.T @ u)
                u = unit(matrix @ v)
        total = total + u @ matrix @ v
    return total


def perturb(model):
    """Moves every weight and statistic off its initial value."""
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.4, 1.6)
            elif tensor.is_floating_point():
                tensor += (0.2 if name.endswith("running_mean") else 0.05) * torch.randn(
                    tensor.shape
                )


def random_images(model, batch, size):
    if model.binary:
        return (torch.rand(batch, 1, size, size) < 0.4).float()
    top = 2 ** model.flags["num_x_bits"] - 1
    levels = torch.randint(0, top + 1, (batch, 3, size, size))
    for row, level in enumerate((0, top, top - 1, 1)):  # the edges have rules of their own
        levels[:, :, row] = level
    return levels.float() / top


def objective(model, x, eps, *, beta, weight, iterations):
    """What training minimises, and its parts by their names in a parity file."""
    logits, kl, _, _ = model(eps, x)
    nats, kl = model.nats(x, logits), torch.stack(kl, dim=1)
    alpha = [4.0**i / n for i, n in enumerate(reversed(model.groups)) for _ in range(n)]
    alpha = torch.tensor(alpha) / min(alpha)
    share = (kl.detach().abs().mean(dim=0) + 0.01) / alpha
    gamma = share / share.mean() if beta < 1 else torch.ones(len(alpha))
    balanced = beta * (gamma * kl).sum(dim=1)
    spectral = spectral_sum(model, iterations)
    norms = [m.weight.abs().max() for m in model.modules() if isinstance(m, Norm)]
    bn_sum = sum(norms, torch.zeros(()))
    total = (nats + balanced).mean() + weight * (spectral + bn_sum)
    parts = {
        **{"train/alpha": alpha, "train/gamma": gamma, "train/recon_loss": nats, "train/kl": kl},
        **{"train/balanced_kl": balanced, "train/spectral_sum": spectral, "train/bn_sum": bn_sum},
        "train/total": total,
    }
    return total, parts


def measure(model, x, eps, *, temperature=0.7, beta=0.5, weight=0.01, iterations=500):
    """All that a parity file holds but weights and inputs; leaves running statistics updated."""
    arrays = {}
    model.eval()
    with torch.no_grad():
        logits, kl, log_q, log_p = model(eps, x)
        arrays["eval/logits"], arrays["eval/recon_loss"] = logits, model.nats(x, logits)
        arrays["eval/kl"] = torch.stack(kl, dim=1)
        arrays["eval/log_q"], arrays["eval/log_p"] = sum(log_q), sum(log_p)
        arrays["sample/logits"] = model(eps, temperature=temperature)[0]
    model.train()
    total, parts = objective(model, x, eps, beta=beta, weight=weight, iterations=iterations)
    total.backward()
    arrays |= {
        "sample/temperature": torch.tensor(temperature),
        "train/kl_coeff": torch.tensor(beta),
        "train/lambda": torch.tensor(weight),
        **parts,
    }
    for name, parameter in model.named_parameters():
        norm = -torch.ones(()) if parameter.grad is None else parameter.grad.norm()
        arrays[f"train/grad_norm/{name}"] = norm
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            arrays[f"train/after/{name}"] = buffer
    return {name: value.detach().numpy().copy() for name, value in arrays.items()}


def parity_arrays(flags, *, image_size=16, batch=3, seed=0, sync_norm=False, **options):
    """A random model with the given reference flags, as the contents of a parity file.

    sync_norm: Name plain batch norms as a synchronised one does, with an inner ".bn".
    """
    torch.manual_seed(seed)
    model = Model(flags, image_size)
    perturb(model)
    x = random_images(model, batch, image_size)
    eps = [torch.randn(batch, *shape) for shape in model.shapes]
    config = {**flags, "groups_per_scale": model.groups}
    arrays = {"config": np.array(json.dumps(config)), "input/x": x.numpy()}
    arrays |= {f"eps/{i}": e.numpy() for i, e in enumerate(eps)}
    state = {f"state/{k}": v.numpy().copy() for k, v in model.state_dict().items()}
    arrays |= state | measure(model, x, eps, **options)
    if not sync_norm:
        return arrays
    plain = [name for name, m in model.named_modules() if type(m) is Norm]
    for key in list(arrays):
        owner, _, leaf = key.rpartition(".")
        if (
            owner.removeprefix("state/")
            .removeprefix("train/grad_norm/")
            .removeprefix("train/after/")
            in plain
        ):
            arrays[f"{owner}.bn.{leaf}"] = arrays.pop(key)
    return arrays
