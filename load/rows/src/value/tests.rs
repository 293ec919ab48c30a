//! The same row hashes the same in every dress.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray, TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{Field, Float32Type, Int32Type};

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap()
}

fn vectors(item: &str) -> ArrayRef {
    let list = ListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(0.5), Some(-0.0)]), None]);
    cast(&list, &DataType::List(Arc::new(Field::new(item, DataType::Float32, true)))).unwrap()
}

#[test]
fn a_row_hash_does_not_see_the_encoding_or_the_order_of_columns() {
    let plain = batch(vec![
        ("a", Arc::new(StringArray::from(vec![Some("국밥"), None]))),
        ("n", Arc::new(Int32Array::from(vec![1, 2]))),
        ("t", Arc::new(TimestampMillisecondArray::from(vec![5, 6]))),
        ("v", vectors("item")),
    ]);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let dressed = batch(vec![
        ("v", vectors("element")),
        ("t", Arc::new(TimestampMicrosecondArray::from(vec![5000, 6000]).with_timezone("UTC"))),
        ("n", Arc::new(Int64Array::from(vec![1, 2]))),
        ("new", Arc::new(Int64Array::from(vec![None, None]))),
        ("a", cast(&StringViewArray::from(vec![Some("국밥"), None]), &dictionary).unwrap()),
    ]);
    let hashes = row_hashes("seed", &plain).unwrap();
    assert_eq!(hashes, row_hashes("seed", &dressed).unwrap());
    assert_ne!(hashes[0], hashes[1]);
    assert_ne!(hashes, row_hashes("other", &plain).unwrap());
    assert_eq!(RowHash::from_hex(&hashes[0].to_hex()), Some(hashes[0]));
}

#[test]
fn a_change_of_content_or_of_place_changes_the_hash() {
    let of = |a: &str, b: &str| {
        row_hashes(
            "",
            &batch(vec![("a", Arc::new(StringArray::from(vec![a]))), ("b", Arc::new(StringArray::from(vec![b])))]),
        )
        .unwrap()[0]
    };
    assert_ne!(of("x", "y"), of("y", "x"));
    assert_ne!(of("xy", ""), of("x", "y"));
    let float = |x: f32| row_hashes("", &batch(vec![("f", Arc::new(Float32Array::from(vec![x])))])).unwrap()[0];
    assert_eq!(float(0.0), float(-0.0));
    assert_ne!(float(0.1), float(0.2));
}

#[test]
fn values_have_a_form_in_json() {
    assert_eq!(Value::Date(20_000).to_json(), Json::from("2024-10-04"));
    assert_eq!(Value::Time(0).to_json(), Json::from("1970-01-01T00:00:00Z"));
    assert_eq!(Value::Int(i128::from(u64::MAX)).to_json(), Json::from(u64::MAX));
    assert_eq!(Value::Vector(vec![0.1]).to_json().to_string(), "[0.1]");
    assert_eq!(Value::List(vec![Value::Text("a".into()), Value::Null]).to_json().to_string(), r#"["a",null]"#);
}

#[test]
fn hashing_rows_at_once_gives_the_hash_of_their_values() {
    use arrow::array::{
        BinaryArray, BooleanArray, Float32Array, LargeStringArray, ListBuilder, StringBuilder, UInt64Array,
    };
    let mut words = ListBuilder::new(StringBuilder::new());
    words.append_value([Some("a"), None, Some("")]);
    words.append_null();
    words.append_value(Vec::<Option<&str>>::new());
    let mut vectors = ListBuilder::new(arrow::array::Float32Builder::new());
    vectors.append_value([Some(0.5), Some(-0.0)]);
    vectors.append_value([None, Some(f32::NAN)]);
    vectors.append_null();
    let dictionary: arrow::array::DictionaryArray<Int32Type> = [Some("x"), None, Some("y")].into_iter().collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("z", Arc::new(Int64Array::from(vec![Some(-1), None, Some(i64::MAX)]))),
        ("a", Arc::new(UInt64Array::from(vec![u64::MAX, 0, 1]))),
        ("text", Arc::new(StringArray::from(vec![Some("국밥"), None, Some("0")]))),
        ("large", Arc::new(LargeStringArray::from(vec!["", "0", "x"]))),
        (
            "view",
            cast(&StringArray::from(vec![Some("v"), None, Some("long enough to be kept apart")]), &DataType::Utf8View)
                .unwrap(),
        ),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("f", Arc::new(Float32Array::from(vec![Some(0.1), Some(-0.0), None]))),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"0"[..]), None, Some(b"")]))),
        ("day", Arc::new(arrow::array::Date32Array::from(vec![Some(1), None, Some(-1)]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(-1)]).with_timezone("UTC"))),
        ("words", Arc::new(words.finish())),
        ("vectors", Arc::new(vectors.finish())),
        ("dictionary", Arc::new(dictionary)),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    // A slice has offsets that are not its own.
    for batch in [batch.clone(), batch.slice(1, 2)] {
        let schema = batch.schema();
        let mut order: Vec<usize> = (0..batch.num_columns()).collect();
        order.sort_by_key(|i| schema.field(*i).name().clone());
        let slowly: Vec<RowHash> = (0..batch.num_rows())
            .map(|row| {
                let cells: Vec<Value> = order.iter().map(|i| Value::of(batch.column(*i), row).unwrap()).collect();
                RowHash::of("seed", order.iter().zip(&cells).map(|(i, cell)| (schema.field(*i).name().as_str(), cell)))
            })
            .collect();
        assert_eq!(row_hashes("seed", &batch).unwrap(), slowly);
    }
    // Every length around the ends of a block.
    let texts: Vec<String> = (0..200).map(|length| "x".repeat(length)).collect();
    let batch = batch_of_texts(&texts);
    let slowly: Vec<RowHash> = texts.iter().map(|text| RowHash::of("", [("a", &Value::Text(text.clone()))])).collect();
    assert_eq!(row_hashes("", &batch).unwrap(), slowly);
}

fn batch_of_texts(texts: &[String]) -> RecordBatch {
    batch(vec![("a", Arc::new(texts.iter().map(Some).collect::<StringArray>()))])
}
