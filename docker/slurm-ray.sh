#!/bin/bash
#SBATCH --job-name=lrsearch
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
# A sweep on a Ray cluster over the nodes of one job. For GPUs add --gpus-per-node=N.
#   sbatch slurm-ray.sh TASK --budget 40 --store postgresql+psycopg://lrsearch@HOST/lrsearch --out FOLDER
# All nodes share the folder of submission and --out. The password of the store is in ~/.pgpass, mode 600.
set -euo pipefail
umask 077

port=$((20000 + SLURM_JOB_ID % 10000)) # jobs that share a node have ports of their own
# Each pipe is read to its end: a reader that stops early would end its writer, and with it this script.
head="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)"
# The first node, which runs this script too. Ray compares addresses: it takes no name, and none of loopback.
address="$(getent ahostsv4 "$head" | awk '!found && $1 !~ /^127\./ {print $1; found = 1}')"
private="$(mktemp -d "$PWD/.lrsearch-ray-$SLURM_JOB_ID.XXXXXX")"
trap 'rm -rf "$private"' EXIT
od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$private/token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$private/token" RAY_USAGE_STATS_ENABLED=0
# Seconds. Many nodes read Python from one shared file system; and they are to end soon after the first one.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 RAY_gcs_rpc_server_reconnect_timeout_s=20

# shellcheck disable=SC2016 # the inner shell reads its own words
srun --kill-on-bad-exit=0 ray symmetric-run --address "$address:$port" --min-nodes "$SLURM_NNODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" -- \
    bash -c 'echo $$ > "$1"; shift; exec "$@"' start "$private/pid" lrsearch sweep "$@" --address "$address:$port" &
step=$!

# Slurm's warning of the time limit reaches this script. It is for the sweep alone, for the signal would end Ray.
# Then open runs are given back as interrupted, and the job queues again.
is_over=no
trap 'is_over=yes; kill -USR1 "$(cat "$private/pid")" || true' USR1

code=0
wait "$step" || code=$?
if [ "$code" -eq 138 ]; then # 128 + USR1: the signal ended `wait`, not the sweep
    code=0
    wait "$step" || code=$?
fi
if [ "$is_over" = yes ] && [ "$code" -eq 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
