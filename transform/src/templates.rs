//! The models that come with the program, and the analyses to start with: what `onggi init` writes and what the demo runs.

const TEMPLATES: &[(&str, &str)] = &[
    ("sql/reviews/staging/places.sql", include_str!("../../sql/reviews/staging/places.sql")),
    ("sql/reviews/staging/reviews.sql", include_str!("../../sql/reviews/staging/reviews.sql")),
    ("sql/reviews/marts/reviews_daily.sql", include_str!("../../sql/reviews/marts/reviews_daily.sql")),
    ("sql/reviews/marts/place_reviews.sql", include_str!("../../sql/reviews/marts/place_reviews.sql")),
    ("sql/reviews/marts/places.sql", include_str!("../../sql/reviews/marts/places.sql")),
    ("sql/reviews/marts/review_texts.sql", include_str!("../../sql/reviews/marts/review_texts.sql")),
];

const ANALYSES: &[(&str, &str)] = &[
    ("sql/analyses/falling_ratings.sql", include_str!("../../sql/analyses/falling_ratings.sql")),
    ("sql/analyses/freshness.sql", include_str!("../../sql/analyses/freshness.sql")),
    ("sql/analyses/hidden_gems.sql", include_str!("../../sql/analyses/hidden_gems.sql")),
    ("sql/analyses/keywords_by_area.sql", include_str!("../../sql/analyses/keywords_by_area.sql")),
    ("sql/analyses/rating_by_week.sql", include_str!("../../sql/analyses/rating_by_week.sql")),
    ("sql/analyses/revisit_share.sql", include_str!("../../sql/analyses/revisit_share.sql")),
    ("sql/analyses/situation_shares.sql", include_str!("../../sql/analyses/situation_shares.sql")),
    ("sql/analyses/slow_steps.sql", include_str!("../../sql/analyses/slow_steps.sql")),
    ("sql/analyses/volume_by_neighbourhood.sql", include_str!("../../sql/analyses/volume_by_neighbourhood.sql")),
];

/// Paths and texts of the models for reviews.
pub fn templates() -> &'static [(&'static str, &'static str)] {
    TEMPLATES
}

/// Paths and texts of the analyses to begin with, in SQL that DataFusion and Athena both understand.
pub fn analyses() -> &'static [(&'static str, &'static str)] {
    ANALYSES
}
