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
    {"{{urlParse \"//111[:\"}}",
     NULL},
    {"{{urlParse \"http://[]\"}}",
     NULL},
    {"{{urlParse \"http://[::1%25en0]:80/\"}} {{urlParse \"http://[fe80::1]\"}}",
     "map[fragment: host:[::1%en0]:80 hostname:::1%en0 opaque: path:/ query: scheme:http useri"
     "nfo:] map[fragment: host:[fe80::1] hostname:fe80::1 opaque: path: query: scheme:http use"
     "rinfo:]"},
    {"{{urlParse \"http://[1.2.3.4]\"}}",
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
    {"{{date \"2006-01-02\" 0}} {{date \"2006-01-02 15:04:05\" 1600000000}} {{date \"Mon Jan _"
     "2 15:04:05 2006\" 1600000000}} {{date \"Monday, 02-Jan-06 15:04:05 MST\" 1600000000}} {{"
     "date \"2006-01-02T15:04:05Z07:00\" 1600000000}} {{date \"3:04PM 3:04pm 03 1 2 06 002 __2"
     " January\" 1600000000}} {{date \"-0700 -07:00 -07 Z0700 Z07 -070000 Z07:00:00\" 16000000"
     "00}} {{date \".000 .999 ,000 .0000000000\" 1600000000}} {{date \"Janet Monk _2006 2006x "
     "20060102 150405\" 1600000000}} {{date \"\" 0}}| {{date \"x\" 0}} {{date \"15\" 3600}} {{"
     "date \"Jan 2, 2006 at 3:04pm (MST)\" 1}}",
     "1970-01-01 2020-09-13 12:26:40 Sun Sep 13 12:26:40 2020 Sunday, 13-Sep-20 12:26:40 UTC 2"
     "020-09-13T12:26:40Z 12:26PM 12:26pm 12 9 13 20 257 257 September +0000 +00:00 +00 Z Z +0"
     "00000 Z .000  ,000 .000000000 Janet Monk _2020 2020x 20200913 122640 | x 01 Jan 1, 1970 "
     "at 12:00am (UTC)"},
    {"{{date \"2006-01-02 Mon 002\" -1}} {{date \"2006-01-02 15:04:05\" -62135596800}} {{date "
     "\"2006-01-02\" -99999999999}} {{date \"2006-01-02\" 99999999999}} {{date \"2006-01-02 Mo"
     "n\" 951782400}} {{date \"2006-01-02 002\" 951868800}} {{date \"2006-01-02 Mon 002\" 4107"
     "542400}} {{date \"06\" -99999999999}} {{date \"2006-01-02\" (int64 86400)}} {{htmlDate 8"
     "6400}} {{htmlDateInZone 86400 \"UTC\"}} {{dateInZone \"15:04\" 0 \"UTC\"}} {{date_in_zon"
     "e \"15:04 MST\" 0 \"\"}}",
     "1969-12-31 Wed 365 0001-01-01 00:00:00 -1199-02-15 5138-11-16 2000-02-29 Tue 2000-03-01 "
     "061 2100-03-01 Mon 060 99 1970-01-02 1970-01-02 1970-01-02 00:00 00:00 UTC"},
    {"{{toDate \"2006-01-02\" \"2020-02-29\"}} {{toDate \"2006-01-02 15:04:05\" \"2020-02-29 1"
     "2:13:14\"}} {{toDate \"2006-01-02T15:04:05Z07:00\" \"2020-02-29T12:13:14+02:00\"}} {{toD"
     "ate \"2006-01-02T15:04:05Z07:00\" \"2020-02-29T12:13:14Z\"}} {{toDate \"2006-01-02T15:04"
     ":05Z07:00\" \"2020-02-29T12:13:14.5Z\"}} {{toDate \"Jan 2 2006\" \"mar 3 2021\"}} {{toDa"
     "te \"January 2 2006\" \"March 3 2021\"}} {{toDate \"Mon Jan _2 15:04:05 2006\" \"Wed Mar"
     "  3 01:02:03 2021\"}} {{toDate \"06-1-2 3:04PM\" \"69-3-4 1:05PM\"}} {{toDate \"06-1-2 3"
     ":04PM\" \"68-3-4 12:05AM\"}} {{toDate \"15:04\" \"12:30\"}} {{toDate \"2006 002\" \"2020"
     " 060\"}} {{toDate \"2006 __2\" \"2021  60\"}} {{toDate \"2006-01-02 -0700\" \"2020-01-01"
     " -0330\"}} {{toDate \"2006-01-02 MST\" \"2020-01-01 EST\"}} {{toDate \"2006-01-02 MST\" "
     "\"2020-01-01 UTC\"}} {{toDate \"2006-01-02 15:04:05.000\" \"2020-01-01 00:00:00.123\"}} "
     "{{toDate \"2006-01-02 15:04:05.999\" \"2020-01-01 00:00:00.123456\"}} {{toDate \"2006-01"
     "-02 15:04:05.999\" \"2020-01-01 00:00:00\"}} {{toDate \"2006-01-02 -07:00:00\" \"2020-01"
     "-01 +01:02:03\"}} {{toDate \"2006-01-02 -07\" \"2020-01-01 +01\"}} {{toDate \"\" \"\"}} "
     "{{toDate \"2006-01-02 -0700 MST\" \"2020-01-01 +0100 CET\"}}",
     "2020-02-29 00:00:00 +0000 UTC 2020-02-29 12:13:14 +0000 UTC 2020-02-29 12:13:14 +0200 +0"
     "200 2020-02-29 12:13:14 +0000 UTC 2020-02-29 12:13:14.5 +0000 UTC 2021-03-03 00:00:00 +0"
     "000 UTC 2021-03-03 00:00:00 +0000 UTC 2021-03-03 01:02:03 +0000 UTC 1969-03-04 13:05:00 "
     "+0000 UTC 2068-03-04 00:05:00 +0000 UTC 0000-01-01 12:30:00 +0000 UTC 2020-02-29 00:00:0"
     "0 +0000 UTC 2021-03-01 00:00:00 +0000 UTC 2020-01-01 00:00:00 -0330 -0330 2020-01-01 00:"
     "00:00 +0000 EST 2020-01-01 00:00:00 +0000 UTC 2020-01-01 00:00:00.123 +0000 UTC 2020-01-"
     "01 00:00:00.123456 +0000 UTC 2020-01-01 00:00:00 +0000 UTC 2020-01-01 00:00:00 +0102 +01"
     "02 2020-01-01 00:00:00 +0100 +0100 0000-01-01 00:00:00 +0000 UTC 2020-01-01 00:00:00 +01"
     "00 CET"},
    {"{{mustToDate \"2006-01-02\" \"2020-02-30\"}}",
     NULL},
    {"{{mustToDate \"2006-01-02\" \"2020-13-01\"}}",
     NULL},
    {"{{mustToDate \"2006-01-02\" \"2020-1-01\"}}",
     NULL},
    {"{{mustToDate \"2006-01-02\" \"2020-01-01x\"}}",
     NULL},
    {"{{mustToDate \"2006-01-02\" \"x\"}}",
     NULL},
    {"{{mustToDate \"15:04\" \"24:00\"}}",
     NULL},
    {"{{mustToDate \"3PM\" \"1XM\"}}",
     NULL},
    {"{{mustToDate \"2006 002\" \"2020 367\"}}",
     NULL},
    {"{{mustToDate \"2006-01-02Z07:00\" \"2020-01-01+1\"}}",
     NULL},
    {"{{mustToDate \"MST\" \"abc\"}}",
     NULL},
    {"{{mustToDate \"2006-01-02 .000\" \"2020-01-01 .12\"}}",
     NULL},
    {"{{toDate \"2006-01-02\" \"2020-02-28\" | dateModify \"48h\"}} {{toDate \"2006-01-02\" \""
     "2020-02-28\" | dateModify \"-1h30m\"}} {{toDate \"2006-01-02\" \"2020-02-28\" | date_mod"
     "ify \"1.5s\"}} {{toDate \"2006-01-02\" \"2020-02-28\" | mustDateModify \"-1ns\"}} {{toDa"
     "te \"2006-01-02\" \"2020-02-28\" | unixEpoch}} {{toDate \"2006-01-02\" \"1969-12-31\" | "
     "unixEpoch}} {{date \"02 Jan 2006\" (toDate \"2006-01-02\" \"2020-02-28\")}} {{htmlDate ("
     "toDate \"2006-01-02 -0700\" \"2020-02-28 +1100\")}} {{toJson (toDate \"2006-01-02 15:04:"
     "05\" \"2020-02-29 12:13:14\")}} {{toJson (toDate \"2006-01-02 -0700\" \"2020-02-29 +0200"
     "\")}} {{(toDate \"2006-01-02\" \"2020-02-29\").Year}} {{(toDate \"2006-01-02\" \"2020-02"
     "-29\").Month}} {{(toDate \"2006-01-02\" \"2020-02-29\").Weekday}} {{(toDate \"2006-01-02"
     "\" \"2020-02-29\").YearDay}} {{(toDate \"2006-01-02\" \"2020-02-29\").Unix}} {{typeOf (t"
     "oDate \"2006-01-02\" \"2020-02-29\")}} {{kindOf (toDate \"2006-01-02\" \"2020-02-29\")}}"
     " {{printf \"%s|%v\" (toDate \"2006\" \"2020\") (toDate \"2006\" \"2020\")}} {{(toDate \""
     "2006-01-02 15:04:05\" \"2020-02-29 10:11:12\").Hour}}",
     "2020-03-01 00:00:00 +0000 UTC 2020-02-27 22:30:00 +0000 UTC 2020-02-28 00:00:01.5 +0000 "
     "UTC 2020-02-27 23:59:59.999999999 +0000 UTC 1582848000 -86400 28 Feb 2020 2020-02-27 \"2"
     "020-02-29T12:13:14Z\" \"2020-02-29T00:00:00+02:00\" 2020 February Saturday 60 1582934400"
     " time.Time struct 2020-01-01 00:00:00 +0000 UTC|2020-01-01 00:00:00 +0000 UTC 10"},
    {"{{mustDateModify \"x\" (toDate \"2006\" \"2020\")}}",
     NULL},
    {"{{dateModify \"1h\" 5}}",
     NULL},
    {"{{unixEpoch 5}}",
     NULL},
    {"{{duration \"95\"}} {{duration 95}} {{duration (int64 95)}} {{duration \"x\"}} {{duratio"
     "n \"3661\"}} {{duration \"-5\"}} {{duration \"\"}} {{duration \"86400\"}} {{duration \"3"
     "600\"}} {{duration \"60\"}} {{duration true}} {{duration \"+5\"}} {{duration \"1.5\"}}",
     "1m35s 0s 1m35s 0s 1h1m1s -5s 0s 24h0m0s 1h0m0s 1m0s 0s 5s 0s"},
    {"{{durationRound \"2h10m5s\"}} {{durationRound \"2400h10m5s\"}} {{durationRound \"1h\"}} "
     "{{durationRound \"61s\"}} {{durationRound \"1s\"}} {{durationRound \"1.5s\"}} {{duration"
     "Round \"x\"}} {{durationRound 5}} {{durationRound (int64 5000000000)}} {{durationRound "
     "\"-3h\"}} {{durationRound \"9000h\"}} {{durationRound \"25h\"}} {{durationRound \"1ms\"}"
     "} {{durationRound \"0\"}} {{durationRound \"1h30\"}} {{durationRound \"1.5h\"}} {{durati"
     "onRound \".5h\"}} {{durationRound \"h\"}} {{durationRound \"1h 2m\"}} {{durationRound \""
     "2\302\265s\"}} {{durationRound \"99999999999h\"}} {{durationRound \"\"}} {{durationRound"
     " \"2m0\"}} {{durationRound \"-\"}}",
     "2h 3mo 60m 1m 0s 1s 0s 0s 5s 3h 1y 1d 0s 0s 0s 1h 30m 0s 0s 0s 0s 0s 0s 0s"},
    {"{{toDate \"2006-01-02\" \"0001-01-01\" | unixEpoch}} {{toDate \"2006-01-02\" \"9999-12-3"
     "1\" | unixEpoch}} {{toDate \"2006-01-02\" \"0000-01-01\"}}",
     "-62135596800 253402214400 0000-01-01 00:00:00 +0000 UTC"},
    {"{{snakecase \"FirstName\"}} {{snakecase \"HTTPServer\"}} {{snakecase \"_camelCase\"}} {{"
     "snakecase \"NoHTTPS\"}} {{snakecase \"GO_PATH\"}} {{snakecase \"GO PATH\"}} {{snakecase "
     "\"GO-PATH\"}} {{snakecase \"http2xx\"}} {{snakecase \"HTTP20xOK\"}} {{snakecase \"Durati"
     "on2m3s\"}} {{snakecase \"Bld4Floor3rd\"}} {{snakecase \"\"}}| {{snakecase \"a\"}} {{snak"
     "ecase \"A\"}} {{snakecase \"AB\"}} {{snakecase \"aB\"}} {{snakecase \"ABc\"}} {{snakecas"
     "e \"abc123\"}} {{snakecase \"123abc\"}} {{snakecase \"12 ab\"}} {{snakecase \"Ab12\"}} {"
     "{snakecase \"AB12CD\"}}",
     "first_name http_server _camel_case no_https go_path go_path go_path http_2xx http_20x_ok"
     " duration_2m3s bld4_floor_3rd | a a ab a_b a_bc abc123 123abc 12_ab ab12 ab12_cd"},
    {"{{kebabcase \"FirstName\"}} {{kebabcase \"HTTPServer\"}} {{kebabcase \"a.b.C\"}} {{kebab"
     "case \"facebook/opt-125m\"}} {{kebabcase \"some_snake_case\"}} {{kebabcase \"Llama-3.2-1"
     "B-Instruct\"}} {{kebabcase \"meta-llama/Llama-3.2\"}} {{kebabcase \"a  b\"}} {{kebabcase"
     " \"-a-\"}} {{kebabcase \"A.B\"}} {{kebabcase \"a$b\"}} {{kebabcase \"a+B\"}} {{kebabcase"
     " \"x1y2Z3\"}} {{kebabcase \"1A\"}} {{kebabcase \"1A2b\"}} {{kebabcase \"\303\251\344\270"
     "\226\347\225\214A\"}} {{kebabcase \"\303\211t\303\251Bleu\"}} {{kebabcase \"a1.b\"}} {{k"
     "ebabcase \"a1_b\"}} {{kebabcase \"1_2\"}} {{kebabcase \"1.2\"}} {{kebabcase \"v1.2.3\"}}"
     " {{kebabcase \"ABC1\"}} {{kebabcase \"ABC1D\"}} {{kebabcase \"ABC1d\"}} {{kebabcase \"Ab"
     "cDEFGhi\"}} {{kebabcase \"_\"}} {{kebabcase \"._\"}} {{kebabcase \"$\"}} {{kebabcase \"$"
     "$A\"}} {{kebabcase \"a$1b\"}} {{kebabcase \"12B3c\"}}",
     "first-name http-server a.b.c facebook/opt-125m some-snake-case llama-3.2-1-b-instruct me"
     "ta-llama/llama-3.2 a--b -a- a.b a-$-b a-+-b x-1y2-z3 1-a 1-a-2b \303\251-\344\270\226"
     "\347\225\214-a \303\251t\303\251-bleu a1.b a1-b 1-2 1.2 v1.2.3 abc1 abc1-d abc-1d abc-de"
     "f-ghi - ._ $ $$-a a-$-1b 12-b-3c"},
};
/* clang-format on */
