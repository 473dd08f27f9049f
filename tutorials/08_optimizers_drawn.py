# %% [markdown]
# # 8. Optimizers drawn
#
# After this notebook you can
#
# - say what SGD, momentum, RMSprop, Adam, Lion and Muon remember, and how each turns a gradient into a step;
# - write SGD with momentum, Adam with bias correction, and a cosine schedule with warm-up;
# - show why AdamW is not Adam with an L2 penalty;
# - compare optimizers fairly, each at its own tuned learning rate;
# - say what warm-up and clipping are for, and measure it.
#
# You need gradients ([notebook 1](01_gradients_by_hand.md)) and a GPT
# ([notebook 7](07_a_gpt_from_its_parts.md)). It takes about 60 minutes.

# %%
import re

import matplotlib.pyplot as plt
import numpy as np

import minitrain as mt
from minitrain.data import Batch, read_corpus
from minitrain.errors import NonFiniteError
from minitrain.optim import (
    Adafactor,
    InverseSqrt,
    Lion,
    Muon,
    OneCycle,
    RMSprop,
    WarmupStableDecay,
    newton_schulz,
)
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#7b4b94", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label

# %% [markdown]
# ## One rate for all directions: SGD
#
# A gradient says which way is down, here and now. It does not say how far. *Gradient descent* multiplies it by a
# number, the *learning rate*, and subtracts it: $w \leftarrow w - \text{lr} \cdot g$. It is called *stochastic* (SGD)
# when the gradient comes from a batch instead of all data.
#
# Start with the simplest surface that makes trouble: a bowl that is 25 times as steep along $y$ as along $x$,
# $f(x, y) = \frac12 (x^2 + 25 y^2)$. The model is one parameter with two numbers, the place. minitrain's optimizers
# walk down from it.


# %%
class Point(mt.Module):
    def __init__(self, start):
        self.position = mt.Parameter(np.array(start, float))


def walk(make_optimizer, gradient, start, steps):
    """The places that an optimizer visits: an array of shape (steps + 1, 2)."""
    point = Point(start)
    optimizer = make_optimizer(point)
    path = [point.position.data.copy()]
    for _ in range(steps):
        optimizer.zero_grad()
        point.position.grad[...] = gradient(path[-1])
        optimizer.step()
        path.append(point.position.data.copy())
    return np.array(path)


def bowl(p):
    return 0.5 * (p[0] ** 2 + 25 * p[1] ** 2)


def bowl_gradient(p):
    return np.array([p[0], 25 * p[1]])


# %% [markdown]
# **Predict first.** The gradient along $y$ is $25 y$. So one step makes $y \leftarrow y - \text{lr} \cdot 25 y = (1 -
# 25\,\text{lr})\, y$. What happens to $y$ at the rates 0.01, 0.07 and 0.081? And to $x$, which is multiplied by $1 -
# \text{lr}$?


# %%
def draw_surface(axes, f, x, y, levels):
    X, Y = np.meshgrid(np.linspace(*x, 200), np.linspace(*y, 200))
    axes.contour(X, Y, f((X, Y)), levels=levels, colors=GREY, alpha=0.35, linewidths=0.8)
    axes.set(xlim=x, ylim=y, xlabel="x", ylabel="y")


rates = [0.01, 0.07, 0.081]
figure, panels = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True)
for axes, lr in zip(panels, rates, strict=True):
    path = walk(lambda model, lr=lr: mt.SGD(model, lr), bowl_gradient, (-9, 1.5), 40)
    draw_surface(axes, bowl, (-10, 4), (-5, 5), levels=np.logspace(-0.5, 2.5, 10))
    axes.plot(*path.T, ".-", color=RED, linewidth=1)
    axes.plot(0, 0, "*", color=GREEN, markersize=12)
    axes.set_title(f"rate {lr}: y is multiplied by {1 - 25 * lr:.3f}", fontsize=10)
plt.show()

# %% [markdown]
# - At 0.01, $y$ is soon gone, and $x$ crawls: after 40 steps it is still $0.99^{40} = 67\,\%$ of what it was.
# - At 0.07, $y$ changes its sign in every step, and shrinks. The path zigzags.
# - At 0.081 the factor is below $-1$. $y$ grows: training *diverges*.
#
# The steepest direction limits the rate: below $2/25$. The flattest direction then sets the speed. The ratio of the
# two curvatures (the second derivatives), here $\kappa = 25$, is the *condition number*. With the best rate,
# $2/(1 + 25)$, both distances are multiplied by
# $(\kappa - 1)/(\kappa + 1) = 0.92$ in each step (and change their sign, or not). A network has curvatures
# that differ by many powers of ten.
#
# ## Momentum: a ball with memory
#
# Across the valley the gradient changes its sign, along the valley it does not. So keep a running sum of the
# gradients, the *buffer* $b$: the signs across cancel, and the small steps along add up (Polyak, 1964).
#
# $$b \leftarrow \mu\, b + g, \qquad w \leftarrow w - \text{lr} \cdot b$$
#
# If the gradient stays the same, $b$ grows to $g\,(1 + \mu + \mu^2 + \dots) = g / (1 - \mu)$. With $\mu = 0.9$ the
# step is ten times as long. So momentum usually wants a smaller rate than plain SGD.
#
# **Exercise 1.** Write one step. Return the new weights and the new buffer, and leave the old arrays unchanged.

# %% tags=["folded"]
momentum_exercise = Exercise(
    "momentum_step",
    reference=lambda w, g, b, lr, momentum: (w - lr * (momentum * b + g), momentum * b + g),
    inputs={"w": (5,), "g": (5,), "b": (5,), "lr": 0.1, "momentum": 0.9},
    hints=[
        "Two lines: first the buffer, then the weights.",
        "The weights move along the new buffer, not along the gradient.",
        "b = momentum * b + g; return w - lr * b, b",
    ],
    advice={
        "Result 1": "Look at the buffer. The old one shrinks by the factor momentum, and all of the gradient is added.",
        "Result 0": "The buffer is right. The weights move against the *new* buffer, times the rate.",
        "2 are asked for": "Return both: the new weights and the new buffer.",
    },
)


# %% tags=["exercise"]
def momentum_step(w, g, b, lr, momentum): ...  # your turn


momentum_exercise.check(momentum_step)


# %% tags=["solution"]
def momentum_step(w, g, b, lr, momentum):
    b = momentum * b + g
    return w - lr * b, b


