# %% [markdown]
# # 2. Linear layers and batches
#
# After this notebook you can
#
# - derive the backward of a linear layer with indices, and find it again from the shapes alone;
# - say why gradients of a batch are sums, and where the $1/R$ of a mean belongs;
# - build a network from pairs of forward and backward, check it, and train it;
# - recognise overfitting in the curves and in the picture of the decision, and say what helps.
#
# You need notebook 1: pairs of forward and backward, and `check_gradients`. It takes about 50 minutes.

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from sklearn.datasets import make_moons

from minitrain import check_gradients
from minitrain.testing import GradientMismatch
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label
rng = np.random.default_rng(0)

# %% [markdown]
# ## Many neurons, many samples
#
# A neuron multiplies $K$ inputs by $K$ weights and adds a bias. A *layer* has $N$ neurons that read the same inputs.
# A *batch* has $R$ samples, one in each row. That makes $R \cdot N$ outputs:
#
# $$y_{rn} = \sum_k x_{rk} W_{nk} + b_n \qquad\text{that is}\qquad Y = X W^\top + b$$
#
# $W$ has one row for each neuron: its shape is $(N, K)$. The bias is added to each row of the product.


# %%
def linear_forward(x, weight, bias):
    return x @ weight.T + bias, (x, weight)


R, K, N = 3, 4, 2
x, weight, bias = rng.standard_normal((R, K)), rng.standard_normal((N, K)), rng.standard_normal(N)
y, _ = linear_forward(x, weight, bias)

loops = np.zeros((R, N))
for r in range(R):
    for n in range(N):
        for k in range(K):
            loops[r, n] += x[r, k] * weight[n, k]
        loops[r, n] += bias[n]
print("largest difference:", abs(y - loops).max())

# %% tags=["hidden"]
assert abs(y - loops).max() < 1e-12

# %% [markdown]
# ## The backward that one never writes
#
# The slopes of all outputs with respect to all inputs form a matrix, the *Jacobian*. It has a row for each of the
# $R N$ outputs and a column for each of the $R K$ inputs. A second one has a column for each of the $N K$ weights. The
# chain rule says: write `dout`, the gradient of the loss with respect to the outputs, as one long row, and multiply it
# by the Jacobian. That is correct. Before you look at the picture: which entries are zero?

# %%
jacobian_x = np.kron(np.eye(R), weight)  # dy[r, n] / dx[s, k]: W[n, k] if r == s, otherwise 0
jacobian_w = np.einsum("nm,rk->rnmk", np.eye(N), x).reshape(R * N, N * K)  # dy[r, n] / dW[m, k]

outputs = [f"y{r}{n}" for r in range(R) for n in range(N)]
figure, pair = plt.subplots(1, 2, figsize=(11, 3.4), gridspec_kw={"width_ratios": [R * K, N * K]})
for axes, jacobian, columns, title in [
    (pair[0], jacobian_x, [f"x{r}{k}" for r in range(R) for k in range(K)], "with respect to the input"),
    (pair[1], jacobian_w, [f"W{n}{k}" for n in range(N) for k in range(K)], "with respect to the weight"),
]:
    axes.pcolormesh(jacobian[::-1], cmap="RdBu", vmin=-2.5, vmax=2.5, edgecolors="#dddddd", linewidth=0.5)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=8)
    axes.set_yticks(np.arange(len(outputs)) + 0.5, outputs[::-1], fontsize=8)
    axes.tick_params(length=0)
    axes.set_title(title, fontsize=10)
    axes.set_aspect("equal")
plt.show()

# %% [markdown]
# The label y10 is the output of sample 1 and neuron 0. White is zero, red negative, blue positive. On the left, $W$
# itself stands on the diagonal, once for each sample:
# an output depends on the inputs of its own row alone. On the right, each neuron sees only its own weights, and each
# sample brings a row of $X$.
#
# So the Jacobian holds $W$ again and again, and zeros. For one layer of GPT-2 and a batch of 8192 tokens
# ($K = 768$, $N = 3072$), the left one would take {{ 8192 * 3072 * 8192 * 768 * 4 / 1e12:.0f }} terabytes. Only one
# entry in 8192 is not zero. (A *token* is a sample here: a piece of text.)
#
# ## Two products, by indices
#
# Write $\bar y$ for `dout`. The chain rule sums over all outputs, and the zeros drop out of the sum.
#
# **Input.** $x_{rk}$ acts on the outputs of row $r$ alone, on all $N$ of them, with slope $W_{nk}$:
#
# $$\bar x_{rk} = \sum_n \bar y_{rn} W_{nk} \qquad\text{that is}\qquad \bar X = \bar Y\, W$$
#
# **Weight.** $W_{nk}$ acts on the output of neuron $n$ alone, but in every row, with slope $x_{rk}$:
#
# $$\bar W_{nk} = \sum_r \bar y_{rn} x_{rk} \qquad\text{that is}\qquad \bar W = \bar Y^\top X$$
#
# **Bias.** $b_n$ is added once in each row: $\;\bar b_n = \sum_r \bar y_{rn}$.
#
# One rule tells what to transpose: in a matrix product, the index that is summed is the *last* of the left matrix and
# the *first* of the right one. Where it is not, transpose. And each letter is an axis with a length, so the shapes
# alone tell the products:

