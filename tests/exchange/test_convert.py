"""convert: a policy from one format to another, and Python source that is read and never run."""

import random
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from lrsearch.errors import PolicyError
from lrsearch.exchange import FORMATS, convert
from lrsearch.schedules import parse

SOURCES = {
    "lrsearch": "POLY(k0=0.1, p=2, l=100)",
    "json": '{"format": "lrsearch.policy/1", "name": "POLY", "k0": 0.1, "p": 2, "l": 100, "k1": 0}',
    "torch": "torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=100, power=2.0)  # optimizer with lr=0.1",
    "huggingface": 'transformers.get_scheduler("polynomial", optimizer, num_warmup_steps=0, num_training_steps=100, '
    'scheduler_specific_kwargs={"lr_end": 0.0, "power": 2.0})  # optimizer with lr=0.1',
    "caffe": 'base_lr: 0.1\nlr_policy: "poly"\npower: 2\nmax_iter: 100\n',
    "lrbench": "lrPolicy_POLY+k0_0+k1_0.1+p_2+l_100",
}


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_a_policy_of_every_format_is_written_in_every_format(source, target):
    assert convert(SOURCES[source], source, target, lr=0.1, steps=100) == SOURCES[target]


@pytest.mark.parametrize(
    ("call", "policy"),
    [
        ("StepLR(30)", "STEP(k0=0.1, gamma=0.1, l=30)"),
        ("StepLR(optimizer, 30, 0.5)", "STEP(k0=0.1, gamma=0.5, l=30)"),
        ("scheduler = optim.lr_scheduler.StepLR(self.optimizer, step_size=30)", "STEP(k0=0.1, gamma=0.1, l=30)"),
        (
            "lr_scheduler.MultiStepLR(optimizer=optimizer, milestones=[30, 80], gamma=0.5)",
            "NSTEP(k0=0.1, gamma=0.5, l=[30, 80])",
        ),
        ("CosineAnnealingLR(\n    optimizer,\n    T_max=90,  # epochs\n)", "COS(k0=0, k1=0.1, l=90)"),
        ("CyclicLR(optimizer, base_lr=0.001, max_lr=0.006, cycle_momentum=False)", "TRI(k0=0.001, k1=0.006, l=2000)"),
        (
            "OneCycleLR(optimizer, 1.0, 100, div_factor=10.0, final_div_factor=float('inf'), cycle_momentum=False)",
            "ONECYCLE2(k0=0.1, k1=1, l=[29, 99], k2=0)",
        ),
        (
            "SequentialLR(optimizer, [ConstantLR(optimizer, 0.5, 99), ExponentialLR(optimizer, 0.9)], milestones=[5])",
            "CHAIN(policies=[CHAIN(policies=[FIX(k0=0.05), FIX(k0=0.1)], at=[99]), EXP(k0=0.1, gamma=0.9)], at=[5])",
        ),
        (
            "SequentialLR(optimizer, schedulers=[StepLR(optimizer, 9), StepLR(optimizer, 7)], milestones=[5])",
            "CHAIN(policies=[STEP(k0=0.1, gamma=0.1, l=9), STEP(k0=0.1, gamma=0.1, l=7)], at=[5])",
        ),
        ("ChainedScheduler([StepLR(optimizer, 9)])", "STEP(k0=0.1, gamma=0.1, l=9)"),
        ("ReduceLROnPlateau(optimizer, 'min', factor=0.5, eps=0)", "PLATEAU(k0=0.1, gamma=0.5)"),
    ],
)
def test_a_scheduler_of_torch_is_read_from_what_people_paste(call, policy):
    assert convert(call, "torch", "lrsearch", lr=0.1) == policy


