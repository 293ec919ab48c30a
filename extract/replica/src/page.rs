//! The pages: our own markup, with the hooks a crawler of the site holds on to.
//!
//! The document of a review tab carries the first reviews twice, as list items and as normalised Apollo state inside a
//! script, followed by more script. Later reviews come from the page's own program (`page/app.js`), which asks
//! `/graphql` at each click on the last `a.fvwqf` below `#_review_list`; two more buttons of that class stand above it.

mod apollo;

use serde_json::{Value, json};

use crate::place::{Place, thousands};
use crate::seed;

const APP: &str = include_str!("page/app.js");
const LIST: &str = include_str!("page/list.js");
const STYLE: &str = include_str!("page/style.css");

/// The tab with the reviews; `items` are those in the document.
pub(crate) fn reviews(place: &Place, total: u64, items: Vec<Value>, resend_first: bool) -> String {
    let rows = joined(&items, row);
    let more = if total > items.len() as u64 {
        let label = if seed::text(&place.id).is_multiple_of(2) { "더보기" } else { "펼쳐서 더보기" };
        format!(
            r##"<div class="NSTUp"><div class="lfH3O"><a href="#" role="button" class="fvwqf"><span class="TeItc">{label}</span></a></div></div>"##
        )
    } else {
        String::new()
    };
    let none = if total == 0 { r#"<p class="none">아직 리뷰가 없어요</p>"# } else { "" };
    let state = json!({ "businessId": place.id, "businessType": place.category.path, "total": total, "loaded": items.len(), "size": crate::PAGE_SIZE, "page": 1,
                        "cursor": items.last().and_then(|item| item.get("cursor")), "resendFirst": resend_first });
    let body = format!(
        r#"{top}<div class="place_section" data-nclicks-area-code="rrv"><h2 class="place_section_header"><span>방문자 리뷰</span><em class="place_section_count">{total}</em></h2>
<div class="place_section_content"><ul id="_review_list" class="RvHeight">{rows}</ul>{none}{more}<p id="_note" role="status"></p></div></div>"#,
        top = top(place, total, Tab::Review),
        total = thousands(total),
    );
    let apollo = apollo::reviews(place, total, items, crate::PAGE_SIZE);
    document(&format!("{} : 방문자 리뷰", place.name), &body, &apollo, &state, APP)
}

/// The tab a place opens with: no reviews, two buttons of the shared class.
pub(crate) fn home(place: &Place, total: u64) -> String {
    let state = json!({ "businessId": place.id, "businessType": place.category.path, "total": total });
    document(&place.name, &top(place, total, Tab::Home), &apollo::home(place, total), &state, APP)
}

/// The list frame.
pub(crate) fn list(query: &str, total: usize, items: Vec<Value>) -> String {
    let text = |item: &Value, field: &str| escape(item.get(field).and_then(Value::as_str).unwrap_or_default());
    let rows = joined(&items, |item| {
        format!(
            r#"<li class="UEzoS rTjJo"><div class="CHC5F"><a href="/restaurant/{id}/home" class="tzwk0"><span class="place_bluelink TYaxT">{name}</span><span class="KCMnt">{category}</span></a><div class="MVx6e"><span>방문자 리뷰 {count}</span><span class="lWwyx">{area}</span></div></div></li>"#,
            id = text(item, "id"),
            name = text(item, "name"),
            category = text(item, "category"),
            count = text(item, "visitorReviewCount"),
            area = text(item, "commonAddress"),
        )
    });
    let body = format!(r#"<div id="_pcmap_list_scroll_container" class="Ryr1F" role="main"><ul>{rows}</ul></div>"#);
    let state = json!({ "query": query, "total": total, "loaded": items.len(), "display": 50 });
    document(&format!("{query} : 검색"), &body, &apollo::list(query, total, items), &state, LIST)
}

/// What the site says when it has had enough of somebody. It comes as an ordinary page with status 200.
pub(crate) fn blocked() -> String {
    shell(
        "플레이스",
        r#"<div class="z9fuG"><div class="BJr5B"><strong>서비스 이용이 제한되었습니다.</strong><p>과도한 접근 요청으로 서비스 이용이 제한되었습니다. 잠시 후 다시 시도해주세요.</p></div></div>"#,
        "",
    )
}

/// A page whose content never came: head and frame, 128 characters to read.
pub(crate) fn half_rendered() -> String {
    let words = "플레이스 홈 소식 메뉴 예약 리뷰 사진 지도 주변 정보 ";
    let text: String = words.chars().cycle().take(128).collect();
    shell(
        "플레이스",
        &format!(r#"<div id="app-root"><div class="place_fixed_maintab" id="_tab-menus">{text}</div></div>"#),
        "",
    )
}

/// Names and paths of a place's tabs.
const TABS: &[(&str, &str)] = &[
    ("홈", "home"),
    ("소식", "feed"),
    ("메뉴", "menu/list"),
    ("예약", "booking"),
    ("리뷰", "review/visitor"),
    ("사진", "photo"),
    ("지도", "location"),
    ("주변", "around"),
    ("정보", "information"),
];

#[derive(Clone, Copy)]
enum Tab {
    Home,
    Review,
}

/// What both tabs begin with: name, counters, tabs, and the two buttons that are not the one.
fn top(place: &Place, total: u64, tab: Tab) -> String {
    let id = &place.id;
    let word = place.category.path;
    let tabs = joined(TABS, |(name, path)| {
        let chosen = matches!((tab, *name), (Tab::Home, "홈") | (Tab::Review, "리뷰"));
        format!(
            r#"<a href="/{word}/{id}/{path}" role="tab" class="_tab-menu tpj9w" aria-selected="{chosen}"><span class="veBoZ">{name}</span></a>"#
        )
    });
    let menus = joined(place.menus.iter().enumerate(), |(n, menu)| {
        format!(
            r#"<li class="E2jtL{hidden}"><span class="lPzHi">{menu}</span><em class="GXS1X">{price}원</em></li>"#,
            hidden = if n > 3 { " away" } else { "" },
            price = thousands(place.price(n))
        )
    });
    format!(
        r##"<div class="place_section no_margin" data-nclicks-area-code="btp"><div class="zD5Nm"><div id="_title" class="LylZZ"><span class="GHAhO">{name}</span><span class="lnJFt">{category}</span></div>
<div class="dAsGb"><span class="PXMot"><a href="/{word}/{id}/review/visitor" role="button">방문자 리뷰 {count}</a></span><span class="PXMot"><a href="/{word}/{id}/review/ugc" role="button">블로그 리뷰</a></span></div></div></div>
<div class="place_fixed_maintab" id="_tab-menus"><div role="tablist" class="ngGKH">{tabs}</div></div>
<div class="place_section" data-nclicks-area-code="mnu"><h2 class="place_section_header">메뉴<em class="place_section_count">{menu_count}</em></h2><ul>{menus}</ul><a href="#" role="button" class="fvwqf" data-open="menu"><span class="TeItc">메뉴 더보기</span></a></div>
<div class="place_section" data-nclicks-area-code="inf"><h2 class="place_section_header">정보</h2><p><span class="LDgIH">{address}</span></p><p class="away">{area} 골목 안쪽, 주차는 가게에 물어봐 주세요.</p><a href="#" role="button" class="fvwqf" data-open="info"><span class="TeItc">정보 더보기</span></a></div>
"##,
        name = escape(&place.name),
        category = escape(place.category.label),
        count = thousands(total),
        menu_count = place.menus.len(),
        address = escape(&place.road_address()),
        area = escape(&place.common_address()),
    )
}

/// A review as an item of the list, as `page/app.js` makes it too.
fn row(review: &Value) -> String {
    let text = |pointer: &str| escape(review.pointer(pointer).and_then(Value::as_str).unwrap_or_default());
    let list = |field: &str| review.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let name = |entry: &Value| {
        escape(entry.get("name").or_else(|| entry.get("displayName")).and_then(Value::as_str).unwrap_or_default())
    };
    let pictures = joined(list("media"), |medium| {
        format!(
            r#"<img class="K0PDV" alt="" width="120" height="90" src="{}">"#,
            escape(medium.get("thumbnail").and_then(Value::as_str).unwrap_or_default())
        )
    });
    let chips = joined(list("votedKeywords"), |keyword| format!("<span>{}</span>", name(keyword)));
    let keywords = list("visitCategories")
        .iter()
        .flat_map(|category| category.get("keywords").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default());
    let visit = joined(keywords, |keyword| format!(r#"<a class="VsvSr">{}</a>"#, name(keyword)));
    let count = review.get("visitCount").map(Value::to_string).unwrap_or_default();
    let reply = if review.get("reply").is_some_and(Value::is_object) {
        format!(
            r#"<div class="pui__GbW8H7"><span class="pui__owner">{}</span><time>{}</time><div class="pui__J0tczd">{}</div></div>"#,
            text("/reply/replyTitle"),
            text("/reply/created"),
            text("/reply/body")
        )
    } else {
        String::new()
    };
    format!(
        r##"<li class="place_apply_pui EjjAW"><div class="pui__user"><img class="pui__face" alt="" width="32" height="32" src="{face}"><span class="pui__NMi-Dp">{nickname}</span></div><div class="pui__pics">{pictures}</div><div class="pui__visit">{visit}</div><div class="pui__vn15t2"><a href="#" role="button" class="pui__xtsQN-">{body}</a></div><div class="pui__jhpEyP">{chips}</div><div class="pui__gfuUIT"><time><span class="pui__blind">방문일</span><span>{visited}</span></time><span>{count}번째 방문</span><span>인증 수단 {origin}</span></div>{reply}</li>"##,
        face = text("/author/imageUrl"),
        nickname = text("/author/nickname"),
        body = text("/body"),
        visited = text("/visited"),
        origin = text("/originType"),
    )
}

/// A whole document: body, state, more script, program.
fn document(title: &str, body: &str, apollo: &Value, state: &Value, program: &str) -> String {
    let scripts = format!(
        "<script>\nwindow.__APOLLO_STATE__ = {};\nwindow.__PLACE_STATE__ = {};\nwindow.__LOCALE__ = {{\"unfold\":\"펼쳐서 더보기\",\"more\":\"더보기\"}};\n</script>\n<script>\n{program}</script>",
        in_script(apollo),
        in_script(state)
    );
    shell(title, &format!(r#"<div id="app-root"><div class="CB8aP">{body}</div></div>"#), &scripts)
}

fn shell(title: &str, body: &str, scripts: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"ko\"><head><meta charset=\"utf-8\"><title>{}</title><style>{STYLE}</style></head>\n<body>{body}\n{scripts}</body></html>\n",
        escape(title)
    )
}

/// JSON that cannot end the script it stands in.
fn in_script(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

/// The markup of some things, one after the other.
fn joined<T>(things: impl IntoIterator<Item = T>, markup: impl Fn(T) -> String) -> String {
    things.into_iter().map(markup).collect()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