# %%
LENGTHS, COLORS = {"R": 2.0, "K": 1.4, "N": 0.8}, {"R": BLUE, "K": GREEN, "N": RED}


def draw_matrix(axes, left, rows, columns, name):
    """A rectangle with its two axes in color; returns where it ends."""
    height, width = LENGTHS[rows], LENGTHS[columns]
    axes.add_patch(Rectangle((left, -height / 2), width, height, facecolor="#f4f6f8", edgecolor="none"))
    axes.plot([left, left], [-height / 2, height / 2], color=COLORS[rows], linewidth=4)
    axes.plot([left, left + width], [height / 2, height / 2], color=COLORS[columns], linewidth=4)
    axes.text(left - 0.09, 0, rows, color=COLORS[rows], ha="right", va="center", fontsize=11)
    axes.text(left + width / 2, height / 2 + 0.1, columns, color=COLORS[columns], ha="center", fontsize=11)
    axes.text(left + width / 2, 0, name, ha="center", va="center", fontsize=12)
    return left + width


figure, rows = plt.subplots(3, 1, figsize=(7, 5.4))
for axes, title, *matrices in [
    (rows[0], "forward: sum over K", ("R", "N", "$Y$"), ("R", "K", "$X$"), ("K", "N", r"$W^\top$")),
    (rows[1], "input: sum over N", ("R", "K", r"$\bar X$"), ("R", "N", r"$\bar Y$"), ("N", "K", "$W$")),
    (rows[2], "weight: sum over R", ("N", "K", r"$\bar W$"), ("N", "R", r"$\bar Y^\top$"), ("R", "K", "$X$")),
]:
    place = 0.0
    for sign, (first, second, name) in zip(["", "=", r"$\cdot$"], matrices, strict=True):
        if sign:
            axes.text(place + 0.35, 0, sign, ha="center", va="center", fontsize=14)
            place += 0.9
        place = draw_matrix(axes, place, first, second, name)
    axes.text(-3.6, 0, title, va="center", fontsize=11)
    axes.set(xlim=(-3.7, 7.2), ylim=(-1.1, 1.4), aspect="equal")
    axes.set_axis_off()
plt.show()

# %% [markdown]
# Blue is $R$, green $K$, red $N$. In each product, the right side of the left matrix and the left side of the right one
# have the same color: this axis vanishes. A gradient has the shape of
# what it belongs to. From $(R, N)$ and $(N, K)$ there is one way to $(R, K)$, and from $(R, N)$ and $(R, K)$ one way
# to $(N, K)$. The three sums are over three different letters. Each product costs $2 R N K$ operations, if we count
# multiplications and additions. So the backward costs twice the forward.
#
# **Exercise 1.** Write the backward of the linear layer.

# %% tags=["folded"]
linear = Exercise(
    "linear_backward",
    forward=linear_forward,
    inputs={"x": (6, 4), "weight": (3, 4), "bias": (3,)},
    hints=[
        "Return three gradients, in the order of the inputs: dx, dweight, dbias.",
        "Write down the shapes: dout (6, 3), x (6, 4), weight (3, 4). Which axis vanishes in which product?",
        "dx = dout @ weight, dweight = dout.T @ x. The bias is that of notebook 1.",
    ],
    advice={
        "matmul": "A product does not fit. The last axis of the left one must be the first axis of the right one.",
        "broadcast together": "These are matrix products, @ in Python. The star multiplies element by element.",
        "it looks transposed": "A gradient has the shape of its argument. (A B).T is B.T A.T: swap the two factors.",
        "gradient of bias has shape": "The bias was used in each row. Uses add up: sum over the rows, axis 0.",
        "0.166667 times": "The uses of a weight and of a bias add up. Nothing divides by their number.",
        "1 gradients for 3": "Return all three: dx, dweight, dbias.",
    },
)


