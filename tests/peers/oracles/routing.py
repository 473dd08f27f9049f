"""The mixture of experts' formulas in PyTorch, which has no such layer."""

import torch
import torch.nn.functional as F


def top_k_routing(logits, *, k, normalize):
    probs = torch.softmax(logits, dim=-1)
    gates = torch.topk(probs, k, dim=-1).values
    return gates / gates.sum(dim=-1, keepdim=True) if normalize else gates, probs


def load_balancing(probs, experts, *, each=False):
    E = probs.shape[-1]
    share = F.one_hot(experts.long(), E).to(probs.dtype).reshape(-1, E).mean(dim=0)
    losses = E * (probs @ share)
    return losses if each else losses.sum()


def router_z_loss(logits, *, each=False):
    losses = torch.logsumexp(logits, dim=-1) ** 2
    return losses if each else losses.sum()
