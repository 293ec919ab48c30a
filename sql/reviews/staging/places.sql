-- One row per place known to the site: the newest fetch wins. A place that the site no longer lists stays.
-- materialize: latest by place_id order by fetched_at
-- key: place_id
-- set_aside: length(place_id, 1, 1024), between(rating, 0, 5), between(x, -180, 180), between(y, -90, 90)
-- set_aside: between(visitor_reviews, 0, 10000000), between(blog_reviews, 0, 10000000)
-- check: not_null(name, fetched_at), between(rating, 0, 5), between(x, -180, 180), between(y, -90, 90)
-- check: between(visitor_reviews, 0, 10000000), between(blog_reviews, 0, 10000000)
select
    place_id,
    normalize_space(nfc(strip_markup(name))) as name,
    normalize_space(nfc(category)) as category,
    normalize_space(nfc(road_address)) as road_address,
    normalize_space(nfc(address)) as address,
    normalize_space(nfc(area)) as area,
    x,
    y,
    visitor_reviews,
    blog_reviews,
    rating,
    micro_reviews,
    _fetched_at as fetched_at,
    dt
from raw.naver_places
where dt = $dt
    and _error is null
    and place_id is not null
    and name is not null
