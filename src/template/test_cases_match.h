/* What Go's text/template with sprig 3.3.0 made of each; NULL: an error. */
/* clang-format off */
static const struct agreed match_cases[] = {
    {"{{regexMatch \"^a.c$\" \"abc\"}} {{regexMatch \"b\" \"abc\"}} {{regexMatch \"^b\" \"abc"
     "\"}} {{regexMatch \"(?i)ABC\" \"xabcx\"}} {{regexMatch \"\\\\d{3}-\\\\d{4}\" \"555-1234"
     "\"}}",
     "true true false true true"},
    {"{{regexFind \"[a-z]+\" \"123abc456def\"}} {{regexFind \"x\" \"abc\"}}| {{regexFind \"a|a"
     "b\" \"ab\"}} {{regexFind \"(a|ab)(c|bcd)\" \"abcd\"}} {{regexFind \"a*?\" \"aaa\"}}| {{r"
     "egexFind \"a+?\" \"aaa\"}} {{regexFind \"a{2,3}\" \"aaaa\"}} {{regexFind \"a{2,3}?\" \"a"
     "aaa\"}} {{regexFind \"a{2,}\" \"aaaa\"}} {{regexFind \"a{2}\" \"aaaa\"}}",
     "abc | a abcd | a aaa aa aaaa aa"},
    {"{{regexFindAll \"[2,4,6,8]\" \"123456789\" -1}} {{regexFindAll \"a\" \"banana\" 2}} {{re"
     "gexFindAll \"z\" \"banana\" -1}} {{regexFindAll \"a*\" \"baaac\" -1 | len}} {{regexFindA"
     "ll \"\" \"abc\" -1 | len}} {{regexFindAll \"a\" \"aaa\" 0}} {{regexFindAll \".\" \"\303"
     "\251\344\270\226\" -1}}",
     "[2 4 6 8] [a a] [] 3 4 [] [\303\251 \344\270\226]"},
    {"{{regexReplaceAll \"a(x*)b\" \"-ab-axxb-\" \"${1}W\"}} {{regexReplaceAll \"a(x*)b\" \"-a"
     "b-axxb-\" \"$1W\"}} {{regexReplaceAll \"a(x*)b\" \"-ab-axxb-\" \"T\"}} {{regexReplaceAll"
     " \"(?P<first>\\\\w+) (?P<second>\\\\w+)\" \"hello world\" \"$second $first\"}} {{regexRe"
     "placeAll \"x*\" \"abc\" \"-\"}} {{regexReplaceAll \"b*\" \"abbc\" \"-\"}} {{regexReplace"
     "All \"(a)(b)?\" \"ab a\" \"[$1$2$0$3]\"}} {{regexReplaceAll \"a\" \"banana\" \"$$\"}} {{"
     "regexReplaceAll \"a\" \"banana\" \"$\"}} {{regexReplaceAll \"a\" \"banana\" \"${\"}} {{r"
     "egexReplaceAll \"(a)\" \"banana\" \"${01}\"}}",
     "-W-xxW- --- -T-T- world hello -a-b-c- -a-c- [abab] [aa] b$n$n$ b$n$n$ b${n${n${ bnn"},
    {"{{regexReplaceAllLiteral \"a(x*)b\" \"-ab-axxb-\" \"${1}\"}} {{regexSplit \"z+\" \"pizza"
     "\" -1}} {{regexSplit \"a\" \"banana\" -1}} {{regexSplit \"a\" \"banana\" 2}} {{regexSpli"
     "t \"a\" \"banana\" 0}} {{regexSplit \"\" \"abc\" -1}} {{regexSplit \"a\" \"\" -1}} {{reg"
     "exSplit \",\" \"a,b,c\" 1}} {{regexSplit \"x*\" \"axbxc\" -1}} {{regexQuoteMeta \"1.2.3+"
     "[a]\"}}",
     "-${1}-${1}- [pi a] [b n n ] [b nana] [] [a b c] [] [a,b,c] [a b c] 1\\.2\\.3\\+\\[a\\]"},
    {"{{regexMatch \"(\" \"a\"}}{{regexFind \"(\" \"a\"}}",
     NULL},
    {"{{regexFind \"*\" \"a\"}}",
     NULL},
    {"{{regexFind \"a**\" \"a\"}}",
     NULL},
    {"{{regexFind \"a)\" \"a\"}}",
     NULL},
    {"{{regexFind \"[a\" \"a\"}}",
     NULL},
    {"{{regexFind \"\\\\8\" \"a\"}}",
     NULL},
    {"{{regexFind \"a{1001}\" \"a\"}}",
     NULL},
    {"{{regexFind \"(?z)a\" \"a\"}}",
     NULL},
    {"{{regexFind \"(?=a)\" \"a\"}}",
     NULL},
    {"{{regexFind \"(?<=a)b\" \"ab\"}}",
     NULL},
    {"{{regexFind \"\\\\1\" \"a\"}}",
     NULL},
    {"{{regexFind \"[b-a]\" \"a\"}}",
     NULL},
    {"{{regexFind \"[[:foo:]]\" \"a\"}}",
     NULL},
    {"{{regexFind \"a{2}{3}\" \"a\"}}",
     NULL},
    {"{{regexFind \"x{2,1}\" \"a\"}}",
     NULL},
    {"{{regexFind \"(?P<n>a)(?P<n>b)\" \"ab\"}}",
     "ab"},
    {"{{regexFind \"(?P<n\" \"ab\"}}",
     NULL},
    {"{{regexFind \"(?P<>a)\" \"ab\"}}",
     NULL},
    {"{{regexFind \"\\\\\" \"ab\"}}",
     NULL},
    {"{{regexFind \"\\\\e\" \"ab\"}}",
     NULL},
    {"{{regexFind \"(?i-s:A.)\" \"xab\"}} {{regexFind \"(?s)a.b\" \"a\\nb\"}} {{regexFind \"a."
     "b\" \"a\\nb\"}}| {{regexFindAll \"(?m)^.+$\" \"ab\\ncd\\n\" -1}} {{regexFindAll \"^.+$\""
     " \"ab\\ncd\" -1}} {{regexFind \"(?U)a+\" \"aaa\"}} {{regexFind \"(?U)a+?\" \"aaa\"}} {{r"
     "egexFind \"(?i)\303\251\" \"\303\211\"}} {{regexFind \"(?i)[a-c]+\" \"xABC\"}} {{regexFi"
     "nd \"(?i)[^a]+\" \"AAb\"}}",
     "ab a\nb | [ab cd] [] a aaa \303\211 ABC b"},
    {"{{regexFind \"[[:alpha:]]+\" \"12abc\"}} {{regexFind \"[[:^alpha:]]+\" \"12abc\"}} {{reg"
     "exFind \"[^\\\\d]+\" \"12abc\"}} {{regexFind \"[\\\\w.]+\" \"-a.b-\"}} {{regexFind \"[]a"
     "]+\" \"x]a\"}} {{regexFind \"[^]a]+\" \"x]a\"}} {{regexFind \"[a-]+\" \"x-a\"}} {{regexF"
     "ind \"[-a]+\" \"x-a\"}} {{regexFind \"\\\\D+\" \"12ab\"}} {{regexFind \"\\\\S+\" \" ab "
     "\"}} {{regexFind \"\\\\W+\" \"ab--c\"}} {{regexFind \"[\\\\D]\" \"1a\"}} {{regexFind \""
     "\\\\pL+\" \"1\303\251a\"}} {{regexFind \"\\\\p{Lu}\" \"a\303\211\"}} {{regexFind \"\\\\P"
     "L+\" \"\303\251a12\"}} {{regexFind \"\\\\p{^L}\" \"\303\2511\"}}",
     "abc 12 abc a.b ]a x -a -a ab ab -- a \303\251a \303\211 12 1"},
    {"{{regexFind \"\\\\bfoo\\\\b\" \"a foo b\"}} {{regexFind \"\\\\Boo\" \"foo\"}} {{regexFin"
     "d \"\\\\Aab\\\\z\" \"ab\"}} {{regexFind \"a\\\\x41\\\\x{42}\\\\101\" \"aABA\"}} {{regexF"
     "ind \"\\\\Qa.b\\\\E+\" \"a.bb\"}} {{regexFind \"\\\\Qa.b\" \"a.b\"}} {{regexFind \"\\\\t"
     "\\\\n\" \"\\t\\n\" | quote}} {{regexFind \"a{,2}\" \"a{,2}\"}} {{regexFind \"a{x\" \"a{x"
     "\"}} {{regexFind \"{\" \"{\"}} {{regexFind \"]\" \"]\"}} {{regexFind \"}\" \"}\"}} {{reg"
     "exFind \"a||b\" \"b\"}}| {{regexFind \"(|a)*\" \"aa\"}}| {{regexFind \"(|a)+\" \"aa\"}}|"
     " {{regexFind \"(a|)+\" \"aa\"}} {{regexFind \"(a*)*\" \"aab\"}} {{regexFind \"(a*)+\" \""
     "b\"}}| {{regexFind \"(?:a|b)*c\" \"ababc\"}} {{regexFind \"((a))\" \"a\"}} {{regexFind "
     "\"a{0}b\" \"ab\"}} {{regexFind \"(a{0,2}){2}\" \"aaaaa\"}} {{regexFind \"()\" \"a\"}}| {"
     "{regexFind \"^*\" \"a\"}}| {{regexFind \"(?:)\" \"a\"}}|",
     "foo oo ab aABA a.bb a.b \"\\t\\n\" a{,2} a{x { ] } | | | aa aa | ababc a b aaaa | | |"},
    {"{{regexFind \"(a+)+$\" (repeat 2000 \"a\") | len}} {{regexMatch \"(a+)+$\" (print (repea"
     "t 2000 \"a\") \"b\")}} {{regexMatch \"(a|aa)+$\" (print (repeat 500 \"a\") \"b\")}} {{re"
     "gexMatch \"(.*)(.*)(.*)(.*)x\" (repeat 300 \"a\")}}",
     "2000 false false false"},
    {"{{regexReplaceAll \"[^a-zA-Z0-9-]+\" \"facebook/opt-125m_v1.0\" \"-\" | lower}} {{regexR"
     "eplaceAll \"^(.*)/(.*)$\" .ModelName \"$2/$1\"}} {{mustRegexReplaceAll \"a\" \"b\" \"c\""
     "}} {{mustRegexMatch \"a\" \"a\"}} {{mustRegexFind \"a\" \"ba\"}} {{mustRegexFindAll \"a"
     "\" \"aa\" -1}} {{mustRegexSplit \"a\" \"bab\" -1}} {{mustRegexReplaceAllLiteral \"a\" \""
     "a\" \"$1\"}}",
     "facebook-opt-125m-v1-0 opt-125m/facebook b true a [a a] [b b] $1"},
    {"{{regexFind \"[\303\251-\303\274]+\" \"a\303\251\303\274\"}} {{regexFind \"\303\251+\" "
     "\"\303\251\303\251\"}} {{regexFind \"[^\303\251]\" \"\303\251a\"}} {{regexFind \".\\\\b"
     "\" \"\303\251a\"}} {{regexFindAll \"(?i)k\" \"kKK\" -1}} {{regexFind \"a(?#c)b\" \"ab\"}"
     "}",
     NULL},
    {"{{regexFind \"[[:word:]]+[[:space:]][[:punct:]][[:xdigit:]]\" \"ab !f\"}} {{regexFind \""
     "[[:upper:][:digit:]]+\" \"aB1\"}} {{regexFind \"[[a]+\" \"[a\"}} {{regexFind \"[a[:digit"
     ":]b]+\" \"a1b\"}} {{regexFind \"[:alpha:]+\" \"al:\"}} {{regexFind \"[\\\\x00-\\\\x{10FF"
     "FF}]+\" \"a\303\251\"}} {{regexFind \"[\\\\-\\\\]]+\" \"]-\"}} {{regexFind \"[a\\\\b]\" "
     "\"b\"}}",
     NULL},
    {"{{regexFind \"[+--]\" \"-\"}} {{regexFind \"[a-c-e]\" \"-\"}}",
     "- -"},
    {"{{regexFind \"[a-\\\\d]\" \"-\"}}",
     NULL},
    {"{{regexFind \"(?i)(?-i)A\" \"a\"}}| {{regexFind \"(?i:a)b\" \"AB\"}}| {{regexFind \"(?i:"
     "a)b\" \"Ab\"}} {{regexFind \"((?i)a)b\" \"AB\"}}| {{regexFind \"(?i)a|b\" \"B\"}} {{rege"
     "xFind \"x(?i)a|b\" \"B\"}}",
     "| | Ab | B B"},
    {"{{regexFind \"(?-)a\" \"a\"}}",
     NULL},
    {"{{regexFind \"(?i\" \"a\"}}",
     NULL},
    {"{{regexFind \"(?\" \"a\"}}",
     NULL},
    {"{{regexFind \"b.\303\251(?i){0,}(a|b){2}\" \"a\\nybcaa-\"}} {{regexFind \"a(?i)*B\" \"aa"
     "ab\"}} {{regexFind \"a*(?i)+b\" \"aaB\"}} {{regexFind \"(?i)(?m)a\" \"A\"}}",
     "bcaa aaab aaB A"},
    {"{{regexFind \"(?i)+a\" \"a\"}}",
     NULL},
    {"{{regexFind \"a+(?i)+?(?-i)b\" \"aab\"}} {{regexFind \"(?i)|a\" \"a\"}}| {{regexFind \"x"
     "|(?i)\" \"a\"}}| {{regexFind \"\\\\Q(?i)+\\\\E+\" \"(?i)++\"}} {{regexFind \"\\\\Q\\\\Ea"
     "\" \"a\"}} {{regexFind \"\\\\Qa\\\\E{2}\" \"aa\"}}",
     "aab | | (?i)++ a aa"},
    {"{{regexFind \"(?P<n>a)(?P<n>b)\" \"ab\"}} {{regexReplaceAll \"(?P<n>a)|(?P<n>b)\" \"ab\""
     " \"<$n>\"}}",
     "ab <a><b>"},
    {"{{semver \"1.2.3\"}} {{(semver \"v1.2.3-beta.1+ABC\").Major}} {{(semver \"1.2.3-beta.1+A"
     "BC\").Prerelease}} {{semver \"1\"}} {{semver \"1.2\"}} {{semver \"v1.2.3-a+b\"}} {{(semv"
     "er \"1.2.3+x\").Metadata}} {{(semver \"v1.2\").Original}} {{(semver \"1.2.3\").Minor}} {"
     "{(semver \"1.2.3\").Patch}} {{typeOf (semver \"1.2.3\")}} {{kindOf (semver \"1.2.3\")}} "
     "{{toJson (semver \"1.2.3\")}} {{semver \"1.2.3\" | quote}} {{semver \"01.2.3\"}}",
     "1.2.3 1 beta.1 1.0.0 1.2.0 1.2.3-a+b x v1.2 2 3 *semver.Version ptr \"1.2.3\" \"1.2.3\" "
     "1.2.3"},
    {"{{semver \"a\"}}",
     NULL},
    {"{{semver \"1.2.3.4\"}}",
     NULL},
    {"{{semver \"\"}}",
     NULL},
    {"{{semver \"1.2.3-\"}}",
     NULL},
    {"{{semver \"1.2.3-01\"}}",
     NULL},
    {"{{semver \" 1.2.3\"}}",
     NULL},
    {"{{semverCompare \"^1.2.0\" \"1.3.0\"}} {{semverCompare \"^1.2.0\" \"2.0.0\"}} {{semverCo"
     "mpare \">=1.2.3\" \"1.2.3\"}} {{semverCompare \">1.2.3 <2\" \"1.5.0\"}} {{semverCompare "
     "\"~1.2\" \"1.2.9\"}} {{semverCompare \"~1.2\" \"1.3.0\"}} {{semverCompare \"1.x\" \"1.9."
     "9\"}} {{semverCompare \"*\" \"1.0.0\"}} {{semverCompare \"1.2 - 1.4\" \"1.4.5\"}} {{semv"
     "erCompare \"1.2 - 1.4\" \"1.5.0\"}} {{semverCompare \">=1.2 || <1\" \"0.5.0\"}} {{semver"
     "Compare \"!=1.2.3\" \"1.2.3\"}} {{semverCompare \"!=1.2\" \"1.2.9\"}} {{semverCompare \""
     "!=1.2\" \"1.3.0\"}} {{semverCompare \"1.2.3\" \"1.2.3\"}} {{semverCompare \"=1.2.3\" \"1"
     ".2.4\"}} {{semverCompare \"^0.2.3\" \"0.2.9\"}} {{semverCompare \"^0.2.3\" \"0.3.0\"}} {"
     "{semverCompare \"^0.0.3\" \"0.0.3\"}} {{semverCompare \"^0.0.3\" \"0.0.4\"}} {{semverCom"
     "pare \"^0\" \"0.9.0\"}} {{semverCompare \"^0.0\" \"0.0.9\"}}",
     "true false true true true false true true true false true false false true true false tr"
     "ue false true false true true"},
    {"{{semverCompare \">=1.2.3\" \"1.3.0-alpha\"}} {{semverCompare \">=1.2.3-0\" \"1.3.0-alph"
     "a\"}} {{semverCompare \"1.2.3-beta.2\" \"1.2.3-beta.2\"}} {{semverCompare \">1.0.0-alpha"
     "\" \"1.0.0-beta\"}} {{semverCompare \">1.0.0-alpha.9\" \"1.0.0-alpha.10\"}} {{semverComp"
     "are \">1.0.0-1\" \"1.0.0-a\"}} {{semverCompare \"<1.0.0\" \"1.0.0-a\"}} {{semverCompare "
     "\"!=1.0.0\" \"1.0.0-a\"}} {{semverCompare \">1.11\" \"1.11.1\"}} {{semverCompare \">1.11"
     "\" \"1.12.1\"}} {{semverCompare \">1\" \"1.12.1\"}} {{semverCompare \"<=1\" \"1.12.1\"}}"
     " {{semverCompare \"<=1.2\" \"1.2.9\"}} {{semverCompare \"<1.2\" \"1.1.9\"}} {{semverComp"
     "are \"=>1.2.0, <2.0.0\" \"1.9.0\"}} {{semverCompare \"=<1.2.0\" \"1.2.0\"}} {{semverComp"
     "are \"~>1.2.3\" \"1.2.9\"}} {{semverCompare \"~1\" \"1.9.9\"}} {{semverCompare \"~0\" \""
     "5.0.0\"}} {{semverCompare \"~0.0.0\" \"5.0.0\"}} {{semverCompare \">= 1.2\" \"1.2.0\"}} "
     "{{semverCompare \"v1.2.3\" \"1.2.3\"}} {{semverCompare \">=1.0.0,<2.0.0 || >3.0.0\" \"3."
     "5.0\"}} {{semverCompare \"1.2.*\" \"1.2.5\"}} {{semverCompare \"1.*.3\" \"1.2.5\"}} {{se"
     "mverCompare \"x\" \"1.2.5\"}} {{semverCompare \"X\" \"0.0.1\"}} {{semverCompare \">=1.21"
     "-0\" \"1.27.3-gke.100\"}} {{semverCompare \"1.2.3+a\" \"1.2.3+b\"}} {{semverCompare \">*"
     "\" \"1.0.0\"}} {{semverCompare \"!=*\" \"1.0.0\"}}",
     "false true true true true true false true false true false true true true true true true"
     " true false true true true true true true true true true true true true"},
    {"{{semverCompare \"a\" \"1.2.3\"}}",
     NULL},
    {"{{semverCompare \">=\" \"1.2.3\"}}",
     NULL},
    {"{{semverCompare \">=1.2.3\" \"abc\"}}",
     NULL},
    {"{{semverCompare \">=1 |\" \"1.2.3\"}}",
     NULL},
    {"{{semverCompare \"> >1\" \"1.2.3\"}}",
     NULL},
    {"{{semverCompare \"&1\" \"1.2.3\"}}",
     NULL},
    {"{{semverCompare \"1 2\" \"1.2.3\"}}",
     "false"},
    {"{{semverCompare \"\" \"1.2.3\"}}",
     NULL},
    {"{{semverCompare \"1 || \" \"1.2.3\"}}",
     NULL},
};
/* clang-format on */
