//! The engine's own words, in ours: what is wrong with which value, call or column, and a way out.
//!
//! Whatever the engine says of a statement, while it plans or while it runs, goes through here before a person reads it. Its
//! wrapping goes, its names of types become those of SQL, and what has a known meaning says it.

use datafusion::common::DataFusionError;

/// What a failure is about, to find it in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum About {
    /// A value, which may be written out.
    Value(String),
    /// A value that was cast to a type, in words of the engine; it may be written out, or be in a column.
    Cast(String, String),
    /// A call of a function.
    Call(String),
    /// Who knows.
    Nothing,
}

/// What a failure means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) about: About,
}

impl Meaning {
    fn new(message: impl Into<String>, hint: &str, about: About) -> Self {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Self { message: message.into(), hint, about }
    }

    /// What an error of the engine means.
    pub(crate) fn of(error: &DataFusionError) -> Self {
        let text = match error.find_root() {
            DataFusionError::Internal(text) | DataFusionError::Execution(text) | DataFusionError::Plan(text) => {
                text.clone()
            }
            DataFusionError::ArrowError(inner, _) => inner.to_string(),
            other => other.to_string(),
        };
        Self::of_text(&text)
    }

    /// What a text of the engine means.
    pub(crate) fn of_text(text: &str) -> Self {
        let text = bare(text);
        known(text).unwrap_or_else(|| {
            let first = text.split(". No function matches").next().unwrap_or(text);
            let first = first.split(".\nThis issue was likely caused by a bug").next().unwrap_or(first);
            let first = first.split("\n\nBacktrace").next().unwrap_or(first).trim().trim_end_matches('.');
            Self::new(lower(&in_sql(first)), "", About::Nothing)
        })
    }
}

/// What the engine wraps its words in, over and over.
const WRAPPING: [&str; 16] = [
    "Error during planning: ",
    "Execution error: ",
    "Arrow error: ",
    "Cast error: ",
    "Compute error: ",
    "Invalid argument error: ",
    "Parser error: ",
    "Internal error: ",
    "External error: ",
    "External: ",
    "This feature is not implemented: ",
    "Parquet error: ",
    "Object Store error: ",
    "Schema error: ",
    "SQL error: ",
    "Arrow: ",
];

fn bare(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let before = text;
        for word in WRAPPING {
            text = text.strip_prefix(word).unwrap_or(text);
        }
        if text.starts_with("Optimizer rule '")
            && let Some((_, cause)) = text.split_once("caused by\n")
        {
            text = cause;
        }
        if text == before {
            return text;
        }
    }
}

/// The text between two others.
fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

const TRY_CAST: &str =
    "`try_cast(… as …)` is NULL where a value is none, and `where try_cast(… as …) is null` finds them";

/// What has a meaning of its own.
fn known(text: &str) -> Option<Meaning> {
    of_cast(text).or_else(|| of_call(text)).or_else(|| of_query(text))
}

