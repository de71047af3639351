"""The pruner on synthetic tasks: what it keeps, what it cuts, what it says, and when it refuses."""

import json
import math
from itertools import permutations

import numpy as np
import pytest

from lrsearch.heuristics import Evidence, Probe, Ramp, prune
from lrsearch.heuristics.pruner import grid, linear_cut, outward
from lrsearch.heuristics.range_test import read_ramp
from lrsearch.schedules import COS, FIX, HALFCOS, NSTEP, SIN, STEP, TRI, WARMUP
from lrsearch.schedules.functions.waves import WAVES
from lrsearch.spaces import Choice, Fractions, Interval, Space
from lrsearch.spaces.space import FORMS

RAW = Space.standard(horizon=10_000, epoch=500)
BESTS = np.arange(-4.0, 0.01, 0.5)


def evidence_of(task, walk, ramps=2, probe_steps=200):
    return walk(task.loss, start=None, ramps=[task.ramp(f"ramp-{n}") for n in range(ramps)], probe_steps=probe_steps)


def replayed(evidence, probes, ramps=None):
    return Evidence(evidence.chance_loss, evidence.probe_steps, tuple(ramps or evidence.ramps), tuple(probes))


@pytest.mark.parametrize("best", BESTS)
@pytest.mark.parametrize(("cliff", "beyond"), [(1.2, math.inf), (0.45, 2.3), (0.6, 50.0), (9.0, 0.0)])
@pytest.mark.parametrize("ramps", [0, 2])
def test_the_best_learning_rates_of_a_task_are_kept(best, cliff, beyond, ramps, walk, bowl):
    pruned = prune(RAW, evidence_of(bowl(best, cliff, beyond), walk, ramps))
    assert pruned.refusal is None
    longer = math.log10(RAW.horizon / 200)
    constant = best - 0.25 * longer
    kept = pruned.space.peak
    for lr in (10**constant, 10 ** (constant + 0.4), 10 ** (constant + 0.8)):
        within = Interval(RAW.peak.low, RAW.peak.high).within(lr, lr).low
        assert within in kept, (lr, kept)


@pytest.mark.parametrize("best", BESTS)
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_range_is_cut_to_two_and_a_half_decades_at_most_beside_an_edge(best, noise, walk, bowl):
    pruned = prune(RAW, evidence_of(bowl(best, noise=noise), walk))
    width = math.log10(pruned.space.peak.high / pruned.space.peak.low)
    assert 0 < width < 2.6
    assert pruned.log_volume < math.log10(2.6 / 7)
    assert pruned.log_volume == pruned.space.log_volume(RAW)


def test_a_shrunken_space_is_inside_the_raw_one(walk, bowl):
    pruned, rng = prune(RAW, evidence_of(bowl(-2.0), walk)), np.random.default_rng(1)
    for _ in range(500):
        assert pruned.space.sample(rng) in RAW


def test_the_same_evidence_gives_the_same_bounds_in_any_order(walk, bowl):
    evidence = evidence_of(bowl(-2.1, noise=0.05), walk)
    expected, rng = prune(RAW, evidence), np.random.default_rng(2)
    probes, ramps = list(evidence.probes), list(evidence.ramps)
    assert prune(RAW, evidence) == expected
    for _ in range(20):
        rng.shuffle(probes)
        rng.shuffle(ramps)
        again = prune(RAW, replayed(evidence, probes, ramps))
        assert again == expected
        assert again.space.key == expected.space.key


def test_every_bound_names_the_runs_or_the_rule_behind_it(walk, bowl):
    evidence = evidence_of(bowl(-2.0), walk)
    pruned = prune(RAW, evidence)
    known = {probe.run for probe in evidence.probes} | {ramp.run for ramp in evidence.ramps}
    assert [bound.coordinate for bound in pruned.bounds] == [
        "peak",
        "ratio",
        "decay",
        "cycles",
        "power",
        "warmup",
        "milestones",
    ]
    for bound in pruned.bounds:
        assert bool(bound.runs) is (bound.coordinate == "peak")
        assert bool(bound.rule) is (bound.coordinate != "peak")
        assert set(bound.runs) <= known
        assert bound.low < bound.high
        written = json.loads(json.dumps(bound.to_json()))
        assert written["reason"] == bound.reason
        assert ("runs" in written) is not ("rule" in written)
    peak = pruned.bounds[0]
    assert (peak.low, peak.high) == (pruned.space.peak.low, pruned.space.peak.high)
    assert {"ramp-0", "ramp-1"} <= set(peak.runs)


