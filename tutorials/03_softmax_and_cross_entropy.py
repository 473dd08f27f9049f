# %% [markdown]
# # 3. Softmax and cross-entropy
#
# After this notebook you can
#
# - derive the Jacobian of the softmax, and say why nobody stores it;
# - derive the gradient of the cross-entropy, $p - y$, and use it to train a classifier;
# - say what temperature and label smoothing do to probabilities and gradients;
# - recognise four numerical traps, and cure them with the log-sum-exp;
# - check the first loss of any classifier without running it.
#
# You need notebooks 1 and 2. It takes about 50 minutes.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from minitrain.ops import cross_entropy_backward, cross_entropy_forward
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#7b4b94", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label
rng = np.random.default_rng(0)

# %% [markdown]
# ## From scores to probabilities
#
# A network that chooses among $V$ classes returns $V$ scores $z$, the *logits*. They can be any numbers.
# Probabilities must be positive and add up to 1. The exponential makes every number positive, and a division does
# the rest:
#
# $$p_c = \frac{e^{z_c}}{\sum_k e^{z_k}}$$
#
# This is the *softmax*. A difference of scores becomes a ratio of probabilities: $p_a / p_b = e^{z_a - z_b}$. So only
# differences matter. What happens if you add 5 to all scores? If you multiply all by 4?


# %%
def softmax(z):
    e = np.exp(z)
    return e / e.sum(axis=-1, keepdims=True)


z = np.array([2.0, 1.0, 0.5, -1.0, 0.0])
print("scores    ", softmax(z).round(3))
print("plus 5    ", softmax(z + 5).round(3))
print("times 4   ", softmax(4 * z).round(3))

# %% tags=["hidden"]
np.testing.assert_allclose(softmax(z), softmax(z + 5))

# %% [markdown]
# ## Temperature
#
# Dividing the scores by a *temperature* $T$ makes the choice sharper ($T < 1$) or more even ($T > 1$). Language
# models draw their next word this way. The *entropy* $-\sum_c p_c \log p_c$ says how undecided the probabilities
# are. It lies between 0, for a sure choice, and $\log V$, if all classes are equally likely. Here $\log$ is the natural
# logarithm, also written $\ln$, and the unit is then the *nat*.

# %%
temperatures = np.logspace(-1.5, 2, 100)
hot = softmax(z / temperatures[:, None])
entropy = -(hot * np.log(hot)).sum(axis=1)

figure, panels = plt.subplots(1, 4, figsize=(13, 3), gridspec_kw={"width_ratios": [1, 1, 1, 1.5]})
for axes, T, color in zip(panels, [0.3, 1, 5], [BLUE, GREEN, RED], strict=False):
    axes.bar(range(5), softmax(z / T), color=color)
    axes.set(title=f"T = {T}", ylim=(0, 1), xlabel="class")
panels[0].set_ylabel("probability")
panels[3].semilogx(temperatures, entropy, color=PURPLE)
panels[3].axhline(np.log(5), color=GREY, linestyle=":")
panels[3].text(0.035, np.log(5) - 0.1, "ln 5", color=GREY)
for T, color in [(0.3, BLUE), (1, GREEN), (5, RED)]:
    p = softmax(z / T)
    panels[3].plot(T, -(p * np.log(p)).sum(), "o", color=color)
panels[3].set(xlabel="temperature T", ylabel="entropy (nats)")
plt.show()

# %% [markdown]
# As $T \to 0$ all goes to the highest score: a *soft* maximum has become a hard one. Hence the name.
#
# ## The Jacobian
#
# A score acts on every probability, through the sum in the denominator. Let $Z = \sum_k e^{z_k}$, and let
# $\delta_{ck}$ be 1 if $c = k$ and otherwise 0. By the quotient rule
#
# $$\frac{\partial p_c}{\partial z_k} = \frac{\delta_{ck}\, e^{z_c} Z - e^{z_c} e^{z_k}}{Z^2}
# = p_c \delta_{ck} - p_c p_k
# \qquad\text{that is}\qquad J = \operatorname{diag}(p) - p\, p^\top$$

