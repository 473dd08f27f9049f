"""The constants of cuBLASLt's interface that minitrain uses.

Numbers are those of the header ``cublasLt.h`` of CUDA 13; NVIDIA's page on cuBLAS explains them, in the section "Using
the cuBLASLt API". A test compares them with those of nvmath-python.
"""

from __future__ import annotations

from enum import IntEnum


class DataType(IntEnum):
    """``cudaDataType``: the type of the numbers of a matrix."""

    FLOAT32 = 0
    FLOAT64 = 1
    FLOAT16 = 2
    BFLOAT16 = 14
    FLOAT8_E4M3 = 28
    FLOAT8_E5M2 = 29


class ComputeType(IntEnum):
    """``cublasComputeType_t``: the type of products and sums."""

    FLOAT32 = 68
    FLOAT64 = 70
    TF32 = 77  # float32 operands rounded to 11 significant bits, sums in float32


class DescAttribute(IntEnum):
    """``cublasLtMatmulDescAttributes_t``."""

    TRANSPOSE_A = 3
    TRANSPOSE_B = 4
    EPILOGUE = 7
    BIAS_POINTER = 8
    AUX_POINTER = 11
    AUX_LD = 12
    SCALE_POINTER_A = 17  # of the number by which A is multiplied, if it has 8 bits
    SCALE_POINTER_B = 18
    FAST_SUMS = 25  # whether sums of 8-bit products may stay in fewer bits than float32
    BIAS_TYPE = 26


class LayoutAttribute(IntEnum):
    """``cublasLtMatrixLayoutAttribute_t``."""

    BATCH_COUNT = 5
    BATCH_STRIDE = 6


class PreferenceAttribute(IntEnum):
    """``cublasLtMatmulPreferenceAttributes_t``."""

    MAX_WORKSPACE_BYTES = 1
    REDUCTION_SCHEMES = 3
    ALIGNMENT_A = 5
    ALIGNMENT_B = 6
    ALIGNMENT_C = 7
    ALIGNMENT_D = 8


class Epilogue(IntEnum):
    """``cublasLtEpilogue_t``: what is done with sums before they are stored. BIAS may be added to some."""

    DEFAULT = 1
    RELU = 2
    BIAS = 4
    GELU = 32
    GELU_AUX = 32 | 128
    DGELU = 64 | 128
    DGELU_BGRAD = 64 | 128 | 16
    BGRADA = 256
    BGRADB = 512


COMPUTE_TYPE_SUMS = 2
"""Mask of reduction schemes: the parts of a split sum are added in float32 even if the result has 16 bits."""
ALGO_BYTES = 64
"""Size of ``cublasLtMatmulAlgo_t``."""
RESULT_BYTES = 96
"""Size of ``cublasLtMatmulHeuristicResult_t``: the algorithm, its workspace (8), its state (4), waves (4), 16 more."""
WORKSPACE_ALIGNMENT = 256
VECTOR_ALIGNMENT = 16
"""Bytes to which a bias or an auxiliary matrix is aligned; kernels load them 16 bytes at a time."""
STATUS = {1: "not initialized", 3: "allocation failed", 7: "invalid value", 8: "architecture mismatch",
          11: "mapping error", 13: "execution failed", 14: "internal error", 15: "not supported"}  # fmt: skip
"""``cublasStatus_t`` in words."""
