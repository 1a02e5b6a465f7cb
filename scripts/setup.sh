# Sourced by scripts/serve and scripts/test: creates .venv with the extras in $extras.
#
# For each set of extras, a stamp in .venv holds the checksum of pyproject.toml and constraints.txt,
# so that a second start installs nothing.

home=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
venv="$home/.venv"

find_python() {
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        if [ -n "$candidate" ] && "$candidate" -c \
            'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
            2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "TensorFerry needs Python 3.11, 3.12 or 3.13 with venv; PYTHON=... names one." >&2
    exit 1
}

stamp="$venv/.stamp-$extras"
wanted=$(cat "$home/pyproject.toml" "$home/constraints.txt" | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    python=$(find_python)
    echo "setting up $venv with $("$python" --version): [$extras]; this takes minutes, once" >&2
    [ -x "$venv/bin/pip" ] || "$python" -m venv --clear "$venv"
    # Stamps with another checksum are out of date.
    for old in "$venv"/.stamp-*; do
        [ "$(cat "$old" 2>/dev/null)" = "$wanted" ] || rm -f "$old"
    done
    "$venv/bin/pip" install --disable-pip-version-check \
        --constraint "$home/constraints.txt" --editable "$home[$extras]" >&2
    echo "$wanted" >"$stamp"
fi
