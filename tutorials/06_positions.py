# %% [markdown]
# # 6. Positions
#
# After this notebook you can
#
# - show that attention cannot see the order of its inputs, and say what a causal mask changes about that;
# - write learned, sinusoidal and rotary positions and ALiBi, each in a few lines;
# - show why scores of rotary positions depend on the distance alone;
# - say how each fails, or does not, on texts that are longer than those of the training, and measure it;
# - stretch a trained model with rotary positions to a longer text.
#
# You need [attention](05_attention.md), and the sine and the cosine. It takes about 50 minutes.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import minitrain as mt
from minitrain.errors import ShapeError
from minitrain.nn import LearnedPositions, MultiHeadAttention, SinusoidalPositions
from minitrain.ops import attention_forward, rope_forward
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#7b4b94", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label

# %% [markdown]
# ## Attention cannot see the order
#
# "dog bites man" and "man bites dog" have the same words. Give each word a vector, and send both sentences through an
# attention layer. What will it make of "dog" in each of them?

# %%
rng = np.random.default_rng(0)
words = {word: rng.standard_normal(8) for word in ("dog", "bites", "man")}
layer = MultiHeadAttention(8, 2, rng, causal=False, dtype=np.float64)
layer.qkv.weight.data *= 30  # as large as in a trained layer
layer.out.weight.data *= 30


def through(layer, sentence):
    """The output of the layer for each word."""
    x = np.stack([words[word] for word in sentence.split()])
    out, _ = layer.forward(x[None])
    return dict(zip(sentence.split(), out[0], strict=True))


first, second = through(layer, "dog bites man"), through(layer, "man bites dog")
for word in words:
    print(f"{word:5}  largest difference between the sentences: {abs(first[word] - second[word]).max():.0e}")

# %% tags=["hidden"]
assert max(abs(first[word] - second[word]).max() for word in words) < 1e-12

# %% [markdown]
# The same, but for rounding. The reason is one line. Let $\Pi$ be a matrix that shuffles rows. Shuffle the
# input, and queries, keys and values are shuffled alike. The scores become
# $\Pi Q (\Pi K)^\top = \Pi\, Q K^\top \Pi^\top$: the same numbers in other places. The softmax of a row does not
# care about the order, so the weights $P$ become $\Pi P \Pi^\top$, and the output is
#
# $$\Pi P \Pi^\top\, \Pi V = \Pi P V \qquad\text{since } \Pi^\top \Pi = I$$
#
# It is the old output, shuffled. One says that attention is *permutation-equivariant*. Linear layers and norms, which
# treat each position by itself, are that as well. So a whole transformer without a mask sees a bag of words.
#
# And with a causal mask? Then the *number* of visible keys depends on the place. Look at the last word: it sees all
# words, in whatever order they come.

# %%
causal = MultiHeadAttention(8, 2, rng, causal=True, dtype=np.float64)
causal.load_state_dict(layer.state_dict())  # the same weights
orders = ["dog bites man", "bites dog man"]
first, second = (through(causal, order) for order in orders)
for word in words:
    print(f"{word:5}  largest difference: {abs(first[word] - second[word]).max():.0e}")

# %% tags=["hidden"]
assert abs(first["man"] - second["man"]).max() < 1e-12 < abs(first["dog"] - second["dog"]).max()

# %% [markdown]
# The last word still cannot tell the order of the words before it. But "dog" and "bites" changed, since they now see
# different words. A second layer could learn to use that: a causal model without any positions does learn some order
# (arXiv:2305.19466). It is easier to tell it. Here are the four usual ways. Two act on the vectors of the tokens, two
# inside attention:
#
# | | what is done | where |
# |---|---|---|
# | learned | add a trained vector for each position | to the vectors of the tokens, once |
# | sinusoidal | add a fixed vector for each position | the same |
# | rotary | rotate queries and keys by their position | in each attention |
# | ALiBi | lower the score of far keys | in each attention |
#
# ## Learned: a table
#
# GPT-2 has a matrix with a row for each position. Row $p$ is added to the token at position $p$, and trained like
# everything else. That is all.

# %%
table = LearnedPositions(length=8, width=4, init_rng=np.random.default_rng(0), dtype=np.float64)
x = np.random.default_rng(1).standard_normal((3, 5, 4))  # three texts of five tokens
out, cache = table.forward(x)
print("x + table[:5], largest difference:", abs(out - (x + table.weight.data[:5])).max())

table.backward(np.ones_like(out), cache)
print("gradient of each row, summed:", table.weight.grad.sum(axis=1))

# %% tags=["hidden"]
assert not abs(out - (x + table.weight.data[:5])).any()
assert (table.weight.grad[5:] == 0).all() and (table.weight.grad[:5] == 3).all()

