//! Reviews, made on demand: a function of the world, the place and the review's number in that place.
//!
//! Number 0 is the oldest. The number fixes the time, and the times rise with it, so that "newest first" is "highest
//! number first" and a page of any place is made without making the others. An id is 24 hex digits whose first 4 bytes
//! are that time; the rest is a bijection of (place, number), so ids cannot meet.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};

use crate::dates;
use crate::place::Place;
use crate::seed::{Rng, Stream, mix};
use crate::text::{self, Text};
use crate::words::{Mood, talk};
use crate::world::World;

/// One review, before it takes the site's shape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Review {
    pub(crate) id: String,
    pub(crate) cursor: String,
    pub(crate) created: Timestamp,
    pub(crate) visited: Timestamp,
    pub(crate) text: Text,
    pub(crate) author: Author,
    pub(crate) rating: Option<f64>,
    pub(crate) keywords: Vec<(&'static str, &'static str)>,
    pub(crate) visit: Vec<(&'static str, &'static str, &'static str)>,
    pub(crate) tags: Vec<&'static str>,
    pub(crate) visit_count: u64,
    pub(crate) origin: &'static str,
    pub(crate) pictures: u64,
    pub(crate) reply: Option<Reply>,
    view_count: u64,
    shows_visit_time: bool,
}

/// Who wrote it. All of this is identity and must not reach anybody's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Author {
    pub(crate) id: String,
    pub(crate) nickname: String,
    pub(crate) user: String,
    number: u64,
}

/// The owner's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) text: Text,
    pub(crate) day: Date,
}

impl Review {
    /// Review `number` of a place; numbers from `place.reviews` on are those that arrived while the replica ran.
    pub(crate) fn new(world: &World, index: usize, number: u64) -> Self {
        let place = &world.places[index];
        let mut rng = Rng::new(world.seed, Stream::Review, &[index as u64, number]);
        let created = created(world, place, index, number);
        let hidden = mix(mix(((index as u64) << 32) | number) ^ mix(world.seed ^ Stream::Id as u64));
        let lead = (!rng.chance(0.2)).then(|| place.moods[rng.index(place.moods.len().min(3))]);
        let hour = hour(&mut rng, lead);
        let old = created.as_second() < world.end.as_second() - 3 * 365 * 86_400;
        let author = Author::new(world, rng.below(world.authors));
        let text = match &world.corpus {
            Some(corpus) => {
                Text { body: corpus.get(hidden_order(world, index, number)).to_owned(), contacts: Vec::new() }
            }
            None => text::review(&mut Rng::new(world.seed, Stream::Text, &[index as u64, number]), place, lead),
        };
        let rated = if old { 0.4 } else { 0.03 };
        let rating = rng.chance(rated).then(|| (2.0 * (place.quality * 3.0 + 2.0 * rng.unit())).round() / 2.0);
        let pictures = [0, 0, 0, 1, 1, 2, 3, 4, 6][rng.index(9)];
        let mut answer = Rng::new(world.seed, Stream::Reply, &[index as u64, number]);
        let reply = answer.chance(place.reply_rate).then(|| Reply {
            text: text::reply(&mut answer, place),
            day: dates::day(dates::plus(created, 86_400 * (1 + signed(answer.below(3))))),
        });
        Self {
            id: format!("{:08x}{hidden:016x}", created.as_second()),
            cursor: format!("{number:x}.{:08x}", mix(hidden) >> 32),
            created,
            visited: visited(&mut rng, created, hour),
            text,
            author,
            rating: rating.map(|r: f64| r.clamp(0.5, 5.0)),
            keywords: keywords(&mut rng, place, lead),
            visit: if old || rng.chance(0.1) { Vec::new() } else { visit(&mut rng, lead, hour) },
            tags: if old && rng.chance(0.5) { vec!["맛있어요", "친절해요"] } else { Vec::new() },
            visit_count: if rng.chance(0.75) { 1 } else { rng.range(2, 12) },
            origin: rng.pick(&["영수증", "영수증", "영수증", "예약", "결제내역"]),
            pictures,
            reply,
            view_count: rng.range(0, 900),
            shows_visit_time: !rng.chance(0.05),
        }
    }

    /// The contact data in the text and in the answer.
    pub(crate) fn contacts(&self) -> Vec<String> {
        self.text.contacts.iter().chain(self.reply.iter().flat_map(|reply| &reply.text.contacts)).cloned().collect()
    }

