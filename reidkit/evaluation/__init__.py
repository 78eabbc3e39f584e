"""How good a ranking is: CMC, mAP and mINP; and how well attributes are predicted."""

from reidkit.evaluation.attributes import AttributeEvaluation, AttributeScores, evaluate_attributes
from reidkit.evaluation.ranking import Ranking, TiesWarning, evaluate_ranking, top_matches

__all__ = [
    "AttributeEvaluation",
    "AttributeScores",
    "Ranking",
    "TiesWarning",
    "evaluate_attributes",
    "evaluate_ranking",
    "top_matches",
]
