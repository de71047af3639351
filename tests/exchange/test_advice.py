"""What a refusal advises is carried out: it gives the curve of what was refused, or does what it says."""

import ast
import itertools
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.version import Version
from torch.optim import SGD
from torch.optim.lr_scheduler import CyclicLR, ExponentialLR, LambdaLR, LRScheduler, ReduceLROnPlateau, SequentialLR
from transformers import get_scheduler

import lrsearch.exchange
from lrsearch.errors import PolicyError
from lrsearch.exchange import convert, from_caffe, from_huggingface, from_torch, to_huggingface, to_torch
from lrsearch.schedules import FUNCTIONS, parse

ADVISES = re.compile(
    r"\b(write (?!as)|leave|read it|give (?!n)|put|is a torch LRScheduler|keeps their ratios"
    r"|takes policy\.|is the same|take it out|report \d|it is (\{|[A-Z]))"
)
"""How a text sounds that says what would do."""


def sgd(*lrs: float) -> SGD:
    return SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs or (0.1,)], momentum=0.9)


def lrs(scheduler, steps: int = 60) -> np.ndarray:
    """The learning rates of the first group, one for each update."""
    result = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(steps):
            result.append(float(scheduler.optimizer.param_groups[0]["lr"]))
            scheduler.step()
    return np.array(result)


def refusal(call) -> str:
    with pytest.raises(PolicyError, match=ADVISES) as refused:
        call()
    return str(refused.value)


def a_policy_for_every_function(write):
    """Every policy that another tool has no word for is a scheduler of torch."""
    refused = 0
    for function in FUNCTIONS.values():
        policy = function.example
        try:
            write(policy)
        except PolicyError as error:
            if "policy.scheduler(optimizer)" in str(error):
                refused += 1
                scheduler = policy.scheduler(sgd())
                assert isinstance(scheduler, LRScheduler)
                if not policy.is_controller:
                    assert np.array_equal(lrs(scheduler), policy.curve(60))
    assert refused > 10


def plateau_that_never_drops():
    policy = parse("PLATEAU(k0=0.1, gamma=1, patience=0)")
    advised = parse(re.search(r"write (FIX\(.*?\))", refusal(lambda: to_torch(policy)))[1])
    state = policy.begin()
    for step, loss in enumerate([1.0, 2.0, 0.5, 0.7, float("nan"), 0.6]):
        state = state.after(loss, step)
        assert state.lr(step, 0.5) == advised(step)
    assert np.array_equal(lrs(to_torch(advised).build(sgd())), advised.curve(60))


def a_shorter_horizon():
    policy = parse("WARMUP(policy=HALFCOS(k0=0.1, l=10, k1=0.01), l=5)")
    steps = int(re.search(r"up to a horizon of (\d+)", refusal(lambda: to_huggingface(policy, 100)))[1])
    assert lrs(to_huggingface(policy, steps).build(sgd()), steps) == pytest.approx(policy.curve(steps), abs=1e-15)


def the_ratios_of_groups():
    policy, optimizer = parse("TRI(k0=0.1, k1=0.2, l=5)"), sgd(0.4, 0.1)
    refusal(lambda: to_torch(policy).build(optimizer))
    scheduler = policy.scheduler(sgd(0.4, 0.1))
    for step in range(30):
        assert [group["lr"] for group in scheduler.optimizer.param_groups] == pytest.approx(
            [policy(step), policy(step) / 4]
        )
        scheduler.optimizer.step()
        scheduler.step()


def a_plateau_counts_reports():
    refusal(lambda: from_torch(ReduceLROnPlateau(sgd()), every=5))
    assert from_torch(ReduceLROnPlateau(sgd()), every=1) == parse("PLATEAU(k0=0.1, gamma=0.1, eps=1e-8)")


def a_plateau_before_its_first_report():
    scheduler = ReduceLROnPlateau(sgd())
    before = from_torch(scheduler)
    scheduler.step(1.0)
    refusal(lambda: from_torch(scheduler))
    assert before.begin().lr(0, 0.5) == 0.1


def code_of_transformers_and_of_people():
    scheduler = get_scheduler("cosine", sgd(), 10, 50)
    assert "from_huggingface" in refusal(lambda: from_torch(scheduler))
    assert lrs(scheduler) == pytest.approx(from_huggingface("cosine", 0.1, 10, 50).curve(60), rel=1e-12, abs=1e-15)
    own = LambdaLR(sgd(), lambda step: 0.9**step)
    refusal(lambda: from_torch(own))
    assert lrs(own) == pytest.approx(parse("EXP(k0=0.1, gamma=0.9)").curve(60), rel=1e-12)
    refusal(lambda: convert("LambdaLR(optimizer, lr_lambda=5)", "torch", "lrsearch", lr=0.1))


def a_member_without_its_momentum():
    def joined(optimizer, **momentum):
        wave = CyclicLR(optimizer, 0.01, 0.1, 7, **momentum)
        return SequentialLR(optimizer, [wave, ExponentialLR(optimizer, 0.9)], [20])

    refusal(lambda: from_torch(joined(sgd())))
    still = joined(sgd(), cycle_momentum=False)
    policy = from_torch(still)
    assert lrs(still) == pytest.approx(lrs(joined(sgd())), rel=1e-12) == policy.curve(60)


