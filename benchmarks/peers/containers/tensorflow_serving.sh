#!/bin/sh
# Start TensorFlow Serving in a container: tensorflow_serving.sh PORT.  Not run here.
# Needs docker, and `python -m benchmarks.peers.run setup --peers tensorferry` before.
# SERVING_IMAGE names another image.  Flags for batching: batching.txt of export.py.
set -eu
cd "$(dirname "$0")"
work=${PEERS_WORK:-$(cd .. && pwd)/.work}
"$work/venvs/client/bin/python" export.py "$work/data/graph.pb" "$work/containers"
exec docker run --rm --publish "127.0.0.1:$1:8501" \
    --volume "$work/containers/serving:/models:ro" --env MODEL_NAME=net \
    "${SERVING_IMAGE:-tensorflow/serving}" \
    --enable_batching=true --batching_parameters_file=/models/batching.txt
