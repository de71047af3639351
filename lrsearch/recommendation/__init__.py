"""Recommendations for a task: policies of similar tasks, transferred to it and ranked with their uncertainty."""

from lrsearch.recommendation.advice import Advice, Neighbour, Recommendation
from lrsearch.recommendation.ranking import rank
from lrsearch.recommendation.recommend import recommend
from lrsearch.recommendation.similarity import Similarity

__all__ = ["Advice", "Neighbour", "Recommendation", "Similarity", "rank", "recommend"]
