# %% [markdown]
# # 7. A GPT from its parts
#
# After this notebook you can
#
# - build a GPT from an embedding, blocks with residual connections and a head, with its backward;
# - count every parameter and every operation of it, and say what the loss is before training;
# - watch attention, predictions and text change while it learns;
# - look inside: read what it would say after each layer, take parts out, and find out where it keeps what it needs.
#
# You need notebooks 2 to 6. It takes about 60 minutes. The model is small, but it is the whole thing: the published
# GPTs differ in size.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

from minitrain import GPT, AdamW, GPTConfig, Key, Module, TokenLoader, WarmupCosine, generate, pack
from minitrain.data import CharTokenizer, read_corpus
from minitrain.inside import AttentionView, capture, names, patch
from minitrain.nn import Embedding, FeedForward, LayerNorm, LearnedPositions, Linear, MultiHeadAttention
from minitrain.training import train_step
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, YELLOW, PURPLE, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#edae49", "#7b4b94", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True  # room for every label

# %% [markdown]
# ## The text
#
# Every Python brings its own language reference along. `read_corpus()` returns it. A *token* is one character here, so
# a text becomes an array of small integers.

# %%
text = read_corpus()
tokenizer = CharTokenizer.from_text(text)
ids = tokenizer.encode(text)
held_out = len(ids) // 10
train_ids, test_ids = ids[:-held_out], ids[-held_out:]

V, T, C, L, H = tokenizer.vocab_size, 64, 64, 2, 4  # tokens, positions, width, blocks, heads
print(f"{len(text):,} characters, {V} of them different; the text begins")
print(text[:160])

# %% [markdown]
# The task is to predict the next character at every position. So inputs and targets are the same text, one place apart.
# A batch has the shape (B, T). The model returns a score for each of the $V$ characters at each place: the logits, of
# shape (B, T, V).

# %%
first = train_ids[: T + 1]
inputs, targets = first[:-1], first[1:]
for i in range(4):
    print(f"after {tokenizer.decode(inputs[: i + 1])!r} comes {tokenizer.decode(targets[i : i + 1])!r}")

# %% [markdown]
# ## The stream and its branches
#
# You know attention (notebook 5) and the feed-forward layer (the branch of notebook 4: a product, ReLU, a product; GPT
# has GELU, a smooth ReLU, in the middle). How do they become a deep network? The obvious way is one after the
# other: the output of each is the input of the next. Try it before training: 12 layers of each, with random weights. Do
# the positions stay distinguishable? Here is how alike they are: the mean cosine between two positions, 1 if all are
# equal.


# %%
def alike(x):
    """Mean cosine between two different positions of x (B, T, C)."""
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    cosines = unit @ unit.swapaxes(1, 2)  # (B, T, T)
    different = ~np.eye(x.shape[1], dtype=bool)
    return cosines[:, different].mean()


rng = np.random.default_rng(0)
start = rng.standard_normal((4, T, C), dtype=np.float32)
likeness = {"one after the other": [alike(start)], "added to a stream": [alike(start)]}
for name, values in likeness.items():
    x = start
    for _ in range(12):
        for layer in (MultiHeadAttention(C, H, rng, bias=False), FeedForward(C, 4 * C, rng, bias=False)):
            normed, _ = LayerNorm(C, bias=False).forward(x)
            out, _ = layer.forward(normed)
            x = x + out if name == "added to a stream" else out
        values.append(alike(x))

figure, axes = plt.subplots(figsize=(7, 3.5))
for (name, values), color in zip(likeness.items(), (RED, BLUE), strict=True):
    axes.plot(values, "o-", color=color, label=name)
axes.set(xlabel="blocks", ylabel="mean cosine of two positions", ylim=(-0.05, 1.05))
axes.legend()
plt.show()

# %% [markdown]
# Red: after three blocks the mean cosine is {{ likeness["one after the other"][3]:.2f | ≥ 0.7 }}, and after twelve no
# layer could tell the positions apart. Each attention averages over positions, and nothing undoes that. Dong et al.
# (arXiv:2103.03404) show how fast attention alone does it. Blue: each layer *adds* a little to what is there. The
# vector of a position stays its own, from the first layer to the last. It is called the *residual stream*, and each
# layer is a *branch* that reads a normalised copy of it:
#
# $$x \leftarrow x + f(\mathrm{norm}(x))$$


# %%
def branch_forward(x, norm, layer):
    """x + layer(norm(x)), and a cache."""
    normed, norm_cache = norm.forward(x)
    out, layer_cache = layer.forward(normed)
    return x + out, (norm, norm_cache, layer, layer_cache)