@pytest.mark.parametrize(
    ("call", "policy"),
    [
        (
            'get_scheduler("linear", optimizer, num_warmup_steps=10, num_training_steps=100)',
            "WARMUP(policy=LINEAR(k0=0.1, l=90), l=10)",
        ),
        (
            'get_scheduler(name="linear", optimizer=optimizer, num_warmup_steps=0, num_training_steps=100)',
            "LINEAR(k0=0.1, l=100)",
        ),
        ("inverse_sqrt(num_warmup_steps=0, timescale=100)", "INV(k0=0.1, gamma=0.01, p=0.5)"),
        (
            'transformers.get_scheduler("cosine_with_min_lr", optimizer, num_warmup_steps=0, num_training_steps=100, '
            'scheduler_specific_kwargs={"min_lr": 0.01})',
            "COS(k0=0.01, k1=0.1, l=100)",
        ),
        ("constant()", "FIX(k0=0.1)"),
    ],
)
def test_a_schedule_of_transformers_is_read_from_what_people_paste(call, policy):
    assert convert(call, "huggingface", "lrsearch", lr=0.1) == policy


CANONICAL = {
    "torch": [
        "StepLR(optimizer, step_size=30, gamma=0.1)",
        "CosineAnnealingLR(optimizer, T_max=90, eta_min=0.001)",
        "OneCycleLR(optimizer, max_lr=1.0, total_steps=100, pct_start=0.5)",
        "CyclicLR(optimizer, base_lr=0.001, max_lr=0.006, step_size_up=100, cycle_momentum=False)",
        "MultiStepLR(optimizer, milestones=[30, 80], gamma=0.5)",
        "ReduceLROnPlateau(optimizer, mode='max')",
        "SequentialLR(optimizer, schedulers=[LinearLR(optimizer, start_factor=0.5, total_iters=5), "
        "ExponentialLR(optimizer, gamma=0.9)], milestones=[5])",
    ],
    "huggingface": [
        "get_linear_schedule_with_warmup(optimizer, num_warmup_steps=100, num_training_steps=1000)",
        "get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=10, num_training_steps=100)",
        'get_scheduler("polynomial", optimizer, num_warmup_steps=10, num_training_steps=100)',
        "get_wsd_schedule(optimizer, num_warmup_steps=10, num_decay_steps=10, num_training_steps=100)",
        'get_scheduler("cosine_with_min_lr", optimizer, num_warmup_steps=10, num_training_steps=100, '
        'scheduler_specific_kwargs={"min_lr": 0.01})',
    ],
}
PASTED = {
    "assigned": "scheduler = {}",
    "to an attribute": "self.scheduler = {}",
    "with a type": "scheduler: object = {}",
    "a semicolon": "{};",
    "a comma": "{},",
    "a comment": "# the schedule\n{}  # as in the paper",
    "a return": "return {}",
    "indented": "        scheduler = {}\n",
    "line ends of Windows": "\r\nscheduler = {}\r\n",
    "a byte-order mark": "\ufeff{}",
    "in parentheses": "({})",
    "an example": ">>> scheduler = {}",
    "an optimizer before": "optimizer = SGD(model.parameters(), lr=0.1)\nscheduler = {}",
    "imports before": "import torch\nfrom torch.optim.lr_scheduler import *\n{}",
}
INSIDE = {
    "optimizer by its name": lambda call: call.replace("optimizer, ", "optimizer=optimizer, ", 1),
    "an attribute": lambda call: call.replace("optimizer, ", "self.optimizer, "),
    "another name": lambda call: call.replace("optimizer, ", "opt, "),
    "another attribute": lambda call: call.replace("optimizer, ", "self.opt, "),
    "one of several": lambda call: call.replace("optimizer, ", "optimizers[0], "),
    "no optimizer": lambda call: call.replace("optimizer, ", ""),
    "no spaces": lambda call: call.replace(", ", ","),
    "broken over lines": lambda call: call.replace(", ", ",\n        ").replace("(", "(\n    "),
    "a comma at the end": lambda call: call[:-1] + ",)",
    "sums": lambda call: call.replace("=100,", "=10*10,").replace("=100)", "=(20 - 10) * 10)").replace("=0.5", "=1/2"),
    "powers": lambda call: re.sub(r"=100\b", "=10**2", call).replace("=0.1", "=10**-1").replace("=30", "=+30"),
    "underscores": lambda call: call.replace("=100", "=1_00"),
    "dots": lambda call: call.replace("=0.", "=.").replace("=1.0", "=1."),
    "exponents": lambda call: call.replace("=0.001", "=1e-3").replace("=0.1", "=1E-1"),
    "a tuple": lambda call: call.replace("[", "(").replace("]", ",)"),
    "the other quotes": lambda call: call.translate({34: 39, 39: 34}),
}
PREFIXED = {
    "torch": ["torch.optim.lr_scheduler.", "optim.lr_scheduler.", "lr_scheduler."],
    "huggingface": ["transformers.", "transformers.optimization."],
}


