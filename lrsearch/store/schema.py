"""The store's tables. Rows never leave this package.

    data sets <- tasks -> models          tasks <- runs -> policies, origins
    studies  <- assignments               runs  <- curves
    processes <- claims

A task refers to its data set with the learning task and the classes, and to its model with the framework, as far as
its description has them. A score is of a metric with a direction and a unit. Each row has a digest of its other
columns, which detects damage; a key is the digest of the content that it names. Processes and claims have none: they
say what happens now, and nothing depends on them later.
"""

from sqlalchemy import JSON, BigInteger, Boolean, CheckConstraint, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA_VERSION = 4
SERIAL = BigInteger().with_variant(Integer, "sqlite")
"""A number that the database assigns, rising."""
KINDS = ("finite", "inf", "-inf", "nan", "none")
"""Kinds of values. Only finite ones are in columns of numbers, because databases order the others differently."""


def _has_kind(name: str) -> CheckConstraint:
    kinds = ", ".join(f"'{kind}'" for kind in KINDS)
    return CheckConstraint(
        f"{name}_kind IN ({kinds}) AND ({name}_kind = 'finite') = ({name} IS NOT NULL)", name=f"{name}_is_of_its_kind"
    )


class Base(DeclarativeBase):
    """Base of all tables. Their names have the prefix `lrsearch_`, so that other programs can share the database."""


class SchemaRow(Base):
    """The one row that makes a database a store."""

    __tablename__ = "lrsearch_schema"
    version: Mapped[int] = mapped_column(Integer, primary_key=True)


class DatasetRow(Base):
    """A data set by the digest of its description in a task; `learning_task` is null where it is unknown.

    Numbers that a user's task does not state are null.
    """

    __tablename__ = "lrsearch_datasets"
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text, index=True)
    learning_task: Mapped[str | None] = mapped_column(Text)
    classes: Mapped[int | None] = mapped_column(BigInteger)
    train: Mapped[int | None] = mapped_column(BigInteger)
    validation: Mapped[int | None] = mapped_column(BigInteger)


class ModelRow(Base):
    """A model by the digest of its description in a task; values that it does not state are null."""

    __tablename__ = "lrsearch_models"
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text, index=True)
    framework: Mapped[str | None] = mapped_column(Text)
    parameters: Mapped[int | None] = mapped_column(BigInteger)


class TaskRow(Base):
    """A task by the digest of its description; without a data set or a model where it names none."""

    __tablename__ = "lrsearch_tasks"
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text, index=True)
    dataset_key: Mapped[str | None] = mapped_column(ForeignKey("lrsearch_datasets.key"), index=True)
    model_key: Mapped[str | None] = mapped_column(ForeignKey("lrsearch_models.key"), index=True)
    description: Mapped[dict[str, object]] = mapped_column(JSON)


class PolicyRow(Base):
    """A policy by the digest of its text."""

    __tablename__ = "lrsearch_policies"
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    form: Mapped[str] = mapped_column(Text, index=True)


class OriginRow(Base):
    """The origin of runs: `local`, or an imported bundle. Only runs of trusted origins are evidence."""

    __tablename__ = "lrsearch_origins"
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    trusted: Mapped[bool] = mapped_column(Boolean)
    digest: Mapped[str] = mapped_column(String(16))


class RunRow(Base):
    """A run by the digest of task, policy, horizon, seed and trainer version. Final results never change.

    The score is in the metric's own unit and sign; `direction` says which values are better. `details` has the values
    without a column: metrics, the digest of the split, an error, the stride of the curves. `curves` is the digest of
    the run's curves.
    """

    __tablename__ = "lrsearch_runs"
    id: Mapped[int] = mapped_column(SERIAL, primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(String(24), unique=True)
    task_key: Mapped[str] = mapped_column(ForeignKey("lrsearch_tasks.key"))
    policy_key: Mapped[str] = mapped_column(ForeignKey("lrsearch_policies.key"))
    origin: Mapped[str] = mapped_column(ForeignKey("lrsearch_origins.name"))
    horizon: Mapped[int] = mapped_column(BigInteger)
    seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    metric: Mapped[str] = mapped_column(Text)
    direction: Mapped[str] = mapped_column(String(8))
    unit: Mapped[str] = mapped_column(Text)
    score: Mapped[float | None] = mapped_column(Float(53))
    score_kind: Mapped[str] = mapped_column(String(6))
    loss: Mapped[float | None] = mapped_column(Float(53))
    loss_kind: Mapped[str] = mapped_column(String(6))
    steps: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Float(53))
    lost_steps: Mapped[int] = mapped_column(BigInteger)
    details: Mapped[dict[str, object]] = mapped_column(JSON)
    curves: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(16))
    __table_args__ = (
        _has_kind("score"),
        _has_kind("loss"),
        Index("ix_lrsearch_runs_page", "task_key", "key"),
        Index("ix_lrsearch_runs_policy", "policy_key", "key"),
        Index(
            "ix_lrsearch_runs_score",
            "task_key",
            "horizon",
            "policy_key",
            "origin",
            "state",
            "metric",
            "direction",
            "unit",
            "score",
        ),
    )


