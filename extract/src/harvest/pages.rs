//! Which items of a list are one, and which only look alike.
//!
//! An item that names itself is one wherever it comes. One that names itself in no readable way is told by its place: the second
//! of three that say the same is the second one of the whole list, so that as many land as the site sent, and a list that is read
//! again has the same ones.
//!
//! But a list is shown more than once: an answer begins with what its document has, a page asks for its first items once more, new
//! items push old ones onto the next page. What shows that is an item with a name: where a page begins as the one before it
//! ended, or is one that came before, with such an item among them, all of them are known. Where none has a name nothing shows
//! it, and items that are alike are others: a row too many can be seen in the table, one too few nowhere. Only a page that is one
//! of before as a whole is taken for that one if its items differ, or if the site does not say that there are more: sites
//! answer with their last page again and again.

use std::collections::HashMap;

use catalog::PartsHash;

/// What names an item of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ItemName {
    /// Its own name.
    Key(String),
    /// Without one: what it says, and how many of the list say the same, this one included.
    Content([u8; 32], u32),
}

/// What an item shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemMark<'a> {
    /// Its own name.
    Key(&'a str),
    /// What it says.
    Content(&'a [u8; 32]),
}

impl ItemName {
    fn mark(&self) -> ItemMark<'_> {
        match self {
            Self::Key(key) => ItemMark::Key(key),
            Self::Content(content, _) => ItemMark::Content(content),
        }
    }
}

/// The pages of a list so far, as far as it takes to name the items of the next one.
#[derive(Debug, Default)]
pub(super) struct Pages {
    alike: HashMap<[u8; 32], u32>,
    /// The newest page that has items.
    last: Vec<ItemName>,
    /// Pages with items that have no name, by all of their marks.
    nameless: HashMap<[u8; 32], Vec<ItemName>>,
}