@pytest.mark.parametrize("coordinate", ["ratio", "decay", "power", "warmup", "milestones", "cycles"])
def test_a_bound_is_the_range_that_the_space_has(coordinate, walk, bowl):
    pruned = prune(RAW, evidence_of(bowl(-2.0), walk))
    bound = next(bound for bound in pruned.bounds if bound.coordinate == coordinate)
    axes = (
        [pruned.space.ratio]
        if coordinate == "ratio"
        else [
            axis.each if isinstance(axis, Fractions) else axis
            for branch in pruned.space.branches
            for name, axis in branch.axes
            if name == coordinate
        ]
    )
    assert min(axis.low for axis in axes) == pytest.approx(bound.low)
    assert max(axis.high for axis in axes) == pytest.approx(bound.high)


def blown_up(at: float, lowest: float, run: str = "ramp") -> Ramp:
    """A range test with its lowest loss at one rate, that diverges at another."""
    lrs = tuple(np.geomspace(1e-6, 10, 300).tolist())
    x = np.log10(lrs) - math.log10(lowest)
    losses = np.where(np.array(lrs) >= at, math.inf, 0.3 + 2 * (1 - np.exp(-((x / 2) ** 2))))
    return Ramp(run, lrs, tuple(losses.tolist()))


@pytest.mark.parametrize("best", np.arange(-3.0, -0.9, 0.1))
@pytest.mark.parametrize("above", [0.5, 0.65, 0.9])
def test_an_lr_that_blew_up_is_outside_the_range_and_the_reason_says_so_where_it_cut(best, above, walk, bowl):
    cliff = 10 ** (best + above)
    ramp = blown_up(cliff, lowest=10 ** (best + above - 0.3))
    evidence = walk(bowl(best).loss, ramps=[ramp])
    pruned = prune(RAW, evidence)
    assert pruned.space.peak.high < read_ramp(ramp).blown_up <= cliff
    assert above > 0.5 or "where the range test blew up" in pruned.bounds[0].reason
    assert pruned.space.peak.high >= 10 ** (best + above - 0.35), "the range test's lowest loss stays inside"


def test_the_ceiling_gives_way_where_the_constant_lrs_contradict_it(walk, bowl):
    ramp = blown_up(1e-4, lowest=3e-5)
    pruned = prune(RAW, walk(bowl(-1.0).loss, ramps=[ramp]))
    assert pruned.space.peak.low < 10**-1.9 < pruned.space.peak.high
    assert "where the range test blew up" not in pruned.bounds[0].reason


def test_a_range_test_that_never_blew_up_holds_nothing_down(walk, bowl):
    lrs = tuple(np.geomspace(1e-6, 10, 300).tolist())
    calm = Ramp("calm", lrs, tuple(np.linspace(2.3, 0.5, 300).tolist()))
    pruned = prune(RAW, walk(bowl(-2.0).loss, ramps=[calm]))
    assert pruned.space.peak.high == 10
    assert "blew up" not in pruned.bounds[0].reason
    assert 1 < pruned.optimum < 10


def probes_of(*losses: float, lowest: int = -5) -> tuple[Probe, ...]:
    return tuple(Probe(f"p{n}", 10.0 ** (n + lowest), 0, loss) for n, loss in enumerate(losses))


REFUSALS = [
    ("all-diverged", probes_of(math.inf, math.inf, math.inf)),
    ("all-diverged", probes_of(math.inf)),
    ("too-few", ()),
    ("too-few", probes_of(1.0, 2.0)),
    ("too-few", (*probes_of(1.0, 2.0), Probe("half", 10**-4.5, 0, 0.9), Probe("again", 1e-4, 1, 2.0))),
    ("chance", probes_of(2.3, 2.3, 2.3, 2.3)),
    ("chance", probes_of(2.3, 2.4, 9.0, math.inf)),
    ("chance", (*probes_of(2.2, 2.3, 2.3), Probe("again", 1e-5, 1, 2.4))),
    ("not-reproducible", (*probes_of(2.3, 1.0, 2.3), Probe("again", 1e-4, 0, 1.1))),
    ("not-reproducible", (*probes_of(2.3, 1.0, 2.3), Probe("again", 1e-4, 0, math.inf))),
    ("flat", probes_of(1.0, 1.01, 1.0, 1.0)),
    ("flat", (*probes_of(1.0, 1.1, 1.2, 1.1), Probe("again", 1e-5, 1, 1.4))),
    ("edge", probes_of(*(1 - 0.05 * n for n in range(10)), lowest=-9)),
    ("edge", probes_of(*(1 + 0.05 * n for n in range(10)), lowest=-9)),
]


