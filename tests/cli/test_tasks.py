"""`lrsearch tasks`: the list, and one task's meta-features."""

import pytest

from lrsearch.tasks import TASKS, MetaFeatures, features_of


def test_without_a_name_the_tasks_are_listed(typed):
    ended = typed("tasks")
    assert ended.code == 0
    assert all(name in ended.out for name in TASKS)
    assert [task["name"] for task in typed("tasks", "--json").json] == list(TASKS)


def test_with_a_name_the_task_s_meta_features_is_printed(typed):
    ended = typed("tasks", "digits-cnn")
    assert (ended.code, ended.err) == (0, "")
    marks = features_of("digits-cnn").data.landmarks
    for told in (
        "1024 samples of 1 x 8 x 8",
        "10 classes",
        "cnn, 6090 parameters, depth 3, norm none",
        f"nearest neighbour {100 * marks.neighbour:.1f} %",
        "batch 32, 1280 steps, 40 epochs",
    ):
        assert told in ended.out


def test_the_meta_features_is_one_json_object_that_can_be_read_back(typed):
    values = typed("tasks", "digits-mlp", "--json").json
    assert values.pop("task") == "digits-mlp"
    assert MetaFeatures.from_json(values) == features_of("digits-mlp")


@pytest.mark.data
def test_the_data_are_taken_from_their_folder(typed, data_dir, tmp_path):
    assert "54000 samples of 1 x 28 x 28" in typed("tasks", "mnist-mlp", "--data-dir", str(data_dir)).out
    missing = typed("tasks", "mnist-mlp", "--data-dir", str(tmp_path))
    assert missing.code == 1
    assert "put them there, or leave --data-dir out" in missing.err


def test_a_misspelt_name_gets_the_nearest(typed):
    ended = typed("tasks", "digits-cn")
    assert (ended.code, ended.out) == (2, "")
    assert "no task 'digits-cn'; did you mean 'digits-cnn'?" in ended.err
