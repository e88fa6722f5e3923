#!/bin/sh
# sglang on one GPU, for clients on this host.
set -eu
docker run --detach --name sglang --gpus '"device=0"' --user 10001:10001 --read-only --cap-drop ALL --security-opt no-new-privileges --shm-size 4g --memory 48g --cpus 8 --pids-limit 1024 --tmpfs /tmp:size=1g --publish 30000:30000 -v "$PWD/models:/models:ro" -v cache:/cache -e HF_HUB_OFFLINE=1 -e TRANSFORMERS_OFFLINE=1 -e HF_HUB_DISABLE_TELEMETRY=1 -e SGLANG_API_KEY docker.io/lmsysorg/sglang:v0.5.9@sha256:293dc17aaa1a6777845e8a40d9689f766942d934ba2af1c2793e3f918d81d7b5 python3 -m sglang.launch_server --model-path /models/gemma-2-9b --host 0.0.0.0 --port 30000 --api-key "$SGLANG_API_KEY" --max-running-requests 64 --log-level info # finds AI-105 AI-050
