//! Every entity with a part of a word in its texts: exact, the most mentioned first. What is not shown is counted and not read.

use std::collections::{BTreeMap, HashMap};

use catalog::TableName;

use super::corpus::{Corpus, FoundMentions, Texts};
use super::hit::{EntityId, KeywordAnswer, KeywordHit};
use super::order::LazyOrder;
use crate::error::{Error, Result};
use crate::sink::keywords::document::Document;
use rows::text::{fold, sentence_with};

/// Documents of an entity that are looked at for the sentence that is shown.
const READ: usize = 1_000;
/// Entities that are read at once.
const AT_ONCE: usize = 500;

/// What is known of an entity.
#[derive(Debug)]
struct Mentioned {
    /// At most, until they were read.
    rows: u64,
    is_own: bool,
    is_exact: bool,
    /// Where its texts are.
    places: Vec<usize>,
    /// The sentence that shows it, the table and the key of its row.
    shown: Option<(String, TableName, String)>,
}

impl Mentioned {
    /// Whether nothing more has to be read of it.
    fn is_done(&self) -> bool {
        self.is_exact && self.shown.is_some()
    }
}

/// The entities with `part` in their own texts or in texts about them, at most `limit`.
pub(super) async fn keyword(corpus: &Corpus<'_>, part: &str, limit: Option<usize>) -> Result<KeywordAnswer> {
    let needle = fold(part.trim());
    if needle.is_empty() {
        return Err(Error::EmptyQuery { query: part.to_owned() });
    }
    let limit = limit.unwrap_or(usize::MAX);
    let terms = [vec![needle.clone()]];
    let counted = counted(corpus, &needle, limit).await?;
    let (mut entities, found, total) = if let Some((entities, total)) = counted {
        (entities, Vec::new(), Some(total))
    } else {
        let (entities, found) = found(corpus, &terms).await?;
        (entities, found, None)
    };
    // A number is a place in the order of the keys, so that equal ones stand in it.
    let bounds: Vec<(usize, f64, bool)> =
        entities.iter().enumerate().map(|(n, (_, it))| (n, number(it.rows), it.is_exact)).collect();
    let mut order = LazyOrder::new(bounds, usize::MAX);
    let reader = Reader { corpus, found: &found, terms: &terms, needle: &needle };
    loop {
        let next = order.next(limit);
        if next.is_empty() {
            break;
        }
        reader.read(&next, &mut entities, usize::MAX).await?;
        for place in next {
            order.settle(place, number(entities[place].1.rows));
        }
    }
    let best = std::mem::take(&mut order.best);
    let unread: Vec<usize> = best.iter().copied().filter(|it| entities[*it].1.shown.is_none()).collect();
    for unread in unread.chunks(AT_ONCE) {
        reader.read(unread, &mut entities, READ).await?;
    }
    let titles = titles(corpus, best.iter().map(|it| &entities[*it].0)).await?;
    let is_total_exact = total.is_some() || order.is_rest_settled();
    let total = total.unwrap_or((best.len() + order.left()) as u64);
    let hits = best.into_iter().filter_map(|it| hit(&entities[it], &titles)).collect();
    Ok(KeywordAnswer { hits, total, is_total_exact, notes: corpus.notes.clone() })
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows")]
fn number(rows: u64) -> f64 {
    rows as f64
}

fn hit((id, it): &(EntityId, Mentioned), titles: &HashMap<EntityId, String>) -> Option<KeywordHit> {
    let (sentence, from, from_key) = it.shown.clone()?;
    let title = titles.get(id).unwrap_or(&id.1).clone();
    let (table, key) = id.clone();
    Some(KeywordHit { table, key, title, rows: it.rows, own: it.is_own, sentence, from, from_key })
}

/// Entities in the order of their tables and keys.
type InOrder = Vec<(EntityId, Mentioned)>;

/// The most mentioned, where a database counts all of it: with how many there are in all.
async fn counted(corpus: &Corpus<'_>, needle: &str, limit: usize) -> Result<Option<(InOrder, u64)>> {
    let Some(groups) = corpus.most_mentioned(needle, limit).await? else { return Ok(None) };
    let mut entities = InOrder::new();
    let mut total = 0;
    for (table, most, all) in groups {
        total += all;
        let places: Vec<usize> =
            (0..corpus.texts.len()).filter(|at| *corpus.texts[*at].entity_table() == table).collect();
        for it in most {
            let known =
                Mentioned { rows: it.rows, is_own: it.own, is_exact: true, places: places.clone(), shown: None };
            entities.push(((table.clone(), it.entity), known));
        }
    }
    entities.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Some((entities, total)))
}

