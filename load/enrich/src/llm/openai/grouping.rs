//! Which texts are summarised together where they do not all fit into one prompt.
//!
//! A group is a bucket of the texts' own hashes: texts that begin with the same bits are together, and a bucket that does not fit is
//! split by its next bit. So where a text belongs depends on that text and on how full its bucket is, not on what comes before it.
//! One text more is one group more to ask, and all others are the groups that they were, whose answers are there already.
//!
//! Answers to groups are put together in their order instead ([`in_order`]): there are few of them, and each level has to be
//! at most half of the one below.

use catalog::digest_of;

use super::prompt::clean;
use crate::llm::tokens;

/// Bits that buckets are split by before texts are taken for the same text.
const DEEPEST: u32 = 64;

/// A text of a prompt, and how many of the texts that were given it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) weight: u64,
}

/// The texts of a group, as a prompt takes them.
pub(super) fn texts(group: &[Piece]) -> Vec<String> {
    group.iter().map(|piece| piece.text.clone()).collect()
}

/// How many of the given texts a group stands for.
pub(super) fn weight(group: &[Piece]) -> u64 {
    group.iter().map(|piece| piece.weight).sum()
}

/// The texts as pieces: clean, each short enough for a prompt, those without a letter or a digit left out.
pub(super) fn pieces(texts: &[String], budget: u64) -> Vec<Piece> {
    let clean = texts.iter().map(|text| clean(text)).filter(|text| text.chars().any(char::is_alphanumeric));
    clean.map(|text| Piece { text: cut(&text, budget), weight: 1 }).collect()
}

fn cut(text: &str, budget: u64) -> String {
    tokens::truncate(text, budget.saturating_sub(tokens::MESSAGE)).to_owned()
}

fn cost(piece: &Piece) -> u64 {
    tokens::estimate(&piece.text) + tokens::MESSAGE
}

/// All in one group in the order given if they fit; else by their hashes.
pub(super) fn by_content(pieces: Vec<Piece>, budget: u64) -> Vec<Vec<Piece>> {
    if pieces.is_empty() {
        return Vec::new();
    }
    if pieces.iter().map(cost).sum::<u64>() <= budget {
        return vec![pieces];
    }
    let mut hashed: Vec<(u64, Piece)> = pieces.into_iter().map(|piece| (bits(&piece.text), piece)).collect();
    hashed.sort_by(|(one, a), (other, b)| one.cmp(other).then_with(|| a.text.cmp(&b.text)));
    let mut groups = Vec::new();
    split(&hashed, 0, budget, &mut groups);
    groups
}

/// The first bits of a text's hash.
fn bits(text: &str) -> u64 {
    digest_of([text]).iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

fn split(pieces: &[(u64, Piece)], depth: u32, budget: u64, groups: &mut Vec<Vec<Piece>>) {
    if pieces.is_empty() {
        return;
    }
    let fits = pieces.iter().map(|(_, piece)| cost(piece)).sum::<u64>() <= budget;
    if fits {
        groups.push(pieces.iter().map(|(_, piece)| piece.clone()).collect());
    } else if depth == DEEPEST {
        groups.extend(in_order(pieces.iter().map(|(_, piece)| piece.clone()).collect(), budget));
    } else {
        // They are sorted, so those without the bit come first.
        let at = pieces.partition_point(|(bits, _)| bits & (1 << (DEEPEST - 1 - depth)) == 0);
        let (without, with) = pieces.split_at(at);
        split(without, depth + 1, budget, groups);
        split(with, depth + 1, budget, groups);
    }
}

/// One group behind the other, each as full as it gets. No piece takes more than half of a prompt, so that two always fit.
pub(super) fn in_order(pieces: Vec<Piece>, budget: u64) -> Vec<Vec<Piece>> {
    let mut groups: Vec<Vec<Piece>> = Vec::new();
    let mut left = 0;
    for piece in pieces {
        let piece = Piece { text: cut(&piece.text, budget / 2), ..piece };
        let cost = cost(&piece);
        match groups.last_mut() {
            Some(group) if cost <= left => {
                group.push(piece);
                left -= cost;
            }
            _ => {
                groups.push(vec![piece]);
                left = budget.saturating_sub(cost);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn given(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("visit number {i} was as good as the one before, and the staff were kind")).collect()
    }

    fn grouped(texts: &[String], budget: u64) -> Vec<Vec<Piece>> {
        by_content(pieces(texts, budget), budget)
    }

    #[test]
    fn what_fits_is_one_prompt_in_the_order_given_and_what_does_not_is_several() {
        let many = given(50);
        let whole = grouped(&many, 10_000);
        assert_eq!((whole.len(), texts(&whole[0])), (1, many.clone()));
        for groups in [grouped(&many, 300), in_order(pieces(&many, 300), 300)] {
            assert!(groups.len() > 3);
            let found: BTreeSet<String> = groups.iter().flat_map(|group| texts(group)).collect();
            assert_eq!(found, many.iter().cloned().collect(), "nothing is lost and nothing is changed");
            assert_eq!(groups.iter().map(|group| weight(group)).sum::<u64>(), 50);
            assert!(groups.iter().all(|group| group.iter().map(cost).sum::<u64>() <= 300));
        }
        let answers: Vec<String> = (0..9).map(|i| format!("{i} {}", "字".repeat(500))).collect();
        let halved = in_order(pieces(&answers, 1_600), 1_600);
        assert_eq!(
            halved.iter().map(Vec::len).collect::<Vec<_>>(),
            [2, 2, 2, 2, 1],
            "each level is half of the one below"
        );
        let endless = pieces(&["a".repeat(5_000)], 300);
        assert!(tokens::estimate(&by_content(endless, 300)[0][0].text) <= 300);
        assert!(grouped(&[" ".into(), "!!".into()], 300).is_empty());
    }

    #[test]
    fn one_text_more_leaves_all_groups_but_its_own_as_they_were() {
        let mut texts = given(400);
        let budget = 1_000;
        let before: BTreeSet<Vec<String>> = grouped(&texts, budget).iter().map(|group| super::texts(group)).collect();
        let mut changed = 0;
        for i in 0..20 {
            // Wherever it comes in.
            let mut more = texts.clone();
            more.insert(i * 17, format!("the {i}th new text"));
            let after: BTreeSet<Vec<String>> = grouped(&more, budget).iter().map(|group| super::texts(group)).collect();
            changed += after.difference(&before).count();
        }
        assert!((20..=25).contains(&changed), "twenty texts changed {changed} groups");
        texts.reverse();
        let reversed: BTreeSet<Vec<String>> = grouped(&texts, budget).iter().map(|group| super::texts(group)).collect();
        assert_eq!(reversed, before, "their order decides nothing");
    }

    #[test]
    fn the_same_text_over_and_over_is_grouped_too() {
        let same = vec!["the same words again and again".to_owned(); 200];
        let groups = grouped(&same, 300);
        assert!(groups.len() > 2 && groups.iter().all(|group| group.iter().map(cost).sum::<u64>() <= 300));
        assert_eq!(groups.iter().map(|group| weight(group)).sum::<u64>(), 200);
    }
}
