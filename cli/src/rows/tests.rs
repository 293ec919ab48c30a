use arrow::array::{Float64Array, Int64Array, ListArray, StringArray};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn some_rows() -> RecordBatch {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", Arc::new(StringArray::from(vec![Some("=1+1"), None]))),
        ("text", Arc::new(StringArray::from(vec![Some("a \"b\",\nc"), Some("국밥")]))),
        ("n", Arc::new(Int64Array::from(vec![Some(1), Some(-2)]))),
        ("share", Arc::new(Float64Array::from(vec![Some(0.5), None]))),
        ("votes", Arc::new(lists)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn rows(batches: Vec<anyhow::Result<RecordBatch>>) -> Rows {
    Rows { schema: some_rows().schema(), batches: futures::stream::iter(batches).boxed() }
}

async fn written(format: Format, batches: Vec<anyhow::Result<RecordBatch>>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    write(rows(batches), format, Some(&path)).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something else was left");
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn csv_quotes_what_needs_it_and_alters_nothing() {
    let text = String::from_utf8(written(Format::Csv, vec![Ok(some_rows()), Ok(some_rows())]).await).unwrap();
    let rows = "=1+1,\"a \"\"b\"\",\nc\",1,0.5,\"[1,null]\"\n,국밥,-2,,\n";
    assert_eq!(text, format!("name,text,n,share,votes\n{rows}{rows}"));
    assert_eq!(String::from_utf8(written(Format::Csv, vec![]).await).unwrap(), "name,text,n,share,votes\n");
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_is_empty_and_no_number_becomes_nothing() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", Arc::new(StringArray::from(vec![Some(""), None, Some("a"), Some("\"")]))),
        ("x", Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(f64::NEG_INFINITY), Some(0.5)]))),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, it)| (name, it, true))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let cases = [
        (Format::Csv, "text,x\n\"\",NaN\n,\na,-inf\n\"\"\"\",0.5\n"),
        (
            Format::Json,
            "{\"text\":\"\",\"x\":\"NaN\"}\n{\"text\":null,\"x\":null}\n{\"text\":\"a\",\"x\":\"-Infinity\"}\n{\"text\":\"\\\"\",\"x\":0.5}\n",
        ),
    ];
    for (format, expected) in cases {
        let rows = Rows { schema: batch.schema(), batches: futures::stream::iter([Ok(batch.clone())]).boxed() };
        write(rows, format, Some(&path)).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }
}

#[tokio::test]
async fn json_is_one_object_a_line_with_nulls() {
    let text = String::from_utf8(written(Format::Json, vec![Ok(some_rows())]).await).unwrap();
    let second = "{\"name\":null,\"text\":\"국밥\",\"n\":-2,\"share\":null,\"votes\":null}";
    assert_eq!(text.lines().nth(1), Some(second));
    assert_eq!(text.lines().count(), 2);
}

#[tokio::test]
async fn columns_of_one_name_are_written_where_they_can_be_told_apart() {
    let batch = some_rows().project(&[0, 1, 0]).unwrap();
    for (format, told) in [(Format::Csv, true), (Format::Table, true), (Format::Json, false), (Format::Parquet, false)]
    {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rows");
        let rows = Rows { schema: batch.schema(), batches: futures::stream::iter([Ok(batch.clone())]).boxed() };
        let written = write(rows, format, Some(&file)).await;
        assert_eq!(written.is_ok(), told, "{format:?}");
        assert_eq!(file.exists(), told, "{format:?}");
        if let Err(error) = written {
            assert!(error.to_string().starts_with("two columns are named `name`"), "{error}");
        }
    }
}

#[tokio::test]
async fn parquet_gives_back_the_same_rows() {
    let bytes = written(Format::Parquet, vec![Ok(some_rows()), Ok(some_rows())]).await;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
    let read: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let read = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
    assert_eq!(read.num_rows(), 4);
    assert_eq!(read.slice(0, 2).columns(), some_rows().columns());
    assert_eq!(read.slice(2, 2).columns(), some_rows().columns());
}

