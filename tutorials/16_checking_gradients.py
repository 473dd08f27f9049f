# %% [markdown]
# # 16. Checking gradients
#
# After this notebook you can
#
# - choose the step of a finite difference, and say why there is a best one;
# - check a gradient along a random direction, and say which mistakes that misses;
# - recognise a kink, and judge a gradient there;
# - test a backward at many shapes, and test your tests by planting mistakes.
#
# You need the chain rule ([notebook 1](01_gradients_by_hand.md)). It takes about 30 minutes.

# %%
import matplotlib.pyplot as plt
import numpy as np

from minitrain.testing import GradientMismatch, check_gradients
from minitrain.testing.calls import check_drawn
from minitrain.testing.methods import check_complex_step, check_large

BLUE, RED, GREEN, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True
rng = np.random.default_rng(0)

# %% [markdown]
# ## The best step
#
# A derivative is a limit, so a shorter step should be better. Try it on sin at 1. Two rules: the one-sided quotient
# (f(x + h) − f(x)) / h, whose error is about h, and the central one (f(x + h) − f(x − h)) / 2h, whose error is about
# h².

# %%
steps = 10.0 ** np.arange(-15, 0.01, 0.25)
right = np.cos(1.0)
one_sided = abs((np.sin(1 + steps) - np.sin(1)) / steps - right)
central = abs((np.sin(1 + steps) - np.sin(1 - steps)) / (2 * steps) - right)

figure, axes = plt.subplots(figsize=(7, 3.2))
axes.loglog(steps, one_sided + 1e-17, color=BLUE, label="one-sided")
axes.loglog(steps, central + 1e-17, color=RED, label="central")
axes.loglog(steps, 1e-16 / steps, color=GREY, linestyle=":", label="rounding, 1e-16 / h")
axes.set(xlabel="step h", ylabel="error of the derivative", ylim=(1e-14, 1))
axes.legend(fontsize=9)
plt.show()
best_one, best_central = steps[one_sided.argmin()], steps[central.argmin()]

# %% [markdown]
# To the right, the rule itself is wrong; to the left, rounding is: f(x + h) and f(x) share most of their digits, and
# the subtraction leaves only the last ones. The best central step is near {{ np.log10(best_central):.0f | -5 ± 1.5
# }} as a power of ten, and the error there near {{ np.log10(central.min() + 1e-17):.0f | -11.5 ± 2 }}.
#
# The best step depends on the function: at x = 10⁶, sin needs the same h, but x + h has fewer digits for it; 1/x at
# 10⁻³ needs h far below 10⁻³. So the checker of this library tries several steps for each element, and takes the one
# that others confirm.
#
# ## One direction instead of every element
#
# A gradient of a million elements would need two million forwards. But a derivative along a direction v is a single
# number: it must be ⟨gradient, v⟩. With a random v, a wrong gradient gives another number with probability one.
#
# `f` maps an array to a number.

# %%


def along(f, x, v, h=1e-5):
    """The derivative of f at x along v, by a central difference."""
    return (f(x + h * v) - f(x - h * v)) / (2 * h)


x, v = rng.standard_normal(1000), rng.standard_normal(1000)
measured = along(lambda x: (x**3).sum(), x, v)
gradient = 3 * x**2
agreement = abs(gradient @ v - measured) / abs(measured)

# %% [markdown]
# They agree to {{ np.log10(agreement):.0f | ≤ -6 }} (a power of ten). What would it miss? Spoil one element of the
# gradient and look again: of a thousand elements, and of a million.

# %%
misses = []
for size in (10**3, 10**6):
    x, v = rng.standard_normal(size), rng.choice([-1.0, 1.0], size)
    gradient = 3 * x**2
    wrong = gradient.copy()
    wrong[7] += 1.0
    scale = np.linalg.norm(gradient)  # the size that <gradient, v> usually has
    misses.append(abs(wrong @ v - along(lambda x: (x**3).sum(), x, v)) / scale)

# %% [markdown]
# Among a million, an error of 1 in one element shows as {{ misses[1]:.0e | ≤ 1e-3 }} of the whole. PyTorch's
# `gradcheck` accepts 10⁻³, so it accepts this. With signs ±1 for v, one wrong element always shows by all of its
# error; normal numbers may be near zero just there. `check_large` uses this, and says what it cannot see:

# %%
(report,) = check_large(((lambda x: (x**3, x)), (lambda dout, x: 3 * x**2 * dout)), rng.standard_normal(100_000))
print(report)

# %% [markdown]
# ## A difference without a difference
#
# The digits were lost in a subtraction. A complex number avoids it: f(x + ih) = f(x) + ih f′(x) − …, so the imaginary
# part divided by h is the derivative, and h may be 10⁻¹⁰⁰.

# %%
h = 1e-100
complex_error = abs(np.sin(1 + 1j * h).imag / h - np.cos(1))


def tanh(x):
    return np.tanh(x), np.tanh(x)


print(check_complex_step((tanh, lambda dout, y: dout * (1 - y * y)), rng.standard_normal((2, 3))))

# %% [markdown]
# The error is {{ complex_error:.0e | ≤ 1e-15 }}. It works for functions made of products, powers, exp, log and sin. It
# does not for `abs`, and for code that converts to float64.
#
# ## Kinks
#
# At 0, ReLU has no derivative: 0 from the left, 1 from the right. A backward must return something, and any number
# from 0 to 1 is right. A central difference says 1/2.