# %% tags=["exercise"]
def linear_backward(dout, cache):
    x, weight = cache
    ...  # your turn


linear.check(linear_backward)


# %% tags=["solution"]
def linear_backward(dout, cache):
    x, weight = cache
    return dout @ weight, dout.T @ x, dout.sum(axis=0)


linear.check(linear_backward)

# %% tags=["hidden"]
linear.expect(lambda dout, cache: (dout @ cache[1].T, dout.T @ cache[0], dout.sum(axis=0)), "last axis of the left")
linear.expect(lambda dout, cache: (dout @ cache[1], cache[0].T @ dout, dout.sum(axis=0)), "swap the two factors")
linear.expect(lambda dout, cache: (dout @ cache[1], dout.T @ cache[0], dout), "sum over the rows")
linear.expect(lambda dout, cache: (dout @ cache[1], dout.T @ cache[0], dout.mean(axis=0)), "Nothing divides")
linear.expect(lambda dout, cache: dout @ cache[1], "Return all three")
linear.expect(lambda dout, cache: (dout @ cache[1], dout.T @ cache[0] / 6, dout.sum(axis=0)), "of a weight")
linear.expect(lambda dout, cache: (dout * cache[1], dout * cache[0], dout), "element by element")

# %% [markdown]
# The answer can also be compared with the Jacobians of the picture:

# %%
dout = rng.standard_normal((R, N))
dx, dweight, dbias = linear_backward(dout, (x, weight))
print("input: ", abs(dx.ravel() - dout.ravel() @ jacobian_x).max())
print("weight:", abs(dweight.ravel() - dout.ravel() @ jacobian_w).max())

# %% tags=["hidden"]
np.testing.assert_allclose(dx.ravel(), dout.ravel() @ jacobian_x, atol=1e-12)
np.testing.assert_allclose(dweight.ravel(), dout.ravel() @ jacobian_w, atol=1e-12)

# %% [markdown]
# ### Where shapes do not protect you
#
# The rule of the shapes has a hole: if $N = K$, the wrong product fits too. Layers of equal width are common. What
# will the checker say to `dout @ weight.T`?


# %%
def careless_backward(dout, cache):
    x, weight = cache
    return dout @ weight.T, dout.T @ x, dout.sum(axis=0)


square = [rng.standard_normal(shape) for shape in [(6, 4), (4, 4), (4,)]]
try:
    check_gradients((linear_forward, careless_backward), *square)
except GradientMismatch as error:
    print(error)

# %% [markdown]
# It even names the transposition: the gradient of `x` is that of a transposed `weight`. So test a layer with sizes
# that are all different, and then also with equal ones.
#
# ## Why the batch is summed
#
# The sum over $r$ in $\bar W = \bar Y^\top X$ is a sum over samples. All rows use the same weight. *Used $R$ times,
# counted $R$ times* (notebook 1). Each sample contributes the product of two vectors: $\bar y_{rn} x_{rk}$, its
# column of errors times its row of inputs.

# %%
figure, panels = plt.subplots(1, R + 1, figsize=(11, 2.1))
titles = [f"sample {r}" for r in range(R)] + ["their sum: $\\bar W$"]
for axes, title, matrix in zip(panels, titles, [*(np.outer(dout[r], x[r]) for r in range(R)), dweight], strict=True):
    axes.pcolormesh(matrix[::-1], cmap="RdBu", vmin=-2, vmax=2, edgecolors="#dddddd", linewidth=0.5)
    for n in range(N):
        for k in range(K):
            color = "white" if abs(matrix[n, k]) > 1.3 else "black"
            axes.text(k + 0.5, N - n - 0.5, f"{matrix[n, k]:.2f}", ha="center", va="center", fontsize=8, color=color)
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("K")
    axes.set_ylabel("N")
    axes.set_aspect("equal")
plt.show()

# %% [markdown]
# In each of the first {{ R }} matrices, all rows are multiples of one row. Such a matrix has *rank one*. A single
# sample cannot push the weight in any other way. The input works differently. Each row of $X$ is used once, so nothing
# is summed over $r$.
#
# ### Sums add up, means do not
#
# Usually the loss is the *mean* over the samples, so that its size does not depend on $R$. That puts one factor $1/R$
# into the backward of the loss. All other backwards stay as they are, with sums. The factor is easy to get wrong when
# a batch is computed in parts, because it does not fit into memory. Seven samples, five first and then two:

# %%
x7, targets = rng.standard_normal((7, K)), rng.standard_normal((7, N))


