# %% [markdown]
# # 1. Gradients by hand
#
# After this notebook you can
#
# - compute the gradient of any formula with the chain rule, node by node;
# - say why a variable that is used twice gets the sum of two gradients;
# - check a gradient with finite differences, and choose a step that works;
# - read what the gradient checker says, and find your mistake with it.
#
# You need to know what a derivative is, and to read Python. It takes about 40 minutes.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

from minitrain import check_gradients
from minitrain.tutorials import Exercise, draw_graph

plt.rcParams["figure.constrained_layout.use"] = True  # room for every label

# %% [markdown]
# ## A formula is a graph
#
# Take the output of one neuron: $y = \tanh(w x + b)$. A computer evaluates it in steps. Each step makes one number
# out of one or two others. Write the steps down as a graph: each node remembers its value, what it was made from, and
# how a small change of each parent changes it.


# %%
class Value:
    """A number that remembers how it was computed."""

    def __init__(self, data, label, parents=(), slopes=()):
        self.data, self.label, self.parents = data, label, parents
        self.slopes = slopes  # d(this) / d(parent), for each parent
        self.grad = 0.0  # d(last node) / d(this): `backward` below computes it

    def __add__(self, other):
        return Value(self.data + other.data, "+", (self, other), (1.0, 1.0))

    def __mul__(self, other):
        return Value(self.data * other.data, "*", (self, other), (other.data, self.data))

    def tanh(self):
        y = math.tanh(self.data)
        return Value(y, "tanh", (self,), (1 - y * y,))


x, w, b = Value(0.5, "x"), Value(-1.2, "w"), Value(0.9, "b")
y = (w * x + b).tanh()

# %% [markdown]
# Three *local* rules are all that this formula needs: a sum passes a change on as it is, a product multiplies it by
# the other factor, and $\tanh' = 1 - \tanh^2$. Now the chain rule puts them together. Start at the end, where
# $dy/dy = 1$. Go backwards. Each node hands its gradient to its parents, multiplied by the slope of the step:
#
# $$\frac{dy}{d\,\text{parent}} \;\text{+=}\; \frac{dy}{d\,\text{node}} \cdot \frac{d\,\text{node}}{d\,\text{parent}}$$


# %%
def backward(last):
    """Fill in the gradient of every node that ``last`` was computed from."""
    order = []  # parents stand before what was made from them

    def visit(node):
        if node not in order:
            for parent in node.parents:
                visit(parent)
            order.append(node)

    visit(last)
    for node in order:
        node.grad = 0.0
    last.grad = 1.0
    for node in reversed(order):  # a node is complete before it hands on its gradient
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            parent.grad += node.grad * slope


backward(y)
draw_graph(y)

# %% [markdown]
# Each box has a name or an operation, the value (blue), and the gradient $dy/d\,\text{box}$ (red). Read it from the
# right. The gradient of $w$ is {{ w.grad:.3f | 0.458 ± 0.001 }}: if $w$ grows by a little, $y$
# grows by {{ w.grad:.3f }} times as much. One pass from right to left gave the gradients of *all* inputs. That is
# why training a network with a million weights is possible: the backward costs about twice the forward, however many
# inputs there are.
#
# ## Used twice, counted twice
#
# The `+=` matters. In $y = \tanh(w x) + x$, the number $x$ acts on the output along two paths, and each path has its
# share: $\;dy/dx = w\,(1 - \tanh^2(wx)) + 1$.

# %%
x, w = Value(0.5, "x"), Value(-1.2, "w")
y = (w * x).tanh() + x
backward(y)
draw_graph(y)

# %%
by_hand = w.data * (1 - math.tanh(w.data * x.data) ** 2) + 1
print(f"graph {x.grad:.6f}, by hand {by_hand:.6f}")

# %% tags=["hidden"]
assert abs(x.grad - by_hand) < 1e-12

# %% [markdown]
# Such an addition of an input to a later result is a *residual connection*. Transformers have two in each block. The
# most common mistake in a hand-written backward is to overwrite one share by the other.
#
# ## Is it right? Finite differences
#
# The derivative is the limit of $\frac{f(x + h) - f(x - h)}{2h}$ as $h$ goes to 0. So take a small $h$ and compare. How
# small? Try all of them, on $f(x) = \sin(x)\,e^x$ at $x = 1$, where the derivative is known.


# %%
def f(x):
    return np.sin(x) * np.exp(x)


exact = (np.sin(1.0) + np.cos(1.0)) * np.exp(1.0)
steps = np.logspace(-15, 0, 151)
central = abs((f(1 + steps) - f(1 - steps)) / (2 * steps) - exact) / exact
forward = abs((f(1 + steps) - f(1.0)) / steps - exact) / exact
best = steps[central.argmin()]

