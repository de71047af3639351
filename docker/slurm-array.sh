#!/bin/bash
#SBATCH --job-name=lrsearch
#SBATCH --array=1-8
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
# One study, searched by all tasks of an array: each runs the same command on one PostgreSQL store.
#   sbatch slurm-array.sh TASK --budget 40 --store postgresql+psycopg://lrsearch@HOST/lrsearch
# For GPUs add --gpus-per-task=1. The password of the store is in ~/.pgpass, mode 600.
set -euo pipefail

# Each task has a folder of its own: they share the store and nothing else.
lrsearch search --out "lrsearch-runs/$SLURM_ARRAY_TASK_ID" "$@" &
search=$!

# Slurm's warning of the time limit reaches this script. Open runs are given back as interrupted, and the task queues again.
is_over=no
trap 'is_over=yes; kill -USR1 "$search" || true' USR1

code=0
wait "$search" || code=$?
if [ "$code" -eq 138 ]; then # 128 + USR1: the signal ended `wait`, not the search
    code=0
    wait "$search" || code=$?
fi
if [ "$is_over" = yes ] && [ "$code" -eq 130 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
