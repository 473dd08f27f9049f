# %% [markdown]
# # 5. Attention from scratch
#
# After this notebook you can
#
# - write attention with its shapes, say what each matrix means, and say why the scores are divided by $\sqrt D$;
# - mask what a query may not see, and avoid the two usual mistakes;
# - derive and write the backward, for several heads and for heads that share their keys;
# - say what a second head is for;
# - compute attention without ever storing a matrix of weights, as FlashAttention does.
#
# You need [softmax and cross-entropy](03_softmax_and_cross_entropy.md) and the backward of a product of matrices,
# from [linear layers](02_linear_layers.md). It takes about 60 minutes.

# %%
import math
import tracemalloc
from functools import partial

import matplotlib.pyplot as plt
import numpy as np

import minitrain as mt
from minitrain import check_gradients
from minitrain.inside import AttentionView
from minitrain.nn import Linear, create_causal_mask, create_padding_mask
from minitrain.ops import attention_forward
from minitrain.tutorials import Exercise

BLUE, RED, YELLOW, GREY = "#2a6fbb", "#d1495b", "#edae49", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label

# %% [markdown]
# ## A dictionary that can be trained
#
# A Python dictionary compares a query with its keys. One key is equal to it, and you get that key's value. This has
# no gradient: a key is equal or it is not. Attention makes every step smooth.
#
# - Queries, keys and values are vectors. There are $T$ queries and $S$ keys, all of width $D$. Each key has a value.
# - How well does query $t$ fit key $s$? The *score* is their dot product: $Q K^\top$, a matrix of $T \times S$.
# - The softmax turns each row of scores into *weights*: they are positive and add up to 1.
# - The output of a query is the mean of all values with these weights: one product more.
#
# $$\text{weights} = \operatorname{softmax}\!\left(\frac{Q K^\top}{\sqrt D}\right) \qquad
# O = \text{weights} \cdot V$$
#
# The division by $\sqrt D$ comes below. The code allows any number of axes in front, for samples and for heads, so it
# exchanges the last two axes where the formula transposes.


# %%
def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention_weights(q, k):
    """q (..., T, D) and k (..., S, D) to weights (..., T, S)."""
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    return softmax(scores)


rng = np.random.default_rng(3)
T, S, D = 3, 5, 4
q, k, v = rng.standard_normal((T, D)), rng.standard_normal((S, D)), rng.standard_normal((S, D))
weights = attention_weights(q, k)
out = weights @ v

# %% [markdown]
# Here is each array as a grid of its numbers, one square per number. The yellow frame follows one query: a row of $Q$
# makes a row of scores, a row of weights, and a row of the output.


# %%
def draw_product(axes, title, parts, signs):
    """Draw matrices side by side, one square per number, with a sign after each."""
    left = 0.0
    for (name, a, framed), sign in zip(parts, signs, strict=True):
        (rows, columns), top = a.shape, a.shape[0] / 2
        colors, low, high = ("Blues", 0, 1) if name == "weights" else ("RdBu", -3, 3)
        axes.imshow(a, extent=(left, left + columns, -top, top), cmap=colors, vmin=low, vmax=high)
        for (i, j), value in np.ndenumerate(a):
            dark = abs(value) > 0.6 * high
            color = "white" if dark else "black"
            axes.text(
                left + j + 0.5, top - i - 0.5, f"{value:.1f}", ha="center", va="center", fontsize=7.5, color=color
            )
        if framed:
            frame = plt.Rectangle((left, top - 1), columns, 1, fill=False, edgecolor=YELLOW, linewidth=3, clip_on=False)
            axes.add_patch(frame)
        axes.text(left + columns / 2, top + 0.2, name, ha="center", va="bottom", fontsize=11)
        axes.text(left + columns / 2, -top - 0.2, f"{rows} × {columns}", ha="center", va="top", color=GREY)
        left += columns + 2.2
        axes.text(left - 1.1, 0, sign, ha="center", va="center", fontsize=12)
    axes.set(xlim=(-0.2, 18.7), ylim=(-3.2, 3.3), aspect="equal")
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_axis_off()


figure, (top, bottom) = plt.subplots(2, 1, figsize=(7.5, 5.6))
scores = q @ k.T / math.sqrt(D)
parts = [("$Q$", q, True), (r"$K^\top$", k.T, False), ("scores", scores, True)]
draw_product(top, "a score for each query and each key", parts, ["@", r"$/\,\sqrt{D}\;=$", ""])
parts = [("weights", weights, True), ("$V$", v, False), ("output", out, True)]
draw_product(bottom, "softmax along each row, then a mean of the rows of $V$", parts, ["@", "=", ""])
plt.show()

# %% [markdown]
# The weights of each row add up to 1. The sizes tell the story too: $D$ is summed away by the first product, $S$ by
# the second. So the output has a row for each query, and the number of keys may differ from call to call. No weight
# of a network depends on $T$ or $S$.
#
# minitrain's operation does the same. It takes $B$ samples and $H$ *heads* (they come below) as axes of their own:
# `(B, T, H, D)`. Here both are 1.

# %%
ours = attention_weights(q, k) @ v
theirs, _ = attention_forward(q[None, :, None], k[None, :, None], v[None, :, None])
print(theirs.shape, "largest difference", abs(theirs[0, :, 0] - ours).max())

# %% tags=["hidden"]
assert abs(theirs[0, :, 0] - ours).max() < 1e-12

# %% [markdown]
# ## Why divide by the square root of D?
#
# Suppose that the entries of $q$ and $k$ are independent, with mean 0 and variance 1. At the start of training this
# is roughly so. The score $\sum_d q_d k_d$ is a sum of $D$ products. Each has variance 1, so the score has
# variance $D$, and a standard deviation of $\sqrt D$. Wider heads have larger scores. What does that do to the
# softmax? And what to the gradient that comes back through it? Guess before you look: is it better to be sure?

