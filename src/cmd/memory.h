#ifndef BERTH_CMD_MEMORY_H
#define BERTH_CMD_MEMORY_H

struct berth_buf;
struct berth_json;

/* One line from the sums of GET /v1/memory: who has how much. */
void berth_memory_put_sums(struct berth_buf *out, const struct berth_json *sums);
/* Lines for show, from member "memory" of a model's status. */
void berth_memory_put_outcome(struct berth_buf *out, const struct berth_json *memory);

#endif
