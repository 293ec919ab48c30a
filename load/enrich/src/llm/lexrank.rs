//! An extractive summary: the sentences that most others agree with, and that do not repeat each other.
//!
//! Sentences are nodes, their tf-idf cosine is the weight of an edge, and the stationary distribution of the random walk over that
//! graph says how central each is: continuous LexRank ([Erkan & Radev 2004](https://doi.org/10.1613/jair.1523)). Taken from the top alone
//! they would say the same thing three times, so they are picked by maximal marginal relevance
//! ([Carbonell & Goldstein 1998](https://doi.org/10.1145/290941.291025)): central, minus what is already said.
//!
//! Terms are syllable pairs inside words, which meet across particles and endings (`국물이`, `국물도`). Everything is summed in a fixed
//! order, so the result is the same on every machine. Nothing is rephrased; a missing full stop is added.

use std::collections::{BTreeSet, HashMap, HashSet};

use rows::text;

/// Raise it when the same texts would give another summary: it is part of every content key.
pub const VERSION: u32 = 1;

/// How long a summary is and how much it avoids repeating itself.
#[derive(Debug, Clone)]
pub struct Options {
    /// At most this many sentences.
    pub sentences: usize,
    /// At most this many characters in all.
    pub chars: usize,
    /// At most this many sentences are compared; more are thinned evenly. The work grows with its square.
    pub compared: usize,
    /// 1 = only central, 0 = only different. 0.7 is the usual middle.
    pub lambda: f64,
    /// The chance to follow an edge instead of jumping anywhere; 0.85 as in the paper.
    pub damping: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { sentences: 3, chars: 240, compared: 400, lambda: 0.7, damping: 0.85 }
    }
}

/// Sentences below say nothing, above are lists or several sentences without a stop (characters).
const USEFUL_CHARS: std::ops::RangeInclusive<usize> = 8..=110;
/// The walk has settled when no step moves more than this in sum.
const SETTLED: f64 = 1e-7;
/// A bound on the steps, which real texts never reach.
const MAX_STEPS: usize = 200;

/// The summary of many texts about one thing; `None` when no text has a letter.
pub fn summarise(texts: &[String], options: &Options) -> Option<String> {
    let candidates = candidates(texts, options.compared);
    if candidates.is_empty() {
        let first = texts.iter().flat_map(|t| text::sentences(t)).next()?;
        return Some(finish(&text::clip(first, options.chars)));
    }
    let graph = Graph::new(&candidates);
    let scores = graph.rank(options.damping);
    let mut chosen = graph.pick(&scores, &candidates, options);
    chosen.sort_unstable();
    let parts: Vec<String> = chosen.into_iter().map(|i| finish(&candidates[i])).collect();
    Some(parts.join(" "))
}

/// The sentences that may become part of the summary, each once, in the order of the texts.
fn candidates(texts: &[String], limit: usize) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for text in texts {
        let text = text::nfc(text);
        for sentence in text::sentences(&text) {
            let clean = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
            if USEFUL_CHARS.contains(&clean.chars().count()) && seen.insert(text::fold(&clean)) {
                found.push(clean);
            }
        }
    }
    let limit = limit.max(1);
    if found.len() <= limit {
        return found;
    }
    let total = found.len();
    let kept: BTreeSet<usize> = (0..limit).map(|i| i * total / limit).collect();
    found.into_iter().enumerate().filter(|(i, _)| kept.contains(i)).map(|(_, s)| s).collect()
}

fn finish(sentence: &str) -> String {
    let closed = sentence.ends_with(|c: char| !c.is_alphanumeric());
    if closed { sentence.to_owned() } else { format!("{sentence}.") }
}

/// The similarity of every two sentences, as rows of (other, cosine), and each sentence's whole weight.
struct Graph {
    edges: Vec<Vec<(usize, f64)>>,
}

impl Graph {
    fn new(sentences: &[String]) -> Self {
        let vectors = tf_idf(sentences);
        let features = vectors.iter().flatten().map(|&(f, _)| f + 1).max().unwrap_or(0);
        let mut postings: Vec<Vec<(usize, f64)>> = vec![Vec::new(); features];
        for (i, vector) in vectors.iter().enumerate() {
            for &(feature, weight) in vector {
                postings[feature].push((i, weight));
            }
        }
        let edges = vectors
            .iter()
            .enumerate()
            .map(|(i, vector)| {
                let mut cosine = vec![0.0; sentences.len()];
                for &(feature, weight) in vector {
                    for &(j, other) in &postings[feature] {
                        cosine[j] += weight * other;
                    }
                }
                cosine.into_iter().enumerate().filter(|&(j, c)| j != i && c > 0.0).collect()
            })
            .collect();
        Self { edges }
    }

    /// The stationary distribution by power iteration. A sentence that is like no other hands its weight to all.
    #[expect(clippy::cast_precision_loss, reason = "a few hundred sentences")]
    fn rank(&self, damping: f64) -> Vec<f64> {
        let count = self.edges.len();
        let even = 1.0 / count as f64;
        let degree: Vec<f64> = self.edges.iter().map(|row| row.iter().map(|e| e.1).sum()).collect();
        let mut score = vec![even; count];
        for _ in 0..MAX_STEPS {
            let lost: f64 = score.iter().zip(&degree).filter(|(_, d)| **d <= 0.0).map(|(s, _)| s).sum();
            let mut next = vec![(1.0 - damping) * even + damping * lost * even; count];
            for (i, row) in self.edges.iter().enumerate() {
                for &(j, weight) in row {
                    next[j] += damping * score[i] * weight / degree[i];
                }
            }
            let moved: f64 = next.iter().zip(&score).map(|(a, b)| (a - b).abs()).sum();
            score = next;
            if moved < SETTLED {
                break;
            }
        }
        score
    }

