"""Circle loss: Sun et al. 2020, "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR.

The circle classifier alone, at its authors' scale 128 and margin 0.25, on ResNet-50. The joint-loss paper has it beside
the triplet loss, and is read there with fast-reid's 64 and 0.35.

The article's text has a row of ResNet-50 and one of MGN; the joint-loss paper's Table 4 quotes the latter without its
name. Readings: the article prints neither input size nor learning rate, and no batch norm between the pooled feature
and the classifier; BNNeck stays there, as in all of this book's circle classifiers.
"""

from pydantic import Field

from reidkit.losses import JointLoss
from reidkit.models.backbone import load_initial_weights
from reidkit.settings import Configuration
from reidkit.systems.joint_loss import ReIDNetwork
from reidkit.systems.system import Classes, System, seeded


class CircleConfig(Configuration):
    """One run with the circle loss alone."""

    system = "circle"

    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross-entropy")
    circle_scale: float = Field(128.0, gt=0, description="γ of the circle classifier")
    circle_margin: float = Field(0.25, gt=0, lt=1, description="m of the circle classifier")


def build(config: CircleConfig, classes: Classes) -> ReIDNetwork:
    """The network of a run, freshly initialised from its seed."""
    with seeded(config.seed):
        network = ReIDNetwork(
            classes.identities,
            classifier="circle",
            width_multiplier=config.width_multiplier,
            last_stride=config.last_stride,
            circle_scale=config.circle_scale,
            circle_margin=config.circle_margin,
            residual_scale=config.residual_scale,
            objective=JointLoss(config.label_smoothing, use_triplet=False),
        )
    load_initial_weights(network.backbone, config.weights)
    return network


SYSTEM = System(
    name="circle",
    title="Circle loss",
    article="sun2020circle",
    configuration=CircleConfig,
    rows={"circle": {}},
    build=build,
)
