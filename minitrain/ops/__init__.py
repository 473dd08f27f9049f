"""Pure forward/backward pairs, one operation a file: the readable reference of everything minitrain computes."""

from .activations.geglu import GegluCache, geglu_backward, geglu_forward
from .activations.gelu import GeluCache, gelu_backward, gelu_forward
from .activations.relu import ReluCache, relu_backward, relu_forward
from .activations.sigmoid import SigmoidCache, sigmoid_backward, sigmoid_forward
from .activations.silu import SiluCache, silu_backward, silu_forward
from .activations.softmax import SoftmaxCache, softmax_backward, softmax_forward
from .activations.softplus import SoftplusCache, softplus_backward, softplus_forward
from .activations.swiglu import SwigluCache, swiglu_backward, swiglu_forward
from .activations.tanh import TanhCache, tanh_backward, tanh_forward
from .attention.attention import AttentionCache, attention_backward, attention_forward
from .attention.rope import RopeCache, rope_backward, rope_forward
from .classification.binary_cross_entropy import (
    BinaryCrossEntropyCache,
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
)
from .classification.binary_focal import BinaryFocalCache, binary_focal_backward, binary_focal_forward
from .classification.cross_entropy import CrossEntropyCache, cross_entropy_backward, cross_entropy_forward
from .classification.focal import FocalCache, focal_backward, focal_forward
from .classification.hinge import HingeCache, hinge_backward, hinge_forward
from .classification.kl_divergence import KLDivergenceCache, kl_divergence_backward, kl_divergence_forward
from .classification.linear_cross_entropy import (
    LinearCrossEntropyCache,
    linear_cross_entropy_backward,
    linear_cross_entropy_forward,
)
from .contract.loss import Loss
from .contract.op import SKIP, Into, Pair, Skip, Target, op, registry
from .contrastive.info_nce import InfoNCECache, info_nce_backward, info_nce_forward
from .contrastive.siglip import SiglipCache, siglip_backward, siglip_forward
from .contrastive.supervised_contrastive import (
    SupervisedContrastiveCache,
    supervised_contrastive_backward,
    supervised_contrastive_forward,
)
from .images.avg_pool2d import AvgPool2dCache, avg_pool2d_backward, avg_pool2d_forward
from .images.conv2d import Conv2dCache, conv2d_backward, conv2d_forward
from .images.max_pool2d import MaxPool2dCache, max_pool2d_backward, max_pool2d_forward
from .linear.drop_path import DropPathCache, drop_path_backward, drop_path_forward
from .linear.dropout import DropoutCache, dropout_backward, dropout_forward
from .linear.embedding import EmbeddingCache, embedding_backward, embedding_forward
from .linear.gelu_linear import GeluLinearCache, gelu_linear_backward, gelu_linear_forward
from .linear.linear import LinearCache, linear_backward, linear_forward
from .linear.low_rank import LowRankCache, low_rank_backward, low_rank_forward
from .linear.scale import ScaleCache, scale_backward, scale_forward
from .norms.group_norm import GroupNormCache, group_norm_backward, group_norm_forward
from .norms.l2_normalize import L2NormalizeCache, l2_normalize_backward, l2_normalize_forward
from .norms.layer_norm import LayerNormCache, layer_norm_backward, layer_norm_forward
from .norms.residual import ResidualCache, residual_backward, residual_forward
from .norms.residual_layer_norm import ResidualLayerNormCache, residual_layer_norm_backward, residual_layer_norm_forward
from .norms.residual_rms_norm import ResidualRMSNormCache, residual_rms_norm_backward, residual_rms_norm_forward
from .norms.rms_norm import RMSNormCache, rms_norm_backward, rms_norm_forward
from .regression.huber import HuberCache, huber_backward, huber_forward
from .regression.mean_absolute_error import (
    MeanAbsoluteErrorCache,
    mean_absolute_error_backward,
    mean_absolute_error_forward,
)
from .regression.mean_squared_error import (
    MeanSquaredErrorCache,
    mean_squared_error_backward,
    mean_squared_error_forward,
)
from .regression.triplet import TripletCache, triplet_backward, triplet_forward
from .routing.load_balancing import LoadBalancingCache, load_balancing_backward, load_balancing_forward
from .routing.router_z_loss import RouterZLossCache, router_z_loss_backward, router_z_loss_forward
from .routing.top_k_routing import TopKRoutingCache, top_k_routing_backward, top_k_routing_forward
from .sequences.concat import ConcatCache, concat_backward, concat_forward
from .sequences.mean_pool import MeanPoolCache, mean_pool_backward, mean_pool_forward
from .sequences.split import SplitCache, split_backward, split_forward

