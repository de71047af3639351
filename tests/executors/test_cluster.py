"""The parts of the executor on Ray that need no cluster: resources, checks, causes, messages, places."""

import asyncio
from dataclasses import replace

import pytest

from lrsearch.executors.cluster.places import Places
from lrsearch.executors.cluster.preflight import MachineFacts, compare, describe_machine
from lrsearch.executors.cluster.queues import Queues
from lrsearch.executors.cluster.sent import pickled
from lrsearch.executors.cluster.settings import SweepSettings, share
from lrsearch.executors.cluster.slots import Slots
from lrsearch.executors.cluster.watch import death_of_actor
from lrsearch.executors.workers import Order
from lrsearch.runs import RunSpec, Stop
from lrsearch.runs.executor import Group
from lrsearch.runs.lost import Cause
from lrsearch.schedules import FIX

SETTINGS = SweepSettings("auto", None, 1.0, None, None, "plain-1", "/ray", None, "/mark", ())


@pytest.mark.parametrize(
    ("resources", "given", "expected"),
    [
        ({"CPU": 2.0}, {}, (2, 0.0)),
        ({"CPU": 2.0}, {"workers": 5}, (5, 0.0)),
        ({"CPU": 8.0}, {"cpus": 2.0}, (4, 0.0)),
        ({"CPU": 2.0}, {"cpus": 0.5}, (4, 0.0)),
        ({"CPU": 32.0, "GPU": 2.0}, {}, (8, 0.25)),
        ({"CPU": 2.0, "GPU": 1.0}, {}, (2, 0.5)),
        ({"CPU": 8.0, "GPU": 1.0}, {"workers": 3}, (3, 0.3333)),
        ({"CPU": 32.0, "GPU": 8.0}, {"gpus": 2.0}, (4, 2.0)),
        ({"CPU": 32.0, "GPU": 1.0}, {"gpus": 0.1}, (10, 0.1)),
        ({"CPU": 4.0, "GPU": 1.0}, {"gpus": 0.0}, (4, 0.0)),
        ({}, {}, (1, 0.0)),
    ],
)
def test_runs_share_the_cluster(resources, given, expected):
    assert share(resources, replace(SETTINGS, **given)) == expected


def test_what_differs_on_a_node_is_named(tmp_path):
    there = tmp_path / "there"
    there.touch()
    settings = replace(SETTINGS, mark=str(there), needed=(str(there), str(tmp_path / "gone")))
    own = describe_machine(settings)
    assert own.is_shared
    assert own.missing == (str(tmp_path / "gone"),)
    other = MachineFacts({**own.versions, "torch": "1.0"}, (), is_shared=False)
    checks = {check.name: check for check in compare(own, {"10.0.0.2": own, "10.0.0.3": other}, settings)}
    assert not checks["versions"].is_right
    assert checks["versions"].text == f"torch 1.0 on 10.0.0.3, {own.versions['torch']} here"
    assert checks["files"].text == f"{tmp_path}/gone is not on 10.0.0.2"
    assert not checks["files"].is_right
    assert checks["folder"].is_right
    assert "not shared with 10.0.0.3: weights and checkpoints stay there" in checks["folder"].text


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("ActorDiedError: x\nThe actor is dead because its node has died. Node Id: 3", Cause.NODE),
        ("The actor is temporarily unavailable: RpcError: RPC error: Socket closed rpc_code: 14.", Cause.KILLED),
        ("Task was killed due to the node running low on memory.\nMemory on the node", Cause.MEMORY),
        ("ActorDiedError: Worker unexpectedly exits with a connection error code 2.", Cause.KILLED),
        ("", Cause.KILLED),
    ],
)
def test_rays_reasons_have_causes(text, cause):
    death = death_of_actor(text)
    assert death.cause is cause
    assert death.why


def test_an_order_is_the_same_after_its_way(plain, tmp_path):
    specs = (
        RunSpec(plain.TASK, FIX(k0=0.1), 20, 3),
        RunSpec(plain.TASK, FIX(k0=0.2), 20, 3, Stop(patience=2, target=0.5)),
    )
    order = Order.of(Group(specs, in_lockstep=True), tmp_path)
    assert Order.from_json(order.to_json()) == order
    assert order.group(plain.TASK) == Group(specs, in_lockstep=True)
    assert order.keys == tuple(spec.key for spec in specs)


def test_a_machine_without_the_folder_uses_one_of_its_own(plain, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "other"))
    order = Order.of(Group((RunSpec(plain.TASK, FIX(k0=0.1), 20, 3),)), tmp_path / "weights")
    (tmp_path / "mark").touch()
    assert Places(str(tmp_path / "mark"), "plain-1").order(order) is order
    there = Places(str(tmp_path / "no mark"), "plain-1").order(order)
    assert there == replace(order, folder=str(tmp_path / "other" / "plain-1"))
    assert (tmp_path / "other" / "plain-1").is_dir()


def test_a_lost_worker_has_another_trial_and_the_lost_trial_no_number():
    slots = Slots(2)
    assert [slots.suggest(name) for name in "abc"] == [{"worker": 0}, {"worker": 1}, None]
    slots.opened(1)
    slots.on_trial_complete("b", error=True)
    assert (slots.has("b"), slots.worker_of("b")) == (False, 1)
    assert slots.suggest("d") == {"worker": 1}
    assert slots.has("d")
    slots.on_trial_complete("a", {"done": True})  # its source could not be opened
    assert slots.suggest("e") is None
    for name in "dghi":  # it was lost before as well
        assert not slots.is_refused(1)
        slots.on_trial_complete(name, error=True)
        slots.suggest(chr(ord("g") + "dghi".index(name)))
    assert slots.is_refused(1)
    assert slots.suggest("z") is None
    slots.is_over = True
    assert slots.suggest("f") == Slots.FINISHED
    assert slots.stopper.stop_all()


def test_the_desk_keeps_orders_for_their_worker_and_messages_in_order():
    async def exchange():
        queues = Queues()
        await queues.put("b", {"order": 2})
        order = asyncio.create_task(queues.take("a"))
        await queues.put("a", {"order": 1})
        assert [await order, await queues.take("b")] == [{"order": 1}, {"order": 2}]
        assert await queues.report("a", {"n": 1}) == "train"
        await queues.stop()
        assert await queues.report("b", {"n": 2}) == await queues.report("b", None) == "stop"
        assert await queues.messages() == [("a", {"n": 1}), ("b", {"n": 2})]
        order = asyncio.create_task(queues.take("a"))
        await asyncio.sleep(0)
        await queues.end()
        assert [await order, await queues.take("c"), await queues.report("b", None)] == [None, None, "end"]

    asyncio.run(exchange())


def test_a_source_is_read_with_the_paths_of_the_process_that_sent_it(plain, tmp_path, monkeypatch):
    import pickle
    import sys

    monkeypatch.chdir(tmp_path)
    data = pickled(plain.PlainSource())
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(plain.__file__).rpartition("/")[0]])
    monkeypatch.chdir("/")
    assert pickle.loads(data) == plain.PlainSource()  # noqa: S301
    assert str(plain.__file__).rpartition("/")[0] in sys.path
    from pathlib import Path

    assert Path.cwd() == tmp_path
