-- What is served: one row per place, with what its reviews say of it and the summary that was made from them.
-- materialize: table
-- key: place_id
-- check: not_null(name, reviews, recent_reviews), between(rating, 0, 5)
-- tag: served
select
    p.place_id,
    p.name,
    p.category,
    p.area,
    p.road_address,
    p.x,
    p.y,
    coalesce(r.reviews, 0) as reviews,
    coalesce(r.reviews_90d, 0) as recent_reviews,
    coalesce(r.rating, p.rating) as rating,
    array_slice(r.keywords, 1, 8) as keywords,
    array_slice(r.situations, 1, 5) as situations,
    r.first_visit,
    r.last_visit,
    s.summary,
    s.embedding
from staging.places as p
left join marts.place_reviews as r on r.place_id = p.place_id
left join staging.place_summaries as s on s.place_id = p.place_id
