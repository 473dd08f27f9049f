# %% [markdown]
# # 4. Normalisation
#
# After this notebook you can
#
# - derive the backward of layer norm in three ways, and write it in one line;
# - name the two directions that vanish in it, and say why;
# - say what RMS norm leaves out;
# - say what a norm does to a deep stack, and why it matters whether it stands before or after the addition.
#
# You need notebooks 1 to 3. It takes about 50 minutes.

# %%
import matplotlib.pyplot as plt
import numpy as np
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from sklearn.datasets import load_digits

from minitrain import check_gradients
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#7b4b94", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label
rng = np.random.default_rng(0)

# %% [markdown]
# ## Forty-eight small factors
#
# Take a stack of 48 layers, $x \leftarrow \max(x W^\top, 0)$: a matrix, and then each negative value becomes 0, which
# is called *ReLU*. The weights are random. Their size is chosen so that a layer keeps the size of its input in the
# mean: a standard deviation of $\sqrt{2/K}$ for $K$ inputs. The $1/K$ makes up for the sum of $K$ terms, and the 2 for
# the negative half that ReLU removes (He et al., 2015). Now let them be 10% too small or 10% too large. How large is
# the output of the last layer? Guess before you look.

# %%
width, depth = 64, 48
weights = [rng.standard_normal((width, width)) * np.sqrt(2 / width) for _ in range(depth)]


def sizes(factor, after=lambda x: x):
    """Root mean square of the values after each layer."""
    x, out = np.random.default_rng(1).standard_normal((100, width)), []
    for weight in weights:
        out.append(np.sqrt(np.mean(x**2)))
        x = after(np.maximum(factor * x @ weight.T, 0))
    return [*out, np.sqrt(np.mean(x**2))]


def simple_norm(x):
    return (x - x.mean(axis=-1, keepdims=True)) / x.std(axis=-1, keepdims=True)


figure, axes = plt.subplots(figsize=(7, 3.8))
for factor, color in [(1.1, RED), (1.0, GREEN), (0.9, BLUE)]:
    axes.semilogy(sizes(factor), color=color, label=f"weights times {factor}")
for factor, style in [(1.1, "-"), (0.9, "--")]:
    axes.semilogy(sizes(factor, simple_norm), style, color="black", label=f"times {factor}, a norm after each layer")
axes.set(xlabel="layer", ylabel="size of the values (root mean square)")
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# $1.1^{48}$ is {{ 1.1**48:.0f }}, and $0.9^{48}$ is {{ 0.9**48:.3f }}. In between lies a factor of
# {{ (1.1 / 0.9) ** 48:,.0f }}. Even the right factor drifts, because a random matrix is only right in the mean. And
# weights change in training. The black lines stay at 1: a *norm* resets the size after each layer, whatever the
# weights are. That is what it is for.
#
# ## Layer norm
#
# *Layer norm* takes one row $x$ of $C$ numbers, shifts it to mean 0 and scales it to variance 1. So it
# divides by the standard deviation $\sqrt v$, here *deviation* for short:
#
# $$\mu = \frac1C \sum_i x_i \qquad v = \frac1C \sum_i (x_i - \mu)^2 \qquad r = \frac{1}{\sqrt{v + \varepsilon}}
# \qquad \hat x_i = (x_i - \mu)\, r$$
#
# The small $\varepsilon$ avoids a division by 0. Each row is normalised by itself, so nothing depends on the rest of
# the batch. Afterwards a weight and a bias for each column follow, which are trained: $y_i = w_i \hat x_i + b_i$.


# %%
def normalise_forward(x, eps=1e-5):
    centred = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    xhat = centred * r
    return xhat, (xhat, r, centred)


# %% [markdown]
# With $C = 3$ one can see it. Each point below is a row of three numbers, and its color tells where it ends up.

# %%
cloud = rng.standard_normal((400, 3)) * [1.2, 0.8, 1.0] + [0.5, 0.5, 1.0]
centred = cloud - cloud.mean(axis=-1, keepdims=True)
circle = normalise_forward(cloud)[0]

across, up = np.array([1, -1, 0]) / np.sqrt(2), np.array([1, 1, -2]) / np.sqrt(6)
hue = np.arctan2(centred @ up, centred @ across)
figure = plt.figure(figsize=(13, 4))
for i, (points, title) in enumerate(
    [(cloud, "the rows $x$"), (centred, "minus the mean: a plane"), (circle, "divided by the deviation: a circle")]
):
    axes = figure.add_subplot(1, 3, i + 1, projection="3d")
    axes.scatter(*points.T, c=hue, cmap="twilight_shifted", s=9, depthshade=False)
    axes.plot([-2, 2], [-2, 2], [-2, 2], color="black", linewidth=1)
    axes.text(2.1, 2.1, 2.1, "(1, 1, 1)", fontsize=8)
    axes.set(xlim=(-3, 3), ylim=(-3, 3), zlim=(-3, 3), xlabel="$x_0$", ylabel="$x_1$", zlabel="$x_2$")
    axes.set(xticks=[-2, 0, 2], yticks=[-2, 0, 2], zticks=[-2, 0, 2])
    axes.set_title(title, fontsize=10, y=1.08)
    axes.set_box_aspect((1, 1, 1), zoom=1.25)
    axes.view_init(22, -20)
