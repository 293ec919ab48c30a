//! The models that come with the program: what `onggi init` writes and what the demo runs.

const TEMPLATES: &[(&str, &str)] = &[
    ("sql/reviews/staging/places.sql", include_str!("../../sql/reviews/staging/places.sql")),
    ("sql/reviews/staging/reviews.sql", include_str!("../../sql/reviews/staging/reviews.sql")),
    ("sql/reviews/marts/reviews_daily.sql", include_str!("../../sql/reviews/marts/reviews_daily.sql")),
    ("sql/reviews/marts/place_reviews.sql", include_str!("../../sql/reviews/marts/place_reviews.sql")),
    ("sql/reviews/marts/places.sql", include_str!("../../sql/reviews/marts/places.sql")),
    ("sql/reviews/marts/review_texts.sql", include_str!("../../sql/reviews/marts/review_texts.sql")),
];

/// Paths and texts of the models for reviews.
pub fn templates() -> &'static [(&'static str, &'static str)] {
    TEMPLATES
}
