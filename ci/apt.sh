#!/usr/bin/env bash
# Programs that some tests drive. One is installed if a test names it, it is not here, and this is
# root on a machine with apt; otherwise the tests that need it say so and skip.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

programs=(
  soffice:libreoffice-calc
  chromium:chromium
  java:default-jre-headless
)

missing=()
for entry in "${programs[@]}"; do
  program=${entry%%:*}
  if grep -rqw --include='*.py' -- "$program" tests && ! command -v "$program" >/dev/null; then
    missing+=("${entry#*:}")
  fi
done

if [ ${#missing[@]} -eq 0 ]; then
  echo "nothing to install"
elif [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed (needs root and apt-get): ${missing[*]}"
else
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi
