"""The decade walk against response curves whose best learning rate is known."""

import math

import numpy as np
import pytest

from lrsearch.heuristics import Evidence, Probe
from lrsearch.heuristics.evidence import log10_of
from lrsearch.heuristics.probes import best_constant_lr, is_flat, levels, next_probe

DOMAIN = (1e-6, 10.0)


def whole_decades(evidence):
    return [level.log10_lr for level in levels(evidence) if level.log10_lr == round(level.log10_lr)]


def lrs(evidence):
    return [probe.lr for probe in evidence.probes]


@pytest.mark.parametrize("best", np.arange(-5.5, 0.6, 0.35))
@pytest.mark.parametrize("start", [None, 1e-5, 0.05, 5.0])
def test_the_walk_ends_within_ten_decades_around_the_best(best, start, walk, bowl):
    evidence = walk(bowl(best).loss, start)
    assert len(whole_decades(evidence)) <= 10
    assert len(evidence.probes) <= 25
    nearest = [level for level in levels(evidence) if abs(level.log10_lr - best) <= 0.25 + 1e-9]
    lowest = min(levels(evidence), key=lambda level: level.loss)
    assert lowest in nearest
    assert all(DOMAIN[0] * (1 - 1e-9) <= lr <= DOMAIN[1] * (1 + 1e-9) for lr in lrs(evidence))


@pytest.mark.parametrize("best", [-3.0, -2.0, -1.0])
def test_the_best_learning_rate_is_estimated_within_a_third_of_a_decade(best, walk, bowl):
    for shift in np.arange(-0.5, 0.5, 0.1):
        for noise in (0.0, 0.02):
            result = best_constant_lr(walk(bowl(best + shift, noise=noise).loss))
            assert abs(result.log10_lr - best - shift) < 0.35
            assert result.spread >= 0.2


@pytest.mark.parametrize("beyond", [2.3, 5, 50, 1e6])
def test_a_run_on_the_edge_of_diverging_does_not_bend_the_estimate(beyond, walk, bowl):
    for best in np.arange(-3, -1, 0.1):
        result = best_constant_lr(walk(bowl(best, cliff=0.45, beyond=beyond).loss))
        assert abs(result.log10_lr - best) < 0.3


@pytest.mark.parametrize(
    ("start", "first"),
    [(None, 0.01), (0.05, 0.01), (0.5, 0.1), (1e-9, 1e-6), (1e4, 10.0), (0.017, 0.01), (0.015, 0.001)],
)
def test_the_walk_starts_at_the_decade_nearest_to_a_fifth_of_the_optimum(start, first):
    assert next_probe(Evidence(2.3, 100), start, DOMAIN) == (pytest.approx(first), 0)


def test_the_walk_goes_up_until_a_run_diverges_and_then_down_until_two_decades_are_worse(walk, bowl):
    evidence = walk(bowl(-2.0, cliff=1.5).loss)
    assert lrs(evidence)[:5] == pytest.approx([1e-2, 1e-1, 1, 1e-3, 1e-4])
    assert evidence.probes[2].loss == math.inf
    assert 10 not in lrs(evidence)


def test_nothing_higher_is_tried_when_the_first_run_diverges(walk, bowl):
    assert max(lrs(walk(bowl(-4.0, cliff=0.5).loss))) == pytest.approx(0.01)


def test_two_decades_that_are_no_worse_do_not_stop_the_walk(walk):
    evidence = walk(lambda lr, seed: 1.0)
    assert whole_decades(evidence) == list(range(-6, 2))


@pytest.mark.parametrize(("slope", "edge"), [(-0.1, 10.0), (0.1, 1e-6)])
def test_a_best_at_the_edge_is_extended_to_the_end_of_the_domain(slope, edge, walk):
    evidence = walk(lambda lr, seed: 1.0 + slope * math.log10(lr))
    assert min(evidence.probes, key=lambda probe: probe.loss).lr == pytest.approx(edge)
    assert best_constant_lr(evidence).spread == 0.5


def test_a_wider_domain_is_still_left_after_ten_decades(walk):
    evidence = walk(lambda lr, seed: 1.0 + 0.01 * math.log10(lr), domain=(1e-30, 10.0))
    assert len(whole_decades(evidence)) == 10
    assert min(lrs(evidence)) == pytest.approx(10**-8.5)


def test_three_seeds_are_spent_at_the_best_and_beside_it(walk, bowl):
    evidence = walk(bowl(-2.0).loss)
    repeats = {level.log10_lr: level.seeds for level in levels(evidence)}
    assert [repeats[at] for at in (-2.5, -2, -1.5)] == [(0, 1, 2)] * 3
    assert all(seeds == (0,) for at, seeds in repeats.items() if abs(at + 2) > 0.5)


