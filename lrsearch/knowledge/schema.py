"""The store's tables. Rows never leave this package."""

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA_VERSION = 1


class Base(DeclarativeBase):
    """All tables carry the prefix `lrsearch_`, so that a database may be shared."""


class SchemaRow(Base):
    """The one row that makes a database a store."""

    __tablename__ = "lrsearch_schema"
    version: Mapped[int] = mapped_column(Integer, primary_key=True)


class TaskRow(Base):
    """A task by the digest of its description."""

    __tablename__ = "lrsearch_tasks"
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text, index=True)
    description: Mapped[dict[str, object]] = mapped_column(JSON)


class RunRow(Base):
    """A run by the digest of task, policy, horizon, seed and trainer version. Final ones never change."""

    __tablename__ = "lrsearch_runs"
    key: Mapped[str] = mapped_column(String(24), primary_key=True)
    task_key: Mapped[str] = mapped_column(ForeignKey("lrsearch_tasks.key"), index=True)
    policy: Mapped[str] = mapped_column(Text)
    horizon: Mapped[int] = mapped_column(BigInteger)
    seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16), index=True)
    score: Mapped[float | None] = mapped_column(Float(53))
    loss: Mapped[float | None] = mapped_column(Float(53))
    steps: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Float(53))
    lost_steps: Mapped[int] = mapped_column(BigInteger, default=0)
    origin: Mapped[str] = mapped_column(Text)
    curve: Mapped[dict[str, object]] = mapped_column(JSON)


class StudyRow(Base):
    """A study by the digest of task, space, strategy, budget and seed, and what it started from, frozen."""

    __tablename__ = "lrsearch_studies"
    key: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    task_key: Mapped[str] = mapped_column(ForeignKey("lrsearch_tasks.key"))
    description: Mapped[dict[str, object]] = mapped_column(JSON)
    frozen: Mapped[dict[str, object]] = mapped_column(JSON)
    note: Mapped[dict[str, object] | None] = mapped_column(JSON)


class AssignmentRow(Base):
    """What a study asked for, in order: written before it is trained."""

    __tablename__ = "lrsearch_assignments"
    study_key: Mapped[str] = mapped_column(ForeignKey("lrsearch_studies.key"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    origin: Mapped[str] = mapped_column(String(16))
    policy: Mapped[str] = mapped_column(Text)
    horizon: Mapped[int] = mapped_column(BigInteger)
    seed: Mapped[int] = mapped_column(BigInteger)
    run_key: Mapped[str] = mapped_column(String(24), index=True)
