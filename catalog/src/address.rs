//! Addresses as they may be told.

use url::Url;

/// What ends an address in a text.
const ENDS: [char; 8] = [' ', '\t', '\n', '\r', '`', '"', '<', '>'];

/// A text without the users and passwords of the addresses in it: `http://me:pw@host/` is told as `http://…@host/`. Of what
/// looks like an address and is none, all before its last `@` is left out, since nobody can say where a password ends.
pub fn without_user(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let scheme = rest[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
        let begin = scheme.map_or(0, |before| before + rest[before..].chars().next().map_or(1, char::len_utf8));
        let end = rest[at..].find(ENDS).map_or(rest.len(), |end| at + end);
        let address = &rest[begin..end];
        let is_plain = Url::parse(address).is_ok_and(|url| url.username().is_empty() && url.password().is_none());
        match address.rfind('@').filter(|_| !is_plain) {
            Some(user_end) => {
                out.push_str(&rest[..at]);
                out.push_str("://…");
                out.push_str(&address[user_end..]);
            }
            None => out.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_is_told_and_nothing_else_is_left_out() {
        let table = [
            ("http://me:s3cr3t@host/list?q={key}", "http://…@host/list?q={key}"),
            ("https://token@host", "https://…@host"),
            ("found `http://me:s3cr3t@host/`, and http://b:c@d/e", "found `http://…@host/`, and http://…@d/e"),
            ("http://me:s3/cr3t@host/", "http://…@host/"),
            ("http://me:s3cr3t@ho st/", "http://…@ho st/"),
            ("http://me:s3@cr3t@host:99999999/", "http://…@host:99999999/"),
            ("s3://key:s3cr3t@bucket/a", "s3://…@bucket/a"),
            ("https://site.example/@somebody/posts", "https://site.example/@somebody/posts"),
            ("https://국밥.example/?mail=a@b", "https://국밥.example/?mail=a@b"),
            ("write to me@host, no address", "write to me@host, no address"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(without_user(text), expected);
        }
    }
}