def weight_gradient(rows, divisor):
    """Gradient of sum((y - target)**2) / divisor over some of the rows."""
    out, cache = linear_forward(x7[rows], weight, bias)
    return linear_backward(2 * (out - targets[rows]) / divisor, cache)[1]


whole = weight_gradient(slice(0, 7), 7)
first, second = slice(0, 5), slice(5, 7)
mean_of_means = (weight_gradient(first, 5) + weight_gradient(second, 2)) / 2
sum_of_sums = (weight_gradient(first, 1) + weight_gradient(second, 1)) / 7


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


print(f"mean of the two means: off by {relative(mean_of_means, whole):.1%}")
print(f"sums, divided once:    off by {relative(sum_of_sums, whole):.1e}")

# %% [markdown]
# The mean of means is off by {{ relative(mean_of_means, whole):.0% }}: the two samples of the second part counted
# more than the five of the first. Sums are exact. Therefore minitrain's losses return a sum and a count, and the
# division comes last.
#
# ## A network by hand
#
# Two linear layers, one after the other, are again a linear layer: $(x W_1^\top) W_2^\top = x (W_2 W_1)^\top$. The
# $\tanh$ between them breaks this. We have its pair from notebook 1. What is missing is a loss.
#
# We want to tell two classes apart, $t = 0$ and $t = 1$. The last layer has one output $z$, the *logit*. The
# probability of class 1 is $p = \sigma(z) = 1 / (1 + e^{-z})$. The loss of a sample is minus the logarithm of the
# probability of the right class, $-\log p$ or $-\log(1 - p)$. Both are the same short formula:
#
# $$L = \log(1 + e^z) - t z$$
#
# Check it. For $t = 0$: $\;-\log(1 - \sigma(z)) = \log(1 + e^z)$. For $t = 1$: $\;-\log \sigma(z) = \log(1 + e^{-z}) =
# \log(1 + e^z) - z$. The function
# `np.logaddexp(0, z)` computes $\log(e^0 + e^z)$ without overflow. Notebook 3 shows how.


# %%
def tanh_forward(x):
    out = np.tanh(x)
    return out, out


def tanh_backward(dout, cache):
    return dout * (1 - cache**2)


def loss_forward(z, t):
    """The mean loss of logits z (R, 1) and classes t (R,)."""
    t = t[:, None]
    return np.mean(np.logaddexp(0, z) - t * z), (z, t)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# %% [markdown]
# **Exercise 2.** Write the backward of the loss. `dout` is one number, because the loss is one. The classes have no
# gradient.
#
# <details markdown><summary>Hint</summary>
#
# Differentiate $\log(1 + e^z)$: it is $e^z / (1 + e^z)$. You know this function. Then think of the mean.
#
# </details>

# %% tags=["folded"]
loss = Exercise(
    "loss_backward",
    forward=loss_forward,
    inputs={"z": (5, 1), "t": np.array([0, 1, 1, 0, 1])},
    hints=[
        "The slope of log(1 + e^z) is sigmoid(z). What is the slope of -t z?",
        "The loss is a mean of five numbers. Where does the 1/5 go?",
        "dout * (sigmoid(z) - t) / len(z)",
    ],
    advice={
        "5 times what it should": "A mean has a factor 1/R.",
        "wrong sign": "The probability minus the class: a logit that is too high has a positive gradient.",
        "shape (5, 5": "In the cache t is a column already, (5, 1), as z is.",
        "has shape": "The gradient has the shape of z, (5, 1). Sum over nothing: each sample has its own logit.",
        "9.71179 times": "The slope is right. The chain rule multiplies it by dout, which is one number here.",
        "along axis 0": "Two terms: the slope of log(1 + e^z), and that of -t z. The second depends on the class.",
    },
)


# %% tags=["exercise"]
def loss_backward(dout, cache):
    z, t = cache
    ...  # your turn


loss.check(loss_backward)


# %% tags=["solution"]
def loss_backward(dout, cache):
    z, t = cache
    return dout * (sigmoid(z) - t) / len(z)


loss.check(loss_backward)

# %% tags=["hidden"]
loss.expect(lambda dout, cache: dout * (sigmoid(cache[0]) - cache[1]), "A mean has a factor")
loss.expect(lambda dout, cache: dout * (cache[1] - sigmoid(cache[0])) / 5, "wrong sign")
loss.expect(lambda dout, cache: dout * sigmoid(cache[0]) / 5, "depends on the class")
loss.expect(lambda dout, cache: dout * (sigmoid(cache[0]) - cache[1]).mean(axis=0), "has shape")
loss.expect(lambda dout, cache: dout * (sigmoid(cache[0]) - cache[1][:, None]) / 5, "a column already")
loss.expect(lambda dout, cache: (sigmoid(cache[0]) - cache[1]) / 5, "multiplies it by dout")