# %%


def relu(x):
    return np.maximum(x, 0), x


print(check_gradients((relu, lambda dout, x: dout * (x > 0)), np.array([-1.0, 0.0, 2.0])))

# %% [markdown]
# A checker that knows kinks accepts 0 and 1 there, and names the element. One that does not rejects ReLU at 0, or at
# 10⁻⁸, as PyTorch's and JAX's do. The usual advice is to keep away from kinks; then nobody tests what happens there.
#
# ## Shapes
#
# This backward works on blocks of four and forgets the rest. The test has four columns.

# %%


def square(x):
    return x * x, x


def blocks_of_four(dout, x):
    dx = np.zeros_like(x)
    whole = x.shape[-1] // 4 * 4
    dx[..., :whole] = 2 * x[..., :whole] * dout[..., :whole]
    return dx


print(check_gradients((square, blocks_of_four), rng.standard_normal((3, 4))))

# %% [markdown]
# It passes. `check_drawn` draws the shapes. What fails is made smaller as long as it fails.

# %%
try:
    check_drawn((square, blocks_of_four), "x: B C")
except GradientMismatch as error:
    print(error)
    print(*error.__notes__)
    smallest = error.mismatches[0].shape

# %% [markdown]
# ## Your turn
#
# The heart of every checker is a line: the derivative along a direction. Write it, with a central difference and the
# step h.

# %% tags=["folded"]
from minitrain.tutorials import Exercise

slope = Exercise(
    "along",
    reference=lambda x, v: float((((x + 1e-4 * v) ** 3).sum() - ((x - 1e-4 * v) ** 3).sum()) / 2e-4),
    inputs={"x": (6,), "v": (6,)},
    hints=[
        "Evaluate f at two points, the same length to either side of x.",
        "The points are x + h * v and x - h * v; they lie 2 * h apart.",
        "return (f(x + h * v) - f(x - h * v)) / (2 * h)",
    ],
    advice={"times": "How far apart are the two points?"},
    tolerance=1e-6,
)


def f(x):
    return (x**3).sum()


# %% tags=["exercise"]
def along(x, v, h=1e-4): ...  # your turn


slope.check(along)


# %% tags=["solution"]
def along(x, v, h=1e-4):
    return (f(x + h * v) - f(x - h * v)) / (2 * h)


slope.check(along)

# %% tags=["hidden"]
slope.expect(lambda x, v: (f(x + 1e-4 * v) - f(x - 1e-4 * v)) / 1e-4, "times")
slope.expect(lambda x, v: (f(x - 1e-4 * v) - f(x + 1e-4 * v)) / 2e-4, "sign")
slope.expect(lambda x, v: None, "None")

# %% [markdown]
# ## Do your tests notice?
#
# A test that passes says little unless it can fail. `minitrain mutants my_layers.py` plants one small mistake at a
# time in your backward (a sign, an axis, a term left out), runs your tests, and lists the mistakes that none of them
# noticed. By hand, with three mistakes and a weak test, that of the shape:

# %%


def norm_backward(dout, cache):
    xhat, rstd = cache
    return rstd * (dout - dout.mean(axis=-1, keepdims=True) - xhat * (dout * xhat).mean(axis=-1, keepdims=True))


mutants = {
    "sign": lambda dout, c: -norm_backward(dout, c),
    "a term left out": lambda dout, c: c[1] * (dout - dout.mean(axis=-1, keepdims=True)),
    "another axis": lambda dout, c: (
        c[1] * (dout - dout.mean(axis=0) - c[0] * (dout * c[0]).mean(axis=-1, keepdims=True))
    ),
}
x = rng.standard_normal((3, 5))


def layer_norm(x):
    centred = x - x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred * rstd, (centred * rstd, rstd)


def notices(test, backward):
    try:
        test(backward)
    except AssertionError:
        return True
    return False


def weak(backward):
    out, cache = layer_norm(x)
    assert backward(np.ones_like(out), cache).shape == x.shape


def strong(backward):
    check_gradients((layer_norm, backward), x)


for name, mutant in mutants.items():
    print(f"{name:16}  weak test: {notices(weak, mutant)!s:5}  gradient check: {notices(strong, mutant)}")
caught = sum(notices(strong, mutant) for mutant in mutants.values())

# %% [markdown]
# The gradient check notices {{ caught:.0f | 3 ± 0 }} of 3, and it is right about the backward as it should be.

# %%
print(check_gradients((layer_norm, norm_backward), x))

# %% [markdown]
# ## Questions
#
# 1. Why is the best one-sided step near 10⁻⁸, and the best central one near 10⁻⁵?
# 2. A gradient check with the gradient of the output all ones passes for a softmax whose backward returns zero. Why?
# 3. Your backward runs in bfloat16, which has 8 bits. No step works: a short one is lost, a long one is wrong. What
#    could you compare it with instead? ([Mixed precision](../precision.md) has an answer.)
# 4. One of 10⁸ elements is wrong by 0.1 % of the typical size. How many groups must `check_large` make to notice?
#
# ## Further reading
#
# - Squire, Trapp, 1998, *Using complex variables to estimate derivatives of real functions*, SIAM Review 40(1).
# - Karpathy, *CS231n: gradient checks*: the classic list of advice.
# - [Check your gradients](../gradient_checks.md), and [three checkers on 90 cases](../gradient_checkers.md).
