#ifndef BERTH_SERVE_H
#define BERTH_SERVE_H

struct berth_conf;

/* Serve until a signal says stop; the exit status.  conf is borrowed; at SIGHUP conf->from says
 * what to load again.  no_models is logged when there is none
 * to begin with; NULL: nothing is. */
int berth_cmd_serve(const struct berth_conf *conf, const char *no_models);

#endif