momentum_exercise.check(momentum_step)


# %% tags=["hidden"]
def damped(w, g, b, lr, momentum):
    b = momentum * b + (1 - momentum) * g
    return w - lr * b, b


momentum_exercise.expect(damped, "all of the")
momentum_exercise.expect(lambda w, g, b, lr, mu: (w - lr * b, mu * b + g), "*new* buffer")
momentum_exercise.expect(lambda w, g, b, lr, mu: (w + lr * (mu * b + g), mu * b + g), "against")
momentum_exercise.expect(lambda w, g, b, lr, mu: w - lr * (mu * b + g), "Return both")
momentum_exercise.expect(lambda w, g, b, lr, mu: None, "not written yet")

# %% [markdown]
# Nesterov's variant takes the gradient's own share once more, $w \leftarrow w - \text{lr}\,(g + \mu b)$. It is as if
# one looked a step ahead before braking. How fast is each on the bowl? Theory knows the best rate and $\mu$ for a
# bowl. With momentum the distance is then multiplied by about $(\sqrt\kappa - 1)/(\sqrt\kappa + 1) = 0.67$ in each
# step. For Nesterov's variant, take the usual textbook values. **Predict:** how many steps does SGD need where momentum
# needs 20?

# %%
kappa = 25
root = np.sqrt(kappa)
racers = {
    "SGD": (lambda model: mt.SGD(model, 2 / (1 + kappa)), BLUE),
    "momentum": (lambda model: mt.SGD(model, (2 / (root + 1)) ** 2, momentum=((root - 1) / (root + 1)) ** 2), RED),
    "Nesterov": (
        lambda model: mt.SGD(model, 1 / kappa, momentum=(root - 1) / (root + 1), nesterov=True),
        GREEN,
    ),
}
figure, axes = plt.subplots(figsize=(7, 4))
needed = {}
for name, (make, color) in racers.items():
    distance = np.linalg.norm(walk(make, bowl_gradient, (-9, 1.5), 100), axis=1) / np.linalg.norm((-9, 1.5))
    axes.semilogy(distance, color=color, label=name)
    needed[name] = int(np.argmax(distance < 1e-3))
steps = np.arange(101)
axes.semilogy(steps, ((kappa - 1) / (kappa + 1)) ** steps, "--", color="black", alpha=0.6, label=r"$0.92^t$")
axes.semilogy(steps, ((root - 1) / (root + 1)) ** steps, ":", color="black", alpha=0.6, label=r"$0.67^t$")
axes.set(xlabel="step t", ylabel="distance to the minimum / first distance", ylim=(1e-8, 2))
axes.legend()
plt.show()

# %% [markdown]
# To come a thousand times as close, SGD needs {{ needed["SGD"] | 86 ± 5 }} steps, momentum
# {{ needed["momentum"] | 23 ± 3 }}, and Nesterov's variant {{ needed["Nesterov"] | 41 ± 4 }}. The gain grows with
# $\kappa$: roughly, SGD needs $\kappa$ steps where momentum needs $\sqrt\kappa$. Nesterov's variant is slower on this
# bowl. Its merit is a guarantee for all smooth convex functions; on some of them plain momentum runs in circles.
#
# ## A rate for each weight: RMSprop and Adam
#
# Another cure: divide each coordinate's gradient by its own usual size. Adam (Kingma and Ba, 2015) keeps two running
# means for each weight, the mean $m$ of the gradient and the mean $v$ of its square:
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\, g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2, \qquad
# w \leftarrow w - \text{lr}\, \frac{\hat m}{\sqrt{\hat v} + \epsilon}$$
#
# The hats come in a moment. If the gradient is steady, $\hat m / \sqrt{\hat v}$ is $\pm 1$: each weight moves by
# about the learning rate, *whatever the size of its gradient*. RMSprop is the same without $m$, and without hats.
#
# **Predict:** you multiply $f$ by 1,000. What happens to the path of SGD, and to that of Adam?

# %%
gap = {}
for name, make in {"SGD": lambda m: mt.SGD(m, 1e-5), "Adam": lambda m: mt.Adam(m, 0.3)}.items():
    one = walk(make, bowl_gradient, (-9, 1.5), 40)
    scaled = walk(make, lambda p: 1000 * bowl_gradient(p), (-9, 1.5), 40)
    gap[name] = abs(one - scaled).max()
    print(f"{name}: the two paths differ by up to {gap[name]:.1e}")

# %% tags=["hidden"]
assert gap["SGD"] > 1 and gap["Adam"] < 1e-6

# %% [markdown]
# SGD's steps are a thousand times as long. Adam's path is the same: a factor cancels in $m / \sqrt v$. That also holds
# for each coordinate by itself. So on our bowl, Adam does not notice that $y$ is 25 times as steep. But this works for
# the *coordinates* alone. Turn the bowl by 45 degrees, and the steep direction is no longer one of them:

# %%
turn = np.array([[1, -1], [1, 1]]) / np.sqrt(2)


def turned(p):
    return bowl((turn[0, 0] * p[0] + turn[1, 0] * p[1], turn[0, 1] * p[0] + turn[1, 1] * p[1]))


def turned_gradient(p):
    return turn @ bowl_gradient(turn.T @ p)


start = np.array([-6.0, 3.0])
figure, panels = plt.subplots(1, 2, figsize=(11, 4.4))
last = {}
for axes, f, gradient, begin, title in [
    (panels[0], bowl, bowl_gradient, start, "along the axes"),
    (panels[1], turned, turned_gradient, turn @ start, "turned by 45 degrees"),
]:
    draw_surface(axes, f, (-9, 5), (-6, 6), levels=np.logspace(-0.5, 2.7, 10))
    for name, make, color in [
        ("SGD, rate 0.07", lambda m: mt.SGD(m, 0.07), BLUE),
        ("Adam, rate 0.3", lambda m: mt.Adam(m, 0.3, betas=(0.8, 0.9)), RED),
    ]:
        path = walk(make, gradient, begin, 25)
        last[name[:3], title] = f(path[-1])
        axes.plot(*path.T, ".-", color=color, linewidth=1, label=f"{name}: f = {f(path[-1]):.3f} after 25 steps")
    axes.plot(0, 0, "*", color=GREEN, markersize=12)
    axes.set_title(title)
    axes.set_aspect("equal")
    axes.legend(loc="upper left", fontsize=9)