# %% [markdown]
# *Prediction minus truth*: the simplest gradient there is. Notebook 3 finds it again for any number of classes.
#
# **Exercise 3.** Now two linear layers with a $\tanh$ between them, a *multilayer perceptron* (MLP). The forward of a
# network calls the forwards of its parts and keeps their caches. The backward calls the backwards in reverse order.
# Each gets what the one behind it returned. Write it.


# %%
def mlp_forward(x, w1, b1, w2, b2):
    before, cache1 = linear_forward(x, w1, b1)
    hidden, cache2 = tanh_forward(before)
    out, cache3 = linear_forward(hidden, w2, b2)
    return out, (cache1, cache2, cache3)


# %% tags=["folded"]
mlp = Exercise(
    "mlp_backward",
    forward=mlp_forward,
    inputs={"x": (6, 2), "w1": (5, 2), "b1": (5,), "w2": (1, 5), "b2": (1,)},
    hints=[
        "Three lines, one for each line of the forward, from the last to the first.",
        "dhidden, dw2, db2 = linear_backward(dout, cache3). What comes next?",
        "dbefore = tanh_backward(dhidden, cache2), then dx, dw1, db1 = linear_backward(dbefore, cache1).",
    ],
    advice={
        "3 of 5 arguments": "The second layer is right, the first is not. What lies between the two?",
        "2 of 5 arguments": "Do the gradients stand in the order of the arguments: x, w1, b1, w2, b2?",
        "4 of 5 arguments": "Do the gradients stand in the order of the arguments: x, w1, b1, w2, b2?",
        "3 gradients for 5": "Both layers have a weight and a bias. With dx that makes five gradients.",
        "matmul": "Each backward gets the gradient of its own output, with the shape of that output.",
    },
)


# %% tags=["exercise"]
def mlp_backward(dout, cache):
    cache1, cache2, cache3 = cache
    ...  # your turn


mlp.check(mlp_backward)


# %% tags=["solution"]
def mlp_backward(dout, cache):
    cache1, cache2, cache3 = cache
    dhidden, dw2, db2 = linear_backward(dout, cache3)
    dbefore = tanh_backward(dhidden, cache2)
    dx, dw1, db1 = linear_backward(dbefore, cache1)
    return dx, dw1, db1, dw2, db2


mlp.check(mlp_backward)


# %% tags=["hidden"]
def without_tanh(dout, cache):
    dhidden, dw2, db2 = linear_backward(dout, cache[2])
    return *linear_backward(dhidden, cache[0]), dw2, db2


def in_order_of_computing(dout, cache):
    dx, dw1, db1, dw2, db2 = mlp_backward(dout, cache)
    return dx, dw2, db2, dw1, db1


mlp.expect(without_tanh, "lies between the two")
mlp.expect(in_order_of_computing, "order of the arguments")
mlp.expect(lambda dout, cache: linear_backward(tanh_backward(dout, cache[2][0]), cache[0]), "Both layers")
mlp.expect(lambda dout, cache: linear_backward(dout, cache[0]), "gradient of its own output")

# %% [markdown]
# With more layers nothing new happens. The forward writes a *tape*: which backward to call, and with which cache. The
# backward plays the tape from the end. Libraries with automatic differentiation work this way: they write the tape
# while your forward runs.


# %%
def deep_forward(x, *params):
    """A network of any depth; params are w1, b1, w2, b2, ..."""
    tape = []
    for i in range(0, len(params), 2):
        if i > 0:
            x, cache = tanh_forward(x)
            tape.append((tanh_backward, cache))
        x, cache = linear_forward(x, params[i], params[i + 1])
        tape.append((linear_backward, cache))
    return x, tape


def deep_backward(dout, tape):
    gradients = []
    for backward, cache in reversed(tape):
        if backward is tanh_backward:
            dout = backward(dout, cache)
        else:
            dout, dweight, dbias = backward(dout, cache)
            gradients = [dweight, dbias, *gradients]
    return dout, *gradients


def initial(widths, seed=0):
    """Random weights for layers of these widths. Divided by sqrt(K), a sum of K random terms is about 1 again."""
    rng = np.random.default_rng(seed)
    params = []
    for k, n in zip(widths, widths[1:], strict=False):
        params += [rng.standard_normal((n, k)) / np.sqrt(k), np.zeros(n)]
    return params


