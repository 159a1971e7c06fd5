#include <stdio.h>
#include "conf/conf.h"
#include "cmd/serve.h"
int main(int argc,char**argv){ extern char **environ; struct berth_conf *c; struct berth_err e;
 struct berth_conf_from f={.argc=argc-1,.argv=argv+1,.envp=environ};
 if(berth_conf_load(&f,&c,&e)<0){fprintf(stderr,"%s\n",e.msg);return 2;} int r=berth_cmd_serve(c); berth_conf_free(c); return r;}
