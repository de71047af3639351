"""The store's contract, on SQLite and on a real PostgreSQL alike."""

import math
import shutil
import sqlite3
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, select

import lrsearch as lrs
from lrsearch.errors import StoreAwayError, StoreError, UsageError
from lrsearch.recommendation.recommend import distance
from lrsearch.runs import Point, Run, RunSpec, RunState
from lrsearch.runs.roles import Origin, Role
from lrsearch.schedules import FIX, HALFCOS, RAMP, TRI
from lrsearch.store import Trial, open_store
from lrsearch.store.database import transaction
from lrsearch.store.rows import columns
from lrsearch.store.schema import AssignmentRow
from lrsearch.store.values import seal
from lrsearch.study.answers import stored_answers
from lrsearch.tasks import SLS, TASKS, Adagrad, AdamW, find_task

MLP = find_task("digits-mlp")
SCHEMAS = Path(__file__).parent / "schemas"


def finished(score=0.5, **changes):
    given = {
        "state": RunState.FINISHED,
        "steps": 100,
        "seconds": 1.5,
        "score": score,
        "loss": 0.25,
        "points": (Point(50, 0.5, 0.4), Point(100, 0.25, score)),
        "train_losses": (2.0, 1.0, None),
        "stride": 34,
    }
    return Run(**given | changes)


def spec(lr=0.1, seed=0, horizon=100, task=MLP):
    return RunSpec(task, FIX(k0=lr), horizon, seed)


def test_after_an_interrupt_in_the_middle_of_a_statement_the_store_goes_on(postgres, monkeypatch):
    def interrupted(connection):
        connection.pgconn.send_query(b"SELECT pg_sleep(60)")
        raise KeyboardInterrupt

    with open_store(postgres("interrupted")) as store:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(store._engine.dialect, "do_ping", interrupted)
            store.runs()
        assert store.runs() == []


def test_a_run_comes_back_as_it_went_in(store):
    store.record(spec(), finished())
    (stored,) = store.runs()
    assert stored.run == finished()
    assert (stored.key, stored.task, stored.policy) == (spec().key, "digits-mlp", FIX(k0=0.1))
    assert store.find(spec().key) == stored
    assert store.find("no such key") is None


def test_recording_twice_is_recording_once_and_a_final_result_stays(store):
    store.record(spec(), finished(0.5))
    store.record(spec(), finished(0.9))
    store.record(spec(), Run(state=RunState.INTERRUPTED, steps=5, seconds=0.1))
    (stored,) = store.runs()
    assert stored.run.score == 0.5
    assert stored.lost_steps == 0


def test_what_did_not_end_gives_way_and_its_steps_are_kept_as_lost(store):
    store.record(spec(), Run(state=RunState.INTERRUPTED, steps=30, seconds=0.1))
    store.record(spec(), Run(state=RunState.FAILED, steps=12, seconds=0.1, error="ValueError: no"))
    assert store.find(spec().key).run.error == "ValueError: no"
    store.record(spec(), finished())
    (stored,) = store.runs()
    assert (stored.run.state, stored.lost_steps) == (RunState.FINISHED, 42)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_never_come_out_as_scores(store, value):
    store.record(spec(), finished(score=value, loss=value, points=(), train_losses=()))
    (stored,) = store.runs()
    assert stored.run.score is None
    assert stored.run.loss is None


def test_runs_are_selected_by_task_policy_and_state(store):
    store.record(spec(), finished())
    store.record(spec(0.2), Run(state=RunState.DIVERGED, steps=10, seconds=0.1))
    store.record(spec(task=find_task("digits-cnn")), finished())
    assert len(store.runs()) == 3
    assert len(store.runs(task="digits-mlp")) == 2
    assert len(store.runs(policy=FIX(k0=0.1))) == 2
    assert [stored.policy for stored in store.runs(state=RunState.DIVERGED)] == [FIX(k0=0.2)]


def test_a_hostile_text_is_only_a_text(store):
    store.record(spec(), finished(), origin="x'; DROP TABLE lrsearch_runs; --")
    assert store.runs(task="' OR 1=1 --") == []
    assert store.runs()[0].origin.startswith("x'; DROP")


def test_a_study_keeps_what_it_started_from(store):
    first = store.open_study("k", "name", MLP, {"a": 1}, {"recommended": [1]})
    second = store.open_study("k", "name", MLP, {"a": 1}, {"recommended": [2]})
    assert first == second == {"recommended": [1]}
    assert store.note("k") is None
    assert store.note("k", {"test": 0.5}) == store.note("k") == {"test": 0.5}
    assert store.note("unknown") is None


