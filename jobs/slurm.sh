#!/usr/bin/env bash
#SBATCH --job-name=r-zero
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=24:00:00
# A run in one Slurm allocation: Ray's head on the first node, a raylet on each of the others, and the job, whose exit status is
# the script's. Submit it from the repository, which lies at this path on all nodes, as `runs_dir` and HF_HOME have to:
#
#     make benchmarks EXTRA=gpu       # once, on a node with internet: the held-out sets that the profile measures
#     sbatch jobs/slurm.sh --profile qwen3-4b --iter 3
#     sbatch --nodes=2 jobs/slurm.sh --profile qwen3-4b --set learner.ranks=16 rollout.engines=16
#
# The same command resumes a run that ran out of time. Options are those of `python -m jobs.round`.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
PATH=$PWD/.venv/bin:$PATH

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# Whoever reaches Ray can run code, so the token is not optional. srun passes the environment on.
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export PATH RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_worker_niceness=0
unset RAY_ADDRESS

step=(srun --overlap --nodes=1 --ntasks=1)  # a command on one node, as a step of this job

services=()
# shellcheck disable=SC2329  # called by the trap
stop() {
    if [ ${#services[@]} -gt 0 ]; then
        kill "${services[@]}" 2>/dev/null || true  # those that have ended are gone
        wait "${services[@]}" 2>/dev/null || true  # their status says only that they were stopped
    fi
}
trap stop EXIT

# The first IPv4 address that other nodes can reach: Debian's /etc/hosts gives the node's own name 127.0.1.1, others IPv6.
read -r -d '' -a ips < <("${step[@]}" --nodelist="${nodes[0]}" sh -c 'hostname --ip-address; hostname --all-ip-addresses') || true
ip=${ips[0]}
for each in "${ips[@]}"; do
    if [[ $each =~ ^[0-9.]+$ && $each != 127.* ]]; then ip=$each; break; fi
done
address=$ip:$((20000 + SLURM_JOB_ID % 10000))  # jobs that share a node have ports of their own
"${step[@]}" --nodelist="${nodes[0]}" ray start --head --block --disable-usage-stats --node-ip-address "$ip" \
    --port "${address##*:}" --include-dashboard false &
services+=($!)
until ray health-check --address "$address" >/dev/null 2>&1; do
    kill -0 "${services[0]}" 2>/dev/null || { echo "Ray's head did not start on ${nodes[0]}" >&2; exit 1; }
    sleep 1
done
for node in "${nodes[@]:1}"; do
    "${step[@]}" --nodelist="$node" ray start --block --disable-usage-stats --address "$address" &
    services+=($!)
done

# Not by srun, which answers a SIGTERM with SIGKILL for its step: `--signal=B:TERM@<seconds>` signals this script, which runs on the
# first node, and the driver has that time to finish its step.
driver='' signalled=0
trap 'signalled=1; [ -z "$driver" ] || kill -TERM "$driver" 2>/dev/null || true' TERM
# All nodes read one environment from storage that they share, so some may join late. A user's own resources.wait_s wins: it is later.
RAY_ADDRESS=$address python -m jobs.round --set resources.wait_s=300 "$@" &
driver=$!
[ "$signalled" = 0 ] || kill -TERM "$driver"  # it came before the driver was known
signalled=1
while [ "$signalled" = 1 ]; do  # a signal ends `wait`, not the driver
    signalled=0 status=0
    wait "$driver" || status=$?
done
exit "$status"
