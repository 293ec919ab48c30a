//! The vocabulary of the generator: what a kind of restaurant serves and how people talk about it.
//!
//! The lists are written here, by hand, so that they may be shipped. A template names its slots in braces:
//! `{m}` a dish of the place, `{n}` another one, `{a}` the neighbourhood, `{d}` an adverb, `{k}` a count, `{w}` a price.
//! `{m:이}` adds the particle that fits the word before it (`국밥이`, `파스타가`). No template ends in punctuation:
//! the writer of the review brings their own.

pub(crate) mod korean;
pub(crate) mod mood;
pub(crate) mod seoul;
pub(crate) mod tables;
pub(crate) mod talk;

pub(crate) use mood::Mood;

/// One kind of restaurant.
pub(crate) struct Category {
    /// What the site shows and sends as `category`.
    pub(crate) label: &'static str,
    /// Words a search for this kind may use besides the label.
    pub(crate) words: &'static [&'static str],
    /// Last parts of a place's name.
    pub(crate) suffixes: &'static [&'static str],
    /// Dishes, the signature dishes first.
    pub(crate) menus: &'static [&'static str],
    /// Praise for the food.
    pub(crate) taste: &'static [&'static str],
    /// Complaints about the food.
    pub(crate) dislike: &'static [&'static str],
    /// What such places tend to be good for.
    pub(crate) moods: &'static [Mood],
    /// Price of a dish in won, from and to.
    pub(crate) price: (u64, u64),
    /// Path word of its page.
    pub(crate) path: &'static str,
}

/// Every kind of restaurant the generator knows.
pub(crate) static CATEGORIES: [&Category; 18] = [
    &korean::GUKBAP,
    &korean::KALGUKSU,
    &korean::HANSIK,
    &korean::MEAT,
    &korean::GOPCHANG,
    &korean::NAENGMYEON,
    &korean::JEON,
    &korean::BUNSIK,
    &korean::CHICKEN,
    &tables::SUSHI,
    &tables::RAMEN,
    &tables::TONKATSU,
    &tables::CHINESE,
    &tables::PASTA,
    &tables::PHO,
    &tables::IZAKAYA,
    &tables::CAFE,
    &tables::BAKERY,
];