# %%
p = softmax(z)
J = np.diag(p) - np.outer(p, p)

step = 1e-6
numeric = np.stack([(softmax(z + step * e) - softmax(z - step * e)) / (2 * step) for e in np.eye(5)], axis=1)
print(f"largest difference from finite differences: {abs(J - numeric).max():.0e}")

figure, panels = plt.subplots(1, 3, figsize=(11, 3.7))
for axes, matrix, title in zip(
    panels, [np.diag(p), -np.outer(p, p), J], [r"diag$(p)$", r"$-\,p\,p^\top$", r"$J$: their sum"], strict=True
):
    axes.imshow(matrix, cmap="RdBu", vmin=-0.6, vmax=0.6)
    for c in range(5):
        for k in range(5):
            dark = abs(matrix[c, k]) > 0.38
            number = f"{matrix[c, k]:.3f}" if matrix[c, k] else "0"
            axes.text(k, c, number, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set(title=title, xlabel="score $k$", ylabel="probability $c$")
plt.show()

# %% tags=["hidden"]
assert abs(J - numeric).max() < 1e-8

# %% [markdown]
# Read a column: if score 0 rises, $p_0$ rises and all others fall. They fall by as much as it rises, because the sum
# stays 1. So each column adds up to 0. The matrix is symmetric, so each row does too: adding the same number to all
# scores changes nothing. No entry on the diagonal, $p(1 - p)$, is larger than 1/4: that is at
# $p = 1/2$. If one probability is near 1, all
# entries are near 0. The softmax *saturates*: a network that is sure hardly hears a correction. Remember this for
# what follows.
#
# ### Why nobody stores it
#
# GPT-2 has $V = 50257$. The Jacobian of *one* row would have {{ 50257**2 / 1e9:.1f }} billion entries, 10 gigabytes
# in float32. The backward needs only its product with `dout`. Multiply first, and most of it goes away:
#
# $$\bar z_k = \sum_c \bar p_c\,(p_c \delta_{ck} - p_c p_k) = p_k \Big(\bar p_k - \sum_c \bar p_c\, p_c\Big)$$
#
# The sum is one number for the row: the mean of `dout`, weighted with $p$. A score is pushed up or down by how far
# its `dout` lies from this mean. About $4V$ operations take the place of $V^2$.
#
# **Exercise 1.** Write the backward of the softmax over the last axis.


# %%
def softmax_forward(z):
    p = softmax(z)
    return p, p


# %% tags=["folded"]
jacobian = Exercise(
    "softmax_backward",
    forward=softmax_forward,
    inputs={"z": (4, 6)},
    hints=[
        "Start with the weighted mean of dout, one number for each row.",
        "The mean is (dout * p).sum(...) over the last axis. Keep the axis, so that it can be subtracted.",
        "p * (dout - (dout * p).sum(axis=-1, keepdims=True))",
    ],
    advice={
        "ValueError": "No matrix J is needed. The sum is one number for each row, and keepdims=True keeps its axis.",
        "the same all along axis 1": "The mean is the sum of dout * p, and there is one for each row: axis=-1.",
        "agrees in part": "J has two parts. The diagonal alone is not enough: p[c] depends on all scores of its row.",
        "times the output": "The whole difference is multiplied by p once more.",
    },
)


# %% tags=["exercise"]
def softmax_backward(dout, cache):
    p = cache
    ...  # your turn


jacobian.check(softmax_backward)


# %% tags=["solution"]
def softmax_backward(dout, cache):
    p = cache
    return p * (dout - (dout * p).sum(axis=-1, keepdims=True))


jacobian.check(softmax_backward)

# %% tags=["hidden"]
jacobian.expect(lambda dout, p: p * (dout - dout.mean(axis=-1, keepdims=True)), "sum of dout * p")
jacobian.expect(lambda dout, p: p * (dout - (dout * p).mean(axis=-1, keepdims=True)), "sum of dout * p")
jacobian.expect(lambda dout, p: p * (dout - (dout * p).sum()), "one for each row")
jacobian.expect(lambda dout, p: dout - (dout * p).sum(axis=-1, keepdims=True), "once more")
jacobian.expect(lambda dout, p: p * (1 - p) * dout, "The diagonal alone")
jacobian.expect(lambda dout, p: p * (dout - (dout * p).sum(axis=-1)), "keepdims=True")

# %% [markdown]
# Question 2 of notebook 1 has its answer now. With `dout` of all ones, the right backward gives
# {{ abs(softmax_backward(np.ones((1, 5)), softmax(z[None]))).max():.0f | ≤ 1e-9 }} everywhere: the sum of the
# probabilities is always 1. So is the gradient of a great many *wrong* backwards, and a checker that uses ones passes
# them.
#
# ## Cross-entropy
#
# Let $y$ be the right class. The loss is $L = -\log p_y$, the *cross-entropy*. It is 0 if the right class has
# probability 1, {{ np.log(2):.2f }} for 1/2, {{ np.log(10):.1f }} for 1/10, and grows without bound. Why a logarithm?
# The probability of a whole text is the product of the probabilities of its words. The logarithm turns this product
# into a sum, and the sum into a mean loss per word. Its unit is the nat again. And $e^L$ is a
# number of choices: a model with a loss of {{ np.log(10):.1f }} is as undecided as a fair draw among 10.
#
# The backward in two steps: the logarithm gives $\partial L / \partial p_y = -1/p_y$ and 0 for all others. Then the
# softmax multiplies by $J$. Only column $y$ of $J$ survives:
#
# $$\frac{\partial L}{\partial z_k} = -\frac{1}{p_y}\,(p_y \delta_{yk} - p_y p_k) = p_k - \delta_{yk}$$
#
# The $p_y$ cancels! It also works in one step, from $L = \log Z - z_y$: the derivative of $\log \sum_k e^{z_k}$ is
# $p_k$, and that of $z_y$ is $\delta_{yk}$. In words: *prediction minus truth*. For short one writes $p - y$, and then
# means by $y$ a whole row: 1 at the right class and 0 elsewhere.

# %%
target = 2
truth = np.eye(5)[target]
figure, panels = plt.subplots(1, 3, figsize=(12, 3), sharex=True)
for axes, values, color, title in [
    (panels[0], p, BLUE, "prediction $p$"),
    (panels[1], truth, GREEN, "truth: class 2"),
    (panels[2], p - truth, RED, "gradient $p - y$"),
]:
    axes.bar(range(5), values, color=color)
    for c, value in enumerate(values):
        axes.text(c, value + (0.03 if value >= 0 else -0.1), f"{value:.2f}", ha="center", fontsize=8)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(title=title, xlabel="class", ylim=(-1.05, 1.15))
panels[0].set_ylabel("probability")
panels[2].set_ylabel("dL / dz (nats per unit of score)")
plt.show()

# %% [markdown]
# A step against the gradient lifts the right score and presses on the others, most of all on those the model believes
# in. The bars add up to 0. No entry is larger than 1, however wrong the model is. And the saturation of the softmax
# is gone: a model that is sure and wrong gets the full gradient.
#
# **Exercise 2.** Write both directions at once: `loss_and_gradient(z, y)` returns the *mean* cross-entropy of the
# rows of `z` and its gradient. `y` holds the number of the right class of each row. Use `softmax` as it is above.

# %%
scores = 2 * rng.standard_normal((6, 4))
right = np.array([0, 3, 1, 1, 2, 0])


# %% tags=["folded"]
def _loss_and_gradient(z, y):
    p = softmax(z)
    rows = np.arange(len(y))
    loss = -np.log(p[rows, y]).mean()
    p[rows, y] -= 1
    return loss, p / len(y)


combined = Exercise(
    "loss_and_gradient",
    reference=_loss_and_gradient,
    inputs={"z": scores, "y": right},
    hints=[
        "p[np.arange(len(y)), y] picks the probability of the right class in each row.",
        "The gradient is p, minus 1 at the right class of each row. And the mean?",
        "p = softmax(z); loss = -np.log(p[rows, y]).mean(); p[rows, y] -= 1; return loss, p / len(y)",
    ],
    advice={
        "all are 6 times": "The loss is a mean of six rows, so each row has a factor of 1/6.",
        "wrong sign": "The loss is minus the logarithm. The gradient is p - y: prediction minus truth.",
        "not finite": "Take the loss from p before you subtract the truth from it.",
        "all are 0.25 times": "The mean is over the rows, not over all elements.",
        "broadcast together": "y holds numbers of classes. In p - y, the truth is a row with a 1 at the right class.",
        "the shape is": "The loss is one number, the mean. The gradient has the shape of z.",
        "1 result,": "Return two things: the loss and the gradient.",
    },
)


# %% tags=["exercise"]
def loss_and_gradient(z, y):
    p = softmax(z)
    rows = np.arange(len(y))
    ...  # your turn


combined.check(loss_and_gradient)


# %% tags=["solution"]
def loss_and_gradient(z, y):
    p = softmax(z)
    rows = np.arange(len(y))
    loss = -np.log(p[rows, y]).mean()
    p[rows, y] -= 1
    return loss, p / len(y)


combined.check(loss_and_gradient)


# %% tags=["hidden"]
def _changed(loss=lambda v: v, gradient=lambda v: v):
    def answer(z, y):
        a, b = _loss_and_gradient(z, y)
        return loss(a), gradient(b)

    return answer


combined.expect(_changed(gradient=lambda g: 6 * g), "a factor of 1/6")
combined.expect(_changed(loss=lambda v: -v), "minus the logarithm")
combined.expect(_changed(gradient=lambda g: -g), "prediction minus truth")
combined.expect(lambda z, y: (-np.log(softmax(z)[np.arange(6), y]), _loss_and_gradient(z, y)[1]), "one number")
combined.expect(lambda z, y: _loss_and_gradient(z, y)[0], "Return two things")
combined.expect(_changed(gradient=lambda g: g / 4), "not over all elements")
combined.expect(_changed(loss=lambda v: np.nan), "before you subtract")
combined.expect(lambda z, y: (_loss_and_gradient(z, y)[0], softmax(z) - y), "a row with a 1")

# %% [markdown]
# minitrain's operation returns the sum and the count. Its mean and its gradient are the same:

# %%
loss, cache = cross_entropy_forward(scores, right)
mine, my_gradient = loss_and_gradient(scores, right)
print(f"loss: {mine:.6f}, minitrain {loss.mean:.6f}")
print(f"largest difference of the gradients: {abs(cross_entropy_backward(1 / 6, cache)[0] - my_gradient).max():.0e}")

# %% tags=["hidden"]
assert abs(loss.mean - mine) < 1e-12

# %% [markdown]
# ## A classifier in ten lines
#
# One linear layer and this loss are already a classifier. The data are 1797 handwritten digits of 8 by 8 pixels, from
# scikit-learn. The first 1500 are for training. Before you run it: what is the loss before the first step?

# %%
pixels, digits = load_digits(return_X_y=True)
pixels = pixels / 16  # from 0 to 1
weight, bias = np.zeros((10, 64)), np.zeros(10)
curve = []
for _ in range(300):
    loss, dz = loss_and_gradient(pixels[:1500] @ weight.T + bias, digits[:1500])
    weight -= 1.0 * dz.T @ pixels[:1500]
    bias -= 1.0 * dz.sum(axis=0)
    curve.append(loss)
    if len(curve) == 1:
        after_one = weight.copy()
found = (pixels[1500:] @ weight.T + bias).argmax(axis=1)
accuracy = np.mean(found == digits[1500:])

figure, panels = plt.subplots(2, 10, figsize=(12, 2.9))
for number, (row, matrix) in enumerate(zip(panels, [after_one, weight], strict=True)):
    for digit, axes in enumerate(row):
        axes.imshow(matrix[digit].reshape(8, 8), cmap="RdBu", vmin=-abs(matrix).max(), vmax=abs(matrix).max())
        axes.set(xticks=[], yticks=[])
        if number == 0:
            axes.set_title(str(digit))
panels[0, 0].set_ylabel("step 1")
panels[1, 0].set_ylabel("step 300")
plt.show()

# %% [markdown]
# These are the weights of the ten classes as pictures: a class gains from ink on blue pixels and loses from ink on
# red ones. The first step goes along $(y - p)^\top X / R$, where all probabilities $p$ are still 1/10. That is about a
# tenth of the mean picture of the digit minus the mean picture of all. Later steps sharpen what tells the digits apart.
#
# The loss starts at {{ curve[0]:.4f | 2.302585 ± 0.0001 }}. That is no accident: see the end of this notebook. It
# ends at {{ curve[-1]:.2f | 0.17 ± 0.05 }}, and of the 297 digits that were not used for training
# {{ accuracy:.1% | 0.91 ± 0.04 }} are recognised.
#
# ## Label smoothing
#
# When is the loss least? $p - y = 0$ needs a probability of 1, and no finite score reaches that. If all samples are
# classified right, the weights grow forever, and the model becomes ever more sure. *Label smoothing* asks for less: the
# target is $1 - \varepsilon$ for the right class, plus $\varepsilon$ spread evenly over all $V$ classes.
#
# $$t_c = (1 - \varepsilon)\,\delta_{yc} + \frac{\varepsilon}{V}
# \qquad L = -\sum_c t_c \log p_c \qquad \frac{\partial L}{\partial z_k} = p_k - t_k$$
#
# The derivation is the one above with $t$ in place of $\delta$, because $\sum_c t_c = 1$. Now the gradient vanishes
# at $p = t$. With 10 classes and $\varepsilon = 0.1$ that is a gap of $\log(0.91 / 0.01)$ between the right score
# and the others.

# %%
gaps = np.linspace(-2, 14, 200)
figure, panels = plt.subplots(1, 2, figsize=(12, 3.6))
ends = {}
for epsilon, color in [(0.0, BLUE), (0.1, RED), (0.3, YELLOW)]:
    t = np.full(10, epsilon / 10)
    t[0] += 1 - epsilon
    ladder = np.zeros((200, 10))
    ladder[:, 0] = gaps
    losses = -(t * np.log(softmax(ladder))).sum(axis=1)
    panels[0].plot(gaps, losses, color=color, label=rf"$\varepsilon$ = {epsilon}")
    if epsilon:
        best = np.log(t[0] / t[1])
        panels[0].plot(best, -(t * np.log(t)).sum(), "o", color=color)
    s, path = np.zeros(10), []
    for _ in range(10000):
        path.append(s[0] - s[1])
        s -= softmax(s) - t
    ends[epsilon] = path[-1]
    panels[1].semilogx(range(1, 10001), path, color=color, label=rf"$\varepsilon$ = {epsilon}")
panels[0].set(xlabel="score of the right class minus the others", ylabel="loss (nats)", ylim=(0, 5))
panels[1].set(xlabel="step of gradient descent", ylabel="score of the right class minus the others")
panels[0].legend()
panels[1].legend()
plt.show()

# %% [markdown]
# Left: the plain loss (blue) falls forever. The smoothed losses have a minimum, and beyond it they *rise*: being too
# sure is punished. Right: gradient descent on the scores of one sample. Without smoothing the gap grows with the
# logarithm of the steps and is at {{ ends[0.0]:.1f | 11.5 ± 0.1 }} after 10,000. With $\varepsilon = 0.1$ it stops at
# {{ ends[0.1]:.2f | 4.51 ± 0.01 }}, and $\log 91 =$ {{ np.log(91):.2f }}.
#
# The price: the least loss is no longer 0. With $\varepsilon = 0.1$ it is
# {{ -0.91 * np.log(0.91) - 0.09 * np.log(0.01):.2f }} nats. Losses with different smoothing cannot be compared.
#
# ## Four traps
#
# On paper we are done. In a computer, `softmax` as written above fails. float32 holds numbers from about $10^{-45}$
# to $3 \cdot 10^{38}$, with 7 digits. Each trap first shows the failure.
#
# ### 1. The exponential overflows
#
# A score of 100 is nothing unusual. What is $e^{100}$ in float32?

# %%
with np.errstate(all="ignore"):  # no warnings here: we want to see the numbers
    for top in [80, 88, 89, 100]:
        z = np.array([top, top - 1], np.float32)
        print(f"scores {top}, {top - 1}:  exp {np.exp(z)[0]:.3g}  softmax {softmax(z)}")

# %% [markdown]
# From 89 on it is infinite, and infinity divided by infinity is no number. The cure uses what we saw at the start:
# subtracting the same number from all scores changes nothing. So subtract the largest. Then all exponents are at most
# 0, one is $e^0 = 1$, and the sum lies between 1 and $V$.


# %%
def stable_softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


print(stable_softmax(np.array([100, 99], np.float32)))

# %% [markdown]
# ### 2. The logarithm of zero
#
# Now the small side. The right class has a score of 0, the other one of 110. The loss should be 110.

# %%
z = np.array([0, 110], np.float32)
with np.errstate(all="ignore"):
    print("p:", stable_softmax(z), " loss:", -np.log(stable_softmax(z)[0]))

# %% [markdown]
# $e^{-110}$ is less than the smallest float32 and becomes 0. Its logarithm is minus infinity: one such sample, and
# the mean loss of the batch is infinite. A common patch is $\log(p + 10^{-8})$. It hides the trap: the loss of every
# hopeless sample is then {{ -np.log(1e-8):.1f }}, and its gradient is 0, so it never gets better. The cure is to
# take the logarithm *on paper*:
#
# $$\log p_c = z_c - \ell \qquad \ell = \log \sum_k e^{z_k} = m + \log \sum_k e^{z_k - m} \qquad m = \max_k z_k$$
#
# $\ell$ is the *log-sum-exp*. The sum is at least 1, so its logarithm is always finite.
#
# **Exercise 3.** Write `log_softmax(z)`: $\log p$ over the last axis, for scores of any size. One row is near 0, the
# next near 1000, the third near $-5000$.

# %%
extreme = np.array([[0.3, -0.7, 0.0, 1.2], [1000.0, 990.0, 0.0, 1001.0], [-5000.0, -5100.0, -5001.0, -5000.5]])


# %% tags=["folded"]
def _log_softmax(z):
    away = z - z.max(axis=-1, keepdims=True)
    return away - np.log(np.exp(away).sum(axis=-1, keepdims=True))


stable = Exercise(
    "log_softmax",
    reference=_log_softmax,
    inputs={"z": extreme},
    hints=[
        "Subtract the largest score of each row first. Then the rest is harmless.",
        "With away = z - max, log p is away minus the logarithm of the sum of exp(away).",
        "away = z - z.max(axis=-1, keepdims=True); away - np.log(np.exp(away).sum(axis=-1, keepdims=True))",
    ],
    advice={
        "not finite": "Look for a large exponent (is there a maximum for each row?) and for the logarithm of a 0 (take "
        "log p on paper).",
        "ValueError": "A maximum and a sum for each row, with keepdims=True, so that they fit to the row.",
    },
)


# %% tags=["exercise"]
def log_softmax(z): ...  # your turn


stable.check(log_softmax)


# %% tags=["solution"]
def log_softmax(z):
    away = z - z.max(axis=-1, keepdims=True)
    return away - np.log(np.exp(away).sum(axis=-1, keepdims=True))


stable.check(log_softmax)

# %% tags=["hidden"]
with np.errstate(all="ignore"):
    stable.expect(lambda z: np.log(softmax(z)), "not finite")
    stable.expect(lambda z: np.log(stable_softmax(z)), "log p on paper")
    stable.expect(lambda z: (z - z.max()) - np.log(np.exp(z - z.max()).sum(axis=-1, keepdims=True)), "for each row")
    stable.expect(lambda z: z - z.max(axis=-1, keepdims=True), "the reference has")
    stable.expect(lambda z: z - z.max(axis=-1), "keepdims=True")

# %% [markdown]
# ### 3. Digits that cancel
#
# `log_softmax` keeps $m$ and the logarithm of the sum apart. Why not add them to one number $\ell$, which is so handy
# to store? Take five scores and add a large offset to all of them. Nothing should change. The scores are chosen so
# that float32 holds them exactly, with the offset too.

# %%
base = np.array([1.0, 0.5, 0.25, -1.0, 0.0], np.float32)
offsets = 2.0 ** np.arange(0, 20)
exact = softmax(base.astype(np.float64))
together, apart = [], []
for offset in offsets.astype(np.float32):
    z = base + offset
    m = z.max()
    log_sum = np.log(np.exp(z - m).sum())
    lse = m + log_sum  # one float32
    together.append(abs(np.exp(z - lse) / exact - 1).max())
    apart.append(abs(np.exp((z - m) - log_sum) / exact - 1).max())

figure, axes = plt.subplots(figsize=(7, 3.6))
axes.loglog(offsets, together, "o-", color=RED, label=r"$z - \ell$, with $\ell$ rounded to one number")
axes.loglog(offsets, apart, "o-", color=BLUE, label=r"$(z - m) - \log \Sigma$, two numbers")
axes.loglog(offsets, offsets * 6e-8, "--", color=GREY, label="rounding of the offset: offset times $2^{-24}$")
axes.set(xlabel="offset added to all scores", ylabel="relative error of the probabilities")
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# At an offset of 8192 the probabilities are off by {{ together[13]:.2% }} at worst (red). A float32 has 7 digits. If
# four of them stand before the point, three are left behind it, and $\ell$ needs more. The subtraction $z - \ell$
# makes this visible: the large parts cancel, the error stays. In the blue line the large parts cancel *first*, and
# exactly. So minitrain's cross-entropy keeps $m$ and the sum apart.
#
# ### 4. A backward that divides by almost nothing
#
# The last trap is in the backward. Softmax and logarithm as two operations are correct: the logarithm sends
# $-1/p_y$, and `softmax_backward` multiplies by $p_y$ again. What if $p_y$ is tiny? The right class has score 0, the
# other one a growing score. The gradient of the right score should be $p_y - 1$, practically $-1$.

# %%
gaps = np.arange(0, 121, dtype=np.float32)
z = np.stack([np.zeros_like(gaps), gaps], axis=1)
p = stable_softmax(z)
with np.errstate(all="ignore"):
    dp = np.stack([-1 / p[:, 0], np.zeros_like(gaps)], axis=1)
    two_steps = softmax_backward(dp, p)[:, 0]
one_step = p[:, 0] - 1
for gap in [10, 80, 88, 89, 100, 105]:
    left = f"gap {gap:3}: p {p[gap, 0]:8.2g}  -1/p {dp[gap, 0]:9.2g}"
    print(f"{left}  two steps {two_steps[gap]:8.4f}  p - y {one_step[gap]:.4f}")

# %% tags=["hidden"]
assert np.isfinite(one_step).all() and not np.isfinite(two_steps[89:]).any() and np.isfinite(two_steps[:88]).all()

# %%
figure, axes = plt.subplots(figsize=(7, 2.8))
fine = np.isfinite(two_steps)
axes.plot(gaps, one_step, color=BLUE, linewidth=4, alpha=0.5, label="one operation: $p - y$")
axes.plot(gaps[fine], two_steps[fine], color=RED, label="two operations")
axes.axvspan(gaps[~fine].min(), 120, color=RED, alpha=0.15)
axes.text(104, -0.75, "not a number", color=RED, ha="center")
axes.set(xlabel="score of the wrong class minus that of the right one", ylabel="gradient of the right score")
axes.legend(loc="upper center")
plt.show()

# %% [markdown]
# $1/p$ has overflowed, and infinity minus infinity is no number. One such sample makes the gradient of *all* weights
# NaN (not a number), because gradients of a batch are sums. The worst mistakes of a model, from which it should learn
# most, destroy it. On paper the two factors cancel. So do it on paper: cross-entropy is one operation, and its
# backward is $p - y$.
#
# ## The first loss
#
# At the start a model knows nothing. If its scores are all about equal, each class has probability $1/V$, and
# $L = \log V$. No test is cheaper: look at the loss of step 0.
#
# What if it is higher? Then the scores are not equal: they vary, and the model believes in something without a
# reason. For independent, normally distributed scores with mean 0 and standard deviation $s$, we can compute it. The
# mean of $e^z$ is $e^{s^2/2}$ (look it up: log-normal distribution), so the sum of many is about $V e^{s^2/2}$. The
# score of the right class is 0 in the mean. With $L = \log Z - z_y$ that makes
#
# $$L \approx \log V + \frac{s^2}{2}$$

# %%
spreads = np.linspace(0, 4, 17)
figure, axes = plt.subplots(figsize=(7, 3.8))
measured = {}
for V, color in [(10, GREEN), (1000, BLUE), (50257, RED)]:
    rows = max(20, 20000 // V)
    normal = rng.standard_normal((rows, V)).astype(np.float32)
    y = rng.integers(V, size=rows)
    # The right score is 0 in the mean: leaving it out takes the noise of a few rows away.
    measured[V] = np.array([(-log_softmax(s * normal) + s * normal).mean() for s in spreads])
    axes.plot(spreads, measured[V], "o", color=color, markersize=4, label=f"V = {V}")
    axes.plot(spreads, np.log(V) + spreads**2 / 2, "--", color=color, linewidth=1)
axes.set(xlabel="standard deviation of the scores, s", ylabel="first loss (nats)", ylim=(0, None))
axes.legend(title=r"dashed: $\ln V + s^2/2$")
plt.show()

# %% [markdown]
# At $s = 0$ the loss is $\log V$: {{ np.log(50257):.2f }} for GPT-2, {{ np.log(10):.2f }} for digits. At $s = 1$ it
# is half a nat more ({{ measured[50257][4] - np.log(50257):.2f | 0.5 ± 0.02 }} measured). At $s = 4$ the sum is no
# longer that of many: a few large scores dominate it, and the dots leave the line, for few classes first. So a first
# loss far above $\log V$ says that the last layer starts too large. A first loss clearly *below* it says that the
# model sees the answer.
#
# ## Questions
#
# 1. Two classes: show that the softmax of $(z, 0)$ is the logistic function of $z$. Which gradient of notebook 2 do
#    you find again?
# 2. The gradients of a row of scores add up to 0. Does the mean score of a row ever change during training, if the
#    scores are parameters themselves? What if they come from a linear layer with a bias?
# 3. Draw from $\operatorname{softmax}(z / T)$ with $T = 0.5$: the probabilities are squared and divided by their sum.
#    Why?
# 4. Knowledge distillation trains a small model on the probabilities of a large one. What is the gradient of
#    $-\sum_c t_c \log p_c$ if $p = \operatorname{softmax}(z / T)$?
# 5. A loss starts at 10.82 with $V = 50257$, and falls to 7.5 within a few steps. What has the model learned by then?
#    (It does not need to look at its input for this.)
#
# ## Further reading
#
# - The pages of [softmax](../ops/softmax.md), [cross-entropy](../ops/cross_entropy.md), and
#   [linear layer and cross-entropy as one](../ops/linear_cross_entropy.md), which never stores all scores.
# - Szegedy et al., 2015, *Rethinking the Inception architecture for computer vision*, arXiv:1512.00567: label
#   smoothing.
# - Müller, Kornblith and Hinton, 2019, *When does label smoothing help?*, arXiv:1906.02629.
# - Guo et al., 2017, *On calibration of modern neural networks*, arXiv:1706.04599: temperature after training.
# - Hinton, Vinyals and Dean, 2015, *Distilling the knowledge in a neural network*, arXiv:1503.02531: question 4.
# - Blanchard, Higham and Higham, 2019, *Accurate computation of the log-sum-exp and softmax functions*,
#   arXiv:1909.03469.
# - The next notebook: [normalisation](04_normalisation.md).
