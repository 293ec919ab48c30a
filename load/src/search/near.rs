//! The nearest by vector, each as the entity it is about: a text about a place is a reason for the place, and no answer by itself.

use std::collections::HashMap;

use catalog::TableName;

use super::corpus::{Corpus, SearchedVectors};
use super::settings::SearchWeights;
use crate::error::Result;

/// Rows of one table that are asked for, at most: many of them may be about few entities.
const MOST_ROWS: usize = 3_200;

/// An entity, and the row about it whose vector is nearest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NearEntity {
    /// Its table and key.
    pub(super) id: (TableName, String),
    pub(super) cosine: f32,
    /// The table and the key of that row.
    pub(super) table: TableName,
    pub(super) key: String,
    /// How many rows about it are near.
    pub(super) rows: u64,
}

/// The nearest entities, the nearest first: each once, with the best row about it.
pub(super) async fn near(
    corpus: &Corpus<'_>,
    vector: &[f32],
    model: &str,
    weights: &SearchWeights,
) -> Result<Vec<NearEntity>> {
    let mut best: HashMap<(TableName, String), NearEntity> = HashMap::new();
    let is_of_model = |it: &&SearchedVectors| it.target().vector.as_ref().is_some_and(|it| it.model == model);
    for vectors in corpus.vectors.iter().filter(is_of_model).filter(|it| it.compares(vector.len()).is_ok()) {
        for found in near_in(corpus, vectors, vector, weights).await? {
            let rows = found.rows;
            let held = best.entry(found.id.clone()).or_insert_with(|| NearEntity { rows: 0, ..found.clone() });
            let rows = held.rows + rows;
            if found.cosine > held.cosine {
                *held = found;
            }
            held.rows = rows;
        }
    }
    let mut near: Vec<NearEntity> = best.into_values().collect();
    near.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then_with(|| a.id.cmp(&b.id)));
    near.truncate(weights.neighbours);
    Ok(near)
}

/// The nearest entities by the vectors of one table. Where many rows are about the same, more rows are asked for.
async fn near_in(
    corpus: &Corpus<'_>,
    vectors: &SearchedVectors,
    vector: &[f32],
    weights: &SearchWeights,
) -> Result<Vec<NearEntity>> {
    let target = vectors.target();
    let entities = target.entity.as_ref().map_or(&target.table, |entity| &entity.table);
    let mut count = weights.neighbours;
    loop {
        let mut rows = vectors.nearest(vector, count).await?;
        let are_all = rows.len() < count;
        rows.retain(|(_, cosine)| f64::from(*cosine) >= weights.least_cosine);
        let keys: Vec<&str> = rows.iter().map(|(key, _)| key.as_str()).collect();
        let about = corpus.entities(vectors, &keys).await?;
        let mut found: Vec<NearEntity> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (key, cosine) in &rows {
            let Some(entity) = about.get(key) else { continue };
            let place = *places.entry(entity).or_insert(found.len());
            match found.get_mut(place) {
                Some(near) => near.rows += 1,
                None => found.push(NearEntity {
                    id: (entities.clone(), entity.clone()),
                    cosine: *cosine,
                    table: target.table.clone(),
                    key: key.clone(),
                    rows: 1,
                }),
            }
        }
        if found.len() >= weights.neighbours || are_all || rows.len() < count || count >= MOST_ROWS {
            return Ok(found);
        }
        count = (count * 4).min(MOST_ROWS);
    }
}
