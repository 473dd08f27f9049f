"""The report of one graphics card: is the GPU code right, how exact is it, how fast is it against PyTorch.

    make gpu-report                                     # all parts, in under 8 minutes
    python -m benchmarks.gpu --part contract,errors     # some parts
    python -m benchmarks.gpu --emulated                 # every line of it without a card, tiny; no figure says anything

Each part is a process of its own with a time limit, so one that fails or hangs costs only itself. Results go into the
report as they come: a dated page and a JSON file in this folder.
"""