# %%
widths = [1, 4, 16, 64, 256, 1024]
S = 16


def measure(scale):
    """Standard deviation of the scores, largest weight, share of the gradient that passes; medians over queries."""
    found = []
    for D in widths:
        rng = np.random.default_rng(0)
        q, k = rng.standard_normal((300, 1, D)), rng.standard_normal((300, S, D))  # each query with keys of its own
        scores = (q @ k.swapaxes(-1, -2))[:, 0] * scale(D)
        p, dp = softmax(scores), rng.standard_normal((300, S))
        ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True))  # backward of the softmax
        passed = np.linalg.norm(ds, axis=-1) / np.linalg.norm(dp, axis=-1)
        found.append((scores.std(), np.median(p.max(axis=-1)), np.median(passed)))
    return np.array(found).T


plain, divided = measure(lambda D: 1.0), measure(lambda D: 1 / math.sqrt(D))

titles = [
    "spread of the scores\n(standard deviation)",
    "largest of 16 weights\n(median)",
    "gradient that passes\n(median share)",
]
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.4))
for axis, a, b, title in zip(axes, plain, divided, titles, strict=True):
    axis.plot(widths, a, "o-", color=RED, label="plain dot product")
    axis.plot(widths, b, "s-", color=BLUE, label=r"divided by $\sqrt{D}$")
    axis.set_xscale("log")
    axis.set(title=title, xlabel="head width D", xticks=widths, xticklabels=widths)
    axis.minorticks_off()
    axis.grid(alpha=0.25)
axes[0].set(yscale="log", yticks=[1, 2, 4, 8, 16, 32], yticklabels=[1, 2, 4, 8, 16, 32])
axes[0].minorticks_off()
axes[1].set_ylim(0, 1.05)
axes[2].set_yscale("log")
axes[0].legend(frameon=False, fontsize=8)
plt.show()

# %% tags=["hidden"]
large, typical = widths.index(1024), widths.index(64)

# %% [markdown]
# At $D = 64$, a usual width of a head, the plain scores spread by {{ plain[0, typical]:.0f | 8 ± 1 }}. The largest
# weight is at least {{ plain[1, typical]:.2f | ≥ 0.85 }} for half of all queries: attention has chosen, before it
# has learned anything. A softmax that is sure does not respond any more: change its scores a little, and the weights
# stay as they are. So little gradient comes back. The third picture compares the length of the scores' gradient with
# that of the weights' gradient. The median share falls from {{ plain[2, 0]:.2f | 0.065 ± 0.02 }} at $D = 1$ to
# {{ plain[2, large]:.0e | ≤ 1e-4 }} at $D = 1024$. The queries cannot learn that they are wrong. Divided by
# $\sqrt D$, the scores spread by 1 at every width, and the share stays at {{ divided[2, large]:.2f | 0.07 ± 0.02 }}.
#
# This is about the *start* of training. Later, a layer that wants to be sure can make its queries long.
#
# ## Masks
#
# Which keys may a query see? Two rules are in nearly every model.
#
# - *Causal.* A language model predicts the next token. At position $t$ it must not see what comes later.
# - *Padding.* Sequences of a batch have different lengths. The short ones are filled up with padding, and no query may
#   see it.
#
# A mask is a boolean matrix of $T \times S$: True, here blue, where query $t$ may see key $s$. Rules combine with
# `&`.

# %%
tokens = np.array([[5, 3, 9, 7, 2, 0, 0, 0]])  # 0 is padding
causal = create_causal_mask(8)
padding = create_padding_mask(tokens)[0, 0]  # of the first sample and all heads: (1, 8), the same for all queries

figure, axes = plt.subplots(1, 3, figsize=(9, 3.4))
for axis, mask, title in zip(axes, [causal, padding, causal & padding], ["causal", "padding", "both"], strict=True):
    axis.pcolormesh(np.broadcast_to(mask, (8, 8)), cmap="Blues", vmin=0, vmax=1.4, edgecolor="white", linewidth=1.5)
    axis.set(title=title, xlabel="key s", aspect="equal")
    axis.set(xticks=np.arange(8) + 0.5, xticklabels=range(8), yticks=np.arange(8) + 0.5, yticklabels=range(8))
    axis.invert_yaxis()
axes[0].set_ylabel("query t")
plt.show()

# %% [markdown]
# How to apply it? An obvious way is to compute the weights as before, and to set the forbidden ones to 0.


# %%
def masked_afterwards(q, k, v, may):
    return (attention_weights(q, k) * may) @ v


rng = np.random.default_rng(0)
q, k, v = rng.standard_normal((3, 6, 4))
may = create_causal_mask(6)
before = masked_afterwards(q, k, v, may)
k[5] *= 3  # the last key; only the last query may know of it
after = masked_afterwards(q, k, v, may)
leak = abs(after - before)[:5].max()
print("the first five outputs have changed by up to", leak.round(3))
print("the weights of each query add up to", (attention_weights(q, k) * may).sum(axis=-1).round(2))

# %% [markdown]
# The outputs of the first five queries changed by up to {{ leak:.2f | ≥ 0.01 }}, although none of them may see the
# last key. Its score is in every denominator of the softmax. And the weights that are left do not add up to 1. So
# *the future leaks*, and a language model learns to use that. Its training loss looks splendid, and its generated
# text does not.
#
# To divide each row by its sum again would be right on paper. But if a forbidden key has by far the largest score,
# the others have all been rounded to 0, and 0/0 is not a number. The mask belongs *before* the softmax: a forbidden
# score becomes $-\infty$, and $e^{-\infty} = 0$ takes part in no sum.
#
# That leaves one trap. What if a query may see nothing at all? A sequence that is all padding is enough.

# %%
nothing = np.array([[0.3, -1.0, 0.8], [-np.inf, -np.inf, -np.inf]])  # scores; the second query sees no key
with np.errstate(invalid="ignore"):
    with_infinity = softmax(nothing)