plt.show()

# %% [markdown]
# Subtracting the mean moves each point along the line $(1, 1, 1)$ into the plane where the three numbers add up to 0.
# Dividing by the deviation moves it in this plane, towards the centre or away from it, to a circle of radius
# $\sqrt 3$. Of three numbers one is left: the angle. In $C$ dimensions, $C - 2$ are left. Keep this picture in mind.
# It is the whole backward.
#
# ## First derivation: index by index
#
# $x_j$ acts on $\hat x_i$ in three ways: directly if $i = j$, through $\mu$, and through $r$. The product rule says
#
# $$\frac{\partial \hat x_i}{\partial x_j}
# = r \Big(\delta_{ij} - \frac{\partial \mu}{\partial x_j}\Big) + (x_i - \mu) \frac{\partial r}{\partial x_j}$$
#
# Piece by piece. $\partial \mu / \partial x_j = 1/C$. For the variance,
#
# $$\frac{\partial v}{\partial x_j} = \frac2C \sum_i (x_i - \mu)\Big(\delta_{ij} - \frac1C\Big) = \frac2C (x_j -
# \mu)$$
#
# because deviations from a mean add up to 0. And $r = (v + \varepsilon)^{-1/2}$ gives
# $\partial r / \partial x_j = -\frac12 r^3 \cdot \frac2C (x_j - \mu) = -\frac{r^2}{C} \hat x_j$. Together
#
# $$\frac{\partial \hat x_i}{\partial x_j} = r\Big(\delta_{ij} - \frac1C - \frac1C \hat x_i \hat x_j\Big)$$
#
# Multiply by $g_i$, the gradient with respect to $\hat x_i$, and sum over $i$. Two of the sums become means:
#
# $$\bar x_j = r \Big(g_j - \operatorname{mean}(g) - \hat x_j \operatorname{mean}(g\,\hat x)\Big)$$


# %%
def by_indices(g, cache):
    """With the whole Jacobian of each row, as it stands above."""
    xhat, r, _ = cache
    C = xhat.shape[-1]
    jacobian = r[..., None] * (np.eye(C) - 1 / C - xhat[..., :, None] * xhat[..., None, :] / C)
    return np.einsum("ni,nij->nj", g, jacobian)


# %% [markdown]
# ## Second derivation: two projections
#
# Now with the picture alone. Write $\mathbf 1$ for the row of ones.
#
# *Subtracting the mean* is a projection: $c = P x$ with $P = I - \frac1C \mathbf 1 \mathbf 1^\top$. It removes what
# points along $\mathbf 1$ and keeps the rest. It is linear and symmetric, so its backward is $P$ again.
#
# *Dividing by the deviation* sets the length to $\sqrt C$: $\hat x = \sqrt C\, c / \lVert c \rVert$ (with
# $\varepsilon = 0$). How does a direction $u = c / \lVert c \rVert$ change when $c$ moves a little? The part of the
# movement along $u$ changes the length only. The part across it turns the direction, the less the longer $c$ is:
#
# $$du = \frac{1}{\lVert c \rVert}\,(I - u u^\top)\, dc$$
#
# That is a projection again. Put both together, with $\sqrt C / \lVert c \rVert = r$ and
# $u u^\top = \frac1C \hat x \hat x^\top$:
#
# $$\bar x = r \Big(I - \tfrac1C \mathbf 1 \mathbf 1^\top\Big)\Big(I - \tfrac1C \hat x \hat x^\top\Big)\, g$$
#
# The same formula: $\hat x$ has mean 0, so $\mathbf 1^\top \hat x = 0$, and when the brackets are multiplied out, the
# product of the two fractions vanishes. No index was needed.


# %%
def by_projections(g, cache):
    xhat, r, _ = cache
    g = g - xhat * (g * xhat).mean(axis=-1, keepdims=True)  # remove what points along xhat
    g = g - g.mean(axis=-1, keepdims=True)  # remove what points along (1, ..., 1)
    return r * g


# %% [markdown]
# ## Third derivation: node by node
#
# And as a machine would do it. The forward is a graph of five steps. Go through it backwards, as in notebook 1, with
# one line for each step. The mean and the variance are sums over the row, so their backwards hand out one number to
# all its elements. Take care: $c$ is used twice.
#
# A bar means "the gradient of the loss with respect to".
#
# | forward | backward |
# |---|---|
# | $\hat x = c\, r$ | $\bar c = \bar{\hat x}\, r$ and $\bar r = \sum \bar{\hat x}\, c$ |
# | $r = (v + \varepsilon)^{-1/2}$ | $\bar v = \;?$ |
# | $v = \operatorname{mean}(c^2)$ | $\bar c \;\text{+=}\; \;?$ |
# | $c = x - \mu$ | $\bar x = \bar c$ and $\bar \mu = \;?$ |
# | $\mu = \operatorname{mean}(x)$ | $\bar x \;\text{+=}\; \;?$ |
#
# **Exercise 1.** Fill in the four gaps. In the code, $\bar c$ is `dc`.
#
# <details markdown><summary>Hint</summary>
#
# The derivative of $(v + \varepsilon)^{-1/2}$ is $-\frac12 (v + \varepsilon)^{-3/2} = -\frac12 r^3$. That of
# $\frac1C \sum c_i^2$ with respect to one $c_i$ is $\frac2C c_i$. And $\mu$ is subtracted from every element.
#
# </details>