class CurveRow(Base):
    """A curve of a run: `val_loss`, `val_score`, `train_loss`, `rate`, or a curve that a user logged.

    A user's curve of one of these names has the prefix `own:`.

    `points` are [step, value]; a value that is not finite is a text. They are one JSON value, because a row for each
    point made a store of 85 short runs a third larger.
    """

    __tablename__ = "lrsearch_curves"
    run: Mapped[int] = mapped_column(ForeignKey("lrsearch_runs.id"), primary_key=True)
    series: Mapped[str] = mapped_column(Text, primary_key=True)
    points: Mapped[list[object]] = mapped_column(JSON)


class AttemptRow(Base):
    """A later final result of a run that differs from the stored one. Its content is an entry."""

    __tablename__ = "lrsearch_attempts"
    id: Mapped[int] = mapped_column(SERIAL, primary_key=True, autoincrement=True)
    run_key: Mapped[str] = mapped_column(ForeignKey("lrsearch_runs.key"), index=True)
    content: Mapped[dict[str, object]] = mapped_column(JSON)
    digest: Mapped[str] = mapped_column(String(16))


class StudyRow(Base):
    """A study by the digest of task, space, strategy, budget and seed; `frozen` is its evidence at the start."""

    __tablename__ = "lrsearch_studies"
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    task_key: Mapped[str] = mapped_column(ForeignKey("lrsearch_tasks.key"))
    description: Mapped[dict[str, object]] = mapped_column(JSON)
    frozen: Mapped[dict[str, object]] = mapped_column(JSON)
    note: Mapped[dict[str, object] | None] = mapped_column(JSON(none_as_null=True))
    digest: Mapped[str] = mapped_column(String(16))


class AssignmentRow(Base):
    """A trial of a study, by its number; written before it is trained."""

    __tablename__ = "lrsearch_assignments"
    study_key: Mapped[str] = mapped_column(ForeignKey("lrsearch_studies.key"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    origin: Mapped[str] = mapped_column(String(16))
    policy: Mapped[str] = mapped_column(Text)
    horizon: Mapped[int] = mapped_column(BigInteger)
    seed: Mapped[int] = mapped_column(BigInteger)
    run_key: Mapped[str] = mapped_column(String(24), index=True)
    digest: Mapped[str] = mapped_column(String(16))


class ProcessRow(Base):
    """A process that works on a study now. Its lease ends at `until`, by the database's clock, unless it renews it.

    `place` says where it runs, see `Place`; `lease` is in seconds.
    """

    __tablename__ = "lrsearch_processes"
    token: Mapped[str] = mapped_column(String(16), primary_key=True)
    study_key: Mapped[str] = mapped_column(String(16), index=True)
    place: Mapped[str] = mapped_column(Text)
    until: Mapped[float] = mapped_column(Float(53))
    lease: Mapped[float] = mapped_column(Float(53))


class ClaimRow(Base):
    """A run that a process trains now, with the steps that it has reported.

    Without a process, the run was handed out by `ask`, and stays so until it is told or released.
    """

    __tablename__ = "lrsearch_claims"
    run_key: Mapped[str] = mapped_column(String(24), primary_key=True)
    study_key: Mapped[str] = mapped_column(String(16), index=True)
    process: Mapped[str | None] = mapped_column(String(16))
    steps: Mapped[int] = mapped_column(BigInteger)
