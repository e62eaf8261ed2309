#!/usr/bin/env bash
# Everything that a GPU machine should run, without network: builds the package there, tests the kernels, has
# compute-sanitizer watch them, measures the roofs and the operators.
#
#   bench/gpu.sh [--minutes N] [--out DIR] [--dry-run] [STEP ...]
#
# Steps, all by default, in this order: build tests-native sanitize roofline bench training tests-triton calibrate
# sanitize-more sanitize-triton large bench-all sanitize-triton-more. training is whole steps of StyleGAN2 and 3, eager
# and as CUDA graphs; tests-native compares these too. sanitize is memcheck and racecheck of the CUDA kernels,
# sanitize-more initcheck and synccheck of them, sanitize-triton and sanitize-triton-more the same of Triton's. bench is
# the layers of StyleGAN2 and then what else tells most, bench-all everything; calibrate measures what fastgan decides
# by. Each step gets its share of the time that is left; what it leaves goes to the next. Where a command may not take
# long, several calls divide the steps between them, the most telling first:
#
#   bench/gpu.sh --minutes 9 build tests-native sanitize roofline
#   bench/gpu.sh --minutes 9 bench training
#   bench/gpu.sh --minutes 9 tests-triton calibrate
#   bench/gpu.sh --minutes 9 sanitize-more sanitize-triton
#
# What was built stays in build/gpu, with what Triton compiled: a later call finds it, and build is over at once while
# the sources are the same; on a fresh machine name build first. The log, a summary and the figures are written to DIR
# (bench/results/gpu-<date>) as it goes. Exits with 0 if all steps passed, 1 if one failed, 2 if there is no GPU, nothing
# is built from these sources or the command line is wrong. PYTHON names the interpreter whose torch is used (python3).
set -u

# step -> weight of its share
declare -A weights=([build]=12 [tests-native]=14 [sanitize]=26 [roofline]=3 [bench]=20 [training]=20 [tests-triton]=16
    [calibrate]=18 [sanitize-more]=24 [sanitize-triton]=30 [large]=5 [bench-all]=25 [sanitize-triton-more]=30)
every="build tests-native sanitize roofline bench training tests-triton calibrate sanitize-more sanitize-triton large"
every+=" bench-all sanitize-triton-more"

root=$(cd "$(dirname "$0")/.." && pwd) || exit 2
python=${PYTHON:-python3}
minutes=60
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
stamp=$root/build/gpu/sources # of what `site` was built from
state=
built=
here() { printf '%q' "$1"; }

has() { "$python" -c "import $1" 2>/dev/null; }

# The tests of test_gpu.py and test_graphs.py that $3... choose, within $2 seconds, reported in $1.xml. The settings of the checkout name
# an option of pytest-timeout, which may be missing; where it is not, a test may take half of the step's time, with
# Triton's compilations and other workers on the same GPU, and one that hangs in a kernel is ended by force.
pytest() {
    local name=$1 seconds=$2 more=
    shift 2
    has pytest_timeout && more=" -o timeout=$((seconds / 2)) -o timeout_method=thread"
    if [ "$name" != large ] && has xdist; then
        more+=" -n $(($(nproc) < 8 ? $(nproc) : 8))"
    fi
    echo "$(here "$python") -m pytest -c $(here "$root/pyproject.toml") --rootdir=$(here "$root") -o pythonpath=" \
        "-o 'addopts=--import-mode=importlib --strict-markers -ra' -W 'ignore:Unknown config option'" \
        "-p no:cacheprovider -q --require=gpu$more --junitxml=$(here "$out/$name.xml") $*" \
        "$(here "$root/tests/ops/test_gpu.py") $(here "$root/tests/train/test_graphs.py")"
}

