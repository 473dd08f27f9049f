"""CUDA twins of the operations, in files and functions of the same names; the kernels stand beside them as ``.cu``.

No kernel here has met a device yet: all run in the emulator of ``minitrain.testing.cuda``, and NVRTC compiles them.
"""