__all__ = [
    "SKIP",
    "AttentionCache",
    "AvgPool2dCache",
    "BinaryCrossEntropyCache",
    "BinaryFocalCache",
    "ConcatCache",
    "Conv2dCache",
    "CrossEntropyCache",
    "DropPathCache",
    "DropoutCache",
    "EmbeddingCache",
    "FocalCache",
    "GegluCache",
    "GeluCache",
    "GeluLinearCache",
    "GroupNormCache",
    "HingeCache",
    "HuberCache",
    "InfoNCECache",
    "Into",
    "KLDivergenceCache",
    "L2NormalizeCache",
    "LayerNormCache",
    "LinearCache",
    "LinearCrossEntropyCache",
    "LoadBalancingCache",
    "Loss",
    "LowRankCache",
    "MaxPool2dCache",
    "MeanAbsoluteErrorCache",
    "MeanPoolCache",
    "MeanSquaredErrorCache",
    "Pair",
    "RMSNormCache",
    "ReluCache",
    "ResidualCache",
    "ResidualLayerNormCache",
    "ResidualRMSNormCache",
    "RopeCache",
    "RouterZLossCache",
    "ScaleCache",
    "SiglipCache",
    "SigmoidCache",
    "SiluCache",
    "Skip",
    "SoftmaxCache",
    "SoftplusCache",
    "SplitCache",
    "SupervisedContrastiveCache",
    "SwigluCache",
    "TanhCache",
    "Target",
    "TopKRoutingCache",
    "TripletCache",
    "attention_backward",
    "attention_forward",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_forward",
    "binary_focal_backward",
    "binary_focal_forward",
    "concat_backward",
    "concat_forward",
    "conv2d_backward",
    "conv2d_forward",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "drop_path_backward",
    "drop_path_forward",
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
    "gelu_linear_backward",
    "gelu_linear_forward",
    "group_norm_backward",
    "group_norm_forward",
    "hinge_backward",
    "hinge_forward",
    "huber_backward",
    "huber_forward",
    "info_nce_backward",
    "info_nce_forward",
    "kl_divergence_backward",
    "kl_divergence_forward",
    "l2_normalize_backward",
    "l2_normalize_forward",
    "layer_norm_backward",
    "layer_norm_forward",
    "linear_backward",
    "linear_cross_entropy_backward",
    "linear_cross_entropy_forward",
    "linear_forward",
    "load_balancing_backward",
    "load_balancing_forward",
    "low_rank_backward",
    "low_rank_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "mean_absolute_error_backward",
    "mean_absolute_error_forward",
    "mean_pool_backward",
    "mean_pool_forward",
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
    "residual_rms_norm_backward",
    "residual_rms_norm_forward",
    "rms_norm_backward",
    "rms_norm_forward",
    "rope_backward",
    "rope_forward",
    "router_z_loss_backward",
    "router_z_loss_forward",
    "scale_backward",
    "scale_forward",
    "siglip_backward",
    "siglip_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "silu_backward",
    "silu_forward",
    "softmax_backward",
    "softmax_forward",
    "softplus_backward",
    "softplus_forward",
    "split_backward",
    "split_forward",
    "supervised_contrastive_backward",
    "supervised_contrastive_forward",
    "swiglu_backward",
    "swiglu_forward",
    "tanh_backward",
    "tanh_forward",
    "top_k_routing_backward",
    "top_k_routing_forward",
    "triplet_backward",
    "triplet_forward",
]