@pytest.mark.parametrize(("code", "probes"), REFUSALS)
@pytest.mark.parametrize("ramps", [(), (blown_up(0.5, lowest=0.1),)], ids=["no ramp", "ramp"])
def test_a_refusal_keeps_the_raw_learning_rates_and_says_why(code, probes, ramps):
    pruned = prune(RAW, Evidence(2.3, 200, ramps, probes))
    assert pruned.refusal.partition(":")[0] == code
    assert len(pruned.refusal) > len(code) + 10
    assert pruned.space.peak == RAW.peak
    assert "peak" not in {bound.coordinate for bound in pruned.bounds}
    assert (pruned.optimum is None) is (not ramps)
    assert pruned.log_volume < 0, "the structural rules need no run"


def test_evidence_that_teaches_something_is_no_refusal():
    assert prune(RAW, Evidence(2.3, 200, (), probes_of(2.3, 1.0, 2.3))).refusal is None
    equal_runs = (*probes_of(2.3, 1.0, 2.3, math.inf), Probe("again", 1e-4, 0, 1.0), Probe("inf", 1e-2, 0, math.inf))
    assert prune(RAW, Evidence(2.3, 200, (), equal_runs)).refusal is None
    nine_decades_to_an_edge = probes_of(*(1 - 0.05 * n for n in range(9)), lowest=-8)
    assert prune(RAW, Evidence(2.3, 200, (), nine_decades_to_an_edge)).refusal is None


ONLY_FIX = Space.standard("FIX", horizon=10_000, epoch=500)
SURE = probes_of(2.3, 1.5, 0.5, 1.5, 2.3, lowest=-4)


def test_constant_lrs_alone_get_no_room_for_peaks_that_decay():
    pruned = prune(ONLY_FIX, Evidence(2.3, 100, (blown_up(5.0, lowest=1.0),), SURE))
    u, s = pruned.forecast.log10_lr, pruned.forecast.spread
    assert pruned.space.peak == RAW.peak.within(*outward(10 ** (u - 2 * s), 10 ** (u + 2 * s)))
    assert "peaks that decay" not in pruned.bounds[0].reason
    assert prune(RAW, Evidence(2.3, 100, (), SURE)).space.peak.high > pruned.space.peak.high


@pytest.mark.parametrize("decades", [-4, -2, 2, 3])
def test_a_store_that_contradicts_the_probes_is_not_believed_but_widens_the_range_half_way(decades):
    cold = prune(ONLY_FIX, Evidence(2.3, 100, (), SURE))
    peak = cold.space.peak
    end = peak.low if decades < 0 else peak.high
    stored = end * 10.0**decades
    warm = prune(ONLY_FIX, Evidence(2.3, 100, (), SURE, (stored, stored * 10.0**decades)))
    result = warm.contradiction
    assert (result.stored, result.low, result.high) == (stored, peak.low, peak.high)
    assert result.gap == pytest.approx(abs(decades))
    moved = warm.space.peak.low if decades < 0 else warm.space.peak.high
    assert moved == pytest.approx(RAW.peak.within(end * 10 ** (decades / 2), end * 10 ** (decades / 2)).low, rel=0.01)
    assert (warm.space.peak.high if decades < 0 else warm.space.peak.low) == (peak.high if decades < 0 else peak.low)
    assert stored not in warm.space.peak
    assert warm.forecast == cold.forecast
    assert "contradicts" in warm.bounds[0].reason
    assert json.loads(json.dumps(result.to_json())) == {
        "stored": stored,
        "low": peak.low,
        "high": peak.high,
        "gap": result.gap,
    }


def test_a_store_above_what_blew_up_widens_nothing(walk, bowl):
    evidence = walk(bowl(-2.0).loss, ramps=[blown_up(10**-1.35, lowest=10**-1.65)])
    cold = prune(RAW, evidence)
    warm = prune(RAW, Evidence(evidence.chance_loss, evidence.probe_steps, evidence.ramps, evidence.probes, (9.0,)))
    assert warm.contradiction.stored == 9
    assert warm.space.peak == cold.space.peak


def test_a_store_of_which_some_is_inside_does_not_contradict():
    cold = prune(ONLY_FIX, Evidence(2.3, 100, (), SURE))
    for stored in ((cold.forecast.lr,), (cold.forecast.lr, 9.0), (9.0, cold.space.peak.high)):
        warm = prune(ONLY_FIX, Evidence(2.3, 100, (), SURE, stored))
        assert warm.contradiction is None
        assert warm.space == cold.space


def test_the_order_of_what_the_store_says_does_not_matter():
    orders = permutations((9.0, 1e-6, 5.0))
    assert len({prune(ONLY_FIX, Evidence(2.3, 100, (), SURE, order)).contradiction for order in orders}) == 1


