//! Rules for persons that fit nothing.
//!
//! A rule with a misspelt path keeps nothing back, and so does one whose member the site has renamed; neither fails. What a rule
//! speaks of is there in some item of a source, be it null: where none of a day's has it, the rule is told. What is seldom
//! there – answers to reviews, say – is named under `seldom`.

use crate::json::Json;
use crate::source::{FieldType, Pointer, Source};

/// Whether the source has said meanwhile that what a rule speaks of is there seldom. `told` is of [`UnfitRules::told`].
pub(crate) fn is_seldom(told: &str, source: &Source) -> bool {
    let path = told.rsplit('`').nth(1).and_then(|path| Pointer::parse(path).ok());
    path.is_some_and(|path| source.scrub().seldom.iter().any(|seldom| path.lies_below(seldom)))
}

/// The rules of a source that none of the items so far has anything of.
#[derive(Debug)]
pub(crate) struct UnfitRules<'s>(Vec<(String, &'s Pointer)>);

impl<'s> UnfitRules<'s> {
    /// All of them: no item was looked at yet.
    pub(crate) fn new(source: &'s Source) -> Self {
        let rules = source.scrub();
        let of = |kind: &'static str, pointer: &'s Pointer| (format!("{kind} `{pointer}`"), pointer);
        let hashed = source.fields().iter().filter(|field| field.kind == FieldType::Hash);
        let all = rules
            .keep
            .iter()
            .map(|(pointer, _)| of("keep", pointer))
            .chain(rules.drop.iter().map(|pointer| of("drop", pointer)))
            .chain(rules.names.iter().map(|pointer| of("names", pointer)))
            .chain(hashed.filter_map(|field| Some(of("the type `hash` at", field.pointer()?))));
        Self(all.filter(|(_, pointer)| !rules.seldom.iter().any(|seldom| pointer.lies_below(seldom))).collect())
    }

    /// Looks at an item before anything of it is taken away.
    pub(crate) fn look_at(&mut self, item: &Json) {
        self.0.retain(|(_, pointer)| !pointer.is_in(item));
    }

    /// What is left, in words.
    pub(crate) fn told(self) -> Vec<String> {
        self.0.into_iter().map(|(told, _)| told).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_is_told_that_fits_no_item() {
        let source = |identity: &str| {
            let file = format!(
                "name = \"rows\"\nfetch = \"http\"\nevery = \"1d\"\nkeys.list = [\"a\"]\n[http]\nurl = \"https://a.example/\"\n\
                [items]\npath = \"/list\"\nkey = \"id\"\n[fields]\nid = {{ path = \"/id\", type = \"id\" }}\n\
                who = {{ path = \"/user/id|uid\", type = \"hash\" }}\n[identity]\n{identity}"
            );
            Source::parse("rows.toml", &file).unwrap_or_else(|problems| panic!("{problems:?}"))
        };
        let rules = "keep = { \"/user\" = [\"id\"] }\ndrop = [\"/reply/*/by\", \"/media\"]\nnames = [\"/user/nick\"]\n";
        let all = [
            "keep `/user`",
            "drop `/reply/*/by`",
            "drop `/media`",
            "names `/user/nick`",
            "the type `hash` at `/user/id|uid`",
        ];
        let cases = [
            (json!([]), "", all.to_vec()),
            (json!([{"usr": {"id": 1}}]), "", all.to_vec()),
            // A member that is null is there.
            (json!([{"user": null, "media": null}]), "", vec![all[1], all[3], all[4]]),
            (json!([{"user": {"uid": 1, "nick": null}}, {"reply": [{}, {"by": "x"}]}, {"media": []}]), "", vec![]),
            (json!([{"user": {"id": 1}}, {"reply": []}]), "seldom = [\"/reply\"]", vec![all[2], all[3]]),
            (json!([{"user": {"id": 1}}]), "seldom = [\"/reply/*/by\", \"/media\", \"/user/nick\"]", vec![]),
        ];
        for (items, seldom, expected) in cases {
            let source = source(&format!("{rules}{seldom}"));
            let mut unfit = UnfitRules::new(&source);
            for item in items.as_array().unwrap() {
                unfit.look_at(&Json::from(item.clone()));
            }
            assert_eq!(unfit.told(), expected, "{items} {seldom}");
        }
        // What is named under `seldom` is a rule.
        let file = "name = \"rows\"\nfetch = \"http\"\nevery = \"1d\"\nkeys.list = [\"a\"]\n[http]\nurl = \"https://a.example/\"\n\
            [items]\npath = \"/list\"\nkey = \"id\"\n[fields]\nid = { path = \"/id\", type = \"id\" }\n\
            [identity]\ndrop = [\"/reply/by\"]\nseldom = [\"/replies\"]\n";
        let problems = Source::parse("rows.toml", file).unwrap_err();
        assert!(problems[0].message.contains("found `/replies`") && problems[0].line == 14, "{problems:?}");
    }
}
