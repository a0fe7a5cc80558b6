# Sourced by install.sh and compile.sh, with $bin set: hands what pip is told of registries over to uv, which does not read pip's
# configuration. Sets `links`, pip's folders of wheels.
# shellcheck shell=sh disable=SC2154  # bin is set by the caller
configured() { "$bin/python" -m pip config get "global.$1" 2>/dev/null || true; }
# shellcheck disable=SC2034  # used by the caller
links=${PIP_FIND_LINKS:-$(configured find-links)}
index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$(configured index-url)}}
if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
