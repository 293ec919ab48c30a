//! What is kept, what fits, and what is refused by name.

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray, ListBuilder,
    StringArray, StringBuilder, StringViewArray, StructArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};

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
fn a_declaration_is_compared_column_by_column() {
    let shape = |fields: Vec<FieldRef>, partitioned| TableShape { schema: Arc::new(Schema::new(fields)), partitioned };
    let id = || field("id", DataType::Utf8, false);
    let n = || field("n", DataType::Int64, true);
    let kept = shape(vec![id(), n()], true);
    let say = |fields, partitioned| -> Vec<(String, bool)> {
        let found = differences(&kept, &shape(fields, partitioned));
        found.iter().map(|it| (it.to_string(), it.is_breaking())).collect()
    };
    let none: [(String, bool); 0] = [];
    assert_eq!(say(vec![n(), id()], true), none, "order does not matter");
    assert_eq!(say(vec![id(), field("n", DataType::Int64, false)], true), none, "who never writes a null may say so");
    for (fields, partitioned, text, breaking) in [
        (vec![id(), n(), field("x", DataType::Utf8, false)], true, "`x` is new (utf8)", false),
        (vec![id()], true, "`n` is no longer declared (int64)", false),
        (vec![n()], true, "`id` is no longer declared (utf8)", false),
        (vec![id(), field("n", DataType::Utf8, true)], true, "`n` was int64 and is utf8", true),
        (vec![field("id", DataType::Utf8, true), n()], true, "`id` was never null and is nullable", true),
        (vec![id(), n()], false, "the table was split by day and is in one piece", true),
    ] {
        assert_eq!(say(fields, partitioned), [(text.to_owned(), breaking)]);
    }
    let renamed = say(vec![id(), field("count", DataType::Int64, true)], true);
    assert_eq!(renamed.len(), 2, "a column with another name is a new one and one that is gone: {renamed:?}");
}

#[test]
fn columns_that_no_table_may_have_are_named_with_what_to_write() {
    use DataType as T;
    let say = |name: &str, data_type: T| -> Vec<String> {
        let found = unfit_columns(&Schema::new(vec![field(name, data_type, true)]));
        assert!(found.iter().all(|it| !it.hint.is_empty()), "{found:?}");
        found.into_iter().map(|it| format!("{}: {}", it.column, it.problem)).collect()
    };
    for name in ["id", "_key", "이름", "a.b", "a-b", "count(*)".trim_end_matches("(*)")] {
        assert!(say(name, T::Int64).is_empty(), "{name}");
    }
    for character in " ,;{}()\n\t=".chars() {
        let name = format!("a{character}b");
        let expected = format!("{name}: expected a name that readers of Delta take, found {character:?} in it");
        assert_eq!(say(&name, T::Utf8), [expected]);
        let inside = T::Struct(vec![field(&name, T::Utf8, true)].into());
        let expected = format!("outer.{name}: expected a name that readers of Delta take, found {character:?} in it");
        assert_eq!(say("outer", list(inside)), [expected]);
    }
    assert_eq!(say("", T::Utf8), [": expected a name, found an empty one"]);
    let twice = Schema::new(vec![field("Id", T::Utf8, true), field("id", T::Utf8, true)]);
    assert_eq!(unfit_columns(&twice)[0].problem, "expected names that differ in more than their case, found `Id` too");
    for unkept in [
        T::Null,
        T::Timestamp(TimeUnit::Second, Some("Asia/Seoul".into())),
        T::Time64(TimeUnit::Microsecond),
        T::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
        T::Duration(TimeUnit::Second),
        T::Date64,
        T::Decimal256(50, 2),
        T::Decimal128(5, -2),
        T::Struct(vec![field("x", list(T::Null), true)].into()),
    ] {
        let found = say("a", unkept.clone());
        assert!(found.len() == 1 && found[0].starts_with("a: expected a type that Delta keeps"), "{unkept}: {found:?}");
        let error = stored_schema(&table(), &Schema::new(vec![field("a", unkept, true)])).unwrap_err();
        assert!(error.to_string().starts_with("table staging.reviews, column `a`: expected a type"), "{error}");
        assert!(error.hint().is_some());
    }
}

fn aligned(to: Vec<FieldRef>, columns: Vec<(&str, ArrayRef)>) -> Result<Vec<RecordBatch>> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    Align::new(table(), Arc::new(Schema::new(to)), true).apply(&batch)
}

#[test]
fn only_rows_of_a_table_that_is_split_must_say_their_day() {
    let to = Arc::new(Schema::new(vec![field("id", DataType::Utf8, true), field("dt", DataType::Date32, true)]));
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true)]).unwrap();
    assert!(Align::new(table(), Arc::clone(&to), true).apply(&batch).is_err());
    assert_eq!(Align::new(table(), to, false).apply(&batch).unwrap()[0].column(1).null_count(), 1);
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