def test_where_the_probes_teach_nothing_there_is_nothing_to_contradict():
    pruned = prune(ONLY_FIX, Evidence(2.3, 100, (), (), (9.0,)))
    assert (pruned.contradiction, pruned.forecast) == (None, None)


def test_probes_of_two_minds_keep_both_and_say_so():
    pruned = prune(ONLY_FIX, Evidence(2.3, 100, (), probes_of(2.2, 0.5, 2.0, 0.5, 2.2)))
    assert pruned.space.peak.low < 10**-4.5 < 10**-2.5 < pruned.space.peak.high
    assert "as good" in pruned.bounds[0].reason


def test_a_longer_run_lowers_the_range_and_an_equal_one_does_not(walk, bowl):
    evidence = evidence_of(bowl(-2.0), walk, ramps=0, probe_steps=100)
    spaces = [Space.standard(horizon=horizon, epoch=100) for horizon in (100, 10_000, 1_000_000)]
    highs = [prune(space, evidence).space.peak.high for space in spaces]
    assert highs[0] > highs[1] > highs[2]
    assert highs[0] == pytest.approx(0.1, rel=0.5)


def test_a_best_at_the_edge_of_what_was_tried_widens_the_range():
    sure = probes_of(2.3, 2.0, 0.5, 2.0, 2.3, lowest=-4)
    edge = probes_of(0.5, 2.0, 2.3, 2.3, 2.3, lowest=-4)
    widths = [
        math.log10(space.peak.high / space.peak.low)
        for space in (prune(RAW, Evidence(2.3, 200, (), probes)).space for probes in (sure, edge))
    ]
    assert widths[1] > widths[0]


def axis(space: Space, form: str, name: str):
    return dict(space.branch(form).axes)[name]


def test_step_sizes_are_epoch_multiples_or_end_the_run_at_the_floor(walk, bowl):
    space, rng = prune(RAW, evidence_of(bowl(-2.0), walk)).space, np.random.default_rng(3)
    for _ in range(400):
        policy = space.sample(rng)
        if policy.name in {"TRI", "TRI2", "TRIEXP", "SIN", "SIN2", "SINEXP", "COS", "STEP"}:
            length = policy.params["l"]
            epochs = length / RAW.epoch
            shown = policy.params["k1"] if policy.name == "STEP" else min(policy.params["k0"], policy.params["k1"])
            at_floor = policy.name != "STEP" and policy(RAW.horizon) == pytest.approx(shown, abs=1e-9)
            whole = policy.name == "STEP" and (RAW.horizon / length) % 1 == pytest.approx(0, abs=1e-9)
            assert math.isclose(epochs, round(epochs), rel_tol=1e-9) or at_floor or whole, policy


def test_a_cosine_that_ends_at_its_floor_has_half_a_cycle_more(walk, bowl):
    space = prune(Space.standard("COS", "SIN", horizon=10_007, epoch=5000), evidence_of(bowl(-2.0), walk)).space
    assert COS(k0=0, k1=0.01, l=10_007) in space
    assert SIN(k0=0, k1=0.01, l=10_007 / 2) in space
    assert SIN(k0=0, k1=0.01, l=10_007) not in space
    assert COS(k0=0, k1=0.01, l=10_007 / 2) not in space
    assert COS(k0=0, k1=0.01, l=10_007 / 3) in space


@pytest.mark.parametrize("wave", WAVES, ids=lambda wave: wave.name)
def test_every_wave_s_step_size_is_an_epoch_multiple_or_ends_the_run_at_the_floor(wave, walk, bowl):
    """Lattices follow from where in its cycle a wave has its floor, and how many lengths make a cycle."""
    names = [wave.name, f"{wave.name}2", f"{wave.name}EXP"]
    space = prune(Space.standard(*names, horizon=10_000, epoch=300), evidence_of(bowl(-2.0), walk)).space
    rng, ends = np.random.default_rng(3), 0
    for _ in range(200):
        policy = space.sample(rng)
        low, high = policy.bounds
        epochs = policy.params["l"] / 300
        just_before = policy.at(np.array([10_000 * (1 - 1e-7)]))[0]
        at_floor = just_before - low < 1e-5 * (high - low)
        ends += at_floor
        assert math.isclose(epochs, round(epochs), rel_tol=1e-9) or at_floor, policy
    assert ends > 10