plt.show()

# %% [markdown]
# SGD's path turns with the bowl: the value after 25 steps is the same to the last digit. Adam's is not the same
# path. Its first steps go along the diagonal, since each coordinate moves by the rate. On the turned bowl that no
# longer points to the minimum. Adam works well on networks because there the coordinates matter: rare words, the
# layers, biases and matrices have gradients of very different sizes.

# %% tags=["hidden"]
assert abs(last["SGD", "along the axes"] - last["SGD", "turned by 45 degrees"]) < 1e-9
assert last["Ada", "turned by 45 degrees"] > 2 * last["Ada", "along the axes"]

# %% [markdown]
# ## The hats: bias correction
#
# $m$ and $v$ start at zero, and $\epsilon$ only keeps the division from failing. After the first step $m = (1 -
# \beta_1)\, g$, a tenth of the gradient, and $v = (1 - \beta_2)\, g^2$, a thousandth. Means of few values are too
# small. By how much? If all gradients have the mean $\bar g$, then after $t$ steps
#
# $$m = (1 - \beta_1) \sum_{i=0}^{t-1} \beta_1^i\, \bar g = (1 - \beta_1^t)\, \bar g .$$
#
# So divide by that: $\hat m = m / (1 - \beta_1^t)$ and $\hat v = v / (1 - \beta_2^t)$, with $t$ counted from 1.
# Without the correction a step is too long or too short by the factor $(1 - \beta_1^t) / \sqrt{1 - \beta_2^t}$.
# **Predict:** too long or too short, for $\beta = (0.9,\ 0.999)$?
#
# **Exercise 2.** Write one step of Adam with bias correction. Return the new weights and the new moments (without
# hats).
#
# <details markdown><summary>Hint</summary>
#
# Four lines: `m`, `v`, the two hats, and the new weights. The hats are used for the step only. They are not stored.
#
# </details>


# %% tags=["folded"]
def reference_adam(w, g, m, v, t, lr, beta1, beta2, eps):
    m, v = m + (1 - beta1) * (g - m), v + (1 - beta2) * (g * g - v)
    return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), m, v


adam_exercise = Exercise(
    "adam_step",
    reference=reference_adam,
    inputs={
        "w": (5,),
        "g": (5,),
        "m": (5,),
        "v": np.array([0.5, 1.0, 0.1, 2.0, 0.7]),
        "t": 3,
        "lr": 0.1,
        "beta1": 0.9,
        "beta2": 0.99,
        "eps": 0.01,
    },
    hints=[
        "First the two running means: keep the share beta of the old value, and add 1 - beta of the new one.",
        "The hats: m / (1 - beta1**t) and v / (1 - beta2**t).",
        "return w - lr * m_hat / (np.sqrt(v_hat) + eps), m, v",
    ],
    advice={
        "Result 1": "Look at m. It keeps beta1 of its old value, and 1 - beta1 of the gradient is added. No hat.",
        "Result 2": "Look at v. It is a mean of the *squares* of the gradient, with beta2. No hat.",
        "Result 0": "Both moments are right. Now the weights: both hats, the root of v's hat, and eps after the root.",
        "3 are asked for": "Return three things: the weights, m and v.",
    },
)


# %% tags=["exercise"]
def adam_step(w, g, m, v, t, lr, beta1, beta2, eps): ...  # your turn


adam_exercise.check(adam_step)


