#ifndef BERTH_SERVE_H
#define BERTH_SERVE_H

struct berth_conf;

/* Serve until a signal says stop; the exit status.  conf is borrowed; at SIGHUP conf->from says
 * what to load again. */
int berth_cmd_serve(const struct berth_conf *conf);

#endif
