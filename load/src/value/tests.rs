//! The same row hashes the same in every dress.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Array, Int32Array, Int64Array, ListArray, StringArray, StringViewArray, TimestampMicrosecondArray,
    TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{Field, Float32Type};

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
