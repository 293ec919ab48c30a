//! What is kept, what fits, and what is refused by name.

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, ListBuilder, StringArray, StringBuilder, StringViewArray,
    TimestampNanosecondArray,
};

use super::*;

fn table() -> TableName {
    "staging.reviews".parse().unwrap()
}

fn field(name: &str, data_type: DataType, nullable: bool) -> FieldRef {
    Arc::new(Field::new(name, data_type, nullable))
}

fn list(of: DataType) -> DataType {
    DataType::List(field("item", of, true))
}

#[test]
fn kept_types() {
    let text = |t: &DataType| stored(t).map(|t| describe(&t));
    assert_eq!(text(&DataType::Utf8View).unwrap(), "utf8");
    assert_eq!(text(&list(DataType::LargeUtf8)).unwrap(), "list<utf8>");
    assert_eq!(text(&DataType::Timestamp(TimeUnit::Nanosecond, None)).unwrap(), "timestamp");
    assert_eq!(text(&DataType::Timestamp(TimeUnit::Second, Some("Asia/Seoul".into()))), None);
    assert_eq!(text(&DataType::Null), None);
    assert_eq!(text(&DataType::UInt32).unwrap(), "int64");
    let dictionary = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8));
    assert_eq!(text(&dictionary).unwrap(), "utf8");
    let nested = DataType::Struct(vec![field("a", list(DataType::Float32), true)].into());
    assert!(stored(&nested).is_some());
}

#[test]
fn new_columns_must_be_nullable_and_the_rest_must_agree() {
    let kept = Schema::new(vec![field("id", DataType::Utf8, false), field("n", DataType::Int64, true)]);
    let check = |fields: Vec<FieldRef>| missing_columns(&table(), &kept, &Schema::new(fields));
    let id = || field("id", DataType::Utf8, false);
    let n = || field("n", DataType::Int64, true);
    assert_eq!(check(vec![n(), id()]).unwrap(), Vec::<FieldRef>::new(), "order does not matter");
    assert_eq!(check(vec![id(), n(), field("x", DataType::Utf8, true)]).unwrap().len(), 1);
    let say = |fields| check(fields).unwrap_err().to_string();
    let about = "table staging.reviews, column ";
    assert_eq!(say(vec![id()]), format!("{about}`n`: expected int64, found no such column"));
    assert_eq!(say(vec![id(), field("n", DataType::Utf8, true)]), format!("{about}`n`: expected int64, found utf8"));
    assert_eq!(
        say(vec![id(), n(), field("x", DataType::Utf8, false)]),
        format!("{about}`x`: expected a new column to be nullable, found never null")
    );
    assert_eq!(
        say(vec![field("id", DataType::Utf8, true), n()]),
        format!("{about}`id`: expected never null, found nullable")
    );
}

fn aligned(to: Vec<FieldRef>, columns: Vec<(&str, ArrayRef)>) -> Result<Vec<RecordBatch>> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    Align::new(table(), Arc::new(Schema::new(to))).apply(&batch)
}

#[test]
fn views_lists_and_times_are_brought_to_the_table() {
    let mut words = ListBuilder::new(StringBuilder::new());
    words.append_value([Some("국밥"), None]);
    words.append_null();
    let to = vec![
        field("id", DataType::Utf8, false),
        field("words", stored(&list(DataType::Utf8)).unwrap(), true),
        field("at", utc(), true),
        field("absent", DataType::Int64, true),
    ];
    let batches = aligned(
        to.clone(),
        vec![
            ("at", Arc::new(TimestampNanosecondArray::from(vec![1_000, 2_000]))),
            ("words", Arc::new(words.finish())),
            ("id", Arc::new(StringViewArray::from(vec!["a", "b"]))),
        ],
    )
    .unwrap();
    assert_eq!(batches[0].schema().fields().iter().cloned().collect::<Vec<_>>(), to);
    assert_eq!(batches[0].column(3).null_count(), 2);
}

#[test]
fn what_does_not_fit_is_named() {
    let say = |to, columns| aligned(vec![to], columns).unwrap_err().to_string();
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("1"), None]));
    let about = "table staging.reviews, column ";
    assert_eq!(
        say(field("a", DataType::Int64, true), vec![("a", Arc::clone(&text))]),
        format!("{about}`a`: expected int64, found utf8")
    );
    assert_eq!(
        say(field("a", DataType::Utf8, false), vec![("a", Arc::clone(&text))]),
        format!("{about}`a`: expected a value in every row, found 1 nulls")
    );
    assert_eq!(
        say(field("a", DataType::Utf8, true), vec![("b", text)]),
        format!("{about}`b`: expected no such column, found utf8")
    );
    let big: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
    assert!(say(field("a", DataType::Int32, true), vec![("a", Arc::clone(&big))]).contains("column `a`"));
    assert!(say(field("a", DataType::Float64, true), vec![("a", big)]).contains("expected float64, found int64"));
    let precise: ArrayRef = Arc::new(Float64Array::from(vec![0.1]));
    assert!(say(field("a", DataType::Float32, true), vec![("a", precise)]).contains("found float64"));
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![7]));
    assert!(aligned(vec![field("a", DataType::Int64, true)], vec![("a", narrow)]).is_ok());
}

#[test]
fn large_batches_come_in_pieces() {
    let rows = PIECE * 2 + 1;
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..i64::try_from(rows).unwrap()));
    let batches = aligned(vec![field("a", DataType::Int64, true)], vec![("a", column)]).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [PIECE, PIECE, 1]);
}
