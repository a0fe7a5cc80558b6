#!/bin/sh
# Installs the lock locks/$1.txt into .venv. Called by the Makefile.
#
# The CPU build of torch is not on PyPI. Where pip is told of a folder that holds it (find-links), it comes from there; elsewhere
# uv's torch backend knows where to look. uv does not read pip's configuration, hence the hand-over.
set -eu
flavour=$1
python=.venv/bin/python
version=$(sed -n 's/^torch==\([^ ]*\).*/\1/p' "locks/$flavour.txt")
tag=$($python -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
links=${PIP_FIND_LINKS:-$($python -m pip config get global.find-links 2>/dev/null || true)}

set --
if [ "$flavour" = cpu ]; then
    set -- --torch-backend cpu
    for folder in $links; do
        if ls "$folder/torch-$version-$tag"-*.whl >/dev/null 2>&1; then set -- --find-links "$folder"; fi
    done
fi
# The system certificates are what pip trusts, too; uv would otherwise know only its own.
.venv/bin/uv pip install --system-certs --quiet --python $python --requirements "locks/$flavour.txt" --overrides "locks/overrides-$flavour.txt" "$@"
