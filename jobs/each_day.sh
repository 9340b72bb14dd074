#!/bin/sh
# each_day.sh SCANS PREDICTIONS [OPTION...]: `mnist-batch predict` for each folder SCANS/YYYY-MM-DD, the oldest first, into
# PREDICTIONS/YYYY-MM-DD. A day that is done costs a second and no TensorFlow, so that a night that was missed, or scans
# that came late, need nobody's care, and no clock decides what a run reads. A day whose data are refused keeps no other
# from being scored: its exit code is this script's, and where MNIST_BATCH_PREDICT_METRICS_FILE is set, its metrics stay.
set -u
scans=$1 predictions=$2
shift 2
command=${MNIST_BATCH_COMMAND:-$(dirname "$0")/../.venv/bin/mnist-batch}

[ -d "$scans" ] || { echo "$0: $scans: must be a folder of days, is none: check the path" >&2; exit 66; }
refused=0
for scans_of_day in "$scans"/????-??-??; do
    [ -e "$scans_of_day" ] || continue # the pattern itself: there is no day yet
    "$command" predict "$scans_of_day" --output "$predictions/${scans_of_day##*/}" "$@"
    code=$?
    case $code in
    0 | 99) ;;
    3 | 65 | 73)
        [ $refused -ne 0 ] || refused=$code
        unset MNIST_BATCH_PREDICT_METRICS_FILE
        ;;
    *) exit $code ;;
    esac
done
exit $refused
