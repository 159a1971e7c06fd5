#ifndef BERTH_CMD_SHIM_H
#define BERTH_CMD_SHIM_H

/* The program under the name model-serve-shim: its flags and its configuration files.  argv is
 * without the program's name.  The exit status. */
int berth_shim_main(int argc, char *const *argv);

#endif