# %% [markdown]
# Each row gets the sum over the three texts. The rows from 5 on got *nothing*: no text was that long. So they are
# what they were at the start, random numbers. Even if the table has a row for position 1,000, it means nothing
# unless texts of that length were in the training. And without a row there is a hard end:

# %%
try:
    table.forward(np.zeros((1, 9, 4)))
except ShapeError as error:
    print(error)

# %% [markdown]
# ## Sinusoidal: clocks
#
# The first transformer used no trained table, but a formula that has a vector for *every* position. Think of the hands
# of clocks. A fast hand tells neighbours apart, but looks the same again after each turn. A slow one tells far from
# near. All of them together give the exact time. For a vector of width $C$ there are $C/2$ hands. Hand $i$ turns by
#
# $$\omega_i = 10000^{-2i/C}$$
#
# with each position ($\omega$ is the Greek omega): the first hand by 1 radian, the last by about 1/10000. An angle of
# $2\pi$ radians is a full turn. A hand is given by its sine and its cosine,
# in elements $2i$ and $2i + 1$:
#
# $$w_{p,\,2i} = \sin(p\, \omega_i) \qquad w_{p,\,2i+1} = \cos(p\, \omega_i)$$
#
# **Exercise 1.** Write the table of the first `length` positions, an array of shape (length, C). In the code, $C$ is
# `width`.

# %% tags=["folded"]
waves = Exercise(
    "sinusoids",
    reference=lambda length, width: SinusoidalPositions(width).forward(np.zeros((1, length, width)))[0][0],
    inputs={"length": 2, "width": 6},
    hints=[
        "First the frequencies (C/2,), then the angles of all positions and hands (length, C/2), then sine and cosine.",
        "angles = np.arange(length)[:, None] * frequencies. What goes into the even columns, what into the odd ones?",
        "out[:, 0::2] = np.sin(angles) and out[:, 1::2] = np.cos(angles), with 10000.0 ** (-np.arange(0, width, 2) / "
        "width) as frequencies.",
    ],
    advice={
        "the shape is": "One row for each position, one column for each element: (length, width).",
        "element (0,": "At position 0 all sines are 0 and all cosines are 1. Are they in turn: sine, cosine, ...?",
        "is -0.416": "That is the cosine of 2, and it should be that of 1. The first position is 0.",
        "the reference has": "Position 0 is right. Look at the frequencies: hand i has the exponent -2 i / C, with i "
        "from 0 to C/2 - 1.",
    },
)


# %% tags=["exercise"]
def sinusoids(length, width): ...  # your turn


waves.check(sinusoids)


# %% tags=["solution"]
def sinusoids(length, width):
    angles = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    out = np.empty((length, width))
    out[:, 0::2], out[:, 1::2] = np.sin(angles), np.cos(angles)
    return out


waves.check(sinusoids)

# %% tags=["hidden"]


def wrong_sinusoids(length, width, *, halves=False, start=0, steps=2, swap=False):
    angles = np.arange(start, start + length)[:, None] * 10000.0 ** (-steps / 2 * np.arange(0, width, 2) / width)
    waves = np.sin(angles), np.cos(angles)
    if halves:
        return np.concatenate(waves, axis=1)
    return np.stack(waves[::-1] if swap else waves, axis=-1).reshape(length, width)


waves.expect(lambda n, c: wrong_sinusoids(n, c, halves=True), "Are they in turn")
waves.expect(lambda n, c: wrong_sinusoids(n, c, swap=True), "Are they in turn")
waves.expect(lambda n, c: wrong_sinusoids(n, c, start=1), "The first position is 0")
waves.expect(lambda n, c: wrong_sinusoids(n, c, steps=1), "Look at the frequencies")
waves.expect(lambda n, c: wrong_sinusoids(n, c).T, "One row for each position")
waves.expect(lambda n, c: None, "not written yet")

