"""The knowledge store: remembers every run, and recommends for the next task."""

from lrsearch.knowledge.ranking import rank
from lrsearch.knowledge.recommend import Recommendation, recommend
from lrsearch.knowledge.store import Assignment, Store, StoredRun, StoredStudy, open_store

__all__ = ["Assignment", "Recommendation", "Store", "StoredRun", "StoredStudy", "open_store", "rank", "recommend"]