fn of_cast(text: &str) -> Option<Meaning> {
    for (before, middle) in [("Cannot cast string '", "' to value of "), ("Cannot cast value '", "' to value of ")] {
        if let (Some(value), Some((_, kind))) = (between(text, before, middle), text.split_once(middle)) {
            let kind = kind.trim_end_matches(" type");
            let about = About::Cast(value.to_owned(), kind.to_owned());
            return Some(Meaning::new(format!("`{value}` is no {}", type_word(kind)), TRY_CAST, about));
        }
    }
    if let (Some(value), Some((_, kind))) =
        (between(text, "Can't cast value ", " to type "), text.split_once(" to type "))
    {
        let about = About::Cast(value.to_owned(), kind.to_owned());
        return Some(Meaning::new(
            format!("`{value}` does not fit into {}", type_word(kind)),
            "cast it to a wider type",
            about,
        ));
    }
    if let Some(value) = between(text, "Overflow converting ", " to Nanosecond") {
        let day = value.split([' ', 'T']).next().unwrap_or(value);
        return Some(Meaning::new(
            format!("the time `{value}` is out of range: a `timestamp` reaches from 1677-09-21 to 2262-04-11"),
            &format!("`cast('{}' as timestamp(6))` reaches further, and so does a `date`", value.replace(' ', "T")),
            About::Value(day.to_owned()),
        ));
    }
    if let Some((value, rest)) = text.split_once(" is too large to store in a Decimal") {
        let digits = between(rest, "of precision ", ".").unwrap_or("few");
        return Some(Meaning::new(
            format!("`{value}` does not fit into a decimal of {digits} digits"),
            "cast it to a wider one: `decimal(38, …)` is the widest",
            About::Value(value.to_owned()),
        ));
    }
    if let (Some(kind), Some((_, value))) =
        (between(text, "Cannot cast to ", ". Overflowing on "), text.split_once("Overflowing on "))
    {
        let about = About::Cast(value.to_owned(), kind.to_owned());
        return Some(Meaning::new(
            format!("`{value}` does not fit into {}", type_word(kind)),
            "cast it to a wider type",
            about,
        ));
    }
    if let (Some(from), Some((_, to))) = (between(text, "Unsupported CAST from ", " to "), text.split_once(" to ")) {
        return Some(Meaning::new(
            format!("a {} can't be cast to {}", type_word(from), type_word(to)),
            "go by a text, or by `case`",
            About::Nothing,
        ));
    }
    if text.starts_with("Divide by zero") {
        return Some(Meaning::new(
            "a number is divided by zero",
            "`nullif(…, 0)` around the divisor gives NULL",
            About::Nothing,
        ));
    }
    let (message, cause) = text.split_once(" (")?;
    // Ours say what to do, and the engine's cause says the same again.
    let (what, way) = message.split_once(": the answer does not fit, ")?;
    let _ = cause;
    Some(Meaning::new(format!("{}: the answer does not fit", in_sql(what)), way, About::Nothing))
}

fn of_call(text: &str) -> Option<Meaning> {
    let name = text.strip_prefix("Function '").or_else(|| text.strip_prefix("function '"))?.split('\'').next()?;
    let about = About::Call(name.to_owned());
    let ours = crate::functions().iter().find(|function| function.name == name).map(|function| function.syntax);
    if text.contains("failed to match any signature") {
        if let Some(given) = between(text, "(DataType: ", ")") {
            let given = type_word(given);
            let hint = match (ours, given.as_str()) {
                (Some(syntax), _) => syntax.to_owned(),
                (None, "text") => {
                    format!("cast what it is given: `{name}(try_cast(… as double))` counts what is no number as NULL")
                }
                (None, _) => format!("cast what it is given: `{name}(cast(… as …))`"),
            };
            return Some(Meaning::new(format!("`{name}` can't take {}", with_article(&given)), &hint, about));
        }
        let number = text.split_once("but received ").map_or("these", |(_, rest)| rest);
        let number = number.split([',', '.', ' ']).next().unwrap_or(number);
        return Some(Meaning::new(format!("`{name}` can't take {}", arguments(number)), ours.unwrap_or(""), about));
    }
    if let (Some(expected), Some((_, found))) =
        (between(text, "' expects ", " arguments but received "), text.split_once("but received "))
    {
        let found = found.split([',', '.', ' ']).next().unwrap_or(found);
        return Some(Meaning::new(
            format!("`{name}` takes {}, and has {found}", arguments(expected)),
            ours.unwrap_or(""),
            about,
        ));
    }
    let (_, rest) = text.split_once("' expects ")?;
    let (expected, found) = rest.split_once(" but received ")?;
    let found = found.split([',', '.', ' ']).next().unwrap_or(found);
    Some(Meaning::new(
        format!("`{name}` takes {}, and has {}", with_article(&type_word(expected)), with_article(&type_word(found))),
        ours.unwrap_or("cast what it is given"),
        about,
    ))
}

fn arguments(count: &str) -> String {
    if count == "1" { "1 argument".to_owned() } else { format!("{count} arguments") }
}