@pytest.mark.parametrize("loss", [lambda lr, seed: math.inf, lambda lr, seed: 2.3, lambda lr, seed: 9.0])
def test_no_seeds_are_spent_where_nothing_is_learned(loss, walk):
    evidence = walk(loss)
    assert {probe.seed for probe in evidence.probes} == {0}
    assert best_constant_lr(evidence) is None


def test_a_seed_that_diverges_makes_its_lr_a_diverged_one(walk, bowl):
    task = bowl(-2.0)
    evidence = walk(lambda lr, seed: math.inf if seed == 1 and lr > 0.009 else task.loss(lr))
    assert [level.loss for level in levels(evidence) if len(level.seeds) > 1 and level.log10_lr >= -2] == [math.inf]
    assert best_constant_lr(evidence).log10_lr < -2


def test_the_order_of_the_probes_does_not_matter_to_the_last_bit():
    rng = np.random.default_rng(1)
    probes = [Probe(f"p{n}", 10.0 ** (n % 5 - 4), n // 5, float(rng.normal(1, 0.3))) for n in range(25)]
    expected = levels(Evidence(2.3, 100, (), tuple(probes)))
    for _ in range(20):
        rng.shuffle(probes)
        evidence = Evidence(2.3, 100, (), tuple(probes))
        assert levels(evidence) == expected
        assert best_constant_lr(evidence) == best_constant_lr(Evidence(2.3, 100, (), tuple(probes[::-1])))


def test_the_error_pools_the_seeds_of_all_lrs():
    probes = [
        Probe("a", 0.1, 0, 1.0),
        Probe("b", 0.1, 1, 1.2),
        Probe("c", 0.01, 0, 2.0),
        Probe("d", 0.01, 1, 2.4),
        Probe("e", 0.001, 0, 3.0),
    ]
    result = levels(Evidence(2.3, 100, (), tuple(probes)))
    pooled = math.sqrt((0.02 + 0.08) / 2)
    assert [level.error for level in result] == pytest.approx([pooled, pooled / math.sqrt(2), pooled / math.sqrt(2)])


@pytest.mark.parametrize(("losses", "learned"), [((2.0, 2.4), False), ((2.0, 2.02), True)])
def test_better_than_guessing_means_by_three_standard_errors(losses, learned):
    probes = tuple(Probe(f"p{n}", 0.01, n, loss) for n, loss in enumerate(losses))
    assert (best_constant_lr(Evidence(2.3, 100, (), probes)) is not None) is learned


@pytest.mark.parametrize(
    ("lr", "expected"), [(0.03162, -1.5), (0.01, -2), (1, 0), (0.02, math.log10(0.02)), (3.162e-6, -5.5)]
)
def test_rounded_half_decades_are_recognised(lr, expected):
    assert log10_of(lr) == expected


def test_probes_between_the_decades_alone_do_not_stop_the_walk():
    evidence = Evidence(2.3, 100, (), (Probe("mine", 0.02, 0, 1.0),))
    assert next_probe(evidence, None, DOMAIN) == (0.01, 0)


def at_lrs(*losses_at: tuple[float, list[float]]) -> Evidence:
    """Probes at 10^decade, one loss for each of seeds 0, 1, ..."""
    return Evidence(
        2.3,
        100,
        (),
        tuple(
            Probe(f"p{at}-{seed}", 10.0**at, seed, loss) for at, losses in losses_at for seed, loss in enumerate(losses)
        ),
    )


def test_the_vertex_is_the_weighted_parabola_s_and_its_spread_the_delta_method_s():
    """Against normal equations written out, with weights 1/SE^2 and one noise for all levels."""
    result = best_constant_lr(
        at_lrs(
            (-4, [2.0]),
            (-3, [0.9]),
            (-2.5, [0.5, 0.9]),
            (-2, [0.4, 0.5, 0.9]),
            (-1.5, [0.8, 0.7]),
            (-1, [1.2]),
            (0, [2.2]),
        )
    )
    x, y, n = np.array([-2.5, -2, -1.5]), np.array([0.7, 0.6, 0.75]), np.array([2, 3, 2])
    noise = ((0.2**2) * 2 + (0.2**2 + 0.1**2 + 0.3**2) + (0.05**2) * 2) / (1 + 2 + 1)
    design = np.stack([x**2, x, np.ones(3)], axis=1)
    normal = design.T @ np.diag(n) @ design
    a, b, _ = np.linalg.solve(normal, design.T @ (n * y))
    assert result.log10_lr == pytest.approx(-b / (2 * a), abs=1e-9)
    drawn = np.random.default_rng(0).multivariate_normal([a, b], (np.linalg.inv(normal) * noise)[:2, :2] * 1e-6, 50_000)
    assert result.spread == pytest.approx(np.std(-drawn[:, 1] / (2 * drawn[:, 0])) * 1e3, rel=0.02)
    assert result.spread > 0.2, "else the least spread would hide it"


def test_seeds_weigh_a_level_where_more_points_than_needed_are_fitted():
    few, many = (
        best_constant_lr(
            at_lrs((-3, [2.0]), (-2.5, [1.0]), (-2.2, [0.55] * seeds), (-2, [0.5]), (-1.5, [0.9]), (-1, [2.0]))
        )
        for seeds in (1, 3)
    )
    assert few.log10_lr != many.log10_lr
    x, y = np.array([-2.5, -2.2, -2, -1.5]), np.array([1.0, 0.55, 0.5, 0.9])
    for result, n in ((few, 1), (many, 3)):
        heavy = np.repeat(np.arange(4), [1, n, 1, 1])
        a, b, _ = np.polyfit(x[heavy], y[heavy], 2)
        assert result.log10_lr == pytest.approx(-b / (2 * a))


def test_points_far_off_do_not_pull_the_vertex():
    """The loss climbs slowly below the best and steeply above: a parabola through it all would lie too low."""
    near = ((-2.5, [0.6]), (-2, [0.5]), (-1.5, [0.6]))
    assert best_constant_lr(at_lrs((-4, [0.9]), (-3, [0.7]), *near, (-1, [2.2]))).log10_lr == pytest.approx(-2)


def test_without_a_neighbour_that_learns_the_best_point_stands_with_a_quarter_of_its_bracket():
    result = best_constant_lr(at_lrs((-3, [0.8]), (-2, [0.5]), (-1, [math.inf])))
    assert (result.log10_lr, result.spread) == (-2, 0.5)


def test_two_basins_that_are_as_good_are_kept_with_a_mark_and_one_that_is_worse_is_not():
    def second(loss):
        return best_constant_lr(
            at_lrs((-5, [2.0]), (-4, [loss]), (-3, [1.5]), (-2.5, [0.7]), (-2, [0.5]), (-1.5, [0.7]), (-1, [1.5]))
        )

    two, one = second(0.51), second(0.6)
    assert (two.low, two.high) == (-4, pytest.approx(-2))
    assert "0.0001 is as good" in two.ambiguity
    assert (one.low, one.high, one.ambiguity) == (one.log10_lr, one.log10_lr, None)


def test_neighbours_that_are_as_good_are_one_basin():
    assert best_constant_lr(at_lrs((-4, [1.5]), (-3, [0.501]), (-2, [0.5]), (-1, [1.5]))).ambiguity is None


def test_seeds_that_prefer_other_lrs_keep_both_and_widen():
    levels_of = ((-3, [2.0]), (-2.5, [0.4, 1.2, 1.2]), (-2, [1.0, 1.0, 1.0]), (-1.5, [1.3, 0.5, 1.1]), (-1, [2.0]))
    result = best_constant_lr(at_lrs(*levels_of))
    assert result.low <= -2.5
    assert result.high >= -1.5
    assert result.spread >= 0.5
    assert result.ambiguity.startswith("seeds disagree")
    agreed = best_constant_lr(
        at_lrs((-3, [2.0]), (-2.5, [1.2, 1.2]), (-2, [0.5, 0.6]), (-1.5, [1.3, 1.1]), (-1, [2.0]))
    )
    assert agreed.ambiguity is None


@pytest.mark.parametrize(
    ("losses", "flat"),
    [
        ((1.0, 1.0, 1.0), True),
        ((1.0, 1.012, 1.0), True),
        ((1.0, 1.02, 1.0), False),
        ((1.0, 1.0), False),
        ((1.0, 1.0, math.inf), False),
        ((1.0, math.inf, 1.0, 1.0), True),
    ],
)
def test_flat_is_no_difference_of_one_percent_of_the_drop_among_three(losses, flat):
    assert is_flat(at_lrs(*((at - 5, [loss]) for at, loss in enumerate(losses)))) is flat


def test_seed_noise_makes_a_curve_flat_that_would_not_be():
    assert not is_flat(at_lrs((-3, [1.1]), (-2, [1.0]), (-1, [1.2])))
    assert is_flat(at_lrs((-3, [1.1]), (-2, [0.8, 1.2]), (-1, [1.2])))


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ((1.5, 1.0, 0.5), "it is the highest that was tried"),
        ((0.5, 1.0, 1.5), "it is the lowest that was tried"),
        ((1.0, 0.5, 1.5), None),
    ],
)
def test_an_optimum_on_the_border_of_what_was_tried_says_so(losses, says):
    result = best_constant_lr(at_lrs(*((decade, [loss]) for decade, loss in zip((-3, -2, -1), losses, strict=True))))
    assert (result.ambiguity or "").startswith(says or "")
    assert (result.ambiguity is None) == (says is None)
