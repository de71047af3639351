"""Pictures of policies: what is on them, and the numbers behind them."""

import numpy as np
import pytest
import torch

from lrsearch.report.curves import draw_policies
from lrsearch.report.descent import PAPER, START, descend, loss, slope
from lrsearch.report.difference import difference
from lrsearch.report.gallery import driven, gallery, made_up_loss, rows_of
from lrsearch.schedules import ASLR, CM, FIX, FUNCTIONS, LINEAR, ONECYCLE, PLATEAU, TRI

ONE = CM(policy=ONECYCLE(k0=0.1, k1=1, l=[45, 90, 100], k2=0.001), m0=0.95, m1=0.85)


def test_the_gallery_has_a_panel_for_every_lr_function_that_shows_its_example():
    figure = gallery(list(FUNCTIONS.values()))
    panels = {axes.get_label(): axes for axes in figure.axes if axes.get_label() in FUNCTIONS}
    assert panels.keys() == FUNCTIONS.keys()
    for name, function in FUNCTIONS.items():
        drawn = panels[name].lines[1].get_ydata()
        if function.begin is None:
            assert np.array_equal(drawn, function.example.curve(130)), name
        else:
            assert len(set(np.round(drawn, 9))) > 1, name
    words = {text.get_text() for text in figure.texts}
    assert words >= {*FUNCTIONS, *(function.family for function in FUNCTIONS.values())}


def test_panels_stand_in_the_order_of_the_families_and_overlap_none():
    functions = list(FUNCTIONS.values())
    rows = rows_of(functions)
    assert sorted(f.name for row in rows for f in row) == sorted(FUNCTIONS)
    assert max(map(len, rows)) <= 9
    figure = gallery(functions)
    boxes = [axes.get_position() for axes in figure.axes if axes.get_label() in FUNCTIONS]
    for n, one in enumerate(boxes):
        assert 0 <= one.x0 < one.x1 <= 1
        assert 0 <= one.y0 < one.y1 <= 1
        assert not any(one.overlaps(other) for other in boxes[n + 1 :])


def test_a_controller_in_the_gallery_is_told_the_loss():
    losses = made_up_loss(np.arange(130.0))
    rates = driven(PLATEAU(k0=0.1, gamma=0.5, patience=1), losses, every=5)
    assert (rates[0], rates[40]) == (0.1, 0.1)
    assert rates[129] < 0.05
    assert not np.array_equal(driven(ASLR(k0=0.1), losses, 5, seed=0), driven(ASLR(k0=0.1), losses, 5, seed=1))


def test_a_momentum_has_a_panel_of_its_own_only_where_there_is_one(tmp_path, monkeypatch):
    from lrsearch.report import curves

    kept = []
    monkeypatch.setattr(curves, "keep", lambda figure, path: kept.append(figure))
    draw_policies(tmp_path / "a.png", [FIX(k0=0.1), LINEAR(k0=0.1, l=50)], 100)
    draw_policies(tmp_path / "b.png", [ONE, FIX(k0=0.1)], 100)
    assert [len(figure.axes) for figure in kept] == [1, 2]
    assert np.array_equal(kept[1].axes[1].lines[0].get_ydata(), ONE.momentum(np.arange(100)))
    assert len(kept[0].axes[0].lines) == 2


@pytest.mark.parametrize("seed", range(3))
def test_the_slope_is_that_of_the_surface(seed):
    x, y = np.random.default_rng(seed).uniform(-1.5, 1.5, (2, 200))
    tiny = 1e-6
    across = (loss(x + tiny, y) - loss(x - tiny, y)) / (2 * tiny)
    along = (loss(x, y + tiny) - loss(x, y - tiny)) / (2 * tiny)
    assert np.allclose(slope(x, y), [across, along], rtol=1e-6, atol=1e-6)


def surface(w: torch.Tensor) -> torch.Tensor:
    x, y = w
    found = -torch.sin(x**2) * torch.cos(3 * y**2) * torch.exp(-((x * y) ** 2)) - 2.5 * torch.exp(-((x + y) ** 2))
    for a, b, s in ((1.0, -0.5, 0.25), (-1.0, 0.5, 0.2)):
        found = found - torch.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * s**2)) / (2 * torch.pi * s**2)
    return found


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("policy", PAPER, ids=str)
def test_a_path_is_that_of_torch_s_sgd_under_the_policy_s_scheduler(policy, momentum):
    """Until it is chaos: 30 steps."""
    w = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimizer = torch.optim.SGD([w], lr=1.0, momentum=momentum, nesterov=momentum > 0)
    scheduler = policy.scheduler(optimizer)
    places = [w.detach().numpy().copy()]
    for _ in range(30):
        optimizer.zero_grad()
        surface(w).backward()
        optimizer.step()
        scheduler.step()
        places.append(w.detach().numpy().copy())
    assert np.allclose(descend(policy, 30, momentum), places, rtol=1e-7, atol=1e-9)


def test_a_path_that_is_thrown_off_ends_at_a_number():
    assert np.all(np.isfinite(descend(FIX(k0=1e6), 300, 0.9)))


def test_a_difference_names_its_first_step_and_its_largest():
    found = difference(TRI(k0=0, k1=1, l=10), TRI(k0=0, k1=1, l=20), 40)
    assert found.parameters == {"l": (10, 20)}
    assert (found.lrs.first, found.lrs.absolute_at) == (1, 20)
    assert found.lrs.absolute == 1.0
    assert difference(ONE, FIX(k0=0.1), 50).momenta is None
    assert difference(ONE, ONE, 50).momenta.first is None
    assert difference(ASLR(k0=0.1), FIX(k0=0.1), 50).lrs is None
    assert "no curve to compare" in difference(ASLR(k0=0.1), FIX(k0=0.1), 50).lines()[-1]
