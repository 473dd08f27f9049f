"""The mixture of experts restated, token by token."""

import math

import numpy as np


def top_k_routing(logits, *, k, normalize=True):
    lead, E = logits.shape[:-1], logits.shape[-1]
    gates, probs, experts = np.zeros((*lead, k)), np.zeros(logits.shape), np.zeros((*lead, k), int)
    for i in np.ndindex(lead):
        probs[i] = [1 / sum(math.exp(other - own) for other in logits[i]) for own in logits[i]]
        experts[i] = sorted(range(E), key=lambda e: -probs[i][e])[:k]
        gates[i] = [probs[i][e] for e in experts[i]]
        if normalize:
            gates[i] /= sum(gates[i])
    return gates, probs, experts


def load_balancing(probs, experts, *, each=False):
    E, choices = probs.shape[-1], experts.reshape(-1).tolist()
    losses = np.zeros(probs.shape[:-1])
    for i in np.ndindex(losses.shape):
        losses[i] = sum(E * choices.count(e) / len(choices) * probs[i][e] for e in range(E))
    return (losses if each else losses.sum()), losses.size


def router_z_loss(logits, *, each=False):
    losses = np.zeros(logits.shape[:-1])
    for i in np.ndindex(losses.shape):
        losses[i] = math.log(sum(math.exp(z) for z in logits[i])) ** 2
    return (losses if each else losses.sum()), losses.size


PLAIN = {"top_k_routing": top_k_routing, "load_balancing": load_balancing, "router_z_loss": router_z_loss}
