#!/bin/sh
# Installs the lock locks/$1.txt into .venv; further arguments go to `uv pip install`. Called by the Makefile.
#
# The CPU build of torch is not on PyPI. Where pip is told of a folder that holds it (find-links), it comes from there; elsewhere
# uv's torch backend knows where to look.
set -eu
flavour=$1; shift
bin=${VENV:-.venv}/bin
. locks/registry.sh
version=$(sed -n 's/^torch==\([^ ]*\).*/\1/p' "locks/$flavour.txt")

if [ "$flavour" = cpu ]; then
    tag=$("$bin/python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
    found=
    for folder in $links; do
        if ls "$folder/torch-$version-$tag"-*.whl >/dev/null 2>&1; then found=$folder; fi
    done
    if [ -n "$found" ]; then set -- --find-links "$found" "$@"; else set -- --torch-backend cpu "$@"; fi
fi
# The system certificates are what pip trusts, too; uv would otherwise know only its own.
"$bin/uv" pip install --system-certs --quiet --python "$bin/python" --requirements "locks/$flavour.txt" \
    --overrides "locks/overrides-$flavour.txt" "$@"
