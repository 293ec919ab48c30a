//! How good the first page is, measured: films of a made-up language, in which one meaning has several words.
//!
//! Three kinds of question. One names a film by a word of its title, of which no embedder knows what it means. One asks with a word that
//! stands in no text, beside a word that stands in many: only vectors know. One asks with words that stand in the texts. The table that the
//! test prints is where the default weights are from.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Builder, ListBuilder, RecordBatch, StringArray};

use super::*;
use crate::kind::SinkKind;
use crate::sync::{Rules, sync};
use crate::target::{SyncTarget, VectorColumn};
use crate::testing::{Numbers, World, name};
use enrich::{Embedding, Llm, Model, Summary};

const FILMS: usize = 400;
const MEANINGS: usize = 40;
const DIMENSION: usize = 64;
/// The first page of `onggi search`.
const PAGE: usize = 5;

/// Words, and what each means. The last word of a meaning stands in no text.
struct Language {
    words: Vec<[String; 3]>,
    common: Vec<String>,
    numbers: Numbers,
}

impl Language {
    fn new() -> Self {
        let mut numbers = Numbers(7);
        let mut word = || -> String {
            let consonants = ["b", "d", "f", "k", "l", "m", "n", "p", "r", "s", "t", "v"];
            let mut syllable = || [numbers.pick(&consonants), numbers.pick(&["a", "e", "i", "o", "u"])].concat();
            [syllable(), syllable(), syllable()].concat()
        };
        let words = (0..MEANINGS).map(|_| [word(), word(), word()]).collect();
        let common = (0..4).map(|_| word()).collect();
        Self { words, common, numbers: Numbers(11) }
    }

    /// A direction that looks random and is the same each time.
    fn direction(seed: u64) -> Vec<f32> {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
        (0..DIMENSION).map(|_| if numbers.below(2) == 0 { 1.0 } else { -1.0 }).collect()
    }