# %%
w = sinusoids(128, 64)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.9), width_ratios=[1.15, 1])
picture = left.imshow(w, cmap="RdBu", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
left.set(title="the table", xlabel="element of the vector", ylabel="position")
figure.colorbar(picture, ax=left, label="value")
for p, color, style in ((30, BLUE, "-"), (60, RED, "--"), (90, YELLOW, ":")):
    right.plot(np.arange(128) - p, w @ w[p], style, color=color, linewidth=2, label=f"position {p} with all others")
right.set(title="dot products of rows", xlabel="distance of the two positions", ylabel="dot product", xlim=(-60, 60))
right.grid(alpha=0.25)
right.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# The left picture: on its left side are the fast hands, on its right side those that have hardly moved after 128
# positions. The right picture: the dot product of two rows is a function of their *distance*, whatever the position.
# The three curves lie on top of each other, because $\cos(a - b) = \cos a \cos b + \sin a \sin b$:
#
# $$w_p \cdot w_s = \sum_i \big( \sin p\omega_i \sin s\omega_i + \cos p\omega_i \cos s\omega_i \big)
# = \sum_i \cos\big( (p - s)\, \omega_i \big)$$
#
# That is just what attention needs, as it compares by dot products. But the waves are *added* to the tokens. So the
# score of two positions has four parts, token with token, token with wave, wave with token and wave with wave, and
# each of the two in the middle depends on one position alone. Can we have the distance without the rest?
#
# ## Rotary: turn the queries and keys themselves
#
# Do not add a hand of a clock to the vector. Turn the vector like a hand. A head of width $D$ is cut into $D/2$
# points of a plane. Point $i$ of minitrain, as of Llama, has the elements $x_i$ and $x_{i + D/2}$. At position $p$
# it turns by the angle $\theta = p\, \omega_i$, with $\omega_i = 10000^{-2i/D}$ as above:
#
# $$y_i = x_i \cos\theta - x_{i+D/2} \sin\theta \qquad y_{i+D/2} = x_i \sin\theta + x_{i+D/2} \cos\theta$$
#
# That is the usual rotation of a point $(a, b)$ in the plane, to $(a \cos\theta - b \sin\theta,\; a \sin\theta + b
# \cos\theta)$.
#
# **Exercise 2.** Write it, for `x` of shape (T, D) at the positions 0, 1, ..., T - 1.

# %% tags=["folded"]
x = np.random.default_rng(0).standard_normal((7, 6))
x[0] *= 100  # position 0
rotation = Exercise(
    "rotate",
    reference=lambda x: rope_forward(x[None, :, None], np.arange(len(x)))[0][0, :, 0],
    inputs={"x": x},
    hints=[
        "The angles are those of the sinusoids: positions times frequencies, (T, D/2).",
        "Cut x into halves: first = x[:, :D // 2] has the x_i, second = x[:, D // 2:] has their partners.",
        "np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=1)",
    ],
    advice={
        "the shape is": "A rotation does not change the shape: (T, D) in, (T, D) out. The halves stand side by side: "
        "axis=1.",
        "ValueError": "The angles are (T, D/2): positions[:, None] times frequencies. Turn halves of x.",
        "element (0,": "Position 0 turns by nothing: the first row must not change.",
        "the reference has": "Three things to check. The partner of element i is i + D/2, not i + 1. The rotation goes "
        "from the first to the second: minus in the first half, plus in the second. And are the frequencies those "
        "of the sinusoids?",
    },
)


# %% tags=["exercise"]
def rotate(x): ...  # your turn


rotation.check(rotate)


# %% tags=["solution"]
def rotate(x):
    T, D = x.shape
    angles = np.arange(T)[:, None] * 10000.0 ** (-np.arange(0, D, 2) / D)
    cos, sin = np.cos(angles), np.sin(angles)
    first, second = x[:, : D // 2], x[:, D // 2 :]
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=1)


rotation.check(rotate)

# %% tags=["hidden"]


def wrong_rotate(x, *, sign=1, pairs=False, start=0, base=10000.0):
    T, D = x.shape
    angles = sign * np.arange(start, start + T)[:, None] * base ** (-np.arange(0, D, 2) / D)
    cos, sin = np.cos(angles), np.sin(angles)
    if pairs:
        a, b = x[:, 0::2], x[:, 1::2]
        return np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(T, D)
    a, b = x[:, : D // 2], x[:, D // 2 :]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=1)


rotation.expect(lambda x: wrong_rotate(x, sign=-1), "minus in the first half")
rotation.expect(lambda x: wrong_rotate(x, pairs=True), "not i + 1")
rotation.expect(lambda x: wrong_rotate(x, start=1), "the first row must not change")
rotation.expect(lambda x: wrong_rotate(x, base=100.0), "And are the frequencies")
rotation.expect(lambda x: wrong_rotate(x)[:, :3], "does not change the shape")
rotation.expect(lambda x: x * np.cos(np.arange(7) * np.ones(3)), "Turn halves")
rotation.expect(lambda x: None, "not written yet")

# %% [markdown]
# What happens to a query of width 8, the same at each position? Its four points turn at four speeds.

# %%
query = np.array([1.0, 0.9, 0.8, 0.7, 0.2, 0.2, 0.2, 0.2])
turned = rotate(np.tile(query, (13, 1)))

figure, axes = plt.subplots(1, 4, figsize=(10.5, 2.9))
for i, axis in enumerate(axes):
    px, py = turned[:, i], turned[:, i + 4]
    axis.add_patch(plt.Circle((0, 0), np.hypot(px[0], py[0]), fill=False, color=GREY, alpha=0.4))
    axis.plot([0, px[0]], [0, py[0]], color=GREY, alpha=0.6)
    points = axis.scatter(px, py, c=np.arange(13), cmap="viridis", s=36, zorder=3)
    axis.set(
        title=f"point {i}: {10000.0 ** (-i / 4):g} radian\nper position",
        xlim=(-1.2, 1.2),
        ylim=(-1.2, 1.2),
        aspect="equal",
    )
    axis.set(xlabel=f"element {i}", ylabel=f"element {i + 4}", xticks=[], yticks=[])
figure.colorbar(points, ax=axes, label="position", shrink=0.8)
plt.show()

# %% [markdown]
# The first point goes round in about 6 positions. The last one has moved by a hundredth of a radian. Lengths stay as
# they are, so nothing grows or shrinks.
#
# **Why only the distance matters.** Let $R_p$ be the rotation at position $p$. To turn back by $p$ and then on by $s$
# is to turn by $s - p$, and the transpose of a rotation turns back. So
#
# $$(R_p\, q) \cdot (R_s\, k) = q^\top R_p^\top R_s\, k = q^\top R_{s - p}\, k$$
#
# Look at it. Put the same query and the same key at all pairs of positions. Once with waves added, once rotated.

# %%
T, D = 40, 16
rng = np.random.default_rng(4)
q, k = rng.standard_normal((2, D))
w = sinusoids(T, D)
added = (q + w) @ (k + w).T / math.sqrt(D)
rotated = rotate(np.tile(q, (T, 1))) @ rotate(np.tile(k, (T, 1))).T / math.sqrt(D)


def spread_along_diagonals(scores):
    """The largest difference between two scores of the same distance."""
    return max(np.ptp(np.diagonal(scores, offset)) for offset in range(-T + 1, T))


figure, axes = plt.subplots(1, 2, figsize=(9, 3.9))
for axis, scores, title in zip(axes, [added, rotated], ["waves added", "rotated"], strict=True):
    picture = axis.imshow(scores, cmap="RdBu", vmin=-3, vmax=3)
    axis.set(title=title, xlabel="position of the key", ylabel="position of the query")
figure.colorbar(picture, ax=axes, label="score")
plt.show()
print(f"scores of the same distance differ by up to {spread_along_diagonals(added):.2f} with waves added,")
print(f"and by up to {spread_along_diagonals(rotated):.0e} rotated")

# %% tags=["hidden"]
assert spread_along_diagonals(rotated) < 1e-12 < 0.1 < spread_along_diagonals(added)

# %% [markdown]
# On the right each diagonal has one color. A head that has learned to look three tokens back does so everywhere.
#
# **Exercise 3.** The backward of a rotation. The forward is linear, $y = R_p x$, so $\bar x = R_p^\top \bar y$. The
# cache has the cosines and sines, each (T, D/2).


# %%
def rotate_forward(x):
    out, cache = rope_forward(x[None, :, None], np.arange(len(x)))
    return out[0, :, 0], (cache.cos[:, 0], cache.sin[:, 0])


# %% tags=["folded"]
rotation_backward = Exercise(
    "rotate_backward",
    forward=rotate_forward,
    inputs={"x": (6, 8)},
    hints=[
        "Write down the 2 × 2 matrix of one point, and transpose it.",
        "The transpose turns back: it is the rotation by the negative angle. Which of cosine and sine changes?",
        "Like the forward, on dout, with -sin in place of sin.",
    ],
    advice={
        "has shape": "The gradient has the shape of x: both halves, put together again.",
        "along axis 1, only": "One half is right. Compare the signs of the other one with the transposed matrix.",
        "only": "Position 0 is right, because it turns by nothing. For the others: each element of x went into two "
        "elements of the output, so each gradient has two terms. And which way must the gradient turn?",
    },
)


# %% tags=["exercise"]
def rotate_backward(dout, cache):
    cos, sin = cache
    ...  # your turn


rotation_backward.check(rotate_backward)


# %% tags=["solution"]
def rotate_backward(dout, cache):
    cos, sin = cache
    first, second = np.split(dout, 2, axis=1)
    return np.concatenate([first * cos + second * sin, second * cos - first * sin], axis=1)


rotation_backward.check(rotate_backward)

# %% tags=["hidden"]


def wrong_back(dout, cache, *, forwards=False, one=False):
    cos, sin = cache
    first, second = np.split(dout, 2, axis=1)
    if forwards:
        return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=1)
    return np.concatenate([first * cos, second * cos], axis=1) if one else first * cos + second * sin


rotation_backward.expect(lambda d, c: wrong_back(d, c, forwards=True), "which way")
rotation_backward.expect(lambda d, c: wrong_back(d, c, one=True), "two terms")
rotation_backward.expect(wrong_back, "put together again")
rotation_backward.expect(lambda d, c: rotate_backward(d, c) * ([1] * 4 + [-1] * 4), "One half")
rotation_backward.expect(lambda d, c: None, "not written yet")

# %% [markdown]
# ## ALiBi: far keys count less
#
# The simplest of the four does nothing to the vectors (arXiv:2108.12409). It takes a penalty from each score, in
# proportion to the distance:
#
# $$\text{score}_{ts} = \frac{q_t \cdot k_s}{\sqrt D} - m_h\, |t - s|$$
#
# Each head has its own slope $m_h$. With $H$ heads, a power of two, the slopes are
# $2^{-8/H}, 2^{-16/H}, \dots, 2^{-8}$: each is the one before times $2^{-8/H}$. Nothing of this is trained.
#
# **Exercise 4.** Write what is added to the scores: an array (H, T, T), for all $t$ and $s$, without a causal mask.

# %% tags=["folded"]


def reference(heads, length):
    """What minitrain's attention adds: with zero queries, the logarithm of its weights, next to the query's own."""
    nothing = np.zeros((1, length, heads, length))
    identity = np.eye(length)[None, :, None].repeat(heads, axis=2)  # as values, they give the weights
    out, _ = attention_forward(nothing, nothing, identity, alibi_slopes=mt.nn.alibi_slopes(heads))
    logs = np.log(out[0].swapaxes(0, 1))  # (H, T, T)
    return logs - np.diagonal(logs, axis1=1, axis2=2)[:, :, None]


alibi = Exercise(
    "alibi_bias",
    reference=reference,
    inputs={"heads": 4, "length": 5},
    hints=[
        "Two parts: the slopes (H,), and the distances |t - s| (T, T).",
        "The slopes are 2.0 ** (-8 * np.arange(1, H + 1) / H). The distances come from np.arange(T)[:, None] - "
        "np.arange(T).",
        "-slopes[:, None, None] * abs(distances)",
    ],
    advice={
        "wrong sign": "It is a penalty: a far key has a lower score.",
        "ValueError": "One matrix (T, T) for each head: slopes[:, None, None] times the distances.",
        "the shape is": "One matrix (T, T) for each head. Give the slopes two more axes: slopes[:, None, None].",
        "all are": "The slopes begin with 2 ** (-8 / H), not with 1.",
        "the reference has": "Keys on both sides count less: the distance is |t - s|. And the slopes fall from head to "
        "head, by a factor of 2 ** (8 / H).",
    },
)


# %% tags=["exercise"]
def alibi_bias(heads, length): ...  # your turn


alibi.check(alibi_bias)


# %% tags=["solution"]
def alibi_bias(heads, length):
    slopes = 2.0 ** (-8 * np.arange(1, heads + 1) / heads)
    distances = abs(np.arange(length)[:, None] - np.arange(length))
    return -slopes[:, None, None] * distances


alibi.check(alibi_bias)

# %% tags=["hidden"]


def wrong_bias(heads, length, *, sign=-1, first=1, signed=False):
    distances = np.arange(length)[:, None] - np.arange(length)
    slopes = 2.0 ** (-8 * np.arange(first, heads + first) / heads)
    return sign * slopes[:, None, None] * (distances if signed else abs(distances))


alibi.expect(lambda h, n: wrong_bias(h, n, sign=1), "a far key has a lower score")
alibi.expect(lambda h, n: wrong_bias(h, n, first=0), "not with 1")
alibi.expect(lambda h, n: wrong_bias(h, n, signed=True), "both sides")
alibi.expect(lambda h, n: wrong_bias(h, n)[0], "One matrix")
alibi.expect(lambda h, n: np.ones(h) * np.ones((n, n)), "One matrix")
alibi.expect(lambda h, n: None, "not written yet")

# %%
T = 48
bias = np.where(np.tri(T, dtype=bool), alibi_bias(4, T), np.nan)  # a causal model sees what came before
figure, axes = plt.subplots(1, 5, figsize=(13, 2.9), width_ratios=[1, 1, 1, 1, 1.5])
for h in range(4):
    picture = axes[h].imshow(bias[h], cmap="viridis", vmin=-6, vmax=0)
    axes[h].set(title=f"head {h}: slope 1/{2 ** (2 * h + 2)}", xlabel="key", xticks=[0, 20, 40], yticks=[0, 20, 40])
    weights = np.exp(bias[h, -1]) / np.exp(bias[h, -1]).sum()
    axes[4].plot(np.arange(T)[::-1], weights, color=[BLUE, RED, GREEN, YELLOW][h], label=f"head {h}")
axes[0].set_ylabel("query")
figure.colorbar(picture, ax=axes[:4], label="added to the score", shrink=0.9, extend="min")
axes[4].set(title="weights if all keys fit alike", xlabel="distance of the key", ylabel="weight")
axes[4].legend(frameon=False)
plt.show()

# %% [markdown]
# The first head looks at the last few tokens, the last head at nearly all alike. Each picture goes on to the right
# and below in the same way. So a longer text brings nothing new to a head except far keys, and those hardly count.
#
# ## Longer than in training
#
# Now measure. The task: 16 kinds of tokens. With probability 0.8, the next token is one of the four tokens before it,
# each equally likely. Else it is drawn from all 16. To predict well, a model has to know which tokens are the last
# four, and how often each occurs among them. That needs positions, but only small distances. A model that has learned
# it from texts of 32 tokens should be able to go on for ever. Who does?
#
# The models are whole language models of minitrain: token vectors, two blocks of attention and feed-forward layers, and
# scores for the next token. Notebook 7 builds one from its parts, and notebook 8 explains the optimizer, the schedule
# and the clipping in `train`. Here it is enough that they learn to predict the next token.

# %%
KINDS, TRAINED, LONGEST = 16, 32, 256


def draw_texts(rng, batch, length):
    """Texts of the task, (batch, length)."""
    texts = rng.integers(0, KINDS, (batch, length))
    repeats, back = rng.random((batch, length)) < 0.8, rng.integers(1, 5, (batch, length))
    for t in range(4, length):
        texts[:, t] = np.where(repeats[:, t], texts[np.arange(batch), t - back[:, t]], texts[:, t])
    return texts


def train(model, steps, *, length=TRAINED, batch=32, rate=5e-3, seed=1):
    """Train on random texts of one length."""
    rng, optimizer = np.random.default_rng(seed), mt.AdamW(model, weight_decay=0.1)
    schedule = mt.WarmupCosine(max_lr=rate, min_lr=rate / 10, warmup_steps=steps // 10, total_steps=steps)
    for step in range(steps):
        texts = draw_texts(rng, batch, length + 1)
        optimizer.set_lr(schedule(step))
        optimizer.zero_grad()
        loss, cache = model.loss((texts[:, :-1], texts[:, 1:]))
        model.loss_backward(cache)
        optimizer.step(mt.clip_by_global_norm(model, 1.0, count=loss.count).scale)
    return model


test = draw_texts(np.random.default_rng(2), 128, LONGEST + 1)


def loss_by_length(model):
    """Mean loss of the next token after 1, 2, ..., LONGEST tokens, in nats."""
    logits, _ = model.forward(test[:, :-1])
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return -np.take_along_axis(log_p, test[:, 1:, None], axis=-1)[..., 0].mean(axis=0)


# %% [markdown]
# Knowing the rule, you would give each token the probability $0.2/16$, plus $0.8/4$ for each time that it is among
# the last four. No model can do better.

# %%
among = np.stack([test[:, 4 - back : -back] == test[:, 4:] for back in (1, 2, 3, 4)]).sum(axis=0)
best = -np.log(0.2 / KINDS + 0.8 / 4 * among).mean(axis=0)  # for the tokens from number 4 on
print(f"a guess: {math.log(KINDS):.2f}, with the rule: {best.mean():.2f}")

# %% [markdown]
# One detail first. In a new `GPT`, minitrain's model, the vectors of the tokens are small, with entries near 0.02. The
# waves of sinusoidal positions are near 1, and a token would be lost in them. So the first transformer multiplied its
# tokens by $\sqrt C$, and a `GPT` with sinusoidal positions begins with tokens that are $\sqrt C$ times as large. To
# be fair, here all four models begin with entries near 0.3, and with an output layer of their own. The learned model
# gets a table for 256 positions, so that it can be run on texts of this length.

# %%
KINDS_OF_POSITIONS = ("learned", "sinusoidal", "rotary", "alibi")
TOKEN_SIZE = 0.3


def new_gpt(positions):
    config = mt.GPTConfig(
        vocab_size=KINDS, block_size=LONGEST, n_layer=2, n_head=4, n_embd=32, positions=positions, tie_weights=False
    )
    model = mt.GPT(config, seed=0)
    model.tok_emb.weight.data *= TOKEN_SIZE / model.tok_emb.weight.data.std()
    return model


losses = {positions: loss_by_length(train(new_gpt(positions), 300)) for positions in KINDS_OF_POSITIONS}

# %%


def draw_losses(axes, losses, colors):
    """Loss against length, as means over 8 neighbours."""
    axes.axvspan(0, TRAINED, color=GREY, alpha=0.15, linewidth=0)
    axes.text(TRAINED / 2, 3.35, "trained", ha="center", color=GREY)
    every = {**losses, "with the rule": np.concatenate([np.full(3, np.nan), best])}
    for (label, loss), color in zip(every.items(), (*colors, "black"), strict=True):
        means = np.convolve(loss, np.ones(8) / 8, "valid")
        style = ":" if color == "black" else "-"
        axes.plot(np.arange(len(means)) + 4.5, means, style, color=color, label=label, linewidth=1.8)
    axes.axhline(math.log(KINDS), color=GREY, linestyle="--", label="a guess")
    axes.set(xlabel="length of the text so far, in tokens", ylim=(1.2, 3.6))
    axes.set(xlim=(0, LONGEST), xticks=range(0, LONGEST + 1, 32))
    axes.grid(alpha=0.25)


figure, axes = plt.subplots(figsize=(8, 4.6))
draw_losses(axes, losses, (BLUE, PURPLE, RED, GREEN))
axes.set_ylabel("loss of the next token, in nats")
axes.legend(frameon=False, ncols=3, loc="upper right")
plt.show()

print("length     " + "".join(f"{kind:>12}" for kind in KINDS_OF_POSITIONS))
for length in (32, 64, 128, 256):
    row = "".join(f"{losses[kind][length - 12 : length].mean():12.2f}" for kind in KINDS_OF_POSITIONS)
    print(f"{length - 11:3} to {length:3} {row}")

# %% tags=["hidden"]
known = {kind: loss[20:32].mean() for kind, loss in losses.items()}
far = {kind: loss[128:].mean() for kind, loss in losses.items()}
assert max(known.values()) < 1.75
assert far["alibi"] < known["alibi"] + 0.15

# %% [markdown]
# Within 32 tokens all four have learned the task, and are near what the rule allows. They differ by
# {{ max(known.values()) - min(known.values()):.2f | ≤ 0.25 }} at most. Beyond 128 tokens:
#
# - **Learned,** {{ far["learned"]:.2f | ≥ 2.1 }}. The rows from 32 on are still random, and say nothing.
# - **Sinusoidal,** {{ far["sinusoidal"]:.2f | ≥ 2.4 }}. The fast waves repeat. But the slow ones reach values that
#   they never had in training, and no weight knows them.
# - **Rotary,** {{ far["rotary"]:.2f | ≥ 2.2 }}. It holds a little longer. The distances that matter are still 1 to 4.
#   But now there are keys at distances that never occurred in training. Nothing ever taught the model to ignore them.
# - **ALiBi,** {{ far["alibi"]:.2f | 1.51 ± 0.1 }}. Flat. Keys at new distances lose by construction.
#
# So is ALiBi the best? In this task nothing far away matters. What if it does? A key at distance 256 must make up for
# this before it is as good as a near one:

# %%
for head, slope in enumerate(mt.nn.alibi_slopes(4)):
    print(f"head {head}: its score must be higher by {slope * 256:.0f}")

# %% [markdown]
# The steep heads will not see it. The paper's title is "Train short, test long", and its models keep their loss on
# longer texts. But a model that does not get worse need not *use* the longer text. Most open language models of today
# have rotary positions, and many were stretched after their training.
#
# ## Stretching rotary positions
#
# What exactly is new at position 200? The angles. The heads of these models have width 8, so there are four points.
# Take the two in the middle. In training, point 1 turned by at most
# {{ 31 * 0.1:.1f | 3.1 ± 0.01 }} radian between a query and a key. At a distance of 200 it has turned by 20, which is
# three times round.
#
# *Linear interpolation* (arXiv:2306.15595) squeezes the positions. To read 8 times as much, divide each position
# by 8. All angles are then in the range of the training. The price: neighbours are only 1/8 of the old distance apart,
# and the model must learn to tell them apart again. `Llama` is minitrain's model with rotary positions and RMS norm,
# built as the published Llama models are. Its `rope_scaling` is this divisor.

# %%
positions = np.arange(LONGEST)
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.5))
for axis, i, speed in zip(axes, (1, 2), (0.1, 0.01), strict=True):
    axis.axhspan(0, 31 * speed, color=GREY, alpha=0.2, linewidth=0, label="angles seen in training")
    axis.plot(positions, positions * speed, color=RED, label="as trained")
    axis.plot(positions, positions / 8 * speed, color=BLUE, label="positions divided by 8")
    axis.set(title=f"point {i}: {speed} radian per token", xlabel="distance in tokens", ylabel="angle in radian")
    axis.set(xlim=(0, LONGEST), ylim=(0, None), xticks=range(0, 257, 64))
    axis.grid(alpha=0.25)