#[tokio::test]
async fn a_table_says_when_it_is_cut() {
    let many = vec![some_rows(); 501].into_iter().map(Ok).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.txt");
    let written = write(rows(many), Format::Table, Some(&path)).await.unwrap();
    assert_eq!(written, Written { rows: TABLE_ROWS, cut: true });
    let lines = std::fs::read_to_string(path).unwrap();
    assert_eq!(lines.lines().filter(|line| line.contains("국밥")).count(), TABLE_ROWS / 2);
}

#[tokio::test]
async fn an_answer_that_breaks_off_leaves_no_file_and_the_old_one_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.csv");
    std::fs::write(&path, "old").unwrap();
    for format in [Format::Csv, Format::Json, Format::Parquet, Format::Table] {
        let broken = vec![Ok(some_rows()), Err(anyhow::anyhow!("torn"))];
        let error = write(rows(broken), format, Some(&path)).await.unwrap_err();
        assert_eq!(error.to_string(), "torn");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn what_is_no_file_is_written_into_and_stays_what_it_is() {
    use std::os::unix::fs::FileTypeExt;

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let fifo = at("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::read_to_string(fifo).unwrap()
    });
    write(rows(vec![Ok(some_rows())]), Format::Csv, Some(&fifo)).await.unwrap();
    assert!(std::fs::metadata(&fifo).unwrap().file_type().is_fifo());
    assert!(reader.join().unwrap().starts_with("name,text,n"));

    std::fs::write(at("kept.csv"), "old").unwrap();
    let links = [("null", Path::new("/dev/null")), ("link.csv", Path::new("kept.csv")), ("twice", Path::new("null"))];
    for (name, target) in links {
        std::os::unix::fs::symlink(target, at(name)).unwrap();
        for format in [Format::Csv, Format::Json, Format::Parquet, Format::Table] {
            write(rows(vec![Ok(some_rows())]), format, Some(&at(name))).await.unwrap();
            assert_eq!(std::fs::read_link(at(name)).unwrap(), target, "{name} is no link any more");
        }
    }
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert!(std::fs::read_to_string(at("kept.csv")).unwrap().contains("국밥"));

    let error = write(rows(vec![Ok(some_rows())]), Format::Csv, Some(Path::new("/dev/full"))).await.unwrap_err();
    assert!(format!("{error:#}").contains("No space left"), "{error:#}");
    assert!(std::fs::metadata("/dev/full").unwrap().file_type().is_char_device());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 5, "something was left");
}

#[tokio::test]
async fn rows_for_people_steer_no_terminal_and_rows_for_programs_are_what_they_are() {
    let evil = "국밥\u{1b}]52;c;ZXZpbA==\u{7}\u{202e}\u{9b}31m";
    let column: ArrayRef = Arc::new(StringArray::from(vec![evil]));
    let batch = RecordBatch::try_from_iter([("name", column)]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Table, Format::Json, Format::Csv] {
        let path = folder.path().join("rows");
        let evil_rows = Rows { schema: batch.schema(), batches: futures::stream::iter([Ok(batch.clone())]).boxed() };
        write(evil_rows, format, Some(&path)).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        match format {
            Format::Csv => assert!(text.contains(evil), "{text:?}"),
            _ => assert_eq!(out::shown(&text), text, "{format:?}"),
        }
        if format == Format::Json {
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read["name"], evil);
        }
    }
    let mut shown = Vec::new();
    Csv { out: &mut shown, steers: false, names: true }.batch(&batch).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    assert_eq!(out::shown(&shown), shown, "a terminal would have got it");
}

#[test]
fn the_format_is_the_one_that_is_meant() {
    let choose = |asked, json, output: Option<&str>| Format::choose(asked, json, output.map(Path::new)).ok();
    assert_eq!(choose(None, false, None), Some(Format::Table));
    assert_eq!(choose(None, true, None), Some(Format::Json));
    assert_eq!(choose(None, false, Some("x.CSV")), Some(Format::Csv));
    assert_eq!(choose(Some(Format::Json), false, Some("x.csv")), Some(Format::Json));
    assert_eq!(choose(None, true, Some("x.csv")), Some(Format::Json));
    assert_eq!(choose(None, false, Some("x.parquet")), Some(Format::Parquet));
    assert_eq!(choose(Some(Format::Parquet), false, None), None);
    assert_eq!(choose(Some(Format::Csv), true, None), None);
}
