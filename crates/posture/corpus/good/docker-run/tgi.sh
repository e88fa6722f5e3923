#!/bin/sh
# tgi on one GPU, for clients on this host.
set -eu
docker run --detach --name tgi --gpus '"device=0"' --user 10001:10001 --read-only --cap-drop ALL --security-opt no-new-privileges --shm-size 4g --memory 48g --cpus 8 --pids-limit 1024 --tmpfs /tmp:size=1g --publish 127.0.0.1:8080:8080 -v "$PWD/models:/models:ro" -v cache:/cache -e HF_HUB_OFFLINE=1 -e HF_HUB_DISABLE_TELEMETRY=1 -e API_KEY ghcr.io/huggingface/text-generation-inference:3.3.6@sha256:c18275b16722b722cb1f12ba0a315446266b759c082fe5058c0638292b48385a --model-id /models/phi-4 --port 8080 --usage-stats off --max-concurrent-requests 64 --max-total-tokens 8192
