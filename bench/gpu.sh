#!/usr/bin/env bash
# Everything that a GPU machine should run, without network: builds the package there, tests the kernels, has
# compute-sanitizer watch them, measures the roofs and the operators.
#
#   bench/gpu.sh [--minutes N] [--out DIR] [--dry-run] [STEP ...]
#
# Steps: build tests memcheck racecheck roofline bench initcheck synccheck large bench-all; all of them by default, in
# this order. Each gets its share of the time that is left; what it leaves goes to the next. The log, a summary and the
# figures are written to DIR (bench/results/gpu-<date>) as it goes; what was built stays in build/gpu for the next call.
# Exits with 0 if all steps passed, 1 if one failed, 2 if there is no GPU or the command line is wrong. PYTHON names the
# interpreter whose torch is used (python3).
set -u

# step -> weight of its share
declare -A weights=([build]=8 [tests]=6 [memcheck]=3 [racecheck]=3 [roofline]=1 [bench]=6
    [initcheck]=2 [synccheck]=2 [large]=2 [bench-all]=6)
every="build tests memcheck racecheck roofline bench initcheck synccheck large bench-all"

root=$(cd "$(dirname "$0")/.." && pwd) || exit 2
python=${PYTHON:-python3}
minutes=25
out=$root/bench/results/gpu-$(date +%Y%m%d-%H%M%S)
dry_run=
steps=()

fail() {
    echo "gpu.sh: error: $*" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --minutes)
            minutes=${2:-}
            [[ $minutes =~ ^[0-9]+$ && $minutes -gt 0 ]] || fail "--minutes must be a whole number above 0, got '$minutes'"
            shift ;;
        --out)
            [ -n "${2:-}" ] || fail "--out must name a folder"
            out=$(realpath -m "$2")
            shift ;;
        --dry-run) dry_run=yes ;;
        -h | --help)
            sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
            exit 0 ;;
        *)
            [ -n "${weights[$1]:-}" ] || fail "a step must be one of $every; got '$1'"
            steps+=("$1") ;;
    esac
    shift
done
if [ ${#steps[@]} = 0 ]; then
    read -ra steps <<<"$every"
fi

site=$root/build/gpu/site # the package as installed; the checkout's own copy has no libraries
work=$root/build/gpu/work
here() { printf '%q' "$1"; }

# What pytest needs where its plugins are missing: the settings of the checkout name an option of pytest-timeout.
pytest() {
    echo "$(here "$python") -m pytest -c $(here "$root/pyproject.toml") --rootdir=$(here "$root") -o pythonpath=" \
        "-o 'addopts=--import-mode=importlib --strict-markers -ra' -W 'ignore:Unknown config option'" \
        "-p no:cacheprovider -q --require=gpu $*"
}

# compute-sanitizer sees the bounds of tensors only if each is an allocation of its own.
sanitize() {
    local provider options=
    # torch asks the driver for what it may not have; what matters is what kernels do
    [ "$1" = memcheck ] && options=" --report-api-errors no"
    for provider in native triton; do
        echo "PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $1$options --error-exitcode 9" \
            "$(here "$python") $(here "$root/bench/gpu_calls.py") $provider"
    done
}

# The commands of a step that has $2 seconds, one a line; all of them run, and the step fails if one does.
commands() {
    local minutes_left
    minutes_left=$(awk "BEGIN { printf \"%.2f\", $2 * 0.9 / 60 }")
    case $1 in
        build)
            echo "nvidia-smi"
            echo "nvcc --version"
            echo "FASTGAN_BUILD=cuda $(here "$python") -m pip install -q --no-build-isolation --no-deps --no-index" \
                "--upgrade --target $(here "$site") $(here "$root")"
            echo "$(here "$python") -c 'from fastgan.cli import doctor; doctor.run(doctor.DoctorOptions())'"
            ;;
        tests) pytest "-m 'gpu and not slow' --junitxml=$(here "$out/tests.xml") $(here "$root/tests/ops")" ;;
        large) pytest "-m 'gpu and slow' --junitxml=$(here "$out/large.xml") $(here "$root/tests/ops/test_gpu.py")" ;;
        memcheck | racecheck | initcheck | synccheck) sanitize "$1" ;;
        roofline) echo "$(here "$python") -m fastgan.bench roofline --device cuda --json $(here "$out/roofline.json")" ;;
        bench)
            echo "$(here "$python") -m fastgan.bench ops --device cuda --quick --minutes $minutes_left" \
                "--json $(here "$out/ops-quick.json")"
            ;;
        bench-all)
            echo "$(here "$python") -m fastgan.bench ops --device cuda --no-compile --seconds 0.3" \
                "--minutes $minutes_left --json $(here "$out/ops.json")"
            ;;
    esac
}

# Seconds for the step at place $1 of those chosen, of $2 seconds that are left.
share() {
    local total=0 step
    for step in "${steps[@]:$1}"; do
        total=$((total + weights[$step]))
    done
    echo $(($2 * weights[${steps[$1]}] / total))
}

if [ -n "$dry_run" ]; then
    left=$((60 * minutes))
    for i in "${!steps[@]}"; do
        seconds=$(share "$i" $left)
        echo "# ${steps[$i]}: $seconds s"
        commands "${steps[$i]}" "$seconds"
        left=$((left - seconds))
    done
    exit 0
fi

"$python" -c 'import torch' 2>/dev/null || fail "$python has no torch; PYTHON=... names one that has"
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
    fail "torch of $python sees no CUDA device; --dry-run lists what would run"

mkdir -p "$out" "$work" || exit 2
cd "$work" || exit 2 # a folder without a fastgan: Python would import that of the checkout
export PYTHONPATH="$site:$root" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
if [ -z "${TORCH_CUDA_ARCH_LIST:-}" ]; then
    TORCH_CUDA_ARCH_LIST=$("$python" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())')
    export TORCH_CUDA_ARCH_LIST
fi

end=$((SECONDS + 60 * minutes))
failed=0
: >"$out/summary.txt"
for i in "${!steps[@]}"; do
    step=${steps[$i]}
    seconds=$(share "$i" $((end - SECONDS)))
    begin=$SECONDS
    if [ "$seconds" -lt 5 ]; then
        verdict="LEFT OUT (no time)"
        failed=1
    else
        echo "== $step: at most $seconds s" | tee -a "$out/log.txt"
        { commands "$step" "$seconds" | sed 's/$/ || failed=1/'; echo "exit \${failed:-0}"; } >"$work/$step.sh"
        timeout -k 10 "$seconds" bash -x "$work/$step.sh" 2>&1 | tee -a "$out/log.txt"
        status=${PIPESTATUS[0]}
        case $status in
            0) verdict=passed ;;
            124 | 137) verdict="FAILED (stopped after $seconds s)" failed=1 ;;
            *) verdict="FAILED" failed=1 ;;
        esac
    fi
    printf '%-10s %4d s  %s\n' "$step" $((SECONDS - begin)) "$verdict" >>"$out/summary.txt"
done
echo
cat "$out/summary.txt"
echo "log and figures: $out"
exit $failed