def a_member_that_ends_at_0():
    """Without it the curve is the same, as torch has it from 2.13 on."""

    def read(optimizer):
        return SequentialLR(optimizer, [ExponentialLR(optimizer, 0.5), ExponentialLR(optimizer, 0.9)], [0])

    refusal(lambda: from_torch(read(sgd())))
    alone = from_torch(ExponentialLR(sgd(), 0.9))
    shift = int(Version(torch.__version__) < Version("2.13"))
    assert np.allclose(alone(np.arange(60)), lrs(read(sgd()), 60 + shift)[shift:])


def the_releases_of_nvidia():
    said = refusal(lambda: from_caffe('base_lr: 0.8 lr_policy: "fixed" rampup_interval: 10 rampup_lr: 0.1'))
    square, line = (parse(text) for text in re.findall(r"it is ([A-Z]+\(.*?\))(?:;|$)", said))
    assert square(5) == pytest.approx(0.1 + 0.7 * 0.25)
    assert line(5) == pytest.approx(0.1 + 0.7 * 0.5)
    assert square(10) == line(10) == 0.8


def what_a_call_does_not_hold():
    refusal(lambda: convert("StepLR(30)", "torch", "json"))
    assert convert("StepLR(30)", "torch", "lrsearch", lr=0.1) == "STEP(k0=0.1, gamma=0.1, l=30)"
    refusal(lambda: convert("FIX(k0=0.1)", "lrsearch", "caffe"))
    assert "max_iter: 5" in convert("FIX(k0=0.1)", "lrsearch", "caffe", steps=5)
    refusal(lambda: convert("StepLR(30, 0.1, -1)", "torch", "lrsearch", lr=0.1))
    assert convert("StepLR(30, 0.1, last_epoch=-1)", "torch", "lrsearch", lr=0.1) == "STEP(k0=0.1, gamma=0.1, l=30)"
    refusal(lambda: convert("StepLR(step_size=n)", "torch", "lrsearch", lr=0.1))
    assert convert("n = 30; StepLR(step_size=n)", "torch", "lrsearch", lr=0.1) == "STEP(k0=0.1, gamma=0.1, l=30)"


ADVICE = {
    "policy.scheduler(optimizer) is a torch LRScheduler for every policy": lambda: a_policy_for_every_function(
        to_torch
    ),
    "its Trainer takes policy.scheduler(optimizer)": lambda: a_policy_for_every_function(
        lambda policy: to_huggingface(policy, 100)
    ),
    "write FIX(": plateau_that_never_drops,
    "it is the same up to a horizon of": a_shorter_horizon,
    "policy.scheduler(optimizer) keeps their ratios": the_ratios_of_groups,
    "leave every=1": a_plateau_counts_reports,
    "read it before the first report": a_plateau_before_its_first_report,
    "write the curve as a policy": code_of_transformers_and_of_people,
    "its learning rate is the same": a_member_without_its_momentum,
    "leave out what ends there": a_member_that_ends_at_0,
    "on it is {": the_releases_of_nvidia,
    "0.16.4 it is {": the_releases_of_nvidia,
    "give lr=": what_a_call_does_not_hold,
    "give steps=": what_a_call_does_not_hold,
    "give what comes after them by name": what_a_call_does_not_hold,
    "put its value there": what_a_call_does_not_hold,
}
"""Every advice in the source of exchange, and what carries it out."""


def texts(path: Path) -> set[str]:
    """The texts in a file that are no docstrings, with {} where a value comes in."""
    tree = ast.parse(path.read_text())
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    inside = {id(part) for node in joined for part in ast.walk(node) if part is not node}
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    whole = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside | said
    ]
    return {node.value for node in whole} | {
        "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        for node in joined
        if id(node) not in inside
    }


def test_every_advice_in_the_source_is_carried_out_by_a_test():
    files = Path(lrsearch.exchange.__file__).parent.glob("*.py")
    advised = [text for text in itertools.chain(*map(texts, files)) if ADVISES.search(text)]
    assert len(advised) >= 14
    for text in advised:
        assert any(known in text for known in ADVICE), f"nobody carries out {text!r}"
    for known in ADVICE:
        assert any(known in text for text in advised), f"nobody advises {known!r}"


@pytest.mark.parametrize("carry_out", {id(run): run for run in ADVICE.values()}.values(), ids=lambda run: run.__name__)
def test_what_is_advised_is_what_was_refused(carry_out):
    carry_out()


def test_a_metric_that_is_better_when_higher_is_read_where_another_rule_was_advised():
    metrics = [0.900, 0.905, 0.908, 0.9085, 0.909, 0.9095]
    theirs = ReduceLROnPlateau(sgd(), mode="max", factor=0.5, patience=1, threshold=0.01)
    policy = from_torch(theirs)
    assert str(policy) == "PLATEAU(k0=0.1, gamma=0.5, patience=1, threshold=0.01, eps=1e-8, maximize=1)"
    ours, again = policy.scheduler(sgd()), to_torch(policy).build(sgd())
    for metric in metrics:
        for scheduler in (theirs, ours, again):
            scheduler.step(metric)
        assert theirs.get_last_lr() == ours.get_last_lr() == again.get_last_lr()
    assert theirs.get_last_lr() == [0.025]
