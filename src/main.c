#include "cmd/cmd.h"

int
main(int argc, char **argv)
{
    return berth_cmd_main(argc, argv);
}
