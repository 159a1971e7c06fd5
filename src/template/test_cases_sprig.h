/* What Go's text/template with sprig 3.3.0 made of each; NULL: an error. */
/* clang-format off */
static const struct agreed sprig_cases[] = {
    {"{{list 1 2 3 | first}} {{last (list 1 2)}} {{rest (list 1 2 3)}} {{initial (list 1 2 3)}"
     "} {{first (list)}} {{rest (list)}} {{initial (list)}}",
     "1 2 [2 3] [1 2] <no value> [] []"},
    {"{{append (list 1) 2}} {{prepend (list 1) 0}} {{concat (list 1) (list 2 3) (list)}} {{con"
     "cat}} {{push (list) \"a\"}}",
     "[1 2] [0 1] [1 2 3] [] [a]"},
    {"{{reverse (list 1 2 3)}} {{uniq (list 1 2 1 \"1\" \"1\")}} {{without (list 1 2 3) 2 3}} "
     "{{compact (list 1 0 \"\" nil \"a\" false)}}",
     "[3 2 1] [1 2 1] [1] [1 a]"},
    {"{{has 2 (list 1 2)}} {{has \"2\" (list 1 2)}} {{has 1 nil}} {{slice (list 1 2 3) 1}} {{s"
     "lice (list 1 2 3) 0 2}} {{slice (list 1 2 3)}} {{slice (list) 1}}",
     "true false false [2 3] [1 2] [1 2 3] <no value>"},
    {"{{slice (list 1 2) 0 9}}",
     NULL},
    {"{{first \"abc\"}}",
     NULL},
    {"{{first .Nil}}",
     NULL},
    {"{{chunk 2 (list 1 2 3 4 5)}} {{chunk 10 (list 1 2)}} {{len (chunk 2 (list 1 2 3))}} {{ch"
     "unk 2 (list)}}",
     "[[1 2] [3 4] [5]] [[1 2]] 2 []"},
    {"{{tuple 1 \"a\"}} {{list}} {{list nil nil}} {{len (list nil)}}",
     "[1 a] [] [<nil> <nil>] 1"},
    {"{{dict}} {{dict \"a\" 1 \"b\" (list 1 2)}} {{dict \"a\"}} {{dict 1 2}} {{dict \"b\" 1 \""
     "a\" 2 | toJson}}",
     "map[] map[a:1 b:[1 2]] map[a:] map[1:2] {\"a\":2,\"b\":1}"},
    {"{{get (dict \"a\" 1) \"a\"}} {{get (dict \"a\" 1) \"b\"}}| {{hasKey (dict \"a\" 1) \"a\""
     "}} {{hasKey (dict) \"a\"}}",
     "1 | true false"},
    {"{{$d := dict \"a\" 1}}{{$_ := set $d \"b\" 2}}{{$d}}{{$_ := unset $d \"a\"}}{{$d}}",
     "map[a:1 b:2]map[b:2]"},
    {"{{set .Map \"z\" 1}}{{.Map}}{{unset .Map \"z\"}}",
     "map[a:one b:2 c:map[d:deep] z:1]map[a:one b:2 c:map[d:deep] z:1]map[a:one b:2 c:map[d:de"
     "ep]]"},
    {"{{keys (dict \"a\" 1 \"b\" 2) | sortAlpha}} {{values (dict \"a\" 1)}} {{pluck \"a\" (dic"
     "t \"a\" 1) (dict \"b\" 2) (dict \"a\" 3)}}",
     "[a b] [1] [1 3]"},
    {"{{pick (dict \"a\" 1 \"b\" 2 \"c\" 3) \"a\" \"c\" \"x\"}} {{omit (dict \"a\" 1 \"b\" 2) "
     "\"a\"}}",
     "map[a:1 c:3] map[b:2]"},
    {"{{merge (dict \"a\" 1) (dict \"a\" 2 \"b\" 3)}} {{mergeOverwrite (dict \"a\" 1) (dict \""
     "a\" 2 \"b\" 3)}} {{merge (dict \"a\" (dict \"x\" 1)) (dict \"a\" (dict \"y\" 2))}} {{mer"
     "ge (dict \"a\" 0 \"e\" \"\") (dict \"a\" 5 \"e\" \"f\")}}",
     "map[a:1 b:3] map[a:2 b:3] map[a:map[x:1 y:2]] map[a:5 e:f]"},
    {"{{mergeOverwrite (dict \"a\" (dict \"x\" 1)) (dict \"a\" (dict \"x\" 2 \"y\" 3))}} {{mer"
     "geOverwrite (dict \"a\" 1 \"b\" 2) (dict \"a\" 0 \"b\" \"\")}}",
     "map[a:map[x:2 y:3]] map[a:0 b:]"},
    {"{{mergeOverwrite (dict \"a\" (dict \"x\" 1)) (dict \"a\" 5)}} {{merge (dict \"a\" (dict "
     "\"x\" 1)) (dict \"a\" 5)}} {{merge (dict \"a\" 5) (dict \"a\" (dict \"x\" 1))}}",
     "map[a:5] map[a:map[x:1]] map[a:5]"},
    {"{{mergeOverwrite (dict \"a\" (list 1 2)) (dict \"a\" (list 3))}} {{merge (dict \"a\" (li"
     "st 1 2)) (dict \"a\" (list 3))}} {{merge (dict \"a\" nil) (dict \"a\" 1)}} {{merge (dict"
     " \"a\" (list)) (dict \"a\" (list 3))}}",
     "map[a:[3]] map[a:[1 2]] map[a:1] map[a:[3]]"},
    {"{{deepCopy (dict \"a\" (list 1 2))}} {{$a := dict \"x\" 1}}{{$b := deepCopy $a}}{{$_ := "
     "set $b \"x\" 2}}{{$a}}{{$b}}",
     "map[a:[1 2]] map[x:1]map[x:2]"},
    {"{{dig \"a\" \"b\" \"no\" (dict \"a\" (dict \"b\" \"yes\"))}} {{dig \"a\" \"c\" \"no\" (d"
     "ict \"a\" (dict \"b\" \"yes\"))}} {{dig \"x\" \"y\" \"no\" (dict \"a\" 1)}}",
     "yes no no"},
    {"{{dig \"a\" \"b\" \"no\" (dict \"a\" 1)}}",
     NULL},
    {"{{dig \"a\" (dict \"a\" 1)}}",
     NULL},
    {"{{default 1 0}} {{default 1 nil}} {{default \"a\" \"\"}} {{default \"a\" \"b\"}} {{defau"
     "lt 1}} {{default (list) (list 1)}} {{default 5 false}} {{default 5 .Nil}} {{default 5 .M"
     "ap.nope}}",
     "1 1 a b 1 [1] 5 5 5"},
    {"{{empty \"\"}} {{empty 0}} {{empty \"a\"}} {{empty (list)}} {{empty (dict)}} {{empty nil"
     "}} {{empty 0.0}} {{empty false}} {{empty .Map}}",
     "true true false true true true true true false"},
    {"{{coalesce 0 \"\" nil \"x\" \"y\"}} {{coalesce}} {{coalesce 0}}|{{all 1 \"a\"}} {{all 1 "
     "0}} {{all}} {{any 0 \"\"}} {{any 0 1}} {{any}}",
     "x <no value> <no value>|true false true false true false"},
    {"{{ternary \"a\" \"b\" true}} {{ternary \"a\" \"b\" false}} {{true | ternary 1 2}}",
     "a b 1"},
    {"{{ternary 1 2 3}}",
     NULL},
    {"{{fail \"oops\"}}",
     NULL},
    {"{{typeOf 1}} {{typeOf \"a\"}} {{typeOf 1.5}} {{typeOf true}} {{typeOf (list)}} {{typeOf "
     "(dict)}} {{typeOf nil}} {{typeOf (add 1 2)}} {{typeOf (splitList \",\" \"a\")}} {{typeOf"
     " (split \",\" \"a\")}} {{typeOf (until 3)}} {{typeOf (getPort \"x\")}} {{typeOf (index "
     "\"abc\" 0)}} {{typeOf (chunk 1 (list 1))}} {{typeOf 'a'}}",
     "int string float64 bool []interface {} map[string]interface {} <nil> int64 []string map["
     "string]string []int int32 uint8 [][]interface {} int"},
    {"{{kindOf 1}} {{kindOf \"a\"}} {{kindOf 1.5}} {{kindOf true}} {{kindOf (list)}} {{kindOf "
     "(dict)}} {{kindOf nil}} {{kindOf (add 1 2)}} {{kindOf (index \"abc\" 0)}}",
     "int string float64 bool slice map invalid int64 uint8"},
    {"{{kindIs \"int\" 1}} {{kindIs \"slice\" (list)}} {{typeIs \"string\" \"a\"}} {{typeIsLik"
     "e \"string\" \"a\"}} {{kindIs \"map\" 1}}",
     "true true true true false"},
    {"{{deepEqual (list 1 2) (list 1 2)}} {{deepEqual (dict \"a\" 1) (dict \"a\" 1)}} {{deepEq"
     "ual 1 1.0}} {{deepEqual (list 1) (list \"1\")}} {{deepEqual nil nil}} {{deepEqual 1 (add"
     " 0 1)}} {{deepEqual (splitList \",\" \"a\") (list \"a\")}}",
     "true true false false true false false"},
    {"{{int \"5\"}} {{int \"abc\"}} {{int 5.7}} {{int true}} {{int nil}} {{int \"0x10\"}} {{in"
     "t \"010\"}} {{int \"-5\"}} {{int \"5.0\"}} {{int \"5.5\"}} {{int64 \"7\"}} {{int \"\"}} "
     "{{int \"+5\"}} {{int \" 5\"}} {{int \"1e3\"}} {{int (list)}}",
     "5 0 5 1 0 16 8 -5 5 0 7 0 5 0 0 0"},
    {"{{int \"-010\"}} {{int \"0\"}} {{int \"00\"}} {{int \"0b11\"}} {{int \"0o17\"}} {{int \""
     "1_000\"}} {{int \"5.00\"}} {{int \"99999999999999999999\"}} {{int64 \"-92233720368547758"
     "08\"}} {{int \"0.0\"}} {{int \".\"}} {{int \".0\"}} {{int \"x.0\"}}",
     "-8 0 0 3 15 1000 5 0 -9223372036854775808 0 0 0 0"},
    {"{{float64 \"1.5\"}} {{float64 \"abc\"}} {{float64 3}} {{float64 true}} {{float64 nil}} {"
     "{float64 \"\"}} {{float64 \"1e3\"}} {{float64 \"inf\"}} {{float64 \" 1\"}}",
     "1.5 0 3 1 0 0 1000 +Inf 0"},
    {"{{atoi \"42\"}} {{atoi \"x\"}} {{atoi \"-1\"}} {{atoi \"+1\"}} {{atoi \"\"}} {{atoi \" 1"
     "\"}} {{atoi \"1 \"}} {{atoi \"99999999999999999999\"}} {{atoi \"-\"}} {{atoi \"0x10\"}} "
     "{{atoi \"1_0\"}}",
     "42 0 -1 1 0 0 0 9223372036854775807 0 0 0"},
    {"{{toDecimal \"777\"}} {{toDecimal 644}} {{toDecimal \"8\"}} {{toDecimal \"-10\"}} {{toDe"
     "cimal \"\"}}",
     "511 420 0 -8 0"},
    {"{{add 1 2 3}} {{add}} {{add \"5\" 1.9 true nil}} {{add1 5}} {{sub 5 3}} {{mul 2 3 4}} {{"
     "div 7 2}} {{div -7 2}} {{mod 7 3}} {{mod -7 3}} {{mul 5}} {{add 1.9 1.9}}",
     "6 0 7 6 2 24 3 -3 1 -1 5 2"},
    {"{{div 1 0}}",
     NULL},
    {"{{mod 1 0}}",
     NULL},
    {"{{add 9223372036854775807 1}} {{sub -9223372036854775808 1}} {{mul 9223372036854775807 2"
     "}} {{div -9223372036854775808 -1}} {{mod -9223372036854775808 -1}}",
     "-9223372036854775808 9223372036854775807 -2 -9223372036854775808 0"},
    {"{{max 1 5 3}} {{min 1 5 3}} {{biggest 1 2}} {{maxf 1.5 3.2}} {{minf 1.5 3}} {{max 1.9 \""
     "2\"}} {{max 3}}",
     "5 1 2 3.2 1.5 2 3"},
    {"{{ceil 1.2}} {{floor 1.8}} {{round 1.2345 2}} {{round 1.5 0}} {{round 123.456 1 0.3}} {{"
     "ceil \"1.2\"}} {{floor -1.5}} {{ceil -1.5}} {{round -1.5 0}} {{round 5 2}} {{floor 5}} {"
     "{round 3.14159 3}} {{round \"2.5\" 0}}",
     "2 1 1.23 2 123.5 2 -2 -1 -2 5 5 3.142 3"},
    {"{{addf 0.1 0.2}} {{addf 1 2 3}} {{subf 0.3 0.1}} {{mulf 1.1 1.1}} {{divf 1 3}} {{divf 10"
     " 4}} {{add1f 1.5}} {{mulf 2 3}} {{divf 2 3}} {{subf 5}} {{addf}} {{divf 1 7 3}} {{mulf 1"
     "e10 1e10}} {{mulf 0.1 0.1 0.1}} {{subf 1 0.9}} {{divf -1 3}} {{divf 1e300 1e-5}} {{addf "
     "1e300 1e-300}} {{mulf 1.23456789012345 9.87654321098765}}",
     "0.3 6 0.2 1.21 0.3333333333333333 2.5 2.5 6 0.6666666666666667 5 0 0.0476190476190476 1e"
     "+20 0.001 0.1 -0.3333333333333333 1e+305 1e+300 12.193263113702107"},
    {"{{divf 1 0}}",
     NULL},
    {"{{until 3}} {{until -3}} {{until 0}} {{untilStep 0 10 3}} {{untilStep 5 0 -2}} {{untilSt"
     "ep 0 10 0}} {{untilStep 10 0 1}} {{untilStep 0 -5 -1}} {{range until 3}}{{.}},{{end}}",
     "[0 1 2] [0 -1 -2] [] [0 3 6 9] [5 3 1] [] [] [0 -1 -2 -3 -4] 0,1,2,"},
    {"{{seq 3}} {{seq 2 5}} {{seq 0 2 10}} {{seq -2}} {{seq 5 1}} {{seq}} {{seq 5 -2 0}} {{seq"
     " 0}} {{seq 1 2 3 4}} {{seq 1 0 5}} {{seq 5 1 1}}",
     "1 2 3 2 3 4 5 0 2 4 6 8 10 1 0 -1 -2 5 4 3 2 1  5 3 1 1 0   "},
    {"{{b64enc \"hello\"}} {{b64dec \"aGVsbG8=\"}} {{b64enc \"\"}} {{b32enc \"hello\"}} {{b32d"
     "ec \"NBSWY3DP\"}} {{b32enc \"a\"}} {{b32enc \"ab\"}} {{b32enc \"abc\"}} {{b32enc \"abcd"
     "\"}} {{b32dec \"ME======\"}} {{b32dec \"MFRA====\"}} {{b32dec \"MFRGG===\"}} {{b32dec \""
     "MFRGGZA=\"}} {{b32dec \"\"}}",
     "aGVsbG8= hello  NBSWY3DP hello ME====== MFRA==== MFRGG=== MFRGGZA= a ab abc abcd "},
    {"{{sha256sum \"abc\"}} {{sha1sum \"abc\"}} {{sha512sum \"abc\"}} {{adler32sum \"abc\"}} {"
     "{sha256sum \"\"}} {{adler32sum \"\"}}",
     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad a9993e364706816aba3e257"
     "17850c26c9cd0d89d ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a219299"
     "2a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f 38600999 e3b0c44298fc1c149afb"
     "f4c8996fb92427ae41e4649b934ca495991b7852b855 1"},
    {"{{toJson .List}} {{toJson .Map}} {{toJson \"a\\\"b<&>\"}} {{toRawJson \"a<b>&\"}} {{toJs"
     "on nil}} {{toJson 1.5}} {{toJson 1e21}} {{toJson 1e-7}} {{toJson 1e6}} {{toJson (list)}}"
     " {{toJson (rest (list))}} {{toJson \"\\u2028\\x01\\t\\u00e9\"}} {{toJson true}} {{toJson"
     " 100000000000000000000.0}} {{toJson 1.0}} {{toJson -0.5}} {{toJson 123456789.125}} {{toJ"
     "son (until 3)}} {{toJson (splitList \",\" \"a,b\")}}",
     "[\"a\",\"b\",\"c\"] {\"a\":\"one\",\"b\":2,\"c\":{\"d\":\"deep\"}} \"a\\\"b\\u003c\\u002"
     "6\\u003e\" \"a<b>&\" null 1.5 1e+21 1e-7 1000000 [] null \"\\u2028\\u0001\\t\303\251\" t"
     "rue 100000000000000000000 1 -0.5 123456789.125 [0,1,2] [\"a\",\"b\"]"},
    {"{{toPrettyJson .Map}}{{toPrettyJson (list)}}{{toPrettyJson (dict)}}{{toPrettyJson (list "
     "1 (dict \"a\" (list)))}}",
     "{\n  \"a\": \"one\",\n  \"b\": 2,\n  \"c\": {\n    \"d\": \"deep\"\n  }\n}[]{}[\n  1,\n "
     " {\n    \"a\": []\n  }\n]"},
    {"{{fromJson \"{\\\"a\\\":[1,2.5,\\\"x\\\",null,true]}\"}} {{(fromJson \"{\\\"a\\\":1}\")."
     "a}} {{typeOf (fromJson \"1\")}} {{fromJson \"[]\"}} {{fromJson \"null\"}} {{(fromJson \""
     "{\\\"a\\\":{\\\"b\\\":3}}\").a.b}} {{fromJson \"12345678\"}}",
     "map[a:[1 2.5 x <nil> true]] 1 float64 [] <no value> 3 1.2345678e+07"},
    {"{{base \"/a/b.c\"}} {{base \"\"}} {{base \"/\"}} {{base \"a/\"}} {{base \"a/b//\"}} {{di"
     "r \"/a/b\"}} {{dir \"a\"}} {{dir \"/a\"}} {{dir \"\"}} {{dir \"a/b/\"}} {{ext \"a.tar.gz"
     "\"}} {{ext \"a\"}}| {{ext \"a.b/c\"}}| {{isAbs \"/a\"}} {{isAbs \"a\"}} {{ext \"a.\"}} {"
     "{osBase \"/a/b\"}} {{osDir \"/a/b\"}} {{osExt \"a.b\"}} {{osIsAbs \"/\"}}",
     "b.c . / a b /a . / . a/b .gz | | true false . b /a .b true"},
    {"{{clean \"a//b/../c/.\"}} {{clean \"\"}} {{clean \"/../a\"}} {{clean \"../../a\"}} {{cle"
     "an \"a/../..\"}} {{clean \"./a\"}} {{clean \"/\"}} {{clean \"a/b/../../..\"}} {{clean \""
     "/a/..\"}} {{osClean \"a/./b\"}} {{clean \"../a/../../b\"}}",
     "a/c . /a ../../a .. a / .. / a/b ../../b"},
    {"{{upper \"abc\303\251\"}} {{lower \"ABC\303\211\"}} {{title \"hello world-foo bar's\"}} "
     "{{untitle \"Hello World\"}} {{swapcase \"aBc\"}} {{nospace \" a b \"}} {{initials \"Hell"
     "o big World\"}} {{title \"\303\251a b_c\"}} {{upper \"\303\237\"}} {{lower \"\316\221"
     "\316\222\316\223\"}} {{upper \"\320\266\321\217\"}} {{title \"1abc 2d\"}}",
     "ABC\303\211 abc\303\251 Hello World-Foo Bar'S hello world AbC ab HbW \303\211a B_c \303"
     "\237 \316\261\316\262\316\263 \320\226\320\257 1abc 2d"},
    {"{{quote \"\303\251\\u200b\\x00\\x7f\\xff\\U0001F600\"}} {{squote \"a'b\"}} {{quote 1.5 ("
     "list 1)}} {{quote}} {{quote nil}}",
     "\"\303\251\\u200b\\x00\\x7f\\xff\360\237\230\200\" 'a'b' \"1.5\" \"[1]\"  "},
    {"{{\"a,b\" | split \",\" | toJson}}",
     "{\"_0\":\"a\",\"_1\":\"b\"}"},
    {"{{range $k, $v := dict \"a\" 1 \"b\" 2}}{{$k}}{{$v}}{{end}}",
     "a1b2"},
    {"{{.Ints | join \"-\" | quote | upper}}",
     "\"3-1-2\""},
    {"{{if has \"a\" .List}}y{{end}}",
     "y"},
    {"{{list 1 2 | toString | quote}}",
     "\"[1 2]\""},
    {"{{replace \"a\" \"\" \"banana\"}} {{replace \"x\" \"y\" \"banana\"}} {{replace \"\" \"-"
     "\" \"\"}} {{replace \"\303\251\" \"e\" \"\303\251t\303\251\"}} {{replace \"\" \"-\" \""
     "\303\251\"}}",
     "bnn banana - ete -\303\251-"},
    {"{{splitList \"\" \"\303\251\"}} {{splitn \",\" 1 \"a,b\"}} {{splitn \",\" 0 \"a,b\"}} {{"
     "splitn \",\" -1 \"a,b\"}} {{splitn \"\" 2 \"abc\"}} {{splitList \",\" \",a,\"}}|{{splitL"
     "ist \"\" \"\"}}|{{len (splitList \"\" \"\")}}",
     "[\303\251] map[_0:a,b] map[] map[_0:a _1:b] map[_0:a _1:bc] [ a ]|[]|0"},
    {"{{trimAll \"\303\251\" \"\303\251a\303\251\"}} {{trimAll \"\" \"a\"}} {{trimall \"$\" \""
     "$5\"}} {{trim \"\\u00a0a\\u00a0\"}} {{trimAll \"ab\" \"abcab\"}} {{trim \"\"}}",
     "a a 5 a c "},
    {"{{substr 0 3 \"h\303\251llo\"}} {{substr 2 2 \"abc\"}}| {{substr 0 0 \"abc\"}}|",
     "h\303\251 | |"},
    {"{{substr 5 2 \"abc\"}}",
     NULL},
    {"{{substr 5 9 \"abc\"}}",
     NULL},
    {"{{trunc 0 \"abc\"}}|{{trunc 3 \"h\303\251llo\"}}|{{trunc -1 \"\"}}",
     "|h\303\251|"},
    {"{{indent 0 \"a\"}} {{indent 4 \"a\\n\\nb\\n\"}}|{{nindent 0 \"\"}}|",
     "a     a\n    \n    b\n    |\n|"},
    {"{{indent -1 \"a\"}}",
     NULL},
    {"{{cat}} {{cat nil}} {{cat \" a\" \"b \"}} {{cat (list 1) 2}}",
     "   a b  [1] 2"},
    {"{{sortAlpha (list 3 1 2)}} {{sortAlpha \"x\"}} {{sortAlpha (list)}} {{sortAlpha (list \""
     "b\" nil \"a\")}}",
     "[1 2 3] [x] [] [a b]"},
    {"{{toStrings (list 1 \"a\" nil true)}} {{toStrings nil}} {{toStrings 5}}",
     "[1 a true] [] [5]"},
    {"{{join \",\" nil}} {{join \",\" (list nil 1 nil 2)}} {{join \"\" (list 1 2)}} {{join \","
     "\" 5}}",
     " 1,2 12 5"},
    {"{{repeat 0 \"a\"}}| {{repeat 3 \"\"}}| {{\"ab\" | repeat 2}}",
     "| | abab"},
    {"{{hello}} {{plural \"a\" \"b\" 0}}",
     "Hello! b"},
    {"{{get .Map \"a\"}} {{get (split \",\" \"a\") \"_0\"}}",
     NULL},
    {"{{index (split \",\" \"a\") \"_0\"}} {{index (split \",\" \"a\") \"x\"}}| {{(split \",\""
     " \"a\").x}}",
     "a | <no value>"},
    {"{{eq (add 1 1) 2}} {{eq (getPort \"x\") 8000}} {{lt (index \"abc\" 0) 98}} {{eq 'a' (ind"
     "ex \"abc\" 0)}} {{eq \"a\" nil}} {{ne nil 1}} {{eq .List nil}}",
     "true true true true false true false"},
    {"{{eq (list) (list)}}",
     NULL},
    {"{{gt 1 nil}}",
     NULL},
    {"{{lt \"a\" 1}}",
     NULL},
    {"{{len nil}}",
     NULL},
    {"{{len (dict \"a\" 1)}} {{len (until 5)}} {{len \"\"}}",
     "1 5 0"},
    {"{{and}} {{or}}",
     NULL},
    {"{{not}}",
     NULL},
    {"{{not nil}} {{not \"\"}} {{and true nil}} {{or nil false}}",
     "true true <no value> false"},
    {"{{and 1 | or 0}} {{0 | and 1}} {{\"\" | or \"a\"}}",
     "1 0 a"},
    {"{{print (list 1 \"a\") (dict \"b\" nil) 1.0 \"x\" 'a'}} {{println}}|{{print \"a\" \"b\"}"
     "} {{print 1 \"a\" 2}}",
     "[1 a] map[b:<nil>] 1x97 \n|ab 1a2"},
    {"{{printf \"%s\" (list \"a\" \"b\")}} {{printf \"%q\" (list \"a\" \"b\")}} {{printf \"%d"
     "\" (list 1 \"a\")}} {{printf \"%x\" (list \"ab\" 255)}} {{printf \"%5.2f|%-8.1e|%g\" 3.1"
     "4159 12345.0 1e-7}} {{printf \"%v %d %s\" (getPort \"x\") (getPort \"y\") (getPort \"z\""
     ")}}",
     "[a b] [\"a\" \"b\"] [1 %!d(string=a)] [6162 ff]  3.14|1.2e+04 |1e-07 8000 8000 %!s(int32"
     "=8000)"},
    {"{{printf \"%s %v %d\" nil nil nil}} {{printf \"%%\"}} {{printf \"%5%\"}} {{printf \"%d%%"
     "\" 5}} {{printf \"%s\" \"a\" \"b\"}} {{printf \"%[1]s %[1]s\" \"x\"}} {{printf \"%[3]d\""
     " 1 2}} {{printf \"%[x]d\" 1}} {{printf \"%[1]d %d\" 1 2}} {{printf \"%.2s\" \"h\303\251l"
     "lo\"}} {{printf \"%.0f\" 2.5}} {{printf \"%.0f\" 3.5}} {{printf \"%6d|%-6d|%06d\" 42 42 "
     "42}} {{printf \"%+.2f\" 1.0}} {{printf \"% d\" -5}} {{printf \"%#o %#b\" 8 5}} {{printf "
     "\"%t\" \"a\"}} {{printf \"%c%c\" 72 0x4E16}} {{printf \"%08b\" 5}} {{printf \"%x\" -255}"
     "} {{printf \"%X\" \"hello\"}} {{printf \"%10.3s|\" \"abcdef\"}} {{printf \"%U\" 0x1F600}"
     "} {{printf \"%T %T %T\" 1 \"a\" nil}} {{printf \"%v\" true}} {{printf \"%6v|\" true}} {{"
     "printf \"%3d|%3d\" (list 1 2)}} {{printf \"%!d\" 1}} {{printf \"%\" 1}} {{printf \"abc%"
     "\"}} {{printf \"%-5s|%5s\" \"\303\251\" \"\303\251\"}} {{printf \"%.3d\" 5}} {{printf \""
     "%8.3d|\" 5}} {{printf \"%+q\" \"\303\251\"}} {{printf \"%.0d|\" 0}} {{printf \"%.*d\" -1"
     " 5}} {{printf \"%*d\" \"a\" 5}}",
     "%!s(<nil>) <nil> %!d(<nil>) % % 5% a%!(EXTRA string=b) x x %!d(BADINDEX) %!d(BADINDEX) 1"
     " 2 h\303\251 2 4     42|42    |000042 +1.00 -5 010 0b101 %!t(string=a) H\344\270\226 000"
     "00101 -ff 68656C6C6F        abc| U+1F600 int string <nil> true   true| [  1   2]|%!d(MIS"
     "SING) %!!(int=1)d %!(NOVERB)%!(EXTRA int=1) abc%!(NOVERB) \303\251    |    \303\251 005 "
     "     005| \"\\u00e9\" | %!(BADPREC)5 %!(BADWIDTH)5"},
    {"{{printf \"%g %g %g %g\" 100000.0 1000000.0 0.0001 0.00001}} {{printf \"%.3g|%.10g|%G\" "
     "1234.5678 1234.5678 1e-10}} {{printf \"%e\" 0.0}} {{printf \"%f\" 1e20}} {{printf \"%v\""
     " 0.1}} {{printf \"%v %v\" 1e100 -0.0}} {{printf \"%6.3v|\" 3.14159}} {{printf \"%010.2f|"
     "%-10.2f|%+010.2f\" 3.14159 3.14159 3.14159}} {{printf \"%q\" 0x1F600}} {{printf \"%#q\" "
     "\"a`b\"}} {{printf \"%# x\" \"abc\"}} {{printf \"%5x|%-5x|\" \"a\" \"b\"}} {{printf \"%v"
     "\" (dict \"k\" (list 1 (dict \"z\" nil)))}} {{printf \"%#v\" (list 1 \"a\" nil 1.5 true)"
     "}} {{printf \"%+v\" (list 1)}} {{printf \"%s\" 1.5}} {{printf \"%d\" 1.5}} {{printf \"%d"
     "\" true}} {{printf \"%z %y\" 1}} {{printf \"%\303\251\" 1}}",
     "100000 1e+06 0.0001 1e-05 1.23e+03|1234.5678|1E-10 0.000000e+00 100000000000000000000.00"
     "0000 0.1 1e+100 -0   3.14| 0000003.14|3.14      |+000003.14 '\360\237\230\200' \"a`b\" 0"
     "x61 0x62 0x63    61|62   | map[k:[1 map[z:<nil>]]] []interface {}{1, \"a\", interface {}"
     "(nil), 1.5, true} [1] %!s(float64=1.5) %!d(float64=1.5) %!d(bool=true) %!z(int=1) %!y(MI"
     "SSING) %!\303\251(int=1)"},
    {"{{printf \"%200000000d\" 1}} {{len (printf \"%20000d\" 1)}}",
     "%!(NOVERB)%!(EXTRA int=1) 20000"},
    {"{{mergeOverwrite (dict \"a\" 1) (dict \"a\" nil)}} {{merge (dict \"a\" false) (dict \"a"
     "\" true)}} {{merge (dict) (dict \"a\" nil)}} {{mergeOverwrite (dict \"a\" (dict \"x\" 1)"
     ") (dict \"a\" (dict))}}",
     "map[a:<nil>] map[a:true] map[] map[a:map[x:1]]"},
    {"{{int \"09\"}} {{int \"5.\"}} {{int \"5.000\"}} {{int \"-5.0\"}} {{int \"000\"}} {{int "
     "\"0.000\"}} {{int \"1.10\"}}",
     "0 0 5 -5 0 0 0"},
    {"{{sortAlpha nil}} {{sortAlpha (coalesce)}} {{keys (dict) | sortAlpha}}",
     "[<nil>] [<nil>] []"},
};
/* clang-format on */