axes[0].legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# Train a small Llama on 32 tokens. Load its weights into models that treat positions in other ways, and measure: at
# once, and after 60 more steps on texts of 256 tokens. To be fair, the model as it was trained gets the same 60
# steps.
#
# A third way slows down the slow points alone. The fast ones have been all the way round in training, so they know
# all angles, and they are what tells neighbours apart. The published Llama 3.1 is stretched so: `rope_kind="llama3"`
# here.
#
# And a test of the diagnosis: if keys at new distances are to blame, hide them. A `window` of 32 lets each query see
# the 32 latest keys and no others.


# %%
def new_llama(**rope):
    config = mt.LlamaConfig(vocab_size=KINDS, block_size=LONGEST, n_layer=2, n_head=4, n_embd=32, **rope)
    model = mt.Llama(config, seed=0)
    model.tok_emb.weight.data *= TOKEN_SIZE / model.tok_emb.weight.data.std()
    return model


trained = train(new_llama(), 250)
WAYS = {
    "as trained": {},
    "divided by 8": {"rope_scaling": 8.0},
    "slow points divided by 8": {"rope_scaling": 8.0, "rope_kind": "llama3", "rope_original": TRAINED},
    "window of 32": {"window": TRAINED},
}
at_once, tuned = {}, {}
for way, rope in WAYS.items():
    model = new_llama(**rope)
    model.load_state_dict(trained.state_dict())
    at_once[way] = loss_by_length(model)
    tuned[way] = loss_by_length(train(model, 60, length=LONGEST, batch=4, rate=1e-3))