fn of_query(text: &str) -> Option<Meaning> {
    if let Some((_, told)) = text.split_once("regex parse error:\n") {
        let pattern = told.lines().next().unwrap_or_default().trim();
        let reason = told.split_once("error: ").map_or("", |(_, reason)| reason.trim());
        let about = About::Value(pattern.to_owned());
        return Some(Meaning::new(format!("the pattern `{pattern}` can't be read: {reason}"), "", about));
    }
    if text.contains("require unique expression names") {
        let name = between(text, "the expression \"", "\" at position")?;
        let name = name.rsplit(" AS ").next().unwrap_or(name).rsplit('.').next().unwrap_or(name);
        return Some(twice(name));
    }
    if text.contains("must be in GROUP BY or an aggregate function") {
        let column = between(text, "column \"", "\" must appear").unwrap_or("a column");
        let column = column.rsplit('.').next().unwrap_or(column);
        return Some(Meaning::new(
            format!("column `{column}` is not in `group by`"),
            &format!("group by it, or take one of its values: `max({column})`"),
            About::Call(column.to_owned()),
        ));
    }
    if let (Some(what), Some((_, kind))) =
        (between(text, "non-boolean predicate '", "' returning "), text.split_once("' returning "))
    {
        let what = what.rsplit('.').next().unwrap_or(what);
        let word = with_article(&type_word(kind));
        return Some(Meaning::new(
            format!("`where {what}` is no condition: it is {word}"),
            "compare it with something",
            About::Call(what.to_owned()),
        ));
    }
    let lower = text.to_lowercase();
    let (_, message, hint) = CANNOT.iter().find(|(words, ..)| lower.contains(&words.to_lowercase()))?;
    Some(Meaning::new(*message, hint, About::Nothing))
}

/// What the engine can't do, by words of its own that say it, with what it means and a way that leads to the same.
const CANNOT: [(&str, &str, &str); 6] = [
    (
        "Cannot get result type for temporal operation",
        "a span of time can't be multiplied or divided",
        "write it whole: `interval '3 days'`, and of a column `cast(n || ' days' as interval)`",
    ),
    (
        "cannot run range queries on datatype: Duration",
        "a window can't be ordered by a span of time",
        "order by its seconds: `extract(epoch from a) - extract(epoch from b)`",
    ),
    (
        "annot access field at argument",
        "a dot is read as a member of a column",
        "an alias that is also the name of a column is taken for the column: give the table another alias",
    ),
    (
        "schema contains duplicate qualified field name",
        "a column is named twice here",
        "name it once in `group by`, and without parentheses",
    ),
    (
        "The subquery should only return one column",
        "a subquery that is compared with a value has more than one column",
        "select the one that is compared, or write `exists (select 1 from t where t.a = a and t.b = b)`",
    ),
    ("ANY in LIKE", "`like any` is not understood here", "write `like 'a%' or like 'b%'`, each with its column"),
];

/// Two columns of one name.
pub(crate) fn twice(name: &str) -> Meaning {
    Meaning::new(
        format!("two columns have the name `{name}`"),
        "give one of them another: `… as other`",
        About::Call(name.to_owned()),
    )
}

fn with_article(word: &str) -> String {
    match word {
        "text" => word.to_owned(),
        _ if word.starts_with(['a', 'e', 'i', 'o']) => format!("an {word}"),
        _ => format!("a {word}"),
    }
}

/// A type of the engine as SQL calls it.
pub(crate) fn type_word(kind: &str) -> String {
    let kind = kind.trim().trim_end_matches(['.', ',']);
    let word = match kind {
        "Utf8" | "Utf8View" | "LargeUtf8" | "String" => "text",
        "Boolean" => "boolean",
        "Int8" => "tinyint",
        "Int16" => "smallint",
        "Int32" => "int",
        "Int64" => "bigint",
        "UInt8" | "UInt16" | "UInt32" | "UInt64" => "unsigned number",
        "Float16" | "Float32" => "real",
        "Float64" => "double",
        "Date32" | "Date64" => "date",
        "Numeric" => "number",
        "Null" => "null",
        _ if kind.starts_with("Timestamp") => "timestamp",
        _ if kind.starts_with("Interval") || kind.starts_with("Duration") => "interval",
        _ if kind.starts_with("Decimal128") || kind.starts_with("Decimal256") => {
            return format!("decimal{}", &kind["Decimal128".len()..]);
        }
        _ if kind.starts_with("List") || kind.starts_with("LargeList") => "list",
        _ => return kind.to_owned(),
    };
    word.to_owned()
}

/// A text of the engine with the types as SQL calls them, and values as they are written.
fn in_sql(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(from) = rest.find(|letter: char| letter.is_ascii_alphabetic()) {
        let (before, word) = rest.split_at(from);
        let end = word.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        told.push_str(before);
        let is_type = ["Utf8", "Int", "UInt", "Float", "Date32", "Boolean"].iter().any(|kind| word.starts_with(kind))
            && type_word(word) != word;
        rest = after;
        match after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            Some((value, behind)) if is_type && !value.contains('(') => {
                told.push_str(value);
                rest = behind;
            }
            _ if is_type => told.push_str(&type_word(word)),
            _ => told.push_str(word),
        }
    }
    told.push_str(rest);
    told
}

