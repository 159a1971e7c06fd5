#ifndef BERTH_SHIMLETS_OLLAMA_H
#define BERTH_SHIMLETS_OLLAMA_H

#include <berth/shimlet.h>

/* Workloads as models of a running Ollama server, by its HTTP API.  See docs/ollama.md. */
extern const struct berth_shimlet_ops berth_shimlet_ollama;

#endif