figure, axes = plt.subplots(1, 2, figsize=(11, 4.3), sharey=True)
for axis, found, title in zip(axes, (at_once, tuned), ("at once", "after 60 more steps"), strict=True):
    draw_losses(axis, found, (RED, BLUE, YELLOW, GREEN))
    axis.set_title(title)
axes[0].set_ylabel("loss of the next token, in nats")
axes[0].legend(frameon=False, ncols=2, loc="upper right")
plt.show()

# %% tags=["hidden"]
raw, linear, slow, windowed = (at_once[way][128:].mean() for way in WAYS)
raw_tuned, linear_tuned, slow_tuned, _ = (tuned[way][128:].mean() for way in WAYS)
near, near_linear = at_once["as trained"][16:32].mean(), at_once["divided by 8"][16:32].mean()
near_tuned = tuned["divided by 8"][16:32].mean()
assert slow < linear < raw and linear_tuned < raw_tuned

# %% [markdown]
# Look at the left picture, beyond 128 tokens. As trained, the loss is {{ raw:.2f | 2.52 ± 0.3 }}.
#
# - With the window it is {{ windowed:.2f | 1.45 ± 0.08 }}, as if the text were short. So it was the far keys. But a
#   window is no answer if something far away matters.
# - Divided by 8 it is {{ linear:.2f | 2.02 ± 0.15 }}, and flat: length does not matter any more. But short texts have
#   become worse, from {{ near:.2f | 1.47 ± 0.08 }} to {{ near_linear:.2f | 1.99 ± 0.15 }}, since the last four tokens
#   are harder to tell apart. The 60 steps heal about half of that, to {{ near_tuned:.2f | 1.72 ± 0.15 }}.
#   Beyond 128 tokens the loss is then {{ linear_tuned:.2f | 1.71 ± 0.12 }}, against
#   {{ raw_tuned:.2f | 1.97 ± 0.25 }} for the same steps without scaling.
# - Slowing down the slow points alone keeps neighbours apart from the start: {{ slow:.2f | 1.72 ± 0.12 }}, and
#   {{ slow_tuned:.2f | 1.56 ± 0.1 }} after tuning.
#
# ## Questions
#
# 1. Why can a model with learned positions not be stretched by dividing positions by 8? What could be done to its
#    table in place of that?
# 2. Rotary positions turn queries and keys, but not values. What would an output made of turned values tell?
# 3. Keys are kept while a text is generated. Is a key kept before or after its rotation? And what goes wrong if
#    `rope_scaling` is changed in the middle of a text?
# 4. Set `TOKEN_SIZE` to 0.02 and train the sinusoidal model again. What does it learn in 300 steps? Does ALiBi need
#    the larger tokens?
# 5. Think of a task on which ALiBi would do badly beyond the trained length and rotary positions would not. Change
#    `draw_texts`, and try it.
#
# ## Further reading
#
# - Vaswani et al., 2017, arXiv:1706.03762, section 3.5: the waves. Gehring et al., 2017, arXiv:1705.03122: the table.
# - Su et al., 2021, *RoFormer*, arXiv:2104.09864: rotary positions. It pairs elements $2i$ and $2i + 1$.
# - Press, Smith, Lewis, 2022, *Train Short, Test Long*, arXiv:2108.12409: ALiBi.
# - Chen et al., 2023, *Extending Context Window of Large Language Models via Positional Interpolation*,
#   arXiv:2306.15595.
# - Kazemnejad et al., 2023, arXiv:2305.19466: causal models without positions, and how far each kind reaches.
# - [Rotary positions](../ops/rope.md) and [attention](../ops/attention.md): the operations of minitrain.
# - The next notebook: [a GPT from its parts](07_a_gpt_from_its_parts.md).
