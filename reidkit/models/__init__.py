"""Networks: ResNet-50 with attention modules, the heads on top of it, and the networks of both papers."""

from reidkit.models.attention import ATTENTION
from reidkit.models.backbone import ResNet50, WeightsError, load_imagenet_weights
from reidkit.models.heads import BNNeck, CircleSoftmax, LinearClassifier
from reidkit.models.reid import Output, ReIDNetwork
from reidkit.models.san_gal import AttributeNetwork, AttributeSpatialAttention, SanGalNetwork, SanGalOutput

__all__ = [
    "ATTENTION",
    "AttributeNetwork",
    "AttributeSpatialAttention",
    "BNNeck",
    "CircleSoftmax",
    "LinearClassifier",
    "Output",
    "ReIDNetwork",
    "ResNet50",
    "SanGalNetwork",
    "SanGalOutput",
    "WeightsError",
    "load_imagenet_weights",
]