figure, axes = plt.subplots(figsize=(7, 4))
axes.loglog(steps, forward, ".", color="#6c757d", label="one-sided: (f(x + h) - f(x)) / h")
axes.loglog(steps, central, ".", color="#2a6fbb", label="central: (f(x + h) - f(x - h)) / 2h")
axes.loglog(steps, steps**2 / 14, "--", color="#2a6fbb", alpha=0.5, label="the step is not 0: $h^2 / 14$")
axes.loglog(steps, 1.1e-16 / steps, "--", color="#d1495b", label="rounding: $10^{-16}/h$")
axes.set(xlabel="step h", ylabel="relative error", ylim=(1e-13, 10))
axes.legend()
plt.show()

# %% [markdown]
# Look at the blue dots, from right to left. The error first falls, as $h^2$: a shorter step is closer to the limit.
# (The 14 belongs to this $f$: it comes from the third derivative, the first term of the series that does not cancel.)
# Then it *rises*. The two
# values of $f$ are nearly equal, and a float64 keeps 16 digits. At $h = 10^{-12}$ twelve of them cancel, and four
# are left:
#
# - at $h = 10^{-12}$ the relative error is {{ central[np.abs(np.log10(steps) + 12).argmin()]:.0e | ≤ 0.01 }};
# - the best step here is about {{ best:.0e | 1e-5 ± 3e-5 }}, with an error of {{ central.min():.0e | ≤ 1e-9 }}.
#
# The two dashed lines cross near the cube root of $10^{-16}$. Grey is the one-sided difference of the schoolbooks. Its
# error only falls as $h$, so the best it can do is worse. In float32, with 7 digits, the best possible error is
# near $10^{-4}$. So gradients are checked in float64, even if you train in float32.

# %% [markdown]
# ## Your turn
#
# An exercise has three cells. The first is folded, since it holds the hints and the answer: run it, and do not open it
# yet. The second is yours. Write your function in place of the `...` and run the cell as often as you like: it says
# what is wrong, and gives a hint. The third, folded too, is a solution to compare with. Later cells use
# whichever of the two functions ran last.
#
# **Exercise 1.** Write the central difference of a function of one number: the fraction above.

# %% tags=["folded"]
slope = Exercise(
    "central_difference",
    reference=lambda f, x, h: (f(x + h) - f(x - h)) / (2 * h),
    inputs={"f": np.exp, "x": 0.3, "h": 0.05},
    hints=[
        "You need two values of f: a little to the right of x, and a little to the left.",
        "How far are the two places apart?",
        "(f(x + h) - f(x - h)) / (2 * h)",
    ],
    advice={
        "all are 2 times": "The two places are 2 h apart, not h.",
        "0.999688 times": "Take the two places x + h and x - h.",
        "1.02499 times": "The second place is x - h, not x.",
        "0.975005 times": "The first place is x + h, not x.",
        "0.0025 times": "Divide by all of (2 * h): mind the brackets.",
        "wrong sign": "Right minus left, so that a growing function has a positive slope.",
    },
)


# %% tags=["exercise"]
def central_difference(f, x, h): ...  # your turn


slope.check(central_difference)


