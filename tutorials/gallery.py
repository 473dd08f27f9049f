# %% [markdown]
# # Gallery
#
# Pictures made by minitrain, each under the lines of code that made exactly this picture. The page is a notebook: it
# ran from top to bottom when this site was built, in less than a minute on two cores.

# %%
import io
from contextlib import redirect_stdout
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image

import minitrain as mt
from minitrain import inside, optim
from minitrain.generation import SamplingParams
from minitrain.generation.choosing import Chooser
from minitrain.runs import compare_runs, load_run, plot_comparison, recipe, start_run

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#7b4b94", "#6c757d"

# %% [markdown]
# ## A run
#
# Most pictures show one small GPT, trained on the characters of Python's own language reference. A run draws its curves
# by itself. The dashed lines are what a guess would cost. Reading: [Training](../training.md).

# %%
text = mt.data.read_corpus()
Path("manual.txt").write_text(text[:300_000])
small = {"data": {"path": "manual.txt"}, "model": {"n_layer": 2, "n_embd": 64}}
config = recipe(
    "pydoc",
    **small,
    run_dir="runs/gpt",
    optimizer={"learning_rate": 4e-3},
    trainer={"max_steps": 400, "batch_size": 16, "validation_frequency": 80, "eval_batches": 5, "log_every": 4},
    callbacks=[
        {"name": "histograms", "every": 20, "parameters": "*[!12].weight", "most": 6, "reach": 9},
        "gradient_statistics",
    ],
)
start_run(config).train()
Image("runs/gpt/loss.png", width=600)

# %% [markdown]
# ## Where the weights go
#
# Histograms of six matrices (`[!12]` leaves out `norm1` and `norm2`), kept every 20 steps by the
# [callback](../callbacks.md) `histograms`. Each column is one histogram. They begin narrow and spread.

# %%
Image("runs/gpt/plots/histograms.png", width=900)

# %% [markdown]
# ## Gradients by layer
#
# The callback `gradient_statistics` writes the norm of every gradient into the [records](../api/records.md).

# %%
from minitrain.records import read_metrics

records = [record for record in read_metrics("runs/gpt/metrics.jsonl") if "loss" in record]
names = [name for name in records[0] if name.startswith("grad_norm.")]
norms = np.array([[record[name] for name in names] for record in records])  # (records, parameters)

figure, axes = plt.subplots(figsize=(9, 4.2))
picture = axes.imshow(np.log10(norms.T), aspect="auto", cmap="magma", extent=(0, 400, len(names), 0))
axes.set_yticks(np.arange(len(names)) + 0.5, [name.removeprefix("grad_norm.") for name in names], fontsize=8)
axes.set(xlabel="step", title="Norm of each gradient")
figure.colorbar(picture, label="log10")
plt.show()

# %% [markdown]
# ## What each head looks at
#
# `inside.capture` reads any value of a forward by its name. Row $t$ says how much position $t$ takes from each
# position. Reading: [Look inside a model](../howto/looking_inside.md), [attention](../ops/attention.md).

# %%
loaded = load_run("runs/gpt")
model, tokenizer = loaded.model, loaded.tokenizer
prompt = "the value of the expression"
tokens = tokenizer.encode(prompt)[None]
with inside.capture(model, ["**.weights", "blocks.*.mid", "blocks.*.out"]) as seen:
    model.forward(tokens)

letters = prompt.replace(" ", "␣")
figure, grid = plt.subplots(2, 4, figsize=(13, 6.8), sharex=True, sharey=True)
for (block, head), axes in np.ndenumerate(grid):
    axes.imshow(seen[f"blocks.{block}.attention.weights"][0, head], cmap="Blues", vmin=0, vmax=1)
    axes.set_title(f"block {block}, head {head}", fontsize=10)
    axes.set_xticks(range(len(letters)), letters, fontsize=7)
    axes.set_yticks(range(len(letters)), letters, fontsize=7)
plt.show()

# %% [markdown]
# ## The logit lens
#
# All layers add to one stream. The model's own norm and head can read it after each of them. A letter is what the model
# would say comes next, if it stopped there; dark fields are sure.

# %%
rows = ["blocks.0.mid", "blocks.0.out", "blocks.1.mid", "blocks.1.out"]
figure, axes = plt.subplots(figsize=(11, 2.6))
for row, name in enumerate(rows):
    logits = model.head.forward(model.norm.forward(seen[name])[0])[0][0]  # (T, V)
    p = mt.ops.softmax_forward(logits)[0]
    place = (-0.5, len(letters) - 0.5, row + 0.5, row - 0.5)
    axes.imshow(p.max(axis=-1)[None], extent=place, cmap="Greens", vmin=0, vmax=1)
    for t, best in enumerate(p.argmax(axis=-1)):
        said = tokenizer.decode([best]).replace(" ", "␣").replace("\n", "↵")
        axes.text(t, row, said, ha="center", va="center", color="white" if p[t].max() > 0.6 else "black")
