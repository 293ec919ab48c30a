use super::*;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

#[test]
fn odd_forms_of_an_address_are_that_address() {
    let egress = Egress::new([]);
    for text in [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://127.0.0.1./",
        "http://%31%32%37.0.0.1/",
        "http://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
        "http://127\u{3002}0\u{3002}0\u{3002}1/",
        "http://0/",
        "http://0.0.0.0/",
        "http://[::1]/",
        "http://[::]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[fe80::1]/",
        "http://169.254.169.254/",
        "http://0xa9fea9fe/",
        "http://2852039166/",
        "http://10.1.2.3/",
        "http://192.168.1.1/",
    ] {
        assert!(matches!(egress.check_form(&url(text)), Err(EgressDenied::Private { .. })), "{text}");
    }
    for text in [
        "http://user@example.com/",
        "https://a:b@example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "ws://example.com/",
    ] {
        assert!(matches!(egress.check_form(&url(text)), Err(EgressDenied::Form { .. })), "{text}");
    }
    for text in ["https://example.com/", "http://1.1.1.1/", "http://[2606:4700::1111]/"] {
        assert_eq!(egress.check_form(&url(text)), Ok(()), "{text}");
    }
}

#[test]
fn where_the_project_points_is_free_and_nothing_beside_it() {
    let egress = Egress::new([url("http://127.0.0.1:8080"), url("http://[::1]:8080"), url("http://localhost:9090")]);
    for (text, is_free) in [
        ("http://127.0.0.1:8080/x", true),
        ("http://[::1]:8080/x", true),
        ("http://localhost:9090/", true),
        ("http://127.0.0.1:8081/", false),
        ("http://127.0.0.1/", false),
        ("http://127.0.0.2:8080/", false),
        ("http://localhost:9091/", false),
        ("http://[::ffff:127.0.0.1]:8080/", false),
    ] {
        assert_eq!(egress.check_form(&url(text)).is_ok(), is_free, "{text}");
    }
}

#[test]
fn a_host_is_declared_by_name_suffix_and_port() {
    let declared =
        Declared::new(["a.example", "*.img.example", "b.example:8443", "[2606:4700::1]", ""].map(str::to_owned));
    for (host, port, expected) in [
        ("a.example", 443, true),
        ("A.Example.", 80, true),
        ("a.example", 8080, false),
        ("x.a.example", 443, false),
        ("aa.example", 443, false),
        ("x.img.example", 443, true),
        ("x.y.img.example", 80, true),
        ("img.example", 443, false),
        ("ximg.example", 443, false),
        ("b.example", 8443, true),
        ("b.example", 443, false),
        ("[2606:4700::1]", 443, true),
        ("", 443, false),
    ] {
        assert_eq!(declared.has(host, port), expected, "{host}:{port}");
    }
    let egress = Egress::new([url("http://127.0.0.1:8080")]);
    let checked = |text: &str| egress.check_declared(&url(text), &declared);
    assert_eq!(checked("https://a.example/x"), Ok(()));
    assert_eq!(checked("http://127.0.0.1:8080/"), Ok(()));
    assert_eq!(checked("https://c.example/"), Err(EgressDenied::Undeclared { host: "c.example".to_owned() }));
}

#[tokio::test]
async fn a_name_is_as_public_as_the_least_of_its_addresses() {
    let egress = Egress::new([url("http://localhost:9090")]);
    assert!(egress.addresses("localhost", 9090).await.is_ok());
    assert!(matches!(egress.addresses("localhost", 9091).await, Err(EgressDenied::Private { .. })));
    assert!(matches!(egress.addresses("127.0.0.1", 80).await, Err(EgressDenied::Private { .. })));
    let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 443);
    assert!(looked_at("a", vec![at("1.1.1.1"), at("2606:4700::1111")], false).is_ok());
    assert!(looked_at("a", vec![at("1.1.1.1"), at("10.0.0.1")], false).is_err());
    assert!(looked_at("a", vec![at("10.0.0.1")], true).is_ok());
    assert!(looked_at("a", vec![], true).is_err());
}
