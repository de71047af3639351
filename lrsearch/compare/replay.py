"""Searches replayed on complete tables: the cost of each until it has a good constant learning rate.

A probe is the table's run at the nearest learning rate, read after one epoch; a full run is read at its end. Probes
are scored by 1 - accuracy: the tables' losses hold the weights' penalty, which depends on the learning rate too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lrsearch.compare.searches import Suggest, at_random, declared, tpe, within
from lrsearch.compare.tables import Table
from lrsearch.heuristics import Evidence, Probe, Pruned, prune
from lrsearch.heuristics.probes import best_constant_lr, next_probe
from lrsearch.recommendation import Recommendation
from lrsearch.schedules import FIX
from lrsearch.spaces import Space
from lrsearch.study.rules import FUNNEL
from lrsearch.words import counted

SEEDS = 20
"""Studies of each strategy on each task. Each multiplies the learning rates by another unit, so that its decades fall
elsewhere."""
MOST_RUNS = 100
"""Full runs of a search that never has a good one (a rule: over the 36 of the grid)."""
PROBE_EPOCHS = 1
"""The shortest run that a table holds."""
WORST_REGRET = 20.0
"""In units of the task's margin, as in `lrs.rank`."""
WRONG_DECADES = 2
"""How far off the wrong store is: far outside of any range of the pruner (a rule)."""
RIGHT, WRONG = "right store", "wrong store"


@dataclass(frozen=True, slots=True)
class Probed:
    """A task in the unit of one seed, and its probes.

    Args:
        table: the task.
        unit: the factor on the table's own learning rates.
        seed: the study's seed.
        evidence: the probes.
        optimum: the best probed learning rate, to which stored ones are relative: it replaces the range-test optimum,
            which a table lacks. None where nothing was learned.
    """

    table: Table
    unit: float
    seed: int
    evidence: Evidence
    optimum: float | None

    @property
    def cost(self) -> float:
        """The cost of the probes, in FRE."""
        return len(self.evidence.probes) * PROBE_EPOCHS / self.table.epochs

    def pruned(self, stored: Sequence[float] = ()) -> Pruned:
        """The space that is pruned by the probes, and by the learning rates that a store recommends."""
        axis = self.table.lrs[0], self.table.lrs[-1]
        raw = Space.standard("FIX", horizon=self.table.horizon, epoch=self.table.epoch, peak=axis)
        return prune(raw, replace(self.evidence, stored=tuple(stored)))

    def transferred(self, offers: Sequence[Recommendation]) -> list[float]:
        """The recommended learning rates, transferred to this task."""
        return [offer.transferred(self.table.horizon, self.optimum).params["k0"] for offer in offers]


@dataclass(frozen=True, slots=True)
class Paid:
    """The cost of one strategy on one task until a run was good.

    Args:
        strategy: its name.
        runs: full runs.
        cost: FRE, probes included and diverged runs in full.
        stopped: the same, with diverged runs at the share that they trained.
        reached: whether a run was good; if not, the costs are those of all runs.
    """

    strategy: str
    runs: int
    cost: float
    stopped: float
    reached: bool


@dataclass(frozen=True, slots=True)
class Replayed:
    """One study of one task, by all strategies.

    Args:
        problem, optimizer: the task.
        seed: the study's seed.
        low, high: the pruned range, in the table's own unit.
        covers: whether the table's best learning rate lies in it.
        covers_target: whether any good learning rate does.
        cut: the share of the raw axis that was cut.
        flagged: the stores that contradict the probes.
        paid: the cost of each strategy.
    """

    problem: str
    optimizer: str
    seed: int
    low: float
    high: float
    covers: bool
    covers_target: bool
    cut: float
    flagged: tuple[str, ...]
    paid: tuple[Paid, ...]


def replay(tables: Sequence[Table], seeds: int = SEEDS, watch: Callable[[str], None] | None = None) -> list[Replayed]:
    """Replay every strategy on every table; a store holds the results of the other problems.

    Args:
        tables: the tasks.
        seeds: studies of each.
        watch: called with a line for each seed that is done.
    """
    replayed = []
    for seed in range(seeds):
        studies = [probe(table, seed, seeds) for table in tables]
        stores = {
            problem: portfolio([study for study in studies if study.table.problem != problem])
            for problem in {table.problem for table in tables}
        }
        replayed += [replay_study(study, stores[study.table.problem]) for study in studies]
        if watch:
            watch(f"seed {seed + 1} of {seeds}: {counted(len(tables), 'task')}")
    return replayed


