#ifndef BERTH_SETTINGS_H
#define BERTH_SETTINGS_H

struct berth_args;
struct berth_conf;

/* Load the settings that a command's arguments, the environment and the file say; what is wrong is
 * told.  The exit status; on 0 *ret is the caller's. */
int berth_settings_load(const struct berth_args *args, struct berth_conf **ret);

#endif