axes.set(xlim=(-0.5, len(letters) - 0.5), ylim=(3.5, -0.5), aspect="auto", xlabel="the character read")
axes.set_xticks(range(len(letters)), letters)
axes.set_yticks(range(4), ["+ attention 0", "+ feed-forward 0", "+ attention 1", "+ feed-forward 1"])
plt.show()

# %% [markdown]
# ## Characters as vectors
#
# The table of embeddings, seen along its two widest directions. Nobody told the model which characters are vowels,
# digits or capitals.

# %%
counts = np.bincount(tokenizer.encode(text[:300_000]), minlength=tokenizer.vocab_size)
frequent = np.argsort(-counts)[:64]
table = model.tok_emb.weight.data[frequent]
centred = table - table.mean(axis=0)
along = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T  # (64, 2)

figure, axes = plt.subplots(figsize=(7.5, 5.5))
for (x, y), token in zip(along, frequent, strict=True):
    c = tokenizer.decode([token])
    kind = RED if c in "aeiou" else BLUE if c.islower() else GREEN if c.isupper() else YELLOW if c.isdigit() else GREY
    axes.text(x, y, {" ": "␣", "\n": "↵"}.get(c, c), color=kind, ha="center", va="center", fontsize=13)
low, high = along.min(axis=0) - 0.1, along.max(axis=0) + 0.1
axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
axes.set_title("vowels red, consonants blue, capitals green, digits yellow")
plt.show()

# %% [markdown]
# ## From logits to a choice
#
# What the settings of sampling leave of one distribution: the next character after `the va`. Reading:
# [Generation](../generation.md).

# %%
logits = model.forward(tokenizer.encode("the va")[None])[0][0, -1]
top = np.argsort(-logits)[:12]
settings = {
    "as it is": SamplingParams(),
    "temperature 0.5": SamplingParams(temperature=0.5),
    "temperature 2": SamplingParams(temperature=2.0),
    "top-p 0.8": SamplingParams(top_p=0.8),
    "min-p 0.2": SamplingParams(min_p=0.2),
}
figure, panels = plt.subplots(1, 5, figsize=(14, 2.8), sharey=True)
for axes, (name, params) in zip(panels, settings.items(), strict=True):
    weights = Chooser(params).weights(logits, np.array([], int), 0)
    axes.bar(range(12), (weights / weights.sum())[top], color=BLUE)
    axes.set_xticks(range(12), [tokenizer.decode([token]).replace(" ", "␣") for token in top])
    axes.set_title(name)
panels[0].set_ylabel("probability")
plt.show()

# %% [markdown]
# ## Is it as sure as it should be?
#
# Of the predictions made with a confidence of 60 %, 60 % should be right. The area of a point is the number of
# predictions. Reading: [Evaluation](../evaluation.md).

# %%
from minitrain.evaluation import score_text

score = score_text(model, tokenizer, text[-20_000:])
bins = [part for part in score.calibration.table() if part.predictions]
figure, axes = plt.subplots(figsize=(4.6, 4.4))
axes.plot([0, 1], [0, 1], "--", color=GREY)
x, y, sizes = np.array([(b.confidence, b.accuracy, b.predictions / 10) for b in bins]).T
axes.scatter(x, y, s=sizes, color=BLUE)
axes.set(xlabel="confidence", ylabel="share that is right", aspect="equal")
axes.set_title(f"expected error {score.calibration.expected_error:.3f}")
plt.show()

# %% [markdown]
# ## Optimizers on a surface
#
# A parameter is a point here, and the loss has four minima (Himmelblau's function). All begin at the same place near
# the hill in the middle. Reading: [Optimizers drawn](08_optimizers_drawn.md).


# %%
class Point(mt.Module):
    def __init__(self, x, y):
        self.at = mt.Parameter(np.array([x, y]))


def walk(make, steps=60):
    point = Point(0.1, -0.6)
    optimizer, path = make(point), [point.at.data.copy()]
    for _ in range(steps):
        x, y = point.at.data
        u, v = x**2 + y - 11, x + y**2 - 7
        optimizer.zero_grad()
        point.at.grad += np.array([4 * x * u + 2 * v, 2 * u + 4 * y * v])
        optimizer.step()
        path.append(point.at.data.copy())
    return np.array(path)