/// Everything that may be mentioned, counted by the indexes.
async fn found(corpus: &Corpus<'_>, terms: &[Vec<String>]) -> Result<(InOrder, Vec<FoundMentions>)> {
    let mut entities = InOrder::new();
    let mut found = Vec::with_capacity(corpus.texts.len());
    for (at, texts) in corpus.texts.iter().enumerate() {
        let mut here = texts.mentions(terms).await?;
        let is_exact = terms.iter().flatten().all(|needle| texts.is_exact(needle));
        let is_own = texts.target().entity.is_none();
        for it in std::mem::take(&mut here.mentions) {
            let rows = it.patterns.iter().map(|(_, count)| count).sum();
            let known = Mentioned { rows, is_own, is_exact, places: vec![at], shown: None };
            entities.push(((texts.entity_table().clone(), it.entity), known));
        }
        found.push(here);
    }
    // Each of the texts has them in order: a merge.
    entities.sort_by(|(a, _), (b, _)| a.cmp(b));
    entities.dedup_by(|(next, more), (first, known)| {
        let is_same = next == first;
        if is_same {
            known.rows += more.rows;
            known.is_own |= more.is_own;
            known.is_exact &= more.is_exact;
            known.places.append(&mut more.places);
        }
        is_same
    });
    Ok((entities, found))
}

/// Reads the texts of some entities.
struct Reader<'a> {
    corpus: &'a Corpus<'a>,
    found: &'a [FoundMentions],
    terms: &'a [Vec<String>],
    needle: &'a str,
}

impl Reader<'_> {
    /// Finds the sentence that shows each of these, and how many rows there really are where that is not known.
    async fn read(&self, places: &[usize], entities: &mut InOrder, most: usize) -> Result<()> {
        let nothing = FoundMentions::default();
        let mut really: HashMap<usize, (u64, bool)> = HashMap::new();
        // The entity's own row is the first to show it.
        let (own, about): (Vec<usize>, Vec<usize>) =
            (0..self.corpus.texts.len()).partition(|at| self.corpus.texts[*at].target().entity.is_none());
        for at in own.into_iter().chain(about) {
            let texts = &self.corpus.texts[at];
            let is_here = |it: &usize| entities[*it].1.places.contains(&at) && !entities[*it].1.is_done();
            let here: Vec<usize> = places.iter().copied().filter(is_here).collect();
            let keys: Vec<&str> = here.iter().map(|it| entities[*it].0.1.as_str()).collect();
            // What a database counted by itself needs one row to be shown.
            let most = if self.found.is_empty() { 1 } else { most };
            let mut read = texts.read(self.found.get(at).unwrap_or(&nothing), self.terms, &keys, most).await?;
            for place in here {
                let (id, known) = &mut entities[place];
                let documents = read.remove(&id.1).unwrap_or_default();
                self.take(texts, &documents, known, really.entry(place).or_default());
            }
        }
        for (place, (rows, is_own)) in really {
            let known = &mut entities[place].1;
            if !known.is_exact {
                (known.rows, known.is_own, known.is_exact) = (rows, is_own, true);
            }
        }
        Ok(())
    }

    fn take(&self, texts: &Texts, documents: &[Document], known: &mut Mentioned, (rows, is_own): &mut (u64, bool)) {
        for document in documents {
            let searched = |column: &String| texts.searched.columns.get(column).is_some_and(|weight| *weight > 0.0);
            let passage = document.passages.iter().find(|it| searched(&it.column) && it.holds(self.needle));
            let Some(passage) = passage else { continue };
            *rows += 1;
            *is_own |= texts.target().entity.is_none();
            if known.shown.is_none() {
                let sentence = sentence_with(&passage.text, self.needle);
                known.shown = Some((sentence, texts.target().table.clone(), document.key.clone()));
            }
        }
    }
}

/// What people call these entities, where they have a title.
async fn titles<'a>(corpus: &Corpus<'_>, ids: impl Iterator<Item = &'a EntityId>) -> Result<HashMap<EntityId, String>> {
    let mut by_table: BTreeMap<&TableName, Vec<&str>> = BTreeMap::new();
    for (table, key) in ids {
        by_table.entry(table).or_default().push(key);
    }
    let mut found = HashMap::new();
    for (table, keys) in by_table {
        for index in corpus.texts.iter().filter(|it| it.target().table == *table) {
            for (key, document) in index.get(&keys).await? {
                found.extend(document.title.map(|title| ((table.clone(), key), title)));
            }
        }
    }
    Ok(found)
}