with_large_number = softmax(np.where(np.isinf(nothing), -1e9, nothing))
print("-inf:\n", with_infinity.round(2))
print("-1e9 in its place:\n", with_large_number.round(2))

# %% tags=["hidden"]
assert np.isnan(with_infinity[1]).all() and np.allclose(with_large_number[1], 1 / 3)

# %% [markdown]
# The maximum of the second row is $-\infty$, and $-\infty - (-\infty)$ is not a number (NaN). A large negative number
# in place of $-\infty$ hides this, and does something worse: now the query takes the mean of exactly those values that
# it may not see. minitrain *defines* the case. The output is 0, and no gradient flows:

# %%
q, k, v = np.random.default_rng(0).standard_normal((3, 1, 4, 1, 2))
out, _ = attention_forward(q, k, v, key_lengths=np.array([0]))  # all four keys are padding
print(out[0, :, 0])

# %% tags=["hidden"]
assert not out.any()

# %% [markdown]
# **Exercise 1.** Write the softmax with a mask. A row with nothing to see gets zeros.
#
# <details markdown><summary>Hint</summary>
#
# `np.where(may, scores, -np.inf)` masks. Then two places need care: the maximum of a row with nothing to see is
# $-\infty$, and its sum is 0. In both, `np.where` can put a harmless number in its place.
#
# </details>

# %%
scores = np.random.default_rng(1).standard_normal((3, 5))
scores[2, 3] = 900.0  # a key that query 2 may not see
may = np.array([[True, True, False, True, False], [False] * 5, [True, True, True, False, False]])


# %% tags=["folded"]
def reference(scores, may):
    """minitrain's attention: the scores come in as its bias, and the values are the identity."""
    (T, S), nothing = scores.shape, np.zeros((1, 1, 1, 5))
    q, k = nothing.repeat(T, axis=1), nothing.repeat(S, axis=1)
    return attention_forward(q, k, np.eye(S)[None, :, None], scores, mask=may)[0][0, :, 0]


masked = Exercise(
    "masked_softmax",
    reference=reference,
    inputs={"scores": scores, "may": may},
    hints=[
        "Three steps: forbidden scores become -inf, then comes the softmax, and a row with nothing to see is zero.",
        "Print what your function returns for `scores` and `may`, and look at the rows one by one.",
        "Subtract 0 where the row's maximum is -inf, and divide by 1 where the row's sum is 0.",
    ],
    advice={
        "not finite": "There is a 0/0 or -inf - (-inf). Row 1 may see nothing: what is its maximum, and its sum? If "
        "row 2 is the bad one: a forbidden key has taken everything, so it was in the sum.",
        "element (1,": "Row 1 may see nothing, so all its weights must be 0.",
        "element (2,": "In row 2 a forbidden key has the largest score by far. It must not be in the sum: mask before "
        "the softmax.",
    },
)


# %% tags=["exercise"]
def masked_softmax(scores, may): ...  # your turn


masked.check(masked_softmax)


# %% tags=["solution"]
def masked_softmax(scores, may):
    z = np.where(may, scores, -np.inf)
    highest = z.max(axis=-1, keepdims=True)
    e = np.exp(z - np.where(np.isneginf(highest), 0, highest))
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


masked.check(masked_softmax)

# %% tags=["hidden"]
with np.errstate(all="ignore"):
    masked.expect(lambda s, m: softmax(s) * m, "mask before")
    masked.expect(lambda s, m: softmax(s), "mask before")
    masked.expect(lambda s, m: softmax(np.where(m, s, -1e9)), "all its weights must be 0")
    masked.expect(lambda s, m: softmax(np.where(m, s, -np.inf)), "what is its maximum")
    masked.expect(lambda s, m: softmax(s) * m / (softmax(s) * m).sum(axis=-1, keepdims=True), "a forbidden key")
    masked.expect(lambda s, m: None, "not written yet")

# %% [markdown]
# ## The backward
#
# Three steps lead from the inputs to the output. Name the weights $P$, and go back step by step. A bar means "the
# gradient of the loss with respect to".
#
# **The mean of the values**, $O = P V$, is a product of matrices, as in a linear layer:
#
# $$\bar V = P^\top \bar O \qquad \bar P = \bar O\, V^\top$$
#
# **The softmax.** You know this from notebook 3; here it is again. Take one row of scores $s$ and its weights
# $p_i = e^{s_i} / \sum_j e^{s_j}$. The quotient rule gives a matrix of slopes, the *Jacobian*. With $\delta_{ij} = 1$
# if $i = j$, else 0,
#
# $$\frac{\partial p_i}{\partial s_j}
# = \frac{\delta_{ij}\, e^{s_i} \sum_k e^{s_k} - e^{s_i} e^{s_j}}{\big(\sum_k e^{s_k}\big)^2}
# = p_i (\delta_{ij} - p_j)$$
#
# A larger $s_j$ lifts its own weight and lowers all others: they share a sum of 1. Multiply with the gradient of the
# weights, and add up over $i$:
#
# $$\bar s_j = \sum_i \bar p_i\, p_i (\delta_{ij} - p_j) = p_j \Big( \bar p_j - \sum_i \bar p_i\, p_i \Big)$$
#
# So a score should grow if its $\bar p_j$ is above the mean of all $\bar p$, weighted by $p$. The Jacobian has
# $S \times S$ entries for each query. The formula needs none of them, only one sum.
#
# **The scores**, $Q K^\top / \sqrt D$, are a product again. Both of its factors get the $1/\sqrt D$. ($\bar S$ has the
# rows $\bar s$.)
#
# $$\bar Q = \tfrac{1}{\sqrt D}\, \bar S K \qquad \bar K = \tfrac{1}{\sqrt D}\, \bar S^\top Q$$
#
# A masked score was replaced by a constant, so its gradient must be 0. Nothing needs to be done for that: its $p_j$
# is 0, and $p_j$ is a factor of $\bar s_j$. First a check of the Jacobian itself:

