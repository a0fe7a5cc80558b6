#!/bin/sh
# Compiles locks/*.txt from pyproject.toml: exact versions, no download addresses. Resolved for Python 3.11 on Linux
# x86-64; on 3.12 and 3.13 uv leaves out what those do not need.
set -eu
compile() {  # compile LOCK EXTRAS... -- OPTIONS...
    lock=$1; shift
    .venv/bin/uv pip compile pyproject.toml --system-certs --quiet --python-platform x86_64-manylinux_2_28 --python-version 3.11 --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --output-file "locks/$lock.txt" --overrides "locks/overrides-$lock.txt" "$@"
}
links=${PIP_FIND_LINKS:-$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)}
if [ -n "$links" ]; then cpu="--find-links $links"; else cpu="--torch-backend cpu"; fi
# shellcheck disable=SC2086  # two words on purpose
compile cpu --extra cpu --extra dev $cpu
compile gpu --extra gpu --extra dev
# What a CPU and a GPU have in different versions stays as it is.
# shellcheck disable=SC2086
compile dashboard --extra dashboard --constraints locks/cpu.txt --no-emit-package torch --no-emit-package setuptools $cpu
# shellcheck disable=SC2086
compile real --extra real --constraints locks/cpu.txt --no-emit-package torch --no-emit-package setuptools $cpu
