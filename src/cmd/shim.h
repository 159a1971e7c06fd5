#ifndef BERTH_CMD_SHIM_H
#define BERTH_CMD_SHIM_H

#include <berth/err.h>

#include "base/buf.h"

struct berth_arena;
struct berth_json;

/* The program under the name model-serve-shim: its flags and its configuration files.  argv is
 * without the program's name.  The exit status. */
int berth_shim_main(int argc, char *const *argv);

/* A configuration of ModelServeShim, in either of its two forms, as one of ours (JSON).  What it
 * has no counterpart for goes to notes, a line each.  dir: paths in it begin there. */
int berth_shim_convert(const struct berth_json *theirs, const char *dir, struct berth_arena *a,
                       struct berth_buf *ours, struct berth_buf *notes, struct berth_err *e);

#endif