# %%
s = np.random.default_rng(2).standard_normal(5)
p = softmax(s)
by_formula = np.diag(p) - np.outer(p, p)
h = 1e-5
by_differences = np.stack([(softmax(s + h * e) - softmax(s - h * e)) / (2 * h) for e in np.eye(5)], axis=1)
print("largest difference", abs(by_formula - by_differences).max())
print("columns add up to", by_formula.sum(axis=0).round(12))

# %% tags=["hidden"]
assert abs(by_formula - by_differences).max() < 1e-9

# %% [markdown]
# **Exercise 2.** Write the backward. The forward keeps `q`, `k`, `v` and the weights `p`. There may be axes in front,
# so transpose with `.swapaxes(-1, -2)`.


# %%
def forward(q, k, v):
    p = attention_weights(q, k)
    return p @ v, (q, k, v, p)


# %% tags=["folded"]
backward_exercise = Exercise(
    "attention_backward",
    forward=forward,
    inputs={"q": (2, 5, 4), "k": (2, 6, 4), "v": (2, 6, 4)},
    hints=[
        "Go back step by step: first dv and dp from dout, then ds from dp, then dq and dk from ds.",
        "ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True)): one sum for each query.",
        "dq = ds @ k / sqrt(D) and dk = ds.T @ q / sqrt(D), with D = q.shape[-1].",
    ],
    advice={
        "0.894427 times": "D is the last axis, q.shape[-1]. The one before it counts the queries.",
        "every element is 2 times": "D is 4 here. The scores were divided by sqrt(D), so their gradient is too.",
        "every element is 0.5 times": "D is 4 here. The scores were divided by sqrt(D), once, and the values never.",
        "the two are swapped": "Return the gradients in the order of the inputs: dq, dk, dv.",
        "matmul": "T is 5 and S is 6, and p and ds are T × S. A product sums over the last axis of its first factor. "
        "Should it sum over queries here, or over keys?",
        "broadcast together": "The sum of a row has lost its axis. keepdims=True keeps it, with size 1.",
        "it agrees in part": "dv is right, so look at ds. The weighted mean of a row of dp is taken away from it: "
        "weighted by p, over the keys. Then all is multiplied by p.",
    },
)


# %% tags=["exercise"]
def attention_backward(dout, cache):
    q, k, v, p = cache
    ...  # your turn


backward_exercise.check(attention_backward)


# %% tags=["solution"]
def attention_backward(dout, cache):
    q, k, v, p = cache
    dv = p.swapaxes(-1, -2) @ dout  # (..., S, D)
    dp = dout @ v.swapaxes(-1, -2)  # (..., T, S)
    ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) / math.sqrt(q.shape[-1])
    return ds @ k, ds.swapaxes(-1, -2) @ q, dv


backward_exercise.check(attention_backward)

# %% tags=["hidden"]


def wrong(scale=2.0, weigh=True, subtract=True, axis=-1, order=(0, 1, 2)):
    def answer(dout, cache):
        q, k, v, p = cache
        dp = dout @ v.swapaxes(-1, -2)
        mean = ((p if weigh else 1) * dp).sum(axis=axis, keepdims=True)
        ds = p * (dp - (mean if subtract else 0)) / scale
        found = ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ dout
        return tuple(found[i] for i in order)

    return answer


backward_exercise.expect(wrong(scale=1), "so their gradient is too")
backward_exercise.expect(wrong(scale=math.sqrt(5)), "counts the queries")
backward_exercise.expect(wrong(subtract=False), "dv is right, so look at ds")
backward_exercise.expect(wrong(weigh=False), "weighted by p")
backward_exercise.expect(wrong(axis=-2), "over the keys")
backward_exercise.expect(wrong(order=(0, 2, 1)), "in the order of the inputs")
backward_exercise.expect(lambda dout, cache: cache[3] @ dout, "sum over queries here, or over keys")
backward_exercise.expect(lambda dout, cache: None, "not written yet")

# %% [markdown]
# Now you can see what one row without keys does to a training step. Its weights are not numbers, and:

# %%
rng = np.random.default_rng(0)
q, k, v, dout = rng.standard_normal((4, 6, 4))
out, (*_, p) = forward(q, k, v)
p[2] = np.nan  # the third of six queries saw nothing
dq, dk, dv = attention_backward(dout, (q, k, v, p))
print(f"NaN: {np.isnan(dq).mean():.0%} of dq, {np.isnan(dk).mean():.0%} of dk, {np.isnan(dv).mean():.0%} of dv")

# %% tags=["hidden"]
assert np.isnan(dk).all() and np.isnan(dv).all()

# %% [markdown]
# Each key and each value sums over all queries. The gradient of a weight sums over all samples of the batch, so every
# weight of the model is lost.
#
# ## A layer that looks things up
#
# Can such a layer *learn* to be a dictionary? Make a task that needs one. Each sample has 8 pairs of a key and a
# value, in random order. Then come 8 questions, and each asks for the value of one key. Values are drawn anew for
# each sample, so there is nothing to remember: the layer must look into the pairs.
#
# The layer has four matrices. Three make the queries from the questions, and the keys and values from the pairs. They
# must find out that the key is in the first half of a pair and the value in the second. The fourth reads the answer
# from the output. In between is your backward.
#
# Two parts come from the library. `Linear` is the layer of notebook 2 with its weight
# inside, and its backward adds the gradient of the weight to `weight.grad`. `AdamW` makes the steps against the
# gradients (notebook 8). A key or a value is written as eight numbers, 1 at its own place and 0 elsewhere: *one-hot*.
#
# *Heads* are there already, for the next experiment. The vectors of width $H \cdot D$ are cut into $H$ pieces, and
# each piece attends by itself.

# %%
N = 8  # kinds of keys and of values, and pairs in a sample


