#!/bin/sh
# The whole simulation within SIM_MINUTES (60), which begin when it is built: every sweep, the hunt for mutants, exact
# replay, and fresh histories for the rest of the time. Each part is a process of its own, which runs whatever became of the
# others. At the end stands what each came to, and the exit code is 0 only if nothing was wrong in any of them.
set -u
seconds=$((${SIM_MINUTES:-60} * 60))
unset SIM_MINUTES
SIM_REPORT=$(mktemp)
export SIM_REPORT
trap 'rm -f "$SIM_REPORT"' EXIT
run="${CARGO:-cargo} test --profile sim --test sim"
$run --no-run || exit 1
end=$(($(date +%s) + seconds))
wrong=0

# part NAME VARIABLE=VALUE... -- ARGUMENTS: one process of the simulation.
part() {
    name=$1 settings=
    shift
    while [ "$1" != -- ]; do
        settings="$settings $1"
        shift
    done
    shift
    # shellcheck disable=SC2086
    if ! env $settings $run -- --nocapture "$@"; then
        wrong=$((wrong + 1))
        echo "$name: SOMETHING WAS WRONG" >>"$SIM_REPORT"
    fi
}

# The sweeps need no more than this on two cores; in a short run they are a sample.
part sweeps SIM_SWEEP=full SIM_SWEEP_SECONDS=$((seconds * 3 / 10)) -- whatever_goes_wrong
part mutants SIM_MUTANTS=hunt SIM_MUTANTS_SECONDS=$((seconds / 20)) -- every_mistake
part others -- --skip whatever_goes_wrong --skip every_mistake --skip every_history
left=$((end - $(date +%s)))
part histories SIM_SECONDS=$((left > 1 ? left : 1)) -- every_history

echo
echo "Report"
cat "$SIM_REPORT"
if [ "$wrong" -gt 0 ]; then
    echo "$wrong parts of the simulation found something wrong"
    exit 1
fi
echo "nothing was wrong"
