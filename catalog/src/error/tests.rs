use super::*;

fn io(kind: io::ErrorKind) -> object_store::Error {
    object_store::Error::Generic { store: "test", source: io::Error::from(kind).into() }
}

#[test]
fn a_full_disk_is_told_from_a_missing_right() {
    let uri = "file:///lake/";
    let error = Error::store(uri, Access::Write, "put", io(io::ErrorKind::StorageFull));
    assert!(matches!(error, Error::Refused { tried: Access::Write, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("disk is full"));
    let error = Error::store(uri, Access::Read, "get", io(io::ErrorKind::ReadOnlyFilesystem));
    assert_eq!(error.to_string(), "cannot write to the lake file:///lake/");
    assert!(error.hint().unwrap().contains("--lake"));
    let error = Error::store(uri, Access::Read, "get", io(io::ErrorKind::PermissionDenied));
    assert_eq!(error.to_string(), "cannot read the lake file:///lake/");
    assert!(error.hint().unwrap().contains("read access"));
    let error = Error::store(uri, Access::Write, "put", io(io::ErrorKind::TimedOut));
    assert!(matches!(error, Error::Storage { .. }) && error.is_retryable());
}

#[test]
fn a_refusal_says_what_was_tried_and_which_right_is_missing() {
    let refused = |request: &str| object_store::Error::PermissionDenied {
        path: "raw/t".to_owned(),
        source: format!("Error performing {request} in 1ms - Server returned non-2xx status code: 403 Forbidden")
            .into(),
    };
    let list = "GET http://server/jar?list-type=2&prefix=a";
    for (request, called_for, says, right) in [
        (list, Access::List, "list", "s3:ListBucket on `jar`"),
        (list, Access::Write, "list", "s3:ListBucket on `jar`"),
        ("GET http://server/jar/a/x", Access::Read, "read", "s3:GetObject on `jar/a/*`"),
        ("HEAD http://server/jar/a/x", Access::Write, "read", "s3:GetObject on `jar/a/*`"),
        ("PUT http://server/jar/a/x", Access::Read, "write to", "s3:PutObject on `jar/a/*`"),
        ("POST http://server/jar/a/x?uploads", Access::Write, "write to", "s3:PutObject on `jar/a/*`"),
        ("POST http://server/jar?delete", Access::Delete, "delete from", "s3:DeleteObject on `jar/a/*`"),
        ("DELETE http://server/jar/a/x", Access::Write, "delete from", "s3:DeleteObject on `jar/a/*`"),
        ("PUT REDACTED", Access::Read, "write to", "s3:PutObject on `jar/a/*`"),
    ] {
        let error = Error::store("s3://jar/a/", called_for, "x", refused(request));
        assert_eq!(error.to_string(), format!("cannot {says} the lake s3://jar/a/"), "{request}");
        assert!(error.hint().unwrap().contains(right), "{request}: {:?}", error.hint());
    }
    // The store library has no variant for a refused listing.
    for (status, is_refusal) in [("403 Forbidden", true), ("401 Unauthorized", true), ("503 Slow Down", false)] {
        let source = format!(
            "Error performing list request: Error performing {list} in 1ms - Server returned non-2xx status code: {status}: x"
        );
        let error = object_store::Error::Generic { store: "S3", source: source.into() };
        let error = Error::store("s3://jar/a/", Access::List, "listing", error);
        assert_eq!(matches!(error, Error::Refused { tried: Access::List, .. }), is_refusal, "{status}: {error:?}");
    }
    let source = "DeleteObjects request failed for key a/x: Access Denied (code: AccessDenied)".into();
    let denied = object_store::Error::Generic { store: "S3", source };
    let error = Error::store("s3://jar/a/", Access::Delete, "deleting", denied);
    assert_eq!(error.to_string(), "cannot delete from the lake s3://jar/a/");
    // Who says nothing of a request is taken at the caller's word.
    let silent = object_store::Error::PermissionDenied { path: "raw/t".to_owned(), source: "no".into() };
    assert_eq!(Error::store("s3://jar/a/", Access::List, "x", silent).to_string(), "cannot list the lake s3://jar/a/");
}

#[test]
fn messages_never_repeat_their_source() {
    let source = object_store::Error::Generic { store: "test", source: "boom".into() };
    assert_eq!(Error::store("x", Access::Write, "writing `a`", source).to_string(), "writing `a` failed");
}
