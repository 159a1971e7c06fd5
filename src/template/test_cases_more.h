/* What Go's text/template with sprig 3.3.0 made of each; NULL: an error. */
/* clang-format off */
static const struct agreed more_cases[] = {
    {"{{urlParse \"http://user:pass@host:80/path/x?q=1&r=2#frag\"}}",
     "map[fragment:frag host:host:80 hostname:host opaque: path:/path/x query:q=1&r=2 scheme:h"
     "ttp userinfo:user:pass]"},
    {"{{urlParse \"https://example.com\"}} {{urlParse \"mailto:a@b.c\"}} {{urlParse \"/a/b?c\""
     "}} {{urlParse \"a/b\"}} {{urlParse \"\"}} {{urlParse \"//host/p\"}} {{urlParse \"///p\"}"
     "} {{urlParse \"file:///etc/x\"}} {{urlParse \"HTTP://Ex.com/%41b%20c#%41\"}} {{urlParse "
     "\"http://[::1]:80/\"}} {{urlParse \"http://h?\"}} {{urlParse \"http://u@h\"}} {{urlParse"
     " \"http://h:/\"}} {{urlParse \"hf://a/b\"}} {{urlParse \"oci://reg.io/m:tag\"}} {{urlPar"
     "se \"http://a.b/\303\251\"}} {{urlParse \"http://u:p%40@h/\"}} {{urlParse \"http://h/a?b"
     "?c\"}} {{urlParse \"#f\"}} {{urlParse \"?q\"}} {{urlParse \"*\"}}",
     "map[fragment: host:example.com hostname:example.com opaque: path: query: scheme:https us"
     "erinfo:] map[fragment: host: hostname: opaque:a@b.c path: query: scheme:mailto userinfo:"
     "] map[fragment: host: hostname: opaque: path:/a/b query:c scheme: userinfo:] map[fragmen"
     "t: host: hostname: opaque: path:a/b query: scheme: userinfo:] map[fragment: host: hostna"
     "me: opaque: path: query: scheme: userinfo:] map[fragment: host:host hostname:host opaque"
     ": path:/p query: scheme: userinfo:] map[fragment: host: hostname: opaque: path:///p quer"
     "y: scheme: userinfo:] map[fragment: host: hostname: opaque: path:/etc/x query: scheme:fi"
     "le userinfo:] map[fragment:A host:Ex.com hostname:Ex.com opaque: path:/Ab c query: schem"
     "e:http userinfo:] map[fragment: host:[::1]:80 hostname:::1 opaque: path:/ query: scheme:"
     "http userinfo:] map[fragment: host:h hostname:h opaque: path: query: scheme:http userinf"
     "o:] map[fragment: host:h hostname:h opaque: path: query: scheme:http userinfo:u] map[fra"
     "gment: host:h: hostname:h opaque: path:/ query: scheme:http userinfo:] map[fragment: hos"
     "t:a hostname:a opaque: path:/b query: scheme:hf userinfo:] map[fragment: host:reg.io hos"
     "tname:reg.io opaque: path:/m:tag query: scheme:oci userinfo:] map[fragment: host:a.b hos"
     "tname:a.b opaque: path:/\303\251 query: scheme:http userinfo:] map[fragment: host:h host"
     "name:h opaque: path:/ query: scheme:http userinfo:u:p%40] map[fragment: host:h hostname:"
     "h opaque: path:/a query:b?c scheme:http userinfo:] map[fragment:f host: hostname: opaque"
     ": path: query: scheme: userinfo:] map[fragment: host: hostname: opaque: path: query:q sc"
     "heme: userinfo:] map[fragment: host: hostname: opaque: path:* query: scheme: userinfo:]"},
    {"{{(urlParse \"http://[fe80::1]:8080/x\").hostname}} {{(urlParse \"http://h:80\").hostnam"
     "e}} {{(urlParse \"http://a@b@h/\").userinfo}}",
     "fe80::1 h a%40b"},
    {"{{urlParse \"http://h:port/\"}}",
     NULL},
    {"{{urlParse \":a\"}}",
     NULL},
    {"{{urlParse \"a:b:c/d\"}}",
     "map[fragment: host: hostname: opaque:b:c/d path: query: scheme:a userinfo:]"},
    {"{{urlParse \"1a:b\"}}",
     NULL},
    {"{{urlParse \"http://h/%zz\"}}",
     NULL},
    {"{{urlParse \"http://h\\nx/\"}}",
     NULL},
    {"{{urlParse \"http://[::1/\"}}",
     NULL},
    {"{{urlParse \"http://a b/\"}}",
     NULL},
    {"{{urlParse \"http://a%20b/\"}}",
     NULL},
    {"{{urlJoin (urlParse \"http://user:pass@host:80/path/x?q=1&r=2#frag\")}} {{urlJoin (dict "
     "\"fragment\" \"fragment\" \"host\" \"host:80\" \"path\" \"/path\" \"query\" \"query\" \""
     "scheme\" \"http\")}} {{urlJoin (dict \"host\" \"h\" \"path\" \"p\")}} {{urlJoin (dict \""
     "path\" \"a:b/c\")}} {{urlJoin (dict \"scheme\" \"x\" \"opaque\" \"y\")}} {{urlJoin (dict"
     ")}}| {{urlJoin (dict \"scheme\" \"http\" \"host\" \"h\" \"path\" \"/a b?\303\251%\" \"fr"
     "agment\" \"x y\")}} {{urlJoin (dict \"userinfo\" \"a:b\" \"host\" \"h\")}} {{urlJoin (di"
     "ct \"scheme\" \"file\" \"path\" \"/x\")}} {{urlJoin (dict \"scheme\" \"file\")}} {{urlJo"
     "in (dict \"path\" \"*\")}} {{urlJoin (dict \"scheme\" \"http\" \"path\" \"x\")}} {{urlJo"
     "in (urlParse \"http://u:p%40x@h/\")}} {{urlJoin (dict \"host\" \"a b\\\"<>\" \"scheme\" "
     "\"s\")}} {{urlJoin (dict \"path\" \"/:@&=+$,;!*'()\")}} {{urlJoin (dict \"fragment\" \"/"
     ":@&=+$,;!*'()?\")}}",
     "http://user:pass@host:80/path/x?q=1&r=2#frag http://host:80/path?query#fragment //h/p ./"
     "a:b/c x:y | http://h/a%20b%3F%C3%A9%25#x%20y //a:b@h file:///x file: * http://x http://u"
     ":p%40x@h/ s://a%20b\"<> /:@&=+$,;%21%2A%27%28%29 #/:@&=+$,;!*%27()?"},
    {"{{urlJoin (dict \"host\" 1)}}",
     NULL},
    {"{{wrap 5 \"hello world foo bar\"}}|{{wrap 3 \"abcdefgh\"}}|{{wrap 80 \"short\"}}|{{wrap "
     "0 \"ab c\"}}|{{wrap 5 \"  ab   cd  ef\"}}|{{wrap 5 \"\"}}|{{wrap 5 \"hello\"}}|{{wrap 5 "
     "\"hello \"}}",
     "hello\nworld\nfoo\nbar|abcdefgh|short|ab\nc|ab  \ncd \nef||hello|hello\n"},
    {"{{wrapWith 5 \"\\t\" \"hello world foo\"}}|{{wrapWith 4 \"\" \"hello world\"}}|{{wrapWit"
     "h 4 \"--\" \"a bc def ghij klmno\"}}",
     "hello\tworld\tfoo|hell\no\nworl\nd|a bc--def--ghij--klmn--o"},
    {"{{abbrev 5 \"hello world\"}} {{abbrev 3 \"hello\"}} {{abbrev 20 \"hello\"}} {{abbrev 4 "
     "\"hello\"}} {{abbrev 5 \"hello\"}} {{abbrev 10 \"\"}}",
     "he... hello hello h... hello "},
    {"{{abbrevboth 5 10 \"1234 5678 9123\"}} {{abbrevboth 0 10 \"1234 5678 9123\"}} {{abbrevbo"
     "th 5 6 \"1234 5678 9123\"}} {{abbrevboth 6 8 \"1234 5678 9123 4567\"}} {{abbrevboth 50 8"
     " \"1234 5678 9123 4567\"}} {{abbrevboth 3 10 \"abc\"}} {{abbrevboth -1 8 \"1234 5678 912"
     "3 4567\"}} {{abbrevboth 5 7 \"1234 5678 9123 4567\"}} {{abbrevboth 0 5 \"1234 5678 9123 "
     "4567\"}} {{abbrevboth 10 14 \"1234 5678 9123 4567 8912\"}}",
     "...5678... 1234 56... 1234 5678 9123 ...67... ... 4567 abc 1234 ... ...5... 12... ...912"
     "3 456..."},
    {"{{camelcase \"http_server\"}} {{camelcase \"some_words\"}} {{camelcase \"SomeWords\"}} {"
     "{camelcase \"http-server_x\"}} {{camelcase \"\"}}| {{camelcase \"a\"}} {{camelcase \"_a"
     "\"}} {{camelcase \"a b c\"}} {{camelcase \"HTTPServer\"}} {{camelcase \"HTTP_SERVER\"}} "
     "{{camelcase \"ABC\"}} {{camelcase \"ab1_c2\"}} {{camelcase \"no_https\"}} {{camelcase \""
     "_complex__case_\"}} {{camelcase \"all\"}} {{camelcase \"GOLANG_IS_GREAT\"}}",
     "HttpServer SomeWords SomeWords HttpServerX | A _A ABC Httpserver HttpServer Abc Ab1C2 No"
     "Https _Complex_Case_ All GolangIsGreat"},
    {"{{camelcase \"a__b\"}} {{camelcase \"a___b\"}} {{camelcase \"a_\"}} {{camelcase \"__a__"
     "\"}} {{camelcase \"a-_ b\"}} {{camelcase \"aB_Cd\"}} {{camelcase \"\303\251_\303\240\"}}"
     " {{camelcase \"A_\"}} {{camelcase \"AB_\"}}",
     "A_B A__B A_ __A__ A-_B ABCd \303\211\303\200 A_ Ab_"},
};
/* clang-format on */
