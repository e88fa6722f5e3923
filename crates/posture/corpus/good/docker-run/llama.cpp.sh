#!/bin/sh
# llama.cpp on one GPU, for clients on this host.
set -eu
docker run --detach --name llama-cpp --gpus '"device=0"' --user 10001:10001 --read-only --cap-drop ALL --security-opt no-new-privileges --shm-size 4g --memory 48g --cpus 8 --pids-limit 1024 --tmpfs /tmp:size=1g --publish 127.0.0.1:8080:8080 -v "$PWD/models:/models:ro" -v cache:/cache -v "$PWD/secrets/api:/run/secrets/api:ro"  ghcr.io/ggml-org/llama.cpp:server-cuda-b9100@sha256:6039d001b232cae1129445445931f3a3ba89a8eb46ad9bd2aba9081ac970c68f --model /models/granite-8b/model.gguf --host 0.0.0.0 --port 8080 --api-key-file /run/secrets/api/key --ctx-size 8192 --no-slots --no-webui
