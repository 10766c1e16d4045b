#!/bin/sh
# The simulation at length, one part after the other, and then what each of them came to. SIM_MINUTES says how long fresh
# histories are hunted; SIM_SWEEP=full and SIM_MUTANTS=hunt are as long as they are.
set -u
report=$(mktemp)
trap 'rm -f "$report"' EXIT
${CARGO:-cargo} test --profile sim --test sim -- --nocapture --test-threads=1 2>&1 | tee "$report"
echo
echo "Report: histories and their faults by row; crash points and other occasions; mistakes and what catches them"
grep -aE '^[0-9]+ (histories|runs|mistakes) |^ +[0-9]+  |catcher\(|lives after|failed|test result' "$report"
grep -qa 'test result: ok' "$report"
