#ifndef BERTH_PIPELINES_PARTS_H
#define BERTH_PIPELINES_PARTS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include <berth/pipeline.h>

struct berth_arena;
struct berth_json;

/*
 * What the pipelines here share.  All of it for a goal's function, on its thread; texts are
 * borrowed until that function returns, unless said.
 */

/* Keep the host; by each entry, always with the same one. */
void berth_parts_begin(const struct berth_pipeline_host *h);
const struct berth_pipeline_host *berth_parts_host(void);

/* A list of goals: for each name the one of `own` (ended by a NULL name; or NULL), else the host's.
 * ret: one longer than names.  -BERTH_EABI: a name that nobody has. */
int berth_parts_goals(const char *const *names, const struct berth_goal *own,
                      struct berth_goal *ret, struct berth_err *e);
/* resource-removal, accelerator-release and file-removal: for pipelines that make files. */
int berth_parts_removal(struct berth_goal ret[4], struct berth_err *e);

/* The model as it stands: what a step has set, else what the spec says.  -BERTH_EINVAL: neither. */
int berth_parts_model(struct berth_deployment *d, const char **ret, struct berth_err *e);
/* The folder of the service's own files.  -BERTH_ECONFIG: none is kept. */
int berth_parts_folder(struct berth_deployment *d, const char **ret, struct berth_err *e);

/*
 * Results: files in the service's folder that a pipeline makes for its engine.  A canary's and the
 * stable revision's must not overwrite each other, and what no revision uses any more goes.  Which
 * ones a track uses is in FOLDER/TRACK.uses.
 */
/* FOLDER/STEM-DIGEST.EXT of name STEM.EXT; another `made_of` gives another.  -BERTH_EINVAL: too
 * long a name */
int berth_parts_result(const char *folder, const char *name, const char *made_of,
                       char ret[PATH_MAX], struct berth_err *e);
/* This track is going to use that result, and goes on with those before until it is healthy. */
int berth_parts_use(struct berth_deployment *d, const char *result, struct berth_err *e);
/* The goal health-check of a pipeline with results: when all replicas of a track serve, what no
 * track uses is removed. */
int berth_parts_healthy(struct berth_deployment *d, struct berth_err *e);
int berth_parts_check_health(struct berth_deployment *d, struct berth_err *e);

/* Set "command": the one that stands, parsed (or NULL), with count options behind it.  a: scratch.
 */
int berth_parts_append(struct berth_deployment *d, const struct berth_json *command,
                       const char *const *options, size_t count, struct berth_arena *a,
                       struct berth_err *e);
/* "true" and "1"; there is none: false. */
bool berth_parts_flag(struct berth_deployment *d, const char *key);
/* Bytes of a file, or of the files of a folder (not of folders in it).  -BERTH_EINVAL */
int berth_parts_bytes(const char *path, uint64_t *ret, struct berth_err *e);
/* "93.8 MiB" */
enum { BERTH_PARTS_BYTES_TEXT = 24 };
const char *berth_parts_bytes_text(uint64_t bytes, char ret[BERTH_PARTS_BYTES_TEXT]);

/* Run this program with arguments (NULL-ended, "berth" first) and wait; killed when the step is
 * cancelled.  grows: a file whose size is told in the service's log while it grows; or NULL.
 *   -BERTH_EBACKEND with the last line it printed, -BERTH_ECANCELED, -BERTH_ELIMIT */
int berth_parts_run(struct berth_deployment *d, const char *const *argv, const char *grows,
                    struct berth_err *e);

#endif
