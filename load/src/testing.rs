//! What the tests of this crate share: a lake in a temporary folder, tables from rows, a small world of places and reviews.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Builder, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field};
use catalog::{
    CommitInfo, Committed, Lake, RunId, Scope, TableName, TableSpec, Timestamp, Txn, TxnRule, Version, WriteOptions,
};
use tempfile::TempDir;

use crate::kind::SinkKind;
use crate::reconcile::{Compared, compare};
use crate::serving::Serving;
use crate::target::{Entity, SyncTarget, VectorColumn};
use enrich::llm::hash_embedding;

pub(crate) mod proxy;

pub(crate) const MODEL: &str = "local-hash-ngram-256@1";

/// A lake that goes away with the test.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) lake: Lake,
    commits: std::sync::atomic::AtomicI64,
}

pub(crate) fn run() -> RunId {
    "20261001t000000-0001".parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

pub(crate) fn name(text: &str) -> TableName {
    text.parse().unwrap()
}

/// The sinks of a target that are not as its mart.
pub(crate) async fn unequal(lake: &Lake, target: &SyncTarget, serving: &Serving) -> Vec<Compared> {
    let mut found = compare(lake, target, serving).await.unwrap();
    found.retain(|sink| !sink.is_equal());
    found
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let lake = Lake::open(dir.path().join("lake").to_str().unwrap(), "test").await.unwrap();
        Self { dir, lake, commits: std::sync::atomic::AtomicI64::new(1) }
    }

    /// The same lake without a table, as another process has it: one that remembers nothing of it.
    pub(crate) async fn without(self, table: &str) -> Self {
        let lake = self.dir.path().join("lake");
        std::fs::remove_dir_all(lake.join(table.replace('.', "/"))).unwrap();
        Self { lake: Lake::open(lake.to_str().unwrap(), "test").await.unwrap(), ..self }
    }

    pub(crate) fn serving(&self) -> Serving {
        Serving::new(self.dir.path().join("serving"))
    }

    /// Makes the table hold exactly these rows, in a new version.
    pub(crate) async fn put(&self, table: &str, batch: RecordBatch) -> Version {
        let spec =
            TableSpec { name: name(table), schema: batch.schema(), partitioned: false, stats_columns: Vec::new() };
        let table = self.lake.create(&spec).await.unwrap();
        let written = table.write(vec![rows::read::stream(batch)], &WriteOptions::default()).await.unwrap();
        let version = self.commits.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let txn = Txn { app_id: "build/test".into(), version, rule: TxnRule::Equal };
        let info = CommitInfo { run: run(), now: now(), lineage: Vec::new() };
        match written.replace(Scope::All, txn, &info).await.unwrap() {
            Committed::Done(version) => version,
            other => panic!("expected a new version, found {other:?}"),
        }
    }
}

/// A place as a mart has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) tags: Vec<String>,
    pub(crate) rating: f64,
    pub(crate) summary: Option<String>,
}

pub(crate) fn place(id: &str, name: &str, category: &str, tags: &[&str], summary: &str) -> Place {
    Place {
        id: id.into(),
        name: name.into(),
        category: category.into(),
        tags: tags.iter().map(|t| (*t).to_owned()).collect(),
        rating: 4.25,
        summary: (!summary.is_empty()).then(|| summary.to_owned()),
    }
}

pub(crate) fn lists(rows: &[Vec<String>]) -> ArrayRef {
    let mut list = ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
    for row in rows {
        list.append_value(row.iter().map(Some));
    }
    Arc::new(list.finish())
}

pub(crate) fn places(rows: &[Place]) -> RecordBatch {
    let texts = |each: &dyn Fn(&Place) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(each).collect::<StringArray>())
    };
    let mut vectors = ListBuilder::new(Float32Builder::new()).with_field(rows::read::vector_item());
    for row in rows {
        match &row.summary {
            Some(summary) => vectors.append_value(hash_embedding::embed(summary).into_iter().map(Some)),
            None => vectors.append_null(),
        }
    }
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("place_id", texts(&|p| Some(p.id.clone())), true),
        ("name", texts(&|p| Some(p.name.clone())), true),
        ("category", texts(&|p| Some(p.category.clone())), true),
        ("reviews", Arc::new(rows.iter().map(|_| Some(10)).collect::<Int64Array>()), true),
        ("rating", Arc::new(rows.iter().map(|p| Some(p.rating)).collect::<Float64Array>()), true),
        ("situations", lists(&rows.iter().map(|p| p.tags.clone()).collect::<Vec<_>>()), true),
        ("summary", texts(&|p| p.summary.clone()), true),
        ("embedding", Arc::new(vectors.finish()), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// (`review_id`, `place_id`, body)
pub(crate) type Review = (String, String, String);

pub(crate) fn reviews(rows: &[Review]) -> RecordBatch {
    let column = |each: &dyn Fn(&Review) -> &String| -> ArrayRef {
        Arc::new(rows.iter().map(|r| Some(each(r))).collect::<StringArray>())
    };
    RecordBatch::try_from_iter_with_nullable([
        ("review_id", column(&|r| &r.0), true),
        ("place_id", column(&|r| &r.1), true),
        ("body", column(&|r| &r.2), true),
    ])
    .unwrap()
}

pub(crate) fn place_target() -> SyncTarget {
    SyncTarget {
        table: name("marts.places"),
        key: "place_id".into(),
        sinks: SinkKind::EMBEDDED.to_vec(),
        texts: ["name", "category", "situations", "summary"].map(str::to_owned).to_vec(),
        title: Some("name".into()),
        entity: None,
        vector: Some(VectorColumn { column: "embedding".into(), model: MODEL.into() }),
    }
}

pub(crate) fn review_target() -> SyncTarget {
    SyncTarget {
        table: name("marts.review_texts"),
        key: "review_id".into(),
        sinks: vec![SinkKind::Keywords],
        texts: vec!["body".into()],
        title: None,
        entity: Some(Entity { column: "place_id".into(), table: name("marts.places") }),
        vector: None,
    }
}

/// Numbers that look random and are the same each time.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Places with reviews of everyday sentences, by seed.
pub(crate) fn town(places: usize, reviews: usize, seed: u64) -> (Vec<Place>, Vec<Review>) {
    let mut numbers = Numbers(seed);
    let dishes = ["파스타", "초밥", "삼겹살", "칼국수", "피자", "커피", "냉면", "치킨", "떡볶이", "샐러드"];
    let ends = ["맛있어요", "괜찮았습니다", "조금 아쉬웠어요", "최고입니다", "양이 많아요", "또 생각나네요"];
    let others = [
        "직원분이 친절하세요",
        "주차가 어려워요",
        "분위기가 조용해요",
        "가격이 비싸요",
        "재료가 신선해요",
        "친구와 갔어요",
        "웨이팅이 길어요",
        "매장이 깨끗합니다",
    ];
    let made: Vec<Place> = (0..places)
        .map(|i| {
            let dish = numbers.pick(&dishes);
            place(
                &format!("p{i:04}"),
                &format!("{dish}집 {i}호"),
                dish,
                &["친목"],
                &format!("{dish}가 맛있어요. {}.", numbers.pick(&others)),
            )
        })
        .collect();
    let written = (0..reviews)
        .map(|i| {
            let at = &made[numbers.below(places)];
            let body =
                format!("{} {}. {} {}", at.category, numbers.pick(&ends), numbers.pick(&others), numbers.pick(&others));
            (format!("r{i:06}"), at.id.clone(), body)
        })
        .collect();
    (made, written)
}
