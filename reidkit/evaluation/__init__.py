"""How good a ranking is: CMC, mAP and mINP."""

from reidkit.evaluation.ranking import Ranking, evaluate_ranking, top_matches

__all__ = ["Ranking", "evaluate_ranking", "top_matches"]