x, y = np.meshgrid(np.linspace(-5, 5, 300), np.linspace(-5, 5, 300))
figure, axes = plt.subplots(figsize=(7.5, 6.2))
axes.contourf(x, y, np.log1p((x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2), levels=30, cmap="Greys", alpha=0.6)
for name, make, color in [
    ("SGD", lambda m: optim.SGD(m, 0.01), BLUE),
    ("SGD, momentum 0.9", lambda m: optim.SGD(m, 0.01, momentum=0.9), GREEN),
    ("Adam", lambda m: optim.Adam(m, 0.3), RED),
    ("RMSprop", lambda m: optim.RMSprop(m, 0.1), YELLOW),
    ("Lion", lambda m: optim.Lion(m, 0.2), PURPLE),
]:
    axes.plot(*walk(make).T, ".-", color=color, markersize=5, linewidth=1.2, label=name)
axes.legend(loc="lower left")
axes.set_aspect("equal")
plt.show()

# %% [markdown]
# ## Schedules
#
# A schedule is a function of the step. Reading: [optimizers and schedules](../api/optim.md).

# %%
schedules = {
    "warm-up and cosine": mt.WarmupCosine(1.0, 0.1, warmup_steps=100, total_steps=1000),
    "warm-up, stable, decay": optim.WarmupStableDecay(1.0, 0.0, warmup_steps=100, decay_steps=250, total_steps=1000),
    "one cycle": optim.OneCycle(1.0, total_steps=1000),
    "cosine with restarts": optim.CosineRestarts(1.0, 0.0, cycle_steps=250),
}
figure, panels = plt.subplots(1, 4, figsize=(13, 2.4), sharey=True)
for axes, (name, schedule) in zip(panels, schedules.items(), strict=True):
    axes.plot([schedule(step) for step in range(1000)], color=BLUE)
    axes.set(xlabel="step", title=name)
panels[0].set_ylabel("learning rate")
plt.show()

# %% [markdown]
# ## Which learning rate?
#
# The rate rises while the model trains, until the loss explodes. Afterwards everything is as before. Reading:
# [probes](../api/probes.md).

# %%
from minitrain.probes import find_learning_rate

fresh = start_run(recipe("pydoc", **small, run_dir="runs/fresh"))
Image(find_learning_rate(fresh.trainer, low=1e-5).plot("rates.png"), width=600)

# %% [markdown]
# ## Runs side by side
#
# Four rates, the same seed. `minitrain train --multirun` and `minitrain compare` do the same in the terminal. Reading:
# [Sweeps](../howto/sweeps.md).

# %%
rates = (1e-4, 1e-3, 1e-2, 1e-1)
for rate in rates:
    trainer = {"max_steps": 100, "validation_frequency": 20, "save_every": 100, "sample_tokens": 0}
    optimizer = {"learning_rate": rate}
    with redirect_stdout(io.StringIO()):  # without the lines that each prints
        start_run(recipe("tiny", **small, run_dir=f"runs/{rate:g}", optimizer=optimizer, trainer=trainer)).train()
Image(plot_comparison(compare_runs([f"runs/{rate:g}" for rate in rates]), "comparison.png"), width=600)

# %% [markdown]
# ## A network that bends
#
# Two spirals, and what an MLP makes of the plane.

# %%
rng = np.random.default_rng(0)
turn = np.sqrt(rng.random(400)) * 3 * np.pi
side = np.repeat([0, 1], 200)
points = np.stack([np.cos(turn + np.pi * side), np.sin(turn + np.pi * side)], axis=1) * turn[:, None] / 10
points = (points + rng.normal(0, 0.02, points.shape)).astype(np.float32)

net = mt.MLP(mt.MLPConfig((2, 64, 64, 2)), seed=0)
optimizer = optim.Adam(net, 5e-3)
for step in range(1500):
    mt.training.train_step(net, optimizer, [(0, (points, side))], lr=5e-3)

x, y = np.meshgrid(np.linspace(-1.1, 1.1, 300), np.linspace(-1.1, 1.1, 300))
logits, _ = net.forward(np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32))
figure, axes = plt.subplots(figsize=(5, 4.8))
axes.contourf(x, y, mt.ops.softmax_forward(logits)[0][:, 1].reshape(x.shape), levels=20, cmap="RdBu_r", alpha=0.7)
axes.scatter(*points.T, c=np.where(side, RED, BLUE), s=12, edgecolors="white", linewidths=0.5)
axes.set_aspect("equal")
plt.show()

# %% [markdown]
# ## Where a step's time goes
#
# Each operation of a training step, with what the machine's arithmetic and memory allow. The times are of the machine
# that built this page. Reading: [Where the speed comes from](../performance.md).

# %%
from minitrain.profiling import Profile, draw, measure_machine

setup = fresh.trainer.setup
with Profile(setup.model) as recorded:
    for step in range(10):
        mt.training.train_step(setup.model, setup.optimizer, setup.batch(step), lr=1e-3)
        recorded.step()
Image(draw(recorded.report(measure_machine()), "profile.png"), width=900)