report = check_gradients((deep_forward, deep_backward), rng.standard_normal((6, 2)), *initial([2, 5, 4, 1]))
print(f"worst relative error of {len(report.arguments)} gradients: {report.worst:.0e}")

# %% [markdown]
# ## It learns
#
# The data are two half moons, one in the bend of the other, with noise. A straight line cannot separate them. The
# network has 2 inputs, 32 *hidden* neurons (those between input and output) and one logit. Each step moves all
# parameters against their gradients, by the gradient times a *learning rate* of 0.2.


# %%
def gradients(params, x, t):
    z, tape = deep_forward(x, *params)
    _, cache = loss_forward(z, t)
    return deep_backward(loss_backward(1.0, cache), tape)[1:]


def plain_step(param, grad, rate=0.2):
    return param - rate * grad


def train(x, t, params, steps, step=plain_step, batch=None, every=50, watched=None):
    """Returns the parameters by step, and (step, training loss, validation loss) for each of these steps."""
    rng = np.random.default_rng(1)
    kept, curve = {}, []
    for i in range(steps + 1):
        if i % every == 0:
            kept[i] = params
            pairs = [(x, t), *([watched] if watched else [])]
            curve.append((i, *(loss_forward(deep_forward(a, *params)[0], b)[0] for a, b in pairs)))
        rows = slice(None) if batch is None or batch >= len(x) else rng.integers(len(x), size=batch)
        params = [step(p, g) for p, g in zip(params, gradients(params, x[rows], t[rows]), strict=True)]
    return kept, np.array(curve)


def accuracy(params, x, t):
    return np.mean((deep_forward(x, *params)[0][:, 0] > 0) == t)


moons, classes = make_moons(200, noise=0.15, random_state=0)
kept, curve = train(moons, classes, initial([2, 32, 1]), 3000, every=20)

# %%
SIDE = np.linspace(-1.9, 2.9, 90), np.linspace(-1.6, 2.1, 70)


def draw_decision(axes, params, x, t, title):
    """Probability of class 1 as color, the line where it is 1/2, and the samples."""
    across, up = np.meshgrid(*SIDE)
    z = deep_forward(np.stack([across.ravel(), up.ravel()], axis=1), *params)[0].reshape(across.shape)
    axes.pcolormesh(across, up, sigmoid(z), cmap="RdBu_r", vmin=-0.4, vmax=1.4, shading="gouraud")
    axes.contour(across, up, z, levels=[0], colors="black", linewidths=1.2)
    axes.scatter(*x.T, c=np.where(t == 1, RED, BLUE), s=14, edgecolors="white", linewidths=0.4)
    axes.set_title(title, fontsize=10)
    axes.set(xticks=[], yticks=[], xlabel="first coordinate", ylabel="second coordinate")


shown = [0, 20, 600, 3000]
figure, panels = plt.subplots(1, 4, figsize=(13, 3.1), sharey=True)
for axes, step in zip(panels, shown, strict=True):
    now = loss_forward(deep_forward(moons, *kept[step])[0], classes)[0]
    draw_decision(axes, kept[step], moons, classes, f"step {step}: loss {now:.3f}")
for axes in panels[1:]:
    axes.set_ylabel("")
plt.show()

# %% [markdown]
# The color is the probability, blue for class 0 and red for class 1. The black line is the *decision boundary*, where
# it is one half. After 20 steps the boundary is nearly straight: the network has found about what one linear layer
# could find. It bends only later. At the end {{ accuracy(kept[3000], moons, classes):.1% }} of the samples are on
# the right side.
#
# ### How noisy is the gradient of a few samples?
#
# If the data are many, a step uses only some of them, drawn at random. The mean of their gradients is an estimate.
# How far is it from the gradient of all samples? Guess first: with four times as many samples, how much smaller is
# the error?

# %%
early = kept[20]
exact = np.concatenate([g.ravel() for g in gradients(early, moons, classes)])
sizes = np.array([1, 4, 16, 64, 256])
errors = []
for size in sizes:
    draws = rng.integers(len(moons), size=(100, size))
    found = [np.concatenate([g.ravel() for g in gradients(early, moons[i], classes[i])]) for i in draws]
    errors.append(np.sqrt(np.mean([np.sum((g - exact) ** 2) for g in found])) / np.linalg.norm(exact))
errors = np.array(errors)

figure, axes = plt.subplots(figsize=(6, 3.4))
axes.loglog(sizes, errors, "o-", color=BLUE, label="measured, 100 draws each")
axes.loglog(sizes, errors[0] / np.sqrt(sizes), "--", color=RED, label=r"$1/\sqrt{R}$")
axes.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
axes.set_xticks(sizes, [str(size) for size in sizes])
axes.set(xlabel="samples in the batch, R", ylabel="error / length of the gradient")
axes.legend()
plt.show()