def probe(table: Table, seed: int, seeds: int = SEEDS) -> Probed:
    """Probe a task in the unit of a seed by the decade walk, until the walk needs a second seed.

    The table has one seed of each learning rate, so the walk ends there.
    """
    unit = 10 ** (seed / seeds)
    shifted = table.in_unit(unit)
    evidence = Evidence(1 - table.chance_accuracy, PROBE_EPOCHS * table.epoch)
    while (wanted := next_probe(evidence, None, (shifted.lrs[0], shifted.lrs[-1]))) and wanted[1] == 0:
        lr = wanted[0]
        short = Probe(f"{table.name} {lr:.3g}", lr, 0, shifted.error(lr, PROBE_EPOCHS))
        evidence = replace(evidence, probes=(*evidence.probes, short))
    best = best_constant_lr(evidence)
    return Probed(shifted, unit, seed, evidence, 10**best.log10_lr if best else None)


def replay_study(study: Probed, store: Sequence[Recommendation]) -> Replayed:
    """Run every strategy on one study's task.

    Args:
        study: the task and its probes.
        store: the recommendations of other problems; the wrong store has them off by two decades.
    """
    table, seed, cold = study.table, study.seed, study.pruned()
    factor = 10.0 ** (WRONG_DECADES if seed // 2 % 2 else -WRONG_DECADES)
    off = [replace(offer, policy=offer.policy.scale(factor)) for offer in store]
    stores = {RIGHT: study.transferred(store), WRONG: study.transferred(off)}
    warm = {name: study.pruned(stored) for name, stored in stores.items()}
    first = cold.forecast.lr if cold.forecast else None
    axis, peak = cold.raw.peak, cold.space.peak
    paid = (
        pay("pruned", study, within(cold, seed), study.cost),
        pay("pruned, TPE", study, tpe(peak, seed, first), study.cost),
        *(pay(f"pruned, {name}", study, within(warm[name], seed, stores[name]), study.cost) for name in stores),
        pay("TPE", study, tpe(axis, seed)),
        pay("random", study, at_random(axis, seed)),
        pay("grid", study, declared(table.lrs)),
    )
    return Replayed(
        table.problem,
        table.optimizer,
        seed,
        peak.low / study.unit,
        peak.high / study.unit,
        table.best in peak,
        any(lr in peak for lr in table.good),
        1 - 10**cold.log_volume,
        tuple(name for name, pruned in warm.items() if pruned.contradiction),
        paid,
    )


def pay(strategy: str, study: Probed, suggest: Suggest, probed: float = 0.0) -> Paid:
    """Run a search until a run is good.

    Args:
        strategy: the search's name.
        study: the task.
        suggest: returns the next learning rate.
        probed: FRE spent on probes.
    """
    table, target = study.table, study.table.target
    tried: list[tuple[float, float]] = []
    stopped, reached = probed, False
    while not reached and len(tried) < MOST_RUNS:
        lr = suggest(tried)
        tried.append((lr, table.final(lr)))
        stopped += table.ran(lr)
        reached = tried[-1][1] >= target
    return Paid(strategy, len(tried), probed + len(tried), stopped, reached)


def portfolio(known: Sequence[Probed]) -> list[Recommendation]:
    """The recommendations of a store of these tasks, best first: at most two constant learning rates.

    Greedy: each next one lowers the summed regret of the tasks most, after those before. Regret is the distance to a
    task's best, in units of its margin, at most 20.
    """
    learned = [study for study in known if study.optimum]
    offers = [_offer(study) for study in learned]
    regrets = np.array([[_regret(study, offer) for study in learned] for offer in offers])
    least, chosen = np.full(len(learned), WORST_REGRET), []
    for _ in offers[: FUNNEL.most_stored]:
        best = int(np.argmin(np.minimum(regrets, least).sum(axis=1)))
        least = np.minimum(regrets[best], least)
        chosen.append(offers[best])
    return chosen


def _offer(study: Probed) -> Recommendation:
    table = study.table
    return Recommendation(
        FIX(k0=table.best), table.name, 0.0, table.final(table.best), 1, 0.0, study.optimum, table.horizon
    )


def _regret(study: Probed, offer: Recommendation) -> float:
    table = study.table
    behind = table.final(table.best) - table.final(study.transferred([offer])[0])
    return min(behind / table.margin, WORST_REGRET)
