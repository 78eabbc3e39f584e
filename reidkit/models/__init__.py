"""What networks are made of: ResNet-50, attention modules and heads. `reidkit.systems` puts them together."""

from reidkit.models.attention import ATTENTION
from reidkit.models.backbone import STAGES, ResNet50, WeightsError, load_imagenet_weights
from reidkit.models.heads import AttributeHeads, BNNeck, CircleSoftmax, LinearClassifier

__all__ = [
    "ATTENTION",
    "STAGES",
    "AttributeHeads",
    "BNNeck",
    "CircleSoftmax",
    "LinearClassifier",
    "ResNet50",
    "WeightsError",
    "load_imagenet_weights",
]