# %% tags=["folded"]
nodes = Exercise(
    "by_nodes",
    forward=normalise_forward,
    inputs={"x": (4, 6)},
    hints=[
        "dv = dr times the slope of (v + eps)**(-1/2), written with r.",
        "dv = -0.5 * r**3 * dr; then c gets a second share, dv * 2 * c / C.",
        "dmu = -dc.sum(axis=-1, keepdims=True), and x gets dmu / C besides dc.",
    ],
    advice={
        "the same all along axis 1 (a sum or a mean that": "A share of the mean is missing: dmu sums over the row, and "
        "x gets dmu / C.",
        "the output times a factor": "Look at the path through the variance: dr, dv, and the second share of dc.",
    },
)


# %% tags=["exercise"]
def by_nodes(g, cache):
    xhat, r, c = cache
    C = c.shape[-1]
    dc = g * r
    dr = (g * c).sum(axis=-1, keepdims=True)
    # your turn: remove the # and fill in what is missing
    # dv = ...
    # dc = dc + ...
    # dmu = ...
    # return dc + ...


nodes.check(by_nodes)


# %% tags=["solution"]
def by_nodes(g, cache):
    xhat, r, c = cache
    C = c.shape[-1]
    dc = g * r
    dr = (g * c).sum(axis=-1, keepdims=True)
    dv = -0.5 * r**3 * dr
    dc = dc + dv * 2 * c / C
    dmu = -dc.sum(axis=-1, keepdims=True)
    return dc + dmu / C


nodes.check(by_nodes)


# %% tags=["hidden"]
def _nodes(half=-0.5, add=1.0, mean=1.0):
    def answer(g, cache):
        _, r, c = cache
        C = c.shape[-1]
        dv = half * r**3 * (g * c).sum(axis=-1, keepdims=True)
        dc = add * g * r + dv * 2 * c / C
        return dc - mean * dc.sum(axis=-1, keepdims=True) / C

    return answer


nodes.expect(_nodes(mean=0.0), "A share of the mean")
nodes.expect(_nodes(half=0.5), "through the variance")
nodes.expect(_nodes(half=-1.0), "through the variance")
nodes.expect(_nodes(half=0.0), "through the variance")
nodes.expect(_nodes(add=0.0), "24 of 24 elements are wrong")

# %% [markdown]
# Three ways, one gradient:

# %%
x, g = rng.standard_normal((5, 8)), rng.standard_normal((5, 8))
_, cache = normalise_forward(x)
for way in [by_indices, by_projections, by_nodes]:
    report = check_gradients((normalise_forward, way), x)
    print(f"{way.__name__:15} first element {way(g, cache)[0, 0]:.12f}   worst relative error {report.worst:.0e}")

# %% tags=["hidden"]
np.testing.assert_allclose(by_indices(g, cache), by_projections(g, cache), atol=1e-12)
np.testing.assert_allclose(by_indices(g, cache), by_nodes(g, cache), atol=1e-12)

# %% [markdown]
# They are different at work. The first needs $C^2$ numbers for each row. The third goes over the row about ten times.
# The second needs two means, and it is what minitrain computes.
#
# **Exercise 2.** Now the whole operation, with weight and bias: $y = w \hat x + b$. Write its backward. Start with
# $g$, the gradient with respect to $\hat x$.


# %%
def layer_norm_forward(x, weight, bias):
    xhat, (_, r, _) = normalise_forward(x)
    return xhat * weight + bias, (xhat, r, weight)


# %% tags=["folded"]
whole = Exercise(
    "layer_norm_backward",
    forward=layer_norm_forward,
    inputs={"x": (4, 6), "weight": (6,), "bias": (6,)},
    hints=[
        "Return dx, dweight, dbias. In dx, g = dout * weight takes the place of dout.",
        "dx = r * (g - mean(g) - xhat * mean(g * xhat)), the means over the last axis with keepdims=True.",
        "dweight = (dout * xhat).sum(axis=0), dbias = dout.sum(axis=0): both are used in each row.",
    ],
    advice={
        "has shape (4, 6), but": "Weight and bias are used in each row. Uses add up: sum over the rows.",
        "0.25 times": "Uses add up. Nothing divides by the number of rows.",
        "the same all along axis 1": "The gradient of a row of x adds up to 0. Which mean makes it so?",
        "right: weight, bias": "dweight and dbias are right. Compare dx with the formula: it has two means, of g and "
        "of g * xhat, one of each for each row (axis=-1, keepdims=True), and g is dout * weight.",
        "divided by the input weight": "dweight and dbias need dout as it is. Only dx passes the weight.",
        "wrong axes": "Weight and bias are used in each row: sum over the rows, axis 0.",
        "ValueError": "A mean is one number for each row. keepdims=True keeps its axis.",
    },
)


