#!/usr/bin/python3
"""Runs llama.cpp's own HTTP server, from the xllamacpp package, on one model file.

Everything that reaches out of the process or shows more than inference is set by hand here, so that
what the stage does is what this file says. The gate in front of it does not rely on any of this.
"""

import argparse
import os
import sys
import threading

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--alias", required=True, help="the name the API gives the model")
parser.add_argument("--port", type=int, default=8000)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--context", type=int, default=2048)
arguments = parser.parse_args()

# The package lies beside this file, inside the one directory that the stage is given.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "packages"))
import xllamacpp  # noqa: E402

settings = xllamacpp.CommonParams()
settings.model.path = arguments.model
settings.model_alias = {arguments.alias}
settings.hostnames = ["127.0.0.1"]
settings.port = arguments.port
settings.n_ctx = arguments.context
settings.n_parallel = 2
settings.n_threads_http = 4
settings.cpuparams.n_threads = arguments.threads
settings.cpuparams_batch.n_threads = arguments.threads
settings.cache_ram_mib = 0  # no prompt outlives its request in memory
settings.fit_params = False
settings.warmup = False
settings.offline = True  # never asks the model hub
settings.ui = False
settings.endpoint_slots = True  # left on: the demonstration shows the gate refusing them
settings.endpoint_props = True

server = xllamacpp.Server(settings)
print(f"serving {arguments.alias} on {server.listening_address}", flush=True)
threading.Event().wait()  # the server's own threads do the work
