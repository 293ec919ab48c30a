//! The name that was probably meant.

/// The nearest of `known` to a misspelt `name`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(score, candidate)| {
            *score > 0.82
                || strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase()) <= 1 + wanted.chars().count() / 6
        })
        .max_by(|one, two| one.0.total_cmp(&two.0).then_with(|| two.1.cmp(one.1)))
        .map(|(_, candidate)| candidate)
}
