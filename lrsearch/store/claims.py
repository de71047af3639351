"""Claims: which process trains which run of a study, so that processes and machines share its work.

A process that works on a study has a lease, which it renews. A run that it claims is its own as long as the lease
lasts. A claim is free where the lease of its process has run out, or where the process ran on this machine and has
ended. Leases are compared by the clock of the database alone, so a wrong clock of a machine changes nothing. A lease
that ends later than one can last is free: then the clock of the database was set back.

A claim keeps no result out: a run that ends after its claim was taken over is recorded like any other.
"""

import logging
import math
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from lrsearch.errors import StoreError, UsageError, given
from lrsearch.runs import RunState
from lrsearch.store.database import insert_all_new
from lrsearch.store.place import Place
from lrsearch.store.queries import TRUSTED
from lrsearch.store.schema import ClaimRow, ProcessRow, RunRow
from lrsearch.store.store import Store

LEASE_SECONDS = 60.0
"""How long a process that does not answer keeps its runs: a rule, long beside a lost network, short beside a run."""
RENEWALS = 4
"""Renewals within one lease: a rule, so that three may fail."""
JOIN_SECONDS = 5.0
"""How long the end of a process waits for a renewal in progress: a rule, longer than one transaction."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """A claim that a process got.

    Args:
        lost: the steps that a former process had reported for its attempt at the run; 0 where there was none.
        has_ended: whether that process is known to have ended; else its lease has run out, and it may come back.
    """

    lost: int = 0
    has_ended: bool = False


class Claims:
    """The claims of one process on the runs of a study.

    Args:
        store: the store; all processes of the study open the same one.
        study_key: the study.
        lease: seconds that it keeps its runs without a renewal.
        place: where the process runs.

    Raises:
        UsageError: for a lease that is not a number of seconds.
    """

    def __init__(self, store: Store, study_key: str, lease: float = LEASE_SECONDS, place: Place | None = None) -> None:
        is_number = isinstance(lease, int | float) and not isinstance(lease, bool)
        if not is_number or not 0 <= lease < math.inf:
            raise UsageError(f"lease is a number of seconds, 0 or more, got {given(lease)}")
        self._store, self._study, self._lease = store, study_key, float(lease)
        self._place = place or Place.here()
        self._steps: dict[str, int] = {}
        self._lock = threading.Lock()
        self.token = secrets.token_hex(8)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold a lease, which a thread renews. In the end the process gives back all its claims."""
        self._store.patiently(self.renew)
        ends = threading.Event()
        thread = threading.Thread(target=self._renew_until, args=(ends,), name="lrsearch-lease", daemon=True)
        if not self._store.is_in_memory:  # such a store belongs to one thread, and to one process
            thread.start()
        try:
            yield
        finally:
            ends.set()
            if thread.is_alive():
                thread.join(JOIN_SECONDS)  # a renewal after the end would begin the lease again
            self.leave()

    def renew(self) -> None:
        """Renew the lease, or begin it, and write the steps of all runs in training."""
        with self._lock:
            steps = dict(self._steps)
        with self._store.writes() as session:
            until = _clock(session) + self._lease
            row = {"token": self.token, "study_key": self._study, "place": str(self._place)}
            insert_all_new(session, ProcessRow, [row | {"until": until, "lease": self._lease}])
            session.execute(update(ProcessRow).where(ProcessRow.token == self.token).values(until=until))
            for key, done in steps.items():
                own = ClaimRow.run_key == key, ClaimRow.process == self.token
                session.execute(update(ClaimRow).where(*own).values(steps=done))

    def leave(self) -> None:
        """Release all claims and end the lease. Where the database is away, the lease runs out.

        Leases that have run out and hold no claim are removed as well.
        """
        holders = select(ClaimRow.process).where(ClaimRow.process.is_not(None))
        try:
            with self._store.writes() as session:
                session.execute(delete(ClaimRow).where(ClaimRow.process == self.token))
                session.execute(delete(ProcessRow).where(ProcessRow.token == self.token))
                is_over = ProcessRow.until < _clock(session)
                session.execute(delete(ProcessRow).where(is_over, ProcessRow.token.not_in(holders)))
        except StoreError as error:
            log.warning("%s; the claims of this process run out within %g seconds", error, self._lease)

    def take(self, run_key: str, *, by_hand: bool = False) -> Taken | None:
        """Claim a run. Returns None where it has ended, or is another's.

        Args:
            run_key: the run.
            by_hand: whether it is handed out to a person or a program: such a claim lasts until `give_back`.
        """
        process = None if by_hand else self.token

        def take() -> Taken | None:
            with self._store.writes() as session:
                new = {"run_key": run_key, "study_key": self._study, "process": process, "steps": 0}
                claim, is_new = _locked(session, new)
                taken: Taken | None = Taken()
                if not is_new and (by_hand or claim.process != self.token):
                    taken = _lapsed(session, claim)
                    if taken is not None:
                        claim.process, claim.study_key, claim.steps = process, self._study, 0
                # read last: a process gives its claim back after it has recorded the run
                if taken is not None and _has_ended(session, run_key):
                    session.delete(claim)
                    return None
                return taken

        return self._store.patiently(take)

    def give_back(self, run_key: str) -> None:
        """Release a claim: of this process, or one that was handed out."""
        with self._lock:
            self._steps.pop(run_key, None)
        is_own = or_(ClaimRow.process == self.token, ClaimRow.process.is_(None))

        def give_back() -> None:
            with self._store.writes() as session:
                session.execute(delete(ClaimRow).where(ClaimRow.run_key == run_key, is_own))

        self._store.patiently(give_back)

    def report(self, run_key: str, steps: int) -> None:
        """Note the steps of a run in training; all renewals write them, until its claim is given back."""
        with self._lock:
            self._steps[run_key] = steps

    def others(self) -> list[Place]:
        """Where the other processes run that work on the study now."""

        def others() -> list[Place]:
            with self._store.reads() as session:
                now = _clock(session)
                rows = session.scalars(select(ProcessRow).where(ProcessRow.study_key == self._study)).all()
                return [Place.of(row.place) for row in rows if row.token != self.token and _is_live(row, now)]

        return self._store.patiently(others)

    def elsewhere(self) -> dict[str, bool]:
        """The runs that other processes hold, of any study, each with whether it was handed out by `ask`."""

        def elsewhere() -> dict[str, bool]:
            with self._store.reads() as session:
                now = _clock(session)
                live = {row.token for row in session.scalars(select(ProcessRow)) if _is_live(row, now)} - {self.token}
                rows = session.execute(select(ClaimRow.run_key, ClaimRow.process)).all()
                return {key: process is None for key, process in rows if process is None or process in live}

        return self._store.patiently(elsewhere)

    def lapsed(self) -> set[str]:
        """The runs of the study whose claims are free, because their process has ended or does not answer."""

        def lapsed() -> set[str]:
            with self._store.reads() as session:
                rows = session.scalars(select(ClaimRow).where(ClaimRow.study_key == self._study)).all()
                return {row.run_key for row in rows if row.process != self.token and _lapsed(session, row) is not None}

        return self._store.patiently(lapsed)

    def _renew_until(self, ends: threading.Event) -> None:
        while not ends.wait(self._lease / RENEWALS):
            try:
                self.renew()
            except StoreError as error:
                log.warning("%s; the lease of this process could not be renewed, and is tried again", error)


