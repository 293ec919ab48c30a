//! What the embedder promises, and how well it agrees with people.

use std::path::Path;

use super::*;

#[test]
fn vectors_have_length_one_and_do_not_change() {
    let vector = embed("비 오는 날 혼자 먹기 좋은 국밥");
    assert_eq!(vector.len(), DIMENSION);
    assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    assert_eq!(vector, embed("비 오는 날 혼자 먹기 좋은 국밥"));
    assert!(embed("?! …").iter().all(|x| *x == 0.0));
    let loose: String = "국밥".nfd().collect();
    assert_eq!(embed("국밥"), embed(&loose));
}

#[test]
fn shared_words_bring_texts_near_whatever_their_particles() {
    let query = embed("혼자 먹기 좋은 국밥");
    let near = cosine(&query, &embed("국밥이 맛있고 혼자서 먹기에도 편해요"));
    let far = cosine(&query, &embed("데이트 코스로 분위기 좋은 와인바"));
    assert!(near > far + 0.15, "{near} {far}");
}

/// KLUE-STS, development set: 519 pairs that people rated from 0 to 5.
#[test]
fn it_agrees_with_people_about_as_far_as_spelling_carries() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/klue_dev/klue-sts-v1.1_dev.json");
    let Ok(file) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not here", path.display());
        return;
    };
    let pairs: Vec<serde_json::Value> = serde_json::from_str(&file).unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in &pairs {
        let text = |name: &str| pair[name].as_str().unwrap().to_owned();
        ours.push(f64::from(cosine(&embed(&text("sentence1")), &embed(&text("sentence2")))));
        theirs.push(pair["labels"]["real-label"].as_f64().unwrap());
    }
    let (pearson, spearman) = (correlation(&ours, &theirs), correlation(&ranks(&ours), &ranks(&theirs)));
    println!("KLUE-STS dev, {} pairs: pearson {pearson:.3}, spearman {spearman:.3}", pairs.len());
    assert!(pearson > FLOOR_PEARSON && spearman > FLOOR_SPEARMAN, "pearson {pearson:.3}, spearman {spearman:.3}");
}

/// Measured 0.524 and 0.507; word overlap alone reaches 0.26 and 0.25.
const FLOOR_PEARSON: f64 = 0.50;
const FLOOR_SPEARMAN: f64 = 0.48;

#[expect(clippy::cast_precision_loss, reason = "519 pairs")]
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let cov: f64 = a.iter().zip(b).map(|(x, y)| (x - ma) * (y - mb)).sum();
    let spread = |x: &[f64], m: f64| x.iter().map(|v| (v - m).powi(2)).sum::<f64>().sqrt();
    cov / (spread(a, ma) * spread(b, mb))
}

#[expect(clippy::cast_precision_loss, reason = "519 pairs")]
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&i| values[i].total_cmp(&values[order[start]]).is_eq()).count();
        for &i in &order[start..start + same] {
            ranks[i] = start as f64 + (same as f64 - 1.0) / 2.0;
        }
        start += same;
    }
    ranks
}