def test_studies_are_listed_by_name_with_what_they_search(store):
    described = {"strategy": "funnel", "budget": 4.0, "seed": 1}
    store.open_study("b" * 16, "second", MLP, described, {"recommended": []})
    store.open_study("a" * 16, "first", MLP, described, {"recommended": [], "functions": ["TRI"]})
    first, second = store.studies()
    assert (first.name, second.name) == ("first", "second")
    assert first.task == MLP.description
    assert (first.frozen["functions"], second.frozen) == (["TRI"], {"recommended": []})
    assert first.to_json() == {
        "study": "first",
        "key": "a" * 16,
        "task": "digits-mlp",
        "horizon": MLP.horizon,
        **described,
    }


@pytest.mark.parametrize("prefix", ["", "sqlite:///"])
def test_a_store_that_must_exist_is_not_created(tmp_path, prefix):
    with pytest.raises(StoreError, match="no store at"):
        open_store(f"{prefix}{tmp_path / 'typo.db'}", existing=True)
    assert not list(tmp_path.iterdir())
    open_store(f"{prefix}{tmp_path / 'there.db'}").close()
    with open_store(f"{prefix}{tmp_path / 'there.db'}", existing=True) as opened:
        assert opened.studies() == []


def test_the_history_of_a_study_is_in_order_with_the_runs_that_are_known(store):
    store.open_study("k", "name", MLP, {}, {})
    trials = [Trial(n, Role.CONSTANT_LR, Origin.RULE, FIX(k0=10.0**-n), 100, 0) for n in range(3)]
    for trial in trials:
        store.assign("k", trial, trial.spec(MLP))
        store.assign("k", trial, trial.spec(MLP))
    store.record(trials[1].spec(MLP), finished())
    history = store.history("k")
    assert [replace(trial, stored=None) for trial in history] == trials
    assert [trial.stored is not None for trial in history] == [False, True, False]


@pytest.mark.parametrize(
    ("role", "origin", "policy", "says"),
    [
        ("grid", "rule", "FIX(k0=0.1)", "'grid' is not a valid Role"),
        ("candidate", "lattice", "FIX(k0=0.1)", "'lattice' is not a valid Origin"),
        ("candidate", "rule", "COMET(k0=0.1)", "no LR function 'COMET'"),
    ],
)
def test_a_trial_of_a_later_lrsearch_is_an_error_that_names_its_study(store, role, origin, policy, says):
    store.open_study("k", "name", MLP, {}, {})
    store.assign("k", Trial(0, role, origin, policy, 100, 0), spec())
    with pytest.raises(StoreError, match=rf"trial 0 of study k in .*{says}.*update lrsearch"):
        store.history("k")


def test_an_answer_of_a_later_lrsearch_is_left_out_of_advice(tmp_path):
    with open_store(shutil.copy(SCHEMAS / "schema-3.db", tmp_path)) as store:
        study = next(study for study in store.studies() if stored_answers(store, study.task))
        with store.writes() as session:
            row = session.scalars(select(AssignmentRow).where(AssignmentRow.study_key == study.key)).first()
            row.origin = "lattice"
            row.digest = seal(columns(row))
        assert stored_answers(store, study.task) == ()
        assert lrs.recommend(study.task["name"], store)


def test_an_origin_that_is_damaged_is_left_out(tmp_path):
    path = tmp_path / "store.db"
    with open_store(path) as store:
        store.record(spec(), finished())
        store.record(spec(seed=1), finished(), origin="lab")
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE lrsearch_origins SET trusted = 0 WHERE name = 'lab'")
    raw.close()
    with open_store(path) as store:
        assert store.origins() == {"local": True}
        assert store.damaged == {"lrsearch_origins"}


def test_a_run_is_shown_by_its_key_by_the_beginning_of_its_key_and_as_it_is(store):
    for seed in range(2):
        store.record(spec(seed=seed), finished())
    store.open_study("k", "name", MLP, {}, {})
    store.assign("k", Trial(0, Role.DEFAULT, Origin.DEFAULT, FIX(k0=0.1), 100, 0), spec())
    key, read = spec().key, []
    event.listen(store._engine, "before_cursor_execute", lambda *given: read.append(given[2]))
    by_key = store.show(key)
    assert sum("FROM lrsearch_curves" in query for query in read) == 1
    assert all("WHERE" in query for query in read if "FROM lrsearch_tasks" in query)
    assert by_key == store.show(key[:20]) == store.show(store.match(key))
    assert (by_key["key"], by_key["record"]["score"], by_key["studies"]) == (key, 0.5, ["name"])
    assert by_key["task_description"] == MLP.description
    for prefix, says in (("", "more than one run"), ("z", "no run"), (f"{key}0", "no run")):
        with pytest.raises(StoreError, match=f"{says} in .* begins with"):
            store.show(prefix)
    for wrong in (5, None, spec(), b"a"):
        with pytest.raises(UsageError, match="a run is named by its key"):
            store.show(wrong)
        with pytest.raises(UsageError, match="a run is named by its key"):
            store.match(wrong)