# %% tags=["exercise"]
def layer_norm_backward(dout, cache):
    xhat, r, weight = cache
    ...  # your turn


whole.check(layer_norm_backward)


# %% tags=["solution"]
def layer_norm_backward(dout, cache):
    xhat, r, weight = cache
    g = dout * weight
    dx = r * (g - g.mean(axis=-1, keepdims=True) - xhat * (g * xhat).mean(axis=-1, keepdims=True))
    return dx, (dout * xhat).sum(axis=0), dout.sum(axis=0)


whole.check(layer_norm_backward)


# %% tags=["hidden"]
def _layer_norm(mean=1.0, along=1.0, weighted=True, rows=np.sum):
    def answer(dout, cache):
        xhat, r, weight = cache
        g = dout * weight if weighted else dout
        first, second = g.mean(axis=-1, keepdims=True), xhat * (g * xhat).mean(axis=-1, keepdims=True)
        return r * (g - mean * first - along * second), rows(dout * xhat, axis=0), rows(dout, axis=0)

    return answer


whole.expect(_layer_norm(mean=0.0), "Which mean makes it so")
whole.expect(_layer_norm(along=0.0), "it has two means")
whole.expect(_layer_norm(weighted=False), "g is dout * weight")
whole.expect(_layer_norm(rows=np.mean), "Nothing divides")
whole.expect(_layer_norm(rows=lambda a, axis: a), "sum over the rows")
whole.expect(_layer_norm(rows=lambda a, axis: a.sum(axis=1)), "axis 0")
whole.expect(lambda dout, cache: layer_norm_backward(dout * cache[2], (*cache[:2], 1.0)), "dout as it is")

# %% [markdown]
# ## The two directions that vanish
#
# Add a constant to a row, or multiply the row by a positive number: $\hat x$ stays the same. Where the output does not
# change, the slope is 0. So the gradient has no part along $\mathbf 1$ and none along $\hat x$, whatever `dout` is.
# Test it with numbers. Why is the last one not quite 0? (`1e-05` means $10^{-5}$.)

# %%
row = rng.standard_normal((1, 8))
row = (row - row.mean()) / row.std()  # a deviation of 1: then a change of 1 is easy to judge
xhat, cache = normalise_forward(row)
print(f"shift by 100: output changes by {abs(normalise_forward(row + 100)[0] - xhat).max():.0e}")
print(f"scale by 100: output changes by {abs(normalise_forward(row * 100)[0] - xhat).max():.0e}")

dx = by_projections(rng.standard_normal((1, 8)), cache)
along_ones, along_xhat = dx.sum() / np.sqrt(8), (dx * xhat).sum() / np.linalg.norm(xhat)
print(f"length of the gradient {np.linalg.norm(dx):.3f}")
print(f"part along 1           {along_ones:.0e}")
print(f"part along xhat        {along_xhat:.0e}")

# %% tags=["hidden"]
assert abs(along_ones) < 1e-12 and 1e-8 < abs(along_xhat) < 1e-4

# %% [markdown]
# Scaling changes a tiny bit because of $\varepsilon$: a row with a small deviation is divided by slightly too much.
#
# In three dimensions we can draw it. On the left: all rows with the same output form a half plane, which the line
# $(1, 1, 1)$ bounds. The gradient has to stand across it. On the right: 30 random `dout` at one point of the circle
# (grey), and what the backward makes of each (red).

# %%
angle = -1.13
at = np.sqrt(3) * (np.cos(angle) * across + np.sin(angle) * up)[None]  # a point of the circle
cache = normalise_forward(at, eps=0.0)[1]
douts = rng.standard_normal((30, 3))
tangents = np.concatenate([by_projections(d[None], cache) for d in douts]) / cache[1]  # without the factor r
angles = np.linspace(0, 2 * np.pi, 100)
ring = np.sqrt(3) * (np.cos(angles)[:, None] * across + np.sin(angles)[:, None] * up)

figure = plt.figure(figsize=(11, 4.8))
left, right = (figure.add_subplot(1, 2, i + 1, projection="3d") for i in range(2))
corners = np.array([[-1.4, 0], [1.4, 0], [1.4, 1.2], [-1.4, 1.2]]) @ np.stack([np.ones(3), at[0]])
left.add_collection3d(Poly3DCollection([corners], color=BLUE, alpha=0.2))
for shift, scale in [(0, 1), (0.9, 0.6), (0.2, 0.35), (-0.9, 0.9)]:
    start = shift * np.ones(3) + scale * at[0]
    slope = by_projections(douts[:1], normalise_forward(start[None], eps=0.0)[1])[0]
    left.scatter(*start, color=BLUE, s=25)
    left.quiver(*start, *(0.6 * slope), color=RED, linewidth=2)
