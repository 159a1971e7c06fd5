#ifndef BERTH_CMD_H
#define BERTH_CMD_H

/*
 * The subcommands.  Main gives its arguments here; what is returned is the program's exit status:
 * 0 ok, 1 it failed, 2 it was called wrongly.  Called as unimodel-server, unimodel-cli or
 * unimodel-bench the program takes those programs' arguments.
 */
int berth_cmd_main(int argc, char **argv);

#endif
