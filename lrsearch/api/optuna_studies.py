"""A user's own Optuna study: stored policies are enqueued, stored results are added as finished trials."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lrsearch.api.known import fit, readable
from lrsearch.errors import UsageError, given
from lrsearch.later import warn_older
from lrsearch.recommendation import Recommendation
from lrsearch.recommendation.known import PUBLISHED
from lrsearch.recommendation.published import label_of
from lrsearch.runs import Objective
from lrsearch.schedules import Policy, parse
from lrsearch.spaces import Space
from lrsearch.store import Store
from lrsearch.tasks import find_task
from lrsearch.tasks.catalogue import TaskLike

if TYPE_CHECKING:
    import optuna

    from lrsearch.spaces.optuna import Offer

MOST_STORED = 2
"""Policies beside the first: see `FunnelRules.most_stored`."""
MOST_RESULTS = 1000
"""Policies that are added as results: a rule."""
STRETCHED = "lrsearch:stretched"
"""The user attribute of a trial whose policy was stretched: the policy before."""
log = logging.getLogger(__name__)


def warm_start(
    study: "optuna.Study",
    space: Space,
    policies: Sequence[Policy | Recommendation | str],
    seed: int = 0,
    optimum: float | None = None,
    prefix: str | None = None,
    *,
    centre: float | None = None,
) -> int:
    """Enqueue policies in the user's own Optuna study: at most the first three, and one random point last.

    The user attribute `lrsearch:origin` of each trial is the origin of its policy: `stored`, `published` or `random`.
    For a recommendation `lrsearch:source` names the paper's table, such as "LRBench Table VII", or the stored task.
    The call can be repeated, also by several processes at once: a policy that is in the study is not enqueued again,
    whatever the state of its trial. When it returns, all are in the queue or were taken from it.

    A policy is enqueued unchanged where the space's coordinates make its curve over the space's horizon, inside the
    ranges or not. Any other policy that ends at another step than the space is stretched to the horizon. A warning and
    the trial's user attribute `lrsearch:stretched` report that. A warning names each policy that is left out, with the
    reason.

    Args:
        study: the Optuna study; its objective calls `space.suggest(trial)`.
        space: the space of the study.
        policies: the default first, then stored ones, as policies or texts, or the recommendations of `lrs.recommend`,
            which are transferred to the space's horizon. Durations such as `0.1dur` are of that horizon.
        seed: the seed of the random point.
        optimum: the optimum of your range test (`test.advice.default.lr`). It scales the LRs of tasks that have one in
            the store; None without a range test.
        prefix: as in `space.suggest(trial, prefix=...)`. A trial's policies of other prefixes are suggested.
        centre: the older name of `optimum`.

    Returns:
        The number of policies that this call enqueued.

    Raises:
        UsageError: if an argument has a wrong type.

    >>> import optuna
    >>> from lrsearch import FIX, recommend
    >>> study = optuna.create_study(direction="maximize")
    >>> space = Space.standard(horizon=10_000, epoch=540)
    >>> warm_start(study, space, [FIX(k0=0.1), *recommend("mnist-lenet")])
    4
    >>> warm_start(study, space, [FIX(k0=0.1)]), study.trials[1].user_attrs["lrsearch:source"]
    (0, 'LRBench Table VII')
    """
    import numpy as np

    from lrsearch.spaces.optuna import Offer, hand_over

    if centre is not None:
        warn_older("warm_start(centre=...)", "warm_start(optimum=...)")
        optimum = centre
    _check_study(study, space)
    if isinstance(policies, Policy | Recommendation | str):
        policies = [policies]
    if not isinstance(policies, Iterable):
        raise UsageError(f"policies is a list of policies or of what lrs.recommend returned, got {given(policies)}")
    random = Offer(policy=space.sample(np.random.default_rng(seed)), origin="random")
    return hand_over(study, space, [*_fitting(policies, space, optimum), random], prefix)


def add_results(
    study: "optuna.Study",
    space: Space,
    store: Store,
    task: TaskLike,
    *,
    unit: str | None = None,
    prefix: str | None = None,
) -> int:
    """Add the stored results of exactly this task to the user's own Optuna study, as finished trials.

    A policy that ran over the whole horizon is one trial. Its value is the mean score over seeds, its user attribute
    `lrsearch:origin` is `same task`. Results of other tasks are never added, however similar: see `warm_start`. Nor are
    results of other metrics. The call can be repeated, also by several processes at once: no run enters twice, and new
    runs become a new trial.

    Args:
        study: the Optuna study, of the direction of the task's metric.
        space: the space of the study; policies outside of it are left out.
        store: the knowledge store.
        task: a shipped task's name, a task, or a function under `@lrs.task`: its whole description must be equal.
        unit: the unit of the scores: others are left out. None for that of the task's metric.
        prefix: as in `space.suggest(trial, prefix=...)`; no other policy may be in the study's trials.

    Returns:
        The number of trials that this call added.

    Raises:
        UsageError: if the study has another direction, or several, or an argument has a wrong type.
        TaskError: for an unknown task name.

    >>> import optuna
    >>> from lrsearch import FIX, open_store, recommend, record
    >>> task, study = find_task("digits-mlp"), optuna.create_study(direction="maximize")
    >>> space = Space.standard(horizon=task.horizon, epoch=task.epoch)
    >>> with open_store("sqlite:///:memory:") as store:
    ...     with record(store, task=task, policy=FIX(k0=0.1)) as run:
    ...         _ = run.finish(score=0.95)
    ...     added = [add_results(study, space, store, task) for _ in range(2)]
    >>> added, study.best_value
    ([1, 0], 0.95)
    """
    from lrsearch.spaces.optuna import SAME_TASK, Offer, hand_over

    _check_study(study, space)
    if not isinstance(store, Store):
        raise UsageError(f"store is an open store, such as lrs.open_store('store.db'), got {given(store)}")
    described = find_task(task)
    metric = described.objective if unit is None else replace(described.objective, unit=unit, samples=None)
    _check_direction(study, metric)
    scores: dict[Policy, dict[str, float]] = {}
    for stored in store.representative_runs(described.key, shortest=described.horizon, policies=MOST_RESULTS):
        is_whole = stored.horizon == described.horizon and stored.objective == metric
        if is_whole and stored.run.score is not None and stored.policy in space:
            scores.setdefault(stored.policy, {})[stored.key] = stored.run.score
    offers = [Offer(policy=policy, origin=SAME_TASK, scores=of_seeds) for policy, of_seeds in scores.items()]
    return hand_over(study, space, offers, prefix)


def _check_study(study: Any, space: Any) -> None:
    import optuna

    if not isinstance(study, optuna.Study):
        raise UsageError(f"study is an Optuna study, such as optuna.create_study(), got {given(study)}")
    if not isinstance(space, Space):
        raise UsageError(f"space is a Space, such as lrs.Space.standard(horizon=..., epoch=...), got {given(space)}")


def _check_direction(study: "optuna.Study", metric: Objective) -> None:
    """Refuse a study of another direction than the metric's, or of several directions."""
    made = f"make the study with direction={metric.direction!r}"
    if len(study.directions) > 1:
        raise UsageError(
            f"the study has {len(study.directions)} directions, and the results are of one metric,"
            f" {metric.name}: {made}"
        )
    if study.direction.name.lower() != metric.direction:
        raise UsageError(f"{metric.name} is {metric.direction}d: {made}")


