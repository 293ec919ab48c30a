use super::*;

/// A source that no test asks more of than to be one.
pub(crate) fn any() -> Source {
    let text = "name = \"notes\"\nfetch = \"http\"\nevery = \"1d\"\n\n[keys]\nlist = [\"a\"]\n\n[http]\nmethod = \"GET\"\nurl = \"https://site.test/{key}\"\n\n[items]\npath = \"/items\"\nkey = \"id\"\n\n[fields]\nid = { path = \"/id\", type = \"string\", required = true }\n";
    Source::parse("notes.toml", text).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    Source::parse("s.toml", text)
        .unwrap_err()
        .into_iter()
        .map(|problem| {
            format!("{problem}{}", problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())
        })
        .collect()
}

fn edited(from: &str, to: &str) -> String {
    let text = EMBEDDED[1].1;
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

#[test]
fn the_shipped_sources_are_read() {
    let places = Source::parse(EMBEDDED[0].0, EMBEDDED[0].1).unwrap();
    let reviews = Source::parse(EMBEDDED[1].0, EMBEDDED[1].1).unwrap();
    assert_eq!(
        (places.every_days(), places.fetch_kind(), places.table().to_string()),
        (7, FetchKind::Http, "raw.naver_places".to_owned())
    );
    assert_eq!(
        (reviews.every_days(), reviews.fetch_kind(), reviews.table().to_string()),
        (1, FetchKind::Browser, "raw.naver_reviews".to_owned())
    );
    assert_eq!(reviews.keys(), &Keys::Query("select place_id as key from staging.places".to_owned()));
    assert_eq!(reviews.rate().interval, Duration::from_secs(1));
    let columns = |source: &Source| {
        source
            .schema()
            .fields()
            .iter()
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        columns(&places)[..12],
        [
            "place_id Utf8",
            "name Utf8",
            "category Utf8",
            "road_address Utf8",
            "address Utf8",
            "area Utf8",
            "x Float64",
            "y Float64",
            "visitor_reviews Int64",
            "blog_reviews Int64",
            "rating Float64",
            "micro_reviews List(Utf8)",
        ]
    );
    let names: Vec<String> =
        columns(&reviews).into_iter().map(|column| column.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(
        names,
        [
            "review_id",
            "place_id",
            "author_hash",
            "rating",
            "body",
            "visited",
            "created",
            "visited_at",
            "visit_count",
            "view_count",
            "origin_type",
            "keyword_codes",
            "keywords",
            "situations",
            "tags",
            "media_count",
            "reply_body",
            "reply_created",
            "_key",
            "_payload",
            "_error",
            "_task",
            "_url",
            "_fetched_at",
            "dt",
        ]
    );
    assert_eq!((places.host(), reviews.host()), ("pcmap-api.place.naver.com".into(), "pcmap.place.naver.com".into()));
    let spec = reviews.table_spec();
    assert!(
        spec.partitioned
            && spec.stats_columns.contains(&"review_id".to_owned())
            && !spec.stats_columns.contains(&"body".to_owned())
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_mistake_has_its_place_and_a_hint() {
    let cases = [
        (
            edited("every = \"1d\"", "evry = \"1d\""),
            vec![
                "expected `every` in the file, found nothing (add `every = \"1d\"`)",
                "unknown key `evry` in the file (did you mean `every`?)",
            ],
        ),
        (edited("every = \"1d\"", "every = 1"), vec!["expected `every` to be a string, found an integer"]),
        (
            edited("every = \"1d\"", "every = \"1 month\""),
            vec!["expected whole days such as `1d` or `7d`, found `1 month` (write something like `every = \"1d\"`)"],
        ),
        (
            edited("fetch = \"browser\"", "fetch = \"brwser\""),
            vec!["expected `fetch` to be `http` or `browser`, found `brwser` (did you mean `browser`?)"],
        ),
        (
            edited("fetch = \"browser\"", "fetch = \"http\""),
            vec!["expected a section `[http]` because `fetch = \"http\"`, found none (add `[http]`)"],
        ),
        (edited("rate = \"1/s\"", "rate = \"fast\""), vec!["expected a rate such as `1/s` or `30/min`, found `fast`"]),
        (
            edited("robots = \"obey\"", "robots = false"),
            vec![
                "expected `robots` to be \"obey\" or { ignore = \"why\" } (ignoring robots.txt needs a reason, which is stored with each run)",
            ],
        ),
        (
            edited("robots = \"obey\"", "robots = { ignore = \"\" }"),
            vec!["expected `ignore` to be a text, found an empty one (write something like `ignore = \"why\"`)"],
        ),
        (
            edited("max_receives = 5", "max_receives = 0"),
            vec!["expected `max_receives` to be between 1 and 100, found 0"],
        ),
        (
            edited("key = \"review_id\"", "key = \"review\""),
            vec!["expected `key` to name a field, found `review` (did you mean `review_id`?)"],
        ),
        (
            edited("key = \"review_id\"", "key = \"rating\""),
            vec!["expected `key` to name a field of type `id`, `string` or `int64`, found `rating` of type `float64`"],
        ),
        (
            edited("overlap = \"30d\"", "overlap = \"a month\""),
            vec![
                "expected a time such as `500ms`, `20s`, `5min`, `2h` or `30d`, found `a month` (write something like `overlap = \"30d\"`)",
            ],
        ),
        (
            edited("path = \"/body\"", "path = \"body\""),
            vec!["expected a JSON pointer that starts with `/`, found `body` (write something like `path = \"/id\"`)"],
        ),
        (
            edited("path = \"/body\"", "pth = \"/body\""),
            vec![
                "expected `path` in field `body`, found nothing (add `path = \"/id\"`)",
                "unknown key `pth` in field `body` (did you mean `path`?)",
            ],
        ),
        (
            edited("type = \"count\"", "type = \"cuont\""),
            vec![
                "expected `type` to be `string`, `id`, `int64`, `float64`, `timestamp`, `bool`, `list<string>`, `count` or `hash`, found `cuont` (did you mean `count`?)",
            ],
        ),
        (
            edited("type = \"list<string>\" }\nkeywords", "type = \"string\" }\nkeywords"),
            vec!["expected a path with `*` to have the type `list<string>`, found `string`"],
        ),
        (
            edited("body = { path", "_body = { path"),
            vec!["expected a column name of a-z, 0-9 and `_` that starts with a letter and is not `dt`, found `_body`"],
        ),
        (
            edited("url = \"https://pcmap.place", "url = \"https://{key}.place"),
            vec![
                "expected a fixed host, found `{key}.place.naver.com` (write something like `url = \"https://example.org/place/{key}/review\"`)",
            ],
        ),
        (
            edited("/restaurant/{key}/", "/restaurant/{place}/"),
            vec![
                "expected `{key}`, `{page}`, `{start}`, `{offset}`, `{size}` or `{secret:NAME}`, found `{place}` (write something like `url = \"https://example.org/place/{key}/review\"`)",
            ],
        ),
        (
            edited("\"과도한 접근 요청\"", "\"제한\""),
            vec!["expected a phrase of at least 6 characters that only a block page has, found `제한`"],
        ),
        (
            edited("hosts = [\"*.naver.com\"", "hosts = [\"https://naver.com/\""),
            vec![
                "expected the name of a host, found `https://naver.com/` (a name without a path: `img.example.net`, or `*.example.net` for every name below it)",
            ],
        ),
        (edited("records = 200000", "records = 0"), vec!["expected `records` to be between 1 and 10000000, found 0"]),
        (edited("bytes = 268435456", "byte = 1"), vec!["unknown key `byte` in [limits] (did you mean `bytes`?)"]),
        (
            edited("[browser.more]\nlist", "[browser.mre]\nlist"),
            vec!["unknown key `mre` in [browser] (did you mean `more`?)"],
        ),
        (
            edited("/review/visitor?", "/review/visitor?k={secret:KEY}&"),
            vec!["expected a secret of [secrets], found `KEY` (add `KEY = \"env:NAME\"` under [secrets])"],
        ),
        (
            edited("/review/visitor?", "/review/visitor?apiKey=hunter2&"),
            vec![
                "expected `apiKey` to refer to a secret: credentials do not belong in a source file (write `apiKey={secret:KEY}` and `KEY = \"env:NAME\"` under [secrets])",
            ],
        ),
        (
            format!("{}\n[secrets]\nKEY = \"hunter2\"\n", EMBEDDED[1].1),
            vec![
                "expected `KEY` to say where its value is, found something else (write `KEY = \"env:NAME\"`, or `\"file:PATH\"`: a value does not belong in a source file)",
            ],
        ),
        (
            edited("query = ", "list = [\"a\"]\nquery = "),
            vec!["expected either `list` or `query` in [keys], found both"],
        ),
    ];
    for (text, expected) in cases {
        let found = problems(&text);
        let stripped: Vec<&str> =
            found.iter().map(|problem| problem.splitn(4, ':').nth(3).unwrap().trim_start()).collect();
        assert_eq!(stripped, expected);
    }
}

#[test]
fn line_and_column_are_those_of_the_mistake() {
    let text = "name = \"x\"\nfetch = \"http\"\nevery = \"1d\"\nkeys.list = [\"국\"]\n[http]\nurl = \"https://a.example/{key}\"\n[items]\npath = \"/items\"\nkey = \"id\"\n[fields]\nid = { path = \"/국\", typ = \"id\" }\n";
    assert_eq!(
        problems(text),
        [
            "s.toml:9:7: expected `key` to name a field, found `id` (the fields are nothing)",
            "s.toml:10:1: expected at least one field in [fields], found none",
            "s.toml:11:6: expected `type` in field `id`, found nothing (add `type = \"string\"`)",
            "s.toml:11:21: unknown key `typ` in field `id` (did you mean `type`?)",
        ]
    );
    let text = text.replace("typ =", "type =");
    assert!(Source::parse("s.toml", &text).is_ok());
    let zoned = |field: &str| problems(&format!("{text}at = {field}\n"));
    let of = |kind: &str, zone: &str| zoned(&format!("{{ path = \"/at\", type = \"{kind}\", zone = \"{zone}\" }}"));
    assert_eq!(
        of("timestamp", "Asia/Soul"),
        ["s.toml:12:49: expected a time zone such as `Asia/Seoul` or `UTC`, found `Asia/Soul`"]
    );
    assert_eq!(of("string", "UTC"), ["s.toml:12:6: expected `zone` beside the type `timestamp`, found it for `at`"]);
}

#[test]
fn what_is_no_toml_is_said_so() {
    let found = problems("name = \"x\"\nfetch = \"http\nevery = \"1d\"\n");
    assert!(found[0].starts_with("s.toml:2:") && found[0].contains("not TOML"), "{found:?}");
    assert!(problems("").len() >= 4);
}

#[test]
fn rates_are_read() {
    let millis = |text: &str| Rate::parse(text).map(|rate| rate.interval.as_millis()).ok();
    for (text, expected) in [
        ("1/s", Some(1000)),
        ("30/min", Some(2000)),
        ("0.5/s", Some(2000)),
        ("1000/s", Some(1)),
        ("100/h", Some(36_000)),
        ("0/s", None),
        ("-1/s", None),
        ("1", None),
        ("inf/s", None),
        ("1/week", None),
    ] {
        assert_eq!(millis(text), expected, "{text}");
    }
}

#[test]
fn credentials_are_references() {
    let with = |headers: &str, secrets: &str| {
        let text = EMBEDDED[0].1.replacen("headers = { ", &format!("headers = {{ {headers}, "), 1);
        Source::parse("s.toml", &format!("{text}\n{secrets}\n")).map_err(|problems| {
            problems
                .into_iter()
                .map(|problem| format!("{} ({})", problem.message, problem.hint.unwrap_or_default()))
                .collect::<Vec<_>>()
        })
    };
    let declared = "[secrets]\nKEY = \"env:SITE_KEY\"";
    let source = with("authorization = \"Bearer {secret:KEY}\", x-api-key = \"{secret:KEY}\"", declared).unwrap();
    assert_eq!(source.secrets().references().collect::<Vec<_>>(), [("KEY", "env:SITE_KEY")]);
    for (header, expected) in [
        (
            "x-api-key = \"env:SITE_KEY\"",
            "expected the value of `x-api-key`, found where one is kept (write `x-api-key = \"{secret:KEY}\"` and `KEY = \"env:SITE_KEY\"` under [secrets])",
        ),
        (
            "authorization = \"Bearer x\"",
            "expected `authorization` to refer to a secret: credentials do not belong in a source file (write `authorization = \"{secret:KEY}\"` and `KEY = \"env:NAME\"` under [secrets])",
        ),
        (
            "cookie = \"a=b\"",
            "expected `cookie` to refer to a secret: credentials do not belong in a source file (write `cookie = \"{secret:KEY}\"` and `KEY = \"env:NAME\"` under [secrets])",
        ),
        (
            "x-api-key = \"{secret:OTHER}\"",
            "expected a secret of [secrets], found `OTHER` (add `OTHER = \"env:NAME\"` under [secrets])",
        ),
    ] {
        assert_eq!(with(header, declared).unwrap_err(), [expected]);
    }
}

/// A browser source of which only the recipe matters; where its mistakes stand and what they are.
fn browser_recipe(recipe: &str) -> Result<BrowserRecipe, Vec<String>> {
    let text = format!(
        "name = \"s\"\nfetch = \"browser\"\nevery = \"1d\"\nkeys.list = [\"a\"]\nitems = {{ path = \"/i\", key = \"id\" }}\n\
         fields.id = {{ path = \"/id\", type = \"id\" }}\n[browser]\nurl = \"https://a.example/{{key}}\"\nready = \"#list\"\n{recipe}\n"
    );
    match Source::parse("s.toml", &text) {
        Ok(Source { recipe: Recipe::Browser(recipe), .. }) => Ok(*recipe),
        Ok(_) => panic!("a browser source"),
        Err(found) => Err(found.into_iter().map(|it| format!("{}:{}: {}", it.line, it.column, it.message)).collect()),
    }
}

#[test]
fn a_page_loads_more_in_one_of_four_ways() {
    let more = |text: &str| browser_recipe(&format!("response = \"*\"\n{text}")).map(|recipe| recipe.more);
    assert!(matches!(more(""), Ok(More::Nothing)));
    let timeout = |more| if let Ok(More::Scroll { timeout }) = more { timeout } else { panic!("{more:?}") };
    assert_eq!(timeout(more("more = \"scroll\"")), Duration::from_secs(4));
    assert_eq!(timeout(more("[browser.more]\nscroll = true\ntimeout = \"9s\"")), Duration::from_secs(9));
    assert!(matches!(more("[browser.more]\nscroll = false"), Ok(More::Nothing)));
    let Ok(More::Next(next)) = more("[browser.more]\nnext = \"a.next\"\ntexts = [\"older\"]") else { panic!() };
    assert_eq!((next.next.as_str(), next.texts), ("a.next", vec!["older".to_owned()]));
    let Ok(More::Button(button)) = more("[browser.more]\nlist = \"ul\"\nbutton = \"button\"") else { panic!() };
    assert_eq!((button.within.as_str(), button.texts.len(), button.prune), ("body", 0, None));
    let Recipe::Browser(shipped) = Source::parse(EMBEDDED[1].0, EMBEDDED[1].1).unwrap().recipe else { panic!() };
    assert!(matches!(shipped.more, More::Button(_)));
    for (text, expected) in [
        ("more = \"click\"", "11:8: expected `more` to be \"scroll\" or a section"),
        ("[browser.more]\nnext = \"a\"\nlist = \"ul\"", "13:1: unknown key `list` in [browser.more]"),
        (
            "[browser.more]\nnext = \"a\"\nbutton = \"b\"",
            "11:1: expected one of `button`, `next` and `scroll`, found `button` and `next`",
        ),
        ("[browser.more]\nlist = \"ul\"", "11:1: expected `button` in [browser.more], found nothing"),
    ] {
        assert_eq!(more(text).unwrap_err(), [expected], "{text}");
    }
}

#[test]
fn items_of_a_document_are_found_in_one_of_four_places() {
    let document =
        |text: &str| browser_recipe(&format!("[browser.document]\n{text}")).map(|recipe| recipe.document.unwrap());
    let cache = "state = \"S\"\nfield = \"f\"\npath = \"/items\"\ntypename = \"T\"";
    assert!(matches!(document(cache), Ok(DocumentRecipe::Cache(_))));
    let Ok(DocumentRecipe::State(state)) = document("state = \"S\"\npath = \"\"\ntotal = \"/n\"") else { panic!() };
    assert!(
        matches!(state.place, StatePlace::Variable(name) if name == "S")
            && state.path.as_str().is_empty()
            && state.total.is_some()
    );
    let Ok(DocumentRecipe::State(state)) = document("script = \"data\"\npath = \"/a\"") else { panic!() };
    assert!(matches!(state.place, StatePlace::Script(id) if id == "data"));
    assert!(
        matches!(document("linked_data = \"Review\""), Ok(DocumentRecipe::LinkedData { kind }) if kind == "Review")
    );
    for (text, expected) in [
        (
            "state = \"S\"\nfield = \"f\"\npath = \"/items\"",
            "10:1: expected `typename` in [browser.document], found nothing",
        ),
        ("state = \"S\"", "10:1: expected `path` in [browser.document], found nothing"),
        ("script = \"a\"\npath = \"/x/*\"", "12:8: expected a JSON pointer without `*`, found `/x/*`"),
        (
            "script = \"a\"\nstate = \"b\"\npath = \"/x\"",
            "10:1: expected one of `state`, `script` and `linked_data`, found `state` and `script`",
        ),
        ("path = \"/x\"", "10:1: expected `state`, `script` or `linked_data` in [browser.document], found nothing"),
        ("linked_data = \"Review\"\npath = \"/x\"", "12:1: unknown key `path` in [browser.document]"),
    ] {
        assert_eq!(document(text).unwrap_err(), [expected], "{text}");
    }
}

#[test]
fn a_recipe_that_would_read_nothing_is_refused() {
    let document = "[browser.document]\nlinked_data = \"Review\"";
    assert!(browser_recipe(document).is_ok_and(|recipe| recipe.response.is_none()));
    for (text, expected) in [
        ("", "7:1: expected `response` or a section [browser.document], found neither: nothing would be read"),
        (
            "operation = \"q\"\n[browser.document]\nlinked_data = \"Review\"",
            "10:13: `operation` is of no use without `response`",
        ),
        (
            "more = \"scroll\"\n[browser.document]\nlinked_data = \"Review\"",
            "10:8: expected `response` beside `more`: what scrolling or a button loads comes as answers",
        ),
        ("response = \"\"", "10:12: expected `response` to be a text, found an empty one"),
        (
            "response = \"*\"\nlanguage = \"de_DE\"",
            "11:12: expected languages as `accept-language` has them, such as `de-DE,de;q=0.9,en;q=0.5`, found `de_DE`",
        ),
        (
            "response = \"*\"\nlanguage = \"de\\r\\nx: y\"",
            "11:12: expected languages as `accept-language` has them, such as `de-DE,de;q=0.9,en;q=0.5`, found `de\r\nx: y`",
        ),
    ] {
        assert_eq!(browser_recipe(text).unwrap_err(), [expected], "{text}");
    }
    for language in ["ko-KR,ko;q=0.9", "en", "zh-Hant-TW, en;q=0.5, *;q=0.1"] {
        assert!(browser_recipe(&format!("response = \"*\"\nlanguage = \"{language}\"")).is_ok(), "{language}");
    }
}

#[test]
fn no_error_of_a_source_repeats_a_password() {
    let text = EMBEDDED[1].1;
    let url = text.lines().find(|line| line.starts_with("url = ")).unwrap();
    let addresses = [
        "http://me:s3cr3t@shop.example/{key}",
        "http://me:s3cr3t@shop.example:99999999/{key}",
        "http://me:s3/cr3t@shop.example/{key}",
        "http://me:s3cr3t@{key}.example/",
        "ftp://me:s3cr3t@shop.example/{key}",
        "http://me:s3cr3t@shop.example/{ky}",
        "http://me:s3cr3t@shop.example/{key",
    ];
    for address in addresses {
        let told = problems(&text.replacen(url, &format!("url = \"{address}\""), 1));
        assert!(!told.is_empty() && told.iter().all(|problem| !problem.contains("cr3t")), "{address}: {told:?}");
    }
    let hosts = edited("hosts = [\"*.naver.com\"", "hosts = [\"http://me:s3cr3t@naver.com\"");
    assert!(problems(&hosts).iter().all(|problem| !problem.contains("s3cr3t")));
}

#[test]
fn several_keys_need_a_place_where_they_stand() {
    let source = |keys: &str, http: &str| {
        let text = format!(
            "name = \"s\"\nfetch = \"http\"\nevery = \"1d\"\nkeys.{keys}\nitems = {{ path = \"/i\", key = \"id\" }}\n\
             fields.id = {{ path = \"/id\", type = \"id\" }}\n[secrets]\nK = \"env:K\"\n[http]\n{http}\n"
        );
        Source::parse("s.toml", &text).map(|source| source.asks_by_key()).map_err(|found| found.len())
    };
    let plain = "url = \"http://a.example/l\"";
    for (keys, http, expected) in [
        ("list = [\"a\", \"b\"]", plain, Err(1)),
        ("list = [\"a\", \"b\"]", "url = \"http://a.example/l?p={page}\"", Err(1)),
        ("list = [\"a\"]", plain, Ok(false)),
        ("list = [\"a\", \"a\"]", plain, Ok(false)),
        // How many it finds is known when it is asked.
        ("query = \"select 1 as key\"", plain, Ok(false)),
        ("list = [\"a\", \"b\"]", "url = \"http://a.example/{key}\"", Ok(true)),
        ("list = [\"a\", \"b\"]", "url = \"http://a.example/l\"\nheaders.x-key = \"{key}\"", Ok(true)),
        (
            "list = [\"a\", \"b\"]",
            "url = \"http://a.example/l\"\nmethod = \"POST\"\nbody = '{\"q\": \"{key}\"}'",
            Ok(true),
        ),
    ] {
        assert_eq!(source(keys, http), expected, "{keys} {http}");
    }
}
