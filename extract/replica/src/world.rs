//! The whole content of a replica: its places, and where its reviews come from.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::corpus::Corpus;
use crate::dates;
use crate::error::{Error, Result};
use crate::options::ReplicaOptions;
use crate::place::{self, Place};
use crate::review::Review;
use crate::seed::{self, Rng, Stream};
use crate::truth::Spoilt;

/// What exists; how it is shown and spoilt is decided elsewhere.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) today: Date,
    /// Where the generated history ends.
    pub(crate) end: Timestamp,
    pub(crate) places: Vec<Place>,
    /// How many people write.
    pub(crate) authors: u64,
    pub(crate) corpus: Option<Corpus>,
    /// How many reviews the places before this one have.
    pub(crate) offsets: Vec<u64>,
    by_id: HashMap<String, usize>,
}

impl World {
    /// Builds the places; reads the texts if there are any to read.
    pub(crate) fn build(options: &ReplicaOptions) -> Result<Self> {
        let sizes = options.sizes.deal(options.seed, options.places, options.reviews)?;
        let end = dates::midnight(options.until.unwrap_or(options.today));
        let places = place::places(options.seed, &sizes, end);
        let corpus =
            options.texts.as_deref().map(|path| Corpus::read(path, options.text_column.as_deref())).transpose()?;
        let by_id = places.iter().enumerate().map(|(index, place)| (place.id.clone(), index)).collect();
        let offsets = sizes.iter().scan(0, |sum, size| Some(std::mem::replace(sum, *sum + size))).collect();
        let authors = (sizes.iter().sum::<u64>() / 4).max(20);
        Ok(Self { seed: options.seed, today: options.today, end, places, authors, corpus, offsets, by_id })
    }

    /// Where a place is in the list.
    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The same, as an error for callers of the library.
    pub(crate) fn expect_place(&self, id: &str) -> Result<usize> {
        self.find(id).ok_or_else(|| Error::NoSuchPlace { place: id.to_owned() })
    }

    /// Review `number` of a place, 0 being the oldest.
    pub(crate) fn review(&self, index: usize, number: u64) -> Review {
        Review::new(self, index, number)
    }

    /// Whether and how this review is spoilt at this rate.
    pub(crate) fn spoilt(&self, index: usize, number: u64, rate: f64) -> Option<Spoilt> {
        if rate <= 0.0 {
            return None;
        }
        let mut rng = Rng::new(self.seed, Stream::Spoil, &[index as u64, number]);
        rng.chance(rate).then(|| Spoilt::ALL[rng.index(Spoilt::ALL.len())])
    }

    /// Whether this review is written in older field names at this rate.
    pub(crate) fn drifted(&self, index: usize, number: u64, rate: f64) -> bool {
        seed::below_rate(seed::hash(self.seed ^ seed::mix(Stream::Shape as u64), &[index as u64, number]), rate)
    }

    /// Search words that reach every place although a list ends at `cap`.
    pub(crate) fn search_words(&self, cap: Option<u64>) -> Vec<String> {
        let over = |query: &str| {
            cap.is_some_and(|cap| self.places.iter().filter(|place| place.matches(query)).count() as u64 > cap)
        };
        let mut words = Vec::new();
        let mut open = vec!["맛집".to_owned()];
        while let Some(query) = open.pop() {
            let finer = if over(&query) { self.finer(&query) } else { Vec::new() };
            if finer.is_empty() {
                words.push(query);
            } else {
                open.extend(finer);
            }
        }
        words.sort();
        words
    }

    /// Everything → neighbourhoods → kinds in a neighbourhood.
    fn finer(&self, query: &str) -> Vec<String> {
        let of = |part: &dyn Fn(&Place) -> String| {
            let mut parts: Vec<String> = self.places.iter().filter(|place| place.matches(query)).map(part).collect();
            parts.sort();
            parts.dedup();
            parts
        };
        match query.split(' ').count() {
            1 => of(&|place| format!("{} 맛집", place.area.dong)),
            2 if query.ends_with("맛집") => of(&|place| format!("{} {}", place.area.dong, place.category.label)),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
