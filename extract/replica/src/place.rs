//! Places: where they are, what they serve and what they are good for. Kept in memory, a few hundred bytes each.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::dates;
use crate::seed::{self, Rng, Stream};
use crate::words::mood::MOODS;
use crate::words::seoul::{AREAS, Area, NAME_HEADS, NAME_TAILS};
use crate::words::{CATEGORIES, Category, Mood};

/// One restaurant.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) category: &'static Category,
    pub(crate) area: &'static Area,
    /// What it is good for, the strongest first.
    pub(crate) moods: Vec<Mood>,
    /// What it serves, the signature first.
    pub(crate) menus: Vec<&'static str>,
    /// 0 is dreadful, 1 is splendid.
    pub(crate) quality: f64,
    /// How often the owner answers.
    pub(crate) reply_rate: f64,
    /// Reviews it has before any arrive.
    pub(crate) reviews: u64,
    pub(crate) opened: Timestamp,
    x: f64,
    y: f64,
    house: u64,
    lot: u64,
    blog_reviews: u64,
}

/// The places of a seed, one for each size; `end` is where their history ends.
pub(crate) fn places(seed: u64, sizes: &[u64], end: Timestamp) -> Vec<Place> {
    let mut taken = HashSet::new();
    sizes.iter().enumerate().map(|(index, reviews)| Place::new(seed, index as u64, *reviews, end, &mut taken)).collect()
}

impl Place {
    fn new(seed: u64, index: u64, reviews: u64, end: Timestamp, taken: &mut HashSet<u64>) -> Self {
        let mut rng = Rng::new(seed, Stream::Place, &[index]);
        // 8 to 10 digits, as the site's.
        let id = loop {
            let id = if rng.chance(0.3) {
                rng.range(11_000_000, 99_999_999)
            } else {
                rng.range(1_000_000_000, 2_099_999_999)
            };
            if taken.insert(id) {
                break id;
            }
        };
        // Dealt round first, so that a small world has every kind of restaurant in many neighbourhoods.
        let category = CATEGORIES[usize::try_from(index % 18).unwrap_or(0)];
        let area = &AREAS[rng.index(AREAS.len())];
        let moods = moods(&mut rng, category);
        let mut menus: Vec<&'static str> = category.menus.to_vec();
        menus.swap(0, rng.range(0, 2).try_into().unwrap_or(0));
        menus.truncate(rng.range(6, 9).try_into().unwrap_or(6));
        let days = rng.range(200, 2_400);
        let spread = |rng: &mut Rng| (rng.unit() - 0.5) * 0.012;
        Self {
            id: id.to_string(),
            name: name(&mut rng, category, area),
            category,
            area,
            moods,
            menus,
            quality: 0.35 + 0.6 * rng.unit(),
            reply_rate: if rng.chance(0.4) { 0.2 + 0.6 * rng.unit() } else { 0.03 },
            reviews,
            opened: dates::plus(end, -i64::try_from(days * 86_400).unwrap_or(0)),
            x: area.x + spread(&mut rng),
            y: area.y + spread(&mut rng),
            house: rng.range(1, 220),
            lot: rng.range(1, 700),
            blog_reviews: reviews / 3 + rng.range(0, 40),
        }
    }

    /// `서울 마포구 망원동`.
    pub(crate) fn common_address(&self) -> String {
        format!("서울 {} {}", self.area.district, self.area.dong)
    }

    pub(crate) fn road_address(&self) -> String {
        format!("서울 {} {} {}", self.area.district, self.area.road, self.house)
    }

    fn lot_address(&self) -> String {
        format!("서울 {} {} {}-{}", self.area.district, self.area.dong, self.lot, self.house % 40 + 1)
    }

    /// A number nobody has: 0507 and an exchange that begins with 0.
    fn virtual_phone(&self) -> String {
        format!("0507-0{:03}-{:04}", self.lot, self.house * 37)
    }

    /// The price of a dish in won, as the site's text.
    pub(crate) fn price(&self, menu: usize) -> u64 {
        let (from, to) = self.category.price;
        let step = seed::mix(self.lot * 31 + menu as u64) % ((to - from) / 500 + 1);
        from + step * 500
    }

    /// Whether every word of a search fits; words that mean "any place in Seoul" always do.
    pub(crate) fn matches(&self, query: &str) -> bool {
        query.split_whitespace().filter(|word| !ANY.contains(word)).all(|word| {
            let fits = |text: &str| text.contains(word);
            fits(self.area.district)
                || fits(self.area.dong)
                || word
                    .strip_suffix('역')
                    .is_some_and(|station| !station.is_empty() && self.area.dong.starts_with(station))
                || fits(self.category.label)
                || self.category.words.contains(&word)
                || fits(&self.name)
                || self.menus.iter().any(|menu| fits(menu))
        })
    }

