//! What a replica would ever serve, so that a test can compare what was harvested with what there was.
//!
//! The truth is taken at one moment, with the switches of that moment. Reviews are made while they are walked over.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::switches::Switches;
use crate::world::World;

/// What there is at one moment.
#[derive(Clone)]
pub struct Truth {
    world: Arc<World>,
    counts: Vec<u64>,
    switches: Switches,
}

/// A place as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TruthPlace {
    /// Its id, a decimal text.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its kind, such as `국밥`.
    pub category: String,
    /// Where it is: `서울 마포구 망원동`.
    pub area: String,
    /// How many reviews it has now.
    pub reviews: u64,
    /// Its reviews are never served, because every request is answered 500.
    pub poisoned: bool,
}

/// A review as it is, before it is spoilt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TruthReview {
    /// Its id, 24 hex digits (also where the id is what is spoilt).
    pub id: String,
    /// The place it is about.
    pub place_id: String,
    /// Its number in the place, 0 being the oldest.
    pub number: u64,
    /// What was written, as it was written: markup, decomposed syllables, contact data and all.
    pub body: String,
    /// Texts that identify its author: ids and nickname.
    pub identity: Vec<String>,
    /// Telephone numbers and mail addresses in the text and in the owner's answer.
    pub contacts: Vec<String>,
    /// How it is spoilt, if it is.
    pub spoilt: Option<Spoilt>,
    /// It arrived after the replica had started.
    pub arrived: bool,
}

/// What is wrong with a spoilt review: each can't be mapped to the field's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Spoilt {
    /// It has no `id`, no `reviewId` and no `apolloCacheId`.
    MissingId,
    /// `rating` is a text that is no number.
    RatingText,
    /// `representativeVisitDateTime` is the 45th of a 13th month.
    VisitNonsense,
    /// `body` is a number.
    BodyNumber,
    /// `visitCount` is a text that is no number.
    VisitCountText,
}

impl Spoilt {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::MissingId, Self::RatingText, Self::VisitNonsense, Self::BodyNumber, Self::VisitCountText];

    /// Spoils a review as the site would send it.
    pub(crate) fn apply(self, review: &mut Map<String, Value>) {
        match self {
            Self::MissingId => {
                for field in ["id", "reviewId", "apolloCacheId"] {
                    review.remove(field);
                }
                review.insert("reactionStat".to_owned(), Value::Null);
            }
            Self::RatingText => drop(review.insert("rating".to_owned(), json!("별점 없음"))),
            Self::VisitNonsense => {
                drop(review.insert("representativeVisitDateTime".to_owned(), json!("2026-13-45T99:99:99.000Z")));
            }
            Self::BodyNumber => drop(review.insert("body".to_owned(), json!(404))),
            Self::VisitCountText => drop(review.insert("visitCount".to_owned(), json!("여러 번"))),
        }
    }
}

impl Truth {
    pub(crate) fn new(world: Arc<World>, added: &[u64], switches: Switches) -> Self {
        let counts = world.places.iter().zip(added).map(|(place, added)| place.reviews + added).collect();
        Self { world, counts, switches }
    }

    /// The places, in the order of the list. None where the site is switched empty.
    pub fn places(&self) -> impl Iterator<Item = TruthPlace> + '_ {
        let shown = if self.switches.empty { 0 } else { self.counts.len() };
        self.world.places.iter().zip(&self.counts).take(shown).map(|(place, reviews)| TruthPlace {
            id: place.id.clone(),
            name: place.name.clone(),
            category: place.category.label.to_owned(),
            area: place.common_address(),
            reviews: *reviews,
            poisoned: self.switches.poisoned.contains(&place.id),
        })
    }

    /// The reviews that can be harvested, place by place, the newest first; those of poisoned places can't be.
    pub fn reviews(&self) -> impl Iterator<Item = TruthReview> + '_ {
        self.open().flat_map(move |index| (0..self.counts[index]).rev().map(move |number| self.review(index, number)))
    }

    /// How many reviews can be harvested, spoilt ones too.
    pub fn total(&self) -> u64 {
        self.open().map(|index| self.counts[index]).sum()
    }

    /// How many of them are spoilt.
    pub fn spoilt(&self) -> u64 {
        let spoilt = |index: usize| {
            (0..self.counts[index])
                .filter(move |number| self.world.spoilt(index, *number, self.switches.spoilt).is_some())
                .count()
        };
        self.open().map(|index| spoilt(index) as u64).sum()
    }

    /// The ids of all that can be harvested and are not spoilt.
    pub fn sound_ids(&self) -> BTreeSet<String> {
        self.reviews().filter(|review| review.spoilt.is_none()).map(|review| review.id).collect()
    }

    /// The ids of the places.
    pub fn place_ids(&self) -> BTreeSet<String> {
        self.places().map(|place| place.id).collect()
    }

    /// Indexes of the places whose reviews are served.
    fn open(&self) -> impl Iterator<Item = usize> + '_ {
        let shown = if self.switches.empty { 0 } else { self.counts.len() };
        (0..shown).filter(|index| !self.switches.poisoned.contains(&self.world.places[*index].id))
    }

    fn review(&self, index: usize, number: u64) -> TruthReview {
        let review = self.world.review(index, number);
        let place = &self.world.places[index];
        TruthReview {
            contacts: review.contacts(),
            id: review.id,
            place_id: place.id.clone(),
            number,
            body: review.text.body,
            identity: vec![review.author.id, review.author.nickname, review.author.user],
            spoilt: self.world.spoilt(index, number, self.switches.spoilt),
            arrived: number >= place.reviews,
        }
    }
}
