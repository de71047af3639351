"""The path under which `lrsearch/__init__.py` loads `classification`, until it names `lrsearch.tasks.in_memory`."""

from lrsearch.tasks.in_memory import classification as classification