# %% tags=["solution"]
def adam_step(w, g, m, v, t, lr, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return w - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


adam_exercise.check(adam_step)


# %% tags=["hidden"]
def wrong_adam(change):
    def answer(w, g, m, v, t, lr, beta1, beta2, eps):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * (g if change == "no square" else g**2)
        if change == "uncorrected":
            return w - lr * m / (np.sqrt(v) + eps), m, v
        if change == "eps inside":
            return w - lr * m / (1 - beta1**t) / np.sqrt(v / (1 - beta2**t) + eps), m, v
        if change == "stored":
            m = m / (1 - beta1**t)
        return w - lr * m, m, v

    return answer


adam_exercise.expect(wrong_adam("uncorrected"), "both hats")
adam_exercise.expect(wrong_adam("eps inside"), "after the root")
adam_exercise.expect(wrong_adam("no square"), "*squares*")
adam_exercise.expect(wrong_adam("stored"), "No hat")
adam_exercise.expect(lambda *given: None, "not written yet")

# %% [markdown]
# ## A small GPT to try things on
#
# Surfaces of two numbers show the mechanism. Whether it matters shows only on a network. Here is a GPT of one block
# with 32 features that reads Python's manual, letter by letter. `train` is a loop like that of [notebook
# 7](07_a_gpt_from_its_parts.md). It returns the loss of each step, the norm of each gradient, and the loss on
# held-out text at the end.

# %%
text = re.sub("[^a-z]+", " ", read_corpus(None).lower())[:200_000]
letters = sorted(set(text))
tokens = np.array([letters.index(letter) for letter in text], np.int32)
T = 16  # letters in a window
held_out = tokens[180_000 : 180_000 + 256 * T + 1]
validation = Batch(held_out[:-1].reshape(256, T), held_out[1:].reshape(256, T))


def train(make_optimizer, schedule, *, steps=100, seed=0, max_norm=None, batches=None):
    config = mt.GPTConfig(len(letters), block_size=T, n_layer=1, n_head=2, n_embd=32, tie_weights=False)
    model = mt.GPT(config, seed=seed)
    mt.pack(model)  # all weights in one array: one update for all of them
    optimizer = make_optimizer(model)
    loader = mt.TokenLoader(tokens[:180_000], block_size=T, batch_size=16, seed=seed)
    losses, norms = [], []
    for step in range(steps):
        optimizer.set_lr(schedule(step))
        optimizer.zero_grad()
        loss, cache = model.loss(batches(step, loader) if batches else loader.batch(step))
        model.loss_backward(cache)
        try:
            clip = mt.clip_by_global_norm(model, max_norm, count=loss.count)
        except NonFiniteError:  # the rate was far too high
            return np.array(losses), np.array(norms), np.inf
        optimizer.step(clip.scale)
        losses.append(loss.mean)
        norms.append(clip.norm)
    return np.array(losses), np.array(norms), model.loss(validation)[0].mean


print(f"{len(tokens):,} letters, {len(letters)} different ones; guessing costs ln 27 = {np.log(27):.2f} nats")

# %% [markdown]
# Now Adam without hats. An optimizer of your own is a class with one method, `update`, for one array of weights. The
# gradient comes with a factor, `grad_scale`: minitrain sums gradients over the letters of a batch, and this factor
# makes a mean of the sum.


# %%
class AdamWithoutHats(mt.Adam):
    def update(self, weight, grad, moments, *, lr, weight_decay, grad_scale):
        m, v, (beta1, beta2) = moments["exp_avg"], moments["exp_avg_sq"], self.betas
        g = grad * np.float32(grad_scale)
        m += (1 - beta1) * (g - m)
        v += (1 - beta2) * (g * g - v)
        weight -= lr * m / (np.sqrt(v) + self.eps)


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
t = np.arange(1, 2001)
too_long = {}
for betas, color in [((0.9, 0.999), RED), ((0.9, 0.95), YELLOW), ((0.0, 0.999), PURPLE)]:
    ratio = (1 - betas[0] ** t) / np.sqrt(1 - betas[1] ** t)
    too_long[betas] = ratio.max()
    left.loglog(t, ratio, color=color, label=rf"$\beta_1 = {betas[0]},\ \beta_2 = {betas[1]}$")
left.axhline(1, color=GREY, linestyle=":")
left.set(xlabel="step t", ylabel="length of a step without / with hats")
left.legend()
hats = {}
for name, kind, color in [("with hats", mt.Adam, BLUE), ("without", AdamWithoutHats, RED)]:
    losses, _, hats[name] = train(lambda model, kind=kind: kind(model), mt.Constant(0.01))
    right.plot(losses, color=color, label=f"{name}: {hats[name]:.2f} on held-out text")
right.axhline(np.log(27), color=GREY, linestyle=":", label="guessing, ln 27")
right.set(xlabel="step", ylabel="training loss (nats per letter)", title="the small GPT, rate 0.01, no warm-up")
right.legend()
plt.show()

# %% [markdown]
# Too long: $v$ is by far too small at first, and it is the divisor. With the usual $\beta$ the first step is 3.2
# times as long as it should be, and the factor rises to {{ too_long[0.9, 0.999]:.1f | 6.6 ± 0.1 }} around step 12.
# Without $m$, as in RMSprop, it begins at {{ too_long[0.0, 0.999]:.0f | 31.6 ± 0.1 }}. The small GPT pays for it: it
# ends at {{ hats["without"]:.2f | 2.6 ± 0.2 }} instead of {{ hats["with hats"]:.2f | 2.47 ± 0.08 }}. That is the
# very time at which long steps do most harm, as you will see at the warm-up.
#
# ## Weight decay: AdamW is not Adam with L2
#
# Large weights are often punished: add $\frac{\lambda}{2} w^2$ to the loss (an *L2 penalty*). Its gradient is
# $\lambda w$. With SGD each step then shrinks the weight a little:
#
# $$w \leftarrow w - \text{lr}\,(g + \lambda w) = (1 - \text{lr}\,\lambda)\, w - \text{lr}\, g .$$
#
# So for SGD, "L2 penalty" and "weight decay" are two names for one thing. For Adam they are not. Adam divides
# *whatever it gets* by $\sqrt v$, and now it gets $g + \lambda w$. Let the gradient be noise with mean 0 and standard
# deviation $s$, its *size*. Then $v \approx s^2 + \lambda^2 w^2$, and on average a step changes the weight by
#
# $$\text{Adam with L2:}\quad -\,\text{lr}\,\frac{\lambda w}{\sqrt{s^2 + \lambda^2 w^2}}, \qquad\quad
# \text{AdamW:}\quad -\,\text{lr}\,\lambda w .$$
#
# With large gradients ($s \gg \lambda w$) the decay is $\lambda / s$: the larger the gradients, the *slower* the
# decay. With small gradients the penalty itself determines $v$ and cancels, and the weight moves by the full rate.
# AdamW takes the decay out of the division (Loshchilov and Hutter, 2019). Is that so? Give 16 groups of 2,000 weights,
# all 1, gradients of pure noise of size $s$, and measure how fast the mean of each group falls.

# %%
sizes = np.logspace(-4, 1, 16)
decay, lr, steps = 0.1, 1e-3, 100
rng = np.random.default_rng(0)


class Weights(mt.Module):
    def __init__(self):
        self.table = mt.Parameter(np.ones((len(sizes), 2000)))  # a matrix: minitrain does not decay vectors


measured = {}
for name, kind in {"Adam with L2": mt.Adam, "AdamW": mt.AdamW}.items():
    weights = Weights()
    optimizer = kind(weights, lr, betas=(0.9, 0.99), weight_decay=decay)
    for _ in range(steps):
        optimizer.zero_grad()
        weights.table.grad[...] = sizes[:, None] * rng.standard_normal(weights.table.data.shape)
        optimizer.step()
    measured[name] = -np.log(weights.table.data.mean(axis=1)) / (lr * steps)

figure, axes = plt.subplots(figsize=(7.5, 4.2))
for name, color in [("Adam with L2", RED), ("AdamW", BLUE)]:
    axes.loglog(sizes, measured[name], "o", color=color, label=f"{name}, measured")
theory = decay / np.sqrt(sizes**2 + decay**2)
axes.loglog(sizes, theory, "--", color=RED, label=r"$\lambda / \sqrt{s^2 + \lambda^2 w^2}$")
axes.axhline(decay, color=BLUE, linestyle="--", label=r"$\lambda$")
axes.set(xlabel="size s of a weight's gradients", ylabel="measured decay", ylim=(3e-3, 3))
axes.legend(loc="lower left")
plt.show()
middle = int(np.argmin(abs(sizes - 1)))

# %% [markdown]
# With AdamW all weights decay alike, by {{ np.median(measured["AdamW"]):.3f | 0.1 ± 0.005 }}. With L2, weights with
# tiny gradients decay ten times as fast, and those with gradients of size 1 by
# {{ measured["Adam with L2"][middle]:.3f | 0.1 ± 0.015 }}, which is right only because $s = 1$ there. At $s = 10$ it
# is a tenth. So a setting of $\lambda$ means something else for each weight, and something else again if the loss is
# multiplied by a factor. That is the reason for the W.
#
# In minitrain, `Adam(weight_decay=...)` is the L2 penalty, and `AdamW` the decoupled decay. Both leave biases and the
# weights of norms alone.
#
# ## Signs and rotations: Lion and Muon
#
# *Lion* (Chen et al., 2023) keeps one running mean instead of two, and only looks at signs: $w \leftarrow w -
# \text{lr} \cdot \operatorname{sign}(\beta_1 m + (1 - \beta_1)\, g)$. Every weight moves by exactly the rate. It
# needs half of Adam's memory. The rate must be smaller than Adam's, since no step is ever short.
#
# *Muon* (Jordan et al., 2024) looks at a whole matrix. Write its momentum as $b = U S V^\top$, the singular value
# decomposition: $b$ is a sum of directions, each with a *singular value* in $S$ for its strength (notebook 4). Usually
# a few directions have nearly all of the strength. Muon sets all of them to about 1: the step is nearly $U V^\top$. A
# turn of the coordinates changes nothing, unlike for Adam. Take the gradient of the small GPT's first feed-forward
# matrix, and see what each method makes of it.

# %%
model = mt.GPT(mt.GPTConfig(len(letters), block_size=T, n_layer=1, n_head=2, n_embd=32, tie_weights=False))
_, cache = model.loss(validation)
model.loss_backward(cache)
gradient = dict(model.named_parameters())["blocks.0.feed_forward.up.weight"].grad
directions = {
    "gradient (SGD)": (gradient, BLUE),
    "signs (Lion; Adam's first step)": (np.sign(gradient), YELLOW),
    "orthogonal (Muon)": (newton_schulz(gradient), PURPLE),
}
figure, axes = plt.subplots(figsize=(7.5, 4))
strength = {}
for name, (matrix, color) in directions.items():
    strength[name] = np.linalg.svd(matrix, compute_uv=False)
    axes.semilogy(strength[name] / strength[name][0], "o-", markersize=4, color=color, label=name)
axes.set(xlabel="direction, sorted by strength", ylabel="singular value / the largest", ylim=(1e-3, 1.6))
axes.legend(loc="lower left")
plt.show()
flat = strength["orthogonal (Muon)"][:-1]

# %% [markdown]
# A step along the gradient of this ({{ gradient.shape[0] }}, {{ gradient.shape[1] }}) matrix mainly changes a few
# directions. Half of the directions have less than {{ np.median(strength["gradient (SGD)"]) /
# strength["gradient (SGD)"][0]:.2f | ≤ 0.2 }} of the strongest one's strength. Muon's step has all of them: singular
# values from {{ flat.min():.2f | 0.7 ± 0.15 }} to {{ flat.max():.2f | 1.15 ± 0.1 }}. All but one: the inputs come
# from a layer norm, which takes out their mean. So the direction $(1, 1, \dots, 1)$ never occurs, and its gradient
# is zero. An exact decomposition would be slow. A polynomial of the matrix, applied five times, brings all singular
# values near 1 (`newton_schulz`), and that is good enough.
#
# ## Three surfaces, six optimizers
#
# Now all together: the bowl, Rosenbrock's curved valley $(1 - x)^2 + 100\,(y - x^2)^2$, and a saddle, where the walk
# starts almost exactly on the ridge, at $y = 10^{-6}$. Comparing optimizers at one rate would be unfair. Each gets
# the best of 20 rates, from 0.0001 to 1, on each surface: the one with the lowest mean value over the second half of
# the walk. (Muon is missing: it needs matrices.) **Predict:** who leaves the saddle first?


# %%
def rosenbrock(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def rosenbrock_gradient(p):
    return np.array([-2 * (1 - p[0]) - 400 * p[0] * (p[1] - p[0] ** 2), 200 * (p[1] - p[0] ** 2)])


def saddle(p):
    return p[0] ** 2 / 2 - p[1] ** 2 / 2 + p[1] ** 4 / 4


def saddle_gradient(p):
    return np.array([p[0], -p[1] + p[1] ** 3])


surfaces = {  # function, gradient, start, steps
    "bowl": (bowl, bowl_gradient, (-9, 1.5), 40),
    "Rosenbrock": (rosenbrock, rosenbrock_gradient, (-1.2, 1.0), 150),
    "saddle": (saddle, saddle_gradient, (1.2, 1e-6), 50),
}
frames = {  # the part of the plane to draw, contours, minima
    "bowl": ((-10, 4, -4, 4), np.logspace(-0.5, 2.5, 9), [(0, 0)]),
    "Rosenbrock": ((-1.7, 1.7, -0.8, 2), np.logspace(-1, 3, 9), [(1, 1)]),
    "saddle": ((-1.4, 1.4, -1.5, 1.5), np.linspace(-0.25, 1, 14), [(0, 1), (0, -1)]),
}
optimizers = {
    "SGD": lambda m, lr: mt.SGD(m, lr),
    "momentum": lambda m, lr: mt.SGD(m, lr, momentum=0.9),
    "Nesterov": lambda m, lr: mt.SGD(m, lr, momentum=0.9, nesterov=True),
    "RMSprop": lambda m, lr: RMSprop(m, lr, alpha=0.9),
    "Adam": lambda m, lr: mt.Adam(m, lr),
    "Lion": lambda m, lr: Lion(m, lr),
}


def best_walk(make, f, gradient, start, steps):
    walks = {}
    with np.errstate(over="ignore", invalid="ignore"):  # rates that are too high end in infinity
        for lr in np.logspace(-4, 0, 20):
            path = walk(lambda m, lr=lr: make(m, lr), gradient, start, steps)
            value = f(path.T)[steps // 2 :].mean()
            if np.isfinite(value):
                walks[value] = (lr, path)
    return walks[min(walks)]


figure, grid = plt.subplots(3, 6, figsize=(14, 7))
paths = {}
for row, (surface, (f, gradient, start, steps)) in zip(grid, surfaces.items(), strict=True):
    part, levels, goals = frames[surface]
    for axes, (name, make) in zip(row, optimizers.items(), strict=True):
        lr, path = best_walk(make, f, gradient, start, steps)
        paths[surface, name] = path
        draw_surface(axes, f, part[:2], part[2:], levels)
        axes.plot(*path.T, color=RED, linewidth=0.8)
        axes.scatter(*path.T, c=np.arange(steps + 1), cmap="viridis", s=7, zorder=3)
        axes.plot(*np.transpose(goals), "*", color=GREEN, markersize=11, zorder=4)
        axes.set_title(f"{name}, rate {lr:.2g}\nf = {f(path[-1]):.3g} after {steps} steps", fontsize=9)
        axes.set(xlabel="", ylabel=surface if axes is row[0] else "", xticks=[], yticks=[])
plt.show()
leaves = {name: int(np.argmax(abs(paths["saddle", name][:, 1]) > 0.5)) for name in optimizers}

# %% [markdown]
# Dots are steps, from dark to bright. On the bowl, momentum overshoots and swings back. In Rosenbrock's valley plain
# SGD crawls: the walls allow only a tiny rate. On the saddle, the gradient along $y$ is $10^{-6}$ at first. SGD
# makes it grow by a constant factor, so it takes {{ leaves["SGD"] | 20 ± 8 }} steps to come to $|y| = 0.5$. Adam
# divides that tiny gradient by its own size, and is there after {{ leaves["Adam"] | ≤ 9 }}; Lion after {{
# leaves["Lion"] | ≤ 9 }}. But Lion cannot make short steps: it ends up hopping around the goal, at the distance of
# its rate. It needs a rate that decays.
#
# Do not learn from such surfaces who is *best*. They have two numbers and no noise. A network's loss has neither
# property.
#
# ## The same on the small GPT
#
# The rule for a fair race: everybody gets the same steps, the same schedule (later more of it), and *a tuned rate*.
# Seven optimizers, four rates each, a factor of 3 apart. (New is Adafactor. It is like RMSprop, but of a matrix it only
# keeps the mean squares of rows and columns, which needs far less memory.)

# %%
contestants = {
    "SGD": (0.9, lambda m: mt.SGD(m), BLUE),
    "momentum": (0.81, lambda m: mt.SGD(m, momentum=0.9), RED),
    "RMSprop": (0.009, lambda m: RMSprop(m, alpha=0.95), GREEN),
    "Adafactor": (0.027, lambda m: Adafactor(m, relative_step=False), GREY),
    "AdamW": (0.027, lambda m: mt.AdamW(m, betas=(0.9, 0.95)), YELLOW),
    "Lion": (0.0243, lambda m: Lion(m), "#00798c"),
    "Muon": (0.27, lambda m: Muon(m, weight_decay=0.01), PURPLE),
}
tuning = {}
with np.errstate(over="ignore", invalid="ignore"):  # a rate may be too high
    for name, (highest, make, _) in contestants.items():
        for lr in highest / 3.0 ** np.arange(4):
            tuning[name, lr] = train(make, mt.WarmupCosine(lr, warmup_steps=10, total_steps=100))

# %% [markdown]
# Then two more seeds at the best rate of each. A seed changes the initial weights and the order of the text. Without
# it you cannot know whether a difference is more than luck.

# %%
best, band, final = {}, {}, {}
for name, (highest, make, _) in contestants.items():
    best[name] = lr = min(highest / 3.0 ** np.arange(4), key=lambda lr: tuning[name, lr][2])
    runs = [tuning[name, lr]]
    runs += [train(make, mt.WarmupCosine(lr, warmup_steps=10, total_steps=100), seed=seed) for seed in (1, 2)]
    band[name] = np.array([losses for losses, _, _ in runs])
    final[name] = np.array([loss for _, _, loss in runs])

figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.8))
for name, (highest, _, color) in contestants.items():
    lrs = highest / 3.0 ** np.arange(4)
    scores = np.array([tuning[name, lr][2] for lr in lrs])
    left.semilogx(lrs, scores, "o-", color=color, label=name)
    left.plot(lrs[scores == np.inf], 2.95 * np.ones((scores == np.inf).sum()), "x", color=color, markersize=9)
    smooth = np.array([np.convolve(losses, np.ones(9) / 9, "valid") for losses in band[name]])
    right.plot(np.arange(4, 96), smooth.mean(axis=0), color=color)
    right.fill_between(np.arange(4, 96), smooth.min(axis=0), smooth.max(axis=0), color=color, alpha=0.2)
left.set(xlabel="highest learning rate", ylabel="loss on held-out text after 100 steps", ylim=(2.3, 3.1))
left.set_title("tuning, seed 0")
left.legend(fontsize=9, loc="upper right", ncols=4)
right.set(xlabel="step", ylabel="training loss, mean of 9 steps", ylim=(2.2, 3.2))
right.set_title("the best rate: mean and range of three seeds")
plt.show()
print("held-out loss, mean of three seeds ± half of their range")
for name in sorted(final, key=lambda name: final[name].mean()):
    print(f"  {name:10} {final[name].mean():.3f} ± {np.ptp(final[name]) / 2:.3f}  at {best[name]:.2g}")
apart = max(final[name].mean() for name in final) - min(final[name].mean() for name in final)
spread = max(tuning["AdamW", lr][2] for lr in 0.027 / 3.0 ** np.arange(4)) - final["AdamW"].mean()

# %% [markdown]
# Look at the left picture first (a cross is a run that diverged; points above 3.1 are not drawn). A wrong rate costs
# AdamW {{ spread:.2f | ≥ 0.1 }} nats, more than the whole distance between the best and the worst of the seven at
# their best rates, {{ apart:.2f | ≤ 0.2 }}. So a comparison in which one method got a sweep and the other a default
# shows nothing. And the good rates lie far apart: {{ best["SGD"]:.2g }} for SGD, {{ best["AdamW"]:.2g }} for AdamW,
# {{ best["Lion"]:.2g }} for Lion.
#
# Then the right one. Muon ends lowest, at {{ final["Muon"].mean():.2f | 2.34 ± 0.06 }}. Momentum comes to
# {{ final["momentum"].mean():.2f | 2.4 ± 0.06 }}, AdamW to {{ final["AdamW"].mean():.2f | 2.42 ± 0.06 }}, plain SGD
# to {{ final["SGD"].mean():.2f | 2.43 ± 0.06 }}. Several bands overlap: with three seeds nobody can rank those.
#
# Are you surprised that SGD does so well? This is one block, 27 letters and a hundred steps. On language models of
# the usual size, with many layers and tens of thousands of tokens, most of them rare, SGD falls far behind Adam
# (Kunstner et al., 2024). A race on a toy does not transfer by itself. The *method* does: tune everybody, use seeds,
# show the range.

# %% tags=["hidden"]
assert final["Muon"].max() < final["AdamW"].min()
assert hats["without"] > hats["with hats"]

# %% [markdown]
# ## Schedules
#
# The best rate at the start is not the best at the end. Far from the minimum, long steps save time. Near it, they
# only stir up noise: SGD with a constant rate does not come to rest, it hovers. So the rate falls, and before that
# it usually rises for a short while, the *warm-up*. minitrain's schedules are functions: `schedule(step)` is the
# rate of update `step`, counted from 0. In a notebook, a schedule draws itself.

# %%
mt.WarmupCosine(0.02, warmup_steps=10, total_steps=100)

# %% [markdown]
# Which shape is best for 100 steps of our GPT? Guess, and then look at the losses above the plots.

# %%
schedules = {
    "constant": mt.Constant(0.02),
    "warm-up, cosine": mt.WarmupCosine(0.02, warmup_steps=10, total_steps=100),
    "warm-up, stable, decay": WarmupStableDecay(0.02, warmup_steps=10, decay_steps=30, total_steps=100),
    "one cycle": OneCycle(0.02, total_steps=100),
    "inverse root": InverseSqrt(0.02, 10),
}
figure, panels = plt.subplots(1, 5, figsize=(14, 2.8), sharey=True)
by_schedule = {}
for axes, (name, schedule) in zip(panels, schedules.items(), strict=True):
    scores = [train(contestants["AdamW"][1], schedule, seed=seed)[2] for seed in (0, 1)]
    by_schedule[name] = np.mean(scores)
    axes.plot([schedule(step) for step in range(100)], color=BLUE)
    axes.fill_between(range(100), [schedule(step) for step in range(100)], color=BLUE, alpha=0.1)
    axes.set_title(f"{name}\nheld-out loss {np.mean(scores):.3f}", fontsize=9)
    axes.set(xlabel="step")
panels[0].set_ylabel("learning rate")
plt.show()

# %% [markdown]
# (Means of two seeds.) The constant rate ends worst, at {{ by_schedule["constant"]:.2f | 2.5 ± 0.1 }}. Cosine comes
# to {{ by_schedule["warm-up, cosine"]:.2f | 2.43 ± 0.08 }}. That the rate falls matters more than the shape of the
# fall. The third one, *warm-up, stable, decay*, has a practical merit: until the decay begins, you need not know how
# long you will train.
#
# **Exercise 3.** Write the most common schedule, cosine with warm-up. The convention is minitrain's:
#
# - during the warm-up, update `step` has the rate `max_lr * (step + 1) / (warmup + 1)`, so the first rate is not
#   zero;
# - from update `warmup` on, half a cosine wave goes from `max_lr` down to `min_lr` at update `total`;
# - after that the rate stays at `min_lr`.
#
# The check asks for all rates of 0 to 59, with `max_lr=1`, `min_lr=0.1`, `warmup=10` and `total=50`.
#
# <details markdown><summary>Hint</summary>
#
# $\frac12 (1 + \cos \pi p)$ falls from 1 to 0 while the progress $p$ goes from 0 to 1. What is $p$ at update
# `warmup`, and at `total`?
#
# </details>


# %%
def rates_of(schedule):
    def rates():
        found = [schedule(step, 1.0, 0.1, 10, 50) for step in range(60)]
        return None if None in found else np.array(found)

    return rates


# %% tags=["folded"]
cosine_exercise = Exercise(
    "cosine_with_warmup",
    reference=rates_of(lambda step, high, low, warmup, total: mt.WarmupCosine(high, low, warmup, total)(step)),
    hints=[
        "Two cases: step < warmup, and the rest. In the rest, compute the progress p first.",
        "p = min(1, (step - warmup) / (total - warmup)).",
        "return min_lr + 0.5 * (1 + math.cos(math.pi * p)) * (max_lr - min_lr)",
    ],
    advice={
        "element (0,)": "The first update must have a rate of 1/11: (step + 1) / (warmup + 1).",
        "element (50,)": "Look at the end: at update total the wave is done, and the rate is min_lr.",
        "element (59,)": "After total the wave must not rise again: the progress is at most 1.",
        "element (10,)": "Update warmup is the first with the full rate. The wave starts there, so its progress is 0.",
    },
)

# %% tags=["exercise"]
import math


def cosine_with_warmup(step, max_lr, min_lr, warmup, total): ...  # your turn


cosine_exercise.check(rates_of(cosine_with_warmup))

# %% tags=["solution"]
import math


def cosine_with_warmup(step, max_lr, min_lr, warmup, total):
    if step < warmup:
        return max_lr * (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / (total - warmup))
    return min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (max_lr - min_lr)


cosine_exercise.check(rates_of(cosine_with_warmup))


# %% tags=["hidden"]
def wrong_cosine(change):
    def schedule(step, high, low, warmup, total):
        if step < warmup:
            return high * (step / warmup if change == "zero" else (step + 1) / (warmup + 1))
        progress = (step - warmup) / (total - warmup)
        if change == "whole":
            progress = step / total
        if change != "rises":
            progress = min(1.0, progress)
        floor = 0.0 if change == "no floor" else low
        return floor + 0.5 * (1 + math.cos(math.pi * progress)) * (high - floor)

    return rates_of(schedule)


cosine_exercise.expect(wrong_cosine("zero"), "must have a rate of 1/11")
cosine_exercise.expect(wrong_cosine("no floor"), "is done")
cosine_exercise.expect(wrong_cosine("rises"), "rise again")
cosine_exercise.expect(wrong_cosine("whole"), "the reference has")
cosine_exercise.expect(rates_of(lambda *given: None), "not written yet")

# %% [markdown]
# ## Without warm-up
#
# At $t = 1$, $\hat m / \sqrt{\hat v} = \pm 1$. So Adam's first step moves *every* weight by the full rate, in a
# direction that comes from a single noisy batch. A warm-up makes these first steps short. **Predict:** does it matter
# at low rates? At high ones?

# %%
warm = {}
for warmup in (0, 20):
    for lr in (0.003, 0.01, 0.03, 0.1):
        schedule = mt.WarmupCosine(lr, warmup_steps=warmup, total_steps=100)
        warm[warmup, lr] = [train(contestants["AdamW"][1], schedule, seed=seed) for seed in (0, 1)]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for warmup, color in [(0, RED), (20, BLUE)]:
    name = f"{warmup} steps of warm-up" if warmup else "no warm-up"
    for i, (losses, _, _) in enumerate(warm[warmup, 0.1]):
        left.plot(losses[:50], color=color, alpha=1 - 0.5 * i, label=name if i == 0 else None)
    lrs = sorted({lr for _, lr in warm})
    scores = np.array([[run[2] for run in warm[warmup, lr]] for lr in lrs])
    right.semilogx(lrs, scores.mean(axis=1), "o-", color=color, label=name)
    right.fill_between(lrs, scores.min(axis=1), scores.max(axis=1), color=color, alpha=0.15)
left.axhline(np.log(27), color=GREY, linestyle=":", label="guessing, ln 27")
left.set(xlabel="step", ylabel="training loss (nats per letter)", title="rate 0.1, two seeds")
left.legend()
right.set(xlabel="highest rate", ylabel="held-out loss after 100 steps", title="mean and range of two seeds")
right.legend()
plt.show()
peak = {warmup: max(run[0][:20].max() for run in warm[warmup, 0.1]) for warmup in (0, 20)}
cost = {lr: np.mean([run[2] for run in warm[0, lr]]) - np.mean([run[2] for run in warm[20, lr]]) for lr in lrs}

# %% [markdown]
# At the rate 0.1, without warm-up, the loss jumps to {{ peak[0]:.1f | ≥ 3.6 }} in the first steps, far above
# guessing. The model has become *confident and wrong*. With warm-up the first steps go down smoothly. It stumbles a
# little later, when the rate has grown to about 0.03, and less: to {{ peak[20]:.1f | ≤ 4 }}. At the end of the run,
# warm-up has gained {{ cost[0.1]:.2f | ≥ 0.02 }} nats at the rate 0.1, {{ cost[0.01]:.2f | 0.04 ± 0.07 }} at 0.01 and
# {{ round(cost[0.003], 2) + 0.0:.2f | 0.0 ± 0.06 }} at 0.003. A warm-up is insurance: it costs nearly nothing, and
# it is worth the more the higher the rate. It does not make a rate good that is too high: even with it, 0.1 is much
# worse than 0.01.
#
# ## Clipping
#
# One bad batch can undo an hour. Here step 60 gets a damaged batch: spaces only, and the right answer is always "q".
# Its gradient is many times as long as usual. *Clipping* limits its norm: if $\lVert g \rVert > c$, use $c\, g /
# \lVert g \rVert$, the same direction, and a length of $c$ (Pascanu et al., 2013). **Predict:** who suffers more
# without it, momentum or Adam?


# %%
def with_a_bad_batch(step, loader):
    batch = loader.batch(step)
    if step != 60:
        return batch
    return Batch(np.full_like(batch.inputs, letters.index(" ")), np.full_like(batch.targets, letters.index("q")))


figure, panels = plt.subplots(1, 2, figsize=(12, 4), sharey=True)
spike, jump = {}, {}
for axes, (name, make, lr) in zip(
    panels, [("momentum", contestants["momentum"][1], 0.1), ("AdamW", contestants["AdamW"][1], 0.01)], strict=True
):
    for max_norm, color in [(None, RED), (1.0, BLUE)]:
        losses, norms, end = train(make, mt.Constant(lr, 10), max_norm=max_norm, batches=with_a_bad_batch)
        spike[name, max_norm] = losses[61:81].mean() - losses[50:60].mean()
        label = "clipped to norm 1" if max_norm else "not clipped"
        axes.plot(losses, color=color, label=f"{label}: {end:.2f} on held-out text")
    jump[name] = norms[60] / np.median(norms[40:60])
    axes.set(xlabel="step", title=f"{name}, a damaged batch at step 60")
    axes.legend()
panels[0].set_ylabel("training loss (nats per letter)")
plt.show()

# %% [markdown]
# Momentum: the gradient is {{ jump["momentum"]:.0f | ≥ 5 }} times as long as usual, so is the step, and the buffer
# repeats it with 0.9, 0.81, … of its length. In the 20 steps after the spike the loss is {{ spike["momentum",
# None]:.2f | ≥ 0.2 }} higher than before it. Clipped, it is {{ round(spike["momentum", 1.0], 2) + 0.0:.2f | 0.0 ±
# 0.15 }}. Adam is nearly immune here, clipped or not ({{ round(spike["AdamW", 1.0], 2) + 0.0:.2f | 0.0 ± 0.15 }} and
# {{ round(spike["AdamW", None], 2) + 0.0:.2f | 0.0 ± 0.2 }}): the spike enters $v$ as well as $m$, and $\sqrt{v}$
# divides it. With $\beta_2 = 0.95$ the moment $v$ also forgets it soon.
#
# Note the height of the spike itself: clipping cannot change it. The loss of a bad batch is measured before the
# update. Clipping protects the steps *after* it.
#
# ## Questions
#
# 1. The bowl's curvatures are 1 and 25. Somebody scales $y$ by 5 before training (`y = 5 * y_old`). Which condition
#    number does the new bowl have? What has that to do with normalising inputs?
# 2. With momentum 0.9, why should you divide a good rate of plain SGD by about ten, to begin with? On the small GPT
#    it was divided by less. Can you say why?
# 3. Adam does not change if the loss is multiplied by 1,000. Where does $\epsilon$ break that? What happens for a
#    loss that is multiplied by $10^{-9}$?
# 4. In AdamW the decay is multiplied by the rate, and a schedule changes the rate. How much does a weight decay in a
#    whole run with a cosine?
# 5. You want to know whether Lion beats AdamW on your model. You have time for 30 runs. How do you divide them?
#
# ## Further reading
#
# - Kingma and Ba, 2015, *Adam: a method for stochastic optimization*, arXiv:1412.6980.
# - Loshchilov and Hutter, 2019, *Decoupled weight decay regularization*, arXiv:1711.05101.
# - Kunstner et al., 2024, *Heavy-tailed class imbalance and why Adam outperforms gradient descent on language
#   models*, arXiv:2402.19449.
# - Goh, 2017, *Why momentum really works*, Distill: the bowl, with pictures to play with.
# - Chen et al., 2023, *Symbolic discovery of optimization algorithms* (Lion), arXiv:2302.06675.
# - Liu et al., 2025, *Muon is scalable for LLM training*, arXiv:2502.16982.
# - Pascanu, Mikolov and Bengio, 2013, *On the difficulty of training recurrent neural networks*, arXiv:1211.5063.
# - [Optimizers and schedules of minitrain](../api/optim.md): each formula is in the docstring.
# - The next notebook: [when training goes wrong](09_when_training_goes_wrong.md).
