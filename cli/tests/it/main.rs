//! What a person types, and what becomes of it: whole commands against a local copy of the crawled site.

mod tidy;