impl Pages {
    /// The names of a page's items, in their order. `has_more` if the site counts more items than came so far.
    pub(super) fn name(&mut self, page: &[ItemMark<'_>], has_more: bool) -> Vec<ItemName> {
        if page.is_empty() {
            return Vec::new();
        }
        let is_nameless = page.iter().any(|mark| matches!(mark, ItemMark::Content(_)));
        let hash = is_nameless.then(|| hash_of(page));
        let known = match hash.as_ref().and_then(|hash| self.nameless.get(hash)) {
            Some(names) if has_name(page) || page.iter().any(|mark| *mark != page[0]) || !has_more => names.clone(),
            // Nothing but names needs no look at what came before.
            _ if is_nameless => self.overlap(page).to_vec(),
            _ => Vec::new(),
        };
        let mut names = known;
        for mark in &page[names.len()..] {
            names.push(match mark {
                ItemMark::Key(key) => ItemName::Key((*key).to_owned()),
                ItemMark::Content(content) => {
                    let count = self.alike.entry(**content).or_default();
                    *count += 1;
                    ItemName::Content(**content, *count)
                }
            });
        }
        if let Some(hash) = hash {
            self.nameless.insert(hash, names.clone());
        }
        self.last.clone_from(&names);
        names
    }

    /// The end of the last page with which this one begins, if there is an item with a name in it.
    fn overlap(&self, page: &[ItemMark<'_>]) -> &[ItemName] {
        // How long the beginning is that ends at each place of the page (Knuth, Morris and Pratt): pages may be long.
        let mut borders: Vec<usize> = vec![0; page.len()];
        let step = |borders: &[usize], mut length: usize, mark: ItemMark<'_>| {
            while length > 0 && (length == page.len() || page[length] != mark) {
                length = borders[length - 1];
            }
            length + usize::from(page[length] == mark)
        };
        for at in 1..page.len() {
            borders[at] = step(&borders, borders[at - 1], page[at]);
        }
        let length = self.last.iter().fold(0, |length, name| step(&borders, length, name.mark()));
        if has_name(&page[..length]) { &self.last[self.last.len() - length..] } else { &[] }
    }
}

fn has_name(page: &[ItemMark<'_>]) -> bool {
    page.iter().any(|mark| matches!(mark, ItemMark::Key(_)))
}

fn hash_of(page: &[ItemMark<'_>]) -> [u8; 32] {
    let mut hash = PartsHash::new();
    for mark in page {
        match mark {
            ItemMark::Key(key) => {
                hash.part("key");
                hash.part(key);
            }
            ItemMark::Content(content) => {
                hash.part("content");
                hash.part(content);
            }
        }
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The items of a list: letters are names, digits what items without one say.
    fn named(pages: &[(&str, bool)]) -> Vec<String> {
        let contents: Vec<[u8; 32]> = (0..10).map(|digit| [digit; 32]).collect();
        let mut of = Pages::default();
        let mut shown = Vec::new();
        for (page, has_more) in pages {
            let marks: Vec<ItemMark<'_>> = page
                .char_indices()
                .map(|(at, sign)| match sign.to_digit(10) {
                    Some(digit) => ItemMark::Content(&contents[digit as usize]),
                    None => ItemMark::Key(&page[at..=at]),
                })
                .collect();
            let names = of.name(&marks, *has_more).into_iter().map(|name| match name {
                ItemName::Key(key) => key,
                ItemName::Content(content, count) => format!("{}.{count}", content[0]),
            });
            shown.push(names.collect::<Vec<_>>().join(" "));
        }
        shown
    }

    #[test]
    fn items_that_look_alike_are_as_many_as_the_site_sent() {
        let of = |pages: &[&str]| named(&pages.iter().map(|page| (*page, true)).collect::<Vec<_>>());
        let cases: [(&[&str], &[&str]); 12] = [
            (&["1a11"], &["1.1 a 1.2 1.3"]),
            // On other pages they are others …
            (&["1a1", "1b1"], &["1.1 a 1.2", "1.3 b 1.4"]),
            (&["a1", "1b", "c1"], &["a 1.1", "1.2 b", "c 1.3"]),
            (&["a12", "12b"], &["a 1.1 2.1", "1.2 2.2 b"]),
            // … unless what is around them shows that the page is one that was shown already,
            (&["1a1", "1a1", "1b1"], &["1.1 a 1.2", "1.1 a 1.2", "1.3 b 1.4"]),
            (&["1a1", "2b", "1a1"], &["1.1 a 1.2", "2.1 b", "1.1 a 1.2"]),
            (&["1a1", "", "1a1"], &["1.1 a 1.2", "", "1.1 a 1.2"]),
            // or begins as the one before it ended,
            (&["ab1", "b1c1"], &["a b 1.1", "b 1.1 c 1.2"]),
            (&["a11", "a11b1"], &["a 1.1 1.2", "a 1.1 1.2 b 1.3"]),
            (&["1a11", "1a11a11b"], &["1.1 a 1.2 1.3", "1.1 a 1.2 1.3 a 1.4 1.5 b"]),
            // or, as a whole, is one of several that differ.
            (&["12", "12", "13"], &["1.1 2.1", "1.1 2.1", "1.2 3.1"]),
            (&["11", "11"], &["1.1 1.2", "1.3 1.4"]),
        ];
        for (pages, expected) in cases {
            assert_eq!(of(pages), expected, "{pages:?}");
        }
        // A site that counts no more items repeats itself.
        assert_eq!(named(&[("11", true), ("11", false)]), ["1.1 1.2", "1.1 1.2"]);
    }

    #[test]
    fn an_overlap_is_the_longest_one_there_is() {
        for before in ["", "a", "b1", "1a1", "11a1", "a1b1", "1111", "a1a1a1", "1a11a1"] {
            for page in ["1", "a1", "1a1a", "b1", "a1b1c", "11a", "1a1b1", "a1a1b", "1a11a11"] {
                let names: Vec<String> = named(&[(before, true), (page, true)]);
                let longest = (1..=page.len().min(before.len()))
                    .rev()
                    .find(|length| before.ends_with(&page[..*length]) && page[..*length].contains(char::is_alphabetic));
                let longest = longest.unwrap_or(0);
                let known: Vec<&str> = names[0].split_whitespace().collect();
                let found: Vec<&str> = names[1].split_whitespace().collect();
                assert_eq!(found[..longest], known[known.len() - longest..], "{before} {page}");
                let again = found[longest..].iter().any(|name| name.contains('.') && known.contains(name));
                assert!(!again, "{before} {page}: {found:?}");
            }
        }
    }
}