def split_heads(x, heads):
    """(B, T, H D) to (B, H, T, D)."""
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def join_heads(x):
    """(B, H, T, D) to (B, T, H D)."""
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


class Lookup(mt.Module):
    """Answers questions about pairs with one attention.

    Args:
        asked: how many keys a question names; it has as many answers.
        heads: number of heads.
        width: of all heads together.
        rng: source of the initial weights.
    """

    def __init__(self, asked, heads, width, rng):
        self.heads = heads
        self.query = Linear(asked * N, width, rng, bias=False, std=0.3)
        self.key = Linear(2 * N, width, rng, bias=False, std=0.3)
        self.value = Linear(2 * N, width, rng, bias=False, std=0.3)
        self.out = Linear(width, asked * N, rng, bias=False, std=0.3)

    def forward(self, questions, pairs):
        q, q_cache = self.query.forward(questions)
        k, k_cache = self.key.forward(pairs)
        v, v_cache = self.value.forward(pairs)
        mixed, cache = forward(*(split_heads(x, self.heads) for x in (q, k, v)))
        logits, out_cache = self.out.forward(join_heads(mixed))
        return logits, (q_cache, k_cache, v_cache, cache, out_cache)

    def backward(self, dlogits, caches):
        *projections, cache, out_cache = caches
        dmixed = self.out.backward(dlogits, out_cache)
        gradients = attention_backward(split_heads(dmixed, self.heads), cache)
        for layer, d, layer_cache in zip((self.query, self.key, self.value), gradients, projections, strict=True):
            layer.backward(join_heads(d), layer_cache)


def draw_samples(rng, batch, asked):
    """Pairs (B, N, 2 N), questions (B, N, asked * N) and answers (B, N, asked)."""
    one_hot = np.eye(N, dtype=np.float32)
    keys = rng.permuted(np.tile(np.arange(N), (batch, 1)), axis=1)
    values = rng.integers(0, N, (batch, N))
    pairs = np.concatenate([one_hot[keys], one_hot[values]], axis=-1)
    where = rng.permuted(np.tile(np.arange(N), (batch, asked, 1)), axis=2).swapaxes(1, 2)  # which pairs are asked for
    questions = one_hot[np.take_along_axis(keys[:, :, None], where, axis=1)].reshape(batch, N, -1)
    return pairs, questions, np.take_along_axis(values[:, :, None], where, axis=1)


def train(asked, heads, width=16, steps=300, seed=1):
    """Train a Lookup; returns it, and the share of right answers of each step, (steps, asked)."""
    rng = np.random.default_rng(seed)
    model = Lookup(asked, heads, width, rng)
    optimizer = mt.AdamW(model, lr=0.01, weight_decay=0.0)
    right = []
    for _ in range(steps):
        pairs, questions, answers = draw_samples(rng, 32, asked)
        logits, caches = model.forward(questions, pairs)
        p = softmax(logits.reshape(*answers.shape, N))
        right.append((p.argmax(axis=-1) == answers).mean(axis=(0, 1)))
        dlogits = (p - np.eye(N, dtype=np.float32)[answers]) / answers.size  # cross-entropy, see notebook 3
        optimizer.zero_grad()
        model.backward(dlogits.reshape(logits.shape), caches)
        optimizer.step()
    return model, np.array(right)


def pattern(model, pairs, questions):
    """The weights (H, T, S) in the first sample."""
    _, caches = model.forward(questions, pairs)
    return caches[3][3][0]


# %%
fresh = Lookup(1, 1, 16, np.random.default_rng(1))
trained, right = train(asked=1, heads=1)
pairs, questions, answers = draw_samples(np.random.default_rng(7), 64, 1)
names = [f"{'abcdefgh'[pair[:N].argmax()]} = {pair[N:].argmax()}" for pair in pairs[0]]
asked_for = [f"{'abcdefgh'[question.argmax()]} ?" for question in questions[0]]

print(f"right answers: {right[0, 0]:.0%} at first, {right[-20:].mean():.1%} in the last 20 steps")
AttentionView(pattern(fresh, pairs, questions), names, queries=asked_for, largest=1, title="before training")

# %%
AttentionView(pattern(trained, pairs, questions), names, queries=asked_for, largest=1, title="after 300 steps")

# %% [markdown]
# `AttentionView` draws any weights of attention, with their percentages where there is room. Compare the labels: the
# strong color is where the key of the question is the key of the pair. In the end
# {{ right[-20:].mean():.1% | ≥ 0.99 }} of its answers are right. Nobody told it which pair to look at. All it got was
# the gradient of the answers.
#
# ## What is a second head for?
#
# Now each question names *two* keys, and wants two values, in order: "d and a?" could have the answer "5 and 2". One
# head of width 16 and two heads of width 8 have the same number of weights. Predict: how far will each get?

# %%
one, right_one = train(asked=2, heads=1)
two, right_two = train(asked=2, heads=2)
pairs, questions, answers = draw_samples(np.random.default_rng(7), 64, 2)
letters = [["abcdefgh"[half.argmax()] for half in question.reshape(2, N)] for question in questions[0]]
names = [f"{'abcdefgh'[pair[:N].argmax()]} = {pair[N:].argmax()}" for pair in pairs[0]]

figure, axes = plt.subplots(1, 4, figsize=(13, 3.6), width_ratios=[1.25, 1, 1, 1])
for curves, color, label in ((right_one, RED, "one head"), (right_two, BLUE, "two heads")):
    for curve, style, which in zip(curves.T, ("-", "--"), ("first", "second"), strict=True):
        smooth = np.convolve(curve, np.ones(10) / 10, "valid")
        axes[0].plot(smooth, style, color=color, label=f"{label}, {which} answer")