left.set_title("one output, many rows: the gradient stands across", fontsize=10, y=1.1)
right.scatter(*at.T, color=BLUE, s=40)
right.quiver(*np.repeat(at, 30, axis=0).T, *(0.6 * douts).T, color=GREY, alpha=0.5, linewidth=1)
right.quiver(*np.repeat(at, 30, axis=0).T, *(0.6 * tangents).T, color=RED, linewidth=2)
right.set_title("any dout, one direction: along the circle", fontsize=10, y=1.1)
for axes in (left, right):
    axes.plot(*ring.T, color=PURPLE)
    axes.plot([-2, 2], [-2, 2], [-2, 2], color="black", linewidth=1)
    axes.text(2.1, 2.1, 2.1, "(1, 1, 1)", fontsize=8)
    axes.set(xlim=(-2, 2), ylim=(-2, 2), zlim=(-2, 2), xlabel="$x_0$", ylabel="$x_1$", zlabel="$x_2$")
    axes.set(xticks=[-2, 0, 2], yticks=[-2, 0, 2], zticks=[-2, 0, 2])
    axes.set_proj_type("ortho")
    axes.set_box_aspect((1, 1, 1), zoom=1.1)
    axes.view_init(22, -20)
plt.show()

# %% [markdown]
# On the right all red arrows lie on one line, the tangent of the circle. With $C = 3$ one direction is left of three.
#
# The arrows on the left differ in length. Rows near the line turn quickly, rows far from it slowly: that is the
# factor $r = 1/\sigma$. A row that is ten times as large gets a tenth of the gradient. So a norm keeps more than the
# values in check. If the weights in front of it have grown too large, their gradient becomes small, and the next step
# changes them less.
#
# ## RMS norm: without the mean
#
# *RMS norm* only divides by the root mean square: $\hat x = x\, r$ with $r = 1 / \sqrt{\operatorname{mean}(x^2) +
# \varepsilon}$. Llama and many later models use it. What becomes of the picture?

# %%
sphere = cloud / np.sqrt((cloud**2).mean(axis=-1, keepdims=True))
figure = plt.figure(figsize=(9, 4))
for i, (points, title) in enumerate([(circle, "layer norm"), (sphere, "RMS norm")]):
    axes = figure.add_subplot(1, 2, i + 1, projection="3d")
    axes.scatter(*points.T, c=hue, cmap="twilight_shifted", s=9, depthshade=False)
    axes.plot([-2, 2], [-2, 2], [-2, 2], color="black", linewidth=1)
    axes.text(2.1, 2.1, 2.1, "(1, 1, 1)", fontsize=8)
    axes.set(xlim=(-2, 2), ylim=(-2, 2), zlim=(-2, 2), xlabel="$x_0$", ylabel="$x_1$", zlabel="$x_2$")
    axes.set(xticks=[-2, 0, 2], yticks=[-2, 0, 2], zticks=[-2, 0, 2])
    axes.set_title(title, fontsize=10, y=1.08)
    axes.set_box_aspect((1, 1, 1), zoom=1.1)
    axes.view_init(22, -20)
plt.show()

# %% [markdown]
# Nothing is moved into the plane. The same rows land on a sphere, and most of them near $(1, 1, 1)$, because their
# mean is not 0. So the mean survives. Scaling still changes nothing, but shifting does.
#
# **Exercise 3.** Write the backward of RMS norm with a weight. You need no new derivation: which of the two
# projections is left?


# %%
def rms_norm_forward(x, weight):
    r = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)
    return x * r * weight, (x * r, r, weight)


# %% tags=["folded"]
rms = Exercise(
    "rms_norm_backward",
    forward=rms_norm_forward,
    inputs={"x": (4, 6), "weight": (6,)},
    hints=[
        "The output does not change if x is scaled. Which direction vanishes?",
        "Layer norm without one of its means, and without a bias. Return dx and dweight.",
        "g = dout * weight; dx = r * (g - xhat * (g * xhat).mean(axis=-1, keepdims=True))",
    ],
    advice={
        "3 gradients for 2": "There is no bias here: return dx and dweight.",
        "the same all along axis 1 (a sum or a mean that": "The mean of g comes from subtracting a "
        "mean. Is one subtracted here?",
        "times a factor that is the same all along axis 1": "The part along xhat has to go: it is "
        "xhat times a mean over the row.",
        "has shape": "The weight is used in each row. Uses add up: sum over the rows.",
    },
)


# %% tags=["exercise"]
def rms_norm_backward(dout, cache):
    xhat, r, weight = cache
    ...  # your turn


rms.check(rms_norm_backward)


# %% tags=["solution"]
def rms_norm_backward(dout, cache):
    xhat, r, weight = cache
    g = dout * weight
    return r * (g - xhat * (g * xhat).mean(axis=-1, keepdims=True)), (dout * xhat).sum(axis=0)


rms.check(rms_norm_backward)

# %% tags=["hidden"]
rms.expect(layer_norm_backward, "There is no bias")
rms.expect(lambda dout, cache: layer_norm_backward(dout, cache)[:2], "Is one subtracted here")
rms.expect(lambda dout, cache: (cache[1] * dout * cache[2], (dout * cache[0]).sum(axis=0)), "has to go")
rms.expect(lambda dout, cache: (rms_norm_backward(dout, cache)[0], dout * cache[0]), "sum over the rows")

