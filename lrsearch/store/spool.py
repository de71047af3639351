"""The spool: runs whose store was away when they ended, each in a bundle of its own, until a later run flushes them."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lrsearch.errors import StoreError
from lrsearch.store.bundles import bundle_of, read_bundle
from lrsearch.store.database import file_of, read_url
from lrsearch.store.fields import Entry, checked
from lrsearch.store.store import Store
from lrsearch.store.values import digest

FOLDER = "lrsearch-waiting"
log = logging.getLogger(__name__)


def spool(url: str, entry: Entry, description: Mapping[str, Any]) -> Path | None:
    """Write a run to a file, in the first folder that can be written.

    Args:
        url: of the store that the run is for.
        entry: of the run; its detail `attempt` keeps the files of two attempts apart.
        description: of the run's task.

    Returns:
        The file; None where no folder can be written.
    """
    for folder in _folders(url):
        path = folder / f"{digest(url)}-{entry['key']}-{entry['details']['attempt']}.bundle"
        part = path.with_suffix(".part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(bundle_of(checked(entry), description))
            part.replace(path)
        except OSError:
            continue
        return path
    return None


def flush(store: Store, url: str) -> None:
    """Import the spooled runs of a store into it, and delete their files; log a warning for those that fail."""
    for path in _spooled(url):
        try:
            read_bundle(store, path, trust=True)
            path.unlink()
        except (StoreError, OSError) as error:
            log.warning("%s could not be imported: %s", path, error)


def _spooled(url: str) -> Iterator[Path]:
    for folder in _folders(url):
        yield from sorted(folder.glob(f"{digest(url)}-*.bundle"))


def _folders(url: str) -> list[Path]:
    """The spool's folders for a store: beside its file or in the working folder, then in the user's cache.

    Only the user writes to these. A shared folder for temporary files would let others add runs to the store.
    """
    file = file_of(read_url(url))
    return [(file.parent if file else Path()) / FOLDER, Path.home() / ".cache" / FOLDER]
