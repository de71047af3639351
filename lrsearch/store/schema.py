"""The store's tables. Rows never leave this package.

    data sets <- tasks -> models          tasks <- runs -> policies, origins
    studies  <- assignments               runs  <- curves

What a run learned from is organised by data set, learning task (so many classes), model and framework, as far as its
task says them; its score is of a metric, with a direction and a unit. A row carries a digest of the rest of it, so that
damage is seen; a key is the digest of what it names.
"""

from sqlalchemy import JSON, BigInteger, Boolean, CheckConstraint, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA_VERSION = 3
SERIAL = BigInteger().with_variant(Integer, "sqlite")
"""A number that the database counts up by itself."""
KINDS = ("finite", "inf", "-inf", "nan", "none")
"""What a value is. Only a finite one is in a column of numbers: databases order the others each in its own way."""


def _has_kind(name: str) -> CheckConstraint:
    kinds = ", ".join(f"'{kind}'" for kind in KINDS)
    return CheckConstraint(
        f"{name}_kind IN ({kinds}) AND ({name}_kind = 'finite') = ({name} IS NOT NULL)", name=f"{name}_is_of_its_kind"
    )


class Base(DeclarativeBase):
    """All tables carry the prefix `lrsearch_`, so that a database may be shared."""


class SchemaRow(Base):
    """The one row that makes a database a store."""

    __tablename__ = "lrsearch_schema"
    version: Mapped[int] = mapped_column(Integer, primary_key=True)


class DatasetRow(Base):
    """A data set by the digest of what a task says of it; `learning_task` is what is asked of it, where that is known.

    The numbers of a user's task are null where it does not say them.
    """

    __tablename__ = "lrsearch_datasets"
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text, index=True)
    learning_task: Mapped[str | None] = mapped_column(Text)
    classes: Mapped[int | None] = mapped_column(BigInteger)
    train: Mapped[int | None] = mapped_column(BigInteger)
    validation: Mapped[int | None] = mapped_column(BigInteger)


class ModelRow(Base):
    """A model by the digest of what a task says of it; null is what it does not say."""

    __tablename__ = "lrsearch_models"
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text, index=True)
    framework: Mapped[str | None] = mapped_column(Text)
    parameters: Mapped[int | None] = mapped_column(BigInteger)


class TaskRow(Base):
    """A task by the digest of its description. Where it does not name them it has no data set and no model."""

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
    """Where runs come from: `local`, or a bundle that was imported. Only trusted ones recommend unasked."""

    __tablename__ = "lrsearch_origins"
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    trusted: Mapped[bool] = mapped_column(Boolean)
    digest: Mapped[str] = mapped_column(String(16))


class RunRow(Base):
    """A run by the digest of task, policy, horizon, seed and trainer version. Final ones never change.

    The score is of a metric, in its own unit and sign; `direction` says which is better. `details` is what has no
    column: metrics, the digest of the split, an error, the stride of its curves. `curves` is the digest of its curves.
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
    """One of a run's curves: `val_loss`, `val_score`, `train_loss`, `lr`, or what a user logged.

    A user's curve of one of these names has `own:` before it.

    `points` are [step, value]; a value that is not finite is a text. A row a point made a store of 85 short runs a
    third larger.
    """

    __tablename__ = "lrsearch_curves"
    run: Mapped[int] = mapped_column(ForeignKey("lrsearch_runs.id"), primary_key=True)
    series: Mapped[str] = mapped_column(Text, primary_key=True)
    points: Mapped[list[object]] = mapped_column(JSON)


class AttemptRow(Base):
    """A second final result of a run, which differs from the first: kept beside it, whoever was right."""

    __tablename__ = "lrsearch_attempts"
    id: Mapped[int] = mapped_column(SERIAL, primary_key=True, autoincrement=True)
    run_key: Mapped[str] = mapped_column(ForeignKey("lrsearch_runs.key"), index=True)
    content: Mapped[dict[str, object]] = mapped_column(JSON)
    digest: Mapped[str] = mapped_column(String(16))


class StudyRow(Base):
    """A study by the digest of task, space, strategy, budget and seed, and what it started from, frozen."""

    __tablename__ = "lrsearch_studies"
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    task_key: Mapped[str] = mapped_column(ForeignKey("lrsearch_tasks.key"))
    description: Mapped[dict[str, object]] = mapped_column(JSON)
    frozen: Mapped[dict[str, object]] = mapped_column(JSON)
    note: Mapped[dict[str, object] | None] = mapped_column(JSON(none_as_null=True))
    digest: Mapped[str] = mapped_column(String(16))


class AssignmentRow(Base):
    """What a study asked for, in order: written before it is trained. Its roles say which runs were its evidence."""

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
