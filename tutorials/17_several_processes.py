# %% [markdown]
# # 17. Several processes
#
# After this notebook you can
#
# - add arrays over several processes by hand, and say how many bytes each has to send;
# - explain why the order of additions decides the last bits of a sum, and which order any number of processes can keep;
# - train one model on 1, 2 and 4 ranks, and compare the results byte by byte;
# - say which numbers of ranks fit, and what happens when one of them fails.
#
# You need [a GPT from its parts](07_a_gpt_from_its_parts.md). It takes about 30 minutes. The ranks are threads here, so
# that everything runs in one notebook. At the end stand the commands that start real processes.

# %%
import hashlib
import time
from queue import SimpleQueue
from threading import Thread

import matplotlib.pyplot as plt
import numpy as np

import minitrain as mt
from minitrain.distributed import run_ranks, share_of, valid_ranks
from minitrain.training import Trainer, TrainingConfig
from minitrain.tutorials import Exercise

BLUE, RED, GREEN, GREY = "#2a6fbb", "#d1495b", "#3d9970", "#6c757d"
plt.rcParams["figure.constrained_layout.use"] = True
rng = np.random.default_rng(0)

# %% [markdown]
# ## Why several?
#
# A step reads a batch, computes its gradient and updates the weights. The gradient of a batch is the *sum* of the
# gradients of its parts. So several processes can share the batch: each has all weights, takes a part, and computes
# the gradient of that part. Then they add their gradients. Every process gets the same sum and makes the same update,
# so the weights stay equal, and need not be sent.
#
# The processes are called *ranks* and are numbered from 0. Adding an array over all ranks, so that each ends with the
# sum, is an *all-reduce*.
#
# ## An all-reduce by hand
#
# The simplest way: everyone sends everything to everyone. With $P$ ranks and $n$ numbers, a rank sends $(P-1)\,n$.
# It can be done with far less. Cut the array into $P$ parts, and make each rank the *owner* of one:
#
# 1. Each rank sends each owner its part. The owner adds what arrives. Now every part is added somewhere. (This half is
#    a *reduce-scatter*.)
# 2. Each owner sends its sum to all others. (This half is an *all-gather*.)
#
# In each half a rank sends $P - 1$ parts of $n / P$ numbers: together $2\,\frac{P-1}{P}\,n$. However many ranks there
# are, that is less than $2n$.
#
# Begin with the first half. You get the arrays of all ranks as the rows of one matrix $(P, n)$, where $P$ divides $n$.
# Return a matrix $(P, n/P)$: row $r$ is the sum that rank $r$ owns.


# %% tags=["folded"]
def owned_reference(arrays):
    return arrays.sum(axis=0).reshape(len(arrays), -1)


owning = Exercise(
    "owned",
    reference=owned_reference,
    inputs={"arrays": (4, 12)},
    hints=[
        "First add over the ranks: the rows of the matrix.",
        "Then cut the sum into P parts, one after the other; part r belongs to rank r.",
        "arrays.sum(axis=0).reshape(len(arrays), -1)",
    ],
    advice={
        "all are 0.25 times": "It is a sum, not a mean: the trainer divides by the number of targets later.",
        "the shape": "P rows, one for each owner, of n / P numbers each.",
    },
)


# %% tags=["exercise"]
def owned(arrays): ...  # your turn


owning.check(owned)


# %% tags=["solution"]
def owned(arrays):
    total = arrays.sum(axis=0)  # (n,)
    return total.reshape(len(arrays), -1)  # (P, n / P)


owning.check(owned)


# %% tags=["hidden"]
def wrong_owned(arrays, kind):
    total = arrays.mean(axis=0) if kind == "mean" else arrays.sum(axis=0)
    return total if kind == "flat" else total.reshape(len(arrays), -1)


for kind, words in {"mean": "a sum, not a mean", "flat": "one for each owner"}.items():
    owning.expect(lambda arrays, kind=kind: wrong_owned(arrays, kind), words)
owning.expect(lambda arrays: None, "not written yet")

# %% [markdown]
# Now with real messages. A rank is a thread, and between any two ranks there is a queue in each direction. The ranks
# have no other way to see each other's numbers. Each counts what it sends.