# %% [markdown]
# The *singular values* of a matrix say by how much it stretches or shrinks along its main directions. Those of the
# Jacobian, for a row of 8 numbers, show what vanishes in each norm:

# %%
row = rng.standard_normal((1, 8)) + 1.0
one = np.ones(8)
_, layer_cache = layer_norm_forward(row, one, 0 * one)
_, rms_cache = rms_norm_forward(row, one)
jacobians = {
    "layer norm": np.concatenate([layer_norm_backward(e[None], layer_cache)[0] for e in np.eye(8)]),
    "RMS norm": np.concatenate([rms_norm_backward(e[None], rms_cache)[0] for e in np.eye(8)]),
}
for name, jacobian in jacobians.items():
    print(f"{name:10}", " ".join(f"{s:.4f}" for s in np.linalg.svd(jacobian, compute_uv=False)))
print(f"one over: deviation {1 / row.std():.4f}, root mean square {1 / np.sqrt(np.mean(row**2)):.4f}")

# %% tags=["hidden"]
values = {name: np.linalg.svd(jacobian, compute_uv=False) for name, jacobian in jacobians.items()}
assert (values["layer norm"] < 1e-4).sum() == 2 and (values["RMS norm"] < 1e-4).sum() == 1

# %% [markdown]
# Two are 0 for layer norm, and one for RMS norm. All the others are the same number, $r$. A norm does not distort what
# it lets through. RMS norm needs one sum less for each row. Models train about as well with it (Zhang and Sennrich,
# 2019).
#
# ### A shortcut that loses all digits
#
# The variance is also $\operatorname{mean}(x^2) - \mu^2$. That needs only one pass over the row. What could go wrong?
# Add a constant to a row, which should change nothing, and compute in float32.

# %%
row = rng.standard_normal(768).astype(np.float32)
for shift in [0, 10, 1000, 10000]:
    moved = row + np.float32(shift)
    short = (moved**2).mean() - moved.mean() ** 2
    centred_first = ((moved - moved.mean()) ** 2).mean()
    print(f"shift {shift:6}: variance by the shortcut {short:9.4f}, from centred values {centred_first:.4f}")

# %% [markdown]
# Two large numbers cancel, as in notebook 3, and the variance can even become negative. Its root is then NaN.
# Subtract the mean first. RMS norm has no such problem: squares are added, and nothing cancels.
#
# ## What a norm does to a deep stack
#
# Now build deep networks. Each layer has a *branch* $f(x) = W_2 \max(W_1 x, 0)$, as in the feed-forward layer of a
# transformer. There are four ways to stack it:
#
# - *plain*: $x \leftarrow f(x)$;
# - *residual*: $x \leftarrow x + f(x)$, the branch is added to a *stream*;
# - *post-norm*: $x \leftarrow \operatorname{norm}(x + f(x))$, as in the first transformer (Vaswani et al., 2017);
# - *pre-norm*: $x \leftarrow x + f(\operatorname{norm}(x))$, and one norm at the very end, as in GPT-2.


# %%
def draw_blocks(axes, title, boxes, skip, stream):
    """Boxes from left to right; the skip goes from one place to the plus."""
    axes.annotate("", xy=(9.6, 0), xytext=(0, 0), arrowprops={"arrowstyle": "-|>", "color": stream, "linewidth": 2.5})
    for place, label, color in boxes:
        style = {"boxstyle": "round,pad=0.35", "facecolor": color, "edgecolor": "none"}
        axes.text(place, 0, label, ha="center", va="center", bbox=style, color="white", fontsize=10)
    start, end = skip
    path = {"arrowstyle": "-|>", "color": BLUE, "linewidth": 2.5, "connectionstyle": "arc3,rad=-0.35", "shrinkB": 9}
    axes.annotate("", xy=(end, 0.1), xytext=(start, 0), arrowprops=path)
    axes.text(0, 1.2, title, fontsize=11)
    axes.set(xlim=(-0.2, 10), ylim=(-0.6, 1.8))
    axes.set_axis_off()


figure, pair = plt.subplots(1, 2, figsize=(12, 2))
draw_blocks(pair[0], "post-norm", [(3, "branch", GREEN), (5.6, "+", GREY), (7.8, "norm", RED)], (1, 5.6), GREY)
draw_blocks(pair[1], "pre-norm", [(2.7, "norm", RED), (5.1, "branch", GREEN), (7.8, "+", GREY)], (1, 7.8), GREY)
plt.show()

# %% [markdown]
# Follow the blue path, the one without a branch. With pre-norm it runs from the first layer to the last, and only
# additions lie on it. With post-norm there is a norm on it in each layer.
#
# All four in one pair of functions:


# %%
def branch_forward(x, w1, w2):
    hidden = np.maximum(x @ w1.T, 0)
    return hidden @ w2.T, (x, hidden, w1, w2)


def branch_backward(dout, cache):
    x, hidden, w1, w2 = cache
    dbefore = (dout @ w2) * (hidden > 0)
    return dbefore @ w1, dbefore.T @ x, dout.T @ hidden