# gpu_calls.py of provider $3 under tools of compute-sanitizer: sanitize SECONDS "TOOL ..." PROVIDER, each with the same
# share of the time. A run fails if a report names a kernel of ours: libraries beside us read workspaces that they never
# wrote. Where each kernel is checked by itself the others are not watched at all; initcheck has to see who wrote what is
# read. The sanitizer sees the bounds of tensors only if each is an allocation of its own.
sanitize() {
    local calls tool tools options part log ours
    calls="$(here "$python") $(here "$root/bench/gpu_calls.py") $3"
    read -ra tools <<<"$2"
    ours=fastgan::
    [ "$3" = triton ] && ours=$(sed -n 's/^def \([a-z0-9_]*_kernel\)(.*/\1/p' "$root"/kernels/*.py | paste -sd '|')
    part=$(($1 / ${#tools[@]}))
    if [ "$3" = triton ]; then
        # Triton compiles in three processes what the sanitizer's one then finds, for half of what a tool gets.
        part=$((2 * $1 / (2 * ${#tools[@]} + 1)))
        echo "echo n c u | xargs -P 3 -n 1 timeout -k 5 $((part / 2)) $calls"
    fi
    for tool in "${tools[@]}"; do
        log=$(here "$work/$tool-$3.log")
        options="--show-backtrace no --print-limit 1000000 --log-file $log"
        case $tool in
            # torch asks the driver for what it may not have; what matters is what kernels do
            memcheck) options+=" --report-api-errors no --error-exitcode 9" ;;
            racecheck | synccheck) [ "$3" = native ] && options+=" --kernel-name kns=7fastgan --error-exitcode 9" ;;
        esac
        echo "PYTORCH_NO_CUDA_MEMORY_CACHING=1 timeout -k 5 $part compute-sanitizer --tool $tool $options $calls" \
            "&& grep ' SUMMARY: ' $log && ! grep -E '^=========.*($ours)' $log"
    done
}

# The figures of operators $3..., with options $4, into $2-<op>.json, in $1 seconds: the first gets half, the others
# share the rest.
bench() {
    local op part ops
    read -ra ops <<<"$3"
    for op in "${ops[@]}"; do
        part=$((2 * (${#ops[@]} - 1)))
        [ "$op" = "${ops[0]}" ] && part=2
        echo "$(here "$python") -m fastgan.bench ops --op $op --device cuda $4" \
            "--minutes $(awk "BEGIN { printf \"%.2f\", $1 * 0.9 / 60 / $part }")" \
            "--json $(here "$out/$2-$op.json")"
    done
}

# Names of the operators, the layers first.
operators() {
    local folder
    echo -n conv2d_layer
    for folder in "$root"/fastgan/ops/*/op.py; do
        folder=$(basename "$(dirname "$folder")")
        [ "$folder" = conv2d_layer ] || echo -n " $folder"
    done
}

# What a build depends on, as one number.
sources() {
    {
        echo "$python" "${TORCH_CUDA_ARCH_LIST:-}"
        "$python" -c 'import sys, torch; print(sys.version, torch.__version__)'
        nvcc --version
        cd "$root" && find CMakeLists.txt setup.py pyproject.toml csrc fastgan kernels -type f \
            ! -name '*.so' ! -name '*.pyc' ! -name _build.json -print0 | sort -z | xargs -0 sha256sum
    } 2>/dev/null | sha256sum | cut -d ' ' -f 1
}

# The commands of a step that has $2 seconds, one a line; all of them run, and the step fails if one does.
commands() {
    case $1 in
        build)
            echo "nvidia-smi"
            echo "nvcc --version"
            if [ -n "$built" ]; then
                echo "echo 'built before, from the same sources'"
            else
                echo "rm -rf $(here "$stamp") $(here "$site")"
                echo "FASTGAN_BUILD=cuda $(here "$python") -m pip install -q --no-build-isolation --no-deps --no-index" \
                    "--upgrade --target $(here "$site") $(here "$root") && echo $state >$(here "$stamp")"
            fi
            echo "$(here "$python") -c 'from fastgan.cli import doctor; doctor.run(doctor.DoctorOptions())'"
            ;;
        tests-*) pytest "$1" "$2" "-m 'gpu and not slow' -k ${1#tests-}" ;;
        large) pytest "$1" "$2" "-m 'gpu and slow'" ;;
        sanitize) sanitize "$2" "memcheck racecheck" native ;;
        sanitize-more) sanitize "$2" "initcheck synccheck" native ;;
        sanitize-triton) sanitize "$2" "memcheck racecheck" triton ;;
        sanitize-triton-more) sanitize "$2" "initcheck synccheck" triton ;;
        roofline) echo "$(here "$python") -m fastgan.bench roofline --device cuda --json $(here "$out/roofline.json")" ;;
        bench)
            bench "$2" ops-quick "$(operators)" "--no-compile --layout channels_last --dtype bf16 fp32 --seconds 0.1"
            ;;
        bench-all) bench "$2" ops "$(operators)" "--no-compile --seconds 0.3" ;;
        training)
            echo "$(here "$python") $(here "$root/bench/gpu_training.py")" \
                "--minutes $(awk "BEGIN { printf \"%.2f\", $2 * 0.6 / 60 }") --json $(here "$out/training.json")"
            ;;
        calibrate)
            # as `fastgan calibrate --device cuda`, without the command line's library
            echo "$(here "$python") -c 'import sys; from pathlib import Path; from fastgan.cli import calibrate;" \
                "calibrate.run(calibrate.CalibrateOptions(device=\"cuda\", minutes=float(sys.argv[1])," \
                "json=Path(sys.argv[2])))'" \
                "$(awk "BEGIN { printf \"%.2f\", $2 * 0.9 / 60 }") $(here "$out/calibration.json")"
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

if [ -z "${TORCH_CUDA_ARCH_LIST:-}" ]; then
    TORCH_CUDA_ARCH_LIST=$("$python" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())')
    export TORCH_CUDA_ARCH_LIST
fi
state=$(sources)
[ "$(cat "$stamp" 2>/dev/null)" = "$state" ] && built=yes
[ -n "$built" ] || [ "${steps[0]}" = build ] ||
    fail "nothing is built from these sources: run the step build, first"

mkdir -p "$out" "$work" || exit 2
cd "$work" || exit 2 # a folder without a fastgan: Python would import that of the checkout
export PYTHONPATH="$site:$root" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TRITON_CACHE_DIR=$root/build/gpu/triton

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
    printf '%-20s %4d s  %s\n' "$step" $((SECONDS - begin)) "$verdict" >>"$out/summary.txt"
    if [ "$step" = build ] && [ "$(cat "$stamp" 2>/dev/null)" != "$state" ]; then
        echo "what follows is left out: nothing is built from these sources" >>"$out/summary.txt"
        break
    fi
done
echo
cat "$out/summary.txt"
echo "log and figures: $out"
exit $failed