@pytest.mark.parametrize("tool", CANONICAL)
def test_a_call_is_the_same_policy_however_it_is_pasted(tool):
    changed = set()
    for call in CANONICAL[tool]:
        policy = convert(call, tool, "lrsearch", lr=0.1)
        texts = {name: form.format(call) for name, form in PASTED.items()}
        texts |= {name: change(call) for name, change in INSIDE.items()}
        texts |= {prefix: prefix + call for prefix in PREFIXED[tool]}
        for name, text in texts.items():
            changed |= {name} if text != call else set()
            assert convert(text, tool, "lrsearch", lr=0.1) == policy, text
    assert changed >= {*PASTED, *PREFIXED[tool], *INSIDE} - {"dots", "exponents", "powers", "a tuple"}


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("CosineAnnealingLR(optimizer, T_max=200*391)", "COS(k0=0, k1=0.1, l=78200)"),
        (
            "ConstantLR(optimizer, factor=1/3, total_iters=(2 + 3) * 4 // 2)",
            "CHAIN(policies=[FIX(k0=0.03333333333333333), FIX(k0=0.1)], at=[10])",
        ),
        ("epochs, batches = 90, 391\nStepLR(optimizer, 30)", "STEP(k0=0.1, gamma=0.1, l=30)"),
        (
            "epochs = 90\nbatches = 391\nsteps = epochs * batches\nCosineAnnealingLR(optimizer, T_max=steps)",
            "COS(k0=0, k1=0.1, l=35190)",
        ),
        ("at = [30, 60]; MultiStepLR(optimizer, at)", "NSTEP(k0=0.1, gamma=0.1, l=[30, 60])"),
        (
            ">>> scheduler1 = ConstantLR(optimizer, factor=0.5, total_iters=99)\n"
            ">>> scheduler2 = ExponentialLR(optimizer, gamma=0.9)\n"
            ">>> scheduler = SequentialLR(\n"
            "...     optimizer, schedulers=[scheduler1, scheduler2], milestones=[20]\n... )",
            "CHAIN(policies=[CHAIN(policies=[FIX(k0=0.05), FIX(k0=0.1)], at=[99]), EXP(k0=0.1, gamma=0.9)], at=[20])",
        ),
        ("StepLR(optimizer, step_size=30, gamma=0.1, verbose=True)", "STEP(k0=0.1, gamma=0.1, l=30)"),
        ("StepLR(optimizer, step_size=30, last_epoch=-1)", "STEP(k0=0.1, gamma=0.1, l=30)"),
    ],
)
def test_arithmetic_and_names_in_a_pasted_call_are_worked_out(text, policy):
    assert convert(text, "torch", "lrsearch", lr=0.1) == policy


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("get_linear_schedule_with_warmup(optimizer, 100, 1000)", "WARMUP(policy=LINEAR(k0=0.1, l=900), l=100)"),
        ("get_scheduler('linear', optimizer, 100, 1000)", "WARMUP(policy=LINEAR(k0=0.1, l=900), l=100)"),
        ("get_scheduler(SchedulerType.LINEAR, optimizer, 100, 1000)", "WARMUP(policy=LINEAR(k0=0.1, l=900), l=100)"),
        ("get_scheduler(SchedulerType.REDUCE_ON_PLATEAU, optimizer)", "PLATEAU(k0=0.1, gamma=0.1, eps=1e-8)"),
        (
            "get_scheduler('cosine_with_min_lr', optimizer, 0, 100, scheduler_specific_kwargs=dict(min_lr=1e-2))",
            "COS(k0=0.01, k1=0.1, l=100)",
        ),
        ("get_constant_schedule(optimizer, last_epoch=-1)", "FIX(k0=0.1)"),
    ],
)
def test_transformers_own_functions_are_read(text, policy):
    assert convert(text, "huggingface", "lrsearch", lr=0.1) == policy