# %% [markdown]
# **Exercise 1.** Write its backward. `layer.backward(dout, layer_cache)` and `norm.backward(dout, norm_cache)` exist:
# each maps the gradient of its output to that of its input. The stream $x$ is used twice. Remember what follows from
# that in notebook 1.
#
# <details markdown><summary>Hint</summary>
#
# `dout` is the gradient of a sum. It goes to both terms as it is. One term is $x$ itself. The other one came out of
# `layer`, which was fed by `norm`. Walk back through these two.
#
# </details>

# %% tags=["folded"]
checked = np.random.default_rng(1)
small_norm = LayerNorm(8, bias=False, dtype=np.float64)
small_layer = FeedForward(8, 32, checked, bias=False, dtype=np.float64)
small_layer.up.weight.data *= 20  # so that both terms matter
small_layer.down.weight.data *= 20

branch = Exercise(
    "branch_backward",
    forward=lambda x: branch_forward(x, small_norm, small_layer),
    inputs={"x": (2, 3, 8)},
    hints=[
        "There are two paths from x to the output. Each has its share of the gradient.",
        "The path through the branch, backwards: first the layer, then the norm.",
        "dout + norm.backward(layer.backward(dout, layer_cache), norm_cache)",
    ],
    advice={
        "dropped residual": "This is the share of the branch. x is also a term of the sum itself.",
        "a term too many": "Each path counts once.",
        "agrees in part": "One path hands dout on as it is. On the other comes first the layer, then the norm.",
        "missing 1 required": "Each backward needs two things: the gradient of its output, and its own cache.",
        "worst": "Which steps lie between x and the output, and what is their order backwards?",
    },
)


# %% tags=["exercise"]
def branch_backward(dout, cache):
    norm, norm_cache, layer, layer_cache = cache
    ...  # your turn


branch.check(branch_backward)


# %% tags=["solution"]
def branch_backward(dout, cache):
    norm, norm_cache, layer, layer_cache = cache
    return dout + norm.backward(layer.backward(dout, layer_cache), norm_cache)


branch.check(branch_backward)


# %% tags=["hidden"]
def no_skip(dout, cache):
    return cache[0].backward(cache[2].backward(dout, cache[3]), cache[1])


branch.expect(no_skip, "x is also a term")
branch.expect(lambda dout, cache: 2 * dout + no_skip(dout, cache), "counts once")
branch.expect(lambda dout, cache: dout + cache[2].backward(dout, cache[3]), "then the norm")
branch.expect(lambda dout, cache: cache[2].backward(dout), "its own cache")
branch.expect(lambda dout, cache: None, "not written yet")

# %% [markdown]
# ## All parts in their places
#
# A block has two branches, attention and the feed-forward layer. A GPT is a table of token vectors (an *embedding*: its
# forward picks the row of each token, its backward adds each gradient to the row it came from), a table of position
# vectors, blocks, a last norm, and a *head*: a matrix that turns the vector of each position into $V$ scores. Read the
# backward beside the forward. It is the same list from the bottom to the top.


# %%
class Block(Module):
    def __init__(self, C, H, rng, dtype):
        self.norm1 = LayerNorm(C, bias=False, dtype=dtype)
        self.attention = MultiHeadAttention(C, H, rng, bias=False, dtype=dtype)
        self.norm2 = LayerNorm(C, bias=False, dtype=dtype)
        self.feed_forward = FeedForward(C, 4 * C, rng, bias=False, dtype=dtype)

    def forward(self, x):
        x, attention = branch_forward(x, self.norm1, self.attention)
        x, feed_forward = branch_forward(x, self.norm2, self.feed_forward)
        return x, (attention, feed_forward)

    def backward(self, dx, cache):
        attention, feed_forward = cache
        dx = branch_backward(dx, feed_forward)
        return branch_backward(dx, attention)


class SmallGPT(Module):
    def __init__(self, V, T, C, L, H, rng, dtype=np.float32):
        self.tok_emb = Embedding(V, C, rng, dtype=dtype)
        self.pos_emb = LearnedPositions(T, C, rng, dtype=dtype)
        self.blocks = [Block(C, H, rng, dtype) for _ in range(L)]
        self.norm = LayerNorm(C, bias=False, dtype=dtype)
        self.head = Linear(C, V, rng, bias=False, dtype=dtype)
        self.head.weight = self.tok_emb.weight  # tied: one matrix, used at both ends

    def forward(self, tokens):  # (B, T) integers
        x, cache = self.tok_emb.forward(tokens)  # (B, T, C)
        caches = [cache]
        for part in (self.pos_emb, *self.blocks, self.norm, self.head):
            x, cache = part.forward(x)
            caches.append(cache)
        return x, caches  # logits (B, T, V)

    def backward(self, dlogits, caches):
        dx = dlogits
        for part in (self.head, self.norm, *reversed(self.blocks), self.pos_emb, self.tok_emb):
            dx = part.backward(dx, caches.pop())


# %% [markdown]
# minitrain's own `GPT` has the same parts under the same names. So the two can exchange their weights. Do they also
# agree on the logits and on every gradient?