    fn pick(&self, scores: &[f64], sentences: &[String], options: &Options) -> Vec<usize> {
        let top = scores.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let mut repeats = vec![0.0_f64; scores.len()];
        let mut chosen: Vec<usize> = Vec::new();
        let mut room = options.chars;
        while chosen.len() < options.sentences {
            let mut best: Option<(usize, f64)> = None;
            for (i, score) in scores.iter().enumerate() {
                let fits = chosen.is_empty() || sentences[i].chars().count() < room;
                if chosen.contains(&i) || !fits {
                    continue;
                }
                let value = options.lambda * score / top - (1.0 - options.lambda) * repeats[i];
                if best.is_none_or(|(_, b)| value > b) {
                    best = Some((i, value));
                }
            }
            let Some((i, _)) = best else { break };
            room = room.saturating_sub(sentences[i].chars().count() + 1);
            for &(j, cosine) in &self.edges[i] {
                repeats[j] = repeats[j].max(cosine);
            }
            chosen.push(i);
        }
        chosen
    }
}

/// Each sentence as sorted (feature, weight), of length 1.
#[expect(clippy::cast_precision_loss, reason = "counts of terms")]
fn tf_idf(sentences: &[String]) -> Vec<Vec<(usize, f64)>> {
    let mut ids: HashMap<String, usize> = HashMap::new();
    let mut in_sentences: Vec<usize> = Vec::new();
    let mut counts: Vec<Vec<(usize, usize)>> = Vec::with_capacity(sentences.len());
    for sentence in sentences {
        let mut terms: Vec<usize> = Vec::new();
        for term in terms_of(sentence) {
            let next = ids.len();
            let id = *ids.entry(term).or_insert(next);
            if id == in_sentences.len() {
                in_sentences.push(0);
            }
            terms.push(id);
        }
        terms.sort_unstable();
        let counted: Vec<(usize, usize)> = terms.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
        for &(id, _) in &counted {
            in_sentences[id] += 1;
        }
        counts.push(counted);
    }
    let total = sentences.len() as f64;
    counts
        .into_iter()
        .map(|counted| {
            let mut vector: Vec<(usize, f64)> = counted
                .into_iter()
                .map(|(id, tf)| (id, tf as f64 * (1.0 + total / in_sentences[id] as f64).ln()))
                .collect();
            let length = vector.iter().map(|(_, w)| w * w).sum::<f64>().sqrt();
            for (_, weight) in &mut vector {
                *weight /= length;
            }
            vector
        })
        .collect()
}

fn terms_of(sentence: &str) -> Vec<String> {
    let folded = text::fold(sentence);
    let mut terms = Vec::new();
    for word in text::words(&folded) {
        let chars: Vec<char> = word.chars().collect();
        if chars.len() < 2 {
            terms.push(word.to_owned());
        }
        terms.extend(chars.windows(2).map(|pair| pair.iter().collect::<String>()));
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|t| (*t).to_owned()).collect()
    }

    #[test]
    fn the_summary_is_made_of_sentences_that_were_written() {
        let reviews = texts(&[
            "국물이 정말 진하고 고기가 많아요. 주차는 어려웠습니다.",
            "국물이 진하고 깍두기가 맛있어요. 직원분이 친절했어요.",
            "혼자 와서 먹기 좋았어요. 국물이 진해서 또 오고 싶어요.",
            "직원분이 친절하고 국물이 진해요!",
            "아이폰 배터리가 닳았다",
        ]);
        let summary = summarise(&reviews, &Options::default()).unwrap();
        let all = reviews.join(" ");
        for sentence in text::sentences(&summary) {
            assert!(all.contains(sentence.trim_end_matches('.')), "{sentence}");
        }
        assert!(summary.contains("국물이"), "{summary}");
        assert!(!summary.contains("배터리"), "what nobody else says is not central: {summary}");
        assert!(summary.chars().count() <= 245);
    }

    #[test]
    fn it_does_not_say_the_same_thing_twice() {
        let reviews = texts(&[
            "국물이 진하고 맛있어요",
            "국물이 진하고 맛있네요",
            "국물이 아주 진하고 맛있어요",
            "국물이 진하고 참 맛있어요",
            "직원분들이 모두 친절하세요",
            "직원분들이 친절하십니다",
            "주차장이 넓어서 편해요",
            "주차장이 넓고 편합니다",
        ]);
        let summary = summarise(&reviews, &Options::default()).unwrap();
        assert_eq!(summary.matches("국물").count(), 1, "{summary}");
        assert!(summary.contains("직원") && summary.contains("주차"), "{summary}");
    }

    #[test]
    fn odd_texts_are_survived() {
        assert_eq!(summarise(&texts(&["", "  \n", "!!!"]), &Options::default()), None);
        assert_eq!(summarise(&texts(&["굿"]), &Options::default()).as_deref(), Some("굿."));
        let endless = "가".repeat(10_000);
        assert!(summarise(&[endless], &Options::default()).unwrap().chars().count() <= 242);
        let same: Vec<String> = (0..2_000).map(|_| "맛있어요 다음에 또 올게요".to_owned()).collect();
        assert!(summarise(&same, &Options::default()).is_some());
    }

    #[test]
    fn many_sentences_are_thinned_evenly() {
        let many: Vec<String> = (0..1_000).map(|i| format!("이것은 문장 번호 {i} 입니다")).collect();
        let kept = candidates(&many, 100);
        assert_eq!(kept.len(), 100);
        assert_eq!(kept[1], "이것은 문장 번호 10 입니다");
    }
}
