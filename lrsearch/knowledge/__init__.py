"""The knowledge store: remembers every run, and recommends for the next task."""

from lrsearch.knowledge.ranking import rank
from lrsearch.knowledge.recommend import Advice, Neighbour, Recommendation, recommend
from lrsearch.knowledge.similarity import Similarity
from lrsearch.knowledge.store import Assignment, Store, StoredRun, StoredStudy, open_store

__all__ = [
    "Advice", "Assignment", "Neighbour", "Recommendation", "Similarity", "Store", "StoredRun", "StoredStudy",
    "open_store", "rank", "recommend",
]