def test_a_store_whose_connections_are_all_in_use_is_away(tmp_path):
    path = f"sqlite:///{tmp_path / 'store.db'}"
    engine = create_engine(path, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with transaction(engine, engine.url) as first:
        first.connection()
        with pytest.raises(StoreAwayError, match="limit of size 1"), transaction(engine, engine.url) as second:
            second.connection()
    engine.dispose()


def test_a_recorded_run_is_there_when_the_store_is_opened_again(url):
    with open_store(url) as first:
        first.record(spec(), finished())
    with open_store(url) as second:
        assert len(second.runs()) == 1


def test_threads_that_use_one_store_at_once_lose_nothing_and_see_whole_runs(store):
    def write_and_read(writer):
        seen = []
        for n in range(5):
            own = spec(lr=0.01 + n / 1000, seed=writer)
            store.record(own, finished())
            store.record(spec(seed=99), finished(writer / 100))  # the same run from every thread
            seen += [store.find(own.key).run, *(stored.run for stored in store.runs(task="digits-mlp", limit=5))]
        return seen

    with ThreadPoolExecutor(8) as threads:
        seen = [run for runs in threads.map(write_and_read, range(8)) for run in runs]
    assert len(store.runs()) == 8 * 5 + 1
    assert all(run.points == finished(run.score).points for run in seen)
    attempts = store.attempts(spec(seed=99).key)
    scores = {store.find(spec(seed=99).key).run.score, *(attempt["score"] for attempt in attempts)}
    assert scores == {writer / 100 for writer in range(8)}
    assert len(attempts) == 7
    assert store.damaged == frozenset()


def write_some(job):
    url, writer, count = job
    with open_store(url) as own:
        for n in range(count):
            own.record(spec(lr=0.01 + n / 1000, seed=writer), finished())
    return count


@pytest.mark.slow
def test_writers_that_start_together_on_a_new_store_lose_nothing(url):
    with ProcessPoolExecutor(4) as pool:
        written = list(pool.map(write_some, [(url, writer, 6) for writer in range(4)]))
    with open_store(url) as store:
        assert len(store.runs()) == sum(written) == 24


def test_the_password_is_never_shown(tmp_path):
    url = "postgresql+psycopg://me:hunter2@127.0.0.1:1/none"
    with pytest.raises(StoreError, match="cannot be opened") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("content", [b"just some text\n", b"SQLite format 3\x00" + b"rubbish" * 100])
def test_a_file_that_is_not_a_store_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "file.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"file\.db"):
        open_store(str(path))
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE guests (name TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's"):
        open_store(str(path))
    assert path.read_bytes() == before


def test_a_store_of_a_newer_lrsearch_is_refused(tmp_path):
    path = tmp_path / "new.db"
    open_store(str(path)).close()
    with sqlite3.connect(path) as newer:
        newer.execute("UPDATE lrsearch_schema SET version = 99")
    newer.close()
    with pytest.raises(StoreError, match="schema 99"):
        open_store(str(path))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://x/y", "SQLite or PostgreSQL"),
        ("postgresql://127.0.0.1:1/x", "cannot be opened"),
        ("/proc/no/such/place/x.db", "cannot be used"),
    ],
)
def test_a_url_that_is_no_store_is_an_error_that_says_what_to_do(url, says):
    with pytest.raises(StoreError, match=says):
        open_store(url)


def test_a_folder_is_not_a_store(tmp_path):
    with pytest.raises(StoreError, match="is a folder"):
        open_store(str(tmp_path))


def test_a_task_is_nearest_to_itself_and_then_to_tasks_that_share_data_or_model():
    d = {name: task.description for name, task in TASKS.items()}
    assert distance(d["digits-mlp"], d["digits-mlp"]) == 0
    assert distance(d["mnist-lenet"], d["fashion-lenet"]) < distance(d["mnist-lenet"], d["digits-mlp"])
    assert distance(d["mnist-lenet"], d["mnist-mlp"]) < distance(d["mnist-lenet"], d["digits-mlp"])
    for a in d.values():
        for b in d.values():
            assert distance(a, b) == pytest.approx(distance(b, a))
    adam = d["digits-mlp"] | {"optimizer": {"family": "adam"}}
    assert distance(adam, d["digits-mlp"]) == math.inf


@pytest.mark.parametrize("optimizer", [AdamW(), Adagrad(), SLS()])
def test_tasks_whose_optimizers_have_no_momentum_are_compared(optimizer):
    mlp, cnn = (replace(find_task(name), optimizer=optimizer).description for name in ("digits-mlp", "digits-cnn"))
    assert 0 == distance(mlp, mlp) < distance(mlp, cnn) < math.inf


