#!/usr/bin/env bash
# Builds the wheel, installs it in a new environment outside of the checkout, and runs it there.
#
#   scripts/test_wheel.sh
#
# Needs a network for pip and a few minutes. PYTHON names the interpreter of the environment;
# TORCH, if set, a requirement such as torch==2.5.0 for pip to keep to.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export OMP_NUM_THREADS=1

"${PYTHON:-python3}" -m venv "$place/env"
bin=$place/env/bin
"$bin/pip" wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$place/dist" "$root"
wheel=$(echo "$place"/dist/dots_nas-*.whl)
echo "wheel: $(basename "$wheel"), $(stat -c %s "$wheel") bytes"

"$bin/python" - "$wheel" <<'PYTHON'
import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
wanted = (
    "dots/py.typed", "dots/networks/kernels/native/blocks.cpp", "dots/zoo/genotypes.json", "dots/zoo/counts.json",
    "dots/report/templates/report.html.j2", "dots/report/templates/style.css.j2",
)
missing = [name for name in wanted if name not in names]
if not any(name.endswith("licenses/LICENSE") for name in names):
    missing.append("LICENSE")
strange = [name for name in names if not name.startswith(("dots/", "dots_nas-"))]
if missing or strange:
    sys.exit(f"the wheel lacks {missing}, and holds {strange}")
PYTHON

"$bin/pip" install --quiet --disable-pip-version-check "$wheel" ${TORCH:+"$TORCH"}
cd "$place"
"$bin/python" -c "
import dots, torch
assert dots.__file__.startswith('$place'), dots.__file__
from dots import native
print('dots', dots.__version__, 'torch', torch.__version__, 'kernels', native.kind())"
"$bin/dots" run digits --preset tiny --out first
"$bin/dots" zoo list > /dev/null
"$bin/dots" zoo table 1 > /dev/null
"$bin/dots" count DOTS_C10
"$bin/dots" test first digits
for target in torch code safetensors; do # those that need no further package
    "$bin/dots" export first --to "$target"
done
for file in result.json genotype.json report.html weights.safetensors; do
    test -s "first/$file"
done
echo "the wheel works"