# %%
tokens = ids[: 2 * T].reshape(2, T)
ours = SmallGPT(V, T, C, L, H, np.random.default_rng(0), dtype=np.float64)
config = GPTConfig(vocab_size=V, block_size=T, n_layer=L, n_head=H, n_embd=C)
theirs = GPT(config, dtype=np.float64)
theirs.load_state_dict(ours.state_dict())

dlogits = np.random.default_rng(1).standard_normal((2, T, V))
results = []
for model in (ours, theirs):
    logits, cache = model.forward(tokens)
    model.backward(dlogits, cache)
    results.append((logits, {path: parameter.grad for path, parameter in model.named_parameters()}))
(our_logits, our_grads), (their_logits, their_grads) = results

logit_error = abs(our_logits - their_logits).max()
grad_error = max(abs(our_grads[path] - their_grads[path]).max() / abs(their_grads[path]).max() for path in our_grads)
print(f"{len(our_grads)} arrays of weights; logits differ by {logit_error:.1e}, gradients by {grad_error:.1e}")

# %% tags=["hidden"]
assert our_grads.keys() == their_grads.keys()
assert logit_error < 1e-12
assert grad_error < 1e-10

# %% [markdown]
# They agree to rounding. From here on we use minitrain's: it is the same function, and it keeps less memory for the
# backward.
#
# In a notebook, a model shows its parts. Click on a triangle to open one. Which array is there twice?

# %%
theirs

# %% [markdown]
# ## What it costs: every parameter and every operation
#
# **Exercise 2.** Count the weights of such a model: $V$ tokens, $T$ positions, width $C$, $L$ blocks, no biases. Return
# a tuple of four numbers: both tables; all attention layers; all feed-forward layers (hidden width $4C$); all norms.

# %% tags=["folded"]
count = Exercise(
    "count_weights",
    reference=lambda V, T, C, L: (V * C + T * C, L * 4 * C**2, L * 8 * C**2, (2 * L + 1) * C),
    inputs={"V": 50, "T": 32, "C": 16, "L": 3},
    hints=[
        "A linear map from C to N numbers has N * C weights.",
        "Attention has a map to queries, keys and values, and one back to the stream.",
        "(V * C + T * C, L * (3 + 1) * C**2, L * (4 + 4) * C**2, (2 * L + 1) * C)",
    ],
    advice={
        "Result 0": "A row of C numbers for each token and for each position. The head is tied: it has no weights.",
        "Result 1": "In each block, 3 C x C for queries, keys and values, and C x C for what goes back to the stream.",
        "Result 2": "In each block, from C up to 4 C and down again.",
        "Result 3": "Two norms in each block and one at the end. Without a bias, a norm has C weights.",
    },
)


# %% tags=["exercise"]
def count_weights(V, T, C, L): ...  # your turn


count.check(count_weights)


# %% tags=["solution"]
def count_weights(V, T, C, L):
    tables = V * C + T * C
    attention = L * (3 * C * C + C * C)
    feed_forward = L * (C * 4 * C + 4 * C * C)
    norms = (2 * L + 1) * C
    return tables, attention, feed_forward, norms


count.check(count_weights)

# %% tags=["hidden"]
tables, block = 50 * 16 + 32 * 16, 3 * 16**2
count.expect(lambda V, T, C, L: (tables + V * C, 4 * block, 8 * block, 7 * C), "The head is tied")
count.expect(lambda V, T, C, L: (tables, 3 * block, 8 * block, 7 * C), "goes back to the stream")
count.expect(lambda V, T, C, L: (tables, 4 * block, 4 * block, 7 * C), "down again")
count.expect(lambda V, T, C, L: (tables, 4 * block, 8 * block, 2 * L * C), "one at the end")

# %% [markdown]
# Now the arithmetic. A product of a matrix of $N \times K$ with a vector takes $NK$ multiplications and as many
# additions: two operations for each weight. In attention, each pair of a query and a key that it may see takes $2C$ for
# the scores of all heads, and $2C$ for the weighted sum of values. Norms, softmax and GELU are not counted. They are
# few.
#
# **Exercise 3.** Count the operations of the forward of one sequence of $T$ tokens. Return two numbers, as a tuple:
# those of all products with weight matrices (the head is one of them, the tables are not), and those of the pairs in
# attention. Position $t$ sees itself and all positions before it.

# %% tags=["folded"]
flops = Exercise(
    "count_operations",
    reference=lambda V, T, C, L: (2 * T * (L * 12 * C**2 + V * C), L * 4 * C * T * (T + 1) // 2),
    inputs={"V": 50, "T": 32, "C": 16, "L": 3},
    hints=[
        "Each of the T positions goes through all matrices: 12 C C weights in each block, and the head.",
        "How many pairs are there? The first position sees 1, the second 2, the last T.",
        "(2 * T * (L * 12 * C**2 + V * C), L * 4 * C * T * (T + 1) // 2)",
    ],
    advice={
        "0.5 times": "Each multiplication comes with an addition: that makes two operations.",
        "0.939394 times": "A position sees itself, too: T (T + 1) / 2 pairs.",
        "0.03125 times": "Each of the T positions goes through all matrices.",
        "0.920128 times": "The head is a product too, with V x C weights.",
        "Result 0": "For each position: 2 operations for each weight of all blocks and of the head, not of the tables.",
        "1.93939 times": "That is all T x T pairs. A position does not see those after it.",
        "0.333333 times": "There is attention in each of the L blocks.",
        "Result 1": "4 C for each of the T (T + 1) / 2 pairs, in each block.",
    },
)


# %% tags=["exercise"]
def count_operations(V, T, C, L): ...  # your turn


flops.check(count_operations)


# %% tags=["solution"]
def count_operations(V, T, C, L):
    products = 2 * T * (L * (4 * C * C + 8 * C * C) + V * C)
    pairs = T * (T + 1) // 2
    return products, L * pairs * 4 * C


flops.check(count_operations)

# %% tags=["hidden"]
products, seen = 2 * 32 * (3 * 12 * 16**2 + 50 * 16), 3 * 4 * 16 * 32 * 33 // 2
flops.expect(lambda V, T, C, L: (T * L * 12 * C**2 + T * V * C, seen), "with an addition")
flops.expect(lambda V, T, C, L: (products, L * 2 * C * T * (T - 1)), "sees itself, too")
flops.expect(lambda V, T, C, L: (products // T, seen), "Each of the T positions")
flops.expect(lambda V, T, C, L: (2 * T * L * 12 * C**2, seen), "The head is a product too")
flops.expect(lambda V, T, C, L: (products, L * 4 * C * T * T), "does not see those after it")
flops.expect(lambda V, T, C, L: (products, seen // L), "in each of the L blocks")

# %% [markdown]
# Does your count add up to the library's, which looks at the arrays themselves? And what would GPT-2 be, with 50,257
# tokens, 1,024 positions, width 768 and 12 blocks? (It also has biases, which are left out here.)

# %%
by_part = {"tables": 0, "attention": 0, "feed-forward": 0, "norms": 0}
words = {"emb": "tables", "attention": "attention", "feed_forward": "feed-forward", "norm": "norms"}
for path, parameter in GPT(config).named_parameters():
    part = next(part for word, part in words.items() if word in path)
    by_part[part] += parameter.data.size
library, all_weights = GPT(config).forward_flops(), GPT(config).parameter_count()

here, gpt2 = count_weights(V, T, C, L), count_weights(50257, 1024, 768, 12)

print(f"{'weights of':14}{'your count':>12}{'library':>12}{'share':>8}{'GPT-2':>16}{'share':>8}")
for (part, found), a, b in zip(by_part.items(), here, gpt2, strict=True):
    print(f"{part:14}{a:12,}{found:12,}{a / sum(here):8.1%}{b:16,}{b / sum(gpt2):8.1%}")
print(f"{'all':14}{sum(here):12,}{all_weights:12,}{1:8.1%}{sum(gpt2):16,}{1:8.1%}")

by_products, by_pairs = count_operations(V, T, C, L)
print(f"\n{'operations of':14}{'your count':>12}{'library':>12}")
print(f"{'products':14}{by_products:12,}{library.products:12,}")
print(f"{'pairs':14}{by_pairs:12,}{library.attention:12,}")

# %% tags=["hidden"]
assert sum(here) == all_weights
assert list(here) == list(by_part.values())
assert (by_products, by_pairs) == (library.products, library.attention)

# %% [markdown]
# GPT-2 has {{ sum(gpt2) / 1e6:.0f | 124 ± 0.5 }} million weights. Two thirds of a block are the feed-forward layer. The
# products take {{ by_products / T / sum(here):.2f | 1.9 ± 0.1 }} operations per token and weight here. That is the rule
# of thumb, $2N$ for $N$ weights. A training step takes three times as much, $6N$: the backward of a product is two
# products, one for each factor (notebook 2).
#
# ## Before training
#
# The model knows nothing. What will its loss be? Decide before you look at the next cell.


# %%
def loss_of(model, windows):
    """Mean loss in nats over windows (B, T + 1)."""
    loss, _ = model.loss((windows[:, :-1], windows[:, 1:]))
    return float(loss.total) / loss.count


windows = test_ids[: 32 * (T + 1)].reshape(32, T + 1)
model = GPT(config, seed=1)
fresh = loss_of(model, windows)

loud = GPT(config, seed=1)
loud.tok_emb.weight.data *= 50  # standard deviation 1 in place of 0.02
too_sure = loss_of(loud, windows)
print(f"ln V = {math.log(V):.3f}, fresh model {fresh:.3f}, with large weights {too_sure:.1f}")

# %% [markdown]
# A model without an opinion gives each of the $V$ characters the probability $1/V$. Its loss is $\ln V$, and a fresh
# model is {{ abs(fresh / math.log(V) - 1):.1% | ≤ 0.04 }} away from that. (It is a little below: head and token table
# are the same matrix, so each token slightly expects itself, and this text has rows of spaces and asterisks.) With
# large weights the logits are large, and the model is sure of random answers. Its loss is {{ too_sure:.0f | ≥ 9 }}, and
# the first steps of a training would go into unlearning that. So look at the first loss of each training. If it is not
# near $\ln V$, ask why.
#
# ## Training, watched
#
# While it learns we keep, at six moments: the text it writes, and the attention of all heads on a prompt. And every 25
# steps the loss on text that it never trains on, and the probabilities of what comes after the prompt. `capture` makes
# copies of values inside a model, by name; the `*` stands for the number of the block. `train_step` does what you
# would write: forward, backward, clipping, and a step of the optimizer (notebook 8). `generate` draws characters from
# the softmax (notebook 10). `pack` puts all weights into one array, which makes the step faster.

# %%
STEPS = 1400
MOMENTS = (0, 50, 150, 400, 800, STEPS)
PROMPT, NEXT = "The import stateme", "n"
prompt = tokenizer.encode(PROMPT)[None]  # (1, T)
right = int(tokenizer.encode(NEXT)[0])

loader = TokenLoader(train_ids, T, 8, seed=1)
pack(model)
optimizer = AdamW(model, weight_decay=0.1)
rate = WarmupCosine(4e-3, 4e-4, 50, STEPS)
curve, guesses, moments = [], [], {}
for step in range(STEPS + 1):
    if step % 25 == 0:
        logits, _ = model.forward(prompt)
        scores = np.exp(logits[0, -1] - logits[0, -1].max())
        guesses.append(scores / scores.sum())
        curve.append((step, loss_of(model, windows)))
    if step in MOMENTS:
        with capture(model, "blocks.*.attention.weights") as seen:
            model.forward(prompt)
        written = generate(model, tokenizer.encode("The ")[None], 90, temperature=0.6, key=Key.from_seed(0))
        moments[step] = seen, tokenizer.decode(written[0])
    if step < STEPS:
        batch = loader.batch(step)
        train_step(model, optimizer, [(0, batch)], lr=rate(step), max_grad_norm=1.0)

steps, losses = np.array(curve).T
final = losses[-1]
for step, (_, written) in moments.items():
    print(f"{step:5}  {' '.join(written.split())}")

# %% [markdown]
# First noise, then the common letters with spaces between them, then pieces of words, at last words. How far is that?
# Compare with two predictors that need no training. One knows how often each character occurs. The other one knows
# pairs: how often each character follows each other one.

# %%
from minitrain.data import unigram_nats

alone = unigram_nats(train_ids, test_ids, V)
pairs = np.ones((V, V)) * 0.01  # a little for pairs that never occur
np.add.at(pairs, (train_ids[:-1], train_ids[1:]), 1)
log_p = np.log(pairs / pairs.sum(axis=1, keepdims=True))
by_pairs_of_characters = -log_p[test_ids[:-1], test_ids[1:]].mean()

guesses = np.array(guesses)  # (moments, V)
leaders = np.unique(guesses[[4, 8, 16, -1]].argsort(axis=1)[:, -2:])

figure, (left, middle) = plt.subplots(1, 2, figsize=(10, 3.8))
left.plot(steps, losses, color=BLUE, label="the GPT, on unseen text")
for value, label in (
    (math.log(V), "ln V: knows nothing"),
    (alone, "how often each character occurs"),
    (by_pairs_of_characters, "how often each follows each"),
):
    left.axhline(value, color=GREY, linestyle="--", linewidth=1)
    left.text(STEPS, value + 0.04, label, ha="right", color=GREY, fontsize=9)
left.set(xlabel="step", ylabel="loss (nats per character)", ylim=(1.5, 4.9), title="What it has learned")
left.legend(loc="upper right", bbox_to_anchor=(1, 0.9))
for token, color in zip(leaders, (BLUE, RED, GREEN, YELLOW, PURPLE, GREY, "black", BLUE), strict=False):
    middle.plot(steps, guesses[:, token], color=color, label=repr(tokenizer.decode([token])))
middle.set(xlabel="step", ylabel="probability", title=f"What comes after {PROMPT!r}?")
middle.legend(ncol=2, loc="upper left")
plt.show()

# %% [markdown]
# It reaches {{ final:.2f | 1.85 ± 0.2 }} nats. That is as uncertain as a choice among
# {{ math.exp(final):.1f | 6.5 ± 1.5 }} equally likely characters, out of {{ V }}. For a long time it stays near the
# line of pairs, {{ by_pairs_of_characters:.2f | 2.5 ± 0.2 }}: the last character alone. To get below, it must look
# further back. On the right you see when the guess after the prompt turns to the right character. Its probability ends
# at {{ guesses[-1, right]:.2f | ≥ 0.3 }}.

# %% [markdown]
# ## Attention while it learns
#
# `capture` kept the attention weights of all heads at the six moments. Every value inside has a name:

# %%
print(*(name for name in names(model, "blocks.0.**") if not name.endswith(".grad")), sep="\n")

# %% [markdown]
# Which head looks most at the character just before? Here is how it came to that. Row $t$ says how much position $t$
# takes from each position, and each row sums to 1.

# %%
final_weights = [moments[STEPS][0][f"blocks.{i}.attention.weights"][0] for i in range(L)]  # each (H, T, T)
before = np.array([[np.diag(head, -1).mean() for head in layer] for layer in final_weights])  # (L, H)
layer, head = np.unravel_index(before.argmax(), before.shape)


def show_attention(axes, weights, title):
    axes.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    letters = [character.replace(" ", "␣") for character in PROMPT]
    axes.set_xticks(range(len(letters)), letters, fontsize=8)
    axes.set_yticks(range(len(letters)), letters, fontsize=8)
    axes.set_title(title, fontsize=10)


figure, all_axes = plt.subplots(1, 4, figsize=(12, 3.4), sharey=True)
for axes, step in zip(all_axes, (0, 150, 400, STEPS), strict=True):
    show_attention(axes, moments[step][0][f"blocks.{layer}.attention.weights"][0, head], f"step {step}")
all_axes[0].set_ylabel(f"block {layer}, head {head}: position t")
figure.supxlabel("takes from", fontsize=10)
plt.show()

# %% [markdown]
# At first it takes the mean of all positions that it may see. At the end it puts {{ before.max():.0% | ≥ 0.3 }} of its
# weight on the character before. Nobody told it to. And the others?

# %%
AttentionView(final_weights[0], PROMPT, title="block 0")

# %%
AttentionView(final_weights[1], PROMPT, title="block 1")

# %% [markdown]
# ## What is each part worth?
#
# A pattern is a hint, not a proof. To see what a part does, take it out. `patch` replaces a value in the forward.
# Replaced by 0, the output of a branch adds nothing to the stream. For a single head, we set what it has gathered to 0,
# before the heads are put together.


# %%
def without_head(h):
    def change(mixed):  # (B, T, H, D), a copy
        mixed[:, :, h] = 0
        return mixed

    return change


cost = {}
for i in range(L):
    for h in range(H):
        with patch(model, {f"blocks.{i}.attention.mixed": without_head(h)}):
            cost[f"block {i}, head {h}"] = loss_of(model, windows) - final
    for kind in ("attention", "feed_forward"):
        with patch(model, {f"blocks.{i}.{kind}.out": 0.0}):
            cost[f"block {i}, {kind.replace('_', '-')}"] = loss_of(model, windows) - final

with patch(model, {"blocks.*.attention.out": 0.0}):
    no_attention = loss_of(model, windows)

figure, axes = plt.subplots(figsize=(8, 4))
colors = [BLUE if "head" in name else RED if "feed" in name else PURPLE for name in cost]
axes.barh(list(cost), list(cost.values()), color=colors)
axes.invert_yaxis()
axes.set(xlabel="added loss without it (nats per character)")
plt.show()

# %% tags=["hidden"]
assert cost["block 0, attention"] > max(cost[f"block 0, head {h}"] for h in range(H))

# %% [markdown]
# Without the attention of block 0 the loss grows by {{ cost["block 0, attention"]:.2f | ≥ 0.2 }} nats, by more than
# without any single one of its heads: without one, the others still do their share. Without any attention the loss is
# {{ no_attention:.2f | ≥ 2.2 }}. No position then knows of another, so it cannot get below the line of pairs. It is
# worse than that line, because the layers behind have learned to expect what attention brings. Block 1 has learned
# little in this short training: its attention is worth {{ cost["block 1, attention"]:.2f | ≤ 0.6 }} nats.
#
# ## The logit lens
#
# All layers add to one stream, and the head reads it at the end. Nothing stops us from letting the head read *earlier*.
# What would the model say if it stopped after block 0? This is the *logit lens*.
#
# **Exercise 4.** Write it. `model.norm.forward(x)` and `model.head.forward(x)` return an output and a cache. Return the
# logits of a stream of shape (B, T, C).

# %%
with capture(model, ["blocks.*.in", "blocks.*.mid", "blocks.*.out"]) as seen:
    model.forward(prompt)

# %% tags=["folded"]
lens = Exercise(
    "logit_lens",
    reference=lambda model, stream: model.head.forward(model.norm.forward(stream)[0])[0],
    inputs={"model": model, "stream": seen["blocks.0.mid"]},
    hints=[
        "What happens between the last block and the logits in SmallGPT.forward?",
        "The norm first, then the head. Each returns a pair.",
        "normed, _ = model.norm.forward(stream), then logits, _ = model.head.forward(normed)",
    ],
    advice={
        "returns 2 results": "A forward returns (out, cache). Only the first of the two is asked for.",
        "the shape is": "The head turns C numbers into V scores.",
        "Result 0": "The head was trained on normalised vectors: the norm comes first, and softmax not at all.",
    },
    tolerance=1e-4,
)


# %% tags=["exercise"]
def logit_lens(model, stream): ...  # your turn


lens.check(logit_lens)


# %% tags=["solution"]
def logit_lens(model, stream):
    normed, _ = model.norm.forward(stream)
    logits, _ = model.head.forward(normed)
    return logits


lens.check(logit_lens)

# %% tags=["hidden"]
lens.expect(lambda model, stream: model.head.forward(stream)[0], "the norm comes first")
lens.expect(lambda model, stream: model.norm.forward(stream), "Only the first of the two")
lens.expect(lambda model, stream: model.norm.forward(stream)[0], "turns C numbers into V scores")
with capture(model, "logits") as checked_logits:
    model.forward(prompt)
assert np.allclose(logit_lens(model, seen[f"blocks.{L - 1}.out"]), checked_logits["logits"], atol=1e-4)

# %% [markdown]
# Below each column stands the character that is read there. The letter in a field is the model's best guess for the
# next one. The right guess is the label of the next column. The darker a field, the higher the probability of this
# right character.

# %%
rows = {
    "token and position": "blocks.0.in",
    "+ attention 0": "blocks.0.mid",
    "+ feed-forward 0": "blocks.0.out",
    "+ attention 1": "blocks.1.mid",
    "+ feed-forward 1": "blocks.1.out",
}
wanted = np.append(prompt[0, 1:], right)  # the next character at each place
belief, best = [], []
for name in rows.values():
    logits = logit_lens(model, seen[name])[0]  # (T, V)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    belief.append(p[np.arange(len(wanted)), wanted])
    best.append(p.argmax(axis=-1))

figure, axes = plt.subplots(figsize=(11, 3.4))
picture = axes.imshow(belief, cmap="Greens", vmin=0, vmax=1, aspect="auto")
for row, tokens_there in enumerate(best):
    for column, token in enumerate(tokens_there):
        shown = tokenizer.decode([token]).replace(" ", "␣").replace("\n", "↵")
        axes.text(column, row, shown, ha="center", va="center", color="white" if belief[row][column] > 0.6 else "black")
axes.set_xticks(range(len(PROMPT)), [c.replace(" ", "␣") for c in PROMPT])
axes.set_yticks(range(len(rows)), rows)
axes.set(xlabel="the character read")
figure.colorbar(picture, label="probability of the right one")
plt.show()
growth = [float(np.mean(row)) for row in belief]

# %% [markdown]
# In the top row most positions say the character that they have just read: the head is the token table itself, and the
# vector of a token is most like itself. From layer to layer the guesses turn to what comes next. The mean probability
# of the right one goes from {{ growth[0]:.0% | ≤ 0.15 }} to {{ growth[-1]:.0% | ≥ 0.3 }}.
#
# ## Where does it keep what it needs? Activation patching
#
# After `meth` comes an `o`, as in *method*. After ` th` comes an `e`, as in *the*. Both end in `th`. So the position of
# the `h` must find out what stands before. On which way, and in which layer?
#
# Run the model on `is all th`, but put in *one* vector of the stream from the run on `is a meth`: at one place and one
# depth. If the prediction turns into that of the other text, this vector carries what decides. We measure the
# difference of two logits, of `o` and of `e`, and scale it: 0 as on `is all th`, 1 as on `is a meth`.

# %%
TEXTS = "is a meth", "is all th"
clean, corrupted = (tokenizer.encode(words)[None] for words in TEXTS)
o, e = (int(tokenizer.encode(character)[0]) for character in "oe")


def leaning(logits):
    """How much more the last position expects an o than an e."""
    return float(logits[0, -1, o] - logits[0, -1, e])


with capture(model, [*rows.values(), "blocks.0.attention.mixed"]) as seen:
    to_clean = leaning(model.forward(clean)[0])
to_corrupted = leaning(model.forward(corrupted)[0])


def effect_of(name, place):
    """Effect of the clean values at one place of the corrupted run; np.s_[:, 3] is the index [:, 3]."""

    def change(value):
        value[place] = seen[name][place]
        return value

    with patch(model, {name: change}):
        logits, _ = model.forward(corrupted)
    return (leaning(logits) - to_corrupted) / (to_clean - to_corrupted)


places = range(clean.shape[1])
effect = np.array([[effect_of(name, np.s_[:, t]) for t in places] for name in rows.values()])

figure, axes = plt.subplots(figsize=(8, 3.4))
picture = axes.imshow(effect, cmap="PuOr_r", vmin=-1.2, vmax=1.2, aspect="auto")
for row, column in np.ndindex(effect.shape):
    shade = "white" if abs(effect[row, column]) > 0.8 else "black"
    axes.text(column, row, f"{effect[row, column]:.2f}", ha="center", va="center", fontsize=9, color=shade)
shown = [words.replace(" ", "␣") for words in TEXTS]
axes.set_xticks(places, [x if x == y else f"{x} | {y}" for x, y in zip(*shown, strict=True)])
axes.set_yticks(range(len(rows)), rows)
axes.set(xlabel="position whose vector is replaced (meth | all th)")
figure.colorbar(picture, label="effect")
plt.show()
print(f"o minus e: {to_clean:+.2f} after {TEXTS[0]!r}, {to_corrupted:+.2f} after {TEXTS[1]!r}")
for h in range(H):
    print(f"block 0, head {h}, at the last position: {effect_of('blocks.0.attention.mixed', np.s_[:, -1, h]):.2f}")

# %% tags=["hidden"]
assert to_clean > 1
assert to_corrupted < -1
assert np.allclose(effect[:, :4], 0, atol=1e-3), "what comes before the change knows nothing of it"

# %% [markdown]
# Before the first block the information is where the letters are, and `m` and `e` together have about
# {{ effect[0, 5] + effect[0, 6]:.1f | 0.8 ± 0.4 }} of it. At the end it is at the last position, which makes the
# prediction ({{ effect[-1, -1]:.2f | 1 ± 0.01 }}). After the attention of block 0 it is already there
# ({{ effect[1, -1]:.2f | 0.9 ± 0.2 }}), and the places of `m` and `e` are no longer needed. Only attention can move it:
# a feed-forward layer works at each position by itself. The lines below the picture say which heads carry it. Columns
# before the change are 0, because attention never looks ahead.
#
# Two cautions. The effects of several places need not add up to 1, because the layers are not linear. And a patch
# shows what is *enough* to turn this prediction, for these two texts. Heimersheim and Nanda (arXiv:2404.15255) say
# what can and cannot be concluded.
#
# ## The same training in one call
#
# You wrote the loop by hand, to see what is in it. A `Trainer` has the same loop, and much around it: it saves,
# resumes, measures and says what goes wrong. In a notebook its curves grow below the cell while it trains. Here are the
# first 300 steps again.

# %%
from minitrain import Trainer, TrainingConfig

again = GPT(config, seed=1)
trainer = Trainer(
    model=again,
    optimizer=AdamW(again, weight_decay=0.1),
    scheduler=rate,
    train_data=TokenLoader(train_ids, T, 8, seed=1),
    val_data=[(windows[:, :-1], windows[:, 1:])],
    config=TrainingConfig(max_steps=300, validation_frequency=25, log_every=5),
)
result = trainer.train()

# %% tags=["hidden"]
by_hand = losses[list(steps).index(300)]
assert abs(result.val_loss - by_hand) < 0.02, (result.val_loss, by_hand)

# %% [markdown]
# The loss on unseen text is {{ result.val_loss:.2f }} after 300 steps, and it was
# {{ by_hand:.2f }} in the loop above: it is the same computation.
#
# ## Questions
#
# 1. The tied matrix gets gradients from two places. Which? Where in `SmallGPT.backward` is each of them added?
# 2. At which length $T$ do the pairs of attention take as many operations as the products of a block? Put in GPT-2's
#    width.
# 3. Why can a model with one block and one head not copy "the character that came after the last time this one
#    occurred"? What must a second block know from the first?
# 4. Ablation with 0 takes away what a part says on average, too. What would you put in its place to take away only what
#    depends on the text?
# 5. Train again with `n_layer=1` in the configuration, or `n_head=1`. Which text is worse?
#
# ## Further reading
#
# - Radford et al., 2019, *Language models are unsupervised multitask learners* (GPT-2), and Vaswani et al., 2017,
#   *Attention is all you need*, arXiv:1706.03762.
# - Dong et al., 2021, *Attention is not all you need: pure attention loses rank doubly exponentially with depth*,
#   arXiv:2103.03404.
# - Kaplan et al., 2020, *Scaling laws for neural language models*, arXiv:2001.08361: where $6N$ comes from.
# - Belrose et al., 2023, *Eliciting latent predictions from transformers with the tuned lens*, arXiv:2303.08112.
# - Wang et al., 2022, *Interpretability in the wild*, arXiv:2211.00593: patching explains a whole circuit of GPT-2.
# - [Look inside a model](../howto/looking_inside.md), and the operations [attention](../ops/attention.md) and [residual
#   connection](../ops/residual.md).
# - The next notebook: [optimizers drawn](08_optimizers_drawn.md).
