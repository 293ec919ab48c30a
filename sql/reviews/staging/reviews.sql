-- One row per review: the newest fetch wins. Dates are days in Korea, resolved against the day of the fetch; the text is in one
-- Unicode form and without markup; the owner's reply stands apart. A record that could not be mapped stays in the raw table.
-- materialize: latest by review_id order by fetched_at
-- key: review_id
-- set_aside: length(review_id, 1, 1024), length(place_id, 1, 1024), between(rating, 0, 5), between(visit_count, 0, 100000)
-- set_aside: between(visited_on, '2000-01-01', '2100-01-01'), between(created_on, '2000-01-01', '2100-01-01')
-- check: not_null(place_id, fetched_at, dt), between(rating, 0, 5), between(visit_count, 0, 100000)
-- check: between(visited_on, '2000-01-01', '2100-01-01'), between(created_on, '2000-01-01', '2100-01-01')
select
    review_id,
    place_id,
    author_hash,
    korean_visit_date(visited, _fetched_at, visited_at) as visited_on,
    korean_visit_date(created, _fetched_at) as created_on,
    rating,
    nfc(strip_markup(body)) as body,
    nfc(strip_markup(reply_body)) as reply_body,
    korean_visit_date(reply_created, _fetched_at) as reply_on,
    keywords,
    keyword_codes,
    situations,
    visit_count,
    origin_type,
    _fetched_at as fetched_at,
    dt
from raw.naver_reviews
where dt = $dt
    and _error is null
    and review_id is not null
    and place_id is not null
