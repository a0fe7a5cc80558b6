# Sourced by install.sh and compile.sh, with $bin set: hands what pip is told of registries over to uv, which does not read pip's
# configuration. Sets `links`, pip's folders of wheels.
# shellcheck shell=sh disable=SC2154  # bin is set by the caller

# All of pip's configuration: `pip config get` reads one file of several.
settings=$("$bin/python" -m pip config list)

# As for pip, its environment comes before the section `install` of its files, and that before `global`.
configured() {
    for section in :env: install global; do
        printf '%s\n' "$settings" | sed -n "s/^$section\.$1='\(.*\)'\$/\1/p"
    done | sed -n '/./{s/\\n/ /g;p;q}'
}
# shellcheck disable=SC2034  # used by the caller
links=$(configured find-links)
index=${UV_DEFAULT_INDEX:-$(configured index-url)}
if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
