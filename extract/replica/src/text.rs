//! What a reviewer writes: sentences from the word lists, joined in the reviewer's own manner.
//!
//! A text leads with the mood of the visit, praises or blames the food, and adds what people add. Some texts are empty,
//! some a single word; a few carry what real ones carry and what a pipeline must survive: decomposed syllables, markup
//! and entities, telephone numbers and mail addresses, a brace that closes nothing.

use crate::hangul::{decompose, fill};
use crate::place::{Place, thousands};
use crate::seed::Rng;
use crate::words::mood::RAIN_ALONE;
use crate::words::{Mood, talk};

/// A text and the contact data in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) body: String,
    pub(crate) contacts: Vec<String>,
}

/// What a guest writes about a visit that was led by this mood.
pub(crate) fn review(rng: &mut Rng, place: &Place, lead: Option<Mood>) -> Text {
    if rng.chance(0.05) {
        return Text::default();
    }
    if rng.chance(0.12) {
        let short = rng.pick(talk::SHORT);
        return Text { body: speak(rng, place, short), contacts: Vec::new() };
    }
    let mut contacts = Vec::new();
    let mut sentences: Vec<String> =
        templates(rng, place, lead).into_iter().map(|template| speak(rng, place, template)).collect();
    if rng.chance(0.02) {
        let template = rng.pick(talk::MARKUP);
        sentences.push(speak(rng, place, template));
    }
    if rng.chance(0.008) {
        let template = rng.pick(talk::CONTACTS);
        sentences.push(contact(rng, template, &mut contacts));
    }
    let mut body = join(rng, &sentences);
    if rng.chance(0.015) {
        body = decompose(&body);
    }
    Text { body, contacts }
}

/// What the owner answers.
pub(crate) fn reply(rng: &mut Rng, place: &Place) -> Text {
    let mut contacts = Vec::new();
    let template = rng.pick(talk::REPLIES);
    let body =
        if template.contains("{phone}") { contact(rng, template, &mut contacts) } else { speak(rng, place, template) };
    Text { body: format!("{body}{}", rng.pick(&[".", "!", " ^^", ""])), contacts }
}

/// Which sentences, in the order of a story.
fn templates(rng: &mut Rng, place: &Place, lead: Option<Mood>) -> Vec<&'static str> {
    let wanted = if rng.chance(0.03) { rng.range(7, 11) } else { [1, 2, 2, 3, 3, 3, 4, 4, 5][rng.index(9)] };
    let wanted = usize::try_from(wanted).unwrap_or(3);
    let unhappy = 0.04 + 0.4 * (1.0 - place.quality);
    let mut middle: Vec<&'static str> = Vec::with_capacity(wanted);
    let add = |list: &mut Vec<&'static str>, template: &'static str| {
        if !list.contains(&template) {
            list.push(template);
        }
    };
    if let Some(mood) = lead {
        let both = place.moods.contains(&Mood::Rain)
            && place.moods.contains(&Mood::Solo)
            && matches!(mood, Mood::Rain | Mood::Solo);
        let list = if both && rng.chance(0.5) { RAIN_ALONE } else { mood.sentences() };
        add(&mut middle, rng.pick(list));
    }
    let food = if rng.chance(unhappy) { place.category.dislike } else { place.category.taste };
    add(&mut middle, rng.pick(food));
    // Bounded: a short list may run out of new sentences.
    for _ in 0..wanted * 3 {
        if middle.len() >= wanted {
            break;
        }
        let list = match rng.below(10) {
            0..=3 => place.category.taste,
            4..=5 => place.moods[rng.index(place.moods.len())].sentences(),
            _ if rng.chance(unhappy) => talk::BAD,
            _ => talk::GOOD,
        };
        add(&mut middle, rng.pick(list));
    }
    middle.truncate(wanted.max(1));
    let mut story = Vec::with_capacity(middle.len() + 2);
    if rng.chance(0.3) {
        story.push(rng.pick(talk::OPENINGS));
    }
    // Not everybody tells the occasion first.
    if middle.len() > 1 && rng.chance(0.4) {
        middle.swap(0, 1);
    }
    story.append(&mut middle);
    if rng.chance(0.35 * (1.2 - unhappy)) {
        story.push(rng.pick(talk::CLOSINGS));
    }
    story
}

/// A template with its slots filled for this place.
fn speak(rng: &mut Rng, place: &Place, template: &str) -> String {
    // People name the signature dish more often than the others.
    let first = if rng.chance(0.5) { 0 } else { rng.index(place.menus.len()) };
    let second = (first + 1 + rng.index(place.menus.len() - 1)) % place.menus.len();
    let degree = rng.pick(talk::DEGREES);
    let count = rng.range(2, 9);
    let wait = if template.contains("{k}분") { rng.range(1, 12) * 5 } else { count };
    let price = thousands(place.price(first));
    fill(template, &|slot| match slot {
        "m" => Some(place.menus[first].to_owned()),
        "n" => Some(place.menus[second].to_owned()),
        "a" => Some(place.area.dong.to_owned()),
        "d" => Some(degree.to_owned()),
        "k" => Some(wait.to_string()),
        "w" => Some(price.clone()),
        _ => None,
    })
}

/// A template with contact data that belongs to nobody: exchanges that begin with 0, and a domain kept for examples.
fn contact(rng: &mut Rng, template: &str, contacts: &mut Vec<String>) -> String {
    let (a, b) = (rng.below(1_000), rng.below(10_000));
    let phone = match rng.below(5) {
        0 => format!("0100{a:03}{b:04}"),
        1 => format!("010 0{a:03} {b:04}"),
        2 => format!("02-0{:02}-{b:04}", a % 100),
        3 => format!("0507-0{a:03}-{b:04}"),
        _ => format!("010-0{a:03}-{b:04}"),
    };
    let mail = format!("{}{a}@example.com", rng.pick(talk::NICK_LATIN));
    let text = fill(template, &|slot| match slot {
        "phone" => Some(phone.clone()),
        "mail" => Some(mail.clone()),
        _ => None,
    });
    contacts.extend([phone, mail].into_iter().filter(|value| text.contains(value.as_str())));
    text
}

/// Sentences joined as one person joins them.
fn join(rng: &mut Rng, sentences: &[String]) -> String {
    let glue = rng.pick(&[". ", ". ", "! ", " ", "~ ", "\n", "\n", "... ", " ㅎㅎ ", ".\n", "!! ", "\n\n"]);
    let mut out = String::new();
    for (i, sentence) in sentences.iter().enumerate() {
        if i > 0 {
            out.push_str(glue);
        }
        out.push_str(sentence);
        if rng.chance(0.07) {
            out.push(' ');
            out.push_str(rng.pick(talk::EMOJI));
        } else if rng.chance(0.05) {
            out.push_str(rng.pick(talk::TAILS));
        }
    }
    match rng.below(4) {
        0 => out.push('.'),
        1 => out.push('!'),
        _ => {}
    }
    out
}
