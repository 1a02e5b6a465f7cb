#!/bin/sh
# Start NVIDIA Triton in a container: triton.sh PORT.  Not run here.
# Needs docker, and `python -m benchmarks.peers.run setup --peers tensorferry` before.
# TRITON_IMAGE must name an image whose Triton still has the TensorFlow backend.
# Dynamic batching: config.pbtxt of export.py; QUEUE_TIMEOUT_MS and QUEUE_SIZE bound the queue.
set -eu
: "${TRITON_IMAGE:?name an image, for example nvcr.io/nvidia/tritonserver:24.08-py3}"
cd "$(dirname "$0")"
work=${PEERS_WORK:-$(cd .. && pwd)/.work}
"$work/venvs/client/bin/python" export.py "$work/data/graph.pb" "$work/containers"
exec docker run --rm --publish "127.0.0.1:$1:8000" \
    --volume "$work/containers/triton:/models:ro" \
    "$TRITON_IMAGE" tritonserver --model-repository=/models