    /// The place as the list sends it.
    pub(crate) fn to_list_item(&self, total: u64) -> Value {
        let hash = seed::text(&self.id);
        json!({
            "__typename": "RestaurantListSummary",
            "id": self.id,
            "apolloCacheId": self.id,
            "dbType": "drt",
            "name": self.name,
            "businessCategory": self.category.path,
            "category": self.category.label,
            "description": Value::Null,
            "hasBooking": hash.is_multiple_of(3),
            "hasNPay": hash.is_multiple_of(5),
            "x": format!("{:.7}", self.x),
            "y": format!("{:.7}", self.y),
            "distance": format!("{}.{}km", hash % 9, hash / 9 % 10),
            "imageUrl": format!("/pic/{}-0.png", self.id),
            "imageCount": total / 2,
            "phone": Value::Null,
            "virtualPhone": self.virtual_phone(),
            "routeUrl": Value::Null,
            "roadAddress": self.road_address(),
            "address": self.lot_address(),
            "commonAddress": self.common_address(),
            "blogCafeReviewCount": thousands(self.blog_reviews),
            "bookingReviewCount": "0",
            "totalReviewCount": thousands(total + self.blog_reviews),
            "visitorReviewCount": thousands(total),
            "visitorReviewScore": if hash.is_multiple_of(4) { json!(format!("4.{:02}", hash % 100)) } else { Value::Null },
            "saveCount": if total > 500 { "1만+" } else { "1천+" },
            "newBusinessHours": { "status": "영업 중", "description": "22:00에 영업 종료" },
            "options": "포장,예약,무선 인터넷",
            "promotionTitle": Value::Null,
            "newOpening": Value::Null,
            "microReview": self.micro_reviews(),
            "tags": [],
            "categoryCodeList": ["220036"],
            "visitorReviews": [],
            "broadcastInfo": Value::Null,
            "michelinGuide": Value::Null,
            "isTableOrder": false,
            "isTakeOut": hash.is_multiple_of(2),
            "isDelivery": hash % 7 < 2,
        })
    }

    /// The place as its own page has it.
    pub(crate) fn to_detail(&self, total: u64) -> Value {
        json!({
            "__typename": "PlaceDetailBase",
            "id": self.id,
            "name": self.name,
            "category": self.category.label,
            "categoryCode": "220036",
            "categoryCodeList": ["220036"],
            "road": format!("{}역 2번 출구에서 걸어서 {}분\n골목 안쪽 간판을 찾아 주세요", self.area.dong.trim_end_matches('동'), self.lot % 12 + 2),
            "roadAddress": self.road_address(),
            "address": self.lot_address(),
            "rcode": "11440",
            "coordinate": { "__typename": "Coordinate", "x": format!("{:.7}", self.x), "y": format!("{:.7}", self.y) },
            "conveniences": ["포장", "무선 인터넷", "남/녀 화장실 구분"],
            "paymentInfo": ["네이버페이", "지역화폐"],
            "microReviews": self.micro_reviews(),
            "visitorReviewsTotal": total,
            "visitorReviewsScore": Value::Null,
            "visitorReviewsTextReviewTotal": total,
            "virtualPhone": self.virtual_phone(),
            "phone": Value::Null,
            "openingHours": Value::Null,
            "missingInfo": { "__typename": "MissingInfo", "isBizHourMissing": false },
        })
    }

    /// The dishes with their prices, as `Menu:<id>_<n>` entities.
    pub(crate) fn menu_entities(&self) -> Vec<(String, Value)> {
        let entity = |(n, menu): (usize, &&str)| {
            let value = json!({
                "__typename": "Menu", "name": menu, "price": self.price(n).to_string(), "recommend": n == 0,
                "description": Value::Null, "images": [format!("/pic/{}-m{n}.png", self.id)], "id": format!("{}_{n}", self.id), "index": n,
            });
            (format!("Menu:{}_{n}", self.id), value)
        };
        self.menus.iter().enumerate().map(entity).collect()
    }

    fn micro_reviews(&self) -> Vec<&'static str> {
        self.moods.iter().take(2).map(|mood| mood.micro_review()).collect()
    }
}

/// Words of a search that every place fits.
const ANY: &[&str] = &["맛집", "식당", "음식점", "서울", "서울시", "밥집추천", "근처"];

/// `1821` as `1,821`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Two or three moods that suit the kind of restaurant, at times one that does not.
fn moods(rng: &mut Rng, category: &Category) -> Vec<Mood> {
    let mut moods = Vec::new();
    for _ in 0..rng.range(3, 5) {
        let mood = category.moods[rng.index(category.moods.len())];
        if !moods.contains(&mood) {
            moods.push(mood);
        }
    }
    if rng.chance(0.35) {
        let mood = MOODS[rng.index(MOODS.len())];
        if !moods.contains(&mood) {
            moods.push(mood);
        }
    }
    moods.truncate(4);
    moods
}

fn name(rng: &mut Rng, category: &Category, area: &Area) -> String {
    let suffix = rng.pick(category.suffixes);
    let head = rng.pick(NAME_HEADS);
    let near = area.dong.trim_end_matches('동');
    let base = match rng.below(10) {
        0 => format!("{near}{suffix}"),
        1 => format!("{head} {suffix}"),
        2 => format!("{suffix} {head}"),
        _ => format!("{head}{suffix}"),
    };
    match rng.below(8) {
        0 => format!("{base} {near}점"),
        _ => format!("{base}{}", rng.pick(NAME_TAILS)),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn world(count: usize) -> Vec<Place> {
        places(1, &vec![10; count], dates::midnight(date(2026, 10, 1)))
    }

    #[test]
    fn ids_are_unique_and_have_eight_to_ten_digits() {
        let places = world(5_000);
        let ids: HashSet<_> = places.iter().map(|place| place.id.as_str()).collect();
        assert_eq!(ids.len(), 5_000);
        assert!(ids.iter().all(|id| (8..=10).contains(&id.len())));
    }

    #[test]
    fn a_search_matches_area_and_kind() {
        let places = world(200);
        let hits = |query: &str| places.iter().filter(|place| place.matches(query)).count();
        assert_eq!(hits("맛집"), 200);
        assert_eq!(hits("서울 맛집"), 200);
        assert!((1..40).contains(&hits("망원동 맛집")), "{}", hits("망원동 맛집"));
        assert!((8..40).contains(&hits("국밥")), "{}", hits("국밥"));
        assert!(hits("마포구 국밥") <= hits("국밥"));
        assert_eq!(hits("없는말"), 0);
    }

    #[test]
    fn counts_have_commas() {
        assert_eq!([0, 999, 1_821, 1_234_567].map(thousands), ["0", "999", "1,821", "1,234,567"]);
    }
}
