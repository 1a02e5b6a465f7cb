#!/bin/sh
# Measure Triton with NVIDIA's perf_analyzer, over HTTP and gRPC; needs `run setup --peers triton`.
# The wheel of tritonclient 2.41.0 contains the program (the package perf-analyzer is empty); it needs
# libb64 (Debian's libb64-0d) and libcudart (in the wheel of pytriton).
set -e
cd "$(dirname "$0")"
work=${PEERS_WORK:-$PWD/.work}; port=${PEERS_PORT:-8100}; tools=$work/perf_analyzer
if [ ! -d "$tools" ]; then
    mkdir -p "$tools/lib"
    (cd "$tools" && python3 -m pip download -q --no-deps tritonclient==2.41.0 &&
     python3 -m zipfile -e tritonclient-*.whl . && apt-get download -q libb64-0d &&
     dpkg-deb -x libb64-0d*.deb .)
    ln -s "$(ls "$work"/venvs/triton/lib/python3*/site-packages/nvidia_pytriton.libs/libcudart*)" \
        "$tools/lib/libcudart.so.12"
fi
LD_LIBRARY_PATH=$tools/lib:$tools/usr/lib/x86_64-linux-gnu; export LD_LIBRARY_PATH
program=$(ls "$tools"/*.data/data/bin/perf_analyzer); chmod +x "$program"

measure() {  # model-kind model-name, further options
    kind=$1 name=$2; shift 2
    mkdir -p "$work/tmp/triton"
    PEER_PORT=$port PEER_MODEL=$kind PEER_GRAPH=$work/data/graph.pb PEER_TMP=$work/tmp/triton \
        PEER_INTRA=1 PEER_INTER=2 PEER_WORKERS=$([ "$kind" = net ] && echo 2 || echo 1) \
        PEER_WAIT_MS=$([ "$kind" = net ] && echo 50 || echo 1) CUDA_VISIBLE_DEVICES='' PYTHONPATH=servers PEER_STATISTICS=1 \
        env -u LD_LIBRARY_PATH "$work/venvs/triton/bin/python" servers/triton_app.py \
        >"$work/logs/triton-perf.log" 2>&1 &
    server=$!
    trap 'kill $server 2>/dev/null || true' EXIT
    tries=0
    until curl -sf "127.0.0.1:$port/v2/models/$name/ready" || [ $tries -gt 60 ]; do
        sleep 1; tries=$((tries + 1))
    done
    for protocol in http grpc; do
        url=127.0.0.1:$port; [ $protocol = http ] || url=127.0.0.1:$((port + 1))
        echo "$name $kind $protocol: $(timeout 60 "$program" -m "$name" -i $protocol -u $url \
            --measurement-interval 4000 --max-trials 3 --stability-percentage 50 "$@" 2>&1 | tee "$work/logs/perf_analyzer.log" |
            grep -E 'Throughput|p50|p99|rror' | sort -u | tr -s ' \n' ' ')"
    done
    kill $server; wait $server || true
}
measure null net --string-length 1024 --concurrency-range 64
measure net tensor --concurrency-range 32