def stack_forward(x, layers, kind):
    """Returns the output, the tape, and the size of the values after each layer."""
    tape, stream = [], [np.sqrt(np.mean(x**2))]
    for w1, w2 in layers:
        norm = None
        if kind == "pre-norm":
            normed, norm = normalise_forward(x)
            out, branch = branch_forward(normed, w1, w2)
        else:
            out, branch = branch_forward(x, w1, w2)
        x = out if kind == "plain" else x + out
        if kind == "post-norm":
            x, norm = normalise_forward(x)
        tape.append((branch, norm))
        stream.append(np.sqrt(np.mean(x**2)))
    if kind == "pre-norm":  # the norm at the end
        x, norm = normalise_forward(x)
        tape.append((None, norm))
    return x, tape, stream


def stack_backward(dx, tape, kind):
    """Returns the gradients with respect to the input, to (w1, w2) of each layer, and to the input of each layer."""
    gradients, along = [], []
    for branch, norm in reversed(tape):
        if branch is None or kind == "post-norm":
            dx = by_projections(dx, norm)
        if branch is not None:
            dbranch, dw1, dw2 = branch_backward(dx, branch)
            if kind == "pre-norm":
                dbranch = by_projections(dbranch, norm)
            dx = dbranch if kind == "plain" else dx + dbranch
            gradients.append((dw1, dw2))
            along.append(dx)
    return dx, gradients[::-1], along[::-1]


