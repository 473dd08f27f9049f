"""The base of the CUDA kernels: devices and streams, copies beside the computation.

Nothing here imports CuPy by itself: the arrays bring it. **No code here has met a GPU so far**; tests run it against
stand-ins for the device that enforce the documented rules.
"""
