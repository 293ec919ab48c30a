//! A local server that behaves as the crawled sites do: their pages, their GraphQL, their paging and their moods.
//!
//! Tests, benches and the demo crawl it instead of anybody's real site. What it serves is a function of a seed, so a
//! crawl can be compared with what there was to crawl ([`Replica::truth`]); how it misbehaves is a set of switches
//! ([`Switches`]) that can be thrown while it runs, and what it was asked is counted ([`Replica::stats`]).
//!
//! The hard part is that nothing may be kept: a place has up to 20,000 reviews and a world has many places. So every
//! review is made anew each time it is asked for, from its number alone, and is the same bytes each time.
//!
//! It does not read the clock (the day is an option), nor the environment, nor anything outside but the files of texts
//! it is given; it writes nothing; it listens on 127.0.0.1 only.

mod corpus;
mod dates;
mod error;
mod faults;
mod hangul;
mod options;
mod page;
mod picture;
mod place;
mod review;
mod seed;
mod server;
mod stats;
mod switches;
mod text;
mod truth;
mod words;
mod world;

pub use error::{Error, Result};
pub use options::{ReplicaOptions, Sizes};
pub use server::Replica;
pub use stats::Stats;
pub use switches::{Arrivals, Block, BlockSpan, Fault, Paging, Robots, Switches};
pub use truth::{Spoilt, Truth, TruthPlace, TruthReview};

/// Reviews that a document carries and that each click adds.
pub(crate) const PAGE_SIZE: u64 = 10;
