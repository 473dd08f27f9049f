"""Pure forward/backward pairs, one operation a file: the readable reference of everything minitrain computes."""

from .attention import AttentionCache, attention_backward, attention_forward
from .binary_cross_entropy import BinaryCrossEntropyCache, binary_cross_entropy_backward, binary_cross_entropy_forward
from .binary_focal import BinaryFocalCache, binary_focal_backward, binary_focal_forward
from .contract import SKIP, Into, Pair, Skip, Target, op, registry
from .cross_entropy import CrossEntropyCache, cross_entropy_backward, cross_entropy_forward
from .dropout import DropoutCache, dropout_backward, dropout_forward
from .embedding import EmbeddingCache, embedding_backward, embedding_forward
from .focal import FocalCache, focal_backward, focal_forward
from .geglu import GegluCache, geglu_backward, geglu_forward
from .gelu import GeluCache, gelu_backward, gelu_forward
from .group_norm import GroupNormCache, group_norm_backward, group_norm_forward
from .hinge import HingeCache, hinge_backward, hinge_forward
from .huber import HuberCache, huber_backward, huber_forward
from .kl_divergence import KLDivergenceCache, kl_divergence_backward, kl_divergence_forward
from .l2_normalize import L2NormalizeCache, l2_normalize_backward, l2_normalize_forward
from .layer_norm import LayerNormCache, layer_norm_backward, layer_norm_forward
from .linear import LinearCache, linear_backward, linear_forward
from .linear_gelu import LinearGeluCache, linear_gelu_backward, linear_gelu_forward
from .loss import Loss
from .mean_absolute_error import MeanAbsoluteErrorCache, mean_absolute_error_backward, mean_absolute_error_forward
from .mean_squared_error import MeanSquaredErrorCache, mean_squared_error_backward, mean_squared_error_forward
from .relu import ReluCache, relu_backward, relu_forward
from .residual import ResidualCache, residual_backward, residual_forward
from .residual_layer_norm import (
    ResidualLayerNormCache,
    residual_layer_norm_backward,
    residual_layer_norm_forward,
)
from .rms_norm import RMSNormCache, rms_norm_backward, rms_norm_forward
from .rope import RopeCache, rope_backward, rope_forward
from .scale import ScaleCache, scale_backward, scale_forward
from .sigmoid import SigmoidCache, sigmoid_backward, sigmoid_forward
from .silu import SiluCache, silu_backward, silu_forward
from .softmax import SoftmaxCache, softmax_backward, softmax_forward
from .softplus import SoftplusCache, softplus_backward, softplus_forward
from .swiglu import SwigluCache, swiglu_backward, swiglu_forward
from .tanh import TanhCache, tanh_backward, tanh_forward
from .triplet import TripletCache, triplet_backward, triplet_forward

__all__ = [
    "SKIP",
    "AttentionCache",
    "BinaryCrossEntropyCache",
    "BinaryFocalCache",
    "CrossEntropyCache",
    "DropoutCache",
    "EmbeddingCache",
    "FocalCache",
    "GegluCache",
    "GeluCache",
    "GroupNormCache",
    "HingeCache",
    "HuberCache",
    "Into",
    "KLDivergenceCache",
    "L2NormalizeCache",
    "LayerNormCache",
    "LinearCache",
    "LinearGeluCache",
    "Loss",
    "MeanAbsoluteErrorCache",
    "MeanSquaredErrorCache",
    "Pair",
    "RMSNormCache",
    "ReluCache",
    "ResidualCache",
    "ResidualLayerNormCache",
    "RopeCache",
    "ScaleCache",
    "SigmoidCache",
    "SiluCache",
    "Skip",
    "SoftmaxCache",
    "SoftplusCache",
    "SwigluCache",
    "TanhCache",
    "Target",
    "TripletCache",
    "attention_backward",
    "attention_forward",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_forward",
    "binary_focal_backward",
    "binary_focal_forward",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dropout_backward",
    "dropout_forward",
    "embedding_backward",
    "embedding_forward",
    "focal_backward",
    "focal_forward",
    "geglu_backward",
    "geglu_forward",
    "gelu_backward",
    "gelu_forward",
    "group_norm_backward",
    "group_norm_forward",
    "hinge_backward",
    "hinge_forward",
    "huber_backward",
    "huber_forward",
    "kl_divergence_backward",
    "kl_divergence_forward",
    "l2_normalize_backward",
    "l2_normalize_forward",
    "layer_norm_backward",
    "layer_norm_forward",
    "linear_backward",
    "linear_forward",
    "linear_gelu_backward",
    "linear_gelu_forward",
    "mean_absolute_error_backward",
    "mean_absolute_error_forward",
    "mean_squared_error_backward",
    "mean_squared_error_forward",
    "op",
    "registry",
    "relu_backward",
    "relu_forward",
    "residual_backward",
    "residual_forward",
    "residual_layer_norm_backward",
    "residual_layer_norm_forward",
    "rms_norm_backward",
    "rms_norm_forward",
    "rope_backward",
    "rope_forward",
    "scale_backward",
    "scale_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "silu_backward",
    "silu_forward",
    "softmax_backward",
    "softmax_forward",
    "softplus_backward",
    "softplus_forward",
    "swiglu_backward",
    "swiglu_forward",
    "tanh_backward",
    "tanh_forward",
    "triplet_backward",
    "triplet_forward",
]