/// The microseconds that are kept of a column of instants.
fn kept(column: ArrayRef) -> Vec<Option<i64>> {
    let batches = aligned(vec![field("at", utc(), true)], vec![("at", column)]).unwrap();
    batches[0].column(0).as_primitive::<TimestampMicrosecondType>().iter().collect()
}

#[test]
fn instants_are_cut_to_whole_milliseconds_toward_minus_infinity() {
    // Nanoseconds, and the milliseconds that are kept of them.
    let table = [
        (0, 0),
        (1, 0),
        (999_999, 0),
        (1_000_000, 1),
        (1_999_999, 1),
        (-1, -1),
        (-999_999, -1),
        (-1_000_000, -1),
        (-1_000_001, -2),
        (1_790_000_000_123_456_789, 1_790_000_000_123),
        (-1_790_000_000_123_456_789, -1_790_000_000_124),
        // The last microsecond of a day stays in it.
        (86_399_999_999_999, 86_399_999),
        (i64::MAX, i64::MAX / 1_000_000),
    ];
    let expected: Vec<_> = table.iter().map(|(_, millis)| Some(millis * 1_000)).collect();
    let nanos = table.iter().map(|(nanos, _)| *nanos).collect::<Vec<_>>();
    assert_eq!(kept(Arc::new(TimestampNanosecondArray::from(nanos.clone()))), expected);
    let zoned = TimestampNanosecondArray::from(nanos).with_timezone("+00:00");
    assert_eq!(kept(Arc::new(zoned)), expected);
    let micros = [
        (-1, -1_000),
        (-1_000, -1_000),
        (-1_001, -2_000),
        (1_999, 1_000),
        (4_000_000_000_000_001_999, 4_000_000_000_000_001_000),
    ];
    let column = TimestampMicrosecondArray::from(micros.map(|(micros, _)| micros).to_vec());
    assert_eq!(kept(Arc::new(column)), micros.map(|(_, kept)| Some(kept)));
    assert_eq!(kept(Arc::new(TimestampMillisecondArray::from(vec![Some(-1), None]))), [Some(-1_000), None]);
    assert_eq!(kept(Arc::new(TimestampSecondArray::from(vec![-1]))), [Some(-1_000_000)]);
    let zoned = TimestampSecondArray::from(vec![-1]).with_timezone("Z");
    assert_eq!(kept(Arc::new(zoned)), [Some(-1_000_000)], "UTC by another name");
    assert!(kept(Arc::new(TimestampNanosecondArray::from(vec![i64::MIN])))[0].unwrap() % 1_000 == 0, "no overflow");
}

#[test]
fn instants_in_lists_and_structs_are_cut_as_well() {
    let finer = |n: usize| -> ArrayRef {
        let instants = (0..n).map(|i| (i != 1).then_some(-1 - 1_000_000 * i64::try_from(i).unwrap()));
        Arc::new(instants.collect::<TimestampNanosecondArray>())
    };
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let item = field("item", nanos.clone(), true);
    let list: ArrayRef = Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([2, 0, 2]), finer(4), None));
    let members = vec![field("at", nanos.clone(), true), field("all", list.data_type().clone(), true)];
    let nested: ArrayRef = Arc::new(StructArray::new(members.into(), vec![finer(3), Arc::clone(&list)], None));
    let keys = Int32Array::from(vec![2, 0, 0]);
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, finer(3)));
    let to = |column: &ArrayRef| field("a", stored(column.data_type()).unwrap(), true);
    let one =
        |column: &ArrayRef| aligned(vec![to(column)], vec![("a", Arc::clone(column))]).unwrap()[0].column(0).clone();
    let millis = |array: &ArrayRef| -> Vec<_> {
        let micros = array.as_primitive::<TimestampMicrosecondType>().iter();
        micros.map(|micros| micros.map(|micros| (micros / 1_000, micros % 1_000))).collect()
    };
    let cut = |n: i64| -> Vec<_> { (0..n).map(|i| (i != 1).then_some((-1 - i, 0))).collect() };
    assert_eq!(millis(one(&list).as_list::<i32>().values()), cut(4));
    let found = one(&nested);
    assert_eq!(millis(found.as_struct().column(0)), cut(3));
    assert_eq!(millis(found.as_struct().column(1).as_list::<i32>().values()), cut(4));
    assert_eq!(millis(&one(&dictionary)), [Some((-3, 0)), Some((-1, 0)), Some((-1, 0))]);
    // A slice is cut where it lies.
    assert_eq!(millis(&one(&list.slice(2, 1)).as_list::<i32>().value(0)), cut(4)[2..]);
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
