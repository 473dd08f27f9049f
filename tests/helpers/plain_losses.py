"""What the contrastive losses compute, restated as plainly as possible, and the form in which a loss is restated."""

from __future__ import annotations

import math

import numpy as np


def total_of(losses, count, each):
    return (np.array(losses) if each else np.sum(losses)), count


def plain_cosines(left, right):
    lengths = [[math.hypot(*row) for row in rows] for rows in (left, right)]
    return [
        [a @ b / (n * m) for b, m in zip(right, lengths[1], strict=True)] for a, n in zip(left, lengths[0], strict=True)
    ]


def plain_info_nce(image, text, log_scale, groups, *, limit, each=False):
    cosines, factor = plain_cosines(image, text), min(math.exp(log_scale), limit)
    N = len(image)
    z = [[factor * cosines[i][j] for j in range(N)] for i in range(N)]
    losses = []
    for i in range(N):
        others = [j for j in range(N) if j == i or groups[j] != groups[i]]
        by_image = math.log(sum(math.exp(z[i][j]) for j in others)) - z[i][i]
        by_text = math.log(sum(math.exp(z[j][i]) for j in others)) - z[i][i]
        losses.append((by_image + by_text) / 2)
    return total_of(losses, N, each)


def plain_siglip(image, text, log_scale, bias, groups, *, each=False):
    cosines, losses = plain_cosines(image, text), []
    for i, row in enumerate(cosines):
        sides = [1 if i == j else -1 for j in range(len(row))]
        odds = [math.exp(log_scale) * s + bias for s in row]
        asked = [i == j or groups[j] != groups[i] for j in range(len(row))]
        costs = [math.log(1 + math.exp(-side * z)) for side, z in zip(sides, odds, strict=True)]
        losses.append(sum(cost for cost, ask in zip(costs, asked, strict=True) if ask))
    return total_of(losses, len(image), each)


def plain_supervised_contrastive(features, labels, *, temperature, each=False):
    cosines = plain_cosines(features, features)
    losses, count = [], 0
    for i, row in enumerate(cosines):
        others = [j for j in range(len(row)) if j != i]
        positives = [j for j in others if labels[j] == labels[i]]
        count += bool(positives)
        log_normaliser = math.log(sum(math.exp(row[j] / temperature) for j in others)) if others else 0
        losses.append(sum(log_normaliser - row[p] / temperature for p in positives) / max(1, len(positives)))
    return total_of(losses, count, each)


PLAIN = {
    "info_nce": plain_info_nce,
    "siglip": plain_siglip,
    "supervised_contrastive": plain_supervised_contrastive,
}
