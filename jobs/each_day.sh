#!/bin/sh
# each_day.sh SCANS PREDICTIONS [OPTION...]: `mnist-batch predict` for each folder SCANS/YYYY-MM-DD, the newest first, into
# PREDICTIONS/YYYY-MM-DD. A day that is done costs a second and no TensorFlow, so that a night that was missed, or scans
# that came late, need nobody's care, and no clock decides what a run reads. Ends at the first day that fails.
set -u
scans=$1 predictions=$2
shift 2
command=${MNIST_BATCH_COMMAND:-$(dirname "$0")/../.venv/bin/mnist-batch}

for day in $(cd "$scans" && ls -d ????-??-?? | sort -r); do
    "$command" predict "$scans/$day" --output "$predictions/$day" "$@"
    code=$?
    [ $code -eq 0 ] || [ $code -eq 99 ] || exit $code
done
