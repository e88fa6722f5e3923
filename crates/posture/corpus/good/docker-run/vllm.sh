#!/bin/sh
# vllm on one GPU, for clients on this host.
set -eu
docker run --detach --name vllm --gpus '"device=0"' --user 10001:10001 --read-only --cap-drop ALL --security-opt no-new-privileges --shm-size 4g --memory 48g --cpus 8 --pids-limit 1024 --tmpfs /tmp:size=1g --publish 127.0.0.1:8000:8000 -v "$PWD/models:/models:ro" -v cache:/cache -e VLLM_NO_USAGE_STATS=1 -e DO_NOT_TRACK=1 -e HF_HUB_OFFLINE=1 -e TRANSFORMERS_OFFLINE=1 -e HF_HUB_DISABLE_TELEMETRY=1 -e VLLM_MAX_N_SEQUENCES=64 -e VLLM_CACHE_ROOT=/cache -e VLLM_API_KEY docker.io/vllm/vllm-openai:v0.14.1@sha256:674f56833899575d9768ce90d23c72aa34405a0bcf4c4fe773be99e9f0133d3a --model /models/qwen2.5-7b --served-model-name qwen2.5-7b --port 8000 --max-model-len 16384 --max-num-seqs 64 --no-enable-log-requests