def test_a_recommendation_is_the_best_of_a_similar_task_moved_by_the_range_tests(store):
    fashion, mnist = find_task("fashion-lenet"), find_task("mnist-lenet")
    good, bad = TRI(k0=0.001, k1=0.02, l=2000), HALFCOS(k0=0.9, l=10_000)
    store.record(RunSpec(fashion, good, 10_000, 0), finished(0.9, steps=10_000))
    store.record(RunSpec(fashion, bad, 10_000, 0), finished(0.3, steps=10_000))
    ramp = RAMP(k0=1e-6, k1=10, l=199)
    falling = tuple(2.3 if i < 120 else 0.5 if i < 140 else 9.0 for i in range(200))
    store.record(RunSpec(fashion, ramp, 200, 0), finished(0.1, train_losses=falling, stride=1))
    recommendation = next(each for each in lrs.recommend(mnist, store, k=9) if each.task == "fashion-lenet")
    assert (recommendation.policy, recommendation.task, recommendation.score) == (good, "fashion-lenet", 0.9)
    assert recommendation.optimum is not None
    transferred = recommendation.transferred(10_000, own_optimum=recommendation.optimum / 2)
    assert transferred.coordinates(10_000)["peak"] == pytest.approx(0.01 * 10**-0.15)


def test_an_empty_store_recommends_nothing(store):
    assert lrs.recommend(MLP, store) == []


def test_a_damaged_row_hides_no_other(tmp_path, caplog):
    path = tmp_path / "store.db"
    with open_store(path) as store:
        store.record(spec(), finished())
        store.record(spec(0.2), finished())
        store.record(spec(task=find_task("digits-cnn")), finished())
        for name in ("a", "b"):
            store.open_study(name * 16, name, MLP, {"budget": 4.0}, {"recommended": []})
            store.assign(name * 16, Trial(0, "default", "default", FIX(k0=0.1), 100, 0), spec())
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE lrsearch_runs SET details = '{\"broken' WHERE key = ?", [spec(0.2).key])
        raw.execute("UPDATE lrsearch_tasks SET description = '{' WHERE name = 'digits-cnn'")
        raw.execute("UPDATE lrsearch_studies SET frozen = '{\"recommended\": [1]}' WHERE name = 'a'")
        raw.execute("UPDATE lrsearch_assignments SET seed = 7 WHERE study_key LIKE 'b%'")
    raw.close()
    with open_store(path) as store:
        assert list(store.tasks()) == [MLP.key]
        assert spec().key in [run.key for run in store.runs()]
        assert store.find(spec(0.2).key) is None
        assert [study.name for study in store.studies()] == ["b"]
        assert len(store.history("a" * 16)) == 1
        with pytest.raises(StoreError, match="another --seed"):
            store.history("b" * 16)
        assert store.damaged >= {spec(0.2).key, "lrsearch_tasks", "lrsearch_studies"}
        store.record(spec(0.2), finished(0.9))
        assert store.find(spec(0.2).key).run.score == 0.9
    assert caplog.text.count("lrsearch_tasks") == 1


def test_representative_runs_are_the_best_policies_and_an_even_share_of_the_rest(store):
    lr_values = [round(0.001 * 1.1**n, 6) for n in range(60)]
    for n, lr in enumerate(lr_values):
        for seed in range(5 if n == 59 else 1):
            store.record(spec(lr, seed), finished(n / 100))
    store.record(RunSpec(MLP, RAMP(k0=1e-6, k1=10, l=99), 100, 0), finished(0.99))
    store.record(spec(7.0), Run(state=RunState.DIVERGED, steps=3, seconds=0.1))
    store.record(spec(8.0), Run(state=RunState.FAILED, steps=3, seconds=0.1))
    store.record(spec(9.0, horizon=5), finished(0.98))
    representative = store.representative_runs(MLP.key, shortest=10, policies=20)
    representative_lrs = {run.policy.params["k0"] for run in representative}
    assert len(representative_lrs) == 20
    assert set(lr_values[-10:]) <= representative_lrs
    assert len([run for run in representative if run.policy.params["k0"] == lr_values[59]]) == 3
    others = sorted(lr_values.index(lr) for lr in representative_lrs & set(lr_values[:50]))
    assert others[0] <= 5
    assert others[-1] >= 44
    assert all(run.run.points == () for run in representative)
    assert all(run.run.points for run in store.representative_runs(MLP.key, curves=True) if run.run.score is not None)
    assert [run.policy.name for run in store.ramps(MLP.key)] == ["RAMP"]
    assert len(store.representative_runs(MLP.key, policies=100)) == 59 + 3 + 1 + 1
