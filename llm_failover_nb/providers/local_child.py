"""The program of the child process that serves one GGUF file on loopback. It imports nothing of this package.

Started by file path with one argument, a JSON object ``{"gguf", "threads", "context"}``, and the key
that requests must carry in ``LLM_FAILOVER_NB_LOCAL_KEY``. It answers with one line of JSON on standard
output, ``{"base_url"}``, once the model is loaded, and ends when its standard input does: also when the
parent was killed and could not say goodbye.
"""

from __future__ import annotations

import json
import os
import sys

KEY_VARIABLE = "LLM_FAILOVER_NB_LOCAL_KEY"

# llama.cpp's level for errors: the only lines worth showing to somebody whose model did not start.
_ERRORS_ONLY = 1


def main() -> None:
    """Serve until standard input ends."""
    # llama.cpp may print; standard output is kept for the one line that the parent waits for.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    options = json.loads(sys.argv[1])
    try:
        # Kept in a name: the server ends with its object.
        _server, address = _serve(options["gguf"], threads=options["threads"], context=options["context"])
    except Exception as error:  # noqa: BLE001  # whatever it was, the process ends with it
        # llama.cpp has said why, in lines of its own; a traceback would push them out of sight.
        sys.exit(f"{type(error).__name__}: {error}")
    print(json.dumps({"base_url": f"{address}/v1"}), file=answer, flush=True)
    _silence()
    sys.stdin.read()
    # The server's threads would keep the process; there is nothing left to flush or save.
    os._exit(0)


def _silence() -> None:
    """From here on nobody reads what llama.cpp reports: the parent keeps only what was said before."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _serve(gguf: str, *, threads: int, context: int) -> tuple[object, str]:
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = gguf
    settings.hostnames = ["127.0.0.1"]
    settings.api_keys = [os.environ.pop(KEY_VARIABLE)]
    settings.n_ctx = context
    settings.n_parallel = 1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.warmup = False
    settings.verbosity = _ERRORS_ONLY
    # Nothing but the API: no page for browsers, no view of others' prompts, no gigabytes of kept prompts.
    settings.ui = settings.endpoint_slots = False
    settings.cors_origins = ""
    settings.cache_ram_mib = 0
    server = xllamacpp.Server(settings)
    return server, server.listening_address


if __name__ == "__main__":
    main()