axes[0].set(xlabel="step", ylabel="share of right answers", ylim=(0, 1.05))
axes[0].grid(alpha=0.25)
axes[0].legend(frameon=False, fontsize=8, loc=(0.36, 0.42))
shown = [(pattern(one, pairs, questions)[0], "the one head")]
shown += [(weights, f"head {i + 1} of 2") for i, weights in enumerate(pattern(two, pairs, questions))]
for axis, (weights, title) in zip(axes[1:], shown, strict=True):
    axis.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    axis.set(title=title, xlabel="pair", xticks=range(N), yticks=range(N))
    axis.set_xticklabels(names, rotation=60)
    axis.set_yticklabels([" and ".join(pair) for pair in letters])
plt.show()

# %% tags=["hidden"]
better, worse = sorted(right_one[-20:].mean(axis=0))[::-1]

# %% [markdown]
# A softmax makes *one* mean. So the one head looks at both pairs, about half and half, and the matrix behind it gets
# a mixture of two values. It can see which two they are, but which belongs to which key? A little more weight on one
# of the keys decides that for one answer: it is right in {{ better:.0% | ≥ 0.9 }} of all cases. For the other answer
# the layer has nothing left, and is right in {{ worse:.0% | 0.28 ± 0.1 }}. Chance alone gives 23 %: both keys are
# the same (1/8 of the questions), or their values happen to be equal (1/8 of the rest).
#
# Two heads make two means. Each takes care of one of the keys, and {{ right_two[-20:].mean():.1% | ≥ 0.98 }} of the
# answers are right.
#
# So more heads do not mean more weights. They let a layer look at several places at once, and keep what it found
# apart.
#
# One warning about the code. `split_heads` first cuts the last axis and then exchanges two axes. A reshape straight
# to `(B, H, T, D)` has the right shape too, and mixes positions with heads:

# %%
x = np.arange(12).reshape(1, 3, 4)  # one sample, three positions of width 4: 0 to 3, 4 to 7, 8 to 11
print("right: the first head has the first half of each position\n", split_heads(x, 2)[0, 0])
print("wrong: it has one and a half positions\n", x.reshape(1, 2, 3, 2)[0, 0])

# %% [markdown]
# ## Heads that share their keys
#
# When a model writes text, it keeps the keys and values of all earlier positions, so as not to compute them again.
# That memory is often what limits a server. Llama 3 with 8 billion weights (arXiv:2407.21783) has 32 layers of 32
# heads of width 128, and reads 8,192 tokens:

# %%
per_head = 2 * 32 * 8192 * 128 * 2  # keys and values, layers, positions, width, bytes of a 16-bit number
print(f"32 key heads: {32 * per_head / 1e9:.1f} GB for one text, 8 key heads: {8 * per_head / 1e9:.1f} GB")

# %% [markdown]
# It has 8 key heads. Each serves a *group* of four query heads (grouped queries, arXiv:2305.13245). The forward
# copies each key head for its group. Query head $h$ reads key head $\lfloor h / 4 \rfloor$, $h / 4$ rounded down. So
# the copies of a head stand next to each other. That is `np.repeat`. In the exercise a group has two heads, and there
# are three key heads: `np.repeat` makes six of them, 0, 0, 1, 1, 2, 2.
#
# **Exercise 3.** Write its backward: from the gradient of the copies to the gradient of the key heads. Remember
# [used twice, counted twice](01_gradients_by_hand.md).

# %%
GROUP = 2


def share_heads_forward(k):
    """k (B, Hkv, S, D) to (B, Hkv * GROUP, S, D)."""
    return np.repeat(k, GROUP, axis=1), None


# %% tags=["folded"]
share = Exercise(
    "share_heads_backward",
    forward=share_heads_forward,
    inputs={"k": (2, 3, 4, 5)},
    hints=[
        "Each key head was used GROUP times. What happens to the gradients of the uses?",
        "Give the group an axis of its own with a reshape, and sum over it.",
        "dout has the shape (B, Hkv * GROUP, S, D). Reshape it to (B, Hkv, GROUP, S, D), and sum over axis 2.",
    ],
    advice={
        "has shape": "The gradient has the shape of k. The copies of a head must become one again.",
        "0.5 times": "The gradients of all uses add up. Nothing divides by their number.",
        "is wrong": "Which copies belong together? np.repeat makes 0, 0, 1, 1, 2, 2: copies are neighbours. And all of "
        "them count.",
    },
)


# %% tags=["exercise"]
def share_heads_backward(dout, cache):
    B, H, S, D = dout.shape
    ...  # your turn


share.check(share_heads_backward)