/// Our messages begin in lower case.
pub(crate) fn lower(message: &str) -> String {
    let mut letters = message.chars();
    match letters.next() {
        // A word in capitals is one of SQL.
        Some(first) if !letters.as_str().starts_with(|letter: char| letter.is_ascii_uppercase()) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => message.to_owned(),
    }
}

/// Whether an error while constants are reckoned is one of the statement: it would fail on every day.
pub(crate) fn is_of_statement(error: &DataFusionError) -> bool {
    matches!(
        error.find_root(),
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) | DataFusionError::Plan(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_words_become_ours() {
        let cases = [
            (
                "Optimizer rule 'simplify_expressions' failed\ncaused by\nArrow error: Cast error: Cannot cast string 'abc' to value of Int32 type",
                "`abc` is no int",
            ),
            ("Arrow error: Cast error: Cannot cast value 'x' to value of Boolean type", "`x` is no boolean"),
            ("Cast error: Can't cast value 1e300 to type Int64", "`1e300` does not fit into bigint"),
            (
                "Cast error: Overflow converting 9999-12-31 23:59:59 to Nanosecond. The dates that can be",
                "the time `9999-12-31 23:59:59` is out of range: a `timestamp` reaches from 1677-09-21 to 2262-04-11",
            ),
            (
                "Invalid argument error: 12345.7 is too large to store in a Decimal128 of precision 4. Max is 999.9",
                "`12345.7` does not fit into a decimal of 4 digits",
            ),
            (
                "Cast error: Cannot cast to Decimal128(38, 2). Overflowing on 1.2e37",
                "`1.2e37` does not fit into decimal(38, 2)",
            ),
            ("Arrow error: Divide by zero error", "a number is divided by zero"),
            (
                "Execution error: `+` of Int64: the answer does not fit, cast to a wider type first (Arithmetic overflow: 1 + 1)",
                "`+` of bigint: the answer does not fit",
            ),
            (
                "Internal error: Function 'sum' failed to match any signature, errors: Error during planning: Function 'sum' requires Decimal, but received String (DataType: Utf8View).,Error",
                "`sum` can't take text",
            ),
            (
                "Function 'date_trunc' failed to match any signature, errors: Error during planning: Function 'date_trunc' requires Timestamp, but received Int64 (DataType: Int64).",
                "`date_trunc` can't take a bigint",
            ),
            (
                "Function 'sum' failed to match any signature, errors: Error during planning: Function 'sum' expects 1 arguments but received 2,Error",
                "`sum` can't take 2 arguments",
            ),
            ("Function 'abs' expects Numeric but received String", "`abs` takes a number, and has text"),
            (
                "Error during planning: Function 'korean_number' expects 1 arguments but received 2. No function matches the",
                "`korean_number` takes 1 argument, and has 2",
            ),
            (
                "This feature is not implemented: Unsupported CAST from Boolean to Date32",
                "a boolean can't be cast to date",
            ),
            (
                "Projections require unique expression names but the expression \"Int64(1) AS a\" at position 0 and \"Int64(2) AS a\" at position 1 have the same name. Consider aliasing (\"AS\") one of them.",
                "two columns have the name `a`",
            ),
            (
                "Column in SELECT must be in GROUP BY or an aggregate function: While expanding wildcard, column \"staging.items.id\" must appear in the GROUP BY clause",
                "column `id` is not in `group by`",
            ),
            (
                "Cannot create filter with non-boolean predicate 'staging.items.s' returning Utf8View",
                "`where s` is no condition: it is text",
            ),
            (
                "Cannot coerce arithmetic expression Int64 + Utf8View to valid types",
                "cannot coerce arithmetic expression bigint + text to valid types",
            ),
            (
                "HAVING clause references: staging.items.v > Int64(1) must",
                "HAVING clause references: staging.items.v > 1 must",
            ),
            (
                "Optimizer rule 'eliminate_limit' failed\ncaused by\nError during planning: LIMIT must be >= 0, '-1' was provided",
                "LIMIT must be >= 0, '-1' was provided",
            ),
            ("Execution error: Month value '13' is out of range", "month value '13' is out of range"),
        ];
        for (engine, ours) in cases {
            assert_eq!(Meaning::of_text(engine).message, ours, "{engine}");
        }
    }
}