    /// The review as the site sends it; `drifted` under the names of an older build.
    pub(crate) fn to_json(&self, place: &Place, today: Date, drifted: bool) -> Value {
        let name = if drifted { "displayName" } else { "name" };
        let keywords: Vec<Value> = self
            .keywords
            .iter()
            .map(|(code, text)| json!({ "__typename": "VisitorReviewVotedKeyword", "code": code, "iconUrl": format!("/pic/icon-{code}.png"), "iconCode": code, name: text }))
            .collect();
        let visit: Vec<Value> = self
            .visit
            .iter()
            .map(|(code, category, keyword)| {
                json!({ "__typename": "VisitCategory", "code": code, "name": category,
                        "keywords": [{ "__typename": "VisitKeyword", "code": format!("{code}.{:04x}", crate::seed::text(keyword) >> 48), "name": keyword }] })
            })
            .collect();
        let mut review = json!({
            "__typename": "VisitorReview",
            "id": self.id,
            "reviewId": self.id,
            "cursor": self.cursor,
            "rating": self.rating,
            "author": self.author.to_json(),
            "body": self.text.body,
            "thumbnail": (self.pictures > 0).then(|| self.picture(0)),
            "media": (0..self.pictures).map(|n| self.medium(n)).collect::<Vec<_>>(),
            "tags": self.tags,
            "status": "ACTIVE",
            "visitCount": self.visit_count,
            "viewCount": self.view_count,
            "visited": dates::short(dates::day(self.visited), today),
            "created": dates::short(dates::day(self.created), today),
            "representativeVisitDateTime": self.shows_visit_time.then(|| dates::utc(self.visited)),
            "showRepresentativeVisitDateTime": self.shows_visit_time,
            "reply": self.reply.as_ref().map(|reply| reply.to_json(place, today)),
            "originType": self.origin,
            "receiptInfoUrl": Value::Null,
            "item": Value::Null,
            "bookingItemName": Value::Null,
            "language": "ko",
            "translatedText": Value::Null,
            "businessName": place.name,
            "apolloCacheId": self.id,
            "votedKeywords": keywords,
            "visitCategories": visit,
            "userIdno": self.author.user,
            "loginIdno": Value::Null,
            "isFollowing": false,
            "followerCount": 0,
            "reactionStat": { "__typename": "VisitorReviewReactionStat", "id": self.id, "typeCount": [], "totalCount": 0 },
        });
        if let Some(fields) = review.as_object_mut() {
            if drifted {
                fields.remove("visitCategories");
                fields.remove("reactionStat");
                fields.insert("highlightOffsets".to_owned(), json!([]));
            } else {
                fields.insert("highlightRanges".to_owned(), json!([]));
            }
        }
        review
    }

    fn picture(&self, n: u64) -> String {
        format!("/pic/{}-{n}.png", self.id)
    }

    fn medium(&self, n: u64) -> Value {
        json!({ "__typename": "VisitorReviewMedia", "type": "image", "thumbnail": self.picture(n), "thumbnailRatio": 1.0, "class": Value::Null,
                "videoId": Value::Null, "videoUrl": Value::Null, "trailerUrl": Value::Null })
    }
}

impl Author {
    fn new(world: &World, number: u64) -> Self {
        let mut rng = Rng::new(world.seed, Stream::Author, &[number]);
        let nickname = match rng.below(10) {
            0..=3 => format!("{}****", rng.pick(talk::NICK_LATIN)),
            4..=6 => format!("{} {}", rng.pick(talk::NICK_HEAD), rng.pick(talk::NICK_TAIL)),
            7 => format!("{}{}", rng.pick(talk::NICK_TAIL), rng.range(1, 9_999)),
            _ => format!("{}{}{}", rng.pick(talk::NICK_HEAD), rng.pick(talk::NICK_TAIL), rng.range(1, 99)),
        };
        Self {
            id: format!("{:08x}{:016x}", 0x5a00_0000 + rng.below(0x0b00_0000), rng.next()),
            nickname,
            user: format!("u{:012x}", rng.next() >> 16),
            number,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "__typename": "VisitorReviewAuthor",
            "id": self.id,
            "nickname": self.nickname,
            "from": "NAVER",
            "imageUrl": format!("/pic/face-{}.png", self.number),
            "objectId": self.id,
            "url": format!("/my/{}", self.id),
            "review": { "__typename": "VisitorReviewAuthorReview", "totalCount": self.number % 90 + 1, "imageCount": self.number % 40, "avgRating": 0.0 },
            "theme": { "__typename": "VisitorReviewAuthorTheme", "totalCount": self.number % 5 },
        })
    }
}

