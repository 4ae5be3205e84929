#!/bin/sh
# Audits a model in CI, and fails as the audit does: 0 the gates passed, 1 one failed, 2 the plan or a file is wrong, 3 it could not be
# evaluated, 4 the samples cannot decide it.
#
#   MODELS=deploy/models PLAN=audit.toml OUT=audit-report deploy/ci/audit.sh
#
# With BASELINE=accepted.json, a report that was accepted before, the model is compared with the one of that report.
# The models are hosted in this process; set ASSAY_SERVER, and no MODELS, to ask a server. Reports are written before it ends, whatever the outcome.
set -u
PLAN=${PLAN:-audit.toml}
OUT=${OUT:-audit-report}
ASSAY=${ASSAY:-assay}

mkdir -p "$OUT"
"$ASSAY" plan check "$PLAN" || exit $?
set -- audit --plan "$PLAN" --report "$OUT/report.json" --report "$OUT/report.md" --report "$OUT/report.html" --report "$OUT/junit.xml" --report "$OUT/report.sarif"
if [ -n "${MODELS:-}" ]; then
    set -- --embed "$MODELS" "$@"
fi
if [ -n "${BASELINE:-}" ]; then
    set -- "$@" --baseline "$BASELINE"
fi
"$ASSAY" "$@"
code=$?
# GitHub shows these beside the change, and on the page of the run.
if [ -n "${GITHUB_ACTIONS:-}" ] && [ -f "$OUT/report.json" ]; then
    "$ASSAY" report annotate "$OUT/report.json"
    cat "$OUT/report.md" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
fi
exit $code