def _fitting(offered: Iterable[Any], space: Space, optimum: float | None) -> "list[Offer]":
    """The first three policies that fit the space; a warning names each other one."""
    from lrsearch.spaces.optuna import Offer

    fitting: list[Offer] = []
    for item in offered:
        policy, marks = _transferred(item, space, optimum)
        fitted = fit(policy, space)
        if fitted is None:
            log.warning("%s is not enqueued: %s", policy, space.misfit(policy))
        elif fitted in [offer.policy for offer in fitting]:
            continue
        elif len(fitting) > MOST_STORED:
            log.warning("%s is not enqueued: a study starts from %d policies at most", policy, 1 + MOST_STORED)
        elif fitted == policy:
            fitting.append(Offer(policy=policy, **marks))
        else:
            text = "%s ends after %g steps, the space after %d: it is enqueued as %s"
            log.warning(text, policy, policy.horizon, space.horizon, fitted)
            attributes = {**marks["attributes"], STRETCHED: str(policy)}
            fitting.append(Offer(policy=fitted, origin=marks["origin"], attributes=attributes))
    return fitting


def _transferred(item: Any, space: Space, optimum: float | None) -> tuple[Policy, dict[str, Any]]:
    """A policy over the space's horizon, with the origin and the other marks of its trial."""
    from lrsearch.spaces.optuna import SOURCE

    if isinstance(item, Recommendation):
        policy = readable(item.transferred(space.horizon, optimum), space)
        is_published = item.origin == PUBLISHED
        source = label_of(item.task, item.policy) if is_published else item.task
        return policy, {"origin": PUBLISHED if is_published else "stored", "attributes": {SOURCE: source}}
    if not isinstance(item, Policy | str):
        raise UsageError(f"policies are policies, their texts, or what lrs.recommend returned, got {given(item)}")
    policy = parse(item) if isinstance(item, str) else item
    return policy.bind(horizon=space.horizon, epoch=space.epoch), {"origin": "stored", "attributes": {}}
