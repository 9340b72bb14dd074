#!/bin/sh
# each_day.sh SCANS PREDICTIONS [OPTION...]
#
# Runs `mnist-batch predict` for each folder SCANS/YYYY-MM-DD, oldest first, and writes to PREDICTIONS/YYYY-MM-DD.
# Every start goes through all days, so a missed night or late scans are caught up by the next start, and no run depends
# on the clock. A day that is already scored takes about a second and does not load TensorFlow.
#
# If a day's input or output is refused or a gate fails (3, 65, 73), the other days are still scored. The script then
# exits with the exit code of the first such day, and the file in MNIST_BATCH_PREDICT_METRICS_FILE keeps that day's
# metrics. Any other error ends the script at once.
set -u
scans=$1 predictions=$2
shift 2
command=${MNIST_BATCH_COMMAND:-$(dirname "$0")/../.venv/bin/mnist-batch}

[ -d "$scans" ] || { echo "$0: $scans: must be a folder of days, there is none: check the path" >&2; exit 66; }
failed=0
for scans_of_day in "$scans"/????-??-??; do
    [ -e "$scans_of_day" ] || continue # without any day, this is the pattern itself
    "$command" predict "$scans_of_day" --output "$predictions/${scans_of_day##*/}" "$@"
    code=$?
    case $code in
    0 | 99) ;;
    3 | 65 | 73)
        [ $failed -ne 0 ] || failed=$code
        unset MNIST_BATCH_PREDICT_METRICS_FILE
        ;;
    *) exit $code ;;
    esac
done
exit $failed
