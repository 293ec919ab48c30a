//! Everything of this crate that needs more than one module of it, in one binary.

#[cfg(test)]
mod fetch;
#[cfg(test)]
mod worker;
