#include "template/run_priv.h"

/* Functions that sprig or Helm have and that are not offered, with the reason. */

#define MACHINE "it would read the controller's environment"
#define RANDOM  "it gives another result each time"
#define CLOCK   "it depends on when the template is rendered"
#define SECRET  "keys, certificates and passwords belong in a Secret, not in a template"
#define HELM    "it is Helm's alone; "

/* clang-format off */
const struct berth_tfn berth_tfns_refused[] = {
    {"env", MACHINE, NULL}, {"expandenv", MACHINE, NULL},
    {"getHostByName", "it would ask the controller's name server", NULL},
    {"now", CLOCK, NULL}, {"ago", CLOCK, NULL},
    {"randAlphaNum", RANDOM, NULL}, {"randAlpha", RANDOM, NULL}, {"randAscii", RANDOM, NULL},
    {"randNumeric", RANDOM, NULL}, {"randBytes", RANDOM, NULL}, {"randInt", RANDOM, NULL},
    {"shuffle", RANDOM, NULL}, {"uuidv4", RANDOM, NULL},
    {"bcrypt", SECRET, NULL}, {"htpasswd", SECRET, NULL}, {"derivePassword", SECRET, NULL},
    {"genPrivateKey", SECRET, NULL}, {"buildCustomCert", SECRET, NULL}, {"genCA", SECRET, NULL},
    {"genCAWithKey", SECRET, NULL}, {"genSelfSignedCert", SECRET, NULL},
    {"genSelfSignedCertWithKey", SECRET, NULL}, {"genSignedCert", SECRET, NULL},
    {"genSignedCertWithKey", SECRET, NULL}, {"encryptAES", SECRET, NULL},
    {"decryptAES", SECRET, NULL},
    {"call", "there are no values that are functions", NULL},
    {"toYaml", HELM "toJson writes JSON, which is YAML too", NULL},
    {"toYamlPretty", HELM "toPrettyJson writes JSON, which is YAML too", NULL},
    {"fromYaml", HELM "fromJson reads JSON", NULL},
    {"fromYamlArray", HELM "fromJson reads JSON", NULL},
    {"fromJsonArray", HELM "fromJson reads arrays too", NULL},
    {"toToml", HELM "toJson writes JSON", NULL},
    {"include", HELM "{{template \"name\" .}} runs what {{define \"name\"}} holds", NULL},
    {"tpl", HELM "a text is a template once", NULL},
    {"required", HELM "use {{if not .X}}{{fail \"why\"}}{{end}}", NULL},
    {"lookup", HELM "a template sees its variables alone", NULL},
    {0},
};
/* clang-format on */
