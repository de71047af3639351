"""The knowledge store: remembers every run, and recommends for the next task."""

from lrsearch.knowledge.bundles import read_bundle, write_bundle
from lrsearch.knowledge.checking import check
from lrsearch.knowledge.ranking import rank
from lrsearch.knowledge.recommend import Advice, Neighbour, Recommendation, recommend
from lrsearch.knowledge.recorder import Recorder, record
from lrsearch.knowledge.salvage import salvage
from lrsearch.knowledge.similarity import Similarity
from lrsearch.knowledge.store import Store, open_store
from lrsearch.knowledge.stored import Assignment, StoredRun, StoredStudy

__all__ = [
    "Advice",
    "Assignment",
    "Neighbour",
    "Recommendation",
    "Recorder",
    "Similarity",
    "Store",
    "StoredRun",
    "StoredStudy",
    "check",
    "open_store",
    "rank",
    "read_bundle",
    "recommend",
    "record",
    "salvage",
    "write_bundle",
]