# %% [markdown]
# Half of it: from 16 to 64 samples the error shrinks to {{ errors[3] / errors[2]:.2f | 0.5 ± 0.12 }} of its size. The
# samples are independent, so the variance of their mean falls as $1/R$ and its root as $1/\sqrt{R}$. Above the dotted
# line, up to about 64 samples here, the noise is longer than the gradient itself. Training still works, because the
# noise of many steps averages out.
#
# ## It learns by heart
#
# Now make it hard: 30 samples with twice the noise, and a network of 2, 64, 64 and 1 neurons. That is
# {{ sum(p.size for p in initial([2, 64, 64, 1])) }} parameters. A thousand other samples from the same source are
# the *validation* data: we look at their loss, but never train on them. What will happen to both losses?

# %%
few, few_classes = make_moons(30, noise=0.3, random_state=0)
fresh = make_moons(1000, noise=0.3, random_state=99)
start = initial([2, 64, 64, 1])
by_heart, heart_curve = train(few, few_classes, start, 3000, watched=fresh)
best = int(heart_curve[heart_curve[:, 2].argmin(), 0])

figure, panels = plt.subplots(1, 3, figsize=(13, 3.6), gridspec_kw={"width_ratios": [1.2, 1, 1]})
panels[0].plot(heart_curve[:, 0], heart_curve[:, 1], color=BLUE, label="training")
panels[0].plot(heart_curve[:, 0], heart_curve[:, 2], color=RED, label="validation")
panels[0].axvline(best, color=GREY, linestyle=":")
panels[0].set(xlabel="step", ylabel="loss per sample", ylim=(0, None))
panels[0].legend()
draw_decision(panels[1], by_heart[best], few, few_classes, f"step {best}: least validation loss")
draw_decision(panels[2], by_heart[3000], few, few_classes, "step 3000")
plt.show()

# %% [markdown]
# The training loss falls to {{ heart_curve[-1, 1]:.3f | ≤ 0.03 }}. The validation loss falls until step {{ best }},
# to {{ heart_curve[:, 2].min():.2f | 0.38 ± 0.04 }}. Then it rises to {{ heart_curve[-1, 2]:.2f | 1.3 ± 0.3 }}, well
# above the {{ np.log(2):.2f }} of a coin. That is *overfitting*. The picture on the right shows what happened: the
# boundary bends around single samples that the noise has put on the wrong side. It is right about
# {{ accuracy(by_heart[3000], few, few_classes):.0% | 1 ± 0.001 }} of the 30 samples and wrong about their
# surroundings.
#
# Look at the accuracy on the validation data as well. It falls from
# {{ accuracy(by_heart[best], *fresh):.0% }} to {{ accuracy(by_heart[3000], *fresh):.0% }}, much less dramatic than
# the loss. The colors say why: at the end the white seam between red and blue is thin. The network is not only wrong
# more often. It is *sure* when it is wrong, and the logarithm makes that expensive.
#
# The simplest cure is to stop at step {{ best }}. Two others change what the network can learn.
#
# ### Weight decay
#
# A boundary that bends around single points needs large weights: the output must change a lot over a short distance.
# So make large weights expensive. Add $\frac{\lambda}{2} \lVert W \rVert^2$ to the loss, half of $\lambda$ times the
# sum of all squared weights. In the code, $\lambda$ is `strength`.
#
# **Exercise 4.** Write the step with this penalty: what is its gradient? The step moves `param` against the gradient
# of loss plus penalty.

# %% tags=["folded"]
decay = Exercise(
    "decayed_step",
    reference=lambda param, grad, rate, strength: param - rate * (grad + strength * param),
    inputs={"param": (3, 4), "grad": (3, 4), "rate": 0.2, "strength": 0.1},
    hints=[
        "Two gradients: that of the loss is grad. That of the penalty, (strength / 2) w**2, is strength * w.",
        "The step is rate times the whole gradient: that of the loss plus that of the penalty.",
        "param - rate * (grad + strength * param)",
    ],
)


# %% tags=["exercise"]
def decayed_step(param, grad, rate, strength): ...  # your turn


decay.check(decayed_step)


# %% tags=["solution"]
def decayed_step(param, grad, rate, strength):
    return param - rate * (grad + strength * param)


decay.check(decayed_step)

