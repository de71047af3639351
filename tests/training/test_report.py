"""Reports of programs: lines that are read as they come, and what is left out."""

import json
import math
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.errors import UsageError
from lrsearch.training import report as reports
from lrsearch.training.report import Line, Report

LINES = [
    {"step": 1, "train_loss": 2.5},
    {"step": 2, "train_loss": "nan", "job": "a"},
    {"val_loss": 1e-9},
    {"step": 3.0},
]


@given(st.lists(st.integers(0, 200)))
def test_however_a_report_comes_its_lines_are_the_same(cuts):
    text = "".join(json.dumps(line) + "\n" for line in LINES).encode() + b'{"step": 4'
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    with tempfile.TemporaryDirectory() as folder:
        path, found = Path(folder) / "report", []
        report = Report(path, "a")
        assert list(report.lines()) == []
        for begin, end in pairwise(places):
            with path.open("ab") as file:
                file.write(text[begin:end])
            found += report.lines()
    assert [line.step for line in found] == [1, 2, None, 3]
    assert found[0] == Line(1, {"train_loss": 2.5})
    assert math.isnan(found[1].values["train_loss"])
    assert report.notes == ("the last line of its report is not whole and was left out: '{\"step\": 4'",)


def test_lines_of_another_job_count_for_nothing(tmp_path):
    path = tmp_path / "report"
    path.write_text('{"step": 1, "val_loss": 9, "job": "b"}\n{"step": 1, "val_loss": 1}\n')
    report = Report(path, "a")
    assert list(report.lines()) == [Line(1, {"val_loss": 1.0})]
    assert report.notes == ("1 line of its report named another job and counted for nothing",)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("step 3", "is no JSON: 'step 3'"),
        ("[1, 2]", "is an object"),
        ('{"step": 1.5}', "the step of a report"),
        ('{"step": -1}', "the step of a report"),
        ('{"step": true}', "the step of a report"),
        ('{"step": 1, "val_loss": "good"}', "val_loss is a number"),
        ('{"step": 1, "val_loss": [1, 2]}', "val_loss is a"),
        ('{"val_loss": null}', "val_loss is a number"),
    ],
)
def test_a_line_that_is_no_report_is_refused(tmp_path, line, match):
    path = tmp_path / "report"
    path.write_text(line + "\n")
    with pytest.raises(UsageError, match=match):
        list(Report(path, "a").lines())


def test_a_report_that_grows_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "LARGEST", 1000)
    path = tmp_path / "report"
    path.write_text('{"step": 1}\n' * 1000)
    with pytest.raises(UsageError, match="report every n-th update"):
        list(Report(path, "a").lines())