# %% tags=["solution"]
def central_difference(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


slope.check(central_difference)

# %% tags=["hidden"]
slope.expect(lambda f, x, h: (f(x + h) - f(x - h)) / h, "2 h apart")
slope.expect(lambda f, x, h: (f(x - h) - f(x + h)) / (2 * h), "Right minus left")
slope.expect(lambda f, x, h: (f(x + h) - f(x)) / h, "not x")
slope.expect(lambda f, x, h: (f(x) - f(x - h)) / h, "not x")
slope.expect(lambda f, x, h: (f(x + h / 2) - f(x - h / 2)) / h, "x + h and x - h")
slope.expect(lambda f, x, h: (f(x + h) - f(x - h)) / 2 * h, "mind the brackets")
slope.expect(lambda f, x, h: None, "not written yet")

# %% [markdown]
# ## From numbers to arrays: forward and backward
#
# A node for each number is too slow: a small GPT would need a billion of them. So minitrain works on whole arrays.
# Each operation is a pair of functions.
#
# - `forward(x, ...)` returns the output and a *cache*: whatever the backward will need.
# - `backward(dout, cache)` gets `dout`, the gradient of the loss with respect to the output. It has the output's
#   shape. It returns the gradient of the loss with respect to each input.
#
# The *loss* is the one number at the end of it all, which training makes small. It was $y$ above.
#
# It is the same chain rule: `dout` is `node.grad`, and the backward multiplies it by the slope.


# %%
def tanh_forward(x):
    out = np.tanh(x)
    return out, out  # the cache is the output: that is all the slope needs


def tanh_backward(dout, cache):
    out = cache
    return dout * (1 - out**2)


rng = np.random.default_rng(0)
print(check_gradients((tanh_forward, tanh_backward), rng.standard_normal((3, 4))))

# %% [markdown]
# `check_gradients` compares the backward with finite differences along random directions. It looks for a good step
# by itself. What does it say about a mistake?

# %%
from minitrain.testing import GradientMismatch


def wrong_backward(dout, cache):
    return dout * (1 - cache)  # the square is missing


try:
    check_gradients((tanh_forward, wrong_backward), rng.standard_normal((3, 4)))
except GradientMismatch as error:
    print(error)

# %% [markdown]
# It names the argument and its worst element. *Analytic* is what the backward says there, *numeric* what the finite
# differences say. Often it can say more, as you will see now.
#
# **Exercise 2.** The logistic function is $\sigma(x) = 1 / (1 + e^{-x})$. Find its derivative, write it with
# $\sigma$ alone, and write the backward.
#
# <details markdown><summary>Hint</summary>
#
# Derive $(1 + e^{-x})^{-1}$ with the chain rule: $e^{-x} / (1 + e^{-x})^2$. Then write $e^{-x} / (1 + e^{-x})$ as $1
# - \sigma$.
#
# </details>


# %%
def sigmoid_forward(x):
    out = 1 / (1 + np.exp(-x))
    return out, out


# %% tags=["folded"]
sigmoid = Exercise(
    "sigmoid_backward",
    forward=sigmoid_forward,
    inputs={"x": (4, 5)},
    hints=[
        "The cache is the output. Its slope can be written with the output alone.",
        "Multiply the slope by dout: that is the chain rule.",
        "The slope is out * (1 - out).",
    ],
    advice={
        "wrong sign": "Two minus signs meet: that of the exponent -1 and that of -x.",
        "times the gradient of the output": "The slope is right. The chain rule multiplies it by dout.",
        "agrees in part": "The slope is a product of two factors. One of them is out.",
    },
)


# %% tags=["exercise"]
def sigmoid_backward(dout, cache):
    out = cache
    ...  # your turn


sigmoid.check(sigmoid_backward)


# %% tags=["solution"]
def sigmoid_backward(dout, cache):
    out = cache
    return dout * out * (1 - out)


sigmoid.check(sigmoid_backward)

# %% tags=["hidden"]
sigmoid.expect(lambda dout, out: -dout * out * (1 - out), "Two minus signs")
sigmoid.expect(lambda dout, out: out * (1 - out), "multiplies it by dout")
sigmoid.expect(lambda dout, out: dout * out, "product of two factors")
sigmoid.expect(lambda dout, out: None, "not written yet")

# %% [markdown]
# **Exercise 3.** A bias is added to every row: `out = x + bias`, with `x` of shape (6, 4) and `bias` of shape (4,).
# NumPy repeats the bias for each row without saying so. So each element of the bias is used six times. What follows
# for its gradient?


# %%
def add_bias_forward(x, bias):
    return x + bias, None


# %% tags=["folded"]
add_bias = Exercise(
    "add_bias_backward",
    forward=add_bias_forward,
    inputs={"x": (6, 4), "bias": (4,)},
    hints=[
        "Return two gradients, dx and dbias. Each has the shape of its input.",
        "Used six times, counted six times: think of the residual connection above.",
        "dbias is the sum of dout over the rows.",
    ],
    advice={
        "shape": "A gradient has the shape of its input. The bias was repeated along axis 0: what undoes a repetition?",
        "0.166667 times": "The six uses add up. Nothing divides by their number.",
    },
)


# %% tags=["exercise"]
def add_bias_backward(dout, cache): ...  # your turn


add_bias.check(add_bias_backward)


# %% tags=["solution"]
def add_bias_backward(dout, cache):
    return dout, dout.sum(axis=0)


add_bias.check(add_bias_backward)

# %% tags=["hidden"]
add_bias.expect(lambda dout, cache: (dout, dout), "what undoes a repetition")
add_bias.expect(lambda dout, cache: (dout, dout.mean(axis=0)), "Nothing divides")
add_bias.expect(lambda dout, cache: (dout, dout[0]), "bias")
add_bias.expect(lambda dout, cache: dout, "")

# %% [markdown]
# ## Questions
#
# 1. In the first graph, the gradient of $b$ equals that of the node before `tanh`. Why?
# 2. A backward passes the checker with `dout` of all ones, but training fails. How can that be? (Softmax: what is
#    the gradient of the sum of its outputs?)
# 3. The checker tests along random directions and not each element by itself. What does that save for a matrix of a
#    million elements?
# 4. At a kink such as $|x|$ at 0, the slopes from both sides differ. What should a checker say there?
#
# ## Further reading
#
# - Baydin et al., 2018, *Automatic differentiation in machine learning: a survey*, arXiv:1502.05767.
# - Griewank and Walther, 2008, *Evaluating Derivatives*: why the backward costs a small multiple of the forward.
# - [The operations of minitrain](../ops/index.md): a page for each, with its derivation.
# - The next notebook: [linear layers and batches](02_linear_layers.md).