# %% tags=["solution"]
def share_heads_backward(dout, cache):
    B, H, S, D = dout.shape
    return dout.reshape(B, H // GROUP, GROUP, S, D).sum(axis=2)


share.check(share_heads_backward)

# %% tags=["hidden"]
share.expect(lambda d, c: d, "must become one again")
share.expect(lambda d, c: d.reshape(2, 3, GROUP, 4, 5).mean(axis=2), "Nothing divides")
share.expect(lambda d, c: d.reshape(2, GROUP, 3, 4, 5).sum(axis=1), "belong together")
share.expect(lambda d, c: d[:, ::GROUP], "all of them count")
share.expect(lambda d, c: None, "not written yet")

# %% [markdown]
# `attention_forward` takes fewer key heads than query heads as they are. With the parts from above:

# %%
rng = np.random.default_rng(0)
q, k, v = (rng.standard_normal((2, 7, heads, 4)) for heads in (6, 3, 3))  # (B, T, H, D)
ours, _ = forward(q.swapaxes(1, 2), *(share_heads_forward(x.swapaxes(1, 2))[0] for x in (k, v)))
theirs, _ = attention_forward(q, k, v)
print("largest difference from minitrain:", abs(ours.swapaxes(1, 2) - theirs).max())

# %% tags=["hidden"]
assert abs(ours.swapaxes(1, 2) - theirs).max() < 1e-12

# %% [markdown]
# ## Without storing the weights
#
# The forward keeps the weights for the backward: $T \times S$ numbers for each head, each sample and each layer.
# Everything else has $T \times D$. The smallest GPT-2 has 12 layers of 12 heads and reads 1,024 tokens. Its
# weights of attention for *one* text, in float32:

# %%
weights_kept = 12 * 12 * 1024**2 * 4
print(f"{weights_kept / 1e6:.0f} MB, and for texts of twice the length {4 * weights_kept / 1e6:.0f} MB")

# %% [markdown]
# FlashAttention (arXiv:2205.14135) keeps none of them. It goes through the keys in blocks, and works on one small
# block of scores at a time. But a softmax needs the sum over *all* keys. How can it begin before it has seen them?
#
# By keeping three things for each query: the largest score so far $m$, the sum so far
# $l = \sum e^{s - m}$, and the output so far, $o = \sum e^{s - m} v$, not yet divided. A new block may have a larger
# score. Then everything so far was scaled by the wrong $e^{-m}$. One factor puts it right. With a prime for the new
# values, and sums over the keys of the block:
#
# $$m' = \max(m, \max_s s) \qquad l' = e^{m - m'}\, l + \sum_s e^{s - m'} \qquad
# o' = e^{m - m'}\, o + \sum_s e^{s - m'} v_s$$
#
# After the last block the output is $o / l$. Nothing was approximated.
#
# **Exercise 4.** Write this step for a block: scores of shape (T, block) and values of shape (block, D).

# %% tags=["folded"]
rng = np.random.default_rng(5)
scores, v = 3 * rng.standard_normal((4, 11)), rng.standard_normal((11, 3))


def seen(keys):
    """m, l and o of some of the keys, at once."""
    m = scores[:, keys].max(axis=-1)
    e = np.exp(scores[:, keys] - m[:, None])
    return m, e.sum(axis=-1), e @ v[keys]


m, l, o = seen(slice(0, 6))
new = slice(6, 11)
fold = Exercise(
    "fold_in",
    reference=lambda *_: seen(slice(0, 11)),  # the old keys and the new ones, all at once
    inputs={"m": m, "l": l, "o": o, "scores": scores[:, new], "v": v[new]},
    hints=[
        "Compute the new maximum first. Everything else is relative to it.",
        "np.exp(m - new_m) is the factor for what is there already, np.exp(scores - new_m[:, None]) are the new terms.",
        "l is rescaled and gets the sum of the new terms. o is rescaled, row by row, and gets new terms @ v.",
    ],
    advice={
        "Result 0": "The new maximum is the larger one of m and the largest score of the block, for each query.",
        "truth value": "np.maximum compares element by element; max cannot.",
        "broadcast together": "One number for each query must meet a whole row: new_m[:, None] has shape (T, 1).",
        "Result 1": "The sum so far was made with the old maximum. Multiply it by exp(old - new), and only it.",
        "Result 2": "o is rescaled by the same factor as l, for each query: factor[:, None]. It is not divided yet.",
    },
)


# %% tags=["exercise"]
def fold_in(m, l, o, scores, v):
    """m (T,), l (T,), o (T, D), scores (T, block), v (block, D); returns the new m, l and o."""
    ...  # your turn


fold.check(fold_in)


# %% tags=["solution"]
def fold_in(m, l, o, scores, v):
    """m (T,), l (T,), o (T, D), scores (T, block), v (block, D); returns the new m, l and o."""
    highest = np.maximum(m, scores.max(axis=-1))
    rescale, e = np.exp(m - highest), np.exp(scores - highest[:, None])
    return highest, rescale * l + e.sum(axis=-1), rescale[:, None] * o + e @ v


fold.check(fold_in)

# %% tags=["hidden"]


def wrong_fold(m, l, o, scores, v, *, sums=True, outputs=True, old=True, divide=False):
    new = np.maximum(m, scores.max(axis=-1)) if old else scores.max(axis=-1)
    rescale, e = np.exp(m - new), np.exp(scores - new[:, None])
    total = (rescale if sums else 1) * l + e.sum(axis=-1)
    mixed = (rescale[:, None] if outputs else 1) * o + e @ v
    return new, total, mixed / total[:, None] if divide else mixed


fold.expect(lambda m, l, o, scores, v: max(m, scores.max(axis=-1)), "element by element")
fold.expect(lambda m, l, o, scores, v: np.exp(scores - m), "must meet a whole row")
fold.expect(partial(wrong_fold, sums=False), "Multiply it by exp(old - new)")
fold.expect(partial(wrong_fold, outputs=False), "the same factor as l")
fold.expect(partial(wrong_fold, divide=True), "not divided yet")
fold.expect(partial(wrong_fold, old=False), "the larger one of m")
fold.expect(lambda m, l, o, scores, v: None, "not written yet")

# %% [markdown]
# The forward is a loop around it. It keeps the output and *one* number for each query: $\ell = m + \log l$, the
# logarithm of the sum of all $e^s$. The backward then gets any block of weights back in one step, $p = e^{s - \ell}$,
# without a maximum or a sum.
#
# One problem is left. The backward of the softmax takes $\sum_j \bar p_j p_j$ over *all* keys, before the first block
# is done. Insert $\bar p_j = \bar o \cdot v_j$:
#
# $$\sum_j p_j\, \bar p_j = \sum_j p_j\, (\bar o \cdot v_j) = \bar o \cdot \sum_j p_j v_j = \bar o \cdot o$$
#
# It is the dot product of the output with its gradient. Both are known before the backward begins. The paper calls it
# $D_i$.


# %%
def blocked_forward(q, k, v, size=128):
    """Attention of q (T, D), k and v (S, D) without any array of T × S."""
    scale = 1 / math.sqrt(q.shape[-1])
    out, lse = np.empty_like(q), np.empty_like(q[:, 0])
    for t in range(0, len(q), size):
        rows = slice(t, t + size)
        m, l, o = np.full_like(lse[rows], -np.inf), np.zeros_like(lse[rows]), np.zeros_like(q[rows])
        for s in range(0, len(k), size):
            keys = slice(s, s + size)
            m, l, o = fold_in(m, l, o, q[rows] @ k[keys].T * scale, v[keys])
        out[rows], lse[rows] = o / l[:, None], m + np.log(l)
    return out, (q, k, v, out, lse)


def blocked_backward(dout, cache, size=128):
    q, k, v, out, lse = cache
    scale = 1 / math.sqrt(q.shape[-1])
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    row_constant = (dout * out).sum(axis=-1)  # D_i
    for t in range(0, len(q), size):
        rows = slice(t, t + size)
        for s in range(0, len(k), size):
            keys = slice(s, s + size)
            p = np.exp(q[rows] @ k[keys].T * scale - lse[rows, None])  # once more: this is the price
            dp = dout[rows] @ v[keys].T
            ds = p * (dp - row_constant[rows, None]) * scale
            dq[rows] += ds @ k[keys]
            dk[keys] += ds.T @ q[rows]
            dv[keys] += p.T @ dout[rows]
    return dq, dk, dv


rng = np.random.default_rng(0)
q, k, v = rng.standard_normal((10, 4)), rng.standard_normal((13, 4)), rng.standard_normal((13, 4))
print(check_gradients((partial(blocked_forward, size=4), partial(blocked_backward, size=4)), q, k, v))

# %% [markdown]
# Blocks of 4 do not divide 10 or 13, and the check passes. minitrain keeps the same number for each query:

# %%
_, cache = blocked_forward(q, k, v, size=4)
_, theirs = attention_forward(q[None, :, None], k[None, :, None], v[None, :, None])
print("log-sum-exp, largest difference from minitrain:", abs(cache[-1] - theirs.lse[0, 0]).max())

# %% tags=["hidden"]
assert abs(cache[-1] - theirs.lse[0, 0]).max() < 1e-12

# %% [markdown]
# Now measure. Python counts the memory of NumPy's arrays with `tracemalloc`. Each point is the peak of a forward and
# a backward, for one head of width 64.


# %%
def peak_memory(forward, backward, T):
    """Bytes at the peak of a forward and a backward, the inputs not counted."""
    rng = np.random.default_rng(0)
    q, k, v, dout = rng.standard_normal((4, T, 64)).astype(np.float32)
    tracemalloc.start()
    _, cache = forward(q, k, v)
    backward(dout, cache)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


lengths = [128, 256, 512, 1024, 2048, 4096]
stored = np.array([peak_memory(forward, attention_backward, T) for T in lengths])
blocked = np.array([peak_memory(blocked_forward, blocked_backward, T) for T in lengths])

figure, axes = plt.subplots(figsize=(7, 4.3))
axes.loglog(lengths, stored / 1e6, "o-", color=RED, label="weights stored")
axes.loglog(lengths, blocked / 1e6, "s-", color=BLUE, label="in blocks of 128")
axes.loglog(lengths, [T * T * 4 / 1e6 for T in lengths], "--", color=GREY, label="one matrix of T × T float32")
axes.set(xlabel="number of queries and keys, T", ylabel="peak memory in MB", xticks=lengths)
axes.set_xticklabels(lengths)
axes.minorticks_off()
axes.grid(alpha=0.25)
axes.legend(frameon=False)
plt.show()

# %% tags=["hidden"]
growth_stored, growth_blocked = stored[-1] / stored[-2], blocked[-1] / blocked[-2]

# %% [markdown]
# Twice the length costs {{ growth_stored:.1f | 4.0 ± 0.3 }} times the memory if weights are stored, and
# {{ growth_blocked:.1f | 2.0 ± 0.4 }} times in blocks. At 4,096 keys it is {{ stored[-1] / 1e6:.0f | 270 ± 90 }} MB
# against {{ blocked[-1] / 1e6:.1f | 5 ± 2.5 }} MB: at the peak, four matrices of $T \times T$ are alive. And the
# price? With stored weights, the forward has two products of this size and the backward four. In blocks the backward
# has five: $Q K^\top$ is computed again.
#
# On a graphics processor this is even faster. Its fast memory is small, and a matrix of weights has to go to the slow
# memory and back, while a block of scores stays in the fast one. The paper trains GPT-2 three times as fast.
# minitrain's compiled attention works in such blocks too, and skips those that a causal mask forbids altogether:
# nearly half of them.
#
# ## Questions
#
# 1. All $\bar p$ of a row are equal. Which gradients do the scores of the row get? Why must it be so? (The weights of
#    a row add up to 1.)
# 2. What changes in `blocked_forward` for a causal mask? Which blocks need a mask, which none, and which are skipped?
# 3. All queries are zero vectors. Which operation is attention then? Which of $\bar Q$, $\bar K$ and $\bar V$ are
#    zero?
# 4. The one head gives more weight to one of the keys, so the order of the two values is in its output. Why can a
#    single matrix not read the answer with the smaller weight from it? What would have to come behind the attention?
# 5. You shuffle the pairs of a sample. What happens to the answers? And if the pairs were words of a sentence? That
#    is the subject of the next notebook.
#
# ## Further reading
#
# - Vaswani et al., 2017, *Attention Is All You Need*, arXiv:1706.03762: section 3.2.
# - Dao et al., 2022, *FlashAttention*, arXiv:2205.14135, and Dao, 2023, *FlashAttention-2*, arXiv:2307.08691, which
#   divides at the end, as here.
# - Milakov and Gimelshein, 2018, *Online normalizer calculation for softmax*, arXiv:1805.02867: the running sum.
# - Ainslie et al., 2023, *GQA*, arXiv:2305.13245: heads that share their keys.
# - [Attention](../ops/attention.md): the same derivation with biases, caps, windows and dropout.
# - The next notebook: [positions](06_positions.md).
