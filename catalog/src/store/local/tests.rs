//! What a put costs in syncs, who wins a name, and what a crash leaves.

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use std::time::SystemTime;

use super::*;

struct Bench {
    dir: tempfile::TempDir,
    store: DurableLocal,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), store: DurableLocal::new() }
    }

    fn at(&self, name: &str) -> Path {
        Path::from_absolute_path(self.dir.path().join(name)).unwrap()
    }

    async fn put(&self, name: &str, mode: PutMode) -> Result<u64> {
        let before = self.store.syncs().get();
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store.put_opts(&self.at(name), PutPayload::from_static(b"x"), options).await?;
        Ok(self.store.syncs().get() - before)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.dir.path().join(folder))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn a_put_syncs_the_file_its_folder_and_the_folders_made_for_it() {
    let bench = Bench::new();
    assert_eq!(bench.put("a", PutMode::Create).await.unwrap(), 2, "file, folder");
    assert_eq!(bench.put("a", PutMode::Overwrite).await.unwrap(), 2, "file, folder");
    assert_eq!(bench.put("t/_delta_log/0.json", PutMode::Create).await.unwrap(), 4, "file, _delta_log, t, root");
    assert_eq!(bench.put("t/_delta_log/1.json", PutMode::Create).await.unwrap(), 2);
    assert_eq!(bench.names("t/_delta_log"), ["0.json", "1.json"], "no temporary file stays");
}

#[tokio::test]
async fn an_upload_in_parts_is_synced_when_it_completes() {
    let bench = Bench::new();
    let target = bench.at("t/dt=2026-10-01/part.parquet");
    let mut upload = bench.store.put_multipart(&target).await.unwrap();
    upload.put_part(PutPayload::from_static(b"hello ")).await.unwrap();
    upload.put_part(PutPayload::from_static(b"world")).await.unwrap();
    assert_eq!(bench.store.syncs().get(), 0);
    upload.complete().await.unwrap();
    assert_eq!(bench.store.syncs().get(), 4, "file, dt=…, t, root");
    let read = bench.store.get(&target).await.unwrap().bytes().await.unwrap();
    assert_eq!(read, "hello world");
}

#[tokio::test]
async fn a_note_is_not_synced() {
    let bench = Bench::new();
    let mut options = PutOptions::default();
    options.extensions.insert(Volatile);
    bench.store.put_opts(&bench.at("r/1.json"), PutPayload::from_static(b"{}"), options).await.unwrap();
    assert_eq!(bench.store.syncs().get(), 0);
}

#[tokio::test]
async fn a_name_is_given_once() {
    let bench = Bench::new();
    bench.put("a", PutMode::Create).await.unwrap();
    let second = bench.put("a", PutMode::Create).await.unwrap_err();
    assert!(matches!(second, Error::AlreadyExists { .. }), "{second:?}");
    assert_eq!(bench.names(""), ["a"]);
    let wins = futures::future::join_all((0..32).map(|_| bench.put("b", PutMode::Create))).await;
    assert_eq!(wins.iter().flatten().count(), 1);
}

#[tokio::test]
async fn what_a_crash_left_is_skipped_and_swept_when_old() {
    let bench = Bench::new();
    let old = bench.dir.path().join("0.json#420000000001");
    fs::write(&old, "torn").unwrap();
    File::options().write(true).open(&old).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    fs::write(bench.dir.path().join("0.json#420000000002"), "young").unwrap();
    let listed: Vec<_> = bench.store.list(Some(&bench.at(""))).try_collect().await.unwrap();
    assert_eq!(listed, [], "listings skip both");
    bench.put("1.json", PutMode::Create).await.unwrap();
    assert_eq!(bench.names(""), ["0.json#420000000002", "1.json"]);
}

#[tokio::test]
async fn a_folder_that_is_a_file_says_so() {
    let bench = Bench::new();
    bench.put("a", PutMode::Create).await.unwrap();
    let error = bench.put("a/b", PutMode::Create).await.unwrap_err();
    assert!(crate::error::is_refused(&error), "{error:?}");
}

#[test]
fn temporary_names() {
    assert!(is_temporary("0.json#1"));
    assert!(is_temporary("part.parquet#420000000001"));
    assert!(!is_temporary("0.json") && !is_temporary("a#b") && !is_temporary("a#"));
}

#[tokio::test]
async fn what_comes_after_a_name_is_what_the_plain_store_says() {
    let plain = LocalFileSystem::new();
    let cases: [(&str, &[&str]); 5] = [
        ("a log", &["3.json", "1.json", "2.checkpoint.parquet", "_last_checkpoint", "10.json"]),
        ("one that is being written", &["1.json", "2.json#17", "3.json"]),
        ("with a folder", &["1.json", "2.json", "side/9.json"]),
        ("with names that a path writes otherwise", &["1.json", "a b.json", "50%.json"]),
        ("nothing", &[]),
    ];
    for (what, names) in cases {
        let bench = Bench::new();
        for name in names {
            let file = bench.dir.path().join("log").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, name).unwrap();
        }
        for offset in ["log/0", "log/1.json", "log/2", "log/z", "log", "lo", "log2/1"] {
            let (prefix, offset) = (bench.at("log"), bench.at(offset));
            let told = |store: &dyn ObjectStore| store.list_with_offset(Some(&prefix), &offset).try_collect::<Vec<_>>();
            let (ours, theirs) = (told(&bench.store).await.unwrap(), told(&plain).await.unwrap());
            let plainly = |found: Vec<ObjectMeta>| {
                let mut found: Vec<_> = found.into_iter().map(|it| (it.location, it.size, it.last_modified)).collect();
                found.sort();
                found
            };
            assert_eq!(plainly(ours), plainly(theirs), "{what}, after {offset}");
        }
    }
}