def test_the_arguments_of_every_function_of_transformers_are_in_its_order():
    from inspect import Parameter, signature

    from transformers import optimization

    from lrsearch.exchange.huggingface_source import FUNCTIONS as KNOWN

    others = ("get_scheduler", "get_adafactor_schedule", "get_greedy_schedule")
    made = {
        name: signature(function)
        for name, function in vars(optimization).items()
        if name.startswith("get_") and name not in others
    }
    assert made.keys() == KNOWN.keys()
    for name, found in made.items():
        positional = [p.name for p in found.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        assert positional[1:] == list(KNOWN[name][1]), name
        assert KNOWN[name][0] in optimization.TYPE_TO_SCHEDULER_FUNCTION
        assert optimization.TYPE_TO_SCHEDULER_FUNCTION[KNOWN[name][0]] is getattr(optimization, name)


@pytest.mark.parametrize("source", ["lrsearch", "json", "caffe", "lrbench"])
@pytest.mark.parametrize("form", ["\ufeff{}", "{}\r\n", "\n  {}  \n", "\ufeff{}\n"])
def test_a_text_of_data_is_the_same_policy_with_what_editors_put_around_it(source, form):
    text = form.format(SOURCES[source].replace("\n", "\r\n" if "\r" in form else "\n"))
    assert convert(text, source, "json") == convert(SOURCES[source], source, "json")


def test_a_policy_that_a_table_broke_over_lines_is_read():
    text = "CHAIN(policies=[WARMUP(policy=HALFCOS(k0=0.1079, l=1161, k1=0.001), l=119), FIX(k0=0.001)], at=[1280])"
    for width in range(8, 60):
        lines = textwrap.wrap(text, width, break_long_words=False)
        assert str(parse("\n".join(lines))) == str(parse("\r\n        ".join(lines))) == text
    with pytest.raises(PolicyError, match=r"expected ',', found '79'"):
        parse(text.replace("0.1079", "0.10\n79"))


@pytest.mark.parametrize(
    "text",
    [
        "WARMUP(policy=HALFCOS(k0=0.1, l=90), l=10)",
        "WSD(k0=0.1, l=[10, 80, 100])",
        "ONECYCLE2(k0=0.1, k1=1, l=[30, 99], k2=0)",
        "CM(policy=ONECYCLE(k0=0.1, k1=1, l=[45, 90, 100], k2=0.001), m0=0.95, m1=0.85)",
        "FIX(k0=0.1)",
        "CHAIN(policies=[TRI(k0=0.1, k1=1, l=10), TRI(k0=0.01, k1=0.1, l=10)], at=[40])",
    ],
)
def test_the_source_that_convert_writes_it_also_reads(text):
    source = convert(text, "lrsearch", "torch", steps=100)
    again = parse(convert(source, "torch", "lrsearch", lr=float(source.rpartition("lr=")[2])))
    np.testing.assert_allclose(again.curve(100), parse(text).curve(100), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("arguments", "given", "why"),
    [
        (
            ("FIX(k0=0.1)", "keras", "json"),
            {},
            "no format 'keras'. Known: caffe, huggingface, json, lrbench, lrsearch, torch",
        ),
        (("FIX(k0=0.1)", "lrsearch", None), {}, "no format 'None'"),
        (
            ("StepLR(30)", "torch", "lrsearch"),
            {},
            "the optimizer's learning rate is not in a call of torch: give lr=...",
        ),
        (("constant()", "huggingface", "json"), {}, "not in a call of huggingface: give lr=..."),
        (("StepLR(30)", "torch", "lrsearch"), {"lr": 0}, "lr must be above 0, got 0.0"),
        (("StepLR(30)", "torch", "lrsearch"), {"lr": "0.1"}, "lr must be a number, got '0.1'"),
        (("FIX(k0=0.1)", "lrsearch", "caffe"), {}, "caffe has to know the steps of the run: give steps=..."),
        (("FIX(k0=0.1)", "lrsearch", "huggingface"), {}, "huggingface has to know the steps"),
        (("FIX(k0=0.1)", "lrsearch", "caffe"), {"steps": 1.5}, "horizon must be a whole number"),
        (("REX(k0=0.1, l=5)", "lrsearch", "torch"), {}, "REX: torch has no scheduler of this shape"),
        ((7, "torch", "lrsearch"), {"lr": 0.1}, "Python source is a text, got int"),
        ((7, "lrsearch", "json"), {}, "a policy is read from text"),
    ],
)
def test_a_conversion_that_cannot_be_is_refused_with_the_reason(arguments, given, why):
    with pytest.raises(PolicyError, match=why):
        convert(*arguments, **given)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "expected one call such as StepLR"),
        ("StepLR", "expected one call such as StepLR"),
        ("StepLR(30); StepLR(30)", "expected one call"),
        ("import os", "expected one call"),
        ("StepLR(", "not Python source: '\\(' was never closed"),
        ("StepLR(30)\0", "not Python source"),
        ("(" * 500 + ")" * 500, "not Python source: too many nested parentheses"),
        ("StepLR(30" + " " * 5000 + ")", "Python source has at most 4096 characters"),
        ("os.system('echo no')", "'os' is no module of schedulers. Known: lr_scheduler, optim.lr_scheduler"),
        ("torch.load('x')", "'torch' is no module of schedulers"),
        ("__import__('os')", "no torch scheduler '__import__'"),
        ("(lambda: 1)()", "only schedulers by name are called"),
        ("StepLR(30)()", "only schedulers by name are called"),
        ("StepLRR(30)", "no torch scheduler 'StepLRR'; did you mean 'StepLR'"),
        ("LambdaLR(lr_lambda=5)", "LambdaLR holds arbitrary code"),
        ("StepLR(30); optimizer.step()", "expected one call"),
        ("for epoch in range(9): StepLR(30)", "expected one call"),
        ("StepLR(step_size=lambda: 3)", "only literals, arithmetic and schedulers are arguments, not Lambda"),
        ("StepLR(step_size=2**99)", r"arithmetic stays within 2\^63 and real numbers \(at character 18\)"),
        ("StepLR(step_size=9**9**9)", r"the result of \*\* must be at most 2\^63, got an exponent of 3.8742e\+08"),
        ("StepLR(step_size=2**-(10**9))", r"the result of \*\* must be at most 2\^63"),
        ("StepLR(step_size=0.5**2000)", r"the result of \*\* must be at most 2\^63"),
        ("StepLR(step_size=(-8)**(1/3))", r"arithmetic stays within 2\^63 and real numbers"),
        ("StepLR(step_size=1e300*1e300)", r"arithmetic stays within 2\^63"),
        ("StepLR(step_size=9223372036854775807*2)", r"arithmetic stays within 2\^63"),
        ("StepLR(step_size=1/0)", "arithmetic has no result: division by zero"),
        ("StepLR(step_size=0**-1)", "arithmetic has no result"),
        ("StepLR(step_size=7%3)", r"arithmetic is \+ - \* / // and \*\* on numbers"),
        ("StepLR(step_size=1<<9)", r"arithmetic is \+ - \* / // and \*\* on numbers"),
        ("StepLR(step_size='a'*9)", r"arithmetic is \+ - \* / // and \*\* on numbers"),
        ("StepLR(step_size=[1]*9)", r"arithmetic is \+ - \* / // and \*\* on numbers"),
        ("StepLR(step_size=True+1)", r"arithmetic is \+ - \* / // and \*\* on numbers"),
        ("StepLR(step_size=" + "1+" * 2000 + "1)", "nest too deep|too many nested|has at most 2048 values"),
        ("StepLR(step_size=" + "-" * 3000 + "1)", "nest too deep|recursion depth"),
        (
            "a0=[1,1];" + "".join(f"a{n}=[a{n - 1},a{n - 1}];" for n in range(1, 99)) + "MultiStepLR(milestones=a98)",
            "at most 2048 values",
        ),
        (
            "s0=StepLR(3);"
            + "".join(f"s{n}=ChainedScheduler([s{n - 1}]);" for n in range(1, 9))
            + "SequentialLR([s8],[])",
            "nest at most 4 deep",
        ),
        ("n = len(loader); StepLR(step_size=n)", "no torch scheduler 'len'"),
        ("StepLR(step_size=n)", "not the name 'n': put its value there"),
        ("StepLR(step_size=f'{1}')", "not JoinedStr"),
        ("StepLR(step_size=b'1')", "not Constant"),
        ("StepLR(step_size=[x for x in (1,)])", "not ListComp"),
        ("StepLR(**{'step_size': 1})", r"StepLR: \*\* is no literal argument"),
        ("StepLR(*[1])", "not Starred"),
        ("StepLR(step_size={'a': 1})", "torch's schedulers take no dict"),
        ("StepLR(step_size={1: 1})", "the keys of a dict are texts"),
        ("StepLR(30, step_size=30)", "StepLR: step_size is given twice"),
        ("StepLR(1, 2, 3)", "StepLR takes step_size, gamma; give what comes after them by name"),
        ("StepLR(wrong=3)", "torch refuses .*unexpected keyword argument 'wrong'"),
        ("StepLR(step_size='3')", "step_size must be a number, got '3'"),
        ("StepLR(step_size=True)", "step_size must be a number, got True"),
        ("StepLR(30, last_epoch=5)", "torch refuses"),
        ("OneCycleLR(1.0)", "torch refuses .*You must define either total_steps"),
        ("OneCycleLR(1.0, total_steps=10, pct_start=0.1)", "torch refuses .*float division by zero"),
        ("CyclicLR(0.1, 1.0, mode='x', cycle_momentum=False)", "torch refuses .*mode is invalid"),
        ("SequentialLR([StepLR(3), 5], milestones=[3])", "torch refuses .*should have `optimizer`"),
        ("SequentialLR([StepLR(3), ReduceLROnPlateau()], milestones=[3])", "torch refuses .*does not support"),
        (
            "SequentialLR([SequentialLR([ChainedScheduler([ChainedScheduler([StepLR(3)])])], [])], [])",
            "nest at most 4 deep",
        ),
        ("MultiStepLR([[1, 2]])", "torch refuses"),
        ("StepLR(10**400)".replace("10**400", "1" + "0" * 400), "step_size must be a finite number"),
    ],
)
def test_source_that_is_no_scheduler_is_refused_and_nothing_is_run(source, why):
    with pytest.raises(PolicyError, match=why):
        convert(source, "torch", "lrsearch", lr=0.1)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("cosinus(num_warmup_steps=1)", "no schedule of transformers 'cosinus'; did you mean 'cosine'"),
        ("get_scheduler()", "no schedule of transformers ''"),
        ("get_scheduler(5)", "no schedule of transformers '5'"),
        ("get_scheduler('linear', 10, 100, {}, 5)", "each argument once"),
        ("get_linear_schedule_with_warmup(optimizer, 10, 100, -1, 5)", "each argument once"),
        ("get_linear_schedule_with_warmup(optimizer, 10, num_warmup_steps=10)", "each argument once"),
        (
            "get_linear_schedule_with_warmup(optimizer, 10, 100, last_epoch=5)",
            "last_epoch: a schedule is read from its",
        ),
        ("get_adafactor_schedule(optimizer)", "no schedule of transformers 'get_adafactor_schedule'"),
        ("constant(lr=0.1)", "each argument once"),
        (
            "cosine(num_warmup_steps=1, num_training_steps=9, num_cycles=1,"
            " scheduler_specific_kwargs={'num_cycles': 1})",
            "each argument once",
        ),
        ("cosine(scheduler_specific_kwargs=5)", "scheduler_specific_kwargs is a dict, got int"),
        ("cosine(num_warmup_steps='1', num_training_steps=9)", "num_warmup_steps must be a number, got '1'"),
        ("cosine(num_warmup_steps=[1], num_training_steps=9)", "num_warmup_steps must be a number"),
        ("linear(num_warmup_steps=StepLR(3), num_training_steps=9)", "num_warmup_steps must be a number"),
        ("reduce_lr_on_plateau(factor='x')", "PLATEAU: gamma must be a factor"),
        ("greedy()", "GreedyLR raises the learning rate"),
    ],
)
def test_source_that_is_no_schedule_is_refused(source, why):
    with pytest.raises(PolicyError, match=why):
        convert(source, "huggingface", "lrsearch", lr=0.1)