impl Reply {
    fn to_json(&self, place: &Place, today: Date) -> Value {
        json!({ "__typename": "VisitorReviewReply", "editUrl": Value::Null, "body": self.text.body, "editedBy": Value::Null, "created": dates::short(self.day, today),
                "date": dates::short(self.day, today), "replyTitle": place.name, "isReported": false, "isSuspended": false, "status": "ACTIVE" })
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Rises with the number; recent times are denser, as places grow.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds and counts far below 2^52, none negative"
)]
fn created(world: &World, place: &Place, index: usize, number: u64) -> Timestamp {
    if number >= place.reviews {
        // Those that arrive come one after the other on the morning of the day the site is seen.
        let morning = dates::midnight(world.today).max(world.end);
        return dates::plus(morning, 9 * 3_600 + 7 * signed(number - place.reviews));
    }
    let jitter = Rng::new(world.seed, Stream::Order, &[index as u64, number]).unit();
    let span = (world.end.as_second() - place.opened.as_second()) as f64;
    let share = ((number as f64 + 0.9 * jitter) / place.reviews as f64).sqrt();
    dates::plus(place.opened, signed((span * share) as u64))
}

/// The hour of the visit in Korea.
fn hour(rng: &mut Rng, lead: Option<Mood>) -> u64 {
    match lead {
        Some(Mood::Late) => [21, 22, 23, 0, 1, 2][rng.index(6)],
        _ => [8, 11, 12, 12, 13, 14, 17, 18, 18, 19, 20, 0][rng.index(12)],
    }
}

/// The visit: mostly some days before the review, at times years before.
fn visited(rng: &mut Rng, created: Timestamp, hour: u64) -> Timestamp {
    let days = match rng.below(100) {
        0..=39 => 0,
        40..=89 => rng.range(1, 9),
        90..=97 => rng.range(10, 120),
        _ => rng.range(400, 900),
    };
    let at = dates::plus(
        dates::midnight(dates::day(created)),
        signed(hour * 3_600 + rng.below(3_600)) - signed(days * 86_400),
    );
    if at > created { dates::plus(at, -86_400) } else { at }
}

fn keywords(rng: &mut Rng, place: &Place, lead: Option<Mood>) -> Vec<(&'static str, &'static str)> {
    if rng.chance(0.15) {
        return Vec::new();
    }
    let mut keywords: Vec<(&'static str, &'static str)> = Vec::new();
    let mut add = |keyword: (&'static str, &'static str)| {
        if !keywords.iter().any(|(code, _)| *code == keyword.0) {
            keywords.push(keyword);
        }
    };
    if rng.chance(place.quality) {
        add(talk::KEYWORDS[0]);
    }
    if let Some(mood) = lead {
        add(mood.keyword());
    }
    for _ in 0..rng.below(4) {
        if rng.chance(0.5) {
            add(place.moods[rng.index(place.moods.len())].keyword());
        } else {
            add(talk::KEYWORDS[rng.index(talk::KEYWORDS.len())]);
        }
    }
    keywords
}

/// How the visit went: code and name of the question, and the answer.
fn visit(rng: &mut Rng, lead: Option<Mood>, hour: u64) -> Vec<(&'static str, &'static str, &'static str)> {
    let companion = match lead {
        Some(Mood::Solo) => "혼자",
        Some(Mood::Date) => "연인・배우자",
        Some(Mood::Party) => "지인・동료",
        Some(Mood::Family) => "부모님",
        Some(Mood::Kids) => "아이",
        _ => rng.pick(&["혼자", "친구", "친구", "연인・배우자", "지인・동료", "부모님", "아이"]),
    };
    let purpose = match lead {
        Some(Mood::Date) => "데이트",
        Some(Mood::Party) => "회식",
        Some(Mood::Family | Mood::Kids) => "가족모임",
        Some(Mood::Solo) => "혼밥",
        _ => rng.pick(&["일상", "일상", "친목", "여행", "기념일"]),
    };
    let wait = match lead {
        Some(Mood::Queue) => rng.pick(&["대기 시간 30분 이내", "대기 시간 1시간 이내"]),
        _ => rng.pick(&["바로 입장", "바로 입장", "대기 시간 10분 이내"]),
    };
    let time = match hour {
        6..=10 => "아침에 방문",
        11..=15 => "점심에 방문",
        16..=20 => "저녁에 방문",
        _ => "밤에 방문",
    };
    let reserved = rng.pick(&["예약 없이 이용", "예약 없이 이용", "예약 후 이용"]);
    let mut visit =
        vec![("time", "방문 시간대", time), ("reservation", "예약 여부", reserved), ("wait", "대기 시간", wait)];
    if rng.chance(0.8) {
        visit.push(("purpose", "목적", purpose));
    }
    if rng.chance(0.9) {
        visit.push(("companion", "동행", companion));
    }
    visit
}

/// Which text of a corpus: reviews take the texts one after the other, so that few come twice.
fn hidden_order(world: &World, index: usize, number: u64) -> u64 {
    world.offsets.get(index).copied().unwrap_or(0) + number
}