    /// The vector of a text: what its words mean, the first of them most, and some noise.
    fn embed(&self, text: &str) -> Vec<f32> {
        let mut sum = vec![0.0; DIMENSION];
        let mut add = |direction: &[f32], weight: f32| {
            sum.iter_mut().zip(direction).for_each(|(sum, x)| *sum += weight * x);
        };
        let mut weight = 1.0;
        for word in text.split_whitespace() {
            if let Some(meaning) = self.words.iter().position(|words| words.iter().any(|it| it == word)) {
                add(&Self::direction(meaning as u64), weight);
                weight *= 0.6;
            }
        }
        let seed = text.bytes().fold(17_u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
        add(&Self::direction(1_000 + seed), 0.5);
        let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
        sum.iter().map(|x| x / length).collect()
    }
}

struct Meanings(Language, Model);

#[async_trait::async_trait]
impl Llm for Meanings {
    fn summariser(&self) -> &Model {
        &self.1
    }
    fn embedder(&self) -> &Model {
        &self.1
    }
    fn dimension(&self) -> usize {
        DIMENSION
    }
    async fn summarise(&self, texts: &[String]) -> enrich::Result<Summary> {
        Ok(Summary { text: texts[0].clone(), model: self.1.id() })
    }
    async fn embed(&self, texts: &[String]) -> enrich::Result<Vec<Embedding>> {
        Ok(texts.iter().map(|it| Embedding { vector: self.0.embed(it), model: self.1.id() }).collect())
    }
}

/// A film: key, title, plot, and what it is about above all.
type Film = (String, String, String, usize);

fn films(language: &mut Language) -> Vec<Film> {
    let mut film = |number: usize| {
        let about: Vec<usize> = (0..4).map(|_| language.numbers.below(MEANINGS)).collect();
        let mut plot: Vec<&str> =
            about.iter().map(|meaning| language.words[*meaning][language.numbers.below(2)].as_str()).collect();
        plot.extend(language.common.iter().filter(|_| language.numbers.below(3) == 0).map(String::as_str));
        (format!("f{number:04}"), format!("x{number:04}y"), plot.join(" "), about[0])
    };
    (0..FILMS).map(&mut film).collect()
}

fn batch(language: &Language, films: &[Film]) -> RecordBatch {
    let texts = |each: &dyn Fn(&Film) -> &str| -> ArrayRef {
        Arc::new(films.iter().map(|it| Some(each(it))).collect::<StringArray>())
    };
    let mut vectors = ListBuilder::new(Float32Builder::new()).with_field(rows::read::vector_item());
    for film in films {
        vectors.append_value(language.embed(&film.2).into_iter().map(Some));
    }
    RecordBatch::try_from_iter_with_nullable([
        ("film_id", texts(&|it| &it.0), true),
        ("title", texts(&|it| &it.1), true),
        ("plot", texts(&|it| &it.2), true),
        ("embedding", Arc::new(vectors.finish()) as ArrayRef, true),
    ])
    .unwrap()
}

/// The questions of one kind, each with the films that answer it.
fn questions(kind: &str, language: &Language, films: &[Film]) -> Vec<(String, Vec<String>)> {
    let about = |meaning: usize| films.iter().filter(|it| it.3 == meaning).map(|it| it.0.clone()).collect::<Vec<_>>();
    match kind {
        "title" => films.iter().step_by(10).map(|it| (it.1.clone(), vec![it.0.clone()])).collect(),
        "meaning" => {
            let question = |meaning: usize| {
                let common = &language.common[meaning % 4];
                // Those that words know too are left out: they come first anyway.
                let only_near = films.iter().filter(|it| it.3 == meaning && !it.2.contains(common.as_str()));
                (format!("{} {common}", language.words[meaning][2]), only_near.map(|it| it.0.clone()).collect())
            };
            (0..MEANINGS).map(question).filter(|(_, right): &(_, Vec<String>)| !right.is_empty()).collect()
        }
        _ => (0..MEANINGS).map(|meaning| (language.words[meaning][meaning % 2].clone(), about(meaning))).collect(),
    }
}

fn target(model: &Model) -> SyncTarget {
    SyncTarget {
        table: name("marts.films"),
        key: "film_id".into(),
        sinks: vec![SinkKind::Keywords, SinkKind::Vectors],
        texts: vec!["title".into(), "plot".into()],
        title: Some("title".into()),
        entity: None,
        vector: Some(VectorColumn { column: "embedding".into(), model: model.id() }),
    }
}

/// How many of the questions have an answer on the first page, of a hundred.
async fn on_page(
    world: &World,
    target: &SyncTarget,
    weights: SearchWeights,
    asked: &[(String, Vec<String>)],
    llm: &QueryEmbedder,
) -> usize {
    let settings =
        SearchSettings { targets: vec![SearchedTarget::new(target.clone())], weights, ..SearchSettings::default() };
    let search = Search::open(&world.serving(), settings).unwrap();
    let mut found = 0;
    for (question, right) in asked {
        let hits = search.search(question, PAGE, llm).await.unwrap().hits;
        found += usize::from(hits.iter().any(|hit| right.contains(&hit.key)));
    }
    found * 100 / asked.len()
}

#[tokio::test]
async fn what_only_vectors_know_reaches_the_first_page_and_takes_nothing_from_words() {
    let mut language = Language::new();
    let films = films(&mut language);
    let world = World::new().await;
    world.put("marts.films", batch(&language, &films)).await;
    let model = Model { name: "meanings".into(), version: 1, parameters: String::new() };
    let target = target(&model);
    sync(&world.lake, &target, &world.serving(), &Rules::default(), &|_| {}).await.unwrap();
    let kinds = ["title", "meaning", "words"];
    let asked: BTreeMap<&str, _> = kinds.iter().map(|kind| (*kind, questions(kind, &language, &films))).collect();
    assert!(asked["meaning"].iter().all(|(question, _)| {
        let rare = question.split_whitespace().next().unwrap();
        films.iter().all(|film| !film.2.contains(rare))
    }));
    let llm = QueryEmbedder::new(Arc::new(Meanings(language, model)));
    let mut measured: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
    let default = SearchWeights::default();
    for constant in [5.0, 10.0, 60.0] {
        for vector in [0.4, 1.0, 1.5] {
            let weights = SearchWeights { vector, rank_constant: constant, ..default };
            let mut pages = Vec::new();
            for kind in kinds {
                pages.push(on_page(&world, &target, weights, &asked[kind], &llm).await);
            }
            println!("constant {constant:>4} vector {vector}: {kinds:?} {pages:?}");
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers as a key")]
            measured.insert((constant as u32, (vector * 10.0) as u32), pages);
        }
    }
    let before = &measured[&(60, 4)];
    assert!(before[1] <= 10, "the weights of before found nothing that only vectors know: {before:?}");
    assert!(measured[&(10, 15)][0] < 50, "more for vectors takes from words: {measured:?}");
    let mut pages = Vec::new();
    for kind in kinds {
        pages.push(on_page(&world, &target, default, &asked[kind], &llm).await);
    }
    assert!(pages[0] == 100 && pages[1] >= 80 && pages[2] >= 90, "{kinds:?}: {pages:?}");
}
