"""Bundles that were changed or cut: each is imported completely or refused with a reason; nothing else happens."""

import hashlib
import random
from pathlib import Path
from typing import Any

from made import DIGITS

from lrsearch.errors import StoreError
from lrsearch.runs import Point, Run, RunSpec, RunState
from lrsearch.schedules import FIX, TRI
from lrsearch.store import open_store, read_bundle, write_bundle
from lrsearch.store.values import canonical

INSERTS = (b"[", b"{", b'"', b"9" * 30, b"1e999", b"NaN", b"\\u0000")


def bundles(folder: Path, mutants: int, cuts: int, seed: int) -> dict[str, Any]:
    """Change one line of a bundle at a time, under a first line with the right digest; then cut the bundle at places.

    Mutants are `refused` or `taken`; any other fate counts as `errors`. A cut that was not noticed is `silent`.
    `unasked` are runs that were imported by any of these.
    """
    rng, path = random.Random(seed), folder / "changed.bundle"
    whole = _bundle(folder)
    lines = whole.splitlines(keepends=True)[1:]
    refused = taken = errors = silent = 0
    with open_store("sqlite:///:memory:") as store:
        for _ in range(mutants):
            at = rng.randrange(len(lines))
            path.write_bytes(_sealed([*lines[:at], _changed(lines[at], rng), *lines[at + 1 :]]))
            try:
                bad = read_bundle(store, path, dry=True).bad
                refused, taken = refused + bool(bad), taken + (not bad)
            except Exception:
                errors += 1
        places = range(len(whole)) if cuts >= len(whole) else sorted(rng.sample(range(len(whole)), cuts))
        for place in places:
            path.write_bytes(whole[:place])
            try:
                read_bundle(store, path)
                silent += 1
            except StoreError:
                continue
        return {
            "mutants": mutants,
            "refused": refused,
            "taken": taken,
            "errors": errors,
            "bytes": len(whole),
            "cuts": len(places),
            "silent": silent,
            "unasked": len(store.entries()),
            "seed": seed,
        }


def _bundle(folder: Path) -> bytes:
    path = folder / "whole.bundle"
    with open_store(folder / "bundles.db") as store:
        for n in range(12):
            policy = FIX(k0=0.01 * (n + 1)) if n % 2 else TRI(k0=0.001, k1=0.01 * (n + 1), l=20)
            run = Run(
                state=RunState.FINISHED,
                steps=100,
                seconds=1.5,
                score=0.5 + n / 100,
                loss=0.25,
                stride=50,
                points=(Point(50, 0.5, 0.4), Point(100, 0.25, 0.5)),
                train_losses=(2.0, None),
                metrics={"end": {"top1": 0.5, "ac": None}},
            )
            store.record(RunSpec(DIGITS, policy, 100, n), run)
        write_bundle(store, path)
    return path.read_bytes()


def _changed(line: bytes, rng: random.Random) -> bytes:
    """Change one to three places: replace a byte, delete one, or insert hostile text."""
    changed = bytearray(line)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(changed) - 1)
        kind = rng.randrange(3)
        if kind == 0:
            changed[place] = rng.randrange(256)
        elif kind == 1:
            del changed[place]
        else:
            changed[place:place] = rng.choice(INSERTS)
    return bytes(changed)


def _sealed(lines: list[bytes]) -> bytes:
    """Lines under a first line with their digest, as anybody can write it."""
    body = b"".join(lines)
    head = {"bundle": 1, "digest": hashlib.sha256(body).hexdigest(), "runs": 0, "tasks": 0}
    return canonical(head).encode() + b"\n" + body