@pytest.mark.parametrize(
    ("horizon", "epoch"), [(1, 1), (2, 10), (50, 7.5), (1000, 1e6), (10_000, 0.5), (123_457, 390.625)]
)
def test_any_horizon_and_epoch_give_a_space_that_can_be_drawn_from(horizon, epoch, walk, bowl):
    raw = Space.standard(*FORMS, horizon=horizon, epoch=epoch)
    pruned, rng = prune(raw, evidence_of(bowl(-2.0), walk, probe_steps=min(50, horizon))), np.random.default_rng(4)
    for _ in range(300):
        policy = pruned.space.sample(rng)
        assert policy in pruned.space
        assert policy in raw
    assert -6 < pruned.log_volume < 0


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (FIX(k0=0.01), True),
        (FIX(k0=1e-5), False),
        (FIX(k0=5), False),
        (HALFCOS(k0=0.03, l=10_000), True),
        (TRI(k0=0.0001, k1=0.03, l=2000), True),
        (TRI(k0=0.02, k1=0.03, l=2000), False),
        (TRI(k0=0.0001, k1=0.03, l=2100), False),
        (STEP(k0=0.03, gamma=0.5, l=1000), True),
        (STEP(k0=0.03, gamma=0.99, l=1000), False),
        (NSTEP(k0=0.03, gamma=0.1, l=[5000, 8000]), True),
        (NSTEP(k0=0.03, gamma=0.1, l=[500, 8000]), False),
        (NSTEP(k0=0.03, gamma=0.5, l=[5000, 6000, 7000, 8000, 9000]), False),
        (WARMUP(policy=HALFCOS(k0=0.03, l=9000), l=1000), True),
        (WARMUP(policy=HALFCOS(k0=0.03, l=6e3), l=4e3), False),
    ],
    ids=str,
)
def test_the_structural_rules_keep_and_cut_what_they_say(policy, kept, walk, bowl):
    assert policy in RAW
    assert (policy in prune(RAW, evidence_of(bowl(-1.6), walk)).space) is kept


def test_a_raw_space_with_few_milestones_gets_no_more(walk, bowl):
    def few(form, name, axis):
        return Fractions(Choice((1, 2)), axis.each) if isinstance(axis, Fractions) else axis

    raw = Space.standard("NSTEP", horizon=10_000, epoch=500)
    small = raw.narrowed(raw.peak, raw.ratio, few)
    pruned = prune(small, evidence_of(bowl(-2.0), walk))
    assert axis(pruned.space, "NSTEP", "milestones").counts == Choice((1, 2))
    assert pruned.log_volume < 0


@pytest.mark.parametrize("factor", [1.01, 7, 1234])
def test_rounding_outward_never_cuts_and_adds_a_quarter_of_a_decade_at_most(factor):
    for low in 10 ** np.arange(-8.9, 3, 0.037):
        high = min(low * factor, 7000)
        bottom, top = outward(low, high)
        assert low / 1.7 < bottom <= low * (1 + 1e-9)
        assert high * (1 - 1e-9) <= top < high * 1.7
        assert outward(bottom, top) == (bottom, top)


def test_ramps_in_any_order_have_one_optimum():
    ramps = [blown_up(0.5, lowest=lowest, run=f"r{n}") for n, lowest in enumerate((0.01, 0.1, 0.03))]
    result = {prune(RAW, Evidence(2.3, 200, tuple(order), ())).optimum for order in permutations(ramps)}
    assert len(result) == 1
    assert result.pop() == pytest.approx(0.03, rel=0.2)


def test_a_declared_grid_has_six_points_in_each_decade_and_its_ends_belong_to_it():
    assert len(grid(Interval(1e-6, 10.0))) == 7 * 6 + 1
    assert grid(Interval(0.01, 0.1)) == [0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1]
    assert grid(Interval(0.011, 0.0149)) == []
    assert len(grid(Interval(*outward(0.0012, 0.44)))) == 17


def test_the_cut_that_the_lrbench_paper_prints_is_counted_by_length_on_a_linear_axis():
    """Its 99.41 % for CNN3's constant rate begins at 0.00005; the range it gives, [0.0005, 0.006], cuts 99.45 %."""
    assert linear_cut(Interval(0.00005, 0.006)) == pytest.approx(0.99405, abs=1e-12)
    assert linear_cut(Interval(0.0005, 0.006)) == pytest.approx(0.9945, abs=1e-12)
    assert linear_cut(Interval(0.5, 10.0)) == pytest.approx(0.5)
    grids = [len(grid(axis)) for axis in (Interval(0.0001, 1.0), Interval(0.0005, 0.006))]
    assert grids == [25, 7]  # of four decades, where factors count, three quarters are cut
    assert Interval(0.0005, 0.006).share(Interval(0.0001, 1.0)) == pytest.approx(0.27, abs=0.005)