# %%
class Rank:
    def __init__(self, number, queues):
        self.number, self.queues, self.sent = number, queues, 0
        self.size = len(queues)

    def send(self, to, array):
        self.sent += array.nbytes
        self.queues[self.number][to].put(array.copy())

    def receive(self, origin):
        return self.queues[origin][self.number].get()

    def all_reduce(self, array):
        parts = np.split(array, self.size)  # views of n / P numbers
        others = [other for other in range(self.size) if other != self.number]
        for other in others:  # 1. each owner gets its part from everyone
            self.send(other, parts[other])
        terms = [parts[self.number] if r == self.number else self.receive(r) for r in range(self.size)]
        parts[self.number][...] = sum(terms)
        for other in others:  # 2. and tells everyone the sum
            self.send(other, parts[self.number])
        for other in others:
            parts[other][...] = self.receive(other)


def run_by_hand(arrays):
    P = len(arrays)
    queues = [[SimpleQueue() for _ in range(P)] for _ in range(P)]
    ranks = [Rank(r, queues) for r in range(P)]
    threads = [Thread(target=rank.all_reduce, args=(array,)) for rank, array in zip(ranks, arrays)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [rank.sent for rank in ranks]


for P in (2, 4, 8):
    arrays = [rng.standard_normal(960).astype(np.float32) for _ in range(P)]
    total = np.sum(arrays, axis=0)
    sent = run_by_hand(arrays)
    print(f"{P} ranks: each sent {sent[0]} bytes, {sent[0] / arrays[0].nbytes:.2f} times its array;", end=" ")
    print("all have the same bytes:", len({array.tobytes() for array in arrays}) == 1)
    assert np.allclose(arrays[0], total, atol=1e-5)

# %% [markdown]
# With 8 ranks, a rank sends {{ sent[0] / arrays[0].nbytes:.2f | 1.75 ± 0.001 }} times its array.
#
# ## The order of additions
#
# All ranks have the same bytes, because each part was added by one of them, in one order. But is it also what *one*
# process would get? Numbers with 24 bits are rounded after each addition. So the order decides the last bits:

# %%
a, b, c, d = rng.standard_normal((4, 100_000)).astype(np.float32)
one_process = ((a + b) + c) + d
two_ranks = (a + b) + (c + d)
differ = np.mean(one_process != two_ranks)
print(f"{differ:.0%} of the sums differ, by {np.abs(one_process - two_ranks).max():.1e} at most")

# %% [markdown]
# {{ 100 * differ:.0f | 30 ± 15 }} % of the sums differ. The difference is tiny. But training goes on from it, and after
# some hundred steps two runs are visibly different. Then nobody can say whether a change in the code did something, or
# only the number of machines.
#
# The way out is to fix the order *before* anybody asks how many ranks there are. Let the number of *micro-batches* be
# a setting, 8 for example, and add their gradients in a tree:
#
# $$ \big((0+1)+(2+3)\big) + \big((4+5)+(6+7)\big) $$
#
# A rank takes neighbouring micro-batches that form a *branch* of this tree. It adds its branch by itself. The ranks
# then add the branches, from the lowest upwards. Whoever computes what, the tree is the same.


# %%
def tree_sum(terms):
    if len(terms) == 1:
        return terms[0]
    half = 2 ** int(np.ceil(np.log2(len(terms))) - 1)  # the largest power of two below the number of terms
    return tree_sum(terms[:half]) + tree_sum(terms[half:])


gradients = list(rng.standard_normal((8, 100_000)).astype(np.float32))
alone = tree_sum(gradients)
for ranks in (1, 2, 4, 8):
    branches = [tree_sum([gradients[m] for m in share_of(rank, ranks, 8)]) for rank in range(ranks)]
    print(f"{ranks} ranks: {'the same bytes' if tree_sum(branches).tobytes() == alone.tobytes() else 'other bytes'}")

# %% [markdown]
# Not every number of ranks has branches. With 6 micro-batches, two ranks would have three each, $(0+1)+2$ and
# $(3+4)+5$. But in the tree, $\big((0+1)+(2+3)\big)+(4+5)$, 2 and 3 are neighbours. So two ranks do not fit, while
# 3 ranks do:

# %%
for micro_batches in (4, 6, 8, 12):
    print(f"{micro_batches:2d} micro-batches: {valid_ranks(micro_batches)} ranks")

# %% tags=["hidden"]
assert valid_ranks(12) == [1, 3, 6, 12]

# %% [markdown]
# ## One run on 1, 2 and 4 ranks
#
# Everything else in a step must not know how many ranks there are either. In minitrain, the order of the data is a
# function of the seed and the step. A dropout mask is a function of the seed, the step and the number of the sample *in
# the whole batch*. Losses are sums, and are added in the order of the micro-batches.
#
# So the whole training is one function of a group of ranks. `run_ranks` runs it in threads.

# %%
text = "the quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 40
tokenizer = mt.data.CharTokenizer.from_text(text)
tokens = np.array(tokenizer.encode(text))


def training(group):
    config = mt.GPTConfig(tokenizer.vocab_size, block_size=16, n_layer=2, n_head=2, n_embd=32, dropout=0.1)
    model = mt.GPT(config, seed=1)
    mt.pack(model)
    trainer = Trainer(
        model=model,
        train_data=mt.TokenLoader(tokens, block_size=16, batch_size=16, seed=0),
        config=TrainingConfig(
            batch_size=16, gradient_accumulation_steps=4, max_steps=40, log_every=1, learning_rate=3e-3
        ),
        progress=False,
        group=group,
    )
    trainer.train()
    weights = b"".join(array.tobytes() for array in model.state_dict().values())
    return hashlib.sha256(weights).hexdigest()[:16], trainer.history.get_metric("train_loss")


hashes = {}
for size in (1, 2, 4):
    began = time.perf_counter()
    results = run_ranks(size, training)
    hashes[size] = {digest for digest, _ in results}
    losses = results[0][1]
    print(f"{size} ranks: {hashes[size]}, loss {losses[-1]:.6f}, {time.perf_counter() - began:.1f} s")

plt.figure(figsize=(6, 3))
plt.plot(losses, color=BLUE)
plt.xlabel("step")
plt.ylabel("training loss")
plt.title("the same curve for any number of ranks")
plt.show()

# %% tags=["hidden"]
assert len(set().union(*hashes.values())) == 1

# %% [markdown]
# Three trainings, {{ len(set().union(*hashes.values())) | 1 ± 0 }} hash. A run without a group adds its micro-batches in
# place, as $((0+1)+2)+3$. Its hash is another one, although the loss looks the same:

# %%
digest, losses_in_place = training(None)
print(f"in place: {digest}, loss {losses_in_place[-1]:.6f}")

# %% tags=["hidden"]
assert {digest} != hashes[1]

# %% [markdown]
# ## In real life
#
# These commands start processes, on one machine or on many ([several processes](../distributed.md)):
#
#     minitrain train distributed=processes ranks=2 trainer.gradient_accumulation_steps=4
#     mpirun -n 4 minitrain train trainer.gradient_accumulation_steps=4
#
# Many processes fail more often than one. If a rank raises an error, the others wait for its gradient: without
# anybody who watches, for ever. So each rank gives a sign of life twice a second, and if one fails, all end within ten
# seconds. The run goes on from its last checkpoint, with any number of ranks that fits, and ends with the same bytes.
#
# ## Questions
#
# 1. A model has 100 million weights of 4 bytes, and the network carries 1 GB a second. How long does an all-reduce
#    take on 8 ranks? How long must computing a micro-batch take, so that this costs less than a tenth of the time?
# 2. In a *ring*, rank $r$ sends only to rank $r + 1$. It sends as many bytes as here. Which order of additions does
#    each part get? Why do two parts get different ones?
# 3. Four micro-batches on one rank need two spare copies of the gradient for the tree. Why two, and not three? And how
#    many for 64?
# 4. A batch has only 5 samples, and there are 8 micro-batches on 4 ranks. What does the last rank add to the sum? Why
#    is $0$ not quite right, and $-0$ is?
# 5. Dropout with a generator, as in most libraries, gives each rank random numbers of its own. Why does the number of
#    ranks then change the result, even if every sum is exact?
#
# ## Further reading
#
# - Patarasuk, Yuan, 2009, *Bandwidth optimal all-reduce algorithms for clusters of workstations*: why $2\frac{P-1}{P}$
#   is the least.
# - Li et al., 2020, *PyTorch Distributed: Experiences on Accelerating Data Parallel Training*, arXiv:2006.15704.
# - Rajbhandari et al., 2019, *ZeRO: Memory Optimizations Toward Training Trillion Parameter Models*, arXiv:1910.02054.
# - Goldberg, 1991, *What Every Computer Scientist Should Know About Floating-Point Arithmetic*.
# - minitrain's page on [several processes](../distributed.md).
