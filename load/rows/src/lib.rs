//! One row, free of the encoding that it came in: its cells, its hash, and the words of its texts.
//!
//! The same row comes back in another dress each time a library is raised, and nothing that stands on rows may notice. So hashing,
//! comparing and printing go through [`Value`], and whatever reads texts through [`text`].
//!
//! What is absent: this crate knows no table, asks nobody and writes nowhere.

mod error;
pub mod read;
pub mod text;
mod value;

pub use error::{Error, Result};
pub use value::{Kind, RowHash, Value, content_hash, fingerprint, row_hashes};