def new_layers(depth, width, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [((2 * width, width), width), ((width, 2 * width), 2 * width)]
    return [tuple(rng.standard_normal(shape) / np.sqrt(k) for shape, k in shapes) for _ in range(depth)]


KINDS = {"plain": GREY, "residual": YELLOW, "post-norm": RED, "pre-norm": BLUE}
few = new_layers(3, 6)
for kind in KINDS:
    pair = (lambda x: stack_forward(x, few, kind)[:2]), (lambda dout, tape: stack_backward(dout, tape, kind)[0])
    print(f"{kind:10} worst relative error {check_gradients(pair, rng.standard_normal((4, 6))).worst:.0e}")

# %% [markdown]
# Fresh random weights, 48 layers of width 32, and a random `dout` of size 1 at the end. What becomes of the values on
# the way from the first layer to the last, and of the gradient on the way back?

# %%
layers = new_layers(48, 32)
x, dout = rng.standard_normal((64, 32)), rng.standard_normal((64, 32))
stream, slope = {}, {}
for kind in KINDS:
    _, tape, stream[kind] = stack_forward(x, layers, kind)
    _, _, along = stack_backward(dout, tape, kind)
    slope[kind] = [np.sqrt(np.mean(d**2)) for d in along]

figure, pair = plt.subplots(1, 2, figsize=(12, 3.8))
for kind, color in KINDS.items():
    pair[0].semilogy(stream[kind], color=color, label=kind)
    pair[1].semilogy(slope[kind], color=color, label=kind)
pair[0].set(xlabel="layer", ylabel="size of the values (root mean square)")
pair[1].set(xlabel="layer", ylabel="size of the gradient (root mean square)")
pair[0].legend()
plt.show()

# %% [markdown]
# - *Plain* (grey): both vanish. The weights have a variance of $1/K$ here, without the 2. So the branch halves the
#   mean square of its input, because $\max$ removes half of it, and 48 layers divide it by $2^{48}$. The gradient of
#   the first layer is smaller than that of the last by a factor of
#   {{ slope["plain"][-1] / slope["plain"][0]:.0e | ≥ 1e5 }}. The first layers learn nothing.
# - *Residual without a norm* (yellow): both explode. Each layer multiplies the mean square by 1.5: 1 from the stream
#   and 0.5 from the branch. The values end at {{ stream["residual"][-1]:,.0f | 8500 ± 6000 }}, and $\sqrt{1.5^{48}}$
#   is {{ 1.5**24:,.0f }}.
# - *Post-norm* (red): the values stay at 1. So does the gradient, nearly: it lies between
#   {{ min(slope["post-norm"]):.1f | 0.8 ± 0.3 }} and {{ max(slope["post-norm"]):.1f | 3 ± 1 }}.
# - *Pre-norm* (blue): the stream grows, but slowly. The branch always sees values of size 1 and *adds* about 0.5 to
#   the square. So the stream ends near $\sqrt{1 + 48 / 2} = 5$, measured
#   {{ stream["pre-norm"][-1]:.1f | 4.7 ± 0.7 }}. The gradient of the first layer is
#   {{ slope["pre-norm"][0] / slope["pre-norm"][-1]:.1f | 5.5 ± 1.5 }} times that of the last.
#
# Why does the gradient not explode with pre-norm, as it does in the residual stack? The norm in front of a branch
# divides the gradient that comes out of this branch by the size of the stream. The stream grows, so later layers add
# ever less to the gradient.
#
# ## What it means for training
#
# After this picture, post-norm looks as good as pre-norm. The difference shows when the weights change. Train 16
# layers on the digits of notebook 3, with each of six learning rates: 100 steps of gradient descent, with 64 random
# digits each. The last layer and the loss are those of notebook 3.

# %%
pixels, digits = load_digits(return_X_y=True)
pixels = (pixels - pixels.mean(axis=0)) / (pixels.std(axis=0) + 1e-3)


def final_loss(kind, rate, steps=100, depth=16, width=32):
    """The mean loss of the last 20 steps; infinite if the numbers overflow."""
    rng = np.random.default_rng(0)
    first, last = rng.standard_normal((width, 64)) / 8, rng.standard_normal((10, width)) / np.sqrt(width)
    layers, losses = new_layers(depth, width, seed=1), []
    for _ in range(steps):
        rows = rng.integers(1500, size=64)
        x, tape, _ = stack_forward(pixels[rows] @ first.T, layers, kind)
        z = x @ last.T
        z = z - z.max(axis=-1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
        losses.append(-log_p[np.arange(64), digits[rows]].mean())
        if not np.isfinite(losses[-1]) or losses[-1] > 1e6:
            return np.inf
        dz = (np.exp(log_p) - np.eye(10)[digits[rows]]) / 64
        dx, gradients, _ = stack_backward(dz @ last, tape, kind)
        layers = [(w1 - rate * g1, w2 - rate * g2) for (w1, w2), (g1, g2) in zip(layers, gradients, strict=True)]
        first, last = first - rate * dx.T @ pixels[rows], last - rate * dz.T @ x
    return np.mean(losses[-20:])


rates = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
with np.errstate(all="ignore"):  # overflow is part of the experiment
    results = {kind: np.array([final_loss(kind, rate) for rate in rates]) for kind in KINDS}

figure, axes = plt.subplots(figsize=(8, 3.8))
for kind, color in KINDS.items():
    shown = np.minimum(results[kind], 4.0)
    axes.semilogx(rates, shown, "o-", color=color, label=kind)
axes.axhline(np.log(10), color="black", linestyle=":", linewidth=1)
axes.text(0.012, np.log(10) + 0.06, "ln 10: knows nothing", fontsize=8)
axes.set_xticks(rates, [str(rate) for rate in rates])
axes.set(xlabel="learning rate", ylabel="loss after 100 steps (nats)", ylim=(0, 4.2))
axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
plt.show()
for kind in KINDS:
    print(f"{kind:10}", "  ".join(f"{loss:6.3f}" for loss in results[kind]))

# %% tags=["hidden"]
assert (results["plain"] > 2.2).all() and results["residual"][0] < 1 and np.isinf(results["residual"][1:]).all()
assert results["post-norm"].argmin() == 3 and (results["post-norm"][4:] > 1).all()
assert (results["pre-norm"][3:] < 0.3).all()

# %% [markdown]
# Losses above 4, and infinite ones, are drawn at 4. The plain stack does not learn at any rate. The residual stack
# without a norm learns at the smallest one and overflows at all others. Post-norm is best at
# {{ rates[int(results["post-norm"].argmin())] }}, with a loss of {{ results["post-norm"].min():.2f | 0.13 ± 0.06 }},
# and breaks at the next larger rate. Pre-norm learns at that one too, and at the largest: its best loss is
# {{ results["pre-norm"].min():.2f | 0.07 ± 0.04 }}. Small rates are too slow for both in 100 steps.
#
# That is one small experiment. But it agrees with what Xiong et al. (2020) found for transformers: post-norm needs a
# *warm-up*, small learning rates in the first steps, and pre-norm can do without. So most models since GPT-2 have
# their norms first. BERT and the first transformer have them last. minitrain has a block for each.
#
# ## Questions
#
# 1. After a layer norm with bias, is the bias of the linear layer in front of it of any use? What is its gradient?
# 2. $C = 2$: what are the possible values of $\hat x$ in layer norm, and what is the gradient? What would a network
#    lose that normalises pairs?
# 3. The weights $W$ in front of a layer norm are all doubled. The output stays the same. What happens to the gradient
#    of $W$? Which learning rate makes the same change in proportion as before?
# 4. Batch norm normalises each *column* over the batch. Which two directions vanish there? Why does a language model
#    that writes one text at a time have trouble with it?
# 5. In a pre-norm stack the stream grows with the root of the depth. How much does layer 100 still change the
#    direction of the stream?
#
# ## Further reading
#
# - The pages of [layer norm](../ops/layer_norm.md), [RMS norm](../ops/rms_norm.md), and
#   [addition and norm in one](../ops/residual_layer_norm.md).
# - Ba, Kiros and Hinton, 2016, *Layer normalization*, arXiv:1607.06450.
# - Zhang and Sennrich, 2019, *Root mean square layer normalization*, arXiv:1910.07467.
# - Xiong et al., 2020, *On layer normalization in the transformer architecture*, arXiv:2002.04745: before or after.
# - He et al., 2015, *Delving deep into rectifiers*, arXiv:1502.01852: the size of the first weights.
# - Zhang, Dauphin and Ma, 2019, *Fixup initialization*, arXiv:1901.09321: deep residual networks without any norm.
# - The next notebook: [attention from scratch](05_attention.md).
