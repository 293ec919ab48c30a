//! Columns that no table may have: names that readers of Delta refuse, and types that Delta does not keep.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Schema};

use super::{describe, stored};

/// Characters that Parquet and Delta refuse in a column's name.
const REFUSED: [char; 11] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '=', '\r'];

/// A column that no table may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfitColumn {
    /// The column; one inside a struct as `outer.inner`.
    pub column: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub hint: String,
}

/// The columns of a declaration that no table may have, in their order.
pub fn unfit_columns(declared: &Schema) -> Vec<UnfitColumn> {
    let mut found = Vec::new();
    names(declared.fields().iter().map(AsRef::as_ref), "", &mut found);
    for field in declared.fields() {
        if stored(field.data_type()).is_none() {
            found.push(UnfitColumn {
                column: field.name().clone(),
                problem: format!("expected a type that Delta keeps, found {}", describe(field.data_type())),
                hint: instead(field.data_type()),
            });
        }
    }
    found
}

fn names<'a>(fields: impl Iterator<Item = &'a Field>, above: &str, found: &mut Vec<UnfitColumn>) {
    let mut seen: HashMap<String, String> = HashMap::new();
    for field in fields {
        let column = format!("{above}{}", field.name());
        let mut unfit = |problem: String, hint: &str| {
            found.push(UnfitColumn { column: column.clone(), problem, hint: hint.to_owned() });
        };
        if field.name().is_empty() {
            unfit("expected a name, found an empty one".to_owned(), "name it with `as`");
        } else if let Some(character) = field.name().chars().find(|c| REFUSED.contains(c)) {
            unfit(
                format!("expected a name that readers of Delta take, found {character:?} in it"),
                "give it a name of letters, digits and `_`, with `as` in SQL",
            );
        }
        if let Some(other) = seen.insert(field.name().to_lowercase(), field.name().clone()) {
            unfit(
                format!("expected names that differ in more than their case, found `{other}` too"),
                "give one of them another name: readers of Delta take both for the same",
            );
        }
        inside(field.data_type(), &format!("{column}."), found);
    }
}

fn inside(data_type: &DataType, above: &str, found: &mut Vec<UnfitColumn>) {
    use DataType as T;
    match data_type {
        T::Struct(fields) => names(fields.iter().map(AsRef::as_ref), above, found),
        T::List(e) | T::LargeList(e) | T::FixedSizeList(e, _) | T::ListView(e) | T::LargeListView(e) => {
            inside(e.data_type(), above, found);
        }
        _ => {}
    }
}

/// What to write in place of a type that is not kept.
fn instead(data_type: &DataType) -> String {
    use DataType as T;
    match data_type {
        T::Null => "say which type it is: `cast(null as varchar)`".to_owned(),
        T::Timestamp(_, Some(zone)) => {
            format!("say it in UTC: `… at time zone 'UTC'`; a wall clock of {zone} is kept as a text")
        }
        T::Time32(_) | T::Time64(_) => "cast it to varchar, or keep seconds as bigint".to_owned(),
        T::Interval(_) | T::Duration(_) => "keep a number: `extract(epoch from …)`".to_owned(),
        T::Date64 => "cast it to date".to_owned(),
        T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) => {
            "cast it to decimal(p, s) with p at most 38 and s not below 0".to_owned()
        }
        T::Map(..) => "keep it as a list of structs, or as JSON in a text".to_owned(),
        T::List(e) | T::LargeList(e) | T::FixedSizeList(e, _) => instead(e.data_type()),
        T::Struct(fields) => {
            let unfit = fields.iter().find(|field| stored(field.data_type()).is_none());
            unfit.map_or_else(String::new, |field| format!("`{}` in it: {}", field.name(), instead(field.data_type())))
        }
        _ => "cast it to one of varchar, bigint, double, boolean, date, timestamp".to_owned(),
    }
}
