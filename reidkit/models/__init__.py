"""Networks: ResNet-50 with attention modules, the heads on top of it, and the re-ID network made of both."""

from reidkit.models.attention import ATTENTION
from reidkit.models.backbone import ResNet50, WeightsError, load_imagenet_weights
from reidkit.models.heads import BNNeck, CircleSoftmax, LinearClassifier
from reidkit.models.reid import Output, ReIDNetwork

__all__ = [
    "ATTENTION",
    "BNNeck",
    "CircleSoftmax",
    "LinearClassifier",
    "Output",
    "ReIDNetwork",
    "ResNet50",
    "WeightsError",
    "load_imagenet_weights",
]