# %% tags=["hidden"]
decay.expect(lambda param, grad, rate, strength: param - rate * grad - strength * param, "the reference has")
decay.expect(lambda param, grad, rate, strength: param - rate * (grad - strength * param), "the reference has")
decay.expect(lambda param, grad, rate, strength: param - rate * (grad + 2 * strength * param), "the reference has")
decay.expect(lambda param, grad, rate, strength: None, "not written yet")

# %% [markdown]
# Written another way, `param * (1 - rate * strength) - rate * grad`: each weight shrinks by a constant share, unless
# the data hold it up. Hence the name. Biases are left alone: they shift the boundary and do not make it steeper.
#
# ### More data
#
# The second cure is more samples, here 300 instead of 30. Each step still uses 30, drawn at random. So the training
# takes as long.


# %%
def step_with_decay(param, grad):
    return decayed_step(param, grad, 0.2, 0.01) if param.ndim == 2 else plain_step(param, grad)


many, many_classes = make_moons(300, noise=0.3, random_state=0)
decayed, decayed_curve = train(few, few_classes, start, 3000, step=step_with_decay, watched=fresh)
more, more_curve = train(many, many_classes, start, 3000, batch=30, watched=fresh)

figure, panels = plt.subplots(1, 4, figsize=(15, 3.4), gridspec_kw={"width_ratios": [1.3, 1, 1, 1]})
for values, color, label in [
    (heart_curve, RED, "30 samples"),
    (decayed_curve, YELLOW, "30, weight decay"),
    (more_curve, GREEN, "300 samples"),
]:
    panels[0].plot(values[:, 0], values[:, 2], color=color, label=label)
panels[0].set(xlabel="step", ylabel="validation loss per sample", ylim=(0, 1.5))
panels[0].legend()
draw_decision(panels[1], by_heart[3000], few, few_classes, "30 samples")
draw_decision(panels[2], decayed[3000], few, few_classes, "30 samples, weight decay 0.01")
draw_decision(panels[3], more[3000], many, many_classes, "300 samples")
for axes in panels[2:]:
    axes.set_ylabel("")
plt.show()

runs = [("30", by_heart, heart_curve), ("30, decay", decayed, decayed_curve), ("300", more, more_curve)]
for name, params, values in runs:
    length = np.sqrt(sum(np.sum(p**2) for p in params[3000] if p.ndim == 2))
    print(
        f"{name:>10} samples: training {values[-1, 1]:.3f}, validation {values[-1, 2]:.3f},"
        f" accuracy {accuracy(params[3000], *fresh):.1%}, length of the weights {length:.1f}"
    )

# %% [markdown]
# With weight decay the network misjudges some training samples on purpose, and its validation loss ends at
# {{ decayed_curve[-1, 2]:.2f | 0.35 ± 0.04 }} instead of {{ heart_curve[-1, 2]:.2f }}. Ten times the data do better:
# {{ more_curve[-1, 2]:.2f | 0.23 ± 0.04 }}, with the same network and the same number of steps, and without a
# penalty. There the weights become long as well, but the data hold them in place.
# The large network was never the problem. Too few samples for it were.
#
# All this is one draw of 30 samples. Change `random_state` and run it again: how much do the numbers move?
#
# ## Questions
#
# 1. All weights and biases start at 0. Which gradients are 0 in the first step of the network with one hidden layer,
#    and which are not? Does it ever learn?
# 2. In exercise 1 the cache holds `x` and `weight`, not `bias` and not `out`. Why is that enough? Which one would you
#    not need if the weight were frozen?
# 3. The first layer of a network needs no `dx`. Which share of the backward's work does leaving it out save, in a
#    network of 12 equal layers?
# 4. The validation loss rises while the validation accuracy hardly moves. Which of the two would you watch if you
#    need good probabilities, which if you need only the decision?
# 5. Overfitting went away with ten times the data. Could it have gone away with a *larger* network?
#
# ## Further reading
#
# - [The linear layer of minitrain](../ops/linear.md), and [how to read the pages of operations](../ops/index.md).
# - Rumelhart, Hinton and Williams, 1986, *Learning representations by back-propagating errors*, Nature 323.
# - Zhang et al., 2016, *Understanding deep learning requires rethinking generalization*, arXiv:1611.03530: large
#   networks learn even random labels by heart.
# - Nakkiran et al., 2019, *Deep double descent*, arXiv:1912.02292: about question 5.
# - Loshchilov and Hutter, 2017, *Decoupled weight decay regularization*, arXiv:1711.05101: weight decay with Adam.
# - The next notebook: [softmax and cross-entropy](03_softmax_and_cross_entropy.md).