PIECES = [
    "StepLR(",
    "SequentialLR([",
    "], milestones=[",
    "CosineAnnealingLR(",
    "OneCycleLR(",
    "CyclicLR(",
    "LinearLR(",
    "ReduceLROnPlateau(",
    "ConstantLR(",
    "MultiStepLR(",
    "PolynomialLR(",
    "cosine(",
    "warmup_stable_decay(",
    "get_scheduler('cosine', ",
    "step_size=",
    "gamma=",
    "T_max=",
    "total_iters=",
    "max_lr=",
    "total_steps=",
    "base_lr=",
    "eta_min=",
    "num_warmup_steps=",
    "num_training_steps=",
    "num_cycles=",
    "min_lr=",
    "0",
    "1",
    "-1",
    "7",
    "0.5",
    "1e308",
    "1e-308",
    "None",
    "True",
    "'x'",
    "float('inf')",
    "9" * 30,
    "{",
    "}",
    "'a': ",
    "-",
    "\\d",
    "\n",
    "#",
    ")",
    "]",
    "[",
    ", ",
]


@pytest.mark.filterwarnings("error")
def test_scrambled_source_gives_a_policy_or_a_policy_error():
    rng = random.Random(1)
    seeds = {
        "torch": [
            "StepLR(30, gamma=0.5)",
            "SequentialLR([LinearLR(0.5), CosineAnnealingLR(T_max=9)], milestones=[5])",
            "OneCycleLR(max_lr=1.0, total_steps=20, pct_start=0.5)",
            "MultiStepLR([3, 7], gamma=0.5)",
            "CyclicLR(base_lr=0.1, max_lr=1.0, step_size_up=5)",
            "PolynomialLR(total_iters=7, power=2.0)",
            "ReduceLROnPlateau(factor=0.5, min_lr=0.01)",
            "ConstantLR(factor=0.5, total_iters=5)",
        ],
        "huggingface": [
            "cosine(num_warmup_steps=5, num_training_steps=50, num_cycles=2)",
            "cosine_with_restarts(num_warmup_steps=5, num_training_steps=50, num_cycles=2)",
            "polynomial(num_warmup_steps=5, num_training_steps=50, power=2.0)",
            "warmup_stable_decay(num_warmup_steps=5, num_training_steps=50, num_decay_steps=7)",
            "inverse_sqrt(num_warmup_steps=5, timescale=7)",
        ],
    }
    read = dict.fromkeys(seeds, 0)
    for _ in range(4000):
        source = rng.choice(list(seeds))
        text = rng.choice(seeds[source])
        for _ in range(rng.randint(0, 3)):
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(["", *PIECES]) + text[at + rng.choice([0, 1, 3]) :]
        try:
            convert(text, source, "lrsearch", lr=rng.choice([0.1, 1e-300, 1e300]))
        except PolicyError:
            continue
        read[source] += 1
    assert min(read.values()) > 200


def test_the_room_is_light_until_a_scheduler_is_read_or_made():
    code = (
        "import sys; from lrsearch.exchange import convert\n"
        "convert('lrPolicy_FIX+k0_0.1', 'lrbench', 'torch')\n"
        "convert('linear(num_warmup_steps=0, num_training_steps=9)', 'huggingface', 'caffe', lr=0.1, steps=9)\n"
        "print(*({'torch', 'transformers', 'optuna', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("\n", "")