def _locked(session: Session, new: dict[str, Any]) -> tuple[ClaimRow, bool]:
    """The claim on a run, which no other process changes now, and whether it is new."""
    while True:
        inserted = insert_all_new(session, ClaimRow, [new], ClaimRow.run_key, ClaimRow.steps)
        claim = session.get(ClaimRow, new["run_key"], with_for_update=True)
        if claim is not None:  # else it was given back meanwhile
            return claim, bool(inserted)


def _lapsed(session: Session, claim: ClaimRow) -> Taken | None:
    """What a free claim leaves behind; None where it is not free."""
    if claim.process is None:
        return None
    process = session.get(ProcessRow, claim.process)
    if process is not None and _is_live(process, _clock(session)):
        return None
    has_ended = process is None or Place.of(process.place).has_ended
    return Taken(claim.steps, has_ended)


def _is_live(process: ProcessRow, now: float) -> bool:
    return now < process.until <= now + process.lease and not Place.of(process.place).has_ended


def _has_ended(session: Session, run_key: str) -> bool:
    state = session.scalar(select(RunRow.state).where(RunRow.key == run_key, TRUSTED))
    return state is not None and RunState(state).is_final


def _clock(session: Session) -> float:
    """Seconds by the clock of the database."""
    if session.get_bind().dialect.name == "sqlite":
        now: Any = (func.julianday("now") - 2_440_587.5) * 86_400.0  # days since 4714 BC, to seconds since 1970
    else:
        now = func.extract("epoch", func.clock_timestamp())
    return float(session.execute(select(now)).scalar_one())
